//! Malformed files of our own making, sent live through both doors: every sender gets an answer in its protocol, no
//! process but a reader pays for it, and the good object right after each of them is taken at once. After each group comes
//! one that a model looks at, too.

use crate::strangers::resident_kib;
use crate::support::*;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Not fewer kinds of malformed files than this.
const KINDS_MIN: usize = 100;
/// What all of them together may cost the server, KiB: nothing may grow with what a file claims.
const SERVER_GROWTH_MAX_KIB: u64 = 256 * 1024;
/// What a worker may have in memory over any of them, far below its cap: twice what was seen.
const WORKER_PEAK_MAX_KIB: u64 = 1024 * 1024;
/// How long the acceptance of a good object may take right after a malformed one, its association or connection included.
const GOOD_S_MAX: f64 = 1.0;
/// Between two looks at the workers.
const LOOK_EVERY_MS: u64 = 5;
/// A stream over which the JPEG 2000 decoder panics, found by the fuzz target.
const FOUND_BY_FUZZING: &str = "tests/fuzz/seeds/codec/jpeg2000-that-panics";
/// What the script calls the good objects that no model looks at.
const RIGHT_AFTER: &str = "right_after:";
/// Objects that name a path, a command or nothing where their UID belongs.
const WRONG_UIDS: [&str; 2] = ["texts: the instance", "texts: the study"];
const RULES: &str = "
attempts_max = 2
[[rules]]
name = 'text'
models = ['burned-in-text']
idle_timeout_s = 1
when = { modalities = ['OT'] }
";

#[test]
fn malformed_files_cost_nobody_anything_but_their_sender() {
    let Some(mut appliance) = Appliance::start(Given {
        toml: RULES,
        models: &["burned-in-text"],
    }) else {
        return;
    };
    let pid = appliance.process().id();
    let before = resident_kib(pid);
    let (peaks, over) = (Mutex::default(), AtomicBool::new(false));
    let (said, jobs) = std::thread::scope(|scope| {
        scope.spawn(|| watch(pid, &peaks, &over));
        let sent = send(&appliance);
        let jobs = sent.as_deref().map(|said| ended(&appliance, said));
        over.store(true, Ordering::Relaxed);
        (sent, jobs)
    });
    let (Some(said), Some(jobs)) = (said, jobs) else {
        return;
    };
    let growth = resident_kib(pid).saturating_sub(before);
    let (good, malformed): (Vec<_>, Vec<_>) = said.iter().partition(|one| is_good(one));
    let (after, good): (Vec<_>, Vec<_>) = good.into_iter().partition(|one| is_right_after(one));
    assert!(malformed.len() >= KINDS_MIN, "{}", malformed.len());
    assert_eq!(after.len(), malformed.len(), "one after each");
    for one in &malformed {
        // Every context is agreed to, so that "not negotiated" is no answer either.
        assert!(one["dimse"].is_u64(), "no DIMSE response: {one}");
        let http = one["http"].as_u64();
        assert!(http.is_some_and(|s| (200..500).contains(&s)), "{one}");
    }
    let named = |one: &&&Value| {
        one["name"]
            .as_str()
            .is_some_and(|name| WRONG_UIDS.iter().any(|one| name.starts_with(one)))
    };
    for one in malformed.iter().filter(named) {
        let taken = one["dimse"] == 0 || one["http"] == 200;
        assert!(!taken, "a UID that is none was taken for one: {one}");
    }
    for one in good.iter().chain(&after) {
        assert!(one["dimse"] == 0 && one["http"] == 200, "{one}");
    }
    for one in &good {
        assert_eq!(jobs[study(one)]["state"], "done", "{one}");
    }
    let untaken = malformed.iter().filter(|one| one["dimse"] != 0).count();
    let failed = jobs.values().filter(|job| job["state"] == "failed").count();
    let lost = jobs
        .values()
        .filter(|job| class(job) == Some("worker_lost"));
    let slowest = |door: &str| {
        good.iter()
            .chain(&after)
            .filter_map(|one| one[door].as_f64())
            .fold(0.0, f64::max)
    };
    let peaks = peaks.into_inner().expect("peaks");
    eprintln!(
        "{} malformed: {untaken} refused at the door; of {} jobs {failed} failed, {} over a lost worker; \
         server +{growth} KiB; peak of the {} workers seen {} KiB; slowest good object {} s by C-STORE, {} s by STOW",
        malformed.len(),
        jobs.len(),
        lost.count(),
        peaks.len(),
        peaks
            .values()
            .map(|peak: &Peak| peak.kib)
            .max()
            .unwrap_or(0),
        slowest("dimse_s"),
        slowest("http_s"),
    );
    for door in ["dimse_s", "http_s"] {
        let slowest = slowest(door);
        assert!(slowest < GOOD_S_MAX, "{door}: {slowest}");
    }
    assert!(appliance.process().is_running() && appliance.process().id() == pid);
    assert!(
        growth < SERVER_GROWTH_MAX_KIB,
        "the server grew by {growth} KiB"
    );
    assert!(!peaks.is_empty(), "no worker was seen");
    for (worker, peak) in &peaks {
        assert!(
            peak.kib < peak.cap_kib,
            "worker {worker}: {} of {} KiB",
            peak.kib,
            peak.cap_kib
        );
        assert!(
            peak.kib < WORKER_PEAK_MAX_KIB,
            "worker {worker}: {} KiB",
            peak.kib
        );
    }
    assert!(appliance.pericard(&["audit", "verify"]).starts_with("ok: "));
}

/// What was sent and what was answered, line by line.
fn send(appliance: &Appliance) -> Option<Vec<Value>> {
    let [dicom, https] = [appliance.dicom, appliance.https].map(|door| door.port().to_string());
    let ca = appliance.ca();
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOUND_BY_FUZZING);
    let [ca, found] = [&ca, &found].map(|path| path.to_str().expect("a path in UTF-8"));
    let said = python(
        "malformed.py",
        &[&dicom, &https, ca, &appliance.token, found],
    )?;
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    Some(said.lines().map(line).collect())
}

/// The inference of each study of which an object was taken, once it has ended: done, or failed where one can see it.
fn ended(appliance: &Appliance, said: &[Value]) -> BTreeMap<String, Value> {
    let taken: BTreeSet<_> = said
        .iter()
        .filter(|one| one["dimse"] == 0 && !is_right_after(one))
        .map(study)
        .collect();
    let jobs_of = |name: &&str| {
        let jobs = appliance.jobs_ended(name);
        let inference = jobs.into_iter().find(|job| job["work"]["kind"] == "infer");
        (String::from(*name), inference.expect("an inference"))
    };
    taken.iter().map(jobs_of).collect()
}

fn is_good(one: &Value) -> bool {
    let is = |name: &str| name.starts_with("good:") || name.starts_with(RIGHT_AFTER);
    one["name"].as_str().is_some_and(is)
}

fn is_right_after(one: &Value) -> bool {
    let is = |name: &str| name.starts_with(RIGHT_AFTER);
    one["name"].as_str().is_some_and(is)
}

fn study(one: &Value) -> &str {
    one["study"].as_str().expect("a study")
}

fn class(job: &Value) -> Option<&str> {
    job["last_failure"]["class"].as_str()
}

/// The most that a worker had in memory, what it was handed included, and what its walls let it have of its own: the
/// reader's `READER_BYTES`, and a model's budget with `BESIDE_BUDGET_BYTES`. The walls do not count what is handed over, nor
/// what is mapped of files, so that a worker can be found here beyond its cap.
struct Peak {
    kib: u64,
    cap_kib: u64,
}

/// Notes the peak of every child of that process, as often as can be, until it is over.
fn watch(parent: u32, peaks: &Mutex<BTreeMap<u32, Peak>>, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let mut peaks = peaks.lock().expect("peaks");
        for child in children(parent) {
            let read = |file| std::fs::read_to_string(format!("/proc/{child}/{file}")).ok();
            let number = |text: &str, line: &str, word: usize| -> Option<u64> {
                let line = text.lines().find(|l| l.starts_with(line))?;
                line.split_whitespace().nth(word)?.parse().ok()
            };
            let kib = read("status").and_then(|text| number(&text, "VmHWM:", 1));
            // A process that has not locked itself in yet has no cap, and has read nothing.
            let cap = read("limits").and_then(|text| number(&text, "Max data size", 3));
            if let (Some(kib), Some(cap)) = (kib, cap) {
                let cap_kib = cap / 1024;
                peaks.insert(child, Peak { kib, cap_kib });
            }
        }
        drop(peaks);
        std::thread::sleep(Duration::from_millis(LOOK_EVERY_MS)); // another process's memory cannot be awaited
    }
}

fn children(parent: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{parent}/task"));
    let lists = threads
        .into_iter()
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("children")).ok());
    let words = lists.collect::<Vec<_>>().join(" ");
    words
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}
