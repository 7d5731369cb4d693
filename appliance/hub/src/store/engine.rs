//! The two databases that a hub can keep its data in, behind one face: statements of plain SQL with numbered parameters,
//! whole numbers, texts and bytes. SQLite for most; PostgreSQL where a nation has one already, with its own backups.

use super::{StoreError, schema};
use postgres::types::{ToSql, Type};
use postgres::{Client, NoTls};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, TransactionBehavior, params_from_iter};
use std::path::Path;
use std::time::Duration;

/// How long a transaction waits for another process's.
const BUSY_TIMEOUT_MS: u64 = 10_000;
/// What PostgreSQL is asked to be and to do with each connection: an answer means that it is on disk.
const SESSION: &str =
    "SET synchronous_commit = on; SET lock_timeout = '10s'; SET client_min_messages = warning";
/// What goes into a statement and comes out of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A whole number; numbers that are unsigned with us are kept as the signed number of the same bits.
    Number(Option<i64>),
    Text(String),
    Bytes(Vec<u8>),
}

/// A row of an answer.
#[derive(Debug)]
pub(super) struct Row(Vec<Value>);

/// A connection.
pub(super) enum Engine {
    Sqlite(Connection),
    Postgres { client: Box<Client>, place: String },
}

/// A transaction.
pub(super) enum Tx<'e> {
    Sqlite(rusqlite::Transaction<'e>),
    Postgres(postgres::Transaction<'e>),
}

impl Engine {
    /// Opens a file, and makes it when there is none.
    pub(super) fn file(path: &Path) -> Result<Self, StoreError> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))?;
        // What a newer version wrote is left as it is.
        schema::version_of_file(&connection, &schema::STEPS)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // FULL: what was answered is on disk. NORMAL loses acknowledged frames in a power cut.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        schema::migrate_file(&mut connection, &schema::STEPS)?;
        Ok(Self::Sqlite(connection))
    }

    /// Connects to a server of this machine.
    pub(super) fn server(place: &str) -> Result<Self, StoreError> {
        let mut client = connected(place)?;
        schema::migrate_server(&mut client, &schema::STEPS)?;
        Ok(Self::Postgres {
            client: Box::new(client),
            place: place.to_owned(),
        })
    }

    /// Begins a change, alone: what it reads is true until it has committed.
    pub(super) fn begin(&mut self) -> Result<Tx<'_>, StoreError> {
        self.reconnect()?;
        match self {
            Self::Sqlite(connection) => Ok(Tx::Sqlite(
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?,
            )),
            Self::Postgres { client, .. } => {
                let mut tx = client.transaction()?;
                // Readers go on; another change waits.
                tx.batch_execute("LOCK TABLE audit_head IN EXCLUSIVE MODE")?;
                Ok(Tx::Postgres(tx))
            }
        }
    }

    pub(super) fn query(&mut self, sql: &str) -> Result<Vec<Row>, StoreError> {
        self.reconnect()?;
        match self {
            Self::Sqlite(connection) => sqlite(connection, sql, &[]),
            Self::Postgres { client, .. } => client
                .query_typed(&numbered(sql), &[])?
                .iter()
                .map(Row::of_postgres)
                .collect(),
        }
    }

    /// A server that was started anew is connected to again.
    fn reconnect(&mut self) -> Result<(), StoreError> {
        if let Self::Postgres { client, place } = self
            && client.is_closed()
        {
            **client = connected(place)?;
        }
        Ok(())
    }
}

fn connected(place: &str) -> Result<Client, StoreError> {
    let mut client = Client::connect(place, NoTls)?;
    client.batch_execute(SESSION)?;
    Ok(client)
}

impl Tx<'_> {
    /// Runs a statement, and says how many rows it changed.
    pub(super) fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite(tx) => {
                let mut statement = tx.prepare_cached(sql)?;
                Ok(statement.execute(params_from_iter(values))? as u64)
            }
            Self::Postgres(tx) => Ok(tx.execute_typed(&numbered(sql), &typed(values))?),
        }
    }

    pub(super) fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(tx) => sqlite(tx, sql, values),
            Self::Postgres(tx) => tx
                .query_typed(&numbered(sql), &typed(values))?
                .iter()
                .map(Row::of_postgres)
                .collect(),
        }
    }

    pub(super) fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(tx) => Ok(tx.commit()?),
            Self::Postgres(tx) => Ok(tx.commit()?),
        }
    }
}

impl Row {
    pub(super) fn number(&self, at: usize) -> Result<u64, StoreError> {
        match self.0.get(at) {
            Some(Value::Number(Some(number))) => Ok(number.cast_unsigned()),
            _ => Err(StoreError::Damaged("a number")),
        }
    }

    /// A number that may be absent.
    pub(super) fn maybe(&self, at: usize) -> Result<Option<u64>, StoreError> {
        match self.0.get(at) {
            Some(Value::Number(None)) => Ok(None),
            _ => self.number(at).map(Some),
        }
    }

    pub(super) fn narrow<N: TryFrom<u64>>(&self, at: usize) -> Result<N, StoreError> {
        N::try_from(self.number(at)?).map_err(|_| StoreError::Damaged("a number"))
    }

    pub(super) fn text(&self, at: usize) -> Result<String, StoreError> {
        match self.0.get(at) {
            Some(Value::Text(text)) => Ok(text.clone()),
            _ => Err(StoreError::Damaged("a text")),
        }
    }

    pub(super) fn bytes(&self, at: usize) -> Result<&[u8], StoreError> {
        match self.0.get(at) {
            Some(Value::Bytes(bytes)) => Ok(bytes),
            _ => Err(StoreError::Damaged("bytes")),
        }
    }

    pub(super) fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], StoreError> {
        let bytes = self.bytes(at)?;
        bytes.try_into().map_err(|_| StoreError::Damaged("bytes"))
    }

    fn of_postgres(row: &postgres::Row) -> Result<Self, StoreError> {
        let columns = row.columns().iter().enumerate();
        let values = columns.map(|(at, column)| value_of(row, at, column.type_()));
        let values: Result<_, postgres::Error> = values.collect();
        Ok(Self(values?))
    }

    fn of_sqlite(row: &rusqlite::Row<'_>, width: usize) -> rusqlite::Result<Self> {
        let values = (0..width).map(|at| {
            Ok(match row.get_ref(at)? {
                ValueRef::Null => Value::Number(None),
                ValueRef::Integer(number) => Value::Number(Some(number)),
                ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
                ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
                // No column of ours holds one.
                ValueRef::Real(_) => return Err(rusqlite::Error::InvalidQuery),
            })
        });
        values.collect::<rusqlite::Result<_>>().map(Self)
    }
}

fn value_of(row: &postgres::Row, at: usize, kind: &Type) -> Result<Value, postgres::Error> {
    Ok(match *kind {
        Type::TEXT => Value::Text(row.try_get(at)?),
        Type::BYTEA => Value::Bytes(row.try_get(at)?),
        Type::INT4 => Value::Number(row.try_get::<_, Option<i32>>(at)?.map(i64::from)),
        _ => Value::Number(row.try_get(at)?),
    })
}

fn sqlite(connection: &Connection, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let width = statement.column_count();
    let rows = statement.query_map(params_from_iter(values), |row| Row::of_sqlite(row, width))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        match self {
            Self::Number(number) => rusqlite::ToSql::to_sql(number),
            Self::Text(text) => rusqlite::ToSql::to_sql(text),
            Self::Bytes(bytes) => rusqlite::ToSql::to_sql(bytes),
        }
    }
}

fn typed(values: &[Value]) -> Vec<(&(dyn ToSql + Sync), Type)> {
    values.iter().map(Value::typed).collect()
}

impl Value {
    fn typed(&self) -> (&(dyn ToSql + Sync), Type) {
        match self {
            Self::Number(number) => (number, Type::INT8),
            Self::Text(text) => (text, Type::TEXT),
            Self::Bytes(bytes) => (bytes, Type::BYTEA),
        }
    }
}

/// SQLite numbers its parameters with a question mark, PostgreSQL with a dollar. No text stands in our statements.
fn numbered(sql: &str) -> String {
    sql.replace('?', "$")
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(Some(number.cast_signed()))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        u64::from(number).into()
    }
}

impl From<Option<u32>> for Value {
    fn from(number: Option<u32>) -> Self {
        Self::Number(number.map(i64::from))
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Self {
        u64::from(is).into()
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(bytes: [u8; N]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}
