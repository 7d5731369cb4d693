//! What a program asked of the disk and what it was promised meanwhile, in one order.

use crate::syscalls::{Call, Verdict, Watcher};
use crate::work::Ack;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// One line of a record.
#[derive(Debug, Clone)]
pub(crate) enum Line {
    Made(Made),
    /// By now this was promised, or offered.
    Promised(Ack),
}

/// A call that was made.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    /// Below the directory that was watched.
    pub(crate) path: PathBuf,
    /// The file's number, 0 when the call was not on an open file.
    pub(crate) ino: u64,
    pub(crate) act: Act,
}

#[derive(Debug, Clone)]
pub(crate) enum Act {
    Create,
    Write {
        at: u64,
        bytes: Vec<u8>,
    },
    Truncate {
        len: u64,
    },
    Sync,
    /// After it nobody knows what is on disk. Linux forgets that the pages were never written.
    SyncFailed,
    SyncDir,
    SyncDirFailed,
    Rename {
        to: PathBuf,
    },
    Unlink,
    MakeDir,
}

type Plan = Box<dyn FnMut(&Path, &Call<'_>) -> Verdict + Send>;

/// Keeps a record while it is asked by a plan what is to become of each call.
pub(crate) struct Recorder {
    lines: Arc<Mutex<Vec<Line>>>,
    plan: Plan,
}

/// The record that a [`Recorder`] keeps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Vec<Line>>>);

impl Record {
    pub(crate) fn recorder(&self, plan: Plan) -> Box<Recorder> {
        Box::new(Recorder {
            lines: Arc::clone(&self.0),
            plan,
        })
    }

    /// A recorder under which every call is made.
    pub(crate) fn of_everything(&self) -> Box<Recorder> {
        self.recorder(Box::new(|_, _| Verdict::Do))
    }

    pub(crate) fn promise(&self, ack: Ack) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Line::Promised(ack));
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Watcher for Recorder {
    fn before(&mut self, path: &Path, _ino: u64, call: &Call<'_>) -> Verdict {
        (self.plan)(path, call)
    }

    fn after(&mut self, path: &Path, ino: u64, call: &Call<'_>, verdict: Verdict) {
        let failed = matches!(verdict, Verdict::Fail(_));
        let act = match call {
            Call::Sync if failed => Act::SyncFailed,
            Call::SyncDir if failed => Act::SyncDirFailed,
            _ if failed || verdict == Verdict::Skip => return,
            Call::Create => Act::Create,
            Call::Write { at, bytes } => {
                let len = if verdict == Verdict::Half {
                    bytes.len().div_ceil(2)
                } else {
                    bytes.len()
                };
                Act::Write {
                    at: *at,
                    bytes: bytes[..len].to_vec(),
                }
            }
            Call::Truncate { len } => Act::Truncate { len: *len },
            Call::Sync => Act::Sync,
            Call::SyncDir => Act::SyncDir,
            Call::Rename { to } => Act::Rename {
                to: to.to_path_buf(),
            },
            Call::Unlink => Act::Unlink,
            Call::MakeDir => Act::MakeDir,
        };
        let made = Made {
            path: path.to_owned(),
            ino,
            act,
        };
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Line::Made(made));
    }
}
