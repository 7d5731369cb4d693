//! Errors of the disk, injected into the system calls of a child by strace: nothing is acknowledged falsely, and after a
//! failed sync nothing more is accepted.
//!
//! With `CI` set a missing strace fails these tests; without, they say so and pass.

use crate::site::{self, Site, at, peer};
use pericard_domain::time::StandingClock;
use pericard_store::{Store, StoreError};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const CHILD: &str = "PERICARD_STORE_FAULTY_CHILD";
const OBJECTS: u32 = 12;

/// What one run of the child came to.
#[derive(Debug)]
struct Run {
    /// For each object in turn: `ack`, `floor`, `read-only` or another word.
    said: Vec<String>,
    /// Whether an error was in fact injected.
    was_injected: bool,
}

#[test]
fn a_failed_sync_is_the_end_of_acknowledging() {
    // Where the sync fails, and up to how many-th on its thread: the database's log has one thread, files have many.
    let places = [
        ("pericard.db-wal".into(), 6),
        ("objects/20261123".into(), 1),
        (place_of(0), 1),
        (place_of(7), 1),
    ];
    for (file, up_to) in &places {
        for nth in 1..=*up_to {
            let site = Site::new();
            prepare(&site);
            let fault = format!("fsync,fdatasync:error=EIO:when={nth}");
            let Some(run) = run(&site, "honest", &fault, file) else {
                return;
            };
            assert!(run.was_injected, "{file}, sync {nth}: {run:?}");
            if let Some(wrong) = false_acknowledgement(&run) {
                panic!("{file}, sync {nth}: {wrong}\n{run:?}");
            }
            check_after(&site, &run);
        }
    }
}

/// A removal is a write as well: were its sync forgotten, the file would be back after a power cut.
#[test]
fn a_failed_sync_of_a_removal_is_the_end_too() {
    let site = Site::new();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = site.open();
        send(&store, OBJECTS).await.expect("admitted");
    });
    let fault = "fsync,fdatasync:error=EIO:when=1";
    let Some(run) = run(&site, "erasing", fault, "objects/20261123") else {
        return;
    };
    assert!(run.was_injected, "{run:?}");
    assert!(run.said.iter().all(|said| said == "read-only"), "{run:?}");
}

/// The same with a child that acknowledges whatever the store says: the check must see it.
#[test]
fn a_server_that_ignores_a_failed_sync_is_found_out() {
    let site = Site::new();
    prepare(&site);
    let fault = "fsync,fdatasync:error=EIO:when=3";
    let Some(run) = run(&site, "deaf", fault, "pericard.db-wal") else {
        return;
    };
    assert!(run.was_injected, "{run:?}");
    assert!(false_acknowledgement(&run).is_some(), "{run:?}");
}

#[test]
fn a_full_disk_refuses_one_object_and_goes_on() {
    let cases = [
        ("write:error=ENOSPC:when=1", "objects/incoming/3"),
        ("write:error=EDQUOT:when=1", "objects/incoming/3"),
        ("openat:error=ENOSPC:when=1", "objects/incoming/3"),
        ("pwrite64:error=ENOSPC:when=6", "pericard.db-wal"),
    ];
    for (fault, file) in cases {
        let site = Site::new();
        prepare(&site);
        let Some(run) = run(&site, "honest", fault, file) else {
            return;
        };
        assert!(run.was_injected, "{fault} {file}: {run:?}");
        let refused = run.said.iter().filter(|said| *said == "floor").count();
        let taken = run.said.iter().filter(|said| *said == "ack").count();
        assert_eq!(
            (refused, taken),
            (1, OBJECTS as usize - 1),
            "{fault} {file}: {run:?}"
        );
        check_after(&site, &run);
    }
}

#[test]
fn an_error_of_the_disk_while_writing_is_the_end_too() {
    let cases = [
        ("write:error=EIO:when=1", "objects/incoming/3"),
        ("pwrite64:error=EIO:when=6", "pericard.db-wal"),
        (
            "rename,renameat,renameat2:error=EIO:when=1",
            "objects/incoming/3",
        ),
    ];
    for (fault, file) in cases {
        let site = Site::new();
        prepare(&site);
        let Some(run) = run(&site, "honest", fault, file) else {
            return;
        };
        assert!(run.was_injected, "{fault} {file}: {run:?}");
        if let Some(wrong) = false_acknowledgement(&run) {
            panic!("{fault} {file}: {wrong}\n{run:?}");
        }
        check_after(&site, &run);
    }
}

/// Where the object of that number lies: the same in every data directory.
fn place_of(n: u32) -> String {
    let site = Site::new();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let path = runtime.block_on(async {
        let store = site.open();
        send(&store, n).await.expect("admitted");
        let held = store.instance(&site::instance_uid(1, n)).await;
        store.object_path(&held.expect("held"))
    });
    let place = path.strip_prefix(site.dir.path()).expect("below it");
    place.to_string_lossy().into_owned()
}

/// Makes the store beforehand, so that the faults hit serving and not making.
fn prepare(site: &Site) {
    drop(site.open());
}

/// Runs the child with that fault on that file; `None` without strace.
fn run(site: &Site, mode: &str, fault: &str, file: &str) -> Option<Run> {
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(
            std::env::var_os("CI").is_none(),
            "strace is missing: install it"
        );
        eprintln!("not tested: strace is missing; install it with apt-get install strace");
        return None;
    }
    let log = site.dir.path().join("strace.log");
    let calls = fault.split(':').next().unwrap_or_default();
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(&log)
        .args([
            "-e",
            &format!("trace={calls}"),
            "-e",
            &format!("inject={fault}"),
            "-P",
        ])
        .arg(site.dir.path().join(file))
        .arg(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "faults::child",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, format!("{mode}:{}", site.dir.path().display()))
        .output()
        .expect("strace runs");
    let out = String::from_utf8_lossy(&output.stdout);
    // The first word stands on the line that the test program began itself.
    let said = out.lines().filter_map(|line| line.split_once("said "));
    let traced = std::fs::read_to_string(&log).unwrap_or_default();
    Some(Run {
        said: said.map(|(_, word)| word.to_owned()).collect(),
        was_injected: traced.contains("(INJECTED)"),
    })
}

/// After an error of the disk there must be no further acknowledgement, and the rest must be told why.
fn false_acknowledgement(run: &Run) -> Option<String> {
    let first = run.said.iter().position(|said| said != "ack");
    let Some(first) = first else {
        return Some("every object was acknowledged".into());
    };
    let rest = &run.said[first..];
    rest.iter()
        .any(|said| said != "read-only")
        .then(|| "it went on after the error".into())
}

/// What was acknowledged is there, and the log is whole.
fn check_after(site: &Site, run: &Run) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = site.open();
        store.verify_audit().await.expect("a whole log");
        for (n, said) in (0..).zip(&run.said) {
            let held = store.instance(&site::instance_uid(1, n)).await;
            if said == "ack" {
                let path = store.object_path(&held.expect("acknowledged"));
                assert!(path.exists(), "{path:?}");
            }
        }
    });
}

/// Not a test but the child of those above: without its environment it does nothing.
#[test]
fn child() {
    let Ok(told) = std::env::var(CHILD) else {
        return;
    };
    let (mode, dir) = told.split_once(':').expect("a mode and a directory");
    let config = site::config(Path::new(dir));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let store = Store::open(config, Arc::new(StandingClock::new(at(0)))).expect("opens");
        if mode == "erasing" {
            let erased = store.erase_study(&site::study_uid(1), false, peer()).await;
            erased.expect("its rows are gone");
            store.remove_ordered().await.expect_err("its file is not");
        }
        for n in 0..OBJECTS {
            let outcome = send(&store, n).await;
            let word = match outcome {
                _ if mode == "deaf" => "ack".into(),
                Ok(()) => "ack".into(),
                Err(StoreError::ReadOnly(_)) => "read-only".into(),
                Err(StoreError::DiskFloor { .. }) => "floor".into(),
                Err(other) => other.to_string(),
            };
            site::say(&format!("said {word}"));
        }
    });
}

async fn send(store: &Store, n: u32) -> Result<(), StoreError> {
    let sealed = site::seal(store, &[n as u8; 5000])?;
    let object = pericard_store::admission::NewObject {
        sealed,
        identity: site::identity(1, n),
        facts: site::facts(n),
        assemble_at: at(10),
        priority: pericard_domain::job::Priority::Routine,
    };
    store.admit(object, peer()).await.map(drop)
}
