//! Everything that the hub promises of frames, and what its pages make of them, with its data in a file.

mod dashboard;
mod ingest;
mod nation;

mod database {
    use pericard_hub::store::Place;
    use std::path::PathBuf;

    /// A database of one test's own.
    pub(crate) struct Database {
        path: PathBuf,
        _folder: tempfile::TempDir,
    }

    impl Database {
        /// A new one.
        #[allow(clippy::unnecessary_wraps)] // the other kind of database may be missing
        pub(crate) fn new() -> Option<Self> {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("hub.db");
            Some(Self {
                path,
                _folder: folder,
            })
        }

        pub(crate) fn place(&self) -> Place<'_> {
            Place::File(&self.path)
        }

        /// Somebody changes the data behind the hub's back.
        pub(crate) fn spoil(&self, sql: &str) {
            let connection = rusqlite::Connection::open(&self.path).expect("a database");
            connection.execute_batch(sql).expect("spoiled");
        }
    }
}
