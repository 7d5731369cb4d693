//! `kill -9` at random moments of ingest and inference: nothing acknowledged is lost, nothing is missing or doubled.
//!
//! `PERICARD_LONG=1` (`cargo xtask test --long`) kills 500 times, the short form 20 times.

use crate::support::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const KILLS: u32 = 20;
const KILLS_LONG: u32 = 500;
/// How soon the appliance must be ready again.
const READY_AGAIN_S: u64 = 5;
/// The longest that ingest goes on before the kill, ms.
const MOMENT_MS_MAX: u64 = 1500;

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_doubled() {
    let (Some(storescp), Some(python)) = (program("storescp"), venv("python")) else {
        return;
    };
    let port = free_port();
    let toml = format!(
        "[[peers]]\nname = 'pacs'\nae_title = 'ARCHIVE'\naddress = '127.0.0.1'\nport = {port}\n\
         [[rules]]\nname = 'text'\nmodels = ['burned-in-text']\nidle_timeout_s = 1\ndestinations = ['pacs']\n\
         when = {{ modalities = ['US'] }}\n"
    );
    let Some(mut appliance) = Appliance::start(Given {
        toml: &toml,
        models: &["burned-in-text"],
    }) else {
        return;
    };
    let kills = if std::env::var_os("PERICARD_LONG").is_some() {
        KILLS_LONG
    } else {
        KILLS
    };
    let archive = appliance.dir.path().join("archive");
    std::fs::create_dir(&archive).expect("a directory");
    let log = appliance.dir.path().join("storescp");
    let args = [
        "+B",
        "-od",
        archive.to_str().expect("a path"),
        "-aet",
        "ARCHIVE",
        &port.to_string(),
    ];
    let _archive = Process::start(&storescp, &args, &log);

    let mut acknowledged = BTreeSet::new();
    let mut moments = Moments(0x5eed_cafe);
    let mut slowest = Duration::ZERO;
    for round in 0..kills {
        let mut sender = sender(&python, &appliance, round);
        std::thread::sleep(Duration::from_millis(moments.next() % MOMENT_MS_MAX)); // the random moment of the kill
        appliance.process().signal("KILL");
        let begun = Instant::now();
        appliance.restart();
        slowest = slowest.max(begun.elapsed());
        let mut sender = sender.take();
        let _ = sender.kill(); // what was acknowledged it has printed; the rest of it waits for a peer that is gone
        let output = sender.wait_with_output().expect("the sender");
        acknowledged.extend(
            String::from_utf8_lossy(&output.stdout)
                .lines()
                .map(str::to_owned),
        );
    }
    assert!(
        acknowledged.len() > kills as usize / 4,
        "the kills left time to send: {}",
        acknowledged.len()
    );
    settled(&appliance);

    let log = appliance.pericard(&["audit", "verify"]);
    assert!(log.starts_with("ok: "), "{log}");
    let studies: BTreeSet<&str> = acknowledged
        .iter()
        .filter_map(|line| line.split(' ').next())
        .collect();
    let lines_of = |study: &str| {
        let study = study.to_owned();
        acknowledged
            .iter()
            .filter(move |line| line.split_once(' ').is_some_and(|(of, _)| of == study))
    };
    for study in &studies {
        let held = appliance.json(&format!("/api/v1/studies/{study}"));
        let objects: BTreeMap<String, String> = held["objects"]
            .as_array()
            .expect("objects")
            .iter()
            .filter(|object| object["is_result"] == false)
            .map(|object| (text(&object["instance"]), text(&object["sha256"])))
            .collect();
        for line in lines_of(study) {
            let instance = line.split(' ').nth(1).expect("an instance");
            assert!(
                objects.contains_key(instance),
                "acknowledged and lost: {line}"
            );
        }
        if !lines_of(study).any(|line| line.ends_with(" US")) {
            continue; // no rule matches it
        }
        let revision = held["revision"].as_u64().expect("a revision");
        let reports = appliance.reports(study);
        let current = reports
            .iter()
            .filter(|report| report["superseded"] == false)
            .count();
        assert_eq!(
            current, 1,
            "one result of the latest revision of {study}: {reports:?}"
        );
        assert_eq!(
            reports.len() as u64,
            revision,
            "one result for each revision of {study}"
        );
    }
    delivered_once(&appliance, &archive);
    eprintln!(
        "{kills} kills, {} acknowledged, ready again within {slowest:?}",
        acknowledged.len()
    );
    assert!(
        slowest < Duration::from_secs(READY_AGAIN_S),
        "ready again only after {slowest:?}"
    );
}

/// Waits until nothing waits or runs, and everything is delivered.
fn settled(appliance: &Appliance) {
    until("an empty queue", || {
        let open = |state: &str| {
            let jobs = appliance.json(&format!("/api/v1/jobs?state={state}&limit=1000"));
            jobs["jobs"].as_array().map_or(0, Vec::len)
        };
        let mail = appliance.json("/api/v1/deliveries?limit=1000");
        let waiting = mail["deliveries"].as_array().expect("deliveries").iter();
        let waiting = waiting
            .filter(|row| row["state"] == "waiting" || row["state"] == "leased")
            .count();
        (open("waiting") + open("leased") + waiting == 0).then_some(())
    });
    let failed = appliance.json("/api/v1/jobs?state=failed");
    assert_eq!(failed["jobs"], serde_json::json!([]), "no job failed");
}

/// Every result object is in the archive as one file: a second delivery of the same object replaces the first.
fn delivered_once(appliance: &Appliance, archive: &Path) {
    let received: Vec<PathBuf> = std::fs::read_dir(archive)
        .expect("the archive")
        .map(|e| e.expect("a file").path())
        .collect();
    let mut instances = BTreeSet::new();
    let dcmdump = program("dcmdump").expect("dcmdump");
    for file in &received {
        let text = run(Command::new(&dcmdump)
            .args(["+P", "0008,0018", "-s"])
            .arg(file));
        let instance = text
            .split(['[', ']'])
            .nth(1)
            .expect("an instance")
            .to_owned();
        assert!(
            instances.insert(instance.clone()),
            "{instance} is there twice"
        );
    }
    let page = |offset: usize| {
        let studies = appliance.json(&format!("/api/v1/studies?limit=100&offset={offset}"));
        studies["studies"].as_array().cloned().expect("studies")
    };
    let pages = (0..)
        .step_by(100)
        .map(page)
        .take_while(|page| !page.is_empty());
    let results: u64 = pages
        .flatten()
        .filter_map(|study| study["results"].as_u64())
        .sum();
    assert_eq!(
        instances.len() as u64,
        results,
        "every result is delivered, and no other"
    );
}

/// A sender that is ended when the test is.
struct Sender(Option<std::process::Child>);

impl Sender {
    fn take(&mut self) -> std::process::Child {
        self.0.take().expect("a sender")
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends small ultrasound studies until the association breaks; prints `study instance` for each acknowledged object.
fn sender(python: &Path, appliance: &Appliance, round: u32) -> Sender {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/crash/send_until_killed.py"
    );
    let child = Command::new(python)
        .arg(script)
        .args([appliance.dicom.port().to_string(), round.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("python");
    Sender(Some(child))
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Moments that are the same in every run (xorshift): a failing run can be run again.
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
