//! A few connections that only read. They see what is committed, and only that.

use crate::StoreError;
use crate::error::Fault;
use crate::schema;
use crate::sql::Sql;
use rusqlite::Connection;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// How many reads run at once; the others wait.
const READERS_MAX: usize = 4;

/// The connections that read.
#[derive(Debug)]
pub(crate) struct Readers {
    database: PathBuf,
    room: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(crate) fn new(database: PathBuf) -> Self {
        Self {
            database,
            room: Arc::new(Semaphore::new(READERS_MAX)),
            idle: Arc::default(),
        }
    }

    /// Runs a read on a thread that may block.
    pub(crate) async fn read<T, F>(&self, name: &'static str, body: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(Sql<'_>) -> Result<T, Fault> + Send + 'static,
    {
        let room = Arc::clone(&self.room).acquire_owned().await;
        let room = room.map_err(|_| StoreError::failed(name, "the store is closing"))?;
        let (idle, database) = (Arc::clone(&self.idle), self.database.clone());
        let read = move || {
            let _room = room;
            let connection = match pop(&idle) {
                Some(connection) => connection,
                None => schema::open_for_reading(&database)?,
            };
            let outcome = body(Sql::new(&connection));
            push(&idle, connection);
            outcome.map_err(StoreError::from)
        };
        let done = tokio::task::spawn_blocking(read).await;
        done.map_err(|error| StoreError::failed(name, error))?
    }
}

fn pop(idle: &Mutex<Vec<Connection>>) -> Option<Connection> {
    idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

fn push(idle: &Mutex<Vec<Connection>>, connection: Connection) {
    let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
    idle.push(connection);
}
