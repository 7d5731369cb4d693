//! Jobs: how one is asked for, put back, ended and shown.

use crate::StoreError;
use crate::change::{Done, Tx};
use crate::error::Fault;
use crate::journal::Line;
use crate::queue::JobQuery;
use crate::rows::{self, JobRow, class_name, select_jobs};
use crate::store::Store;
use pericard_domain::actor::Actor;
use pericard_domain::job::{Failure, Job, JobId, JobState, Work};
use pericard_domain::time::Timestamp;
use rusqlite::named_params;
use serde_json::json;

/// How many jobs a list has when no limit is said.
const LISTED_JOBS: u32 = 100;

impl Store {
    /// Puts a failed or cancelled job back into the queue with fresh attempts.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Conflict`] when it neither failed nor was cancelled, or when it is an
    /// assembly and the study's next one waits already.
    pub async fn retry_job(&self, id: JobId, by: Actor) -> Result<Job, StoreError> {
        self.change("retry job", move |tx| retry(tx, id, by)).await
    }

    /// Cancels a waiting job.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Conflict`] when it does not wait.
    pub async fn cancel_job(&self, id: JobId, by: Actor) -> Result<Job, StoreError> {
        self.change("cancel job", move |tx| cancel(tx, id, by))
            .await
    }

    /// Jobs, latest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn jobs(&self, query: JobQuery) -> Result<Vec<Job>, StoreError> {
        const JOBS: &str = select_jobs!(
            "list jobs",
            "WHERE (?1 IS NULL OR s.uid = ?1) AND (?2 IS NULL OR j.state = ?2) ORDER BY j.id DESC LIMIT ?3"
        );
        let limit = if query.limit == 0 {
            LISTED_JOBS
        } else {
            query.limit
        };
        self.read("list jobs", move |sql| {
            let study = query.study.as_ref().map(|study| study.as_str());
            sql.all(JOBS, (study, &query.state, limit), rows::job)
        })
        .await
    }

    /// A job.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn job(&self, id: JobId) -> Result<Job, StoreError> {
        const JOB: &str = select_jobs!("read job", "WHERE j.id = ?1");
        let found = self.read("read job", move |sql| sql.one(JOB, [id.0], rows::job));
        found.await?.ok_or(StoreError::NotFound("job"))
    }
}

/// The job of that number.
pub(crate) fn find(tx: Tx<'_>, id: JobId) -> Result<JobRow, Fault> {
    const FIND: &str = select_jobs!("find job", "WHERE j.id = ?1");
    let found = tx.one(FIND, [id.0], rows::job_row)?;
    Ok(found.ok_or(StoreError::NotFound("job"))?)
}

/// What an audit line calls a job.
pub(crate) fn subject(job: &Job) -> String {
    format!("job {} study {}", job.id, job.work.study())
}

/// What an audit line says of a job's work.
pub(crate) fn describe(job: &Job) -> serde_json::Value {
    match &job.work {
        Work::Assemble { .. } => json!({ "kind": "assemble", "attempts": job.attempts }),
        Work::Infer {
            revision,
            model,
            rule,
            ..
        } => json!({
            "kind": "infer",
            "revision": revision,
            "model": model.name,
            "version": model.version,
            "sha256": model.digest,
            "rule": rule,
            "attempts": job.attempts,
        }),
    }
}

/// An assembly to be asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewAssembly {
    pub(crate) study_id: i64,
    pub(crate) due_at: Timestamp,
}

/// Asks for the study's assembly. One that waits is put off until the new time. One that is being worked on may already
/// have looked: it is left alone, and when it ends another waits from then (`more_at`), so no object is ever forgotten.
pub(crate) fn request_assembly(tx: Tx<'_>, assembly: NewAssembly) -> Result<(), Fault> {
    const REQUEST: &str = "-- request assembly\n\
        UPDATE jobs SET \
            due_at = iif(state = 'waiting', ?2, due_at), \
            more_at = iif(state = 'leased', ?2, more_at), \
            priority = min(priority, (SELECT priority FROM studies WHERE id = ?1)) \
        WHERE study_id = ?1 AND kind = 'assemble' AND state IN ('waiting', 'leased')";
    let values = (assembly.study_id, assembly.due_at.as_millis());
    if tx.change(REQUEST, values)? == 0 {
        open_assembly(tx, assembly)?;
    }
    Ok(())
}

fn open_assembly(tx: Tx<'_>, assembly: NewAssembly) -> Result<(), Fault> {
    const OPEN: &str = "-- open assembly\n\
        INSERT INTO jobs (kind, study_id, priority, state, due_at, created_at) \
        SELECT 'assemble', id, priority, 'waiting', ?2, ?3 FROM studies WHERE id = ?1";
    let due_at = assembly.due_at.as_millis();
    tx.insert(OPEN, (assembly.study_id, due_at, tx.now.as_millis()))?;
    Ok(())
}

/// Puts a job back into the queue. An assembly that received objects meanwhile waits for them.
pub(crate) fn put_back(
    tx: Tx<'_>,
    row: &JobRow,
    due_at: Timestamp,
    failure: Option<&Failure>,
) -> Result<(), Fault> {
    const PUT_BACK: &str = "-- put job back\n\
        UPDATE jobs SET state = 'waiting', due_at = max(:due_at, coalesce(more_at, :due_at)), more_at = NULL, \
            lease_id = NULL, leased_until = NULL, \
            failure_class = coalesce(:class, failure_class), failure = coalesce(:reason, failure) \
        WHERE id = :id";
    let values = named_params! {
        ":id": row.job.id.0,
        ":due_at": due_at.as_millis(),
        ":class": failure.map(|f| class_name(f.class)),
        ":reason": failure.map(|f| &f.reason),
    };
    tx.change(PUT_BACK, values)?;
    Ok(())
}

/// Ends a job, failed or done. When an assembly received objects while it was worked on, another waits for them.
pub(crate) fn end(tx: Tx<'_>, row: &JobRow, failure: Option<&Failure>) -> Result<(), Fault> {
    const END: &str = "-- end job\n\
        UPDATE jobs SET state = :state, ended_at = :now, lease_id = NULL, leased_until = NULL, more_at = NULL, \
            failure_class = coalesce(:class, failure_class), failure = coalesce(:reason, failure) \
        WHERE id = :id";
    let values = named_params! {
        ":id": row.job.id.0,
        ":state": if failure.is_some() { "failed" } else { "done" },
        ":now": tx.now.as_millis(),
        ":class": failure.map(|f| class_name(f.class)),
        ":reason": failure.map(|f| &f.reason),
    };
    tx.change(END, values)?;
    if let Some(due_at) = row.more_at {
        let study_id = row.study_id;
        open_assembly(tx, NewAssembly { study_id, due_at })?;
    }
    Ok(())
}

fn retry(tx: Tx<'_>, id: JobId, by: Actor) -> Result<Done<Job>, Fault> {
    const RETRY: &str = "-- retry job\n\
        UPDATE jobs SET state = 'waiting', due_at = ?2, attempts = 0, interruptions = 0, ended_at = NULL WHERE id = ?1";
    let row = find(tx, id)?;
    if !matches!(row.job.state, JobState::Failed { .. } | JobState::Cancelled) {
        let reason = format!("job {id} is {} and cannot be retried", row.job.state.name());
        return Err(StoreError::Conflict(reason).into());
    }
    let is_assembly = matches!(row.job.work, Work::Assemble { .. });
    if is_assembly && has_open_assembly(tx, row.study_id)? {
        let reason = format!("another assembly of the study of job {id} waits already");
        return Err(StoreError::Conflict(reason).into());
    }
    tx.change(RETRY, (id.0, tx.now.as_millis()))?;
    let job = find(tx, id)?.job;
    let line = Line::new("retry job", subject(&job), by).with(describe(&row.job));
    Ok(Done::said(job, line).waking())
}

fn cancel(tx: Tx<'_>, id: JobId, by: Actor) -> Result<Done<Job>, Fault> {
    const CANCEL: &str = "-- cancel job\n\
        UPDATE jobs SET state = 'cancelled', ended_at = ?2 WHERE id = ?1";
    let row = find(tx, id)?;
    if !matches!(row.job.state, JobState::Waiting { .. }) {
        let reason = format!(
            "job {id} is {} and cannot be cancelled",
            row.job.state.name()
        );
        return Err(StoreError::Conflict(reason).into());
    }
    tx.change(CANCEL, (id.0, tx.now.as_millis()))?;
    let job = find(tx, id)?.job;
    let line = Line::new("cancel job", subject(&job), by).with(describe(&job));
    Ok(Done::said(job, line).waking())
}

fn has_open_assembly(tx: Tx<'_>, study_id: i64) -> Result<bool, Fault> {
    const OPEN: &str = "-- count open assemblies\n\
        SELECT count(*) FROM jobs WHERE study_id = ?1 AND kind = 'assemble' AND state IN ('waiting', 'leased')";
    Ok(tx.count(OPEN, [study_id])? > 0)
}
