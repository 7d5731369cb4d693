//! Statements with names. Every statement begins with `-- name`, which is what its errors and the database's own traces
//! call it by.

use crate::StoreError;
use crate::error::Fault;
use pericard_domain::time::Timestamp;
use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, OptionalExtension as _, Params, Row};
use std::str::FromStr;

/// A connection that runs named, cached statements only.
#[derive(Clone, Copy)]
pub(crate) struct Sql<'c>(&'c Connection);

impl<'c> Sql<'c> {
    pub(crate) const fn new(connection: &'c Connection) -> Self {
        Self(connection)
    }

    pub(crate) const fn connection(self) -> &'c Connection {
        self.0
    }

    /// Runs a change; gives the number of rows changed.
    pub(crate) fn change(self, sql: &'static str, params: impl Params) -> Result<usize, Fault> {
        let run = || self.0.prepare_cached(sql)?.execute(params);
        run().map_err(Fault::sql(name_of(sql)))
    }

    /// Runs an insert; gives the new row's id.
    pub(crate) fn insert(self, sql: &'static str, params: impl Params) -> Result<i64, Fault> {
        let run = || self.0.prepare_cached(sql)?.insert(params);
        run().map_err(Fault::sql(name_of(sql)))
    }

    /// The first row, when there is one.
    pub(crate) fn one<T>(
        self,
        sql: &'static str,
        params: impl Params,
        map: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Fault> {
        let run = || {
            self.0
                .prepare_cached(sql)?
                .query_row(params, map)
                .optional()
        };
        run().map_err(Fault::sql(name_of(sql)))
    }

    /// Every row.
    pub(crate) fn all<T>(
        self,
        sql: &'static str,
        params: impl Params,
        map: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Fault> {
        self.all_of(name_of(sql), sql, params, map)
    }

    /// Every row of a statement that was put together.
    pub(crate) fn all_of<T>(
        self,
        step: &'static str,
        sql: &str,
        params: impl Params,
        map: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Fault> {
        let run = || {
            let mut statement = self.0.prepare_cached(sql)?;
            let rows = statement.query_map(params, map)?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        run().map_err(Fault::sql(step))
    }

    /// The single number that a counting statement gives.
    pub(crate) fn count(self, sql: &'static str, params: impl Params) -> Result<u64, Fault> {
        let count = self.one(sql, params, |row| row.get::<_, i64>(0))?;
        Ok(count.unwrap_or(0).unsigned_abs())
    }
}

/// The statement's name: its first line, which is a comment.
pub(crate) fn name_of(sql: &'static str) -> &'static str {
    let named = sql.strip_prefix("-- ").and_then(|s| s.split_once('\n'));
    debug_assert!(named.is_some(), "a statement without a name: {sql}");
    named.map_or("unnamed statement", |(name, _)| name)
}

/// A text column as one of the domain's words.
pub(crate) fn word<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<T>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let index = row.as_ref().column_index(column)?;
    let text = row.get_ref(index)?.as_str()?;
    T::from_str(text).map_err(|error| malformed(index, error))
}

/// A JSON column.
pub(crate) fn json<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    column: &str,
) -> rusqlite::Result<T> {
    let index = row.as_ref().column_index(column)?;
    let text = row.get_ref(index)?.as_str()?;
    serde_json::from_str(text).map_err(|error| malformed(index, error))
}

/// A JSON column that may be null.
pub(crate) fn json_if<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    column: &str,
) -> rusqlite::Result<Option<T>> {
    let index = row.as_ref().column_index(column)?;
    let text = row.get_ref(index)?.as_str_or_null()?;
    let read = text.map(|text| serde_json::from_str(text).map_err(|error| malformed(index, error)));
    read.transpose()
}

/// A time column.
pub(crate) fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_millis)
}

/// A time column that may be empty.
pub(crate) fn time_if(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    let millis: Option<i64> = row.get(column)?;
    Ok(millis.map(Timestamp::from_millis))
}

/// A column that must hold one of a closed set of words.
pub(crate) fn closed<T>(
    row: &Row<'_>,
    column: &str,
    named: impl FnOnce(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    let index = row.as_ref().column_index(column)?;
    let text = row.get_ref(index)?.as_str()?;
    named(text).ok_or_else(|| malformed(index, FromSqlError::InvalidType))
}

/// A column that may be empty, and else holds one of a closed set of words.
pub(crate) fn closed_if<T>(
    row: &Row<'_>,
    column: &str,
    named: impl FnOnce(&str) -> Option<T>,
) -> rusqlite::Result<Option<T>> {
    match row.get_ref(column)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => closed(row, column, named).map(Some),
    }
}

/// A value for a JSON column.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::failed("write as JSON", error))
}

fn malformed(
    index: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error))
}
