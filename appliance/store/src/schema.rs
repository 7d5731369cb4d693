//! The database: how it is opened, and its schema, version by version.
//!
//! `PRAGMA user_version` counts the migrations that have run. A released migration is never edited; a change is a new
//! one at the end.

use crate::StoreError;
use crate::error::Fault;
use rusqlite::{Connection, OpenFlags};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

/// How long a transaction waits for another process's.
const BUSY_TIMEOUT_MS: u64 = 10_000;
/// How many prepared statements a connection keeps.
const STATEMENTS_KEPT_MAX: usize = 128;
/// How much of the write-ahead log's file is kept when it starts over.
const WAL_KEPT_MAX_BYTES: u32 = 64 * 1024 * 1024;
/// "PCRD": what `file` and other tools tell the database by.
const APPLICATION_ID: i32 = 0x5043_5244;

/// The database's header up to the end of `user_version` (SQLite's file format, section 1.3.11).
const HEADER_BYTES: usize = 64;

/// Every version of the schema, oldest first.
const MIGRATIONS: [&str; 8] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
    include_str!("schema/6.sql"),
    include_str!("schema/7.sql"),
    include_str!("schema/8.sql"),
];

/// The schema that this version of the appliance writes.
pub(crate) const SCHEMA: i64 = MIGRATIONS.len() as i64;

/// A connection that may write.
pub(crate) fn open_for_writing(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // FULL: the commit is on disk when it returns. NORMAL loses acknowledged changes in a power cut.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // What a savepoint may have to put back is kept in memory: a file for it would lie in the system's directory for
        // temporary files, outside the data directory, with patients' rows in it; and it costs a file for each commit.
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        // What is erased is overwritten, not only unlinked from its page: a deletion that a disk editor undoes is none.
        connection.pragma_update(None, "secure_delete", true)?;
        // The writer checkpoints by itself, where a failed sync is seen and heeded.
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.pragma_update(None, "journal_size_limit", WAL_KEPT_MAX_BYTES)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT_MAX);
        Ok(connection)
    };
    open().map_err(|error: rusqlite::Error| StoreError::failed("open the database", error))
}

/// A connection that cannot write.
pub(crate) fn open_for_reading(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))?;
        connection.pragma_update(None, "query_only", true)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT_MAX);
        Ok(connection)
    };
    open().map_err(|error: rusqlite::Error| StoreError::failed("open the database to read", error))
}

/// Which schema the database has. 0 is an empty one.
pub(crate) fn version(connection: &Connection) -> Result<i64, StoreError> {
    let version: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| StoreError::failed("read the schema's version", error))?;
    if (0..=SCHEMA).contains(&version) {
        return Ok(version);
    }
    Err(StoreError::Newer {
        found: version,
        known: SCHEMA,
    })
}

/// Refuses a database of a newer version by its header alone: opening it, even to read, would make files beside it.
///
/// A schema that stands only in the write-ahead log is not seen here; [`version`] sees it.
pub(crate) fn refuse_newer(path: &Path) -> Result<(), StoreError> {
    let header = File::open(path).and_then(|mut file| {
        let mut header = [0; HEADER_BYTES];
        file.read_exact(&mut header).map(|()| header)
    });
    // No database yet, or an empty one: what else is wrong with it, opening it tells.
    let Ok([.., a, b, c, d]) = header else {
        return Ok(());
    };
    match i32::from_be_bytes([a, b, c, d]).into() {
        found if found > SCHEMA => Err(StoreError::Newer {
            found,
            known: SCHEMA,
        }),
        _ => Ok(()),
    }
}

/// Brings the database to [`SCHEMA`], one transaction a step.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let from = version(connection)?;
    for (to, migration) in (1..).zip(MIGRATIONS) {
        if to > from {
            run_one(connection, to, migration).map_err(StoreError::from)?;
            tracing::info!(schema = to, "the database was migrated");
        }
    }
    Ok(())
}

fn run_one(connection: &mut Connection, to: i64, migration: &str) -> Result<(), Fault> {
    let mut run = || {
        use rusqlite::TransactionBehavior::Immediate;
        let tx = connection.transaction_with_behavior(Immediate)?;
        // Another process may have been quicker while this one waited for the lock.
        let now: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if now < to {
            tx.execute_batch(migration)?;
            tx.pragma_update(None, "application_id", APPLICATION_ID)?;
            tx.pragma_update(None, "user_version", to)?;
        }
        tx.commit()
    };
    run().map_err(Fault::sql("migrate"))
}
