//! A worker lost at every stage of a job, through the real doors: one attempt each, and the job ends well; one that is
//! lost every time ends its job visibly and nobody else's.

use crate::support::{Appliance, Given, run, sample, study_of, until};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// From the end of a volume's reader to the question to the model there is next to nothing to do.
const VOLUME_TO_MODEL_MS: u64 = 1000;

const RULES: &str = "
attempts_max = 3
[[rules]]
name = 'text'
models = ['burned-in-text']
idle_timeout_s = 1
when = { modalities = ['US'] }
[[rules]]
name = 'brain'
models = ['brain-extraction']
idle_timeout_s = 1
when = { modalities = ['MR'] }
";

/// The workers of that kind that this appliance has at the moment.
fn workers(appliance: &mut Appliance, kind: &str) -> Vec<u32> {
    let parent = appliance.process().id().to_string();
    let numbers = std::fs::read_dir("/proc").expect("processes");
    let numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_one = |pid: &u32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit_once(')').map_or("", |(_, after)| after);
        let is_child = after_name.split_ascii_whitespace().nth(1) == Some(&parent);
        let mut words = command.split(|byte| *byte == 0);
        let is_kind = words.any(|word| word == b"worker") && words.next() == Some(kind.as_bytes());
        is_child && is_kind && !after_name.trim_start().starts_with('Z')
    };
    numbers.filter(is_one).collect()
}

fn signal(pid: u32, signal: &str) {
    // It may have ended in between.
    let _ = Command::new("kill")
        .args([&format!("-{signal}"), &pid.to_string()])
        .output();
}

fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("the sample");
    let mut files: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
    files.sort();
    files
}

fn inference(jobs: &[Value]) -> &Value {
    let found = jobs.iter().find(|job| job["work"]["kind"] == "infer");
    found.expect("an inference")
}

/// Sends a sample with this stage's worker stopped, kills it once the job stands still in it, and waits for the end.
fn lost_once(appliance: &mut Appliance, name: &str, kind: &str) {
    let Some(dir) = sample(name) else { return };
    let is_volume = files(&dir).len() > 1;
    let stopped = until("a worker", || {
        let workers = workers(appliance, kind);
        (!workers.is_empty()).then_some(workers)
    });
    stopped.iter().for_each(|pid| signal(*pid, "STOP"));
    let spare = workers(appliance, "dicom");
    let study = study_of(&files(&dir)[0]);
    run(&mut appliance.command(&["submit", dir.to_str().expect("a path")]));
    until("the job's lease", || {
        let jobs = appliance.json(&format!("/api/v1/jobs?study={study}"));
        let jobs = jobs["jobs"].as_array().cloned().unwrap_or_default();
        jobs.iter()
            .any(|job| job["work"]["kind"] == "infer" && job["state"] == "leased")
            .then_some(())
    });
    if kind == "imaging" {
        // The reader is done with when the spare one is the only one.
        until("the model's turn", || {
            (!workers(appliance, "dicom").is_empty()).then_some(())
        });
    }
    if kind == "imaging" && is_volume {
        // A volume's reader ends before the model is asked. That the model was asked cannot be seen from outside.
        until("the end of the reader", || {
            spare.iter().all(|pid| !exists(*pid)).then_some(())
        });
        std::thread::sleep(Duration::from_millis(VOLUME_TO_MODEL_MS));
    }
    stopped.iter().for_each(|pid| signal(*pid, "KILL"));
    let jobs = appliance.jobs_ended(&study);
    let job = inference(&jobs);
    assert_eq!(job["state"], "done", "{job:#}");
    assert_eq!(job["attempts"], 2, "{job:#}");
    assert_eq!(job["last_failure"]["class"], "worker_lost", "{job:#}");
    assert!(stopped.iter().all(|pid| !exists(*pid)));
    assert_eq!(appliance.reports(&study).len(), 1);
}

#[test]
fn a_reader_lost_over_frames_costs_one_attempt() {
    let models = &["burned-in-text"];
    let Some(mut appliance) = Appliance::start(Given {
        toml: RULES_ONE,
        models,
    }) else {
        return;
    };
    stand(&appliance);
    lost_once(&mut appliance, "us1", "dicom");
}

/// Readiness tells which walls are in force, as a worker has tried them.
fn stand(appliance: &Appliance) {
    let walls = appliance.json("/readyz")["walls"].clone();
    let stands = |name: &str| {
        let mut walls = walls.as_array().expect("a list of walls").iter();
        walls.any(|wall| wall["name"] == name && wall["stands"] == true)
    };
    for name in [
        "network namespace",
        "landlock",
        "seccomp",
        "no new privileges",
        "limits",
    ] {
        assert!(stands(name), "{name}: {walls:#}");
    }
}

#[test]
fn a_model_lost_over_frames_costs_one_attempt() {
    let models = &["burned-in-text"];
    let Some(mut appliance) = Appliance::start(Given {
        toml: RULES_ONE,
        models,
    }) else {
        return;
    };
    lost_once(&mut appliance, "us1", "imaging");
}

#[test]
fn a_reader_lost_over_a_volume_costs_one_attempt() {
    let models = &["burned-in-text", "brain-extraction"];
    let Some(mut appliance) = Appliance::start(Given {
        toml: RULES,
        models,
    }) else {
        return;
    };
    lost_once(&mut appliance, "t1-head", "dicom");
}

#[test]
fn a_model_lost_over_a_volume_costs_one_attempt() {
    let models = &["brain-extraction"];
    let Some(mut appliance) = Appliance::start(Given {
        toml: RULES_VOLUME,
        models,
    }) else {
        return;
    };
    lost_once(&mut appliance, "t1-head", "imaging");
}

#[test]
fn a_study_whose_reader_is_lost_every_time_ends_visibly_and_its_neighbour_goes_on() {
    let models = &["burned-in-text"];
    let Some(mut appliance) = Appliance::start(Given {
        toml: RULES_ONE,
        models,
    }) else {
        return;
    };
    let (Some(poison), Some(good)) = (sample("us1"), sample("pelvis")) else {
        return;
    };
    let study = study_of(&files(&poison)[0]);
    run(&mut appliance.command(&["submit", poison.to_str().expect("a path")]));
    let job = until("the end of the poisoned job", || {
        for pid in workers(&mut appliance, "dicom") {
            signal(pid, "KILL");
        }
        let jobs = appliance.json(&format!("/api/v1/jobs?study={study}"));
        let jobs = jobs["jobs"].as_array().cloned().unwrap_or_default();
        jobs.into_iter()
            .find(|job| job["work"]["kind"] == "infer" && job["state"] == "failed")
    });
    assert_eq!(job["attempts"], 3, "{job:#}");
    let id = job["id"].to_string();
    let shown = appliance.pericard(&["jobs", "show", &id]);
    assert!(
        shown.contains("failed") && shown.contains("killed"),
        "{shown}"
    );
    let audit = appliance.pericard(&["audit", "show"]);
    assert!(audit.contains("fail"), "{audit}");
    run(&mut appliance.command(&["submit", good.to_str().expect("a path")]));
    let neighbour = study_of(&files(&good)[0]);
    let jobs = appliance.jobs_ended(&neighbour);
    assert_eq!(inference(&jobs)["state"], "done", "{jobs:#?}");
    assert_eq!(inference(&jobs)["attempts"], 1);
    let (status, ready) = appliance.get("/readyz");
    let ready: Value = serde_json::from_str(&ready).expect("JSON");
    assert_eq!(status, 200, "{ready:#}");
    let walls = ready["walls"].as_array().expect("walls");
    assert!(
        walls
            .iter()
            .any(|w| w["name"] == "seccomp" && w["stands"] == true),
        "{ready:#}"
    );
}

/// For the other alone: then there is one model's worker, and it is the one that is lost.
const RULES_VOLUME: &str = "
attempts_max = 3
[[rules]]
name = 'brain'
models = ['brain-extraction']
idle_timeout_s = 1
when = { modalities = ['MR'] }
";

/// For one model.
const RULES_ONE: &str = "
attempts_max = 3
[[rules]]
name = 'text'
models = ['burned-in-text']
idle_timeout_s = 1
when = { modalities = ['US'] }
";
