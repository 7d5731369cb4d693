//! The log against what was signed: the checkpoint in the database, the one in the file beside it, and any that the
//! database once contradicted.

use crate::StoreError;
use crate::audit_log::Verified;
use crate::error::Fault;
use crate::journal;
use crate::sql::Sql;
use crate::writer::Committer;
use pericard_audit::{Broken, Checkpoint, Content, Entry, Frontier, Hash, SALT_BYTES};
use pericard_audit::{Verifier, VerifierKey};
use std::path::{Path, PathBuf};

/// What the checkpoint file is called after the database contradicted it. Kept until a person has explained it; until
/// then no verification succeeds.
const CONTRADICTED: &str = "checkpoint.contradicted-";
/// How many entries are read at once.
const PAGE_ENTRIES: u32 = 1024;
const VERIFY: &str = "verify the audit log";

/// Recomputes the whole log against every signed checkpoint there is.
pub(crate) fn verify(sql: Sql<'_>, dir: &Path, key: &VerifierKey) -> Result<Verified, Fault> {
    // The files first: the log only grows, so what is read after them must hold them.
    let older = signed_beside(dir)?;
    let tx = sql.connection().unchecked_transaction();
    let _one_view = tx.map_err(Fault::sql("begin to read"))?;
    let (_, signed) = journal::head(sql)?.ok_or(StoreError::NotFound("audit log"))?;
    let verifier = Verifier::new(&signed, key)
        .and_then(|verifier| verifier.with_older(older.iter().map(String::as_str), key));
    let mut verifier = verifier.map_err(broken)?;
    for entry in Entries::new(sql) {
        verifier.push(&entry?).map_err(broken)?;
    }
    let verified = verifier.finish().map_err(broken)?;
    let body = verified.checkpoint.body();
    Ok(Verified {
        lines: verified.checkpoint.size,
        root: body.lines().nth(2).unwrap_or_default().to_owned(),
        checkpoint: signed,
    })
}

/// Every entry, in the order of the log, a page at a time: a log is larger than memory in the end.
pub(crate) struct Entries<'c> {
    sql: Sql<'c>,
    next: i64,
    page: std::vec::IntoIter<Row>,
}

/// An entry's columns.
type Row = (
    i64,
    Hash,
    Option<[u8; SALT_BYTES]>,
    Option<String>,
    Option<[u8; 32]>,
);

impl<'c> Entries<'c> {
    pub(crate) fn new(sql: Sql<'c>) -> Self {
        Self {
            sql,
            next: i64::MIN,
            page: Vec::new().into_iter(),
        }
    }

    fn turn_page(&mut self) -> Result<(), Fault> {
        const PAGE: &str = "-- read audit entries\n\
            SELECT l.idx, l.leaf, e.salt, e.record, e.commitment \
            FROM audit_leaves l LEFT JOIN audit_entries e ON e.idx = l.idx \
            WHERE l.idx >= ?1 ORDER BY l.idx LIMIT ?2";
        let page = self.sql.all(PAGE, (self.next, PAGE_ENTRIES), |row| {
            let leaf = row.get(1).map(Hash::new)?;
            Ok((row.get(0)?, leaf, row.get(2)?, row.get(3)?, row.get(4)?))
        })?;
        self.next = page
            .last()
            .map_or(i64::MAX, |last: &Row| last.0.saturating_add(1));
        self.page = page.into_iter();
        Ok(())
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.len() == 0
            && let Err(fault) = self.turn_page()
        {
            return Some(Err(fault));
        }
        self.page.next().map(|row| Ok(entry(row)))
    }
}

/// Compares the checkpoint file with the database when the store is opened. A file that the database does not continue
/// is kept under another name as evidence; a missing one is written again. Says whether there is such evidence, of now or
/// of earlier: the database may be an older one, put back.
pub(crate) fn compare_at_start(
    dir: &Path,
    committer: &Committer,
    key: &VerifierKey,
) -> Result<bool, StoreError> {
    let path = dir.join("checkpoint");
    if let Ok(signed) = std::fs::read_to_string(&path)
        && let Ok(checkpoint) = Checkpoint::open(&signed, key)
        && !continues(Sql::new(&committer.connection), &checkpoint)?
    {
        let kept = dir.join(format!("{CONTRADICTED}{}", checkpoint.size));
        tracing::error!(
            size = checkpoint.size,
            "the audit log does not continue its own checkpoint: it was truncated, rolled back or changed"
        );
        std::fs::rename(&path, kept)
            .map_err(|error| StoreError::failed("keep the checkpoint as evidence", error))?;
    }
    if let Some((_, signed)) = journal::head(Sql::new(&committer.connection))? {
        committer.checkpoint.offer(signed);
        committer.checkpoint.write_now(&committer.files);
    }
    Ok(signed_beside(dir)?.len() > 1)
}

/// Whether the log, cut at the checkpoint's size, is what was signed.
fn continues(sql: Sql<'_>, checkpoint: &Checkpoint) -> Result<bool, StoreError> {
    const LEAVES: &str = "-- read leaves up to a checkpoint\n\
        SELECT leaf FROM audit_leaves WHERE idx < ?1 ORDER BY idx";
    // Most often nothing was written since, and the frontier kept in the database answers without reading the log.
    if let Some((bytes, _)) = journal::head(sql)?
        && let Ok(frontier) = Frontier::from_bytes(&bytes)
        && frontier.size() == checkpoint.size
    {
        return Ok(frontier.root() == checkpoint.root);
    }
    let size = i64::try_from(checkpoint.size).unwrap_or(i64::MAX);
    let leaves = sql.all(LEAVES, [size], |row| row.get(0).map(Hash::new))?;
    let frontier: Frontier = leaves.into_iter().collect();
    Ok(frontier.size() == checkpoint.size && frontier.root() == checkpoint.root)
}

/// The signed checkpoint in the file, and those that were contradicted.
fn signed_beside(dir: &Path) -> Result<Vec<String>, StoreError> {
    let mut signed = vec![read(&dir.join("checkpoint"))?];
    let listed = std::fs::read_dir(dir);
    for item in listed.map_err(|error| StoreError::failed(VERIFY, error))? {
        let path = item
            .map_err(|error| StoreError::failed(VERIFY, error))?
            .path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(CONTRADICTED) {
            signed.push(read(&path)?);
        }
    }
    Ok(signed)
}

fn read(path: &PathBuf) -> Result<String, StoreError> {
    std::fs::read_to_string(path).map_err(|error| {
        let reason = format!(
            "{}: {error}; without it a truncated log looks whole",
            path.display()
        );
        StoreError::failed(VERIFY, reason)
    })
}

fn entry((index, leaf, salt, record, commitment): Row) -> Entry {
    let content = match (salt, record, commitment) {
        (Some(salt), Some(record), _) => Content::Kept {
            salt,
            record: record.into_bytes(),
        },
        (_, _, Some(commitment)) => Content::Erased { commitment },
        // A salt or record gone without its commitment: this hashes to no leaf, and the verifier says so.
        _ => Content::Erased {
            commitment: [0; 32],
        },
    };
    Entry {
        index: index.cast_unsigned(),
        leaf,
        content,
    }
}

fn broken(broken: Broken) -> Fault {
    StoreError::failed(VERIFY, broken).into()
}
