//! What radiologists say of a result comes back from the PACS, as reports and key object selections made by highdicom.

use crate::patients::{Image, Patients};
use crate::support::{Appliance, Given, program, run, until, venv};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The result that is reviewed: its report as a file.
fn result_of(appliance: &Appliance, study: &str) -> PathBuf {
    let reports = appliance.reports(study);
    let object = reports[0]["objects"]
        .as_array()
        .and_then(|all| all.first())
        .and_then(|object| object["instance"].as_str());
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
    let study_of = |number: u64| {
        let patient = Patients { hospital: 5 }.patient(number);
        let image = Image {
            patient: &patient,
            study: 5_000 + number,
            image: 1,
            has_text: true,
        };
        (image.study_uid(), image.file())
    };
    let said_of = |number: u64| appliance.dir.path().join(format!("{number}.dcm"));
    for (number, _) in (1..).zip(cases) {
        let file = appliance.dir.path().join("image.dcm");
        fs::write(&file, study_of(number).1).expect("written");
        let sent = appliance.storescu(&["-aet", "PACS"], &[&file]);
        assert!(sent.status.success(), "{sent:?}");
    }
    // One process makes them all: it takes longer to begin than to make one.
    let mut make = Command::new(&python);
    make.arg(&script);
    for (number, (form, value, scheme, _)) in (1..).zip(cases) {
        let study = study_of(number).0;
        appliance.jobs_ended(&study);
        make.arg(result_of(&appliance, &study))
            .arg(said_of(number))
            .args([form, value, scheme]);
    }
    run(&mut make);
    for (number, _) in (1..).zip(cases) {
        let sent = appliance.storescu(&["-aet", "PACS"], &[&said_of(number)]);
        assert!(sent.status.success(), "{sent:?}");
    }
    for (number, (form, value, _, verdict)) in (1..).zip(cases) {
        let study = study_of(number).0;
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
