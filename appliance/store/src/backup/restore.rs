//! A backup becomes a data directory again, on an empty place only; or is read through without being restored.

use super::manifest::{Item, Manifest};
use super::{Progress, Told, check_database, digest_of, open_copy, vault};
use crate::StoreError;
use crate::evidence;
use crate::files::{make_dir, private, put_on_disk};
use crate::schema;
use crate::sql::Sql;
use pericard_audit::VerifierKey;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Lies in a data directory while it is being restored; no store opens while it does.
pub(crate) const UNFINISHED: &str = "restore.unfinished";
const DATABASE: &str = "pericard.db";
const RESTORE: &str = "restore";

/// How a backup is restored.
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    /// Which backup; the latest when not said.
    pub name: Option<String>,
    /// The name of the log that the appliance is configured to continue: another one's backup is refused.
    pub audit_origin: Option<String>,
    /// Whether objects whose copy was altered may be left out. They are then shown as missing.
    pub accepts_losses: bool,
}

/// What was restored, or read through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Which backup.
    pub name: String,
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Lines of the audit log, which verified.
    pub audit_lines: u64,
    /// Objects that are not there: missing or altered already when the backup was made, or left out.
    pub lost: Vec<String>,
}

/// Restores a backup into `dir`, which must be empty or not there. Every file is compared with the manifest, the database
/// is checked, and the audit log verified; if anything is wrong, `dir` is left empty.
///
/// # Errors
/// Names every file of the backup that is missing or was altered.
pub fn restore(
    from: &Path,
    dir: &Path,
    options: &RestoreOptions,
    told: &Told,
) -> Result<Restored, StoreError> {
    let (name, manifest) = choose(from, options)?;
    begin(dir)?;
    let restored = put_back(from, dir, &manifest, options, told);
    let restored = restored.and_then(|(files, bytes, lost)| {
        let audit_lines = verify(dir)?;
        Ok(Restored {
            name,
            files,
            bytes,
            audit_lines,
            lost,
        })
    });
    let outcome = restored.and_then(|restored| end(dir).map(|()| restored));
    if outcome.is_err() {
        clear(dir);
    }
    outcome
}

/// Reads a backup through and compares every file with its manifest, without restoring it.
///
/// # Errors
/// Names every file of the backup that is missing or was altered.
pub fn check(from: &Path, options: &RestoreOptions, told: &Told) -> Result<Restored, StoreError> {
    let (name, manifest) = choose(from, options)?;
    let mut tally = Tally::new(&manifest, told);
    for item in &manifest.items {
        let found = digest_of(&vault::blob(from, &item.sha256));
        let is_right = found.is_ok_and(|(digest, _)| digest == item.sha256);
        tally.note(item, is_right, false);
    }
    let (files, bytes, lost) = tally.verdict()?;
    let database = manifest.items.iter().find(|item| item.path == DATABASE);
    let database = database.ok_or_else(|| refused("it holds no database".into()))?;
    let copy = open_copy(&vault::blob(from, &database.sha256))?;
    check_database(&copy)?;
    let lines = Sql::new(&copy).count(
        "-- count audit leaves\nSELECT count(*) FROM audit_leaves",
        (),
    )?;
    Ok(Restored {
        name,
        files,
        bytes,
        audit_lines: lines,
        lost,
    })
}

fn choose(from: &Path, options: &RestoreOptions) -> Result<(String, Manifest), StoreError> {
    let names = vault::names(from)?;
    let name = match &options.name {
        Some(name) => names
            .iter()
            .find(|n| *n == name || n.strip_suffix(".jsonl") == Some(name)),
        None => names.first(),
    };
    let name = name.ok_or_else(|| {
        let which = options.name.as_deref().unwrap_or("any");
        refused(format!("{} holds no backup {which:?}", from.display()))
    })?;
    let manifest = Manifest::read(&vault::manifests(from).join(name))?;
    let head = &manifest.head;
    if let Some(expected) = options
        .audit_origin
        .as_ref()
        .filter(|origin| **origin != head.audit_origin)
    {
        let reason = format!(
            "the backup is of the log {:?}, and {expected:?} is configured; configure the name of the former appliance",
            head.audit_origin
        );
        return Err(refused(reason));
    }
    if head.schema > schema::SCHEMA {
        let reason = format!(
            "it was made by a newer version of the appliance (schema {}, this one knows {}); install that version",
            head.schema,
            schema::SCHEMA
        );
        return Err(refused(reason));
    }
    Ok((name.clone(), manifest))
}

/// Makes the directory and the mark that it is not whole yet.
fn begin(dir: &Path) -> Result<(), StoreError> {
    let is_empty = std::fs::read_dir(dir).map_or(Ok(true), |mut items| {
        items.next().transpose().map(|first| first.is_none())
    });
    if !is_empty.map_err(|error| failed(dir, &error))? {
        let reason = format!(
            "{} is not empty; a backup is restored into an empty place only",
            dir.display()
        );
        return Err(refused(reason));
    }
    let begin = || {
        make_dir(dir)?;
        let mark = private()
            .write(true)
            .create_new(true)
            .open(dir.join(UNFINISHED))?;
        put_on_disk(&mark)?;
        put_on_disk(&File::open(dir)?)
    };
    begin().map_err(|error: std::io::Error| failed(dir, &error))
}

type Counted = (u64, u64, Vec<String>);

fn put_back(
    from: &Path,
    dir: &Path,
    manifest: &Manifest,
    options: &RestoreOptions,
    told: &Told,
) -> Result<Counted, StoreError> {
    let mut tally = Tally::new(manifest, told);
    let mut dirs = BTreeSet::new();
    // The database last: what it names is then there.
    let (last, first): (Vec<_>, Vec<_>) = manifest
        .items
        .iter()
        .partition(|item| item.path == DATABASE);
    for item in first.into_iter().chain(last) {
        if item.is_lost {
            tally.note(item, false, false);
            continue;
        }
        let to = dir.join(&item.path);
        let is_right = copy(&vault::blob(from, &item.sha256), &to, item)?;
        dirs.extend(
            to.ancestors()
                .skip(1)
                .take_while(|up| up.starts_with(dir))
                .map(PathBuf::from),
        );
        let is_object = item.path.starts_with("objects/");
        tally.note(item, is_right, options.accepts_losses && is_object);
    }
    for dir in dirs {
        File::open(&dir)
            .and_then(|opened| put_on_disk(&opened))
            .map_err(|error| failed(&dir, &error))?;
    }
    tally.verdict()
}

/// Copies a content to its place, on disk; `false`, and nothing is there, when it is not what the manifest says.
fn copy(from: &Path, to: &Path, item: &Item) -> Result<bool, StoreError> {
    let Ok(mut source) = File::open(from) else {
        return Ok(false);
    };
    let mut copy = || {
        make_dir(to.parent().unwrap_or(to))?;
        let mut file = private().write(true).create_new(true).open(to)?;
        // A sector that cannot be read is an altered content like any other.
        let right = vault::Copied::Whole(item.sha256, item.size_bytes);
        let is_right = vault::copy_hashed(&mut source, &mut file)? == right;
        if is_right {
            put_on_disk(&file)?;
        } else {
            std::fs::remove_file(to)?;
        }
        Ok(is_right)
    };
    copy().map_err(|error: std::io::Error| failed(to, &error))
}

/// The database is in order, and the log is what was signed.
fn verify(dir: &Path) -> Result<u64, StoreError> {
    let copy = open_copy(&dir.join(DATABASE))?;
    check_database(&copy)?;
    let audit = dir.join("audit");
    let key =
        std::fs::read_to_string(audit.join("key.pub")).map_err(|error| failed(&audit, &error))?;
    let key: VerifierKey = key
        .trim()
        .parse()
        .map_err(|_| refused("audit/key.pub is no key".into()))?;
    let verified = evidence::verify(Sql::new(&copy), &audit, &key)?;
    Ok(verified.lines)
}

/// Takes the mark away: from now on it is a data directory.
fn end(dir: &Path) -> Result<(), StoreError> {
    std::fs::remove_file(dir.join(UNFINISHED))
        .and_then(|()| put_on_disk(&File::open(dir)?))
        .map_err(|error| failed(dir, &error))
}

/// Empties the directory again, which was empty before. What is left of it still has its mark.
fn clear(dir: &Path) {
    let items = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let paths = items
        .map(|item| item.path())
        .filter(|path| !path.ends_with(UNFINISHED));
    let is_clear = paths.map(|path| match path.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    });
    let is_clear: Vec<_> = is_clear.collect(); // all of them, also after one that failed
    if is_clear.iter().all(Result::is_ok) {
        let _ = std::fs::remove_file(dir.join(UNFINISHED));
    }
}

/// Counts, and collects what is wrong: all of it is named, not only the first.
struct Tally<'a> {
    told: &'a Told,
    progress: Progress,
    lost: Vec<String>,
    wrong: Vec<String>,
}

/// How many wrong files are named.
const MAX_NAMED: usize = 20;

impl<'a> Tally<'a> {
    fn new(manifest: &Manifest, told: &'a Told) -> Self {
        let of = manifest.items.len() as u64;
        Self {
            told,
            progress: Progress {
                files: 0,
                of,
                bytes: 0,
            },
            lost: Vec::new(),
            wrong: Vec::new(),
        }
    }

    fn note(&mut self, item: &Item, is_right: bool, may_be_lost: bool) {
        match (is_right, item.is_lost || may_be_lost) {
            (true, _) => {
                self.progress.files += 1;
                self.progress.bytes += item.size_bytes;
            }
            (false, true) => self.lost.push(item.path.clone()),
            (false, false) => self
                .wrong
                .push(format!("{} (blob {})", item.path, item.sha256)),
        }
        (self.told)(self.progress);
    }

    fn verdict(self) -> Result<Counted, StoreError> {
        if self.wrong.is_empty() {
            return Ok((self.progress.files, self.progress.bytes, self.lost));
        }
        let named = self
            .wrong
            .iter()
            .take(MAX_NAMED)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        let count = self.wrong.len();
        Err(refused(format!(
            "{count} files of the backup are missing or were altered: {named}"
        )))
    }
}

fn refused(reason: String) -> StoreError {
    StoreError::failed(RESTORE, reason)
}

fn failed(path: &Path, error: &std::io::Error) -> StoreError {
    refused(format!("{}: {error}", path.display()))
}
