//! What is put in order when the store is opened to serve: nothing here needs to know how the former process ended.

use super::lease::lapse;
use crate::StoreError;
use crate::change::{Done, Tx};
use crate::error::Fault;
use crate::files::Layout;
use crate::sql::{Sql, time, word};
use pericard_domain::digest::Digest;
use pericard_domain::time::Timestamp;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// On how many of the latest shelves files without a row are looked for. A crash leaves them only where objects were
/// being put; two, because it may have been midnight.
const SHELVES_SWEPT: usize = 2;

/// How often the whole appliance may end while a job is in hand before the job is failed. As a rule the job is not at
/// fault, so it costs no attempt; but one that is in hand every time may be what ends it.
const INTERRUPTIONS_MAX: u32 = 100;

/// Lets every lease of a former process lapse: whoever held one is gone.
pub(crate) fn lapse_all(tx: Tx<'_>) -> Result<Done<()>, Fault> {
    const LAPSE: &str = "-- lapse all delivery leases\n\
        UPDATE outbox SET state = 'waiting', lease_id = NULL, leased_until = NULL WHERE state = 'leased'";
    const INTERRUPT: &str = "-- count interruptions\n\
        UPDATE jobs SET interruptions = interruptions + 1, \
            attempts = CASE WHEN interruptions + 1 >= ?1 THEN coalesce(attempts_max, attempts) \
                ELSE max(attempts - 1, 0) END \
        WHERE state = 'leased'";
    tx.change(LAPSE, ())?;
    tx.change(INTERRUPT, [INTERRUPTIONS_MAX])?;
    let lines = lapse(tx, Timestamp::from_millis(i64::MAX))?;
    Ok(Done::unchanged(()).and_all(lines).moving_lease())
}

/// Removes files that were received and never promised to anybody: staging files, and files that were put in place but
/// whose rows were never committed. Only while no other process serves.
pub(crate) fn sweep(layout: &Layout, sql: Sql<'_>) -> Result<(), Fault> {
    let mut removed = 0;
    for path in list(&layout.incoming())? {
        removed += remove(&path)?;
    }
    let mut shelves = list(&layout.objects())?;
    shelves.retain(|path| *path != layout.incoming() && path.is_dir());
    shelves.sort();
    for shelf in shelves.iter().rev().take(SHELVES_SWEPT) {
        removed += sweep_shelf(layout, shelf, sql)?;
    }
    if removed > 0 {
        tracing::warn!(
            removed,
            "files that were received and never promised to anybody were removed"
        );
    }
    Ok(())
}

fn sweep_shelf(layout: &Layout, shelf: &Path, sql: Sql<'_>) -> Result<usize, Fault> {
    const OF_SHELF: &str = "-- list files of shelf\n\
        SELECT received_at, digest, uid FROM instances \
        WHERE received_at >= unixepoch(?1) * 1000 AND received_at < (unixepoch(?1) + 86400) * 1000";
    let Some(day) = day_of(shelf) else {
        return Ok(0);
    };
    let named: HashSet<PathBuf> = sql
        .all(OF_SHELF, [day], |row| {
            let digest = row.get("digest").map(Digest::new)?;
            let uid = word(row, "uid")?;
            Ok(layout.object(time(row, "received_at")?, &digest, &uid))
        })?
        .into_iter()
        .collect();
    let mut removed = 0;
    for path in list(shelf)? {
        if !named.contains(&path) {
            removed += remove(&path)?;
        }
    }
    Ok(removed)
}

/// The day of a shelf as the database reads it, `YYYY-MM-DD`; `None` when the directory is no shelf.
fn day_of(shelf: &Path) -> Option<String> {
    let name = shelf.file_name()?.to_str()?;
    let is_day = name.len() == 8 && name.bytes().all(|b| b.is_ascii_digit());
    is_day.then(|| format!("{}-{}-{}", &name[..4], &name[4..6], &name[6..]))
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let list = || {
        std::fs::read_dir(dir)?
            .map(|item| item.map(|item| item.path()))
            .collect::<Result<Vec<_>, _>>()
    };
    list().map_err(|error: std::io::Error| StoreError::failed("list object files", error))
}

fn remove(path: &Path) -> Result<usize, StoreError> {
    std::fs::remove_file(path)
        .map(|()| 1)
        .map_err(|error| StoreError::failed("remove a file that nothing names", error))
}
