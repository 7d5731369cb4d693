//! The queue and the outbox: ids, states and reasons, without patient data.

use crate::access::Caller;
use crate::appliance::Api;
use crate::asked::{Asked, id};
use crate::problem::Problem;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use pericard_domain::job::{Job, JobId, JobState};
use pericard_domain::time::Timestamp;
use pericard_egress::Counter;
use pericard_store::outbox::DeliveryRow;
use pericard_store::queue::JobQuery;
use serde_json::{Value, json};

/// For the OpenAPI document.
pub(crate) const PARAMETERS: &[(&str, &str)] = &[
    ("study", "only this study's"),
    ("state", "waiting, leased, done, failed or cancelled"),
    ("limit", "at most so many"),
];
/// For the OpenAPI document.
pub(crate) const DELIVERY_PARAMETERS: &[(&str, &str)] = &[
    ("study", "this study's, also those that are delivered"),
    ("limit", "at most so many"),
];

/// The states that jobs can be asked for by.
pub(crate) const STATES: [&str; 5] = ["waiting", "leased", "done", "failed", "cancelled"];

pub(crate) async fn list(State(api): State<Api>, asked: Asked) -> Result<Json<Value>, Problem> {
    let jobs = api.rooms.store.jobs(query(&asked)?).await?;
    let jobs: Vec<_> = jobs.iter().map(shown).collect();
    Ok(Json(json!({"jobs": jobs})))
}

/// Which jobs are asked for.
pub(crate) fn query(asked: &Asked) -> Result<JobQuery, Problem> {
    let state = asked.text("state").map(str::to_owned);
    if state.as_deref().is_some_and(|s| !STATES.contains(&s)) {
        let detail = format!("\"state\" must be one of {}", STATES.join(", "));
        return Err(Problem::parameter("state", detail));
    }
    Ok(JobQuery {
        study: asked.value("study")?,
        state,
        limit: asked.limit()?,
    })
}

pub(crate) async fn show(
    State(api): State<Api>,
    Path(job): Path<String>,
) -> Result<Json<Value>, Problem> {
    let job = api.rooms.store.job(job_id(&job)?).await?;
    Ok(Json(shown(&job)))
}

pub(crate) async fn retry(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(job): Path<String>,
) -> Result<Json<Value>, Problem> {
    let job = api
        .rooms
        .store
        .retry_job(job_id(&job)?, caller.actor)
        .await?;
    Ok(Json(shown(&job)))
}

pub(crate) async fn cancel(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(job): Path<String>,
) -> Result<Json<Value>, Problem> {
    let job = api
        .rooms
        .store
        .cancel_job(job_id(&job)?, caller.actor)
        .await?;
    api.rooms.meter.count(Counter::JobsCancelled);
    Ok(Json(shown(&job)))
}

pub(crate) async fn deliveries(
    State(api): State<Api>,
    asked: Asked,
) -> Result<Json<Value>, Problem> {
    let study = asked.value("study")?;
    let rows = api
        .rooms
        .store
        .deliveries(study.as_ref(), asked.limit()?)
        .await?;
    let rows: Vec<_> = rows.iter().map(delivery).collect();
    Ok(Json(json!({"deliveries": rows})))
}

pub(crate) fn job_id(text: &str) -> Result<JobId, Problem> {
    id("such job", text).map(JobId)
}

/// A job with its times as people read them.
fn shown(job: &Job) -> Value {
    let mut shown = json!({
        "id": job.id, "work": job.work, "study": job.work.study(), "priority": job.priority,
        "state": job.state.name(), "attempts": job.attempts, "last_failure": job.last_failure,
        "created_at": job.created_at.rfc3339(), "ended_at": job.ended_at.map(Timestamp::rfc3339),
    });
    match &job.state {
        JobState::Waiting { due_at } => shown["due_at"] = json!(due_at.rfc3339()),
        JobState::Leased { until } => shown["leased_until"] = json!(until.rfc3339()),
        JobState::Failed { failure } => shown["failure"] = json!(failure),
        JobState::Done | JobState::Cancelled => {}
    }
    shown
}

fn delivery(row: &DeliveryRow) -> Value {
    json!({
        "id": row.id, "study": row.study, "instance": row.instance, "destination": row.destination,
        "state": row.state, "attempts": row.attempts, "last_trouble": row.last_trouble,
        "delivered_at": row.delivered_at.map(Timestamp::rfc3339),
    })
}
