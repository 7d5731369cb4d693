//! The audit log in the database: lines become leaves in the transaction that they speak of, under one checkpoint a
//! commit. What a Merkle log is, the `audit` room knows.

use crate::StoreError;
use crate::audit_log::AuditLine;
use crate::error::Fault;
use crate::files::{Files, private, put_on_disk};
use crate::sql::Sql;
use pericard_audit::{Checkpoint, Frontier, Hash, SALT_BYTES, SigningKey, commitment, leaf};
use pericard_domain::actor::Actor;
use pericard_domain::time::Timestamp;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How far the checkpoint file may be behind the log, milliseconds.
const CHECKPOINT_FILE_LAG_MS: u64 = 500;

/// A line to be written: who did what to which, with ids, numbers and closed words only.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) by: Actor,
    pub(crate) verb: &'static str,
    pub(crate) subject: String,
    pub(crate) detail: serde_json::Value,
}

impl Line {
    pub(crate) fn new(verb: &'static str, subject: impl Into<String>, by: Actor) -> Self {
        Self {
            by,
            verb,
            subject: subject.into(),
            detail: serde_json::Value::Null,
        }
    }

    pub(crate) fn with(mut self, detail: serde_json::Value) -> Self {
        self.detail = detail;
        self
    }
}

/// How a line becomes a leaf of the log.
///
/// What is shipped has one answer, [`Salted`]. It is asked for by name because the log's root leaves the hospital: a test
/// that shows that nothing else of a patient does stands in for the salt's secret with leaves that hold no line at all.
pub trait Leaves: Send + Sync + std::fmt::Debug {
    /// The leaf at this place.
    fn leaf(&self, index: u64, salt: &[u8; SALT_BYTES], record: &[u8]) -> Hash;
}

/// `SHA-256(0x00 || SHA-256(salt || record))`: nobody who has not the salt can tell what it is of.
#[derive(Debug, Clone, Copy, Default)]
pub struct Salted;

impl Leaves for Salted {
    fn leaf(&self, _index: u64, salt: &[u8; SALT_BYTES], record: &[u8]) -> Hash {
        leaf(salt, record)
    }
}

/// Appends lines and signs the log as it then is; gives the signed checkpoint. The frontier is read from the database
/// every time, because another process may have written since.
pub(crate) fn append(
    sql: Sql<'_>,
    (key, leaves): (&SigningKey, &dyn Leaves),
    at: Timestamp,
    lines: Vec<Line>,
) -> Result<String, Fault> {
    const KEEP_LEAF: &str = "-- keep audit leaf\n\
        INSERT INTO audit_leaves (idx, leaf) VALUES (?1, ?2)";
    const KEEP_LINE: &str = "-- keep audit line\n\
        INSERT INTO audit_entries (idx, salt, record) VALUES (?1, ?2, ?3)";
    let mut frontier = frontier(sql)?;
    for line in lines {
        let index = frontier.size();
        let record = record(index, at, line)?;
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|error| StoreError::failed("salt a line", error))?;
        let leaf = leaves.leaf(index, &salt, record.as_bytes());
        frontier.append(leaf);
        sql.insert(KEEP_LEAF, (index.cast_signed(), leaf.as_bytes()))?;
        sql.insert(KEEP_LINE, (index.cast_signed(), salt, record))?;
    }
    keep_head(sql, key, &frontier)
}

/// Begins the log, when the database has none; gives the first signed checkpoint.
pub(crate) fn begin(sql: Sql<'_>, key: &SigningKey) -> Result<Option<String>, Fault> {
    match head(sql)? {
        Some(_) => Ok(None),
        None => keep_head(sql, key, &Frontier::new()).map(Some),
    }
}

/// Erases what lines say: record and salt go, the commitment stays in their place, and the tree with it. Gives how many
/// were erased.
pub(crate) fn erase(sql: Sql<'_>, lines: &[i64]) -> Result<u64, Fault> {
    const READ: &str = "-- read line to erase\n\
        SELECT salt, record FROM audit_entries WHERE idx = ?1 AND record IS NOT NULL";
    const ERASE: &str = "-- erase line\n\
        UPDATE audit_entries SET salt = NULL, record = NULL, commitment = ?2 WHERE idx = ?1";
    let mut erased = 0;
    for index in lines {
        let read = sql.one(READ, [index], |row| {
            Ok((row.get::<_, [u8; SALT_BYTES]>(0)?, row.get::<_, String>(1)?))
        })?;
        if let Some((salt, record)) = read {
            sql.change(ERASE, (index, commitment(&salt, record.as_bytes())))?;
            erased += 1;
        }
    }
    Ok(erased)
}

/// The frontier's bytes and the signed checkpoint.
pub(crate) fn head(sql: Sql<'_>) -> Result<Option<(Vec<u8>, String)>, Fault> {
    const HEAD: &str = "-- read audit head\nSELECT frontier, checkpoint FROM audit_head";
    sql.one(HEAD, (), |row| Ok((row.get(0)?, row.get(1)?)))
}

fn frontier(sql: Sql<'_>) -> Result<Frontier, Fault> {
    let Some((bytes, _)) = head(sql)? else {
        return Ok(Frontier::new());
    };
    Frontier::from_bytes(&bytes)
        .map_err(|error| StoreError::failed("take up the audit log", error).into())
}

fn keep_head(sql: Sql<'_>, key: &SigningKey, frontier: &Frontier) -> Result<String, Fault> {
    const KEEP_HEAD: &str = "-- keep audit head\n\
        INSERT INTO audit_head (one, frontier, checkpoint) VALUES (1, ?1, ?2) \
        ON CONFLICT (one) DO UPDATE SET frontier = ?1, checkpoint = ?2";
    let checkpoint = Checkpoint {
        origin: key.name().to_owned(),
        size: frontier.size(),
        root: frontier.root(),
    };
    let signed = checkpoint
        .sign(key)
        .map_err(|error| StoreError::failed("sign the audit log", error))?;
    sql.change(KEEP_HEAD, (frontier.to_bytes(), &signed))?;
    Ok(signed)
}

fn record(index: u64, at: Timestamp, line: Line) -> Result<String, StoreError> {
    crate::sql::to_json(&AuditLine {
        index,
        at,
        by: line.by,
        verb: line.verb.to_owned(),
        subject: line.subject,
        detail: line.detail,
    })
}

/// The log's signing key: read, or made when there is none.
pub(crate) fn signing_key(dir: &Path, origin: &str) -> Result<SigningKey, StoreError> {
    const STEP: &str = "read the audit key";
    let path = dir.join("key");
    let key = match std::fs::read_to_string(&path) {
        Ok(text) => SigningKey::from_secret_text(&text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make_key(dir, origin)?,
        Err(error) => return Err(StoreError::failed(STEP, error)),
    };
    let key = key.map_err(|error| StoreError::failed(STEP, error))?;
    if key.name() != origin {
        let reason = format!(
            "this data directory keeps the log {:?}, and {origin:?} is configured; configure the former, or begin a new \
             data directory",
            key.name()
        );
        return Err(StoreError::failed("open the audit log", reason));
    }
    let (path, text) = (dir.join("key.pub"), format!("{}\n", key.verifier()));
    // Not written again at every start: a disk that is full must not keep the appliance from what it holds.
    if std::fs::read_to_string(&path).ok().as_ref() != Some(&text) {
        write_whole(&path, &text)
            .map_err(|error| StoreError::failed("write the audit log's verifier key", error))?;
    }
    Ok(key)
}

type MadeKey = Result<SigningKey, pericard_audit::note::KeyError>;

fn make_key(dir: &Path, origin: &str) -> Result<MadeKey, StoreError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| StoreError::failed("make the audit key", error))?;
    let made = SigningKey::from_seed(origin, &seed);
    if let Ok(key) = &made {
        let text = format!("{}\n", key.to_secret_text());
        write_whole(&dir.join("key"), &text)
            .map_err(|error| StoreError::failed("write the audit key", error))?;
    }
    Ok(made)
}

/// The latest checkpoint in a file of its own, by which a truncated or rolled-back database is found out.
#[derive(Debug)]
pub(crate) struct CheckpointFile {
    path: PathBuf,
    pending: Mutex<Pending>,
}

#[derive(Debug)]
struct Pending {
    note: Option<String>,
    written_at: Option<Instant>,
}

impl CheckpointFile {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            path: dir.join("checkpoint"),
            pending: Mutex::new(Pending {
                note: None,
                written_at: None,
            }),
        }
    }

    /// Keeps the checkpoint that was committed. It is on disk a little later: the file may lag behind the log, which
    /// only grows, and must never be ahead of it.
    pub(crate) fn offer(&self, note: String) {
        let pending = self.pending.lock();
        pending.unwrap_or_else(PoisonError::into_inner).note = Some(note);
    }

    /// Writes what is pending on the file threads, when the last time is long enough ago.
    pub(crate) fn write_soon(self: &Arc<Self>, files: &Arc<Files>) {
        let lag = Duration::from_millis(CHECKPOINT_FILE_LAG_MS);
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let is_early = pending.written_at.is_some_and(|at| at.elapsed() < lag);
        if pending.note.is_none() || is_early {
            return;
        }
        pending.written_at = Some(Instant::now());
        drop(pending);
        let (this, files_too) = (Arc::clone(self), Arc::clone(files));
        files.start_step(Box::new(move || this.write_now(&files_too)));
    }

    /// Writes what is pending.
    pub(crate) fn write_now(&self, files: &Files) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(note) = pending.note.take() else {
            return;
        };
        // The lock is held while it is written, so that an older checkpoint never replaces a newer one.
        if files.health().check().is_ok()
            && let Err(error) = write_whole(&self.path, &note)
        {
            let _said = files
                .health()
                .write_failed("write the audit checkpoint", &error);
        }
    }
}

/// Replaces a file that only its owner may read by another of these contents, all or nothing.
pub(crate) fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    // A name that neither another process nor another store in this one uses at the same time.
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let beside = path.with_extension(format!("new-{process}-{count}"));
    let mut file = private()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&beside)?;
    file.write_all(text.as_bytes())?;
    put_on_disk(&file)?;
    std::fs::rename(&beside, path)?;
    put_on_disk(&std::fs::File::open(path.parent().unwrap_or(path))?)
}
