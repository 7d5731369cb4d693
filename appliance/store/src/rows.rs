//! Rows as words of the domain.

use crate::sql::{closed, json, json_if, time, time_if, word};
use pericard_domain::digest::Digest;
use pericard_domain::job::{Failure, FailureClass, Job, JobId, JobState, Priority, Work};
use pericard_domain::model::ModelRef;
use pericard_domain::rule::ResultTerms;
use pericard_domain::study::{Instance, ObjectIdentity, Study, StudyState};
use pericard_domain::time::Timestamp;
use rusqlite::Row;

/// A statement over the columns that [`instance`] reads.
macro_rules! select_instances {
    ($name:literal, $rest:literal) => {
        concat!(
            "-- ",
            $name,
            "\nSELECT i.*, s.uid AS study_uid FROM instances i JOIN studies s ON s.id = i.study_id ",
            $rest
        )
    };
}
pub(crate) use select_instances;

/// A statement over the columns that [`job`] reads.
macro_rules! select_jobs {
    ($name:literal, $rest:literal) => {
        concat!(
            "-- ",
            $name,
            "\nSELECT j.*, s.uid AS study_uid FROM jobs j JOIN studies s ON s.id = j.study_id ",
            $rest
        )
    };
}
pub(crate) use select_jobs;

pub(crate) fn instance(row: &Row<'_>) -> rusqlite::Result<Instance> {
    Ok(Instance {
        identity: ObjectIdentity {
            study: word(row, "study_uid")?,
            series: word(row, "series_uid")?,
            instance: word(row, "uid")?,
            sop_class: word(row, "sop_class")?,
            transfer_syntax: word(row, "transfer_syntax")?,
        },
        facts: json(row, "facts")?,
        digest: row.get("digest").map(Digest::new)?,
        size_bytes: row.get::<_, i64>("size_bytes")?.unsigned_abs(),
        revision: row.get("revision")?,
        received_at: time(row, "received_at")?,
        is_result: row.get("is_result")?,
    })
}

pub(crate) fn study(row: &Row<'_>) -> rusqlite::Result<Study> {
    Ok(Study {
        study: word(row, "uid")?,
        state: closed(row, "state", |text| match text {
            "arriving" => Some(StudyState::Arriving),
            "complete" => Some(StudyState::Complete),
            _ => None,
        })?,
        revision: row.get("revision")?,
        instances: row.get("instances")?,
        results: row.get("results")?,
        first_received_at: time(row, "first_received_at")?,
        last_received_at: time(row, "last_received_at")?,
        facts: json(row, "facts")?,
    })
}

/// A job and the columns that only the store looks at.
#[derive(Debug, Clone)]
pub(crate) struct JobRow {
    pub(crate) job: Job,
    pub(crate) study_id: i64,
    pub(crate) lease_id: Option<i64>,
    pub(crate) attempts_max: Option<u32>,
    pub(crate) more_at: Option<Timestamp>,
    pub(crate) destinations: Vec<String>,
    pub(crate) messages: Vec<String>,
    pub(crate) terms: Option<ResultTerms>,
}

pub(crate) fn job_row(row: &Row<'_>) -> rusqlite::Result<JobRow> {
    Ok(JobRow {
        job: job(row)?,
        study_id: row.get("study_id")?,
        lease_id: row.get("lease_id")?,
        attempts_max: row.get("attempts_max")?,
        more_at: time_if(row, "more_at")?,
        destinations: json(row, "destinations")?,
        messages: json(row, "messages")?,
        terms: json_if(row, "terms")?,
    })
}

pub(crate) fn job(row: &Row<'_>) -> rusqlite::Result<Job> {
    let last_failure = failure(row)?;
    let no_reason = || Failure {
        class: FailureClass::Internal,
        reason: "no reason was kept".into(),
    };
    let state: String = row.get("state")?;
    let state = match state.as_str() {
        "leased" => JobState::Leased {
            until: time_if(row, "leased_until")?.unwrap_or(Timestamp::from_millis(0)),
        },
        "done" => JobState::Done,
        "failed" => JobState::Failed {
            failure: last_failure.clone().unwrap_or_else(no_reason),
        },
        "cancelled" => JobState::Cancelled,
        // The table holds these five and no other.
        _ => JobState::Waiting {
            due_at: time(row, "due_at")?,
        },
    };
    Ok(Job {
        id: JobId(row.get("id")?),
        work: work(row)?,
        priority: priority(row, "priority")?,
        state,
        attempts: row.get("attempts")?,
        last_failure,
        created_at: time(row, "created_at")?,
        ended_at: time_if(row, "ended_at")?,
    })
}

fn work(row: &Row<'_>) -> rusqlite::Result<Work> {
    let study = word(row, "study_uid")?;
    let kind: String = row.get("kind")?;
    if kind == "assemble" {
        return Ok(Work::Assemble { study });
    }
    Ok(Work::Infer {
        study,
        revision: row.get("revision")?,
        model: ModelRef {
            name: row.get("model_name")?,
            version: row.get("model_version")?,
            digest: row.get("model_digest").map(Digest::new)?,
        },
        rule: row.get("rule")?,
    })
}

fn failure(row: &Row<'_>) -> rusqlite::Result<Option<Failure>> {
    let Some(reason) = row.get("failure")? else {
        return Ok(None);
    };
    let class = closed(row, "failure_class", class_named)?;
    Ok(Some(Failure { class, reason }))
}

/// The class's name in the database and in audit lines: as in JSON.
pub(crate) const fn class_name(class: FailureClass) -> &'static str {
    match class {
        FailureClass::UnsuitableInput => "unsuitable_input",
        FailureClass::Undecodable => "undecodable",
        FailureClass::ModelUnavailable => "model_unavailable",
        FailureClass::ModelFailed => "model_failed",
        FailureClass::WorkerLost => "worker_lost",
        FailureClass::Internal => "internal",
    }
}

fn class_named(name: &str) -> Option<FailureClass> {
    use FailureClass::{Internal, ModelFailed, ModelUnavailable};
    use FailureClass::{Undecodable, UnsuitableInput, WorkerLost};
    let all = [
        UnsuitableInput,
        Undecodable,
        ModelUnavailable,
        ModelFailed,
        WorkerLost,
        Internal,
    ];
    all.into_iter().find(|class| class_name(*class) == name)
}

/// The priority's number in the database: its order of service.
pub(crate) const fn rank(priority: Priority) -> i64 {
    match priority {
        Priority::Stat => 0,
        Priority::Routine => 1,
        Priority::Batch => 2,
    }
}

pub(crate) fn priority(row: &Row<'_>, column: &str) -> rusqlite::Result<Priority> {
    let rank: i64 = row.get(column)?;
    Ok(match rank {
        0 => Priority::Stat,
        1 => Priority::Routine,
        _ => Priority::Batch,
    })
}
