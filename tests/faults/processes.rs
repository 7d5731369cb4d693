//! `kill -9` of any process of the appliance, at random: the one that serves, or one of its workers while it has some. A
//! dead worker is not to be noticed but in the journal; a dead server is started again, as its service manager would.

use crate::promises::{MODEL, Promises, RULE, Sender, idle, jobs};
use crate::support::*;
use crate::{Moments, times};
use std::process::Command;
use std::time::{Duration, Instant};

const KILLS: u32 = 10;
const KILLS_LONG: u32 = 500;
const MOMENT_MS_MAX: u64 = 2500;
/// The last of so many rounds takes the server for sure, so that the short form has it too.
const SERVER_EVERY: u32 = 5;
/// How soon it must be ready again, whichever process was killed.
const READY_AGAIN_MAX: Duration = Duration::from_secs(5);

#[test]
fn nothing_acknowledged_is_lost_whichever_process_is_killed() {
    let _alone = crate::alone();
    let Some(mut appliance) = Appliance::start(Given {
        toml: RULE,
        models: &[MODEL],
    }) else {
        return;
    };
    let (mut promises, mut moments, begun) =
        (Promises::default(), Moments(0x5eed_cafe), Instant::now());
    let (mut servers, mut workers, mut slowest) = (0, 0, Duration::ZERO);
    for round in 0..times(KILLS, KILLS_LONG) {
        let Some(sender) = Sender::start(&appliance, round) else {
            return;
        };
        std::thread::sleep(Duration::from_millis(500 + moments.below(MOMENT_MS_MAX))); // the random moment of the kill
        let server = appliance.process().id();
        let children = children_of(server);
        let victim = if round % SERVER_EVERY == SERVER_EVERY - 1 {
            children.len()
        } else {
            moments.below(children.len() as u64 + 1) as usize
        };
        match children.get(victim) {
            Some(worker) => {
                workers += 1;
                // It may have ended by itself meanwhile.
                let _ = ended(Command::new("kill").args(["-KILL", &worker.to_string()]));
                let killed = Instant::now();
                let is_running = appliance.process().is_running();
                assert!(
                    is_running,
                    "the server died with its worker:\n{}",
                    appliance.log()
                );
                until("readiness", || {
                    (appliance.get("/readyz").0 == 200).then_some(())
                });
                slowest = slowest.max(killed.elapsed());
            }
            None => {
                servers += 1;
                let killed = Instant::now();
                appliance.kill();
                appliance.restart();
                slowest = slowest.max(killed.elapsed());
            }
        }
        sender.end(&mut promises);
    }
    let again = try_again_what_lost_its_workers(&appliance);
    promises.are_kept_by(&appliance);
    let took = begun.elapsed();
    eprintln!(
        "{servers} servers and {workers} workers killed, {} acknowledged, {again} jobs tried again, 0 lost, ready again \
         within {slowest:?}, in {took:?}",
        promises.len()
    );
    assert!(
        slowest < READY_AGAIN_MAX,
        "ready again only after {slowest:?}"
    );
    assert!(
        promises.len() > 10,
        "the kills left no time to send: {}",
        promises.len()
    );
}

/// A study whose every attempt lost its worker may be one that kills them, so its job ends visibly: also when it was this
/// test each time. Nothing of it is lost: it is put back here as an operator would, and must then succeed like the rest.
/// A job that failed for any other reason is left to be found. Returns how many there were.
pub(crate) fn try_again_what_lost_its_workers(appliance: &Appliance) -> usize {
    idle(appliance);
    let failed = jobs(appliance, "failed");
    let lost = failed.iter().filter(|job| {
        let failure = &job["failure"];
        let is_killed = |reason: &str| reason.contains("killed from outside");
        failure["class"] == "worker_lost" && failure["reason"].as_str().is_some_and(is_killed)
    });
    lost.map(|job| {
        let id = job["id"].as_u64().expect("a number");
        let bearer = format!("Authorization: Bearer {}", appliance.token);
        let request = ["--request", "POST", "--header", &bearer];
        let (status, said) = appliance.curl(&request, &format!("/api/v1/jobs/{id}/retry"));
        assert_eq!(status, 200, "job {id}: {said}");
    })
    .count()
}

/// The process and those that it started.
pub(crate) fn with_children(process: u32) -> Vec<u32> {
    let mut all = vec![process];
    all.extend(children_of(process));
    all
}

/// The processes that this one started and that run still.
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let output = ended(Command::new("ps").args(["-o", "pid=", "--ppid", &parent.to_string()]));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}
