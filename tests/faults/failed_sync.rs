//! After a failed sync nobody knows what the disk holds: the appliance promises nothing more, in neither protocol, until it is
//! started again, and says so to whoever watches it. What it promised before is there then.

use crate::space::{a_sample, stowed};
use crate::support::*;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What of the disk fails: every sync of a file or a directory.
const FAULT: &str = "fsync,fdatasync:error=EIO";

/// Makes the syncs of a process fail for as long as it lives.
struct FailingDisk(Child);

impl FailingDisk {
    /// `None`, with a word on stderr, without strace; with `CI` set that is a failure.
    fn under(process: u32, log: &Path) -> Option<Self> {
        let strace = program("strace")?;
        let child = Command::new(strace)
            .args(["-f", "-qq", "-o"])
            .arg(log)
            .args(["-e", "trace=fsync,fdatasync", "-e"])
            .arg(format!("inject={FAULT}"))
            .args(["-p", &process.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("strace");
        let failing = Self(child);
        until("every thread under strace", || {
            let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("threads");
            let traced = |thread: std::io::Result<std::fs::DirEntry>| {
                let status = thread.ok()?.path().join("status");
                let status = std::fs::read_to_string(status).ok()?;
                let tracer = status.lines().find_map(|l| l.strip_prefix("TracerPid:"))?;
                (tracer.trim() == failing.0.id().to_string()).then_some(())
            };
            threads.map(traced).all(|one| one.is_some()).then_some(())
        });
        Some(failing)
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        let _ = Command::new("kill")
            .args(["-TERM", &self.0.id().to_string()])
            .status(); // it lets go of the process that it traces
        let _ = self.0.wait();
    }
}

#[test]
fn after_a_failed_sync_nothing_is_promised_and_everybody_is_told() {
    let _alone = crate::alone();
    let (Some(sample), Some(other)) = (a_sample(), sample("echo")) else {
        return;
    };
    let Some(mut appliance) = Appliance::start(Given::default()) else {
        return;
    };
    assert_eq!(stowed(&appliance, &sample), 200, "the disk is good");
    assert_eq!(appliance.get("/readyz").0, 200);
    let writable = |appliance: &Appliance, is: u8| {
        let (_, figures) = appliance.get("/metrics");
        let line = format!("\npericard_store_writable {is}\n");
        assert!(figures.contains(&line), "{figures}");
    };
    writable(&appliance, 1);
    let log = appliance.dir.path().join("strace.log");
    let Some(failing) = FailingDisk::under(appliance.process().id(), &log) else {
        return;
    };
    let other = files_in(&other).remove(0);
    assert_eq!(stowed(&appliance, &other), 503, "its sync fails");
    let traced = std::fs::read_to_string(&log).expect("what strace did");
    assert!(traced.contains("(INJECTED)"), "{traced}");
    // The disk is as good as ever, and believed no more.
    drop(failing);
    assert_eq!(stowed(&appliance, &other), 503, "STOW-RS");
    let refused = appliance.storescu(&["-v", "+sd"], &[sample.parent().expect("a folder")]);
    let said = String::from_utf8_lossy(&refused.stdout).into_owned()
        + &String::from_utf8_lossy(&refused.stderr);
    assert!(
        said.contains("OutOfResources") || said.contains("0xa702"),
        "C-STORE: {said}"
    );
    let (status, ready) = appliance.get("/readyz");
    assert_eq!(status, 503, "{ready}");
    let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
    let parts = ready["parts"].as_array().expect("parts");
    let store = parts.iter().find(|part| part["part"] == "store");
    let store = store.expect("the store is a part");
    let why = store["why"].as_str().unwrap_or_default();
    assert!(store["ready"] == false && why.contains("sync"), "{store}");
    writable(&appliance, 0);
    assert!(appliance.log().contains("read-only from now on"));
    // What needs no line in the audit log is read as before; a study is shown to nobody without one.
    assert_eq!(appliance.get("/api/v1/jobs").0, 200);
    let study = study_of(&sample);
    let (status, said) = appliance.get(&format!("/api/v1/studies/{study}"));
    assert_eq!(status, 503, "{said}");
    assert!(said.contains("urn:pericard:problem:read_only"), "{said}");
    // Started again it reads from the disk what is there.
    appliance.restart();
    writable(&appliance, 1);
    let held = appliance.json(&format!("/api/v1/studies/{study}"));
    assert_eq!(held["objects"].as_array().map(Vec::len), Some(1), "{held}");
    assert_eq!(stowed(&appliance, &other), 200, "it is taken up again");
    assert!(appliance.pericard(&["audit", "verify"]).starts_with("ok: "));
}
