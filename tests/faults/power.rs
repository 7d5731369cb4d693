//! Power cuts on real file systems, while objects come in by both protocols and a model looks at some: kill, unmount,
//! recover, start again, and everything that was acknowledged is there.
//!
//! The full form of what `appliance/store/tests/disk/cuts.rs` does to the store alone, with its negative controls.

use crate::loop_disk::{Kind, LoopDisk};
use crate::processes::with_children;
use crate::promises::{MODEL, Promises, RULE, Sender};
use crate::support::*;
use crate::{Moments, times};
use std::process::Command;
use std::time::{Duration, Instant};

const CUTS: u32 = 3;
const CUTS_LONG: u32 = 200;
/// How long is sent before the cut: the sender itself takes about the first to start.
const MOMENT_MS_MIN: u64 = 1200;
const MOMENT_MS_MAX: u64 = 3500;

#[test]
fn nothing_acknowledged_is_lost_when_the_power_goes() {
    let _alone = crate::alone();
    for kind in Kind::ALL {
        let Some(disk) = LoopDisk::new(kind) else {
            return;
        };
        let dir = tempfile::tempdir_in(disk.path()).expect("a directory on it");
        let Some(mut appliance) = Appliance::start_in(
            dir,
            Given {
                toml: RULE,
                models: &[MODEL],
            },
        ) else {
            return;
        };
        run(Command::new("sync").arg("--file-system").arg(disk.path())); // the configuration is not the appliance's to sync
        let (mut promises, mut moments, begun) =
            (Promises::default(), Moments(0x00c0_ffee), Instant::now());
        let cuts = times(CUTS, CUTS_LONG);
        for round in 0..cuts {
            let Some(sender) = Sender::start(&appliance, round) else {
                return;
            };
            let moment = MOMENT_MS_MIN + moments.below(MOMENT_MS_MAX - MOMENT_MS_MIN);
            std::thread::sleep(Duration::from_millis(moment)); // the random moment of the cut
            // Without power there is no processor either: nobody is told anything after the cut.
            for process in with_children(appliance.process().id()) {
                let _ = ended(Command::new("kill").args(["-STOP", &process.to_string()]));
            }
            disk.cut();
            appliance.kill();
            sender.end(&mut promises);
            disk.restore();
            appliance.restart();
        }
        promises.are_kept_by(&appliance);
        eprintln!(
            "{kind:?}: {cuts} cuts, {} acknowledged, 0 lost, in {:?}",
            promises.len(),
            begun.elapsed()
        );
        assert!(
            promises.len() > cuts as usize,
            "the cuts left no time to send: {}",
            promises.len()
        );
        drop(appliance);
        disk.checked().expect("the file system is whole");
    }
}
