//! The tables, version by version. SQLite counts the steps that have run in `user_version`, PostgreSQL in a table of one row.
//!
//! A released step is never edited; a change is a new one at the end. Data of before there was a version has none: the first step
//! makes what is missing there, and leaves what is there.

use super::StoreError;
use postgres::Client;
use postgres::types::Type;
use rusqlite::{Connection, TransactionBehavior};

/// Every step, oldest first, in SQLite's words.
pub(super) const STEPS: [&str; 1] = [include_str!("../schema/1.sql")];
/// One process at a time looks at a server's version and changes it, until its transaction ends. The number is any.
const TURN: &str = "SELECT pg_advisory_xact_lock(5783541920)";
const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_version \
    (only_one BIGINT PRIMARY KEY CHECK (only_one = 0), version BIGINT NOT NULL)";

/// Which version a file has; 0 is an empty one, or one of before there was a version.
pub(super) fn version_of_file(connection: &Connection, steps: &[&str]) -> Result<i64, StoreError> {
    known(counted(connection)?, steps)
}

/// Brings a file to the latest version, one transaction a step.
pub(super) fn migrate_file(connection: &mut Connection, steps: &[&str]) -> Result<(), StoreError> {
    let from = version_of_file(connection, steps)?;
    for (to, step) in (1_i64..).zip(steps) {
        if to <= from {
            continue;
        }
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have been quicker while this one waited for the lock.
        if counted(&tx)? < to {
            tx.execute_batch(step)?;
            tx.pragma_update(None, "user_version", to)?;
        }
        tx.commit()?;
    }
    Ok(())
}

/// Brings the database of a server to the latest version, in one transaction.
pub(super) fn migrate_server(client: &mut Client, steps: &[&str]) -> Result<(), StoreError> {
    const VERSION: &str = "SELECT version FROM schema_version";
    const SET: &str = "INSERT INTO schema_version (only_one, version) VALUES (0, $1) \
        ON CONFLICT (only_one) DO UPDATE SET version = $1";
    let mut tx = client.transaction()?;
    tx.batch_execute(TURN)?;
    tx.batch_execute(TABLE)?;
    let row = tx.query_typed(VERSION, &[])?.into_iter().next();
    let counted: i64 = row.map_or(Ok(0), |row| row.try_get(0))?;
    let from = known(counted, steps)?;
    for (to, step) in (1_i64..).zip(steps) {
        if to > from {
            tx.batch_execute(&in_words_of_postgres(step))?;
            tx.execute_typed(SET, &[(&to, Type::INT8)])?;
        }
    }
    Ok(tx.commit()?)
}

fn counted(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Refuses what this version does not know.
fn known(found: i64, steps: &[&str]) -> Result<i64, StoreError> {
    let known = steps.len() as i64;
    match (0..=known).contains(&found) {
        true => Ok(found),
        false => Err(StoreError::Newer { found, known }),
    }
}

/// The same tables: whole numbers of 64 bits, bytes, and no word for strictness, which is the rule there.
fn in_words_of_postgres(step: &str) -> String {
    let words = [("INTEGER", "BIGINT"), ("BLOB", "BYTEA"), (") STRICT", ")")];
    words
        .into_iter()
        .fold(step.to_owned(), |text, (sqlite, postgres)| {
            text.replace(sqlite, postgres)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_runs_once_and_one_that_fails_leaves_nothing() {
        const FIRST: &str = "CREATE TABLE a (x INTEGER) STRICT";
        const SECOND: &str = "ALTER TABLE a ADD COLUMN y INTEGER";
        const BROKEN: &str = "CREATE TABLE b (x INTEGER) STRICT; no statement";
        let mut connection = Connection::open_in_memory().unwrap();
        migrate_file(&mut connection, &[FIRST]).unwrap();
        connection
            .execute_batch("INSERT INTO a VALUES (1)")
            .unwrap();
        for _ in 0..2 {
            migrate_file(&mut connection, &[FIRST, SECOND]).unwrap();
        }
        assert_eq!(connection.execute("UPDATE a SET y = 2", ()).unwrap(), 1);
        let failed = migrate_file(&mut connection, &[FIRST, SECOND, BROKEN]);
        assert!(matches!(failed, Err(StoreError::Database(_))), "{failed:?}");
        assert_eq!(counted(&connection).unwrap(), 2);
        connection
            .execute_batch("CREATE TABLE b (x INTEGER) STRICT")
            .unwrap();
        let older = migrate_file(&mut connection, &[FIRST]);
        let newer = StoreError::Newer { found: 2, known: 1 };
        assert_eq!(older.unwrap_err().to_string(), newer.to_string());
    }
}
