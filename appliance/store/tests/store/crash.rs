//! `kill -9` at random moments: what was acknowledged is there, and nothing else is seen.
//!
//! The child is this test program again, told by its environment to serve.

use crate::site::{self, Site, at, facts, identity, peer, seal};
use pericard_domain::job::Priority;
use pericard_domain::time::StandingClock;
use pericard_store::Store;
use pericard_store::admission::NewObject;
use pericard_store::queue::Conclusion;
use sha2::{Digest as _, Sha256};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const CHILD: &str = "PERICARD_STORE_CHILD";
const ROUNDS: u32 = 20;
const SENDERS: u32 = 8;
const OBJECT_BYTES: usize = 40_000;

#[test]
fn killed_at_random_it_keeps_what_it_acknowledged() {
    let site = Site::new();
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        acknowledged.extend(serve_and_kill(site.dir.path(), "honest", round));
        let lost = lost_after_restart(&site, &acknowledged);
        assert_eq!(lost, Vec::<u32>::new(), "round {round}");
    }
    assert!(acknowledged.len() > ROUNDS as usize, "it did acknowledge");
}

/// The same with a child that acknowledges before the store does: if this finds nothing lost, neither would the other.
#[test]
fn a_server_that_promises_too_early_is_found_out() {
    let site = Site::new();
    for round in 0..ROUNDS {
        let acknowledged = serve_and_kill(site.dir.path(), "hasty", round);
        if !lost_after_restart(&site, &acknowledged).is_empty() {
            return;
        }
    }
    panic!("the harness does not see lost objects");
}

fn content(n: u32) -> Vec<u8> {
    n.to_le_bytes().repeat(OBJECT_BYTES / 4)
}

/// Starts a child, waits for so many acknowledgements, kills it; gives every number that was acknowledged.
fn serve_and_kill(dir: &Path, mode: &str, round: u32) -> Vec<u32> {
    let exe = std::env::current_exe().expect("this program");
    let mut child = Command::new(exe)
        .args(["--exact", "crash::child", "--nocapture", "--test-threads=1"])
        .env(
            CHILD,
            format!("{mode}:{}:{}", round * 100_000, dir.display()),
        )
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut acknowledged = Vec::new();
    let enough = (round * 37) % 61 + 1;
    let mut number_of = |line: std::io::Result<String>| {
        let line = line.ok()?;
        // The first stands on the line that the test program began itself.
        acknowledged.push(line.split_once("ack ")?.1.parse().ok()?);
        Some(acknowledged.len() as u32)
    };
    for line in lines.by_ref() {
        if number_of(line).is_some_and(|count| count >= enough) {
            break;
        }
    }
    child.kill().expect("killed");
    for line in lines {
        number_of(line);
    }
    child.wait().expect("gone");
    acknowledged
}

/// What was acknowledged and is not there; everything else must be in order.
fn lost_after_restart(site: &Site, acknowledged: &[u32]) -> Vec<u32> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = site.open();
        store.verify_audit().await.expect("a whole log");
        let held = store.find_instances(all()).await.expect("objects");
        let files = site.files();
        assert_eq!(held.len(), files.len(), "a file for every row and no other");
        for instance in &held {
            let bytes = std::fs::read(store.object_path(instance)).expect("its file");
            assert_eq!(Sha256::digest(&bytes)[..], instance.digest.as_bytes()[..]);
        }
        let is_held = |n: &&u32| {
            let uid = site::instance_uid(1, **n);
            held.iter().any(|i| i.identity.instance == uid)
        };
        acknowledged
            .iter()
            .filter(|n| !is_held(n))
            .copied()
            .collect()
    })
}

fn all() -> pericard_store::find::InstanceFilter {
    pericard_store::find::InstanceFilter {
        limit: u32::MAX,
        ..Default::default()
    }
}

/// Not a test but the child of those above: without its environment it does nothing.
#[test]
fn child() {
    let Ok(told) = std::env::var(CHILD) else {
        return;
    };
    let mut told = told.splitn(3, ':');
    let (mode, first, dir) = (told.next(), told.next(), told.next());
    let is_hasty = mode == Some("hasty");
    let first: u32 = first.and_then(|n| n.parse().ok()).expect("a number");
    let config = site::config(Path::new(dir.expect("a directory")));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let clock = Arc::new(StandingClock::new(at(u64::from(first))));
        let store = Store::open(config, clock).expect("opens");
        let next = Arc::new(AtomicU32::new(first));
        for _ in 0..SENDERS {
            tokio::spawn(send(store.clone(), Arc::clone(&next), is_hasty));
        }
        work(store).await;
    });
}

async fn send(store: Store, next: Arc<AtomicU32>, is_hasty: bool) {
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        let object = NewObject {
            sealed: seal(&store, &content(n)).expect("sealed"),
            identity: identity(1, n),
            facts: facts(n),
            assemble_at: at(0),
            priority: Priority::Routine,
        };
        if is_hasty {
            acknowledge(n);
        }
        store.admit(object, peer()).await.expect("admitted");
        if !is_hasty {
            acknowledge(n);
        }
    }
}

fn acknowledge(n: u32) {
    site::say(&format!("ack {n}"));
}

/// Assembles and concludes beside the senders, so that kills hit those changes too.
async fn work(store: Store) {
    loop {
        let Some(job) = store.lease(site::TERMS).await.expect("leased") else {
            store.changed().await;
            continue;
        };
        if job.job.work.kind() == "assemble" {
            let plans = vec![site::planned("m")];
            store.complete_study(&job, plans).await.expect("completed");
        } else {
            let report = site::report(&job);
            let conclusion = Conclusion {
                report,
                objects: Vec::new(),
            };
            store.conclude(&job, conclusion).await.expect("concluded");
        }
    }
}
