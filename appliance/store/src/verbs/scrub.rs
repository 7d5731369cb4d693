//! The checksum scrub: every object file is read again, a few at a time, against the digest under which it was admitted.

use super::damage::{self, FileRow};
use crate::StoreError;
use crate::care::{CareFacts, DamageKind, Scrubbed};
use crate::change::Done;
use crate::error::Fault;
use crate::sql::{Sql, time_if};
use crate::store::Store;
use pericard_domain::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

/// How many objects a step reads at most, however small they are.
const MAX_OBJECTS_PER_STEP: u32 = 1024;
/// How much of a file is read at once.
const READ_BYTES: usize = 256 * 1024;
const SCRUB: &str = "scrub objects";

impl Store {
    /// Reads the next object files against their digests, `budget_bytes` of them or a little more; at least one. A
    /// damaged object is marked, with an audit line. How far it came is kept: a pass goes on after a restart.
    ///
    /// # Errors
    /// When the database fails, or a file cannot be opened for want of descriptors: then nothing is marked.
    pub async fn scrub(&self, budget_bytes: u64) -> Result<Scrubbed, StoreError> {
        let rows = self
            .read(SCRUB, move |sql| next_rows(sql, budget_bytes))
            .await?;
        let next_id = rows.last().map(|row| row.id + 1);
        let layout = self.inner.files.layout().clone();
        let reading = tokio::task::spawn_blocking(move || {
            let check = |row: FileRow| {
                let kind = look(&layout.objects().join(row.file()), &row)?;
                Ok((row, kind))
            };
            rows.into_iter()
                .map(check)
                .collect::<Result<Vec<_>, StoreError>>()
        });
        let seen = reading
            .await
            .map_err(|error| StoreError::failed(SCRUB, error))??;
        let bytes = seen.iter().map(|(row, _)| row.size_bytes).sum();
        let objects = seen.len() as u64;
        let damaged: Vec<_> = seen
            .into_iter()
            .filter_map(|(row, kind)| Some((row, kind?)))
            .collect();
        let damaged = self.keep_place(damaged, next_id, objects).await?;
        Ok(Scrubbed {
            objects,
            bytes,
            damaged,
            is_pass_over: next_id.is_none(),
        })
    }

    /// How the store's own care stands, for readiness and metrics.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn care(&self) -> Result<CareFacts, StoreError> {
        const DAMAGED: &str = "-- count damages\nSELECT count(*) FROM damage";
        const TO_REMOVE: &str = "-- count removals\nSELECT count(*) FROM removals";
        const SCRUBBED: &str = "-- read end of scrub\nSELECT ended_at FROM scrub";
        let aside = super::upkeep::aside(self.inner.files.layout());
        self.read("read care", move |sql| {
            Ok(CareFacts {
                damaged: sql.count(DAMAGED, ())?,
                set_aside: std::fs::read_dir(aside).map_or(0, |dir| dir.count() as u64),
                to_remove: sql.count(TO_REMOVE, ())?,
                scrubbed_at: sql
                    .one(SCRUBBED, (), |row| time_if(row, "ended_at"))?
                    .flatten(),
            })
        })
        .await
    }

    /// Marks what was found, and keeps how far the scrub came; gives how many were marked.
    async fn keep_place(
        &self,
        damaged: Vec<(FileRow, DamageKind)>,
        next_id: Option<i64>,
        objects: u64,
    ) -> Result<u64, StoreError> {
        const GO_ON: &str = "-- go on with scrub\n\
            UPDATE scrub SET next_id = ?1, begun_at = coalesce(begun_at, ?2), checked = checked + ?3";
        const END: &str = "-- end scrub\n\
            UPDATE scrub SET next_id = 0, begun_at = NULL, checked = 0, ended_at = ?1";
        self.change(SCRUB, move |tx| {
            let (mut lines, mut marked) = (Vec::new(), 0);
            for (row, kind) in &damaged {
                let said = damage::mark(tx, row, *kind)?;
                marked += u64::from(!said.is_empty());
                lines.extend(said);
            }
            let now = tx.now.as_millis();
            match next_id {
                Some(next_id) => tx.change(GO_ON, (next_id, now, objects.cast_signed()))?,
                None => tx.change(END, [now])?,
            };
            Ok(Done::unchanged(marked).and_all(lines).noting_care())
        })
        .await
    }
}

/// The next objects that are not known to be damaged, as many as the budget allows.
fn next_rows(sql: Sql<'_>, budget_bytes: u64) -> Result<Vec<FileRow>, Fault> {
    const NEXT: &str = "-- find next objects to scrub\n\
        SELECT i.id, i.uid, i.digest, i.size_bytes, i.received_at FROM instances i \
        WHERE i.id >= (SELECT next_id FROM scrub) AND NOT EXISTS (SELECT 1 FROM damage d WHERE d.instance_id = i.id) \
        ORDER BY i.id LIMIT ?1";
    let mut rows = sql.all(NEXT, [MAX_OBJECTS_PER_STEP], FileRow::read)?;
    let mut left = budget_bytes;
    let within = rows.iter().position(|row| {
        let is_spent = left == 0;
        left = left.saturating_sub(row.size_bytes);
        is_spent
    });
    rows.truncate(within.unwrap_or(rows.len()).max(1));
    Ok(rows)
}

/// What is wrong with a file, when something is.
fn look(path: &Path, row: &FileRow) -> Result<Option<DamageKind>, StoreError> {
    match digest_of(path) {
        Ok((digest, _)) if digest == row.digest => Ok(None),
        Ok(_) => Ok(Some(DamageKind::Altered)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(DamageKind::Missing)),
        // EIO is what a disk says of a sector that it has lost.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
            Ok(Some(DamageKind::Unreadable))
        }
        Err(error) => Err(StoreError::failed(SCRUB, error)),
    }
}

/// SHA-256 and length of a file.
pub(crate) fn digest_of(path: &Path) -> std::io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let (mut hasher, mut len, mut buffer) = (Sha256::new(), 0, vec![0; READ_BYTES]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((Digest::new(hasher.finalize().into()), len));
        }
        hasher.update(&buffer[..read]);
        len += read as u64;
    }
}
