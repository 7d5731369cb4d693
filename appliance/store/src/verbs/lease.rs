//! Leases: who is at work, and for how long. A lease that lapses puts its job back; nobody has to notice a crash.

use super::queue::{describe, end, find, put_back, subject};
use crate::StoreError;
use crate::change::{Done, Tx};
use crate::error::Fault;
use crate::journal::Line;
use crate::queue::{LeaseTerms, LeasedJob};
use crate::rows::{self, JobRow, class_name, rank, select_jobs};
use crate::store::Store;
use pericard_domain::actor::Actor;
use pericard_domain::job::{Failure, FailureClass, JobState, Priority};
use pericard_domain::time::Timestamp;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How many used-up jobs one lease fails on its way to one that can run.
const MAX_USED_UP_PER_LEASE: usize = 64;

impl Store {
    /// Leases the most urgent job that is due: by priority, then by age. `None` when nothing is due.
    /// A job whose attempts are used up is failed instead, visibly.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] and others, when the database failed.
    pub async fn lease(&self, terms: LeaseTerms) -> Result<Option<LeasedJob>, StoreError> {
        self.look();
        self.change("lease job", move |tx| lease(tx, terms)).await
    }

    /// When the next waiting job is due, or the next lease lapses.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        const NEXT: &str = "-- next due\n\
            SELECT min(at) FROM ( \
                SELECT min(due_at) AS at FROM jobs WHERE state = 'waiting' \
                UNION ALL SELECT min(leased_until) FROM jobs WHERE state = 'leased')";
        self.read("next due", |sql| {
            let at = sql.one(NEXT, (), |row| row.get::<_, Option<i64>>(0))?;
            Ok(at.flatten().map(Timestamp::from_millis))
        })
        .await
    }

    /// Resolves when there may be new work (a job was planned, came due by a change, or was retried) or new mail: when
    /// something was changed, by this process or beside it, since this handle last leased or last woke. So nothing is
    /// missed between finding nothing and waiting, as long as each task has a clone of its own.
    pub async fn changed(&self) {
        let mut news = self.inner.news.clone();
        let seen = self.seen.load(Ordering::Relaxed);
        // Copied out at once: the guard must not be held over an await.
        let count = news
            .wait_for(|count| *count != seen)
            .await
            .map(|count| *count);
        match count {
            Ok(count) => self.seen.store(count, Ordering::Relaxed),
            // The writer has ended: there will be no news, and the next verb says why.
            Err(_) => std::future::pending().await,
        }
    }

    /// Gives the lease more time. A lease that lapsed but was not given to anybody else is still the holder's.
    ///
    /// # Errors
    /// [`StoreError::LeaseLapsed`].
    pub async fn renew(&self, job: &LeasedJob, lease: Duration) -> Result<(), StoreError> {
        const RENEW: &str = "-- renew lease\nUPDATE jobs SET leased_until = ?2 WHERE id = ?1";
        let job = job.clone();
        self.change("renew lease", move |tx| {
            let row = in_hand(tx, &job)?;
            let until = tx.now.after(lease).as_millis();
            tx.change(RENEW, (row.job.id.0, until))?;
            Ok(Done::unchanged(()).moving_lease())
        })
        .await
    }

    /// Puts the job back until later; the attempt does not count.
    ///
    /// # Errors
    /// [`StoreError::LeaseLapsed`].
    pub async fn postpone(&self, job: &LeasedJob, due_at: Timestamp) -> Result<(), StoreError> {
        const UNCOUNT: &str = "-- uncount attempt\n\
            UPDATE jobs SET attempts = max(attempts - 1, 0) WHERE id = ?1";
        let job = job.clone();
        self.change("postpone job", move |tx| {
            let row = in_hand(tx, &job)?;
            put_back(tx, &row, due_at, None)?;
            tx.change(UNCOUNT, [row.job.id.0])?;
            Ok(Done::unchanged(()).moving_lease().waking())
        })
        .await
    }

    /// Ends an attempt without results. A transient failure waits for `retry_at` while attempts are left.
    ///
    /// # Errors
    /// [`StoreError::LeaseLapsed`].
    pub async fn fail(
        &self,
        job: &LeasedJob,
        failure: Failure,
        retry_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let job = job.clone();
        self.change("fail job", move |tx| fail(tx, &job, &failure, retry_at))
            .await
    }

    /// Notes how much news there is, before looking for work.
    pub(crate) fn look(&self) {
        let count = *self.inner.news.borrow();
        self.seen.store(count, Ordering::Relaxed);
    }
}

/// The job, if the lease is still the holder's.
pub(crate) fn in_hand(tx: Tx<'_>, job: &LeasedJob) -> Result<JobRow, Fault> {
    let row = find(tx, job.job.id)?;
    let is_leased = matches!(row.job.state, JobState::Leased { .. });
    if is_leased && row.lease_id == Some(job.lease_id.cast_signed()) {
        Ok(row)
    } else {
        Err(StoreError::LeaseLapsed.into())
    }
}

/// A number that no other lease has.
pub(crate) fn new_lease_id() -> Result<i64, StoreError> {
    let random = getrandom::u64().map_err(|error| StoreError::failed("number a lease", error))?;
    Ok((random >> 1).cast_signed())
}

/// Puts back every job whose lease lapsed, or fails it when that was its last attempt; gives the lines that say so.
pub(crate) fn lapse(tx: Tx<'_>, lapsed_by: Timestamp) -> Result<Vec<Line>, Fault> {
    const LAPSED: &str = select_jobs!(
        "find lapsed leases",
        "WHERE j.state = 'leased' AND j.leased_until <= ?1 ORDER BY j.id"
    );
    let lapsed = tx.all(LAPSED, [lapsed_by.as_millis()], rows::job_row)?;
    let lines = lapsed.into_iter().map(|row| {
        let failure = Failure {
            class: FailureClass::WorkerLost,
            reason: "whoever worked on it did not come back".into(),
        };
        if row.attempts_max.is_some_and(|max| row.job.attempts >= max) {
            return use_up(tx, &row, failure);
        }
        put_back(tx, &row, tx.now, Some(&failure))?;
        Ok(line("lapse lease", &row, &failure))
    });
    lines.collect()
}

fn lease(tx: Tx<'_>, terms: LeaseTerms) -> Result<Done<Option<LeasedJob>>, Fault> {
    let mut lines = lapse(tx, tx.now)?;
    let mut leased = None;
    for _ in 0..MAX_USED_UP_PER_LEASE {
        let Some(row) = most_urgent(tx)? else { break };
        if row.job.attempts < terms.attempts_max {
            leased = Some(give(tx, &row, terms)?);
            break;
        }
        let failure = row.job.last_failure.clone().unwrap_or(Failure {
            class: FailureClass::WorkerLost,
            reason: "whoever worked on it did not come back".into(),
        });
        lines.push(use_up(tx, &row, failure)?);
    }
    let moved = leased.is_some();
    let done = Done::unchanged(leased).and_all(lines);
    Ok(if moved { done.moving_lease() } else { done })
}

/// The first job that is due, class by class: each is one step in the index.
fn most_urgent(tx: Tx<'_>) -> Result<Option<JobRow>, Fault> {
    const DUE: &str = select_jobs!(
        "find due job",
        "WHERE j.state = 'waiting' AND j.priority = ?1 AND j.due_at <= ?2 ORDER BY j.due_at, j.id LIMIT 1"
    );
    for priority in Priority::ALL {
        let values = (rank(priority), tx.now.as_millis());
        let found = tx.one(DUE, values, rows::job_row)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn give(tx: Tx<'_>, row: &JobRow, terms: LeaseTerms) -> Result<LeasedJob, Fault> {
    const GIVE: &str = "-- give lease\n\
        UPDATE jobs SET state = 'leased', lease_id = ?2, leased_until = ?3, attempts = attempts + 1, \
            attempts_max = ?4, more_at = NULL \
        WHERE id = ?1";
    let lease_id = new_lease_id()?;
    let until = tx.now.after(terms.lease);
    let values = (
        row.job.id.0,
        lease_id,
        until.as_millis(),
        terms.attempts_max,
    );
    tx.change(GIVE, values)?;
    let JobRow { job, terms, .. } = find(tx, row.job.id)?;
    Ok(LeasedJob {
        job,
        lease_id: lease_id.cast_unsigned(),
        until,
        terms,
    })
}

fn fail(
    tx: Tx<'_>,
    job: &LeasedJob,
    failure: &Failure,
    retry_at: Option<Timestamp>,
) -> Result<Done<()>, Fault> {
    let row = in_hand(tx, job)?;
    let has_more = row.attempts_max.is_none_or(|max| row.job.attempts < max);
    let line = match retry_at {
        Some(at) if failure.class.is_transient() && has_more => {
            put_back(tx, &row, at, Some(failure))?;
            line("put job back", &row, failure)
        }
        _ if failure.class.is_transient() && !has_more => use_up(tx, &row, failure.clone())?,
        _ => {
            end(tx, &row, Some(failure))?;
            line("fail job", &row, failure)
        }
    };
    Ok(Done::said((), line).waking())
}

/// Fails a job that has no attempt left.
fn use_up(tx: Tx<'_>, row: &JobRow, last: Failure) -> Result<Line, Fault> {
    let attempts = row.job.attempts;
    let failure = Failure {
        class: last.class,
        reason: format!(
            "none of {attempts} attempts succeeded; the last: {}",
            last.reason
        ),
    };
    end(tx, row, Some(&failure))?;
    tracing::warn!(job = %row.job.id, class = class_name(failure.class), "a job has no attempt left");
    Ok(line("fail job", row, &failure))
}

pub(super) fn line(verb: &'static str, row: &JobRow, failure: &Failure) -> Line {
    let mut detail = describe(&row.job);
    detail["class"] = json!(class_name(failure.class));
    detail["reason"] = json!(failure.reason);
    Line::new(verb, subject(&row.job), Actor::room("jobs")).with(detail)
}
