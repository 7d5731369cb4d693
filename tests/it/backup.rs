//! Backups of a running appliance: cut off at many moments, restored in an empty place, and the same results there.

use crate::support::*;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

/// How often a backup is killed.
const KILLS: u32 = 12;

/// A command whose configuration stands in this file.
fn pericard(verb: &str, config: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(PERICARD);
    command.arg(verb).arg("--config").arg(config).args(args);
    command
}

/// What every study shows.
fn results(appliance: &Appliance) -> Vec<Value> {
    let studies = appliance.json("/api/v1/studies?limit=1000");
    let studies = studies["studies"].as_array().expect("studies").clone();
    let result = |study: &Value| {
        let uid = study["study"].as_str().expect("a UID");
        appliance.json(&format!("/api/v1/studies/{uid}/results"))
    };
    studies.iter().map(result).collect()
}

/// The objects of every study as it names them, each with the SHA-256 of the bytes that the archive gives.
fn served(appliance: &Appliance) -> Vec<(Value, String)> {
    let studies = appliance.json("/api/v1/studies?limit=1000");
    let studies = studies["studies"].as_array().expect("studies").clone();
    let objects = |study: &Value| {
        let uid = study["study"].as_str().expect("a UID");
        let study = appliance.json(&format!("/api/v1/studies/{uid}"));
        let objects = study["objects"].as_array().expect("objects").clone();
        let told = |object: Value| {
            let sha256 = given(appliance, uid, &object);
            assert_eq!(object["sha256"], sha256, "what is given is what is named");
            (object, sha256)
        };
        objects.into_iter().map(told).collect::<Vec<_>>()
    };
    studies.iter().flat_map(objects).collect()
}

/// The SHA-256 of an object as WADO-RS gives it.
fn given(appliance: &Appliance, study: &str, object: &Value) -> String {
    let [series, instance] = ["series", "instance"].map(|id| object[id].as_str().expect("a UID"));
    let file = appliance.dir.path().join("given");
    let token = format!("Authorization: Bearer {}", appliance.token);
    let as_it_is = "Accept: application/dicom; transfer-syntax=*";
    let to = file.to_str().expect("a path");
    let args = ["-H", &token, "-H", as_it_is, "--output", to];
    let path = format!("/dicomweb/studies/{study}/series/{series}/instances/{instance}");
    let (status, _) = appliance.curl(&args, &path);
    assert_eq!(status, 200, "{path}");
    hex::encode(Sha256::digest(std::fs::read(&file).expect("its bytes")))
}

#[test]
fn restored_on_an_empty_machine_it_shows_the_same_and_verifies() {
    let (Some(clean), Some(other)) = (sample("clean"), sample("echo")) else {
        return;
    };
    let given = Given {
        toml: RULES_TEXT,
        models: &["burned-in-text"],
    };
    let Some(mut appliance) = Appliance::start(given) else {
        return;
    };
    for path in [&clean, &other] {
        appliance.pericard(&["submit", path.to_str().expect("a path")]);
    }
    let studies = appliance.json("/api/v1/studies");
    for study in studies["studies"].as_array().expect("studies") {
        appliance.jobs_ended(study["study"].as_str().expect("a UID"));
    }
    let vault = tempfile::tempdir().expect("a folder");
    let folder = vault.path().to_str().expect("a path");
    let made = run(&mut pericard(
        "backup",
        &appliance.config(),
        &[folder, "--json"],
    ));
    let made: Value = serde_json::from_str(&made).expect("JSON");
    assert_eq!(made["lost"].as_array().map(Vec::len), Some(0), "{made}");
    let then = (results(&appliance), served(&appliance));
    assert!(!then.0.is_empty() && !then.1.is_empty());
    let first = made["name"].as_str().expect("a name").to_owned();
    let mut cut_off = 0;
    for round in 0..KILLS {
        cut_off += u32::from(kill_backup(&appliance.config(), vault.path(), round));
        run(&mut pericard(
            "backup",
            &appliance.config(),
            &[folder, "--check"],
        ));
    }
    eprintln!("{cut_off} of {KILLS} kills cut off a backup that had begun");
    assert!(cut_off > 0, "no kill came while a backup was being made");
    // The machine is lost.
    appliance.process().signal("KILL");
    appliance.process().wait();
    let config = appliance.config();
    let full = ended(&mut pericard("restore", &config, &[folder]));
    assert_eq!(
        full.status.code(),
        Some(1),
        "a place that is not empty is left alone"
    );
    std::fs::remove_dir_all(appliance.data()).expect("lost");
    let restored = run(&mut pericard(
        "restore",
        &config,
        &[folder, "--name", &first],
    ));
    assert!(restored.starts_with("restored: "), "{restored}");
    let mark = appliance.data().join("egress/restored");
    assert!(mark.exists(), "what may have been told since is marked");
    let verified = appliance.pericard(&["audit", "verify"]);
    assert!(verified.starts_with("ok: "), "{verified}");
    appliance.restart();
    assert_eq!((results(&appliance), served(&appliance)), then);
    assert!(appliance.pericard(&["audit", "verify"]).starts_with("ok: "));
}

#[test]
fn a_flipped_byte_in_the_backup_is_named() {
    let Some(clean) = sample("clean") else { return };
    let Some(mut appliance) = Appliance::start(Given::default()) else {
        return;
    };
    appliance.pericard(&["submit", clean.to_str().expect("a path")]);
    let config = appliance.config();
    let vault = tempfile::tempdir().expect("a folder");
    let folder = vault.path().to_str().expect("a path");
    run(&mut pericard("backup", &appliance.config(), &[folder]));
    let largest = blobs(vault.path())
        .into_iter()
        .max_by_key(|path| path.metadata().map_or(0, |m| m.len()))
        .expect("a file");
    let mut bytes = std::fs::read(&largest).expect("its bytes");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&largest, bytes).expect("harmed");
    appliance.process().signal("KILL");
    appliance.process().wait();
    std::fs::remove_dir_all(appliance.data()).expect("lost");
    let name = largest
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    for verb in [&["restore", folder][..], &["backup", folder, "--check"][..]] {
        let refused = ended(&mut pericard(verb[0], &config, &verb[1..]));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains(&name), "{said}");
    }
    assert!(!appliance.data().join("pericard.db").exists());
}

#[test]
fn a_study_is_erased_by_name_while_it_serves() {
    let Some(clean) = sample("clean") else { return };
    let Some(appliance) = Appliance::start(Given::default()) else {
        return;
    };
    appliance.pericard(&["submit", clean.to_str().expect("a path")]);
    let studies = appliance.json("/api/v1/studies");
    let uid = studies["studies"][0]["study"]
        .as_str()
        .expect("a UID")
        .to_owned();
    let unsure = ended(&mut pericard("erase", &appliance.config(), &[&uid]));
    assert_eq!(
        unsure.status.code(),
        Some(2),
        "without --yes nothing is erased"
    );
    let before = object_files(&appliance.data());
    let sure = [&uid, "--audit", "--yes", "--json"];
    let erased = run(&mut pericard("erase", &appliance.config(), &sure));
    let erased: Value = serde_json::from_str(&erased).expect("JSON");
    let objects = erased["objects"].as_u64().expect("a count") as usize;
    assert!(objects > 0, "{erased}");
    assert_eq!(appliance.get(&format!("/api/v1/studies/{uid}")).0, 404);
    assert!(appliance.pericard(&["audit", "verify"]).starts_with("ok: "));
    let shown = appliance.pericard(&["audit", "show", "--limit", "1000"]);
    assert!(!shown.contains(&uid), "{shown}");
    until("the files are gone", || {
        let left = object_files(&appliance.data());
        (left + objects == before).then_some(())
    });
}

/// Kills a backup that is being made, or one that is not yet or no longer; whether it had begun and was not whole.
fn kill_backup(config: &Path, vault: &Path, round: u32) -> bool {
    let left = half_made(vault);
    let folder = vault.to_str().expect("a path");
    let mut child = pericard("backup", config, &[folder, "--keep", "100"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .stdin(Stdio::null())
        .spawn()
        .expect("a backup");
    let has_begun = || half_made(vault).difference(&left).next().is_some();
    if round.is_multiple_of(2) {
        // Moments from the start of the process to beyond its end, whatever is hit.
        std::thread::sleep(Duration::from_millis(u64::from(round) * 15));
    } else {
        // Moments from its first file on.
        while !has_begun() && child.try_wait().expect("the process").is_none() {
            std::thread::sleep(Duration::from_millis(1)); // to another process there is nothing to await
        }
        std::thread::sleep(Duration::from_millis(u64::from(round)));
    }
    let _ = child.kill(); // it may be over
    child.wait().expect("gone");
    has_begun()
}

/// What lies in the folder and belongs to no backup, each with when it was last written. The next backup removes it.
fn half_made(vault: &Path) -> BTreeSet<(PathBuf, SystemTime)> {
    let files = std::fs::read_dir(vault.join("incoming")).expect("the folder's own");
    let seen = files.flatten().filter_map(|file| {
        let written = file.metadata().ok()?.modified().ok()?;
        Some((file.path(), written))
    });
    seen.collect()
}

fn blobs(vault: &Path) -> Vec<PathBuf> {
    let dirs = std::fs::read_dir(vault.join("blobs"))
        .expect("blobs")
        .flatten();
    let files = dirs.flat_map(|dir| std::fs::read_dir(dir.path()).expect("blobs").flatten());
    files.map(|file| file.path()).collect()
}

fn object_files(data: &Path) -> usize {
    let shelves = std::fs::read_dir(data.join("objects"))
        .expect("shelves")
        .flatten();
    let files = shelves.flat_map(|shelf| std::fs::read_dir(shelf.path()).into_iter().flatten());
    files
        .flatten()
        .filter(|file| file.path().extension().is_some_and(|e| e == "dcm"))
        .count()
}

const RULES_TEXT: &str = "
[[rules]]
name = 'text'
models = ['burned-in-text']
idle_timeout_s = 1
";
