//! The folder that backups lie in.
//!
//! ```text
//! <folder>/
//!   vault.lock                    held while a backup is made
//!   incoming/                     half-made files; whatever is here belongs to no backup
//!   blobs/<2 digits>/<SHA-256>    the content of every file of every backup, once
//!   manifests/<when>.jsonl        a backup: which files had which content
//! ```
//! A content is put under its digest only when it is on disk, and never changed. So a backup that is cut off at any moment
//! leaves all older ones as they were, and the next one finds what was copied already.

use super::manifest::{Item, Manifest};
use crate::StoreError;
use crate::files::{make_dir, private, put_on_disk};
use crate::store::Locked;
use pericard_domain::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// How much is copied at once.
const COPY_BYTES: usize = 256 * 1024;
const KEEP: &str = "write the backup";

/// The folder, open for one backup.
pub(crate) struct Vault {
    dir: PathBuf,
    staged: AtomicU64,
    /// The contents that this backup puts here.
    added: Mutex<Vec<PathBuf>>,
    /// Whether a sync has failed: nobody knows then which of them are on disk.
    is_doubtful: AtomicBool,
    _lock: Locked,
}

/// What was copied into the vault, or was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) digest: Digest,
    pub(crate) size_bytes: u64,
    /// Whether it was written now.
    pub(crate) is_new: bool,
}

impl Vault {
    /// Opens the folder to make a backup in it; makes it when it is missing.
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        let open = || {
            for sub in ["", "incoming", "blobs", "manifests"] {
                make_dir(&dir.join(sub))?;
            }
            let lock = private()
                .append(true)
                .create(true)
                .open(dir.join("vault.lock"))?;
            let lock = Locked::at_once(lock)?;
            // Nobody else is at work, so whatever is here was cut off.
            for left in std::fs::read_dir(dir.join("incoming"))? {
                std::fs::remove_file(left?.path())?;
            }
            Ok(lock)
        };
        let lock = open().map_err(|error: std::io::Error| match error.kind() {
            std::io::ErrorKind::WouldBlock => {
                StoreError::failed(KEEP, "another backup is being made in this folder")
            }
            _ => failed(dir, &error),
        })?;
        Ok(Self {
            dir: dir.to_owned(),
            staged: AtomicU64::new(0),
            added: Mutex::default(),
            is_doubtful: AtomicBool::new(false),
            _lock: lock,
        })
    }

    /// A file for what is not whole yet.
    pub(crate) fn stage(&self) -> Result<(PathBuf, File), StoreError> {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join("incoming").join(number.to_string());
        let file = private()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path);
        let file = file.map_err(|error| failed(&path, &error))?;
        Ok((path, file))
    }

    /// Whether the content is here, as far as its name and length tell; with `reread`, its bytes too.
    pub(crate) fn holds(&self, digest: &Digest, size_bytes: u64, reread: bool) -> bool {
        let path = blob(&self.dir, digest);
        let is_there = std::fs::metadata(&path).is_ok_and(|found| found.len() == size_bytes);
        if !is_there || !reread {
            return is_there;
        }
        super::digest_of(&path).is_ok_and(|(found, _)| found == *digest)
    }

    /// Copies a file in. `None` when it is not there, cannot be read, or is not what it should be: that is the data
    /// directory's trouble, and one lost sector must not keep everything else from being backed up.
    pub(crate) fn copy(
        &self,
        from: &Path,
        expected: Option<&Digest>,
    ) -> Result<Option<Content>, StoreError> {
        let mut source = match File::open(from) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| failed(from, &error))?,
        };
        let (staged, mut file) = self.stage()?;
        let copied =
            copy_hashed(&mut source, &mut file).map_err(|error| failed(&staged, &error))?;
        let is_expected = |digest: &Digest| expected.is_none_or(|expected| expected == digest);
        match copied {
            Copied::Whole(digest, size_bytes) if is_expected(&digest) => {
                let content = Content {
                    digest,
                    size_bytes,
                    is_new: true,
                };
                self.keep(&staged, &file, content).map(Some)
            }
            Copied::Whole(..) | Copied::Unreadable => {
                std::fs::remove_file(&staged).map_err(|error| failed(&staged, &error))?;
                Ok(None)
            }
        }
    }

    /// Puts a staged file under its digest, on disk.
    pub(crate) fn keep(
        &self,
        staged: &Path,
        file: &File,
        content: Content,
    ) -> Result<Content, StoreError> {
        if self.holds(&content.digest, content.size_bytes, false) {
            std::fs::remove_file(staged).map_err(|error| failed(staged, &error))?;
            return Ok(Content {
                is_new: false,
                ..content
            });
        }
        let to = blob(&self.dir, &content.digest);
        self.added().push(to.clone());
        let keep = || {
            put_on_disk(file)?;
            make_dir(to.parent().unwrap_or(&self.dir))?;
            std::fs::rename(staged, &to)
        };
        keep().map_err(|error: std::io::Error| self.in_doubt(&to, &error))?;
        Ok(content)
    }

    /// Puts the names of all contents on disk, and then the manifest, which makes the backup one.
    pub(crate) fn seal(&self, staged: &Path, name: &str) -> Result<(), StoreError> {
        let to = manifests(&self.dir).join(name);
        let seal = || {
            self.put_names_on_disk()?;
            std::fs::rename(staged, &to)?;
            let named = put_on_disk(&File::open(manifests(&self.dir))?);
            named.inspect_err(|_| drop(std::fs::remove_file(&to)))
        };
        seal().map_err(|error: std::io::Error| self.in_doubt(&to, &error))
    }

    fn in_doubt(&self, path: &Path, error: &std::io::Error) -> StoreError {
        self.is_doubtful.store(true, Ordering::Relaxed);
        failed(path, error)
    }

    fn put_names_on_disk(&self) -> std::io::Result<()> {
        for dir in std::fs::read_dir(self.dir.join("blobs"))? {
            put_on_disk(&File::open(dir?.path())?)?;
        }
        put_on_disk(&File::open(self.dir.join("blobs"))?)
    }

    fn added(&self) -> std::sync::MutexGuard<'_, Vec<PathBuf>> {
        // Held for one push; a panic in between leaves a whole list.
        self.added.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes all backups but the latest `kept`, and the contents that no backup names any more. A manifest that cannot
    /// be read keeps everything: nobody knows what it names.
    pub(crate) fn prune(&self, kept: usize) -> Result<u64, StoreError> {
        let mut names = names(&self.dir)?;
        let old = names.split_off(names.len().min(kept));
        let mut used = HashSet::new();
        for name in &names {
            let manifest = Manifest::read(&manifests(&self.dir).join(name))?;
            used.extend(
                manifest
                    .items
                    .into_iter()
                    .map(|item: Item| *item.sha256.as_bytes()),
            );
        }
        let remove = |path: &Path| std::fs::remove_file(path).map_err(|error| failed(path, &error));
        for name in &old {
            remove(&manifests(&self.dir).join(name))?;
        }
        let unused = self
            .unused(&used)
            .map_err(|error| failed(&self.dir, &error))?;
        for path in &unused {
            remove(path)?;
        }
        Ok(unused.len() as u64)
    }

    fn unused(&self, used: &HashSet<[u8; 32]>) -> std::io::Result<BTreeSet<PathBuf>> {
        let mut unused = BTreeSet::new();
        for dir in std::fs::read_dir(self.dir.join("blobs"))? {
            for file in std::fs::read_dir(dir?.path())? {
                let path = file?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let mut digest = [0; 32];
                let is_blob = hex::decode_to_slice(name.as_bytes(), &mut digest).is_ok();
                if is_blob && !used.contains(&digest) {
                    unused.insert(path);
                }
            }
        }
        Ok(unused)
    }
}

impl Drop for Vault {
    /// What this backup has added goes again when a sync failed: the next sync of that file or directory may succeed and
    /// have put nothing on disk, so the next backup must not find the contents and believe that they are kept.
    fn drop(&mut self) {
        if !self.is_doubtful.load(Ordering::Relaxed) {
            return;
        }
        for path in self.added().drain(..) {
            let _ = std::fs::remove_file(&path);
            // Its directory too, once it is empty: its name may be what is not on disk.
            let _ = path.parent().map(std::fs::remove_dir);
        }
    }
}

/// Where a content lies.
pub(crate) fn blob(dir: &Path, digest: &Digest) -> PathBuf {
    let name = digest.to_string();
    dir.join("blobs").join(&name[..2]).join(name)
}

/// Where the manifests lie.
pub(crate) fn manifests(dir: &Path) -> PathBuf {
    dir.join("manifests")
}

/// The backups in the folder, latest first.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let list = || {
        std::fs::read_dir(manifests(dir))?
            .map(|item| item.map(|item| item.file_name().to_string_lossy().into_owned()))
            .collect::<Result<Vec<_>, _>>()
    };
    let mut names = list().map_err(|error: std::io::Error| failed(dir, &error))?;
    names.retain(|name| name.ends_with(".jsonl"));
    names.sort();
    names.reverse();
    Ok(names)
}

/// How a copy ended, when it could be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copied {
    /// With this digest and length.
    Whole(Digest, u64),
    /// Its source could not be read to the end.
    Unreadable,
}

/// Copies and hashes.
///
/// # Errors
/// Only when it cannot be written.
pub(crate) fn copy_hashed(from: &mut impl Read, to: &mut File) -> std::io::Result<Copied> {
    let (mut hasher, mut len, mut buffer) = (Sha256::new(), 0, vec![0; COPY_BYTES]);
    loop {
        let Ok(read) = from.read(&mut buffer) else {
            return Ok(Copied::Unreadable);
        };
        if read == 0 {
            let digest = Digest::new(hasher.finalize().into());
            return Ok(Copied::Whole(digest, len));
        }
        hasher.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        len += read as u64;
    }
}

pub(crate) fn failed(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::failed(KEEP, format!("{}: {error}", path.display()))
}
