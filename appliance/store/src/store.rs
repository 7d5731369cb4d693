//! The handle: how a store is opened and closed. The verbs stand in `verbs`, by group.

use crate::StoreError;
use crate::care::{Bounds, DiskFacts};
use crate::change::{Done, Tx, named};
use crate::error::Fault;
use crate::files::{Files, Layout, private};
use crate::health::Health;
use crate::journal::{self, CheckpointFile, Leaves, Salted};
use crate::readers::Readers;
use crate::review::Review;
use crate::sql::Sql;
use crate::verbs::upkeep;
use crate::writer::{Committer, Placement, Window, Writer};
use crate::{evidence, schema};
use pericard_audit::VerifierKey;
use pericard_domain::finding::Report;
use pericard_domain::job::{JobId, Priority};
use pericard_domain::time::Clock;
use pericard_domain::uid::InstanceUid;
use rusqlite::Connection;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The data directory: database, objects, audit key and checkpoint.
    pub dir: PathBuf,
    /// The name of this log in its checkpoints (C2SP tlog-checkpoint "origin"), as in `pericard.example-hospital/audit`.
    pub audit_origin: String,
    /// How long the writer waits for more changes to commit together, while any is on its way; never longer than the
    /// latest commit took. 0 never waits.
    pub group_commit_window_us: u32,
    /// Below this much free space nothing is admitted.
    pub free_space_floor_mib: u32,
}

/// A handle on what is kept. Cheap to clone; every task that waits on [`Store::changed`] has a clone of its own.
///
/// The verbs are async and need a tokio runtime; opening and dropping do not. Dropping the last clone commits what
/// waits and closes the database.
pub struct Store {
    pub(crate) inner: Arc<Inner>,
    /// How much news there was when this handle last looked for work.
    pub(crate) seen: AtomicU64,
}

pub(crate) struct Inner {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) files: Arc<Files>,
    pub(crate) health: Arc<Health>,
    pub(crate) readers: Readers,
    pub(crate) writer: Writer,
    pub(crate) news: watch::Receiver<u64>,
    pub(crate) verifier: VerifierKey,
    /// The lock of the serving process; `None` in a process beside it.
    pub(crate) serving: Option<Locked>,
}

impl Store {
    /// Opens the store to serve from it: makes it when the directory is empty, migrates it when it is older, removes
    /// what was received and never promised, marks objects whose file is gone, and lets every lease of a former process lapse.
    ///
    /// # Errors
    /// When the directory cannot be used, another process serves from it, or it was written by a newer version.
    pub fn open(config: StoreConfig, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Self::open_with(config, clock, Arc::new(Salted))
    }

    /// Opens the store to serve from it, with leaves of another kind: for tests of what leaves.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(
        config: StoreConfig,
        clock: Arc<dyn Clock>,
        leaves: Arc<dyn Leaves>,
    ) -> Result<Self, StoreError> {
        refuse_unfinished(&config.dir)?;
        let layout = Layout::new(config.dir.clone());
        schema::refuse_newer(&layout.database())?;
        layout.make()?;
        let lock = lock(&layout)?.ok_or_else(|| {
            let reason = "another process serves from this data directory; stop it first";
            StoreError::failed("open the store", reason)
        })?;
        let mut connection = schema::open_for_writing(&layout.database())?;
        schema::migrate(&mut connection)?;
        Self::start(config, layout, connection, (clock, leaves), Some(lock))
    }

    /// Opens the store beside the process that serves from it, or while none does: for the command line. No lease
    /// lapses by that, and no object can be received.
    ///
    /// # Errors
    /// As [`Store::open`], but another process may serve. When that one runs an older version, its schema is left alone
    /// and this is refused.
    pub fn open_beside(config: StoreConfig, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        refuse_unfinished(&config.dir)?;
        let layout = Layout::new(config.dir.clone());
        schema::refuse_newer(&layout.database())?;
        layout.make()?;
        let mut connection = schema::open_for_writing(&layout.database())?;
        if schema::version(&connection)? < schema::SCHEMA {
            let _lock = lock(&layout)?.ok_or_else(|| {
                let reason = "an older version serves from this data directory; restart it with this version first";
                StoreError::failed("open the store", reason)
            })?;
            schema::migrate(&mut connection)?;
        }
        let leaves = Arc::new(Salted);
        Self::start(config, layout, connection, (clock, leaves), None)
    }

    fn start(
        config: StoreConfig,
        layout: Layout,
        connection: Connection,
        (clock, leaves): (Arc<dyn Clock>, Arc<dyn Leaves>),
        serving: Option<Locked>,
    ) -> Result<Self, StoreError> {
        let database = layout.database();
        let key = journal::signing_key(&layout.audit(), &config.audit_origin)?;
        let verifier = key.verifier();
        let health = Arc::new(Health::new(config.dir.clone(), config.free_space_floor_mib));
        let files = Arc::new(Files::start(layout.clone(), Arc::clone(&health))?);
        let checkpoint = Arc::new(CheckpointFile::new(&layout.audit()));
        let mut committer = Committer::new(
            connection,
            Arc::clone(&clock),
            (key, leaves),
            Arc::clone(&files),
            checkpoint,
        );
        committer.begin_log()?;
        // The names of the database and of its write-ahead log, which was made by opening it: SQLite syncs the directory
        // too, but does not say when that fails.
        files.sync_dir(&config.dir)?;
        if serving.is_some() {
            let is_doubtful = evidence::compare_at_start(&layout.audit(), &committer, &verifier)?;
            let among = Arc::clone(&files);
            run_here(&mut committer, "compare files with rows", move |tx| {
                upkeep::reconcile_at_start(tx, &among, is_doubtful)
            })?;
            run_here(
                &mut committer,
                "lapse the leases of a former process",
                upkeep::lapse_all,
            )?;
        }
        committer.count_waiting_jobs();
        let (tell, news) = watch::channel(1);
        let window = Window {
            wait: Duration::from_micros(config.group_commit_window_us.into()),
            approaching: files.approaching(),
        };
        let writer = Writer::start(committer, window, tell, Arc::clone(&health))?;
        let inner = Inner {
            clock,
            files,
            health,
            readers: Readers::new(database),
            writer,
            news,
            verifier,
            serving,
        };
        Ok(Self {
            inner: Arc::new(inner),
            seen: AtomicU64::new(0),
        })
    }

    /// Sets the marks beyond which the appliance says no; without them only the floor holds.
    pub fn bind(&self, bounds: Bounds) {
        self.inner.health.bind(bounds);
    }

    /// How full the disk is.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn disk(&self) -> Result<DiskFacts, StoreError> {
        self.inner.health.disk()
    }

    /// Runs a named change; resolves when it is on disk.
    pub(crate) async fn change<T, F>(&self, name: &'static str, body: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(Tx<'_>) -> Result<Done<T>, Fault> + Send + 'static,
    {
        self.inner.writer.change(name, body).await
    }

    /// Puts files in place on a file thread, from where the change goes on to the writer, whether or not anybody still
    /// waits for it.
    pub(crate) fn place(&self, placement: Placement) {
        let files = Arc::clone(&self.inner.files);
        if let Some(queue) = self.inner.writer.queue() {
            let step = move || placement.run(&files, &queue);
            self.inner.files.start_step(Box::new(step));
        }
    }

    /// Runs a named read.
    pub(crate) async fn read<T, F>(&self, name: &'static str, body: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(Sql<'_>) -> Result<T, Fault> + Send + 'static,
    {
        self.inner.readers.read(name, body).await
    }
}

impl Clone for Store {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            seen: AtomicU64::new(self.seen.load(Ordering::Relaxed)),
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Drop for Inner {
    /// In the order of the way of a change, so that none is left between two threads.
    fn drop(&mut self) {
        self.files.close();
        self.writer.close();
    }
}

/// A file that is locked. The system gives the lock back when the process ends, however it ends.
pub(crate) struct Locked(File);

impl Locked {
    /// Waits for nobody: that another has it is [`Errno::WOULDBLOCK`](rustix::io::Errno::WOULDBLOCK).
    pub(crate) fn at_once(file: File) -> rustix::io::Result<Self> {
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self(file))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that is just being spawned has a copy of it until it has begun.
        let _ = rustix::fs::flock(&self.0, rustix::fs::FlockOperation::Unlock);
    }
}

/// A data directory whose restoring was cut off looks like one that lost most of its objects.
fn refuse_unfinished(dir: &std::path::Path) -> Result<(), StoreError> {
    if !dir.join(crate::backup::UNFINISHED).exists() {
        return Ok(());
    }
    let reason = format!(
        "restoring a backup into {} was cut off; empty the directory and restore again",
        dir.display()
    );
    Err(StoreError::failed("open the store", reason))
}

/// Takes the lock of the serving process; `None` when another has it.
pub(crate) fn lock(layout: &Layout) -> Result<Option<Locked>, StoreError> {
    const STEP: &str = "lock the data directory";
    let path = layout.serve_lock();
    let file = private().append(true).create(true).open(path);
    let file = file.map_err(|error| StoreError::failed(STEP, error))?;
    match Locked::at_once(file) {
        Ok(locked) => Ok(Some(locked)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(StoreError::failed(STEP, error)),
    }
}

/// Commits a change on this thread, before the writer's is started.
fn run_here<F>(committer: &mut Committer, name: &'static str, body: F) -> Result<(), StoreError>
where
    F: FnOnce(Tx<'_>) -> Result<Done<()>, Fault> + Send + 'static,
{
    let (change, mut answer) = named(name, body);
    committer.commit_here(change);
    let gone = |_| StoreError::failed(name, "it was not answered");
    answer.try_recv().map_err(gone)?
}

/// A report and when it was kept.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct KeptReport {
    /// What was found.
    pub report: Report,
    /// The DICOM objects made of it.
    pub objects: Vec<InstanceUid>,
    /// The job that made it.
    pub job: JobId,
    /// Whether a later revision's report of the same model supersedes it.
    pub superseded: bool,
    /// What people said of it, the latest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reviews: Vec<Review>,
}

/// How much there is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Depth {
    /// Jobs waiting or leased, by priority class.
    pub open_jobs: std::collections::BTreeMap<Priority, u64>,
    /// Jobs failed and not retried.
    pub failed_jobs: u64,
    /// Results not delivered yet.
    pub undelivered: u64,
    /// Deliveries given up as permanent failures.
    pub undeliverable: u64,
}
