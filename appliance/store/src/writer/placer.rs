//! Sealed files are put in their places: renamed, then file and directory synced side by side, and then the change goes to
//! the writer. By then the files are on disk under their names, and only then may a row speak of them.
//!
//! Each placement runs on a file thread of its own. A thread that did this for all, group by group, was measured to be
//! slower: the file system gathers concurrent syncs of files by itself, and a second gathering in front of it only makes
//! everybody wait for two rounds. The directory is one for all, and its syncs are shared (`names`).

use super::Queued;
use crate::StoreError;
use crate::files::{Approach, Files, Staging};
use crate::names::OnItsWay;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

/// A change and the files that it speaks of.
pub(crate) struct Placement {
    pub(crate) files: Vec<Settler>,
    /// The change that then commits.
    pub(crate) change: Queued,
    /// Held until the change goes to the writer's queue.
    pub(crate) approach: Option<Approach>,
}

/// A staged file, open, and where it goes.
pub(crate) struct Settler {
    pub(crate) staging: Staging,
    pub(crate) file: File,
    pub(crate) to: PathBuf,
}

impl Placement {
    /// Puts the files in place and hands the change on; or refuses it, and then no row speaks of them.
    pub(crate) fn run(self, files: &Files, writer: &mpsc::SyncSender<Queued>) {
        let places = self.files.iter().map(|one| one.to.clone()).collect();
        let Some(coming) = files.traffic().come(places) else {
            return self.change.refuse(StoreError::BeingRemoved);
        };
        let change = self.change.with_files(coming);
        match place_all(files, self.files) {
            Ok(()) => {
                // Before it is sent: the writer would else wait for this very change, which it already has.
                drop(self.approach);
                // Fails only when the writer has ended; the answer then never comes, which says so.
                let _ = writer.send(change);
            }
            Err(error) => change.refuse(error),
        }
    }
}

fn place_all(files: &Files, list: Vec<Settler>) -> Result<(), StoreError> {
    let mut names = Vec::with_capacity(list.len());
    for Settler { staging, file, to } in list {
        files.open_shelf(to.parent().unwrap_or(Path::new(".")))?;
        names.push(files.place(staging, &file, &to)?);
    }
    names.into_iter().try_for_each(OnItsWay::wait)
}
