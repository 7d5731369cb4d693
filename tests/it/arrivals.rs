//! Studies that arrive in pieces, late, twice, changed, or beside fifty others: each with its end state.

use crate::reload::Held;
use crate::support::*;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The first line falls into the section that the tests' own configuration ends with, `[jobs]`.
const CONFIGURATION: &str = "concurrent_max = 1\n\
    [[rules]]\nname = 'text'\nmodels = ['burned-in-text']\nidle_timeout_s = 1\nwhen.modalities = ['US', 'OT']\n\
    [[rules]]\nname = 'urgent'\nmodels = ['burned-in-text']\npriority = 'stat'\nidle_timeout_s = 1\n\
    when.descriptions = ['*stat*']\n";

/// How long the routine studies are held, seconds: longer than it takes to assemble all of them on a slow machine.
const HELD_S: u32 = 60;
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
    started_with(CONFIGURATION)
}

fn started_with(toml: &str) -> Option<Appliance> {
    sample("us1")?;
    program("dcmodify")?;
    program("storescu")?;
    Appliance::start(Given {
        toml,
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
    if let (Some(before), Some(now)) = (dumped(&appliance, &superseding), dumped(&appliance, &last))
    {
        // The same pictures under other bytes: the same findings, by their old names.
        assert_eq!(tracked(&before), tracked(&now));
    }
    none_is_lost(&appliance, &study, first_revision + 2);
}

/// Every revision was looked at, or given up unbegun because the next was there already; the last three, whose reports were
/// waited for, were looked at.
fn none_is_lost(appliance: &Appliance, study: &str, last: u64) {
    let jobs = appliance.jobs_ended(study);
    let state_of = |revision: u64| {
        let of =
            |job: &&Value| job["work"]["kind"] == "infer" && job["work"]["revision"] == revision;
        let states: Vec<_> = jobs
            .iter()
            .filter(of)
            .map(|job| job["state"].to_string())
            .collect();
        assert_eq!(states.len(), 1, "revision {revision}: {jobs:?}");
        states[0].clone()
    };
    let states: Vec<_> = (1..=last).map(state_of).collect();
    let (early, looked_at) = states.split_at(states.len() - 3);
    assert!(
        looked_at.iter().all(|state| state == "\"done\""),
        "{states:?}"
    );
    let ended = |state: &String| ["\"done\"", "\"cancelled\""].contains(&state.as_str());
    assert!(early.iter().all(ended), "{states:?}");
    let revisions = |state: &str| -> Vec<u64> {
        let is = |revision: &u64| states[*revision as usize - 1] == state;
        (1..=last).filter(is).collect()
    };
    let reports = appliance.reports(study);
    let mut reported: Vec<u64> = reports
        .iter()
        .filter_map(|r| r["revision"].as_u64())
        .collect();
    reported.sort_unstable();
    assert_eq!(
        reported,
        revisions("\"done\""),
        "each of them has its report"
    );
}

/// What there is to do for a study, of whichever kind, whether it has ended or not.
fn jobs_of(appliance: &Appliance, study: &str) -> Vec<String> {
    let jobs = appliance.json(&format!("/api/v1/jobs?study={study}"));
    let jobs = jobs["jobs"].as_array().expect("a list of jobs").iter();
    jobs.map(|job| job["work"]["kind"].as_str().expect("a kind").to_owned())
        .collect()
}

/// A study of its own that comes later than what was sent before, and is done: what had the same idle time is over it too.
fn another_is_done(appliance: &Appliance, name: &str, changes: &[&str]) {
    let file = copy(
        appliance,
        name,
        &[&["-gst", "-gse", "-gin"], changes].concat(),
    );
    send(appliance, &[&file]);
    concluded(appliance, &study_of(&file), 1);
}

#[test]
fn a_study_waits_for_what_its_rule_requires_however_long_nothing_comes() {
    let rule = |name: &str, more: &str| {
        format!(
            "[[rules]]\nname = '{name}'\nmodels = ['burned-in-text']\nidle_timeout_s = 1\n\
             when.descriptions = ['{name}']\n{more}"
        )
    };
    let requires =
        "wait_max_s = 3600\nrequires = [{ modalities = ['US'] }, { modalities = ['OT'] }]\n";
    let toml = [rule("pair", requires), rule("alone", "")].concat();
    let Some(appliance) = started_with(&toml) else {
        return;
    };
    let changes = ["-gst", "-gse", "-gin", "-i", "StudyDescription=pair"];
    let first = copy(&appliance, "first.dcm", &changes);
    let study = study_of(&first);
    send(&appliance, &[&first]);
    another_is_done(&appliance, "alone.dcm", &["-i", "StudyDescription=alone"]);
    assert_eq!(jobs_of(&appliance, &study), ["assemble"], "half of a pair");

    let second = appliance.dir.path().join("second.dcm");
    std::fs::copy(&first, &second).expect("a copy");
    run(Command::new(program("dcmodify").expect("dcmodify"))
        .args(["-nb", "-gse", "-gin", "-m", "Modality=OT"])
        .arg(&second));
    send(&appliance, &[&second]);
    let report = concluded(&appliance, &study, 2);
    assert_eq!(report["revision"], 1, "{report}");
    assert_eq!(appliance.reports(&study).len(), 1);
}

#[test]
fn a_study_waits_for_the_association_over_which_it_comes() {
    let Some(python) = venv("python") else { return };
    let Some(appliance) = started() else { return };
    let file = copy(&appliance, "open.dcm", &["-gst", "-gse", "-gin"]);
    let study = study_of(&file);
    let mut held = Held::open(&python, appliance.dicom.port(), &file);
    assert_eq!(held.send_and_stay(), "0 0");
    another_is_done(&appliance, "alone.dcm", &[]);
    assert_eq!(jobs_of(&appliance, &study), ["assemble"], "it is open");
    held.end();
    let report = concluded(&appliance, &study, 1);
    assert_eq!(report["revision"], 1, "{report}");
}

#[test]
fn an_urgent_study_is_delivered_before_all_that_had_not_begun() {
    let Some(storescp) = program("storescp") else {
        return;
    };
    let (archive, closed) = (free_port(), free_port());
    // The routine studies wait for earlier ones from an archive that is closed: until all of them wait.
    let toml = format!(
        "{CONFIGURATION}destinations = ['pacs']\n\
         [[rules]]\nname = 'held'\nmodels = ['burned-in-text']\nidle_timeout_s = 1\nwhen.descriptions = ['*held*']\n\
         destinations = ['pacs']\npriors = {{ from = 'closed', wait_max_s = {HELD_S} }}\n\
         [[peers]]\nname = 'pacs'\nae_title = 'ARCHIVE'\naddress = '127.0.0.1'\nport = {archive}\n\
         [[peers]]\nname = 'closed'\nae_title = 'CLOSED'\naddress = '127.0.0.1'\nport = {closed}\nfetch = ['get']\n"
    );
    let Some(appliance) = started_with(&toml) else {
        return;
    };
    let received = appliance.dir.path().join("received");
    std::fs::create_dir(&received).expect("a directory");
    let log = appliance.dir.path().join("storescp");
    let (folder, port) = (received.to_str().expect("a path"), archive.to_string());
    let args = ["+B", "-od", folder, "-aet", "ARCHIVE", &port];
    let _archive = Process::start(&storescp, &args, &log);
    let changes = ["-gst", "-gse", "-gin", "-i", "StudyDescription=held"];
    let routine: Vec<_> = (0..ROUTINE)
        .map(|n| copy(&appliance, &format!("{n}.dcm"), &changes))
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
    until(
        "every routine study's inference, none of them begun",
        || {
            let infers = infers();
            let begun = infers.iter().find(|job| job["state"] != "waiting");
            assert!(begun.is_none(), "{begun:?} was not held for long enough");
            (infers.len() == ROUTINE).then_some(())
        },
    );
    until("routine work in hand, and all the rest of it due", || {
        let infers = infers();
        let last = infers.iter().filter_map(|job| job["due_at"].as_str()).max();
        let is_due = last.is_some_and(|last| last < now().as_str());
        let in_hand = infers.iter().any(|job| job["state"] == "leased");
        (in_hand && is_due).then_some(())
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
    let planned = job["created_at"].as_str().expect("a time");
    let result = report_object(&appliance.reports(&study)[0]).to_owned();
    let arrived = until("the urgent result at the archive", || {
        let arrived = arrived(&received);
        arrived.contains(&result).then_some(arrived)
    });
    let waiting = infers()
        .iter()
        .filter(|job| job["state"] == "waiting")
        .count();
    assert!(waiting > 0, "there was something to overtake");
    // Those that came before it had ended when it was planned, but for the one that was in hand then.
    let before = arrived.iter().take_while(|uid| **uid != result);
    let ended: BTreeMap<String, String> = infers()
        .iter()
        .filter(|job| job["state"] == "done")
        .filter_map(|job| {
            let reports = appliance.reports(job["work"]["study"].as_str()?);
            let ended = job["ended_at"].as_str()?.to_owned();
            Some((report_object(&reports[0]).to_owned(), ended))
        })
        .collect();
    let overtook: Vec<_> = before
        .filter(|uid| ended[*uid].as_str() > planned)
        .collect();
    assert!(overtook.len() <= 1, "before the urgent one: {overtook:?}");
}

/// The objects that storescp took into that folder, in the order in which they came: one association brings one at a time.
fn arrived(folder: &Path) -> Vec<String> {
    let came = |file: PathBuf| {
        let written = file.metadata().and_then(|of| of.modified());
        // It names files after the kind of object and its UID.
        let name = file.file_name()?.to_str()?.split_once('.')?.1.to_owned();
        Some((written.expect("a time"), name))
    };
    let mut came: Vec<_> = files_in(folder).into_iter().filter_map(came).collect();
    came.sort();
    came.into_iter().map(|(_, name)| name).collect()
}

/// The time, as the appliance writes it.
fn now() -> String {
    let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    let millis = i64::try_from(since.as_millis()).expect("before the year 292 million");
    pericard_domain::time::Timestamp::from_millis(millis).rfc3339()
}
