//! A full disk: refused cleanly in both protocols, nothing that was acknowledged lost, and back in service when there is
//! space again.

use crate::support::*;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small disk in memory. Dropped, it is unmounted.
struct SmallDisk(tempfile::TempDir);

/// Above the floor by more than an appliance without models takes.
const DISK_MIB: u64 = 160;
/// What is put there beside the appliance, so that less is free than its floor of 64 MiB.
const BALLAST_MIB: u64 = 120;

impl SmallDisk {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let size = format!("size={DISK_MIB}m");
        let mounted = ended(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
                .arg(dir.path()),
        );
        if mounted.status.success() {
            return Some(Self(dir));
        }
        assert!(
            std::env::var_os("CI").is_none(),
            "no small disk: {}",
            String::from_utf8_lossy(&mounted.stderr)
        );
        eprintln!("NOT TESTED: a full disk, which needs root");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = ended(Command::new("umount").arg("--lazy").arg(self.0.path()));
    }
}

#[test]
fn a_full_disk_refuses_and_the_service_goes_on_when_there_is_space() {
    let (Some(disk), Some(sample)) = (SmallDisk::new(), a_sample()) else {
        return;
    };
    let dir = tempfile::tempdir_in(disk.0.path()).expect("a directory on it");
    let Some(mut appliance) = Appliance::start_in(dir, Given::default()) else {
        return;
    };
    assert_eq!(stowed(&appliance, &sample), 200, "there is space");
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1_u8; (BALLAST_MIB << 20) as usize]).expect("ballast");
    until("a refusal for want of space", || {
        (stowed(&appliance, &sample) == 507).then_some(())
    });
    let refused = appliance.storescu(&["-v", "+sd"], &[sample.parent().expect("a folder")]);
    let said = String::from_utf8_lossy(&refused.stdout).into_owned()
        + &String::from_utf8_lossy(&refused.stderr);
    assert!(
        said.contains("OutOfResources") || said.contains("0xa700"),
        "0xA700 for want of space: {said}"
    );
    assert!(appliance.process().is_running(), "it goes on");
    std::fs::remove_file(&ballast).expect("space again");
    until("the service with space again", || {
        (stowed(&appliance, &sample) == 200).then_some(())
    });
    let sent = appliance.storescu(&["+sd"], &[sample.parent().expect("a folder")]);
    assert!(
        sent.status.success(),
        "C-STORE with space again: {}",
        String::from_utf8_lossy(&sent.stderr)
    );
    let log = appliance.pericard(&["audit", "verify"]);
    assert!(log.starts_with("ok: "), "{log}");
}

/// One DICOM file of the samples, in a folder that has only such files.
fn a_sample() -> Option<PathBuf> {
    let folder = sample("us1")?;
    let files = std::fs::read_dir(&folder).ok()?;
    files
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "dcm"))
}

/// The status of the answer to one object by STOW-RS.
fn stowed(appliance: &Appliance, file: &Path) -> u16 {
    let body = appliance.dir.path().join("body");
    let mut bytes = b"--part\r\nContent-Type: application/dicom\r\n\r\n".to_vec();
    bytes.extend(std::fs::read(file).expect("a sample"));
    bytes.extend(b"\r\n--part--\r\n");
    std::fs::write(&body, bytes).expect("a body");
    let token = format!("Authorization: Bearer {}", appliance.token);
    let kind = "Content-Type: multipart/related; type=\"application/dicom\"; boundary=part";
    let data = format!("@{}", body.display());
    let args = [
        "-H",
        &token,
        "-H",
        kind,
        "-H",
        "Accept: application/dicom+json",
        "--data-binary",
        &data,
    ];
    appliance.curl(&args, "/dicomweb/studies").0
}
