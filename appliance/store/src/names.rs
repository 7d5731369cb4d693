//! Puts names on disk: syncs the shelves in which objects have just got theirs.
//!
//! An object's bytes and its name are two syncs that need not wait for each other, so the name has a thread of its own
//! beside the file's. And one sync of a directory is good for every name that was in it when the sync began: the thread
//! takes all that wait, so that the more objects come, the more of them share each.

use crate::StoreError;
use crate::health::Health;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

/// The thread, and the way to it.
#[derive(Debug)]
pub(crate) struct Names {
    asked: Mutex<Option<mpsc::Sender<Asked>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A name was put into that directory. Not bounded here: each comes of a placement, and their places are counted.
struct Asked {
    dir: PathBuf,
    answer: mpsc::SyncSender<Result<(), StoreError>>,
}

/// A name on its way to the disk.
#[derive(Debug)]
pub(crate) struct OnItsWay(Option<mpsc::Receiver<Result<(), StoreError>>>);

impl Names {
    pub(crate) fn start(health: Arc<Health>) -> Result<Self, StoreError> {
        let (asked, waiting) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("store-names".into())
            .spawn(move || {
                while let Ok(first) = waiting.recv() {
                    put_all(std::iter::once(first).chain(waiting.try_iter()), &health);
                }
            })
            .map_err(|error| StoreError::failed("start the thread of names", error))?;
        Ok(Self {
            asked: Mutex::new(Some(asked)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Begins to put on disk what was entered in that directory until now.
    pub(crate) fn put(&self, dir: &Path) -> OnItsWay {
        let (answer, answered) = mpsc::sync_channel(1);
        let dir = dir.to_owned();
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = asked.as_ref().map(|way| way.send(Asked { dir, answer }));
        OnItsWay(matches!(sent, Some(Ok(()))).then_some(answered))
    }

    /// Ends the thread when nothing waits any more.
    pub(crate) fn close(&self) {
        let asked = self.asked.lock();
        drop(asked.unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock();
        let thread = thread.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic of it was told to everybody who waited, by the answer that never came.
            let _ = thread.join();
        }
    }
}

impl OnItsWay {
    /// Resolves when it is there.
    pub(crate) fn wait(self) -> Result<(), StoreError> {
        let answer = self.0.and_then(|answered| answered.recv().ok());
        answer.unwrap_or_else(|| {
            let gone = "the thread of names has ended; restart the appliance";
            Err(StoreError::failed("sync a directory", gone))
        })
    }
}

fn put_all(asked: impl Iterator<Item = Asked>, health: &Health) {
    let mut of_dir: BTreeMap<PathBuf, Vec<mpsc::SyncSender<_>>> = BTreeMap::new();
    for Asked { dir, answer } in asked {
        of_dir.entry(dir).or_default().push(answer);
    }
    for (dir, waiting) in of_dir {
        let synced = sync_dir(&dir, health);
        for answer in waiting {
            // Fails only when nobody waits any more.
            let _ = answer.send(synced.clone());
        }
    }
}

/// Puts a directory's entries on disk. An error of the sync is the end of all writing.
pub(crate) fn sync_dir(dir: &Path, health: &Health) -> Result<(), StoreError> {
    health.check()?;
    let opened = File::open(dir).map_err(|error| {
        let step = "open a directory to sync it";
        health.write_failed(step, &error)
    })?;
    let synced = opened.sync_all();
    synced.map_err(|error| health.stop("sync a directory", error))
}
