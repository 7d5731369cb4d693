//! Where files are, and how they get there.
//!
//! ```text
//! <data directory>/
//!   pericard.db, -wal, -shm     the database
//!   serve.lock                  held by the serving process
//!   objects/incoming/           staging files: whatever is here at start was promised to nobody
//!   objects/<YYYYMMDD>/         a shelf: the objects admitted on that day (UTC)
//!     <SHA-256 of the bytes>-<16 digits of SHA-256 of the UID>.dcm
//!   audit/key, key.pub          the log's signing key and its verifier
//!   audit/checkpoint            the latest signed checkpoint
//! ```
//! No name comes from a peer's text. A shelf a day, rather than one by digest, because the objects of one group are then
//! in one directory, and one sync puts all their names on disk.

use crate::StoreError;
use crate::health::Health;
use crate::names::{Names, OnItsWay, sync_dir};
use crate::steps::{Step, Steps};
use crate::traffic::Traffic;
use pericard_domain::digest::Digest;
use pericard_domain::time::Timestamp;
use pericard_domain::uid::InstanceUid;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Semaphore, oneshot};

/// How many files may wait for a thread; whoever brings more waits at the door.
const MAX_WAITING_FILES: usize = 1024;

/// The paths of a data directory.
#[derive(Debug, Clone)]
pub(crate) struct Layout(PathBuf);

impl Layout {
    pub(crate) const fn new(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// Makes the directories that are missing.
    pub(crate) fn make(&self) -> Result<(), StoreError> {
        for dir in [&self.0, &self.objects(), &self.incoming(), &self.audit()] {
            make_dir(dir).map_err(|error| {
                StoreError::failed("make the data directory", describe(dir, &error))
            })?;
        }
        // SQLite gives its files the mode of the database, so the database is made here, readable by its owner only.
        let database = self.database();
        let made = private().append(true).create(true).open(&database);
        made.map(drop)
            .map_err(|error| StoreError::failed("make the database", describe(&database, &error)))
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.0.join("pericard.db")
    }

    pub(crate) fn serve_lock(&self) -> PathBuf {
        self.0.join("serve.lock")
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.0.join("objects")
    }

    pub(crate) fn incoming(&self) -> PathBuf {
        self.objects().join("incoming")
    }

    pub(crate) fn audit(&self) -> PathBuf {
        self.0.join("audit")
    }

    /// The shelf of the objects admitted at that time.
    pub(crate) fn shelf(&self, received_at: Timestamp) -> PathBuf {
        self.objects().join(received_at.dicom_date())
    }

    /// The file of an object.
    pub(crate) fn object(&self, at: Timestamp, digest: &Digest, uid: &InstanceUid) -> PathBuf {
        self.shelf(at).join(file_name(digest, uid))
    }
}

/// The name of an object's file within its shelf. The UID is in it so that every row has a file of its own, also when
/// two peers send the same bytes under two names.
pub(crate) fn file_name(digest: &Digest, uid: &InstanceUid) -> String {
    let uid_hash = Sha256::digest(uid.as_str());
    format!("{digest}-{}.dcm", hex::encode(&uid_hash[..8]))
}

/// A staging file. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Staging(Option<PathBuf>);

impl Staging {
    pub(crate) fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    /// Moves the file to its place. Not on disk before the directory is synced.
    fn place(mut self, to: &Path) -> std::io::Result<()> {
        std::fs::rename(self.path(), to)?;
        self.0 = None;
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // What cannot be removed now is swept at the next start.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// While one lives, a change is on its way to the writer.
#[derive(Debug)]
pub(crate) struct Approach(Arc<AtomicUsize>);

impl Drop for Approach {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The object files and the threads that sync them.
#[derive(Debug)]
pub(crate) struct Files {
    layout: Layout,
    health: Arc<Health>,
    steps: Steps,
    names: Names,
    room: Semaphore,
    staged: AtomicU64,
    approaching: Arc<AtomicUsize>,
    /// The shelves whose own names are known to be on disk.
    shelves: Mutex<BTreeSet<PathBuf>>,
    /// Held while it is decided whether a place is free and a file is put there. No other process puts files in place.
    placing: Mutex<()>,
    traffic: Arc<Traffic>,
}

impl Files {
    pub(crate) fn start(layout: Layout, health: Arc<Health>) -> Result<Self, StoreError> {
        let names = Names::start(Arc::clone(&health))?;
        Ok(Self {
            layout,
            health,
            steps: Steps::start()?,
            names,
            room: Semaphore::new(MAX_WAITING_FILES),
            staged: AtomicU64::new(0),
            approaching: Arc::new(AtomicUsize::new(0)),
            shelves: Mutex::default(),
            placing: Mutex::default(),
            traffic: Arc::default(),
        })
    }

    /// Who comes to a place and who goes from it.
    pub(crate) const fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    pub(crate) const fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// Says that a change is on its way.
    pub(crate) fn approach(&self) -> Approach {
        self.approaching.fetch_add(1, Ordering::Relaxed);
        Approach(Arc::clone(&self.approaching))
    }

    /// How many changes are on their way.
    pub(crate) fn approaching(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.approaching)
    }

    /// Makes a new staging file.
    pub(crate) fn stage(&self) -> Result<(Staging, File), StoreError> {
        self.health.check_space()?;
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        let path = self.layout.incoming().join(number.to_string());
        let opened = private().write(true).create_new(true).open(&path);
        match opened {
            Ok(file) => Ok((Staging(Some(path)), file)),
            Err(error) => Err(self.health.write_failed("make a staging file", &error)),
        }
    }

    /// Runs a step on the file threads.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        step: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let gone = |_| StoreError::failed("sync a file", "the file threads have ended");
        let room = self.room.acquire().await;
        let _room = room.map_err(|_| StoreError::failed("sync a file", "the store is closing"))?;
        let (answer, answered) = oneshot::channel();
        self.start_step(Box::new(move || {
            // Nobody waits for the answer any more: what was made is dropped, and so removed.
            let _ = answer.send(step());
        }));
        answered.await.map_err(gone)
    }

    /// Starts a step on the file threads and waits for nothing.
    pub(crate) fn start_step(&self, step: Step) {
        self.steps.start_step(step);
    }

    /// Puts a file or directory on disk. An error here is the end of all writing.
    pub(crate) fn sync(&self, step: &'static str, file: &File) -> Result<(), StoreError> {
        self.health.check()?;
        file.sync_all()
            .map_err(|error| self.health.stop(step, error))
    }

    /// Puts a staged file in its place, and its bytes on disk; its name is there once what is given back says so.
    ///
    /// Into a free place it goes before it is synced, and while it is, so is its directory: neither waits for the other,
    /// and where the file system writes name and bytes by one round of its journal, the second finds nothing left to do.
    /// What lies there already was promised to somebody, and may only give way to bytes that are on disk.
    pub(crate) fn place(
        &self,
        staging: Staging,
        file: &File,
        to: &Path,
    ) -> Result<OnItsWay, StoreError> {
        const SYNC: &str = "sync a received object";
        let moved = |result: std::io::Result<()>| {
            result.map_err(|error| {
                self.health
                    .write_failed("put an object in its place", &error)
            })
        };
        let shelf = to.parent().unwrap_or(Path::new("."));
        let turn = self.placing.lock().unwrap_or_else(PoisonError::into_inner);
        if to.exists() {
            drop(turn);
            self.sync(SYNC, file)?;
            moved(staging.place(to))?;
            return Ok(self.names.put(shelf));
        }
        moved(staging.place(to))?;
        drop(turn);
        let named = self.names.put(shelf);
        self.sync(SYNC, file)?;
        Ok(named)
    }

    /// Puts a directory's entries on disk.
    pub(crate) fn sync_dir(&self, dir: &Path) -> Result<(), StoreError> {
        sync_dir(dir, &self.health)
    }

    /// Makes a shelf, and puts its name on disk, or a power cut could take the objects of a whole day.
    pub(crate) fn open_shelf(&self, shelf: &Path) -> Result<(), StoreError> {
        self.health.check()?;
        // The lock is held while it is made: another thread must not use a shelf whose name is not on disk yet.
        let mut known = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(shelf) {
            return Ok(());
        }
        make_dir(shelf).map_err(|error| self.health.write_failed("make a shelf", &error))?;
        // Also when it was there: a former process may have ended before it had synced the name.
        self.sync_dir(&self.layout.objects())?;
        known.insert(shelf.to_owned());
        Ok(())
    }

    /// Ends the threads when their work is done: first those that put names.
    pub(crate) fn close(&self) {
        self.steps.close();
        self.names.close();
    }
}

/// Makes a directory that only its owner may enter, and puts its name on disk.
pub(crate) fn make_dir(dir: &Path) -> std::io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_dir(parent)?;
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    put_on_disk(&File::open(parent)?)
}

/// Syncs a file or directory. What fails here is the end of all writing, whatever its number: a disk that is full when
/// it is asked to keep what it took has lost it. So the error does not say which it was, or it would be taken for an
/// answer.
pub(crate) fn put_on_disk(file: &File) -> std::io::Result<()> {
    file.sync_all().map_err(std::io::Error::other)
}

/// A file that only its owner may read.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn describe(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
