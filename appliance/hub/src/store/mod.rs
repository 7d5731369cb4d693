//! The hub's database: every change is one named transaction with its lines in the hub's own audit log.
//!
//! - `engine`: SQLite or PostgreSQL, behind one face.
//! - `schema`: the tables, version by version.
//! - `change`: what a transaction can do; the statements that write stand there.
//! - `rows`: what was written, read again.

mod change;
mod engine;
mod rows;
mod schema;

use crate::records::{Received, Snapshot, Witnessed};
use crate::token::Token;
pub(crate) use change::{COMMAND_LINE, Change, Grant};
use engine::{Engine, Row};
use pericard_audit::{Frontier, leaf};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The hub's data could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("the hub's database: {0}")]
    Database(#[from] rusqlite::Error),
    /// The database server failed.
    #[error("the hub's database server: {}", said(.0))]
    Server(#[from] postgres::Error),
    /// The data was written by a newer version of the hub, and was left as it is.
    #[error(
        "the hub's data was written by a newer version of the hub (schema {found}, this one knows {known}); install that \
         version, or restore a backup made by this one"
    )]
    Newer {
        /// The schema that was found.
        found: i64,
        /// The newest that this version knows.
        known: i64,
    },
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

/// What the server said, or why it could not be heard.
fn said(error: &postgres::Error) -> String {
    let why = std::error::Error::source(error);
    why.map_or_else(|| error.to_string(), |why| format!("{error}: {why}"))
}

/// The database.
pub struct Store {
    // One connection, so one change at a time: what a change reads is true until it has committed.
    engine: Mutex<Engine>,
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

/// Where a hub keeps its data.
#[derive(Debug, Clone, Copy)]
pub enum Place<'p> {
    /// A file of SQLite's, made when there is none.
    File(&'p Path),
    /// A PostgreSQL server of this machine, as libpq writes it: `host=/run/postgresql dbname=pericard_hub`. The database must
    /// be there; its tables are made when there are none.
    Server(&'p str),
}

impl<'p> From<&'p PathBuf> for Place<'p> {
    fn from(path: &'p PathBuf) -> Self {
        Self::File(path)
    }
}

impl Store {
    /// Opens the database.
    ///
    /// # Errors
    /// When the file cannot be opened or is no database, the server does not answer, or a newer version wrote the data.
    pub fn open(place: Place<'_>) -> Result<Self, StoreError> {
        let engine = match place {
            Place::File(path) => Engine::file(path)?,
            Place::Server(server) => Engine::server(server)?,
        };
        Ok(Self {
            engine: Mutex::new(engine),
        })
    }

    /// Makes a change: all of it with its audit lines, on disk when this returns, or nothing. Gives how many audit lines
    /// there were before and after it, too: who remembers the last of them sees whether another process made a change.
    pub(crate) fn change<T>(
        &self,
        at_s: u64,
        work: impl FnOnce(&mut Change<'_>) -> Result<T, StoreError>,
    ) -> Result<(T, Lines), StoreError> {
        let mut engine = self.engine();
        let mut change = Change::begin(engine.begin()?, at_s)?;
        let before = change.lines();
        let done = work(&mut change)?;
        let after = change.commit()?;
        Ok((done, Lines { before, after }))
    }

    /// How many lines the hub's own audit log has: every change adds one.
    pub(crate) fn lines(&self) -> Result<u64, StoreError> {
        Ok(rows::frontier(&self.engine().query(rows::FRONTIER)?)?.size())
    }

    /// Whether it can be read now.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.lines().is_ok()
    }

    /// Every token that was ever made.
    pub(crate) fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        all(&mut self.engine(), rows::TOKENS, rows::token)
    }

    /// All that the hub knows.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn snapshot(&self, now_s: u64) -> Result<Snapshot, StoreError> {
        let frames = all(&mut self.engine(), rows::FRAMES, rows::received)?;
        self.with(frames, now_s)
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

    /// Writes a copy of the database into a file that is not there yet, as it is at one moment, while others go on.
    ///
    /// # Errors
    /// When the file is there or cannot be written, or the data lies in a server, which has backups of its own.
    pub fn back_up(&self, to: &Path) -> Result<(), StoreError> {
        let to = to.to_str().filter(|_| !to.exists());
        let to = to.ok_or(StoreError::Refused(
            "the backup's file is there already, or its path is not UTF-8; name a new folder",
        ))?;
        match &*self.engine() {
            Engine::Sqlite(connection) => {
                connection.execute("VACUUM INTO ?1", [to])?;
                Ok(())
            }
            Engine::Postgres { .. } => Err(StoreError::Refused(
                "the data lies in PostgreSQL; copy it with pg_dump, and the keys from the data directory",
            )),
        }
    }

    /// Recomputes the hub's own audit log from its lines, and gives how many there are.
    ///
    /// # Errors
    /// When a line was changed, removed or added behind the hub's back.
    pub fn verify_audit(&self) -> Result<u64, StoreError> {
        let mut engine = self.engine();
        let lines = all(&mut engine, rows::AUDIT, |row| {
            Ok((row.array(0)?, row.text(1)?))
        })?;
        let leaves = lines
            .iter()
            .map(|(salt, record)| leaf(salt, record.as_bytes()));
        let recomputed: Frontier = leaves.collect();
        if recomputed != rows::frontier(&engine.query(rows::FRONTIER)?)? {
            return Err(StoreError::Damaged("an audit log"));
        }
        Ok(recomputed.size())
    }

    /// The lines of the hub's own audit log, as JSON, the oldest first.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn audit(&self) -> Result<Vec<String>, StoreError> {
        all(&mut self.engine(), rows::AUDIT, |row| row.text(1))
    }

    fn engine(&self) -> MutexGuard<'_, Engine> {
        // A panic left no transaction open: it was rolled back when it was dropped.
        let lock = self.engine.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, frames: Vec<Arc<Received>>, now_s: u64) -> Result<Snapshot, StoreError> {
        let mut engine = self.engine();
        let engine = &mut *engine;
        Ok(Snapshot {
            frames,
            hospitals: all(engine, rows::HOSPITALS, rows::hospital)?,
            requests: all(engine, rows::REQUESTS, rows::request)?,
            alarms: all(engine, rows::ALARMS, rows::alarm)?,
            witnessed: all(engine, rows::WITNESSED, |row| Ok(rows::witness(row)?.seen))?,
            models: all(engine, rows::MODELS, rows::model)?,
            advisories: all(engine, rows::ADVISORIES, rows::issued)?,
            plans: all(engine, rows::PLANS, rows::plan)?,
            now_s,
        })
    }
}

fn all<T>(
    engine: &mut Engine,
    sql: &str,
    read: impl Fn(&Row) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    engine.query(sql)?.iter().map(read).collect()
}
