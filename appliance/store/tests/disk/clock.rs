//! The clock is put a day forward or back in the middle of everything, as a wrong battery or a first synchronisation does:
//! nothing is lost, nothing is done twice, and the audit log is whole. Work that was put off until later by the former
//! time may wait for that time; it is done when it comes.

use crate::Dice;
use crate::simulated::memory_dir;
use crate::work::{Ack, Script, check, work_on};
use crate::{is_long, site};
use pericard_domain::time::{Clock as _, StandingClock};
use pericard_store::Store;
use pericard_store::queue::JobQuery;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const SEEDS: u64 = 40;
const SEEDS_LONG: u64 = 1000;
const STEPS: usize = 40;
const DAY_MS: i64 = 86_400_000;

#[test]
fn a_step_of_a_day_loses_nothing_and_does_nothing_twice() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for seed in 0..if is_long() { SEEDS_LONG } else { SEEDS } {
        let dir = memory_dir();
        let promised = runtime.block_on(stepped(seed, dir.path()));
        once_each(seed, &promised);
        check(dir.path(), &promised).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    }
}

async fn stepped(seed: u64, dir: &Path) -> Vec<Ack> {
    let (mut script, mut dice, mut promised) = (Script::new(seed), Dice::new(!seed), Vec::new());
    let mut store = Store::open(site::config(dir), script.clock()).expect("opens");
    for _ in 0..STEPS {
        match dice.below(8) {
            0 => put(script.standing(), DAY_MS),
            1 => put(script.standing(), -DAY_MS),
            2 => {
                drop(store);
                store = Store::open(site::config(dir), script.clock()).expect("opens again");
            }
            _ => {}
        }
        promised.extend(script.step(&store).await.expect("nothing fails here"));
    }
    // Every time that was ever set is past.
    put(script.standing(), DAY_MS * STEPS as i64);
    loop {
        while let Some(job) = store.lease(site::TERMS).await.expect("leased") {
            promised.push(work_on(&store, &job).await.expect("done"));
        }
        if store.next_due().await.expect("asked").is_none() {
            break;
        }
        script.standing().advance(Duration::from_secs(86_400));
    }
    let failed = JobQuery {
        state: Some("failed".into()),
        ..JobQuery::default()
    };
    assert_eq!(
        store.jobs(failed).await.expect("jobs"),
        Vec::new(),
        "seed {seed}"
    );
    promised
}

fn put(clock: &Arc<StandingClock>, by_ms: i64) {
    let now = clock.now().as_millis();
    clock.set(pericard_domain::time::Timestamp::from_millis(now + by_ms));
}

/// No revision was completed twice, nor given two results.
fn once_each(seed: u64, promised: &[Ack]) {
    let mut seen = BTreeSet::new();
    for ack in promised {
        let of_revision = match ack {
            Ack::Complete { study, revision } => (false, *study, *revision),
            Ack::Concluded { study, revision } => (true, *study, *revision),
            _ => continue,
        };
        assert!(seen.insert(of_revision), "seed {seed}: done twice: {ack:?}");
    }
}
