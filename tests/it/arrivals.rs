//! Studies that arrive in pieces, late, twice, changed, or beside fifty others: each with its end state.

use crate::support::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The first line falls into the section that the tests' own configuration ends with, `[jobs]`.
const CONFIGURATION: &str = "concurrent_max = 1\n\
    [[rules]]\nname = 'text'\nmodels = ['burned-in-text']\nidle_timeout_s = 1\nwhen.modalities = ['US', 'OT']\n\
    [[rules]]\nname = 'urgent'\nmodels = ['burned-in-text']\npriority = 'stat'\nidle_timeout_s = 1\n\
    when.descriptions = ['*stat*']\n";

/// How many routine studies wait when the urgent one comes.
const ROUTINE: usize = 50;

/// A copy of the ultrasound sample, changed by dcmodify.
fn copy(appliance: &Appliance, name: &str, changes: &[&str]) -> PathBuf {
    let sample = sample("us1").expect("the sample").join("US1_UNCR.dcm");
    let path = appliance.dir.path().join(name);
    std::fs::copy(sample, &path).expect("a copy");
    let dcmodify = program("dcmodify").expect("dcmodify");
    if !changes.is_empty() {
        run(Command::new(dcmodify).arg("-nb").args(changes).arg(&path));
    }
    path
}

fn started() -> Option<Appliance> {
    sample("us1")?;
    program("dcmodify")?;
    program("storescu")?;
    Appliance::start(Given {
        toml: CONFIGURATION,
        models: &["burned-in-text"],
    })
}

fn send(appliance: &Appliance, files: &[&Path]) {
    let sent = appliance.storescu(&["-R"], files);
    let said = String::from_utf8_lossy(&sent.stderr).into_owned();
    assert!(sent.status.success(), "{said}");
}

/// Waits for the report on the study's latest revision, which holds so many objects, with nothing left to do.
fn concluded(appliance: &Appliance, study: &str, objects: usize) -> Value {
    until("the report on all objects", || {
        let jobs = appliance.jobs_ended(study);
        let failed: Vec<_> = jobs.iter().filter(|job| job["state"] == "failed").collect();
        assert!(failed.is_empty(), "{failed:?}");
        let reports = appliance.reports(study);
        let latest = reports.iter().max_by_key(|r| r["revision"].as_u64())?;
        let held = latest["evidence"].as_array().map_or(0, Vec::len);
        (held == objects).then(|| latest.clone())
    })
}

fn report_object(report: &Value) -> &str {
    let objects = report["objects"].as_array().expect("objects");
    assert_eq!(objects.len(), 1, "a structured report: {report}");
    objects[0]["instance"].as_str().expect("a UID")
}

/// What dcmdump says of a result object, as it lies in the store of a peer that retrieves it.
fn dumped(appliance: &Appliance, report: &Value) -> Option<String> {
    let url = report["objects"][0]["wado_url"].as_str().expect("a URL");
    let path = &url[url.find("/dicomweb").expect("a DICOMweb path")..];
    let file = appliance.dir.path().join(report_object(report));
    let url = format!("https://{}{path}", appliance.https);
    let ca = appliance.ca();
    let args = [
        url.as_str(),
        &appliance.token,
        ca.to_str().expect("a path"),
        file.to_str().expect("a path"),
    ];
    python("wado.py", &args)?;
    Some(run(Command::new(program("dcmdump")?).arg(file)))
}

/// The tracking UIDs (112040, DCM) in what dcmdump says of a structured report.
fn tracked(dump: &str) -> BTreeSet<&str> {
    let items = dump.split("112040").skip(1);
    let value = |item: &'_ str| item.find("(0040,a124) UI [").map(|at| at + 16);
    items
        .filter_map(|item| item[value(item)?..].split(']').next())
        .collect()
}

#[test]
fn a_study_in_pieces_late_twice_and_changed_ends_as_it_should() {
    let Some(appliance) = started() else { return };
    let pieces = [
        copy(&appliance, "first.dcm", &[]),
        copy(&appliance, "second.dcm", &["-gin"]),
        copy(
            &appliance,
            "third.dcm",
            &["-gin", "-gse", "-m", "Modality=OT"],
        ),
    ];
    let study = study_of(&pieces[0]);
    // Three associations, two modalities.
    for piece in &pieces {
        send(&appliance, &[piece]);
    }
    let whole = concluded(&appliance, &study, 3);
    let first_revision = whole["revision"].as_u64().expect("a revision");

    // Late: another revision, whose report supersedes the earlier one by reference.
    let late = copy(&appliance, "late.dcm", &["-gin"]);
    send(&appliance, &[&late]);
    let superseding = concluded(&appliance, &study, 4);
    assert_eq!(superseding["revision"].as_u64(), Some(first_revision + 1));
    if let Some(dump) = dumped(&appliance, &superseding) {
        let sequence = dump.split("PredecessorDocumentsSequence").nth(1);
        let sequence = sequence.expect("a predecessor");
        assert!(sequence.contains(report_object(&whole)), "{sequence}");
        // What is found again keeps its name.
        let before = dumped(&appliance, &whole).expect("the earlier report");
        let (before, now) = (tracked(&before), tracked(&dump));
        assert!(
            !before.is_empty() && before.is_subset(&now),
            "{before:?} {now:?}"
        );
    }

    // Twice: nothing. Other bytes under the same UID: both are kept, and the study is looked at again.
    send(&appliance, &[&late]);
    let dcmodify = program("dcmodify").expect("dcmodify");
    run(Command::new(dcmodify)
        .args(["-nb", "-i", "0010,4000=corrected"])
        .arg(&late));
    send(&appliance, &[&late]);
    let last = until("the report on the changed object", || {
        let report = concluded(&appliance, &study, 4);
        (report["revision"].as_u64() > Some(first_revision + 1)).then_some(report)
    });
    assert_eq!(last["revision"].as_u64(), Some(first_revision + 2));
    let held = appliance.json(&format!("/api/v1/studies/{study}"));
    assert_eq!(
        (&held["instances"], &held["revision"]),
        (&4.into(), &last["revision"])
    );
    let reports = appliance.reports(&study).len() as u64;
    assert!(
        reports >= 3 && reports <= first_revision + 2,
        "none is lost: {reports}"
    );
}

#[test]
fn an_urgent_study_overtakes_all_that_have_not_begun() {
    let Some(appliance) = started() else { return };
    let routine: Vec<_> = (0..ROUTINE)
        .map(|n| copy(&appliance, &format!("{n}.dcm"), &["-gst", "-gse", "-gin"]))
        .collect();
    let files: Vec<_> = routine.iter().map(PathBuf::as_path).collect();
    send(&appliance, &files);
    let infers = || -> Vec<Value> {
        let jobs = appliance.json("/api/v1/jobs?limit=1000");
        let jobs = jobs["jobs"].as_array().cloned().expect("a list of jobs");
        let infers = jobs
            .into_iter()
            .filter(|job| job["work"]["kind"] == "infer");
        infers.collect()
    };
    until("routine work in hand", || {
        infers()
            .iter()
            .any(|job| job["state"] == "leased")
            .then_some(())
    });
    let changes = ["-gst", "-gse", "-gin", "-i", "StudyDescription=chest STAT"];
    let urgent = copy(&appliance, "urgent.dcm", &changes);
    send(&appliance, &[&urgent]);
    let study = study_of(&urgent);
    let job = appliance.jobs_ended(&study);
    let job = job
        .iter()
        .find(|job| job["work"]["kind"] == "infer")
        .expect("its inference");
    assert_eq!(
        (&job["state"], &job["priority"]),
        (&"done".into(), &"stat".into())
    );
    assert_eq!(job["work"]["rule"], "text, urgent", "both rules asked");
    let (planned, ended) = (job["created_at"].to_string(), job["ended_at"].to_string());
    let others = infers();
    let between = |other: &&Value| {
        let end = other["ended_at"].to_string();
        other["id"] != job["id"] && other["state"] == "done" && planned < end && end < ended
    };
    // The one that was in hand when it came.
    assert!(others.iter().filter(between).count() <= 1, "{others:?}");
    let waiting = others
        .iter()
        .filter(|job| job["state"] == "waiting")
        .count();
    assert!(waiting > 0, "there was something to overtake");
}
