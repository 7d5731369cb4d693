//! The hub's database: every change is one named transaction with its lines in the hub's own audit log.
//!
//! The statements are plain SQL with numbered parameters, and stand in this file only.

use crate::records::{
    Alarm, AlarmKind, Hospital, Issued, Model, Received, Snapshot, Viewer, Witnessed,
};
use crate::token::Token;
use crate::words::words_of;
use pericard_audit::{Frontier, SALT_BYTES, leaf};
use pericard_frame::reply::{Advisory, Cause, Kind};
use pericard_frame::{FRAME_BYTES, Frame, layout};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a transaction waits for another process's.
const BUSY_TIMEOUT_MS: u64 = 10_000;

/// The hub's data could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("the hub's database: {0}")]
    Database(#[from] rusqlite::Error),
    /// What is kept is not what was written.
    #[error("the hub's database holds {0} that is none; restore it from a backup")]
    Damaged(&'static str),
    /// The system gave no random numbers.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
    /// There is no such thing.
    #[error("there is no {0} of this number")]
    NotFound(&'static str),
    /// It cannot be taken.
    #[error("{0}")]
    Refused(&'static str),
}

/// The database.
#[derive(Debug)]
pub struct Store {
    // One connection, so one change at a time: what a change reads is true until it has committed.
    connection: Mutex<Connection>,
}

/// An enrolled hospital, with what its frames are checked by.
pub(crate) struct Enrolled {
    pub(crate) number: u32,
    pub(crate) frame_key: String,
    pub(crate) suspended: bool,
}

/// What is kept of an appliance's log.
pub(crate) struct Witness {
    pub(crate) seen: Witnessed,
    pub(crate) signature: [u8; 64],
}

/// How long the hub's audit log was before a change, and after.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lines {
    pub(crate) before: u64,
    pub(crate) after: u64,
}

impl Store {
    /// Opens the database, and makes it when there is none.
    ///
    /// # Errors
    /// When the file cannot be opened or is no database.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // FULL: what was answered is on disk. NORMAL loses acknowledged frames in a power cut.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.execute_batch(include_str!("schema.sql"))?;
        Ok(Self {
            connection: Mutex::new(connection),
        })
    }

    /// Makes a change: all of it with its audit lines, on disk when this returns, or nothing. Gives how many audit lines
    /// there were before and after it, too: who remembers the last of them sees whether another process made a change.
    pub(crate) fn change<T>(
        &self,
        at_s: u64,
        work: impl FnOnce(&mut Change<'_>) -> Result<T, StoreError>,
    ) -> Result<(T, Lines), StoreError> {
        let mut connection = self.connection();
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let frontier = frontier(&tx)?;
        let before = frontier.size();
        let mut change = Change { tx, frontier, at_s };
        let done = work(&mut change)?;
        let after = change.frontier.size();
        change.tx.execute(
            "INSERT INTO audit_head (only, frontier) VALUES (0, ?1) ON CONFLICT (only) DO UPDATE SET frontier = ?1",
            [change.frontier.to_bytes()],
        )?;
        change.tx.commit()?;
        Ok((done, Lines { before, after }))
    }

    /// How many lines the hub's own audit log has: every change adds one.
    pub(crate) fn lines(&self) -> Result<u64, StoreError> {
        Ok(frontier(&self.connection())?.size())
    }

    /// Whether it can be read now.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.lines().is_ok()
    }

    /// Every token that was ever made.
    pub(crate) fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        rows(&self.connection(), TOKENS, token)
    }

    /// All that the hub knows.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn snapshot(&self, now_s: u64) -> Result<Snapshot, StoreError> {
        let connection = self.connection();
        let frames = rows(&connection, FRAMES, received)?;
        drop(connection);
        self.with(frames, now_s)
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic left no transaction open: it was rolled back when it was dropped.
        let lock = self.connection.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, frames: Vec<Arc<Received>>, now_s: u64) -> Result<Snapshot, StoreError> {
        let connection = self.connection();
        let all = &connection;
        Ok(Snapshot {
            frames,
            hospitals: rows(all, HOSPITALS, hospital)?,
            alarms: rows(all, ALARMS, alarm)?,
            witnessed: rows(all, WITNESSED, |row| Ok(witness(row)?.seen))?,
            models: rows(all, MODELS, model)?,
            advisories: rows(all, ADVISORIES, issued)?,
            now_s,
        })
    }

    /// The snapshot after this one: with these frames, and all else read anew, since it is little.
    pub(crate) fn renewed(
        &self,
        before: &Snapshot,
        accepted: Vec<Arc<Received>>,
        now_s: u64,
    ) -> Result<Snapshot, StoreError> {
        let mut frames = before.frames.clone();
        for received in accepted {
            let place = |known: &Arc<Received>| (known.appliance, known.sequence);
            let at = frames.partition_point(|known| place(known) < place(&received));
            frames.insert(at, received);
        }
        self.with(frames, now_s)
    }

    /// Recomputes the hub's own audit log from its lines, and gives how many there are.
    ///
    /// # Errors
    /// When a line was changed, removed or added behind the hub's back.
    pub fn verify_audit(&self) -> Result<u64, StoreError> {
        let connection = self.connection();
        let lines = rows(&connection, AUDIT, |row| {
            Ok((row.get::<_, [u8; SALT_BYTES]>(0)?, row.get::<_, String>(1)?))
        })?;
        let leaves = lines
            .iter()
            .map(|(salt, record)| leaf(salt, record.as_bytes()));
        let recomputed: Frontier = leaves.collect();
        if recomputed != frontier(&connection)? {
            return Err(StoreError::Damaged("an audit log"));
        }
        Ok(recomputed.size())
    }
}

const HOSPITALS: &str =
    "SELECT number, name, enrolled_at_s, suspended FROM hospitals ORDER BY number";
const FRAMES: &str =
    "SELECT bytes, received_at_s, carried FROM frames ORDER BY appliance, sequence";
const ALARMS: &str = "SELECT appliance, at_s, kind, sequence FROM alarms ORDER BY at_s, rowid";
const WITNESSED: &str =
    "SELECT appliance, size, root, cosigned_at_s, signature FROM witness ORDER BY appliance";
const MODELS: &str = "SELECT id, name, version, digest FROM catalogue ORDER BY id";
const ADVISORIES: &str = "SELECT a.number, a.kind, a.model, c.digest, a.issued_at_s, a.cause, a.signature, a.text \
     FROM advisories a JOIN catalogue c ON c.id = a.model ORDER BY a.number";
const TOKENS: &str = "SELECT number, label, sha256, role, created_at_s, expires_at_s, revoked FROM tokens ORDER BY number";
const AUDIT: &str = "SELECT salt, record FROM audit ORDER BY place";

/// A transaction in the making.
pub(crate) struct Change<'c> {
    tx: Transaction<'c>,
    frontier: Frontier,
    at_s: u64,
}

impl Change<'_> {
    /// Writes a line of the audit log: a verb, and numbers or a catalogue's words that it happened to.
    pub(crate) fn note(&mut self, verb: &str, subject: &str) -> Result<(), StoreError> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(StoreError::Random)?;
        let line = serde_json::json!({"at_s": self.at_s, "verb": verb, "subject": subject});
        let record = line.to_string();
        let place = self.frontier.append(leaf(&salt, record.as_bytes()));
        self.tx
            .prepare_cached("INSERT INTO audit (place, salt, record) VALUES (?1, ?2, ?3)")?
            .execute((place.cast_signed(), salt, record))?;
        Ok(())
    }

    pub(crate) fn enrol(
        &mut self,
        name: &str,
        frame_key: &str,
        certificate: &[u8; 32],
    ) -> Result<u32, StoreError> {
        let renewed = self.tx.query_row(
            "UPDATE hospitals SET certificate_sha256 = ?2 WHERE frame_key = ?1 RETURNING number",
            (frame_key, certificate),
            |row| row.get(0),
        );
        if let Some(number) = renewed.optional()? {
            self.note("renew certificate of hospital", &format!("{number}"))?;
            return Ok(number);
        }
        let number: u32 = self.tx.query_row(
            "INSERT INTO hospitals (number, name, frame_key, certificate_sha256, enrolled_at_s) \
             VALUES ((SELECT coalesce(max(number), 0) + 1 FROM hospitals), ?1, ?2, ?3, ?4) RETURNING number",
            (name, frame_key, certificate, self.at_s.cast_signed()),
            |row| row.get(0),
        )?;
        self.note("enrol hospital", &number.to_string())?;
        Ok(number)
    }

    pub(crate) fn suspend(&mut self, number: u32, suspended: bool) -> Result<(), StoreError> {
        let changed = self.tx.execute(
            "UPDATE hospitals SET suspended = ?2 WHERE number = ?1",
            (number, suspended),
        )?;
        if changed == 0 {
            return Err(StoreError::NotFound("hospital"));
        }
        let verb = if suspended {
            "suspend hospital"
        } else {
            "resume hospital"
        };
        self.note(verb, &number.to_string())
    }

    pub(crate) fn add_model(&mut self, model: &Model) -> Result<(), StoreError> {
        self.tx.execute(
            "INSERT INTO catalogue (id, name, version, digest) VALUES (?1, ?2, ?3, ?4)",
            (model.id, &model.name, &model.version, model.digest),
        )?;
        self.note("add model", &model.id.to_string())
    }

    pub(crate) fn model(&self, id: u16) -> Result<Option<Model>, StoreError> {
        let sql = "SELECT id, name, version, digest FROM catalogue WHERE id = ?1";
        Ok(self.tx.query_row(sql, [id], model).optional()?)
    }

    pub(crate) fn next_advisory(&self) -> Result<u32, StoreError> {
        let sql = "SELECT coalesce(max(number), 0) + 1 FROM advisories";
        Ok(self.tx.query_row(sql, [], |row| row.get(0))?)
    }

    pub(crate) fn issue(&mut self, issued: &Issued) -> Result<(), StoreError> {
        let advisory = &issued.advisory;
        self.tx.execute(
            "INSERT INTO advisories (number, kind, model, issued_at_s, cause, signature, text) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (
                advisory.number,
                advisory.kind.number(),
                advisory.model,
                advisory.issued_at_s.cast_signed(),
                advisory.cause.number(),
                advisory.signature,
                &issued.text,
            ),
        )?;
        self.note("issue advisory", &advisory.number.to_string())
    }

    /// Keeps a token, and gives its number; the number in it is passed over.
    pub(crate) fn create_token(&mut self, token: &Token) -> Result<u32, StoreError> {
        if let Viewer::Hospital(number) = token.viewer
            && self.by_number(number)?.is_none()
        {
            return Err(StoreError::NotFound("hospital"));
        }
        let number: u32 = self.tx.query_row(
            "INSERT INTO tokens (number, label, sha256, role, created_at_s, expires_at_s) \
             VALUES ((SELECT coalesce(max(number), 0) + 1 FROM tokens), ?1, ?2, ?3, ?4, ?5) RETURNING number",
            (
                &token.label,
                token.sha256,
                token.viewer.role(),
                self.at_s.cast_signed(),
                token.expires_at_s.cast_signed(),
            ),
            |row| row.get(0),
        )?;
        self.note("create token", &format!("{number} {}", token.viewer.role()))?;
        Ok(number)
    }

    pub(crate) fn revoke_token(&mut self, number: u32) -> Result<(), StoreError> {
        let sql = "UPDATE tokens SET revoked = 1 WHERE number = ?1";
        if self.tx.execute(sql, [number])? == 0 {
            return Err(StoreError::NotFound("token"));
        }
        self.note("revoke token", &number.to_string())
    }

    pub(crate) fn advisories(&self) -> Result<Vec<Issued>, StoreError> {
        rows(&self.tx, ADVISORIES, issued)
    }

    pub(crate) fn by_number(&self, number: u32) -> Result<Option<Enrolled>, StoreError> {
        let sql = "SELECT number, frame_key, suspended FROM hospitals WHERE number = ?1";
        let mut statement = self.tx.prepare_cached(sql)?;
        Ok(statement.query_row([number], enrolled).optional()?)
    }

    pub(crate) fn by_certificate(&self, sha256: &[u8; 32]) -> Result<Option<Enrolled>, StoreError> {
        let sql =
            "SELECT number, frame_key, suspended FROM hospitals WHERE certificate_sha256 = ?1";
        let mut statement = self.tx.prepare_cached(sql)?;
        Ok(statement.query_row([sha256], enrolled).optional()?)
    }

    pub(crate) fn frame(&self, number: u32, sequence: u32) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT bytes FROM frames WHERE appliance = ?1 AND sequence = ?2";
        let mut statement = self.tx.prepare_cached(sql)?;
        let found = statement.query_row([number, sequence], |row| row.get(0));
        Ok(found.optional()?)
    }

    pub(crate) fn witness(&self, number: u32) -> Result<Option<Witness>, StoreError> {
        let sql = "SELECT appliance, size, root, cosigned_at_s, signature FROM witness WHERE appliance = ?1";
        let mut statement = self.tx.prepare_cached(sql)?;
        Ok(statement.query_row([number], witness).optional()?)
    }

    pub(crate) fn accept(
        &mut self,
        received: &Received,
        witness: &Witness,
    ) -> Result<(), StoreError> {
        let (number, sequence) = (received.appliance, received.sequence);
        let sql = "INSERT INTO frames (appliance, sequence, received_at_s, carried, bytes) VALUES (?1, ?2, ?3, ?4, ?5)";
        self.tx.prepare_cached(sql)?.execute((
            number,
            sequence,
            received.received_at_s.cast_signed(),
            received.carried,
            &received.frame.bytes()[..],
        ))?;
        let sql = "INSERT INTO witness (appliance, size, root, cosigned_at_s, signature) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (appliance) DO UPDATE SET size = ?2, root = ?3, cosigned_at_s = ?4, signature = ?5";
        self.tx.prepare_cached(sql)?.execute((
            number,
            witness.seen.size.cast_signed(),
            witness.seen.root,
            witness.seen.cosigned_at_s.cast_signed(),
            witness.signature,
        ))?;
        self.note("accept frame", &format!("{number}/{sequence}"))
    }

    /// Raises an alarm; the same one is raised once.
    pub(crate) fn alarm(
        &mut self,
        appliance: u32,
        kind: AlarmKind,
        sequence: Option<u32>,
    ) -> Result<(), StoreError> {
        let new = self.tx.execute(
            "INSERT INTO alarms (appliance, at_s, kind, sequence) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            (appliance, self.at_s.cast_signed(), kind.word(), sequence),
        )?;
        if new == 0 {
            return Ok(());
        }
        let sequence = sequence.map_or("?".to_owned(), |number| number.to_string());
        self.note(
            "raise alarm",
            &format!("{appliance}/{sequence} {}", kind.word()),
        )
    }
}

fn frontier(connection: &Connection) -> Result<Frontier, StoreError> {
    let kept: Option<Vec<u8>> = connection
        .query_row("SELECT frontier FROM audit_head", [], |row| row.get(0))
        .optional()?;
    let Some(kept) = kept else {
        return Ok(Frontier::new());
    };
    Frontier::from_bytes(&kept).map_err(|_| StoreError::Damaged("an audit log"))
}

fn rows<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_map([], read)?.collect::<Result<_, _>>()?)
}

fn hospital(row: &Row<'_>) -> rusqlite::Result<Hospital> {
    Ok(Hospital {
        number: row.get(0)?,
        name: row.get(1)?,
        enrolled_at_s: unsigned(row, 2)?,
        suspended: row.get(3)?,
    })
}

fn enrolled(row: &Row<'_>) -> rusqlite::Result<Enrolled> {
    Ok(Enrolled {
        number: row.get(0)?,
        frame_key: row.get(1)?,
        suspended: row.get(2)?,
    })
}

fn received(row: &Row<'_>) -> rusqlite::Result<Arc<Received>> {
    let bytes: [u8; FRAME_BYTES] = row.get(0)?;
    let frame = Frame::open(&bytes).map_err(|_| damaged(0))?;
    Ok(Arc::new(Received {
        appliance: frame.get(&layout::APPLIANCE, 0) as u32,
        sequence: frame.get(&layout::SEQUENCE, 0) as u32,
        week: frame.get(&layout::WEEK, 0) as u16,
        received_at_s: unsigned(row, 1)?,
        carried: row.get(2)?,
        frame,
    }))
}

fn alarm(row: &Row<'_>) -> rusqlite::Result<Alarm> {
    let kind: String = row.get(2)?;
    Ok(Alarm {
        appliance: row.get(0)?,
        at_s: unsigned(row, 1)?,
        kind: AlarmKind::named(&kind).ok_or_else(|| damaged(2))?,
        sequence: row.get(3)?,
    })
}

fn witness(row: &Row<'_>) -> rusqlite::Result<Witness> {
    Ok(Witness {
        seen: Witnessed {
            appliance: row.get(0)?,
            size: unsigned(row, 1)?,
            root: row.get(2)?,
            cosigned_at_s: unsigned(row, 3)?,
        },
        signature: row.get(4)?,
    })
}

fn model(row: &Row<'_>) -> rusqlite::Result<Model> {
    Ok(Model {
        id: row.get(0)?,
        name: row.get(1)?,
        version: row.get(2)?,
        digest: row.get(3)?,
    })
}

fn issued(row: &Row<'_>) -> rusqlite::Result<Issued> {
    let digest: [u8; 32] = row.get(3)?;
    Ok(Issued {
        advisory: Advisory {
            number: row.get(0)?,
            kind: Kind::of(unsigned(row, 1)?).ok_or_else(|| damaged(1))?,
            model: row.get(2)?,
            model_digest: words_of(&digest),
            issued_at_s: unsigned(row, 4)?,
            cause: Cause::of(unsigned(row, 5)?).ok_or_else(|| damaged(5))?,
            signature: row.get(6)?,
        },
        text: row.get(7)?,
    })
}

fn token(row: &Row<'_>) -> rusqlite::Result<Token> {
    let role: String = row.get(3)?;
    Ok(Token {
        number: row.get(0)?,
        label: row.get(1)?,
        sha256: row.get(2)?,
        viewer: Viewer::with_role(&role).ok_or_else(|| damaged(3))?,
        created_at_s: unsigned(row, 4)?,
        expires_at_s: unsigned(row, 5)?,
        revoked: row.get(6)?,
    })
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

fn damaged(column: usize) -> rusqlite::Error {
    let kind = rusqlite::types::Type::Blob;
    rusqlite::Error::FromSqlConversionFailure(column, kind, "not what was written".into())
}
