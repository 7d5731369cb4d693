//! Removal: rows first, in one transaction with the audit line and the order to remove the files; the files after. A
//! crash between the two leaves the order, and the next round carries it out.

use super::damage::FileRow;
use super::keep::Placed;
use crate::StoreError;
use crate::change::{Done, Tx};
use crate::error::Fault;
use crate::files::{Files, Layout, file_name, private};
use crate::journal::Line;
use crate::store::{Store, lock};
use pericard_domain::actor::Actor;
use pericard_domain::time::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

/// How many files one round removes.
const MAX_REMOVALS_PER_ROUND: u32 = 1024;
/// Beside the database: held exclusively while a backup copies files, shared while files are removed.
pub(crate) const BACKUP_LOCK: &str = "backup.lock";
const REMOVE: &str = "remove files";
const ORDER: &str = "-- order removal\n\
    INSERT INTO removals (file, ordered_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING";

impl Store {
    /// Removes the files whose rows are gone; gives how many are. While a backup is being made none is: the backup's
    /// database may still name them.
    ///
    /// # Errors
    /// When a file cannot be removed, or the database failed. The next round tries again.
    pub async fn remove_ordered(&self) -> Result<u64, StoreError> {
        const ORDERED: &str = "-- list removals\n\
            SELECT file FROM removals ORDER BY ordered_at, file LIMIT ?1";
        const DONE: &str = "-- end removal\nDELETE FROM removals WHERE file = ?1";
        // Beside a process that serves: it alone knows what is coming, and it looks at the orders every half minute.
        let alone = match &self.inner.serving {
            Some(_) => None,
            None => lock(self.inner.files.layout())?,
        };
        if self.inner.serving.is_none() && alone.is_none() {
            return Ok(0);
        }
        let list = || {
            self.read(REMOVE, |sql| {
                sql.all(ORDERED, [MAX_REMOVALS_PER_ROUND], |row| {
                    row.get::<_, String>(0)
                })
            })
        };
        let layout = self.inner.files.layout().clone();
        let mut removed = 0;
        loop {
            let places = list().await?.into_iter().map(|f| layout.objects().join(f));
            let going = self.inner.files.traffic().go(places);
            // Once more, now that none of these can come again: an order may have been taken back meanwhile.
            let mut ordered = list().await?;
            ordered.retain(|file| going.has(&layout.objects().join(file)));
            let (among, files) = (Arc::clone(&self.inner.files), ordered.clone());
            let unlinked = self.inner.files.run(move || unlink(&among, &files));
            let unlinked = unlinked.await??;
            if ordered.is_empty() || !unlinked {
                return Ok(removed);
            }
            removed += ordered.len() as u64;
            self.change(REMOVE, move |tx| {
                for file in &ordered {
                    tx.change(DONE, [file])?;
                }
                let line = Line::new("remove files", "objects", Actor::room("store"));
                Ok(Done::said((), line.with(json!({ "files": ordered.len() }))))
            })
            .await?;
        }
    }
}

/// Takes objects out of the database, and orders their files to be removed; gives how many, and their bytes.
pub(crate) fn take_out(tx: Tx<'_>, study_id: i64, with_results: bool) -> Result<(u64, u64), Fault> {
    const FILES: &str = "-- list files of study\n\
        SELECT id, uid, digest, size_bytes, received_at FROM instances WHERE study_id = ?1 AND (?2 OR NOT is_result)";
    const UNMARK: &str = "-- forget damage of object\nDELETE FROM damage WHERE instance_id = ?1";
    const DROP: &str = "-- drop object\nDELETE FROM instances WHERE id = ?1";
    let rows = tx.all(FILES, (study_id, with_results), FileRow::read)?;
    for row in &rows {
        tx.change(UNMARK, [row.id])?;
        tx.change(ORDER, (row.file(), tx.now.as_millis()))?;
        tx.change(DROP, [row.id])?;
    }
    let bytes = rows.iter().map(|row| row.size_bytes).sum();
    Ok((rows.len() as u64, bytes))
}

/// Takes a study out of the database with everything about it but the audit log, and orders its files to be removed.
pub(crate) fn take_study_out(tx: Tx<'_>, study_id: i64) -> Result<(u64, u64), Fault> {
    const POSTED: &str = "-- drop outbox of study\nDELETE FROM outbox WHERE study_id = ?1";
    const NAMED: &str = "-- drop objects of reports of study\n\
        DELETE FROM report_objects WHERE report_id IN (SELECT id FROM reports WHERE study_id = ?1)";
    // A result that came back under another study's number is named by a report of this one, or the other way round.
    const NAMING: &str = "-- drop names of objects of study\n\
        DELETE FROM report_objects WHERE instance_id IN (SELECT id FROM instances WHERE study_id = ?1)";
    const REPORTS: &str = "-- drop reports of study\nDELETE FROM reports WHERE study_id = ?1";
    const JOBS: &str = "-- drop jobs of study\nDELETE FROM jobs WHERE study_id = ?1";
    const WORKITEMS: &str = "-- drop workitems of study\n\
        DELETE FROM workitems WHERE study_uid = (SELECT uid FROM studies WHERE id = ?1)";
    const ORDERS: &str = "-- drop orders of study\n\
        DELETE FROM expected WHERE study_uid = (SELECT uid FROM studies WHERE id = ?1) \
        OR accession_number IN (SELECT accession_number FROM instances WHERE study_id = ?1)";
    const STUDY: &str = "-- drop study\nDELETE FROM studies WHERE id = ?1";
    for statement in [POSTED, NAMED, NAMING, REPORTS, WORKITEMS, JOBS, ORDERS] {
        tx.change(statement, [study_id])?;
    }
    let taken = take_out(tx, study_id, true)?;
    tx.change(STUDY, [study_id])?;
    Ok(taken)
}

/// Orders the file of an object to be removed that lies on the shelf of another day than its row says from now on.
pub(crate) fn order(tx: Tx<'_>, shelf: Timestamp, object: &Placed) -> Result<(), Fault> {
    tx.change(ORDER, (file_of(shelf, object), tx.now.as_millis()))?;
    Ok(())
}

/// Takes back the order to remove the file of an object that has come again, to the same place.
pub(crate) fn cancel(tx: Tx<'_>, object: &Placed) -> Result<(), Fault> {
    const CANCEL: &str = "-- cancel removal\nDELETE FROM removals WHERE file = ?1";
    tx.change(CANCEL, [file_of(object.received_at, object)])?;
    Ok(())
}

/// Where the file of an object lies that was received then: shelf and name.
fn file_of(shelf: Timestamp, object: &Placed) -> String {
    let name = file_name(&object.digest, &object.identity.instance);
    format!("{}/{name}", shelf.dicom_date())
}

/// The lock that a backup holds while files must stay.
pub(crate) fn backup_lock(layout: &Layout) -> std::io::Result<File> {
    let path = layout.database().with_file_name(BACKUP_LOCK);
    private().append(true).create(true).open(path)
}

/// Unlinks the files and puts that on disk; `false` when a backup is at work and nothing was done.
fn unlink(among: &Files, files: &[String]) -> Result<bool, StoreError> {
    let failed = |error: std::io::Error| StoreError::failed(REMOVE, error);
    let lock = backup_lock(among.layout()).map_err(failed)?;
    match flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
        Err(error) => return Err(failed(error.into())),
    }
    let mut shelves = BTreeSet::<PathBuf>::new();
    for file in files {
        let path = among.layout().objects().join(file);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => shelves.extend(path.parent().map(PathBuf::from)),
        }
    }
    // Were one forgotten, the file would be back after a power cut, with neither row nor order.
    for shelf in shelves.iter().filter(|shelf| shelf.exists()) {
        among.sync_dir(shelf)?;
    }
    Ok(true)
}
