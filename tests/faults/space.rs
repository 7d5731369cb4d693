//! A full disk: refused cleanly in both protocols, below the floor and in the middle of an object, nothing that was
//! acknowledged lost, and back in service when there is space again.

use crate::support::*;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// How large an object is that the disk has no room for in its middle, and in how small steps the disk is filled.
const OBJECT_MIB: u64 = 8;
const STEP_BYTES: usize = 4096;

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

/// An appliance on a small disk, and a sample that it takes as long as there is space.
fn on_a_small_disk() -> Option<(SmallDisk, PathBuf, Appliance)> {
    let (disk, sample) = (SmallDisk::new()?, a_sample()?);
    let dir = tempfile::tempdir_in(disk.0.path()).expect("a directory on it");
    let appliance = Appliance::start_in(dir, Given::default())?;
    assert_eq!(stowed(&appliance, &sample), 200, "there is space");
    Some((disk, sample, appliance))
}

#[test]
fn a_full_disk_refuses_and_the_service_goes_on_when_there_is_space() {
    let _alone = crate::alone();
    let Some((disk, sample, mut appliance)) = on_a_small_disk() else {
        return;
    };
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

/// Someone who sends an object and waits in the middle of it.
struct Pausing {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Pausing {
    /// Returns once half of the object is sent.
    fn half(appliance: &Appliance, door: &str) -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/pausing.py");
        let port = match door {
            "store" => appliance.dicom.port(),
            _ => appliance.https.port(),
        };
        let mut child = Command::new(venv("python")?)
            .args([script, door, &port.to_string(), &appliance.token])
            .arg(OBJECT_MIB.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python");
        let says = BufReader::new(child.stdout.take().expect("its words"));
        let mut pausing = Self { child, says };
        assert_eq!(pausing.heard(), "half");
        Some(pausing)
    }

    /// Lets it send the rest, and gives the status of the answer.
    fn rest(mut self) -> String {
        let mut go_on = self.child.stdin.take().expect("its ear");
        go_on.write_all(b"\n").expect("told");
        let status = self.heard();
        self.child.wait().expect("its end");
        status
    }

    fn heard(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }
}

/// Takes all that is left, the floor included.
fn fill(ballast: &Path) {
    let mut file = File::create(ballast).expect("ballast");
    let full = loop {
        if let Err(error) = file.write_all(&[1; STEP_BYTES]) {
            break error;
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
}

/// What is arriving and not yet kept.
fn incoming(appliance: &Appliance) -> Vec<PathBuf> {
    files_in(&appliance.data().join("objects/incoming"))
}

#[test]
fn a_disk_that_is_full_in_the_middle_of_an_object_refuses_it_and_takes_it_later() {
    let _alone = crate::alone();
    let Some((disk, sample, mut appliance)) = on_a_small_disk() else {
        return;
    };
    let ballast = disk.0.path().join("ballast");
    for (door, refused, taken) in [("stow", "507", "200"), ("store", "a700", "0000")] {
        let Some(pausing) = Pausing::half(&appliance, door) else {
            return;
        };
        until("the first half", || {
            let arriving = incoming(&appliance).into_iter();
            let bytes: u64 = arriving
                .filter_map(|file| Some(file.metadata().ok()?.len()))
                .sum();
            (bytes > (OBJECT_MIB << 20) / 4).then_some(())
        });
        fill(&ballast);
        assert_eq!(pausing.rest(), refused, "{door}: no space in its middle");
        assert_eq!(appliance.get("/readyz").0, 503, "{door}");
        assert!(appliance.process().is_running(), "{door}: it goes on");
        assert_eq!(
            incoming(&appliance),
            Vec::<PathBuf>::new(),
            "{door}: half an object"
        );
        std::fs::remove_file(&ballast).expect("space again");
        until("the service with space again", || {
            (appliance.get("/readyz").0 == 200).then_some(())
        });
        let again = Pausing::half(&appliance, door).expect("python");
        assert_eq!(again.rest(), taken, "{door}: with space again");
    }
    let study = study_of(&sample);
    let (status, said) = appliance.get(&format!("/api/v1/studies/{study}"));
    assert_eq!(status, 200, "what was there before: {said}");
    let log = appliance.pericard(&["audit", "verify"]);
    assert!(log.starts_with("ok: "), "{log}");
}

/// One DICOM file of the samples, in a folder that has only such files.
pub(crate) fn a_sample() -> Option<PathBuf> {
    let folder = sample("us1")?;
    let files = std::fs::read_dir(&folder).ok()?;
    files
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "dcm"))
}

/// The status of the answer to one object by STOW-RS.
pub(crate) fn stowed(appliance: &Appliance, file: &Path) -> u16 {
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
