//! An hour under load, long form only: both protocols bring objects, a random worker is killed in every round, and at the
//! end nothing is lost, and the server holds no more memory and no more descriptors than it did once it was warm.
//!
//! The load is four fifths of what the machine can take at that moment, whatever else it has to do: each round brings
//! objects as fast as they are taken, waits until all work that they made is done, and rests for a quarter of that time.

use crate::Moments;
use crate::processes::{children_of, try_again_what_lost_its_workers};
use crate::promises::{MODEL, Promises, RULE, Sender, idle};
use crate::support::*;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const SOAK_S: u64 = 3600;
/// What is cached and what grows to its full size has done so by then.
const WARM_S: u64 = 600;
const SENDING_MS: u64 = 4000;
/// How much of the time it rests, for each part that it is busy: busy four fifths of the time.
const REST_FOR_BUSY: u32 = 4;
const DRIFT_MAX_PERCENT: f64 = 2.0;
/// At rest it holds its files, its doors and its spare workers' ends, and nothing else. A connection that was just closed, or
/// a worker that is just replaced, is over within so many looks; the least of them counts, at both ends.
const LOOKS_AT_REST: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
/// Connections to the database are opened as they are needed, one that writes and four that read, each with the file and its
/// log; the index of the log is one for all. They may reach that at any time, and never more.
const DATABASE_DESCRIPTORS_MAX: usize = 11;

/// What the serving process holds when it has nothing to do.
struct Held {
    resident_kib: u64,
    /// Of the database, and of all else.
    descriptors: [usize; 2],
}

#[test]
fn an_hour_of_load_and_lost_workers_loses_nothing_and_grows_nothing() {
    let _alone = crate::alone();
    if std::env::var_os("PERICARD_LONG").is_none() {
        eprintln!("passed over: takes an hour; `cargo xtask test --long -- --test faults soak`");
        return;
    }
    let Some(mut appliance) = Appliance::start(Given {
        toml: RULE,
        models: &[MODEL],
    }) else {
        return;
    };
    let (mut promises, mut moments) = (Promises::default(), Moments(0x0050_a4ed));
    let (begun, mut warm, mut killed) = (Instant::now(), None, 0);
    let mut busy_in_all = Duration::ZERO;
    for round in 0.. {
        let round_begun = Instant::now();
        let Some(sender) = Sender::start(&appliance, round) else {
            return;
        };
        std::thread::sleep(Duration::from_millis(moments.below(SENDING_MS))); // the random moment of the kill
        let workers = children_of(appliance.process().id());
        let victim = moments.below(workers.len() as u64) as usize;
        if let Some(worker) = workers.get(victim) {
            killed += 1;
            // It may have ended by itself meanwhile.
            let _ = ended(Command::new("kill").args(["-KILL", &worker.to_string()]));
        }
        std::thread::sleep(Duration::from_millis(SENDING_MS / 2)); // the load itself
        sender.end(&mut promises);
        idle(&appliance);
        let busy = round_begun.elapsed();
        busy_in_all += busy;
        std::thread::sleep(busy / REST_FOR_BUSY); // the load's pause
        assert!(appliance.process().is_running(), "{}", appliance.log());
        if warm.is_none() && begun.elapsed() > Duration::from_secs(WARM_S) {
            warm = Some(held(&mut appliance));
        }
        if begun.elapsed() > Duration::from_secs(SOAK_S) {
            break;
        }
    }
    let again = try_again_what_lost_its_workers(&appliance);
    let (warm, last) = (warm.expect("warm"), held(&mut appliance));
    let drift = (last.resident_kib as f64 / warm.resident_kib as f64 - 1.0) * 100.0;
    promises.are_kept_by(&appliance);
    eprintln!(
        "{:?}, busy for {busy_in_all:?}: {} acknowledged, 0 lost, {killed} workers killed, {again} jobs tried again; \
         resident {} KiB, drift {drift:.2} %; descriptors of the database and others {:?} -> {:?}",
        begun.elapsed(),
        promises.len(),
        last.resident_kib,
        warm.descriptors,
        last.descriptors
    );
    assert!(drift < DRIFT_MAX_PERCENT, "it grew by {drift:.2} %");
    let ([database, others], [_, others_before]) = (last.descriptors, warm.descriptors);
    assert!(others <= others_before, "{others_before} -> {others}");
    assert!(
        database <= DATABASE_DESCRIPTORS_MAX,
        "{database} of the database"
    );
}

fn held(appliance: &mut Appliance) -> Held {
    idle(appliance);
    let server = appliance.process().id();
    let looks = (0..LOOKS_AT_REST).map(|_| {
        std::thread::sleep(BETWEEN_LOOKS); // another process's descriptors cannot be awaited
        descriptors_of(server)
    });
    let descriptors = looks.min_by_key(|kinds| kinds.iter().sum::<usize>());
    let descriptors = descriptors.expect("a look");
    let status = std::fs::read_to_string(format!("/proc/{server}/status")).expect("its status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    Held {
        resident_kib: kib.expect("a number"),
        descriptors,
    }
}

fn descriptors_of(process: u32) -> [usize; 2] {
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).expect("its descriptors");
    // One that was just closed leads nowhere, and is not open.
    let open = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let is_of_database = |file: &PathBuf| file.to_string_lossy().contains("/pericard.db");
    let (database, others): (Vec<_>, Vec<_>) = open.partition(is_of_database);
    [database.len(), others.len()]
}
