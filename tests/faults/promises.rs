//! What an appliance acknowledged while it was sent to, and whether it kept it.

use crate::support::*;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The rule under which every ultrasound is looked at, and the model that does.
pub(crate) const RULE: &str = "[[rules]]\nname = 'text'\nmodels = ['burned-in-text']\nidle_timeout_s = 1\n\
     when = { modalities = ['US'] }\n";
pub(crate) const MODEL: &str = "burned-in-text";
/// What stands before a hash that is of the data set alone.
const OF_DATA_SET: &str = "data-set:";
/// A file's preamble and prefix, and the length of the rest of its header (PS3.10 section 7.1): an element of a number, which
/// counts from behind itself.
const PREAMBLE_BYTES: usize = 132;
const GROUP_LENGTH_BYTES: usize = 12;
const NUMBER_BYTES: usize = 4;

/// Acknowledged objects: `study instance modality sha256`, the last of the file or, marked so, of the data set.
#[derive(Debug, Default)]
pub(crate) struct Promises(BTreeSet<String>);

/// Sends by C-STORE and STOW-RS at once until the appliance dies.
pub(crate) struct Sender(Option<Child>);

impl Sender {
    pub(crate) fn start(appliance: &Appliance, round: u32) -> Option<Self> {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/faults/send_until_cut.py"
        );
        let child = Command::new(venv("python")?)
            .arg(script)
            .args([
                appliance.dicom.port().to_string(),
                appliance.https.port().to_string(),
            ])
            .args([&appliance.token, &round.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Some(Self(Some(child.expect("python"))))
    }

    /// Ends it and gives what was acknowledged.
    pub(crate) fn end(mut self, promises: &mut Promises) {
        let mut child = self.0.take().expect("a sender");
        let _ = child.kill(); // what was acknowledged it has printed
        let output = child.wait_with_output().expect("the sender");
        promises.0.extend(
            String::from_utf8_lossy(&output.stdout)
                .lines()
                .map(str::to_owned),
        );
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

impl Promises {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Waits until nothing is left to do, and asks for everything: the log whole, every object there and its bytes right,
    /// one result for each revision of each study that a rule matches.
    pub(crate) fn are_kept_by(&self, appliance: &Appliance) {
        idle(appliance);
        assert!(
            jobs(appliance, "failed").is_empty(),
            "no job failed: {:?}",
            jobs(appliance, "failed")
        );
        let log = appliance.pericard(&["audit", "verify"]);
        assert!(log.starts_with("ok: "), "{log}");
        let files = files_of(&appliance.data().join("objects"));
        let mut of_study: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for line in &self.0 {
            let (study, rest) = line.split_once(' ').expect("a study and more");
            of_study.entry(study).or_default().push(rest);
        }
        for (study, lines) in of_study {
            self.study_is_kept(appliance, study, &lines, &files);
        }
    }

    fn study_is_kept(
        &self,
        appliance: &Appliance,
        study: &str,
        lines: &[&str],
        files: &BTreeMap<String, PathBuf>,
    ) {
        let held = appliance.json(&format!("/api/v1/studies/{study}"));
        let objects = held["objects"].as_array().expect("objects").iter();
        let objects: BTreeMap<&str, &str> = objects
            .filter_map(|object| Some((object["instance"].as_str()?, object["sha256"].as_str()?)))
            .collect();
        for line in lines {
            let mut words = line.split(' ');
            let (instance, sha256) = (
                words.next().expect("an instance"),
                words.nth(1).expect("a hash"),
            );
            let Some(held) = objects.get(instance) else {
                panic!("acknowledged and lost: {study} {line}")
            };
            let Some(file) = files.get(*held) else {
                panic!("no file with these bytes: {study} {line}")
            };
            let is_sent = match sha256.strip_prefix(OF_DATA_SET) {
                Some(sha256) => sha256 == data_set_hash(file),
                None => sha256 == *held,
            };
            assert!(is_sent, "other bytes are held: {study} {line}");
        }
        if lines.iter().any(|line| line.contains(" US ")) {
            let revision = held["revision"].as_u64().expect("a revision");
            let reports = appliance.reports(study);
            assert!(revision > 0, "{study} was never complete");
            assert_eq!(
                reports.len() as u64,
                revision,
                "one result for each revision of {study}: {reports:?}"
            );
        }
    }
}

/// Waits until no job waits or runs. After hundreds of rounds there are many: it waits anew whenever one has ended.
pub(crate) fn idle(appliance: &Appliance) {
    let open = || jobs(appliance, "waiting").len() + jobs(appliance, "leased").len();
    let mut left = open();
    while left > 0 {
        left = until("the end of an open job", || {
            Some(open()).filter(|now| *now < left)
        });
    }
}

/// The jobs in this state.
pub(crate) fn jobs(appliance: &Appliance, state: &str) -> Vec<Value> {
    let page = appliance.json(&format!("/api/v1/jobs?state={state}&limit=1000"));
    page["jobs"].as_array().expect("a list of jobs").clone()
}

/// The SHA-256 of what a file holds behind its header.
fn data_set_hash(file: &Path) -> String {
    let bytes = std::fs::read(file).expect("an object file");
    let (head, rest) = bytes
        .split_at_checked(PREAMBLE_BYTES + GROUP_LENGTH_BYTES)
        .expect("a file header");
    let length = head[head.len() - NUMBER_BYTES..]
        .try_into()
        .map(u32::from_le_bytes);
    let data_set = rest.get(length.expect("a number") as usize..);
    format!("{:x}", Sha256::digest(data_set.expect("a data set")))
}

/// Every object file by its SHA-256, as sha256sum gives it; each must be the one in its name.
fn files_of(objects: &Path) -> BTreeMap<String, PathBuf> {
    let mut command = Command::new("find");
    command
        .arg(objects)
        .args(["-name", "*.dcm", "-exec", "sha256sum", "{}", "+"]);
    let said = run(&mut command);
    let of_line = |line: &str| {
        let (sha256, path) = line.split_once("  ").expect("a hash and a path");
        let name = Path::new(path)
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        assert!(name.starts_with(sha256), "corrupt: {path} has {sha256}");
        (sha256.to_owned(), PathBuf::from(path))
    };
    said.lines().map(of_line).collect()
}
