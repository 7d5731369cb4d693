//! What radiologists say of a result comes back from the PACS, as reports and key object selections made by highdicom.

use crate::patients::{Image, Patients};
use crate::support::{Appliance, Given, program, run, until, venv};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The result that is reviewed: its report as a file.
fn result_of(appliance: &Appliance, study: &str) -> PathBuf {
    let reports = appliance.reports(study);
    let object = reports[0]["objects"]
        .as_array()
        .and_then(|all| all.first())
        .and_then(Value::as_str);
    let object = object.expect("an object");
    let objects = fs::read_dir(appliance.data().join("objects")).expect("objects");
    let mut waiting: Vec<PathBuf> = objects.flatten().map(|entry| entry.path()).collect();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(
                fs::read_dir(&path)
                    .expect("a folder")
                    .flatten()
                    .map(|e| e.path()),
            );
        } else if fs::read(&path).is_ok_and(|bytes| is_object(&bytes, object)) {
            return path;
        }
    }
    panic!("{object} is not held");
}

/// Whether this file is that object: its UID stands in the file's head.
fn is_object(bytes: &[u8], uid: &str) -> bool {
    let head = &bytes[..bytes.len().min(400)];
    head.windows(uid.len())
        .any(|window| window == uid.as_bytes())
}

#[test]
fn a_report_or_a_key_object_that_refers_to_a_result_is_a_review() {
    let (Some(python), Some(_)) = (venv("python"), program("storescu")) else {
        return;
    };
    let toml = "[[rules]]\nname = 'text'\nmodels = ['burned-in-text']\nidle_timeout_s = 1\n[rules.when]\nmodalities = ['US']\n";
    let Some(appliance) = Appliance::start(Given {
        toml,
        models: &["burned-in-text"],
    }) else {
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/privacy/agreeing.py");
    let cases = [
        ("kos", "AGREE", "99PERICARD", Some("agreed")),
        ("kos", "113001", "DCM", Some("disagreed")),
        ("sr", "373067005", "SCT", Some("disagreed")),
        ("sr", "AGREE", "99PERICARD", Some("agreed")),
        ("kos", "113000", "DCM", None), // "Of Interest" is no opinion of ours
    ];
    for (number, (form, value, scheme, verdict)) in (1..).zip(cases) {
        let patient = Patients { hospital: 5 }.patient(number);
        let image = Image {
            patient: &patient,
            study: 5_000 + number,
            image: 1,
            has_text: true,
        };
        let (study, file) = (image.study_uid(), appliance.dir.path().join("image.dcm"));
        fs::write(&file, image.file()).expect("written");
        assert!(
            appliance
                .storescu(&["-aet", "PACS"], &[&file])
                .status
                .success()
        );
        appliance.jobs_ended(&study);
        let said = appliance.dir.path().join(format!("{number}.dcm"));
        let mut make = Command::new(&python);
        make.arg(&script)
            .arg(result_of(&appliance, &study))
            .arg(&said)
            .args([form, value, scheme]);
        run(&mut make);
        let sent = appliance.storescu(&["-aet", "PACS"], &[&said]);
        assert!(sent.status.success(), "{sent:?}");
        // Its arrival is another revision of the study; what it says is taken up before that is worked on.
        until("another revision", || {
            let jobs = appliance.json(&format!("/api/v1/jobs?study={study}"));
            let jobs = jobs["jobs"].as_array().cloned().unwrap_or_default();
            (jobs
                .iter()
                .filter(|job| job["work"]["kind"] == "assemble" && job["state"] == "done")
                .count()
                > 1)
            .then_some(())
        });
        let reports = appliance.reports(&study);
        let reviewed = reports
            .iter()
            .find_map(|report| report["reviews"][0]["verdict"].as_str());
        assert_eq!(reviewed, verdict, "{form} {value}: {reports:?}");
        let by = reports
            .iter()
            .find_map(|report| report["reviews"][0]["reviewer"].as_str());
        assert_eq!(by, verdict.map(|_| "peer PACS"));
    }
}
