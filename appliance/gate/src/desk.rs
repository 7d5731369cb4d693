//! The gate's own folder. The keys are its user's alone; the rest may be read by the appliance's group.

use pericard_frame::FRAME_BYTES;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Readable by the appliance, which shows what was answered.
const SHOWN: u32 = 0o640;
/// Readable by nobody else: a key.
const SECRET: u32 = 0o600;

/// A file of the gate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// It cannot be read or written.
    #[error("{} cannot be {verb}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        verb: &'static str,
        /// Why not.
        error: io::Error,
    },
    /// It is not what the gate wrote there.
    #[error("{} is not what the gate keeps there; restore it, or move the folder away and enrol anew", .0.display())]
    Foreign(PathBuf),
    /// Another process of the gate is at work.
    #[error("the gate is at work in another process; try again when its slot is over")]
    InUse,
}

/// The gate's own folder.
#[derive(Debug, Clone)]
pub struct Desk {
    dir: PathBuf,
}

impl Desk {
    /// The desk in this folder, which need not be there yet.
    #[must_use]
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the folder and those in it, unless they are there.
    pub(crate) fn make(&self) -> Result<(), DeskError> {
        for folder in ["", SEEN, SENT, REPLIES] {
            let path = self.dir.join(folder);
            let made = DirBuilder::new().recursive(true).mode(0o750).create(&path);
            made.map_err(failed("made", &path))?;
        }
        Ok(())
    }

    /// Takes the desk for this process alone, until the file is dropped.
    pub(crate) fn lock(&self) -> Result<File, DeskError> {
        let path = self.dir.join("lock");
        let lock = File::create(&path).map_err(failed("written", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => Err(DeskError::InUse),
            Err(TryLockError::Error(error)) => Err(failed("locked", &path)(error)),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, DeskError> {
        let Some(bytes) = self.bytes(name)? else {
            return Ok(None);
        };
        let text = String::from_utf8(bytes);
        let text = text.map_err(|_| DeskError::Foreign(self.dir.join(name)))?;
        Ok(Some(text))
    }

    pub(crate) fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, DeskError> {
        let path = self.dir.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    /// Keeps what may be shown.
    pub(crate) fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), DeskError> {
        write_durably(&self.dir.join(name), bytes, SHOWN)
    }

    /// Keeps a key.
    pub(crate) fn keep_secret(&self, name: &str, bytes: &[u8]) -> Result<(), DeskError> {
        write_durably(&self.dir.join(name), bytes, SECRET)
    }

    /// When a frame was seen first, seconds since 1970.
    pub(crate) fn seen(&self, sequence: u32) -> Result<Option<u64>, DeskError> {
        let name = format!("{SEEN}/{sequence:08}");
        let Some(text) = self.text(&name)? else {
            return Ok(None);
        };
        let at = text.trim_end().parse();
        at.map(Some)
            .map_err(|_| DeskError::Foreign(self.dir.join(name)))
    }

    pub(crate) fn keep_seen(&self, sequence: u32, at_s: u64) -> Result<(), DeskError> {
        self.keep(
            &format!("{SEEN}/{sequence:08}"),
            format!("{at_s}\n").as_bytes(),
        )
    }

    /// The signed bytes that were made for the wire.
    pub(crate) fn sent(&self, sequence: u32) -> Result<Option<Vec<u8>>, DeskError> {
        self.bytes(&format!("{SENT}/{sequence:08}.frame"))
    }

    pub(crate) fn keep_sent(
        &self,
        sequence: u32,
        bytes: &[u8; FRAME_BYTES],
    ) -> Result<(), DeskError> {
        self.keep(&format!("{SENT}/{sequence:08}.frame"), bytes)
    }

    /// What the hub answered to a frame last.
    pub(crate) fn reply(&self, sequence: u32) -> Result<Option<Vec<u8>>, DeskError> {
        self.bytes(&format!("{REPLIES}/{sequence:08}.reply"))
    }

    pub(crate) fn keep_reply(
        &self,
        sequence: u32,
        bytes: &[u8; FRAME_BYTES],
    ) -> Result<(), DeskError> {
        self.keep(&format!("{REPLIES}/{sequence:08}.reply"), bytes)
    }

    /// Every reply that is kept, in no order; none when there is no such folder.
    pub(crate) fn replies(&self) -> Result<Vec<Vec<u8>>, DeskError> {
        let path = self.dir.join(REPLIES);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let mut replies = Vec::new();
        for entry in entries {
            let file = entry.map_err(failed("read", &path))?.path();
            if file.extension().is_some_and(|kind| kind == "reply") {
                replies.push(fs::read(&file).map_err(failed("read", &file))?);
            }
        }
        Ok(replies)
    }
}

const SEEN: &str = "seen";
const SENT: &str = "sent";
const REPLIES: &str = "replies";

/// A file replaced as a whole: after a power cut it is the old one or the new one.
pub(crate) fn write_durably(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DeskError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = (|| {
        let _ = fs::remove_file(&beside); // what an interrupted run left, perhaps with another mode
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        File::open(folder)?.sync_all()
    })();
    written.map_err(failed("written", path))
}

pub(crate) fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DeskError {
    let path = path.to_owned();
    move |error| DeskError::Io { path, verb, error }
}
