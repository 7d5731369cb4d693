//! The appliance looks after what it keeps by itself while it serves: rot is found and said, and what is kept no longer goes.

use crate::support::*;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What every test's configuration says of the storage, and what it says of the scrub beside it.
const STORAGE: &str = "idle_timeout_s = 1\n";
const NO_SCRUB: &str = "idle_timeout_s = 1\nscrub_mib_per_s = 0\n";

/// Days after which images go, and by how many a study's age is made to lie.
const KEPT_DAYS: u64 = 30;
const AGED_DAYS: u64 = KEPT_DAYS + 1;

fn configured(appliance: &Appliance, from: &str, to: &str) {
    let text = std::fs::read_to_string(appliance.config()).expect("the configuration");
    assert!(text.contains(from), "{text}");
    std::fs::write(appliance.config(), text.replacen(from, to, 1)).expect("the configuration");
}

/// Whether the figure is that.
fn figure(appliance: &Appliance, name: &str, value: u64) -> bool {
    let (status, figures) = appliance.get("/metrics");
    assert_eq!(status, 200, "{figures}");
    figures.contains(&format!("\n{name} {value}\n"))
}

fn audited(appliance: &Appliance, verb: &str) -> Vec<String> {
    let shown = appliance.pericard(&["audit", "show", "--limit", "1000"]);
    let lines = shown.lines().filter(|line| line.contains(verb));
    lines.map(str::to_owned).collect()
}

/// The kept file of the object with that digest.
fn file_of(appliance: &Appliance, sha256: &str) -> PathBuf {
    let mut find = Command::new("find");
    find.arg(appliance.data().join("objects"))
        .args(["-name", &format!("{sha256}*.dcm")]);
    let found = run(&mut find);
    assert_eq!(found.lines().count(), 1, "{found}");
    PathBuf::from(found.trim())
}

fn objects(appliance: &Appliance, study: &str) -> Vec<Value> {
    let study = appliance.json(&format!("/api/v1/studies/{study}"));
    study["objects"].as_array().expect("objects").clone()
}

/// The status of an object asked for by WADO-RS, and what is said when it is refused.
fn retrieved(appliance: &Appliance, study: &str, object: &Value) -> (u16, String) {
    let [series, instance] = ["series", "instance"].map(|id| object[id].as_str().expect("a UID"));
    let to = appliance.dir.path().join("given");
    let token = format!("Authorization: Bearer {}", appliance.token);
    let as_it_is = "Accept: application/dicom; transfer-syntax=*";
    let args = ["-H", &token, "-H", as_it_is, "--output"];
    let args = [&args[..], &[to.to_str().expect("a path")]].concat();
    let path = format!("/dicomweb/studies/{study}/series/{series}/instances/{instance}");
    let (status, _) = appliance.curl(&args, &path);
    let said = std::fs::read(to).expect("an answer");
    (status, String::from_utf8_lossy(&said).into_owned())
}

fn submit(appliance: &Appliance, path: &Path) {
    appliance.pericard(&["submit", path.to_str().expect("a path")]);
}

#[test]
fn a_flipped_bit_is_found_said_given_to_nobody_and_mended_by_sending_again() {
    let (Some(rots), Some(stays)) = (sample("us1"), sample("echo")) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some(mut appliance) = Appliance::prepare_in(dir, Given::default()) else {
        return;
    };
    // A pass over an empty store would be followed by none for a day.
    configured(&appliance, STORAGE, NO_SCRUB);
    appliance.restart();
    submit(&appliance, &rots);
    submit(&appliance, &stays);
    let [rots_in, stays_in] = [&rots, &stays].map(|folder| study_of(&files_in(folder)[0]));
    let rotten = objects(&appliance, &rots_in).remove(0);
    let whole = objects(&appliance, &stays_in).remove(0);
    let file = file_of(&appliance, rotten["sha256"].as_str().expect("a digest"));
    let mut bytes = std::fs::read(&file).expect("its bytes");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).expect("one bit");
    assert!(figure(&appliance, "pericard_damaged_objects", 0));
    configured(&appliance, NO_SCRUB, STORAGE);
    appliance.restart();
    until("the scrub to find it", || {
        figure(&appliance, "pericard_damaged_objects", 1).then_some(())
    });
    let instance = rotten["instance"].as_str().expect("a UID");
    let said = audited(&appliance, "find damage");
    assert!(said.len() == 1 && said[0].contains(instance), "{said:?}");
    let (status, why) = retrieved(&appliance, &rots_in, &rotten);
    assert!(
        status >= 400 && why.contains("damaged_object"),
        "{status} {why}"
    );
    assert_eq!(retrieved(&appliance, &stays_in, &whole).0, 200);
    submit(&appliance, &rots);
    assert!(figure(&appliance, "pericard_damaged_objects", 0));
    assert_eq!(retrieved(&appliance, &rots_in, &rotten).0, 200);
    assert!(appliance.pericard(&["audit", "verify"]).starts_with("ok: "));
}

#[test]
fn what_is_kept_no_longer_goes_by_itself_and_nothing_else_does() {
    let (Some(old), Some(new), Some(python)) = (sample("us1"), sample("echo"), venv("python"))
    else {
        return;
    };
    let rule = format!("[[retention]]\nname = 'a month'\nimages_kept_days = {KEPT_DAYS}\n");
    let given = Given {
        toml: &rule,
        models: &[],
    };
    let Some(mut appliance) = Appliance::start(given) else {
        return;
    };
    submit(&appliance, &old);
    submit(&appliance, &new);
    let [old_study, new_study] = [&old, &new].map(|folder| study_of(&files_in(folder)[0]));
    for study in [&old_study, &new_study] {
        until("a complete study", || {
            let held = appliance.json(&format!("/api/v1/studies/{study}"));
            (held["state"] == "complete").then_some(())
        });
    }
    let kept = objects(&appliance, &new_study);
    let gone = objects(&appliance, &old_study);
    let files: Vec<_> = gone
        .iter()
        .map(|object| file_of(&appliance, object["sha256"].as_str().expect("a digest")))
        .collect();
    // Nobody waits for a month: the study is made that old while nobody serves.
    appliance.process().signal("TERM");
    appliance.process().wait();
    let aged = "import sqlite3, sys\n\
        database = sqlite3.connect(sys.argv[1])\n\
        sql = 'UPDATE studies SET last_received_at = last_received_at - ? WHERE uid = ?'\n\
        assert database.execute(sql, (int(sys.argv[3]) * 86_400_000, sys.argv[2])).rowcount == 1\n\
        database.commit()\n";
    let database = appliance.data().join("pericard.db");
    let mut command = Command::new(python);
    command.args(["-c", aged]).arg(database);
    run(command.arg(&old_study).arg(AGED_DAYS.to_string()));
    appliance.restart();
    until("the old images to go", || {
        files.iter().all(|file| !file.exists()).then_some(())
    });
    assert_eq!(objects(&appliance, &old_study), Vec::<Value>::new());
    assert_eq!(objects(&appliance, &new_study), kept);
    assert_eq!(retrieved(&appliance, &new_study, &kept[0]).0, 200);
    let said = audited(&appliance, "expire study");
    assert!(said.len() == 1 && said[0].contains(&old_study), "{said:?}");
    assert!(appliance.pericard(&["audit", "verify"]).starts_with("ok: "));
}
