//! One commit: many changes, each in its savepoint, their audit lines, one signed checkpoint.

use super::Queued;
use crate::StoreError;
use crate::change::{Change, Effects, Tx};
use crate::error::{Fault, Gravity};
use crate::files::Files;
use crate::journal::{self, CheckpointFile, Leaves, Line};
use crate::sql::Sql;
use pericard_audit::SigningKey;
use pericard_domain::time::Clock;
use rusqlite::Connection;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After how many changes the write-ahead log is copied into the database.
const CHANGES_PER_WAL_CHECKPOINT: usize = 512;

/// How often the waiting jobs are counted while changes are committed.
const COUNT_JOBS_EVERY_MS: u64 = 250;

/// The write connection and what every commit needs.
pub(crate) struct Committer {
    pub(crate) connection: Connection,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) key: SigningKey,
    leaves: Arc<dyn Leaves>,
    pub(crate) files: Arc<Files>,
    pub(crate) checkpoint: Arc<CheckpointFile>,
    since_wal_checkpoint: usize,
    data_version: i64,
    latest_took: Duration,
    counted_jobs_at: Option<Instant>,
}

/// What a transaction came to, change by change.
struct Committed {
    failures: Vec<Option<StoreError>>,
    wakes: bool,
    note: Option<String>,
}

impl Committer {
    pub(crate) fn new(
        connection: Connection,
        clock: Arc<dyn Clock>,
        (key, leaves): (SigningKey, Arc<dyn Leaves>),
        files: Arc<Files>,
        checkpoint: Arc<CheckpointFile>,
    ) -> Self {
        Self {
            connection,
            clock,
            key,
            leaves,
            files,
            checkpoint,
            // What an earlier process left is copied first: one that is killed again and again would let the log grow.
            since_wal_checkpoint: CHANGES_PER_WAL_CHECKPOINT,
            data_version: 0,
            latest_took: Duration::ZERO,
            counted_jobs_at: None,
        }
    }

    /// Commits the changes together and answers each. Says whether there may be new work.
    pub(crate) fn commit(&mut self, batch: Vec<Queued>) -> bool {
        if batch.is_empty() {
            return false;
        }
        let (mut changes, held): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|q| (q.change, q.held)).unzip();
        let begun = Instant::now();
        let outcome = self.commit_all(&mut changes);
        self.latest_took = begun.elapsed();
        let wakes = outcome.as_ref().is_ok_and(|committed| committed.wakes);
        answer(changes, outcome.map(|committed| committed.failures));
        drop(held);
        wakes
    }

    /// How long the latest commit took.
    pub(crate) const fn latest_took(&self) -> Duration {
        self.latest_took
    }

    /// Commits one change on this thread: for what is done before the thread starts.
    pub(crate) fn commit_here(&mut self, change: Box<dyn Change>) {
        let mut changes = vec![change];
        let outcome = self.commit_all(&mut changes);
        answer(changes, outcome.map(|committed| committed.failures));
    }

    /// Begins the audit log, when the database has none.
    pub(crate) fn begin_log(&mut self) -> Result<(), StoreError> {
        let begun = || {
            let sql = Sql::new(&self.connection);
            sql.change("-- begin\nBEGIN IMMEDIATE", ())?;
            let note = journal::begin(sql, &self.key)?;
            sql.change("-- commit\nCOMMIT", ())?;
            Ok(note)
        };
        let note = begun().map_err(|fault: Fault| {
            self.undo();
            self.weigh(fault)
        })?;
        if let Some(note) = note {
            self.checkpoint.offer(note);
            self.checkpoint.write_now(&self.files);
        }
        Ok(())
    }

    /// Whether another process has changed the database since this was last asked.
    pub(crate) fn was_changed_beside(&mut self) -> bool {
        // The number moves only by commits of other connections, and only this one writes in this process.
        const LOOK: &str = "-- look beside\nPRAGMA data_version";
        let version = self.connection.prepare_cached(LOOK);
        let version = version.and_then(|mut look| look.query_row((), |row| row.get(0)));
        match version {
            Ok(version) => std::mem::replace(&mut self.data_version, version) != version,
            Err(_) => false, // the next commit will say what is wrong
        }
    }

    /// What can wait until nobody does: the checkpoint file, the length of the queue and the write-ahead log.
    pub(crate) fn keep_house(&mut self) {
        self.checkpoint.write_soon(&self.files);
        self.count_waiting_jobs();
        if self.since_wal_checkpoint >= CHANGES_PER_WAL_CHECKPOINT {
            self.checkpoint_wal();
        }
    }

    /// Counts the jobs that wait, at times: an answer that is a moment old is good enough for a limit, and each object
    /// that asked for itself would pay for the count.
    pub(crate) fn count_waiting_jobs(&mut self) {
        const WAITING: &str =
            "-- count waiting jobs\nSELECT count(*) FROM jobs WHERE state = 'waiting'";
        let every = Duration::from_millis(COUNT_JOBS_EVERY_MS);
        if self.counted_jobs_at.is_some_and(|at| at.elapsed() < every) {
            return;
        }
        self.counted_jobs_at = Some(Instant::now());
        // What keeps the count from being read will be told by the next commit.
        if let Ok(jobs) = Sql::new(&self.connection).count(WAITING, ()) {
            self.files.health().note_jobs_waiting(jobs);
        }
    }

    /// Writes what is pending and closes the database.
    pub(crate) fn close(self) {
        self.checkpoint.write_now(&self.files);
    }

    fn commit_all(&mut self, changes: &mut [Box<dyn Change>]) -> Result<Committed, StoreError> {
        self.files.health().check()?;
        let committed = self.transaction(changes).map_err(|fault| {
            self.undo();
            self.weigh(fault)
        })?;
        self.since_wal_checkpoint += changes.len();
        if let Some(note) = &committed.note {
            self.checkpoint.offer(note.clone());
        }
        Ok(committed)
    }

    fn transaction(&self, changes: &mut [Box<dyn Change>]) -> Result<Committed, Fault> {
        let tx = Tx {
            sql: Sql::new(&self.connection),
            now: self.clock.now(),
        };
        tx.change("-- begin\nBEGIN IMMEDIATE", ())?;
        let mut failures = Vec::with_capacity(changes.len());
        let mut all = Effects::default();
        for change in changes {
            match run_one(tx, change.as_mut())? {
                Ok(effects) => {
                    all.lines.extend(effects.lines);
                    all.wakes |= effects.wakes;
                    all.moves_lease |= effects.moves_lease;
                    failures.push(None);
                }
                Err(error) => failures.push(Some(error)),
            }
        }
        let note = self.finish(tx, all.lines, all.moves_lease)?;
        Ok(Committed {
            failures,
            wakes: all.wakes,
            note,
        })
    }

    fn finish(
        &self,
        tx: Tx<'_>,
        lines: Vec<Line>,
        moves_lease: bool,
    ) -> Result<Option<String>, Fault> {
        if lines.is_empty() && !moves_lease {
            tx.change("-- nothing changed\nROLLBACK", ())?;
            return Ok(None);
        }
        let note = if lines.is_empty() {
            None
        } else {
            let log = (&self.key, self.leaves.as_ref());
            Some(journal::append(tx.sql, log, tx.now, lines)?)
        };
        tx.change("-- commit\nCOMMIT", ())
            .map_err(|fault| match fault.gravity() {
                Gravity::Full => fault,
                // Whatever else keeps a commit from the disk, nobody knows what the disk now holds.
                _ => {
                    let error = StoreError::from(fault);
                    Fault::Said(self.files.health().stop("commit", error))
                }
            })?;
        Ok(note)
    }

    fn undo(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("-- undo\nROLLBACK")
        {
            let _said = self.files.health().stop("undo a transaction", error);
        }
    }

    fn weigh(&self, fault: Fault) -> StoreError {
        match fault.gravity() {
            Gravity::Change => fault.into(),
            Gravity::Full => self.files.health().full(),
            Gravity::Disk => {
                let error = StoreError::from(fault);
                self.files.health().stop("write the database", error)
            }
        }
    }

    fn checkpoint_wal(&mut self) {
        self.since_wal_checkpoint = 0;
        if self.files.health().check().is_err() {
            return;
        }
        // PASSIVE waits for nobody; what readers keep it from is copied the next time.
        let copied: Result<i64, _> = self.connection.query_row(
            "-- checkpoint write-ahead log\nPRAGMA wal_checkpoint(PASSIVE)",
            (),
            |row| row.get(0),
        );
        let Err(error) = copied else { return };
        let step = "copy the write-ahead log";
        let fault = Fault::Sql { step, error };
        if fault.gravity() == Gravity::Disk {
            let _said = self.files.health().stop(step, StoreError::from(fault));
        }
    }
}

/// Runs one change in its savepoint. The outer error is the whole transaction's.
fn run_one(tx: Tx<'_>, change: &mut dyn Change) -> Result<Result<Effects, StoreError>, Fault> {
    tx.change("-- begin change\nSAVEPOINT change", ())?;
    let before = tx.connection().total_changes();
    let name = change.name();
    let ran = catch_unwind(AssertUnwindSafe(|| change.run(tx)));
    let ran = ran.unwrap_or_else(|_| Err(StoreError::failed(name, "the change panicked").into()));
    let ran = ran.and_then(|effects| {
        let is_silent = effects.lines.is_empty() && !effects.moves_lease;
        if is_silent && tx.connection().total_changes() != before {
            let reason = "it changed something and brought no audit line";
            return Err(StoreError::failed(name, reason).into());
        }
        Ok(effects)
    });
    let outcome = match ran {
        Ok(effects) => Ok(effects),
        Err(fault) if fault.gravity() != Gravity::Change || tx.connection().is_autocommit() => {
            return Err(fault);
        }
        Err(fault) => {
            tx.change("-- undo change\nROLLBACK TO change", ())?;
            let error = StoreError::from(fault);
            tracing::debug!(change = name, %error, "a change was not made");
            Err(error)
        }
    };
    tx.change("-- end change\nRELEASE change", ())?;
    Ok(outcome)
}

fn answer(changes: Vec<Box<dyn Change>>, outcome: Result<Vec<Option<StoreError>>, StoreError>) {
    match outcome {
        Ok(failures) => {
            for (change, failed) in changes.into_iter().zip(failures) {
                change.answer(failed);
            }
        }
        Err(error) => {
            for change in changes {
                change.answer(Some(error.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::change::{Done, Tx};
    use crate::error::Fault;
    use crate::journal::Line;
    use crate::{Store, StoreConfig, StoreError};
    use pericard_domain::actor::Actor;
    use pericard_domain::time::{StandingClock, Timestamp};
    use std::sync::Arc;

    fn open(dir: &tempfile::TempDir) -> Store {
        let config = StoreConfig {
            dir: dir.path().to_owned(),
            audit_origin: "pericard.test/audit".into(),
            group_commit_window_us: 2000,
            free_space_floor_mib: 1,
        };
        let clock = StandingClock::new(Timestamp::from_millis(0));
        Store::open(config, Arc::new(clock)).expect("opens")
    }

    fn insert(tx: Tx<'_>, uid: &str) -> Result<(), Fault> {
        const INSERT: &str = "-- insert a study\n\
            INSERT INTO studies (uid, state, priority, first_received_at, last_received_at, facts) \
            VALUES (?1, 'arriving', 1, 0, 0, '{}')";
        tx.change(INSERT, [uid]).map(drop)
    }

    fn line() -> Line {
        Line::new("insert", "a study", Actor::CommandLine)
    }

    async fn count(store: &Store) -> (usize, usize) {
        let studies = store.studies(100, 0).await.expect("studies").len();
        let lines = store.audit(Default::default()).await.expect("lines").len();
        (studies, lines)
    }

    #[tokio::test]
    async fn a_change_without_a_line_is_refused_and_undone() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(&dir);
        let silent = store.change("be silent", |tx| {
            insert(tx, "1")?;
            Ok(Done::unchanged(()))
        });
        let refused = silent.await.expect_err("refused").to_string();
        assert!(refused.contains("no audit line"), "{refused}");
        assert_eq!(count(&store).await, (0, 0));
    }

    #[tokio::test]
    async fn in_one_commit_a_failing_change_fails_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(&dir);
        let good = |uid: &'static str| {
            store.change("insert", move |tx| {
                insert(tx, uid)?;
                Ok(Done::said((), line()))
            })
        };
        let late = store.change("fail late", |tx| -> Result<Done<()>, Fault> {
            insert(tx, "2")?;
            Err(StoreError::NotFound("thing").into())
        });
        let panicking = store.change("panic", |tx| -> Result<Done<()>, Fault> {
            insert(tx, "3")?;
            panic!("a bug")
        });
        let (a, late, panicked, same, b) =
            tokio::join!(good("1"), late, panicking, good("1"), good("4"));
        assert_eq!((a, b), (Ok(()), Ok(())));
        assert_eq!(late, Err(StoreError::NotFound("thing")));
        assert!(panicked.is_err() && same.is_err());
        assert_eq!(count(&store).await, (2, 2));
        store.verify_audit().await.expect("a whole log");
    }

    #[tokio::test]
    async fn changes_are_made_in_the_order_in_which_they_came() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(&dir);
        let notes = (0..50).map(|n| {
            let line = Line::new("note", n.to_string(), Actor::CommandLine);
            let store = store.clone();
            async move { store.change("note", |_| Ok(Done::said((), line))).await }
        });
        let mut answers = tokio::task::JoinSet::new();
        notes.for_each(|note| drop(answers.spawn(note)));
        answers.join_all().await;
        let lines = store.audit(Default::default()).await.expect("lines");
        let subjects: Vec<_> = lines.iter().map(|line| line.subject.clone()).collect();
        let expected: Vec<_> = (0..50).map(|n| n.to_string()).collect();
        assert_eq!(subjects, expected);
    }
}
