//! Backups, made while the appliance serves: the database by SQLite's own copy of one moment, and every file by its
//! digest. Files of objects never change, so that what an earlier backup has is not copied again.
//!
//! The order is what makes it safe: first the files beside the database, among them the signed checkpoint of the log, so
//! that the log in the database holds it; then the database; then the objects that this copy of the database names, which
//! nobody removes meanwhile (`backup.lock`); and the manifest last.

mod manifest;
mod restore;
mod vault;

pub(crate) use restore::UNFINISHED;
pub use restore::{RestoreOptions, Restored, check, restore};

use crate::StoreError;
use crate::change::Done;
use crate::files::Layout;
use crate::journal::Line;
use crate::schema;
use crate::sql::Sql;
use crate::store::Store;
use crate::verbs::damage::FileRow;
use crate::verbs::removal::{BACKUP_LOCK, backup_lock};
pub(crate) use crate::verbs::scrub::digest_of;
use manifest::{Head, Item, Writer};
use pericard_domain::actor::Actor;
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use vault::{Content, Vault};

/// How many files are copied at once: syncs wait for the disk, and overlap.
const COPY_THREADS: usize = 4;
/// How many objects are looked at in one go.
const PAGE_OBJECTS: u32 = 1024;
/// What of the data directory is not a file of its own in a backup, or no part of one.
const PASSED_OVER: [&str; 4] = ["objects", "spool", "serve.lock", BACKUP_LOCK];
const BACKUP: &str = "make a backup";

/// How a backup is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupOptions {
    /// How many backups the folder keeps, this one among them; at least 1.
    pub kept_max: usize,
    /// Whether what the folder has already is read again, and copied anew where it was altered.
    pub reread: bool,
}

/// How far it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Files looked at.
    pub files: u64,
    /// Files in all, as far as is known.
    pub of: u64,
    /// Bytes copied.
    pub bytes: u64,
}

/// Where progress is told.
pub type Told = Arc<dyn Fn(Progress) + Send + Sync>;

/// A backup that is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackedUp {
    /// Its manifest's name.
    pub name: String,
    /// Files that it holds.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were copied now; the others an earlier backup has.
    pub copied_files: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Contents that no kept backup names any more, removed.
    pub pruned: u64,
    /// Objects that are missing or altered in the data directory, and so are not in the backup.
    pub lost: Vec<String>,
}

impl Store {
    /// Makes a backup in the folder `to`, which may hold earlier ones of the same appliance.
    ///
    /// # Errors
    /// When something cannot be read or written. Earlier backups are as they were.
    pub async fn backup(
        &self,
        to: &Path,
        options: BackupOptions,
        (by, told): (Actor, Told),
    ) -> Result<BackedUp, StoreError> {
        let made_at = self.inner.clock.now();
        let name = format!("{}.jsonl", made_at.rfc3339().replace([':', '.'], "-"));
        let subject = format!("backup {name}");
        let line = Line::new("begin backup", subject.clone(), by.clone());
        self.change(BACKUP, |_tx| Ok(Done::said((), line))).await?;
        let making = Making {
            layout: self.inner.files.layout().clone(),
            head: Head::new(
                made_at,
                schema::SCHEMA,
                self.inner.verifier.name().to_owned(),
            ),
            name,
            to: to.to_owned(),
            options,
            told,
        };
        let made = tokio::task::spawn_blocking(move || making.run()).await;
        let made = made.map_err(|error| StoreError::failed(BACKUP, error))??;
        let detail = json!({ "files": made.files, "copied_files": made.copied_files, "lost": made.lost.len() });
        let line = Line::new("end backup", subject, by).with(detail);
        self.change(BACKUP, |_tx| Ok(Done::said((), line))).await?;
        Ok(made)
    }
}

/// A backup in the making.
struct Making {
    layout: Layout,
    head: Head,
    name: String,
    to: PathBuf,
    options: BackupOptions,
    told: Told,
}

/// What was done so far.
struct Sofar {
    manifest: Writer,
    made: BackedUp,
    progress: Progress,
}

impl Making {
    fn run(self) -> Result<BackedUp, StoreError> {
        self.refuse_inside()?;
        let vault = Vault::open(&self.to)?;
        let failed = |error: std::io::Error| StoreError::failed(BACKUP, error);
        let lock = backup_lock(&self.layout).map_err(failed)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| failed(error.into()))?;
        let (staged, file) = vault.stage()?;
        let mut sofar = Sofar {
            manifest: Writer::begin(file, &self.head).map_err(failed)?,
            made: BackedUp {
                name: self.name.clone(),
                files: 0,
                bytes: 0,
                copied_files: 0,
                copied_bytes: 0,
                pruned: 0,
                lost: Vec::new(),
            },
            progress: Progress::default(),
        };
        self.keep_beside(&vault, &mut sofar)?;
        let copy = self.keep_database(&vault, &mut sofar)?;
        self.keep_objects(&vault, &copy, &mut sofar)?;
        drop(copy);
        sofar.manifest.end().map_err(failed)?;
        vault.seal(&staged, &self.name)?;
        drop(lock);
        let pruned = vault.prune(self.options.kept_max.max(1))?;
        Ok(BackedUp {
            pruned,
            ..sofar.made
        })
    }

    /// A backup within what it backs up would hold itself, and be lost with it.
    fn refuse_inside(&self) -> Result<(), StoreError> {
        let database = self.layout.database();
        let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let data = database.parent().map(whole).unwrap_or_default();
        let to = std::path::absolute(&self.to).unwrap_or_else(|_| self.to.clone());
        if !to.ancestors().any(|up| whole(up) == data) {
            return Ok(());
        }
        let reason = format!(
            "{} is inside the data directory; name a folder on another disk",
            self.to.display()
        );
        Err(StoreError::failed(BACKUP, reason))
    }

    /// The files beside the database and the objects: audit key and checkpoint, registry, certificates, counters.
    fn keep_beside(&self, vault: &Vault, sofar: &mut Sofar) -> Result<(), StoreError> {
        let database = self.layout.database();
        let root = database.parent().unwrap_or(Path::new("."));
        let mut found = Vec::new();
        let walked = walk(root, root, &mut found)
            .and_then(|()| walk(root, &crate::verbs::upkeep::aside(&self.layout), &mut found));
        walked.map_err(|error| StoreError::failed(BACKUP, error))?;
        found.sort();
        for path in found {
            // One that is gone was replaced or taken away meanwhile, and its successor is another file.
            if let Some(content) = vault.copy(&root.join(&path), None)? {
                self.note(sofar, item(path, content), Some(content))?;
            }
        }
        Ok(())
    }

    /// One moment of the database, whatever is written meanwhile.
    fn keep_database(&self, vault: &Vault, sofar: &mut Sofar) -> Result<Connection, StoreError> {
        let (staged, file) = vault.stage()?;
        let copy = || {
            let source = schema::open_for_reading(&self.layout.database())
                .map_err(|_| rusqlite::Error::InvalidQuery)?;
            // One view for the whole copy: without it, every commit would make the copy begin anew.
            let _view = source.unchecked_transaction()?;
            let _: i64 =
                source.query_row("-- begin view\nSELECT count(*) FROM scrub", (), |row| {
                    row.get(0)
                })?;
            let mut target = Connection::open(&staged)?;
            let backup = rusqlite::backup::Backup::new(&source, &mut target)?;
            backup.run_to_completion(PAGES_PER_STEP, std::time::Duration::ZERO, None)
        };
        copy().map_err(|error: rusqlite::Error| StoreError::failed("copy the database", error))?;
        let (digest, size_bytes) =
            digest_of(&staged).map_err(|error| vault::failed(&staged, &error))?;
        let content = Content {
            digest,
            size_bytes,
            is_new: true,
        };
        vault.keep(&staged, &file, content)?;
        self.note(sofar, item("pericard.db".into(), content), Some(content))?;
        let copy = open_copy(&vault::blob(&self.to, &digest))?;
        check_database(&copy)?;
        Ok(copy)
    }

    fn keep_objects(
        &self,
        vault: &Vault,
        copy: &Connection,
        sofar: &mut Sofar,
    ) -> Result<(), StoreError> {
        const COUNT: &str = "-- count objects to back up\nSELECT count(*) FROM instances";
        const PAGE: &str = "-- list objects to back up\n\
            SELECT id, uid, digest, size_bytes, received_at FROM instances WHERE id > ?1 ORDER BY id LIMIT ?2";
        let sql = Sql::new(copy);
        sofar.progress.of = sofar.progress.files + sql.count(COUNT, ())?;
        let mut after = i64::MIN;
        loop {
            let page = sql.all(PAGE, (after, PAGE_OBJECTS), FileRow::read)?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.id;
            for (row, content) in self.copy_page(vault, page)? {
                let path = format!("objects/{}", row.file());
                if content.is_none() {
                    sofar.made.lost.push(path.clone());
                }
                let item = Item {
                    path,
                    sha256: row.digest,
                    size_bytes: row.size_bytes,
                    is_lost: content.is_none(),
                };
                self.note(sofar, item, content)?;
            }
        }
    }

    /// Copies what is not there yet, several at once; gives each with its content, in order.
    fn copy_page(
        &self,
        vault: &Vault,
        page: Vec<FileRow>,
    ) -> Result<Vec<(FileRow, Option<Content>)>, StoreError> {
        let copy_one = |row: &FileRow| {
            if vault.holds(&row.digest, row.size_bytes, self.options.reread) {
                let (digest, size_bytes) = (row.digest, row.size_bytes);
                return Ok(Some(Content {
                    digest,
                    size_bytes,
                    is_new: false,
                }));
            }
            // What is there and is not what its name says would else be taken for the content again.
            let _ = std::fs::remove_file(vault::blob(&self.to, &row.digest));
            vault.copy(&self.layout.objects().join(row.file()), Some(&row.digest))
        };
        let queue = Mutex::new(page.into_iter().enumerate());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || -> Result<Vec<_>, StoreError> {
            let mut done = Vec::new();
            while let Some((at, row)) = next() {
                let content = copy_one(&row)?;
                done.push((at, (row, content)));
            }
            Ok(done)
        };
        let mut all = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..COPY_THREADS).map(|_| scope.spawn(work)).collect();
            let mut all = Vec::new();
            for thread in threads {
                let done = thread
                    .join()
                    .map_err(|_| StoreError::failed(BACKUP, "a copying thread panicked"))?;
                all.extend(done?);
            }
            Ok::<_, StoreError>(all)
        })?;
        all.sort_by_key(|(at, _)| *at);
        Ok(all.into_iter().map(|(_, one)| one).collect())
    }

    fn note(
        &self,
        sofar: &mut Sofar,
        item: Item,
        content: Option<Content>,
    ) -> Result<(), StoreError> {
        let written = sofar.manifest.item(&item);
        written.map_err(|error| StoreError::failed(BACKUP, error))?;
        sofar.made.files += 1;
        sofar.made.bytes += item.size_bytes;
        if content.is_some_and(|content| content.is_new) {
            sofar.made.copied_files += 1;
            sofar.made.copied_bytes += item.size_bytes;
        }
        sofar.progress.files += 1;
        sofar.progress.of = sofar.progress.of.max(sofar.progress.files);
        sofar.progress.bytes = sofar.made.copied_bytes;
        (self.told)(sofar.progress);
        Ok(())
    }
}

/// How many pages are copied between two looks at the clock.
const PAGES_PER_STEP: i32 = 4096;

fn item(path: String, content: Content) -> Item {
    Item {
        path,
        sha256: content.digest,
        size_bytes: content.size_bytes,
        is_lost: false,
    }
}

/// Every file below `dir`, by its path within `root`; at the top without what is kept otherwise.
fn walk(root: &Path, dir: &Path, found: &mut Vec<String>) -> std::io::Result<()> {
    let items = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        items => items?,
    };
    for item in items {
        let item = item?;
        let (path, name) = (item.path(), item.file_name());
        let name = name.to_string_lossy();
        let is_top = dir == root;
        if is_top && (PASSED_OVER.contains(&&*name) || name.starts_with("pericard.db")) {
            continue;
        }
        let kind = item.file_type()?;
        if kind.is_dir() {
            walk(root, &path, found)?;
        } else if kind.is_file() && !name.contains(".new-") {
            // Half-written files of `write_whole` are passed over: the file itself is whole, old or new.
            let within = path.strip_prefix(root).unwrap_or(&path);
            found.push(within.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

/// A copy of a database that nobody writes.
pub(crate) fn open_copy(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    // Immutable: no lock and no write-ahead log beside it; what is in the file is all there is.
    let escaped = path
        .to_string_lossy()
        .replace('%', "%25")
        .replace('?', "%3f")
        .replace('#', "%23");
    Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags)
        .map_err(|error| StoreError::failed("open the copy of the database", error))
}

/// Whether every page of the database is in order.
pub(crate) fn check_database(copy: &Connection) -> Result<(), StoreError> {
    const CHECK: &str = "check the copy of the database";
    let said: String = copy
        .query_row("-- check database\nPRAGMA quick_check(1)", (), |row| {
            row.get(0)
        })
        .map_err(|error| StoreError::failed(CHECK, error))?;
    match said.as_str() {
        "ok" => Ok(()),
        wrong => Err(StoreError::failed(CHECK, wrong)),
    }
}
