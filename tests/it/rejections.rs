//! An analysis that could not be done says so in the study and at its destinations, when its rule wants that; never else.

use crate::network::validate;
use crate::support::*;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// What came of a head with a slice missing: the job, what the study holds of ours, and the files at the archive.
struct Came {
    job: Value,
    results: Vec<Value>,
    received: Vec<PathBuf>,
    _appliance: Appliance,
    _archive: Process,
}

/// Sends all slices but the middle one, with an archive as destination.
fn incomplete(report_failures: bool) -> Option<Came> {
    let (head, storescp) = (sample("t1-head")?, program("storescp")?);
    program("storescu")?;
    let port = free_port();
    let toml = format!(
        "[[peers]]\nname = 'pacs'\nae_title = 'ARCHIVE'\naddress = '127.0.0.1'\nport = {port}\n\
         [[rules]]\nname = 'brain'\nmodels = ['brain-extraction']\nidle_timeout_s = 3\ndestinations = ['pacs']\n\
         report_failures = {report_failures}\n"
    );
    let appliance = Appliance::start(Given {
        toml: &toml,
        models: &["brain-extraction"],
    })?;
    let received = appliance.dir.path().join("received");
    std::fs::create_dir(&received).expect("a directory");
    let folder = received.to_str().expect("a path");
    let args = ["+B", "-od", folder, "-aet", "ARCHIVE", &port.to_string()];
    let archive = Process::start(&storescp, &args, &appliance.dir.path().join("storescp"));
    let mut files = files_in(&head);
    let missing = files.remove(files.len() / 2);
    let files: Vec<_> = files.iter().map(PathBuf::as_path).collect();
    let sent = appliance.storescu(&["-R"], &files);
    assert!(sent.status.success(), "{}", missing.display());
    let study = study_of(files[0]);
    let jobs = appliance.jobs_ended(&study);
    let job = jobs.iter().find(|job| job["work"]["kind"] == "infer");
    let job = job.expect("an inference").clone();
    // What the rule wants is posted with the end of the job: what waits now is all there is.
    until("what is posted", || {
        let list = appliance.json(&format!("/api/v1/deliveries?study={study}"));
        let rows = list["deliveries"].as_array()?.clone();
        let delivered = |row: &Value| row["state"] == "delivered";
        rows.iter().all(delivered).then_some(())
    });
    assert!(appliance.reports(&study).is_empty(), "nothing was found");
    let held = appliance.json(&format!("/api/v1/studies/{study}"));
    let objects = held["objects"].as_array().expect("objects");
    let results = objects.iter().filter(|object| object["is_result"] == true);
    assert_eq!(held["instances"], files.len(), "{missing:?} is missing");
    Some(Came {
        job,
        results: results.cloned().collect(),
        received: files_in(&received),
        _appliance: appliance,
        _archive: archive,
    })
}

#[test]
fn an_analysis_that_could_not_be_done_says_so_in_the_study_and_at_the_archive() {
    let Some(came) = incomplete(true) else { return };
    assert_eq!(came.job["state"], "failed", "{}", came.job);
    assert_eq!(came.job["failure"]["class"], "unsuitable_input");
    let reason = came.job["failure"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("mm between slices"), "{reason}");
    assert_eq!(came.results.len(), 1, "{:?}", came.results);
    assert_eq!(came.received.len(), 1, "at the archive, once");
    let file = &came.received[0];
    assert_eq!(came.results[0]["instance"], instance_of(file).as_str());
    validate(file);
    let Some(dcmdump) = program("dcmdump") else {
        return;
    };
    let dump = run(Command::new(dcmdump).args(["-Un", "+L"]).arg(file));
    for part in [
        "[1.2.840.10008.5.1.4.1.1.88.34]", // Comprehensive 3D SR
        "[111245]",                        // No algorithms succeeded; without findings
        "[NOT-DONE-BECAUSE]",
        "[UNSUITABLE-INPUT]",
        "mm between slices",
    ] {
        assert!(dump.contains(part), "{part} is not in\n{dump}");
    }
    assert!(!dump.contains("[111241]"), "not: all succeeded");
}

#[test]
fn a_rule_that_wants_no_word_of_failures_gets_none() {
    let Some(came) = incomplete(false) else {
        return;
    };
    assert_eq!(came.job["state"], "failed", "{}", came.job);
    assert!(came.results.is_empty(), "{:?}", came.results);
    assert!(came.received.is_empty(), "{:?}", came.received);
}
