//! The thread that puts sealed files in their places: everything that waits is renamed, then each directory is synced
//! once, then the changes go to the writer. By then the files are on disk under their names, and only then may a row
//! speak of them.

use super::Queued;
use crate::StoreError;
use crate::files::{Approach, Files, Staging, make_dir};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

/// A change and the files that it speaks of.
pub(crate) struct Placement {
    /// Staging files and where they go.
    pub(crate) files: Vec<(Staging, PathBuf)>,
    /// The change that then commits.
    pub(crate) change: Queued,
    /// Held until the change is in the writer's queue.
    pub(crate) approach: Option<Approach>,
}

/// The placer's queue. Bounded by the places in the writer's queue, which every placement holds.
#[derive(Debug)]
pub(crate) struct Placer {
    queue: Mutex<Option<mpsc::Sender<Placement>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Placer {
    pub(crate) fn start(
        files: Arc<Files>,
        writer: mpsc::Sender<Queued>,
    ) -> Result<Self, StoreError> {
        let (queue, waiting) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("store-placer".into())
            .spawn(move || place_all(&files, &writer, &waiting))
            .map_err(|error| StoreError::failed("start the placer", error))?;
        Ok(Self {
            queue: Mutex::new(Some(queue)),
            thread: Mutex::new(Some(thread)),
        })
    }

    pub(crate) fn place(&self, placement: Placement) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queue.as_ref() {
            // Fails only when the placer has ended; the change's answer then never comes, which says so.
            let _ = queue.send(placement);
        }
    }

    pub(crate) fn close(&self) {
        let queue = self.queue.lock();
        drop(queue.unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock();
        let thread = thread.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

fn place_all(files: &Files, writer: &mpsc::Sender<Queued>, waiting: &mpsc::Receiver<Placement>) {
    while let Ok(first) = waiting.recv() {
        let group = std::iter::once(first).chain(waiting.try_iter());
        place_group(files, writer, group);
    }
}

fn place_group(
    files: &Files,
    writer: &mpsc::Sender<Queued>,
    group: impl Iterator<Item = Placement>,
) {
    let mut shelves = BTreeSet::new();
    let mut placed = Vec::new();
    for placement in group {
        match rename_all(files, placement.files, &mut shelves) {
            Ok(()) => placed.push((placement.change, placement.approach)),
            Err(error) => placement.change.refuse(error),
        }
    }
    let synced = shelves.iter().try_for_each(|shelf| files.sync_dir(shelf));
    for (change, approach) in placed {
        match &synced {
            Ok(()) => {
                // Fails only when the writer has ended; the answer then never comes, which says so.
                let _ = writer.send(change);
            }
            Err(error) => change.refuse(error.clone()),
        }
        drop(approach);
    }
}

fn rename_all(
    files: &Files,
    list: Vec<(Staging, PathBuf)>,
    shelves: &mut BTreeSet<PathBuf>,
) -> Result<(), StoreError> {
    for (staging, to) in list {
        let shelf = to.parent().unwrap_or(Path::new("."));
        if !shelves.contains(shelf) {
            open_shelf(files, shelf)?;
            shelves.insert(shelf.to_owned());
        }
        staging.place(&to).map_err(|error| {
            let step = "put an object in its place";
            files.health().write_failed(step, &error)
        })?;
    }
    Ok(())
}

fn open_shelf(files: &Files, shelf: &Path) -> Result<(), StoreError> {
    files.health().check()?;
    // Its name in the directory above is synced too, or a power cut could take a whole day's shelf.
    make_dir(shelf).map_err(|error| files.health().write_failed("make a shelf", &error))
}
