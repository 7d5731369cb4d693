//! The end of an assembly: a study is complete at a revision, which is a fixed set of objects.
//!
//! An object that arrives while its study's assembly is being worked on is either in the revision that this assembly
//! makes, or not; in both cases another assembly waits for it afterwards (see `request_assembly`), which makes a further
//! revision only if there is an object that no revision holds, and plans only what is not planned yet.

use super::lease::in_hand;
use super::plan::{self, plan};
use super::queue::{describe, end, subject};
use crate::StoreError;
use crate::change::{Done, Tx};
use crate::error::Fault;
use crate::expect;
use crate::journal::Line;
use crate::prior;
use crate::queue::{Completion, LeasedJob, PlannedInference};
use crate::rows::{self, select_jobs};
use crate::sql::json as json_of;
use crate::store::Store;
use pericard_domain::actor::Actor;
use pericard_domain::job::{Priority, Work};
use pericard_domain::uid::StudyUid;
use serde_json::json;

impl Store {
    /// Ends an assembly: the study is complete at its next revision, these inferences wait, and those of older revisions
    /// that nobody has begun are cancelled.
    /// Returns the new revision; the old one when no object came since.
    ///
    /// # Errors
    /// [`StoreError::LeaseLapsed`]; [`StoreError::Conflict`] when the job is no assembly.
    pub async fn complete_study(
        &self,
        job: &LeasedJob,
        completion: impl Into<Completion>,
    ) -> Result<u32, StoreError> {
        let (job, completion) = (job.clone(), completion.into());
        self.change("complete study", move |tx| complete(tx, &job, &completion))
            .await
    }
}

fn complete(tx: Tx<'_>, job: &LeasedJob, completion: &Completion) -> Result<Done<u32>, Fault> {
    const COMPLETE: &str = "-- complete study\n\
        UPDATE studies SET state = ?2, revision = ?3 WHERE id = ?1";
    const REVISION: &str = "-- read revision\nSELECT revision FROM studies WHERE id = ?1";
    let row = in_hand(tx, job)?;
    let Work::Assemble { study } = &row.job.work else {
        let reason = format!("job {} is not an assembly", row.job.id);
        return Err(StoreError::Conflict(reason).into());
    };
    let revision: u32 = tx.one(REVISION, [row.study_id], |r| r.get(0))?.unwrap_or(0);
    let joined = join(tx, row.study_id, revision + 1)?;
    let revision = if joined > 0 { revision + 1 } else { revision };
    let superseded = match joined {
        0 => Vec::new(),
        _ => supersede(tx, row.study_id, revision)?,
    };
    let priority = arrived(tx, row.study_id, study)?;
    let mut not_before = tx.now;
    // What is planned already does not wait again.
    for terms in completion.priors.iter().filter(|_| joined > 0) {
        let deadline = prior::order(tx, (row.study_id, revision), terms)?;
        not_before = not_before.max(deadline);
    }
    let mut new = Vec::new();
    for inference in &completion.planned {
        let urgent = PlannedInference {
            priority: priority.map_or(inference.priority, |p| p.min(inference.priority)),
            ..inference.clone()
        };
        if plan(tx, (row.study_id, revision), &urgent, not_before)? {
            new.push(plan::describe(&urgent));
        }
    }
    let state = if row.more_at.is_some() {
        "arriving"
    } else {
        "complete"
    };
    tx.change(COMPLETE, (row.study_id, state, revision))?;
    end(tx, &row, completion.lacks.as_ref())?;
    let mut detail = json!({ "revision": revision, "objects_joined": joined, "planned": new });
    if joined > 0 {
        detail["priors"] = json!(completion.priors);
    }
    if let Some(because) = &completion.because {
        detail["because"] = json!(because);
    }
    if not_before > tx.now {
        detail["waits_for_priors_until"] = json!(not_before.rfc3339());
    }
    let by = Actor::room("jobs");
    let line = Line::new("complete study", format!("study {study}"), by).with(detail);
    let lacks = completion.lacks.as_ref();
    let lacks = lacks.map(|failure| super::lease::line("fail job", &row, failure));
    let more = superseded.into_iter().chain(lacks).collect();
    Ok(Done::said(revision, line).and_all(more).waking())
}

/// The orders about the study have arrived; gives how urgent they are.
fn arrived(tx: Tx<'_>, study_id: i64, study: &StudyUid) -> Result<Option<Priority>, Fault> {
    const FACTS: &str = "-- read facts of study\nSELECT facts FROM studies WHERE id = ?1";
    let facts = tx.one(FACTS, [study_id], |row| json_of(row, "facts"))?;
    expect::arrived(tx, study, &facts.unwrap_or_default())
}

/// Cancels the inferences of older revisions that nobody has begun: what they would say is superseded already.
fn supersede(tx: Tx<'_>, study_id: i64, revision: u32) -> Result<Vec<Line>, Fault> {
    const WAITING: &str = select_jobs!(
        "find superseded inferences",
        "WHERE j.study_id = ?1 AND j.kind = 'infer' AND j.state = 'waiting' AND j.revision < ?2 ORDER BY j.id"
    );
    const CANCEL: &str = "-- cancel superseded inference\n\
        UPDATE jobs SET state = 'cancelled', ended_at = ?2 WHERE id = ?1";
    let waiting = tx.all(WAITING, (study_id, revision), rows::job)?;
    let lines = waiting.iter().map(|job| {
        tx.change(CANCEL, (job.id.0, tx.now.as_millis()))?;
        let mut detail = describe(job);
        detail["superseded_by"] = json!(revision);
        Ok(Line::new("cancel job", subject(job), Actor::room("jobs")).with(detail))
    });
    lines.collect()
}

/// Lets the objects that no revision holds yet join this one, and those that were replaced leave it. Gives how many
/// joined; when none did, nothing is changed.
fn join(tx: Tx<'_>, study_id: i64, revision: u32) -> Result<usize, Fault> {
    const JOIN: &str = "-- join revision\n\
        UPDATE instances SET joined_revision = ?2 \
        WHERE study_id = ?1 AND joined_revision IS NULL AND is_result = 0 AND is_latest = 1";
    const LEAVE: &str = "-- leave revision\n\
        UPDATE instances SET left_revision = ?2 \
        WHERE study_id = ?1 AND is_latest = 0 AND joined_revision < ?2 AND left_revision IS NULL";
    let joined = tx.change(JOIN, (study_id, revision))?;
    if joined > 0 {
        tx.change(LEAVE, (study_id, revision))?;
    }
    Ok(joined)
}
