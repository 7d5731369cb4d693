//! What can be told of a data directory without opening it as a store: nothing is made and nothing changes, whether a process
//! serves from it or not.

use crate::files::Layout;
use crate::{StoreError, backup, schema};
use rusqlite::Connection;
use std::path::Path;

/// How many tokens of this data directory are not revoked; none when nothing is kept there yet.
///
/// # Errors
/// When the database cannot be read, or was written by a newer version.
pub fn tokens_in(dir: &Path) -> Result<usize, StoreError> {
    const COUNT: &str = "-- count tokens\nSELECT count(*) FROM tokens WHERE revoked_at IS NULL";
    let database = Layout::new(dir.to_owned()).database();
    if !database.exists() {
        return Ok(0);
    }
    schema::refuse_newer(&database)?;
    let connection = open(&database)?;
    if schema::version(&connection)? == 0 {
        return Ok(0); // a file that a first start made and did not come to fill
    }
    let count: i64 = connection
        .query_row(COUNT, (), |row| row.get(0))
        .map_err(|error| StoreError::failed("count tokens", error))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Without a write-ahead log beside it nobody has it open, and the file is all there is: opening it in the usual way would make
/// such a log.
fn open(database: &Path) -> Result<Connection, StoreError> {
    match database.with_extension("db-wal").exists() {
        true => schema::open_for_reading(database),
        false => backup::open_copy(database),
    }
}
