//! A file system of its own in a file, whose power can be cut: ext4 or xfs on a loop device.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Which file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
}

impl Kind {
    /// Both, as every test must hold on both.
    pub(crate) const ALL: [Self; 2] = [Self::Ext4, Self::Xfs];

    const fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

/// Sparse: only what is written is taken from the disk. 200 cuts bring some 40,000 objects, of which each takes 8 KiB.
const SIZE_BYTES: u64 = 2 << 30;

/// A mounted file system. Dropped, it is unmounted.
#[derive(Debug)]
pub(crate) struct LoopDisk {
    kind: Kind,
    dir: tempfile::TempDir,
}

impl LoopDisk {
    /// Makes one; `None`, with a word on stderr, where that is not allowed. With `CI` set that is a failure.
    pub(crate) fn new(kind: Kind) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let disk = Self { kind, dir };
        std::fs::create_dir(disk.path()).expect("a directory");
        let image = std::fs::File::create(disk.image()).expect("a file");
        image.set_len(SIZE_BYTES).expect("a sparse file");
        let mut mkfs = Command::new(format!("/usr/sbin/mkfs.{}", kind.name()));
        match kind {
            Kind::Ext4 => mkfs.args(["-q", "-F"]),
            Kind::Xfs => mkfs.args(["-q", "-f"]),
        };
        let made = succeeds(mkfs.arg(disk.image())).and_then(|()| disk.mount());
        match made {
            Ok(()) => Some(disk),
            Err(why) => {
                let kind = kind.name();
                assert!(
                    std::env::var_os("CI").is_none(),
                    "no {kind} to cut the power of: {why}"
                );
                eprintln!(
                    "NOT TESTED: power cuts on {kind}: {why}. They need root, a loop device, e2fsprogs and xfsprogs."
                );
                None
            }
        }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    /// Cuts the power: nothing reaches the disk from now on, and what is not there is lost (FS_IOC_SHUTDOWN without a
    /// flush of the log).
    #[allow(dead_code)] // the store's own test has the ioctl in hand
    pub(crate) fn cut(&self) {
        let cut = succeeds(
            Command::new("/usr/sbin/xfs_io")
                .args(["-x", "-F", "-c", "shutdown"])
                .arg(self.path()),
        );
        cut.expect("the power is cut");
    }

    /// The power comes back: unmounted and mounted again, which recovers the file system's own log. Whoever had files
    /// open must be gone.
    pub(crate) fn restore(&self) {
        succeeds(Command::new("umount").arg(self.path())).expect("unmounted");
        self.mount().expect("mounted again");
    }

    /// Unmounts it and asks the file system's own checker; what it says when something is wrong.
    pub(crate) fn checked(self) -> Result<(), String> {
        succeeds(Command::new("umount").arg(self.path()))?;
        match self.kind {
            Kind::Ext4 => succeeds(
                Command::new("/usr/sbin/e2fsck")
                    .arg("-fn")
                    .arg(self.image()),
            ),
            Kind::Xfs => succeeds(
                Command::new("/usr/sbin/xfs_repair")
                    .arg("-n")
                    .arg(self.image()),
            ),
        }
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn mount(&self) -> Result<(), String> {
        succeeds(
            Command::new("mount")
                .args(["-o", "loop,noatime", "-t", self.kind.name()])
                .arg(self.image())
                .arg(self.path()),
        )
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // Lazily, since a test that failed may have left a process; and once more for one that was unmounted already.
        let _ = succeeds(Command::new("umount").arg("--lazy").arg(self.path()));
    }
}

fn succeeds(command: &mut Command) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", shown(command)))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}", shown(command), said.trim()))
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    program
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
