//! The DICOM network, with DCMTK, pynetdicom and Orthanc at the other end.

use crate::orthanc::Orthanc;
use crate::support::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn a_study_goes_in_by_c_store_and_its_report_comes_back_valid() {
    let (Some(ultrasound), Some(_), Some(_)) =
        (sample("us1"), program("storescu"), program("dcmdump"))
    else {
        return;
    };
    let Some(appliance) = shared() else { return };
    let echo = ended(Command::new(program("echoscu").expect("echoscu")).args([
        "-aec",
        "PERICARD",
        &appliance.dicom.ip().to_string(),
        &appliance.dicom.port().to_string(),
    ]));
    assert!(echo.status.success(), "C-ECHO");
    let file = &files_in(&ultrasound)[0];
    let sent = appliance.storescu(&["-R"], &[file]);
    assert!(
        sent.status.success(),
        "{}",
        String::from_utf8_lossy(&sent.stderr)
    );
    let study = study_of(file);
    for job in appliance.jobs_ended(&study) {
        assert_eq!(job["state"], "done", "{job}");
    }
    let reports = appliance.reports(&study);
    assert_eq!(reports.len(), 1);
    let texts: Vec<&str> = reports[0]["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .filter_map(|f| f["text"].as_str())
        .collect();
    assert!(
        texts.iter().any(|text| text.contains("BAPTIST")),
        "{texts:?}"
    );
    valid_objects(&appliance, &reports[0], &study);
}

/// Retrieves every object of a report over HTTPS and puts it before validators and readers of other makes.
pub(crate) fn valid_objects(appliance: &Appliance, report: &Value, study: &str) {
    for object in report["objects"].as_array().expect("objects") {
        let instance = object["instance"].as_str().expect("a UID");
        let url = object["wado_url"].as_str().expect("a URL");
        let path = &url[url.find("/dicomweb").expect("a DICOMweb path")..];
        let file = appliance.dir.path().join(format!("{instance}.dcm"));
        let Some(printed) = python(
            "wado.py",
            &[
                &format!("https://{}{path}", appliance.https),
                &appliance.token,
                appliance.ca().to_str().expect("a path"),
                file.to_str().expect("a path"),
            ],
        ) else {
            return;
        };
        assert!(
            printed.contains(study),
            "the object is of the study: {printed}"
        );
        validate(&file);
    }
}

/// No error by dciodvfy, readable by dsrdump and highdicom.
pub(crate) fn validate(file: &Path) {
    let (Some(dciodvfy), Some(dsrdump)) = (venv("dciodvfy"), program("dsrdump")) else {
        return;
    };
    let output = ended(Command::new(dciodvfy).arg("-new").arg(file));
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    let errors: Vec<_> = said.lines().filter(|line| line.contains("Error")).collect();
    // Whoever crashes finds no error either.
    assert!(
        errors.is_empty() && output.status.success(),
        "{}: dciodvfy, {}: {errors:#?}",
        file.display(),
        output.status
    );
    let kind = python("read_result.py", &[file.to_str().expect("a path")]);
    if kind.is_some_and(|kind| kind.contains("SR")) {
        run(Command::new(dsrdump).arg(file));
    }
}

#[test]
fn results_of_every_kind_return_to_orthanc_in_the_right_study() {
    let (Some(ultrasound), Some(head), Some(_)) =
        (sample("us1"), sample("t1-head"), program("storescu"))
    else {
        return;
    };
    let Some(orthanc) = Orthanc::start(json!({})) else {
        return;
    };
    let dicom = orthanc.dicom;
    let rule = |name: &str, model: &str, modality: &str| {
        format!(
            "[[rules]]\nname = '{name}'\nmodels = ['{model}']\nidle_timeout_s = 3\ndestinations = ['pacs']\n\
             when.modalities = ['{modality}']\nresults = ['sr', 'seg', 'gsps', 'sc', 'kos', 'pdf']\n"
        )
    };
    let toml = format!(
        "[[peers]]\nname = 'pacs'\nae_title = 'ORTHANC'\naddress = '127.0.0.1'\nport = {dicom}\n\
         [[peers]]\nname = 'workstation'\nae_title = 'WS'\naddress = '127.0.0.1'\nmay = ['query', 'retrieve']\n{}{}",
        rule("text", "burned-in-text", "US"),
        rule("brain", "brain-extraction", "MR"),
    );
    let Some(appliance) = Appliance::start(Given {
        toml: &toml,
        models: &["burned-in-text", "brain-extraction"],
    }) else {
        return;
    };
    // One picture and one presentation state of the one frame with text; of the brain no more pictures than a report has.
    let us = [
        ("DOC", 1),
        ("KO", 1),
        ("OT", 1),
        ("PR", 1),
        ("SR", 1),
        ("US", 1),
    ];
    let slices = files_in(&head).len();
    let brain = [
        ("DOC", 1),
        ("KO", 1),
        ("MR", slices),
        ("OT", 32),
        ("PR", 1),
        ("SEG", 1),
        ("SR", 1),
    ];
    for (folder, expected) in [(ultrasound, &us[..]), (head, &brain[..])] {
        // The PACS has the study; the appliance gets it from a modality.
        let files = files_in(&folder);
        for file in &files {
            orthanc.holds(file);
        }
        let sent = appliance.storescu(&["-R", "+sd"], &[&folder]);
        assert!(sent.status.success(), "{}", folder.display());
        let held = returned(&appliance, &orthanc, &files, expected);
        pulled(&appliance, &study_of(&files[0]), (&held, expected));
    }
    let studies = orthanc.asked(&[], "/studies").expect("its studies");
    assert_eq!(studies.as_array().map(Vec::len), Some(2), "{studies}");
}

/// Waits for the deliveries; then Orthanc has the study's files and its results, all in one study, so many of each modality.
/// Gives their UIDs.
fn returned(
    appliance: &Appliance,
    orthanc: &Orthanc,
    files: &[PathBuf],
    expected: &[(&str, usize)],
) -> BTreeSet<String> {
    let study = study_of(&files[0]);
    for job in appliance.jobs_ended(&study) {
        assert_eq!(job["state"], "done", "{job}");
    }
    let total: usize = expected.iter().map(|(_, count)| count).sum();
    until("the deliveries", || {
        let list = appliance.json(&format!("/api/v1/deliveries?study={study}&limit=1000"));
        let rows = list["deliveries"].as_array()?.clone();
        let is_delivered = |row: &Value| row["state"] == "delivered";
        (rows.len() == total - files.len() && rows.iter().all(is_delivered)).then_some(())
    });
    let found = json!({"Level": "Study", "Expand": true, "Query": {"StudyInstanceUID": study}});
    let found = orthanc.told("/tools/find", &found);
    assert_eq!(
        found.as_array().map(Vec::len),
        Some(1),
        "one study: {found}"
    );
    let id = found[0]["ID"].as_str().expect("an id");
    let held = orthanc.asked(&[], &format!("/studies/{id}/instances"));
    let held = held.expect("its objects");
    let uid = |o: &Value| {
        o["MainDicomTags"]["SOPInstanceUID"]
            .as_str()
            .map(str::to_owned)
    };
    let held: BTreeSet<String> = held
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(uid)
        .collect();
    let reports = appliance.reports(&study);
    let objects = reports[0]["objects"].as_array().expect("objects");
    let ours = objects
        .iter()
        .filter_map(|o| o["instance"].as_str().map(str::to_owned));
    let files: BTreeSet<String> = files.iter().map(|file| instance_of(file)).collect();
    assert_eq!(held, files.into_iter().chain(ours).collect());
    let series = orthanc.asked(&[], &format!("/studies/{id}/series"));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for series in series.expect("its series").as_array().expect("a list") {
        let modality = series["MainDicomTags"]["Modality"]
            .as_str()
            .expect("a modality");
        let instances = series["Instances"].as_array().expect("a list").len();
        *counts.entry(modality.to_owned()).or_default() += instances;
    }
    let expected = expected
        .iter()
        .map(|(kind, count)| ((*kind).to_owned(), *count));
    assert_eq!(counts, expected.collect(), "{study}");
    held
}

/// A workstation that asks the appliance finds all of the study, results too, and gets each object as a file that can be read.
fn pulled(
    appliance: &Appliance,
    study: &str,
    (held, expected): (&BTreeSet<String>, &[(&str, usize)]),
) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let port = appliance.dicom.port().to_string();
    let path = folder.path().to_str().expect("a path");
    let Some(printed) = python("pull.py", &[&port, study, path]) else {
        return;
    };
    let told: Value = serde_json::from_str(&printed).expect("JSON");
    let expected: BTreeMap<&str, usize> = expected.iter().copied().collect();
    assert_eq!(told["counts"], json!(expected), "{study}");
    assert_eq!(told["got"], json!(held), "{study}");
    let files = files_in(folder.path());
    let read: BTreeSet<String> = files.iter().map(|file| instance_of(file)).collect();
    assert_eq!(read, *held, "{study}");
    assert!(files.iter().all(|file| study_of(file) == study), "{study}");
}

#[test]
fn a_destination_that_is_down_gets_its_results_when_it_is_back() {
    let (Some(ultrasound), Some(storescp), Some(_)) =
        (sample("us1"), program("storescp"), program("storescu"))
    else {
        return;
    };
    let port = free_port();
    let toml = format!(
        "[[peers]]\nname = 'pacs'\nae_title = 'ARCHIVE'\naddress = '127.0.0.1'\nport = {port}\n\
         [[rules]]\nname = 'text'\nmodels = ['burned-in-text']\nidle_timeout_s = 1\ndestinations = ['pacs']\n"
    );
    let Some(appliance) = Appliance::start(Given {
        toml: &toml,
        models: &["burned-in-text"],
    }) else {
        return;
    };
    let file = &files_in(&ultrasound)[0];
    assert!(appliance.storescu(&["-R"], &[file]).status.success());
    let study = study_of(file);
    appliance.jobs_ended(&study);
    let state = || {
        let list = appliance.json(&format!("/api/v1/deliveries?study={study}"));
        (
            list["deliveries"][0]["state"].as_str().map(str::to_owned),
            list["deliveries"][0]["attempts"].as_u64(),
        )
    };
    until("a failed attempt", || {
        state().1.filter(|attempts| *attempts >= 1)
    });
    let received = appliance.dir.path().join("received");
    std::fs::create_dir(&received).expect("a directory");
    let log = appliance.dir.path().join("storescp");
    let args = [
        "+B",
        "-od",
        received.to_str().expect("a path"),
        "-aet",
        "ARCHIVE",
        &port.to_string(),
    ];
    let _archive = Process::start(&storescp, &args, &log);
    until("the delivery", || {
        (state().0.as_deref() == Some("delivered")).then_some(())
    });
    let files = files_in(&received);
    assert_eq!(files.len(), 1, "exactly once");
    validate(&files[0]);
}

#[test]
fn pynetdicom_sends_many_classes_and_syntaxes() {
    let Some(appliance) = shared() else { return };
    let Some(printed) = python("send_all.py", &[&appliance.dicom.port().to_string()]) else {
        return;
    };
    // Every file with an identity is kept as it came: the script compares what WADO gives back in `web`.
    let counts: Value = serde_json::from_str(&printed).expect("JSON");
    assert!(counts["sent"].as_u64() > Some(60), "{counts}");
    assert_eq!(counts["failed"], serde_json::json!([]), "{counts}");
    assert!(counts["syntaxes"].as_u64() >= Some(10), "{counts}");
}

#[test]
fn the_same_bytes_twice_are_one_object_and_other_bytes_are_a_revision() {
    let (Some(chest), Some(_), Some(dcmodify)) =
        (sample("chest"), program("storescu"), program("dcmodify"))
    else {
        return;
    };
    let Some(appliance) = Appliance::start(Given::default()) else {
        return;
    };
    let file = &files_in(&chest)[0];
    let study = study_of(file);
    for _ in 0..2 {
        assert!(appliance.storescu(&["-R"], &[file]).status.success());
    }
    let held = appliance.json(&format!("/api/v1/studies/{study}"));
    assert_eq!(
        (&held["instances"], &held["objects"][0]["revision"]),
        (&1.into(), &1.into()),
        "{held}"
    );
    let other = appliance.dir.path().join("other.dcm");
    std::fs::copy(file, &other).expect("a copy");
    run(Command::new(dcmodify)
        .args(["-nb", "-i", "0010,4000=corrected"])
        .arg(&other));
    assert!(appliance.storescu(&["-R"], &[&other]).status.success());
    let held = appliance.json(&format!("/api/v1/studies/{study}"));
    assert_eq!(
        (&held["instances"], &held["objects"][0]["revision"]),
        (&1.into(), &2.into()),
        "{held}"
    );
    let log = appliance.pericard(&["audit", "show", "--json"]);
    assert!(
        log.contains("revis"),
        "the revision is in the audit log: {log}"
    );
}
