//! A worker lost at every stage of a job, through the real doors: one attempt each, and the job ends well; one that is
//! lost every time ends its job visibly and nobody else's.

use crate::support::{Appliance, Given, program, python, run, sample, study_of, until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// From the end of a volume's reader to the question to the model there is next to nothing to do.
const VOLUME_TO_MODEL_MS: u64 = 1000;
/// A frame that takes a reader more than 256 MiB, pixels either way, and what each reader may have: far less than that, and
/// far more than an ordinary frame takes.
const LARGE_SIDE: u32 = 8192;
const SMALL_CAP_BYTES: u64 = 64 << 20;
/// Between two looks for a reader that is new.
const LOOK_EVERY_MS: u64 = 2;

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
    workers_of(appliance.process().id(), kind)
}

fn workers_of(parent: u32, kind: &str) -> Vec<u32> {
    let parent = parent.to_string();
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
    let subject = format!("job {id} study {study}");
    let audit = appliance.pericard(&["audit", "show", "--subject", &subject]);
    let line = audit.lines().find(|line| line.contains("fail job"));
    assert!(line.is_some_and(|line| line.contains("killed")), "{audit}");
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

/// Gives every reader of that process a smaller cap than its walls do, as soon as those stand, until it is over: so that an
/// object of a size that tests can afford is more than a reader can hold. Nobody else does anything to a reader.
fn cap_readers(parent: u32, prlimit: &Path, is_capped: &AtomicBool, is_over: &AtomicBool) {
    let mut capped = BTreeSet::new();
    while !is_over.load(Ordering::Relaxed) {
        for reader in workers_of(parent, "dicom") {
            if capped.contains(&reader) {
                continue;
            }
            // One that has not locked itself in yet has no cap, and would give itself its own.
            let limits = std::fs::read_to_string(format!("/proc/{reader}/limits"));
            let limits = limits.unwrap_or_default();
            let cap = limits
                .lines()
                .find(|line| line.starts_with("Max data size"));
            if cap.is_none_or(|line| line.contains("unlimited")) {
                continue;
            }
            let cap = format!("--data={SMALL_CAP_BYTES}");
            let pid = format!("--pid={reader}");
            if let Ok(said) = Command::new(prlimit).args([&pid, &cap]).output()
                && said.status.success()
            {
                capped.insert(reader);
                is_capped.store(true, Ordering::Relaxed);
            }
        }
        std::thread::sleep(Duration::from_millis(LOOK_EVERY_MS)); // another process's birth cannot be awaited
    }
}

/// Says that it is over, also when the test fails: whoever watches ends with it.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn an_object_that_no_reader_can_hold_is_quarantined_and_its_neighbour_goes_on() {
    let models = &["burned-in-text"];
    let Some(mut appliance) = Appliance::start(Given {
        toml: RULES_ONE,
        models,
    }) else {
        return;
    };
    let (Some(good), Some(prlimit)) = (sample("us1"), program("prlimit")) else {
        return;
    };
    let poison = appliance.dir.path().join("large.dcm");
    let (path, side) = (poison.to_str().expect("a path"), LARGE_SIDE.to_string());
    if python("large.py", &[path, &side, &side]).is_none() {
        return;
    }
    let (study, neighbour) = (study_of(&poison), study_of(&files(&good)[0]));
    let (is_capped, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let parent = appliance.process().id();
    let (lost, kept) = std::thread::scope(|scope| {
        let _over = Over(&is_over);
        scope.spawn(|| cap_readers(parent, &prlimit, &is_capped, &is_over));
        until("a reader with a small cap", || {
            is_capped.load(Ordering::Relaxed).then_some(())
        });
        for submitted in [path, good.to_str().expect("a path")] {
            run(&mut appliance.command(&["submit", submitted]));
        }
        let ended = [&study, &neighbour].map(|study| appliance.jobs_ended(study));
        let [lost, kept] = ended.map(|jobs| inference(&jobs).clone());
        (lost, kept)
    });
    assert_eq!(lost["state"], "failed", "{lost:#}");
    assert_eq!(lost["attempts"], 3, "every attempt was used up: {lost:#}");
    assert_eq!(lost["last_failure"]["class"], "worker_lost", "{lost:#}");
    let id = lost["id"].to_string();
    let why = "more memory than it may have";
    let shown = appliance.pericard(&["jobs", "show", &id]);
    for said in ["state     failed", "attempts  3", "none of 3 attempts", why] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    let subject = format!("job {id} study {study}");
    let audit = appliance.pericard(&["audit", "show", "--subject", &subject]);
    let line = audit.lines().find(|line| line.contains("fail job"));
    let line = line.unwrap_or_else(|| panic!("no line of {subject}: {audit}"));
    assert!(line.contains(why), "{line}");
    assert_eq!(kept["state"], "done", "{kept:#}");
    assert_eq!(kept["attempts"], 1, "{kept:#}");
    assert!(appliance.process().is_running());
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
