//! The end of an inference: its results are kept and put into the outbox, in one commit.

use super::keep::{self, Placed};
use super::lease::{in_hand, line};
use super::queue::{describe, end, find, subject};
use crate::StoreError;
use crate::change::{Done, Tx};
use crate::error::Fault;
use crate::journal::Line;
use crate::message;
use crate::object::Sealed;
use crate::queue::{Conclusion, LeasedJob, ResultFile};
use crate::rows::{self, JobRow, rank, select_jobs};
use crate::sql::to_json;
use crate::store::Store;
use crate::writer::{Placement, Settler, answered};
use pericard_domain::actor::Actor;
use pericard_domain::finding::Report;
use pericard_domain::job::{Failure, JobState, Work};
use serde_json::json;

impl Store {
    /// Ends an inference with its results: job done, result objects and report kept, outbox lines written, one commit.
    /// A second conclusion of the same (study, revision, model) changes nothing and is not an error.
    ///
    /// # Errors
    /// [`StoreError::LeaseLapsed`]; [`StoreError::Conflict`] when the report or an object is not about the job's own
    /// study, revision and model: a result never reaches another study.
    pub async fn conclude(
        &self,
        job: &LeasedJob,
        conclusion: Conclusion,
    ) -> Result<(), StoreError> {
        const NAME: &str = "conclude job";
        check(job, &conclusion)?;
        // Asked before the files are put in place, so that a late conclusion does not leave them there.
        if !self.is_expected(job).await? {
            return Ok(());
        }
        let (job, report) = (job.clone(), conclusion.report);
        let report_json = to_json(&report)?;
        self.kept(NAME, conclusion.objects, move |tx, objects| {
            conclude(
                tx,
                &Results {
                    job,
                    report,
                    report_json,
                    objects,
                },
            )
        })
        .await
    }

    /// Ends an inference that cannot succeed, with the objects that say so in its study: job failed, objects kept,
    /// outbox lines written, one commit.
    ///
    /// # Errors
    /// [`StoreError::LeaseLapsed`]; [`StoreError::Conflict`] when an object is not of the job's own study.
    pub async fn reject(
        &self,
        job: &LeasedJob,
        failure: Failure,
        objects: Vec<ResultFile>,
    ) -> Result<(), StoreError> {
        let study = job.job.work.study();
        if objects.iter().any(|object| object.identity.study != *study) {
            let reason = format!("an object is not of the study of job {}", job.job.id);
            return Err(StoreError::Conflict(reason));
        }
        if !self.is_expected(job).await? {
            return Ok(());
        }
        let job = job.clone();
        self.kept("reject job", objects, move |tx, objects| {
            reject(tx, &job, &failure, &objects)
        })
        .await
    }

    /// Puts the objects' files in place and makes the change that names them.
    async fn kept(
        &self,
        name: &'static str,
        objects: Vec<ResultFile>,
        change: impl FnOnce(Tx<'_>, Vec<Placed>) -> Result<Done<()>, Fault> + Send + 'static,
    ) -> Result<(), StoreError> {
        let received_at = self.inner.clock.now();
        let layout = self.inner.files.layout();
        let (mut files, mut placed, mut approach) = (Vec::new(), Vec::new(), None);
        for object in objects {
            let uid = object.identity.instance.clone();
            let to = layout.object(received_at, &object.sealed.digest, &uid);
            placed.push(Placed::new(
                object.identity,
                object.facts,
                &object.sealed,
                received_at,
            )?);
            let Sealed {
                staging,
                file,
                approach: on_its_way,
                ..
            } = object.sealed;
            files.push(Settler { staging, file, to });
            approach = Some(on_its_way);
        }
        let (change, answer) = self
            .inner
            .writer
            .queued(name, move |tx| change(tx, placed))
            .await?;
        self.place(Placement {
            files,
            change,
            approach,
        });
        answered(name, answer).await
    }

    /// Whether the job's results are still awaited: `false` when they are kept already.
    async fn is_expected(&self, job: &LeasedJob) -> Result<bool, StoreError> {
        const JOB: &str = select_jobs!("read leased job", "WHERE j.id = ?1");
        let (id, lease_id) = (job.job.id, job.lease_id.cast_signed());
        let found = self.read("read leased job", move |sql| {
            sql.one(JOB, [id.0], rows::job_row)
        });
        let row = found.await?.ok_or(StoreError::NotFound("job"))?;
        match row.job.state {
            JobState::Done => Ok(false),
            JobState::Leased { .. } if row.lease_id == Some(lease_id) => Ok(true),
            _ => Err(StoreError::LeaseLapsed),
        }
    }
}

/// Results, prepared before the writer's turn.
struct Results {
    job: LeasedJob,
    report: Report,
    report_json: String,
    objects: Vec<Placed>,
}

/// A result in the wrong study is the worst that can be delivered.
fn check(job: &LeasedJob, conclusion: &Conclusion) -> Result<(), StoreError> {
    let conflict = |what: &str| {
        let reason = format!("the {what} is not about the study of job {}", job.job.id);
        Err(StoreError::Conflict(reason))
    };
    let Work::Infer {
        study,
        revision,
        model,
        ..
    } = &job.job.work
    else {
        let reason = format!("job {} is not an inference", job.job.id);
        return Err(StoreError::Conflict(reason));
    };
    let report = &conclusion.report;
    if (&report.study, report.revision, &report.model) != (study, *revision, model) {
        return conflict("report, its revision or its model");
    }
    let strays = |object: &ResultFile| object.identity.study != *study;
    if conclusion.objects.iter().any(strays) {
        return conflict("result object");
    }
    Ok(())
}

fn conclude(tx: Tx<'_>, results: &Results) -> Result<Done<()>, Fault> {
    if matches!(find(tx, results.job.job.id)?.job.state, JobState::Done) {
        return Ok(Done::unchanged(()));
    }
    let row = in_hand(tx, &results.job)?;
    let report_id = keep_report(tx, &row, results)?;
    let mut kept = Vec::new();
    for object in &results.objects {
        let instance_id = keep_result(tx, &row, object)?;
        name_in_report(tx, report_id, instance_id)?;
        for destination in &row.destinations {
            post(tx, &row, instance_id, destination)?;
        }
        kept.push(json!({ "instance": object.identity.instance, "sha256": object.digest }));
    }
    message::post(tx, &row)?;
    end(tx, &row, None)?;
    let mut detail = describe(&row.job);
    detail["findings"] = json!(results.report.findings.len());
    detail["objects"] = json!(kept);
    detail["destinations"] = json!(row.destinations);
    let line = Line::new("conclude job", subject(&row.job), Actor::room("jobs")).with(detail);
    Ok(Done::said((), line).waking())
}

fn reject(
    tx: Tx<'_>,
    job: &LeasedJob,
    failure: &Failure,
    objects: &[Placed],
) -> Result<Done<()>, Fault> {
    let row = in_hand(tx, job)?;
    let mut kept = Vec::new();
    for object in objects {
        let instance_id = keep_result(tx, &row, object)?;
        for destination in &row.destinations {
            post(tx, &row, instance_id, destination)?;
        }
        kept.push(json!({ "instance": object.identity.instance, "sha256": object.digest }));
    }
    message::post(tx, &row)?;
    end(tx, &row, Some(failure))?;
    let mut line = line("fail job", &row, failure);
    line.detail["objects"] = json!(kept);
    Ok(Done::said((), line).waking())
}

fn keep_report(tx: Tx<'_>, row: &JobRow, results: &Results) -> Result<i64, Fault> {
    const KEEP: &str = "-- keep report\n\
        INSERT INTO reports (study_id, revision, model_name, model_version, model_digest, job_id, kept_at, report) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let report = &results.report;
    let values = (
        row.study_id,
        report.revision,
        &report.model.name,
        &report.model.version,
        report.model.digest.as_bytes(),
        row.job.id.0,
        tx.now.as_millis(),
        &results.report_json,
    );
    tx.insert(KEEP, values)
}

fn keep_result(tx: Tx<'_>, row: &JobRow, object: &Placed) -> Result<i64, Fault> {
    match keep::held(tx, object)? {
        Some(held) if held.is_same => Ok(held.id),
        held => keep::insert(tx, row.study_id, object, held, true),
    }
}

fn name_in_report(tx: Tx<'_>, report_id: i64, instance_id: i64) -> Result<(), Fault> {
    const NAME: &str = "-- name object in report\n\
        INSERT INTO report_objects (report_id, instance_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    tx.change(NAME, (report_id, instance_id))?;
    Ok(())
}

fn post(tx: Tx<'_>, row: &JobRow, instance_id: i64, destination: &str) -> Result<(), Fault> {
    const POST: &str = "-- post result\n\
        INSERT INTO outbox (study_id, instance_id, destination, priority, state, due_at, created_at) \
        VALUES (?1, ?2, ?3, ?4, 'waiting', ?5, ?5) ON CONFLICT DO NOTHING";
    let (now, priority) = (tx.now.as_millis(), rank(row.job.priority));
    tx.change(
        POST,
        (row.study_id, instance_id, destination, priority, now),
    )?;
    Ok(())
}
