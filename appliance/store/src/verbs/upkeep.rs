//! What is put in order when the store is opened to serve: nothing here needs to know how the former process ended.

use super::damage::{self, FileRow};
use super::lease::lapse;
use crate::StoreError;
use crate::care::{DamageKind, Reconciled};
use crate::change::{Done, Tx};
use crate::error::Fault;
use crate::files::{Files, Layout, make_dir};
use crate::journal::Line;
use crate::sql::Sql;
use crate::store::Store;
use pericard_domain::actor::Actor;
use pericard_domain::time::Timestamp;
use serde_json::json;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// On how many of the latest shelves a crash may have left files whose rows were never committed. Two, because it may
/// have been midnight. They are compared before any door is open, and older ones afterwards.
const SHELVES_AT_START: usize = 2;

/// How often the whole appliance may end while a job is in hand before the job is failed. As a rule the job is not at
/// fault, so it costs no attempt; but one that is in hand every time may be what ends it.
const INTERRUPTIONS_MAX: u32 = 100;

const RECONCILE: &str = "compare files with rows";

impl Store {
    /// Compares the names of the files on every older shelf with the rows; the latest shelves were compared when the
    /// store was opened. An object without its file is marked as damaged; a file that no row names is set aside under
    /// `objects/aside/`, since it may have been promised before the database was put back to an older state.
    ///
    /// # Errors
    /// When a directory or the database cannot be read.
    pub async fn reconcile(&self) -> Result<Reconciled, StoreError> {
        const DAYS: &str = "-- list days of objects\n\
            SELECT DISTINCT strftime('%Y%m%d', received_at / 1000, 'unixepoch') AS day FROM instances";
        let layout = self.inner.files.layout().clone();
        let days = self.read(RECONCILE, |sql| sql.all(DAYS, (), |row| row.get(0)));
        let mut days: Vec<String> = days.await?;
        days.extend(shelves(&layout)?);
        days.sort();
        days.dedup();
        let older = days.len().saturating_sub(SHELVES_AT_START);
        let mut all = Reconciled::default();
        for day in days.drain(..older) {
            let mut compared = self.compared(&day).await?;
            if !compared.unnamed.is_empty() {
                // Once more, now that none of them can be on its way in: its row may have been just about to come.
                let going = self.inner.files.traffic().go(compared.unnamed);
                compared = self.compared(&day).await?;
                compared.unnamed.retain(|file| going.has(file));
                all.set_aside += self.set_aside(compared.unnamed).await?;
            }
            all.missing += self.mark_missing(compared.missing).await?;
        }
        Ok(all)
    }

    async fn compared(&self, day: &str) -> Result<Compared, StoreError> {
        let (layout, day) = (self.inner.files.layout().clone(), day.to_owned());
        self.read(RECONCILE, move |sql| compare(sql, &layout, &day))
            .await
    }

    async fn set_aside(&self, files: Vec<PathBuf>) -> Result<u64, StoreError> {
        let among = &self.inner.files;
        let mut lines = Vec::new();
        for file in files {
            // One that is gone was being removed by retention at the same time.
            if put_aside(among, &file)? {
                lines.push(aside_line(among.layout(), &file));
            }
        }
        let moved = lines.len() as u64;
        if moved > 0 {
            self.change(RECONCILE, |_tx| Ok(Done::unchanged(()).and_all(lines)))
                .await?;
        }
        Ok(moved)
    }

    async fn mark_missing(&self, rows: Vec<FileRow>) -> Result<u64, StoreError> {
        if rows.is_empty() {
            return Ok(0);
        }
        self.change(RECONCILE, move |tx| {
            let (lines, missing) = mark_all(tx, &rows)?;
            Ok(Done::unchanged(missing).and_all(lines))
        })
        .await
    }
}

/// Lets every lease of a former process lapse: whoever held one is gone.
pub(crate) fn lapse_all(tx: Tx<'_>) -> Result<Done<()>, Fault> {
    const LAPSE: &str = "-- lapse all delivery leases\n\
        UPDATE outbox SET state = 'waiting', lease_id = NULL, leased_until = NULL WHERE state = 'leased'";
    const INTERRUPT: &str = "-- count interruptions\n\
        UPDATE jobs SET interruptions = interruptions + 1, \
            attempts = CASE WHEN interruptions + 1 >= ?1 THEN coalesce(attempts_max, attempts) \
                ELSE max(attempts - 1, 0) END \
        WHERE state = 'leased'";
    tx.change(LAPSE, ())?;
    tx.change(INTERRUPT, [INTERRUPTIONS_MAX])?;
    let lines = lapse(tx, Timestamp::from_millis(i64::MAX))?;
    Ok(Done::unchanged(()).and_all(lines).moving_lease())
}

/// Compares the files of the latest shelves with the rows, before any door is open. What was received and promised to
/// nobody is removed: staging files, and files that were put in place but whose rows were never committed. `is_doubtful`
/// says that the log does not continue its own checkpoint: the database may then be an older one, put back, and a file
/// that it does not name may have been promised; it is set aside instead.
pub(crate) fn reconcile_at_start(
    tx: Tx<'_>,
    among: &Files,
    is_doubtful: bool,
) -> Result<Done<()>, Fault> {
    let layout = among.layout();
    let mut found = Reconciled::default();
    for path in list(&layout.incoming())? {
        found.unpromised += remove(&path)?;
    }
    let mut lines = Vec::new();
    let mut latest = shelves(layout)?;
    latest.sort();
    for day in latest.iter().rev().take(SHELVES_AT_START) {
        let compared = compare(tx.sql, layout, day)?;
        for file in compared.unnamed {
            if !is_doubtful {
                found.unpromised += remove(&file)?;
            } else if put_aside(among, &file)? {
                found.set_aside += 1;
                lines.push(aside_line(layout, &file));
            }
        }
        let (said, missing) = mark_all(tx, &compared.missing)?;
        found.missing += missing;
        lines.extend(said);
    }
    if found == Reconciled::default() {
        return Ok(Done::unchanged(()));
    }
    tracing::warn!(
        ?found,
        "files and rows were not the same after the former process"
    );
    let line = Line::new("reconcile files", "objects", Actor::room("store"));
    Ok(Done::said((), line.with(json!(found))).and_all(lines))
}

/// Files that a person must look at: no row names them, and nobody can say that they were never promised.
pub(crate) fn aside(layout: &Layout) -> PathBuf {
    layout.objects().join("aside")
}

/// A shelf on which not everything is in order.
struct Compared {
    /// Files that no row names, and that are not about to be removed.
    unnamed: Vec<PathBuf>,
    /// Rows whose file is not there.
    missing: Vec<FileRow>,
}

fn compare(sql: Sql<'_>, layout: &Layout, day: &str) -> Result<Compared, Fault> {
    const OF_SHELF: &str = "-- list rows of shelf\n\
        SELECT id, uid, digest, size_bytes, received_at FROM instances \
        WHERE received_at >= unixepoch(?1) * 1000 AND received_at < (unixepoch(?1) + 86400) * 1000";
    const ORDERED: &str = "-- list removals of shelf\nSELECT file FROM removals WHERE file GLOB ?1";
    let shelf = layout.objects().join(day);
    // The files first: the row of one that is put in place meanwhile is then merely not looked for.
    let mut unnamed = match list(&shelf) {
        Ok(files) => files,
        Err(_) if !shelf.exists() => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let date = format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..]);
    let rows = sql.all(OF_SHELF, [date], FileRow::read)?;
    let ordered = sql.all(ORDERED, [format!("{day}/*")], |row| row.get::<_, String>(0))?;
    let mut named: HashMap<PathBuf, Option<FileRow>> = rows
        .into_iter()
        .map(|row| (layout.objects().join(row.file()), Some(row)))
        .collect();
    named.extend(
        ordered
            .into_iter()
            .map(|file| (layout.objects().join(file), None)),
    );
    unnamed.retain(|path| named.remove(path).is_none());
    let missing = named
        .into_iter()
        .filter_map(|(path, row)| row.filter(|_| !path.exists()));
    Ok(Compared {
        unnamed,
        missing: missing.collect(),
    })
}

fn mark_all(tx: Tx<'_>, rows: &[FileRow]) -> Result<(Vec<Line>, u64), Fault> {
    let (mut lines, mut missing) = (Vec::new(), 0);
    for row in rows {
        let said = damage::mark(tx, row, DamageKind::Missing)?;
        missing += u64::from(!said.is_empty());
        lines.extend(said);
    }
    Ok((lines, missing))
}

/// The days that have a shelf, `YYYYMMDD`.
fn shelves(layout: &Layout) -> Result<Vec<String>, StoreError> {
    let is_day = |name: &String| name.len() == 8 && name.bytes().all(|b| b.is_ascii_digit());
    let names = list(&layout.objects())?.into_iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?.to_owned();
        path.is_dir().then_some(name)
    });
    Ok(names.filter(is_day).collect())
}

/// Moves a file to those that a person must look at; says whether it was still there.
fn put_aside(among: &Files, file: &Path) -> Result<bool, StoreError> {
    const STEP: &str = "set a file aside";
    let layout = among.layout();
    let aside = aside(layout);
    make_dir(&aside).map_err(|error| among.health().write_failed(STEP, &error))?;
    match std::fs::rename(file, aside.join(aside_name(layout, file))) {
        Ok(()) => among.sync_dir(&aside).map(|()| true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::failed(STEP, error)),
    }
}

/// The shelf is kept in the name: it says when the file was received.
fn aside_name(layout: &Layout, file: &Path) -> String {
    let within = file.strip_prefix(layout.objects()).unwrap_or(file);
    within.to_string_lossy().replace('/', "-")
}

fn aside_line(layout: &Layout, file: &Path) -> Line {
    let name = aside_name(layout, file);
    tracing::error!(
        file = name,
        "a file that no row names was set aside; look at it"
    );
    let detail = json!({ "file": name });
    Line::new("set file aside", "objects", Actor::room("store")).with(detail)
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let list = || {
        std::fs::read_dir(dir)?
            .map(|item| item.map(|item| item.path()))
            .collect::<Result<Vec<_>, _>>()
    };
    list().map_err(|error: std::io::Error| StoreError::failed("list object files", error))
}

fn remove(path: &Path) -> Result<u64, StoreError> {
    std::fs::remove_file(path)
        .map(|()| 1)
        .map_err(|error| StoreError::failed("remove a file that nothing names", error))
}
