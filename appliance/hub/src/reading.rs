//! The API: what the hub knows, as JSON and CSV. Every route stands once, in one table, from which the OpenAPI document is made
//! too. Nothing is changed here but enrolments (`enrolling`): who changes something else does so on the hub's own machine, or
//! on its pages.

use crate::enrolling;
use crate::evaluation::scorecard;
use crate::figures::Estimate;
use crate::findings::findings;
use crate::openapi;
use crate::outlook::{Live, Outlook, TrendWeek, middle, trends};
use crate::problem::Problem;
use crate::records::{Received, Snapshot, Viewer};
use crate::site::Site;
use crate::weeks::{ROWS_MAX, Row, Wanted, csv, is_shown, rows};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use http::{StatusCode, header};
use pericard_frame::{Stage, layout};
use serde_json::{Value, json};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody.
    Open,
    /// Whoever shows a token; each sees what it may.
    Token,
    /// Whoever shows a token of a national role: it is about all hospitals, and no part of it is one hospital's own.
    National,
    /// Whoever shows an admin's token.
    Admin,
}

/// One route.
pub(crate) struct Route {
    pub(crate) path: &'static str,
    /// `get`, or `post` where something is changed.
    pub(crate) verb: &'static str,
    pub(crate) access: Access,
    pub(crate) summary: &'static str,
    pub(crate) produces: &'static str,
    pub(crate) handler: fn() -> MethodRouter<Site>,
}

const JSON: &str = "application/json";
const CSV: &str = "text/csv";
const PARQUET: &str = "application/vnd.apache.parquet";

/// Every route of the API.
#[rustfmt::skip] // a table
pub(crate) fn table() -> Vec<Route> {
    use Access::{Admin, National, Open, Token};
    let route = |path, access, summary, produces, handler| Route { path, verb: "get", access, summary, produces, handler };
    let change = |path, access, summary, handler| Route { verb: "post", ..route(path, access, summary, JSON, handler) };
    vec![
        route("/healthz", Open, "The process is alive", "text/plain", || get(async || "ok\n")),
        route("/readyz", Open, "The database can be read, and frames are taken", JSON, || get(ready)),
        route("/hub/v1/openapi.json", Open, "This document", JSON, || get(async || Json(openapi::document()))),
        route(ENROLMENTS, Admin, "Requests for enrolment that wait or were granted", JSON, || get(enrolling::list)),
        change(ENROLMENTS, Open, "A hospital asks to be enrolled, and waits until an admin decides", || post(enrolling::ask)),
        change(GRANT, Admin, "Grant a request: the hospital is enrolled, and the note goes back to it", || post(enrolling::grant)),
        change(REFUSE, Admin, "Refuse a request", || post(enrolling::refuse)),
        route("/hub/v1/hospitals", Token, "Hospitals, with when each was heard last", JSON, || get(hospitals)),
        route("/hub/v1/models", Token, "The catalogue of models", JSON, || get(models)),
        route("/hub/v1/advisories", Token, "Recalls and advisories", JSON, || get(advisories)),
        route("/hub/v1/alarms", Token, "What was refused and should be looked into", JSON, || get(alarms)),
        route("/hub/v1/witness", Token, "How far each hospital's audit log is witnessed", JSON, || get(witness)),
        route(FINDINGS, Token, "What somebody should look into, the gravest first", JSON, || get(found)),
        route(EVALUATIONS, National, "Evaluation plans, and what hospitals measured, together", JSON, || get(evaluations)),
        route(ESTIMATES, Token, "How each model does, week by week, in all hospitals together, with intervals", JSON, || get(estimates)),
        route(OPERATION, Token, "How each hospital's appliance ran, week by week: hours, how busy, how long each stage took", JSON, || get(operation)),
        route(WEEKS, Token, "What each model did in each hospital's weeks; small cells left out", JSON, || get(weeks)),
        route(WEEKS_CSV, Token, "The same for researchers", CSV, || get(weeks_csv)),
        route(WEEKS_PARQUET, Token, "The same with the columns' types", PARQUET, || get(weeks_parquet)),
    ]
}

pub(crate) const ENROLMENTS: &str = "/hub/v1/enrolments";
pub(crate) const GRANT: &str = "/hub/v1/enrolments/{number}/grant";
pub(crate) const REFUSE: &str = "/hub/v1/enrolments/{number}/refuse";
pub(crate) const FINDINGS: &str = "/hub/v1/findings";
pub(crate) const EVALUATIONS: &str = "/hub/v1/evaluations";
/// Takes the hospital and the weeks of [`Wanted`].
pub(crate) const OPERATION: &str = "/hub/v1/operation";
/// Takes the model and the weeks of [`Wanted`].
pub(crate) const ESTIMATES: &str = "/hub/v1/estimates";
/// Routes that take the questions of [`Wanted`].
pub(crate) const WEEKS: &str = "/hub/v1/weeks";
pub(crate) const WEEKS_CSV: &str = "/hub/v1/weeks.csv";
pub(crate) const WEEKS_PARQUET: &str = "/hub/v1/weeks.parquet";

type Asked = Result<Query<Wanted>, QueryRejection>;

async fn ready(State(site): State<Site>) -> (StatusCode, Json<Value>) {
    let reads = tokio::task::spawn_blocking(move || site.hub().store().is_readable());
    let is_ready = reads.await.unwrap_or(false);
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(json!({"ready": is_ready})))
}

async fn hospitals(State(site): State<Site>, Extension(viewer): Extension<Viewer>) -> Json<Value> {
    let now = site.hub().records().snapshot();
    let seen = now.hospitals.iter().filter(|h| viewer.sees(h.number));
    let each = seen.map(|hospital| {
        let last = now.frames.iter().rev().find(|f| f.appliance == hospital.number);
        json!({
            "number": hospital.number, "name": hospital.name, "enrolled_at_s": hospital.enrolled_at_s,
            "suspended": hospital.suspended, "last_week": last.map(|f| f.week),
            "last_sequence": last.map(|f| f.sequence), "last_received_at_s": last.map(|f| f.received_at_s),
        })
    });
    Json(each.collect())
}

async fn models(State(site): State<Site>) -> Json<Value> {
    let now = site.hub().records().snapshot();
    let each = now.models.iter().map(|model| {
        json!({
            "id": model.id, "name": model.name, "version": model.version, "sha256": hex::encode(model.digest),
        })
    });
    Json(each.collect())
}

async fn advisories(State(site): State<Site>) -> Json<Value> {
    let now = site.hub().records().snapshot();
    let each = now.advisories.iter().map(|issued| {
        let advisory = &issued.advisory;
        json!({
            "number": advisory.number, "kind": advisory.kind.meaning(), "model": advisory.model,
            "issued_at_s": advisory.issued_at_s, "cause": advisory.cause.meaning(), "text": issued.text,
        })
    });
    Json(each.collect())
}

async fn alarms(State(site): State<Site>, Extension(viewer): Extension<Viewer>) -> Json<Value> {
    let now = site.hub().records().snapshot();
    let seen = now
        .alarms
        .iter()
        .filter(|alarm| viewer.sees(alarm.appliance));
    // Numbers go through the nation, and would tell a hospital how many others have.
    let is_national = viewer.is_national();
    let each = seen.map(|alarm| {
        json!({
            "number": is_national.then_some(alarm.number), "hospital": alarm.appliance, "at_s": alarm.at_s, "kind": alarm.kind.word(),
            "meaning": alarm.kind.meaning(), "sequence": alarm.sequence, "closed_at_s": alarm.closed_at_s,
        })
    });
    Json(each.collect())
}

async fn witness(State(site): State<Site>, Extension(viewer): Extension<Viewer>) -> Json<Value> {
    let now = site.hub().records().snapshot();
    let seen = now.witnessed.iter().filter(|w| viewer.sees(w.appliance));
    let each = seen.map(|witnessed| {
        json!({
            "hospital": witnessed.appliance, "size": witnessed.size, "root": hex::encode(witnessed.root),
            "cosigned_at_s": witnessed.cosigned_at_s,
        })
    });
    Json(each.collect())
}

async fn found(State(site): State<Site>, Extension(viewer): Extension<Viewer>) -> Json<Value> {
    let now = site.hub().records().snapshot();
    let outlook = Outlook::of(&now, viewer);
    let each = findings(&now, &outlook, viewer);
    let each = each.into_iter().map(|finding| {
        json!({
            "kind": finding.kind.word(), "meaning": finding.kind.meaning(), "hospital": finding.hospital,
            "model": finding.model, "since_week": finding.since_week, "why": finding.why,
        })
    });
    Json(each.collect())
}

async fn estimates(
    State(site): State<Site>,
    Extension(viewer): Extension<Viewer>,
    asked: Asked,
) -> Result<Json<Value>, Problem> {
    let wanted = asked_for(asked)?;
    let outlook = Outlook::of(&site.hub().records().snapshot(), viewer);
    let of = |live: &&Live| wanted.hospital.is_none_or(|number| number == live.hospital);
    let lives: Vec<Live> = outlook.lives.iter().filter(of).cloned().collect();
    let trends = trends(&lives).into_iter();
    let trends = trends.filter(|trend| wanted.model.is_none_or(|model| model == trend.model));
    let each = trends.flat_map(|trend| {
        let asked = trend.weeks.into_iter().filter(|week| wanted.has(week.week));
        asked
            .map(move |week| estimated(trend.model, &week))
            .collect::<Vec<_>>()
    });
    Ok(Json(each.collect()))
}

async fn evaluations(State(site): State<Site>) -> Json<Value> {
    let now = site.hub().records().snapshot();
    let each = now.plans.iter().map(|published| {
        let card = scorecard(&now, &published.plan);
        let scores = card.scores.iter().map(|score| {
            json!({
                "metric": score.metric.word(), "hospitals": score.hospitals, "clipped": score.clipped,
                "estimate": estimate(score.estimate), "lowest": estimate(score.range.map(|(low, _)| low)),
                "highest": estimate(score.range.map(|(_, high)| high)),
            })
        });
        let plan = card.plan;
        json!({
            "number": plan.number, "model": plan.model, "threshold_tenth": plan.threshold_tenth,
            "cases_min": plan.cases_min, "issued_at_s": plan.issued_at_s, "until_s": plan.until_s, "text": published.text,
            "scores": scores.collect::<Value>(),
            "told_by": card.outcomes.iter().map(|outcome| outcome.hospital).collect::<Vec<_>>(),
        })
    });
    Json(each.collect())
}

fn estimate(estimate: Option<Estimate>) -> Value {
    estimate.map_or(
        Value::Null,
        |e| json!({"value": e.value, "low": e.low, "high": e.high}),
    )
}

fn estimated(model: u16, week: &TrendWeek) -> Value {
    let shown = week.done.iter().filter(|count| is_shown(**count));
    let done: u64 = shown.clone().sum();
    json!({
        "model": model, "week": week.week, "hospitals": week.hospitals, "done": done,
        "done_left_out": week.done.len() - shown.count(), "told_by": week.told,
        "positivity": estimate(week.pool.positivity()), "concordance": estimate(week.pool.concordance()),
        "distance": week.distance.map(|far| {
            json!({"value": far.value, "low": far.low, "high": far.high, "threshold": far.threshold})
        }),
        "p50_bucket": middle(&week.p50), "p95_bucket": middle(&week.p95),
    })
}

async fn operation(
    State(site): State<Site>,
    Extension(viewer): Extension<Viewer>,
    asked: Asked,
) -> Result<Json<Value>, Problem> {
    let wanted = asked_for(asked)?;
    if wanted.model.is_some() {
        let detail = "ask by hospital, from_week and to_week: how an appliance ran is no model's";
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    let now = site.hub().records().snapshot();
    let seen = now.frames.iter().filter(|f| viewer.sees(f.appliance));
    let asked = seen.filter(|f| wanted.hospital.is_none_or(|number| number == f.appliance));
    let asked = asked.filter(|f| wanted.has(f.week));
    Ok(Json(asked.map(|received| operated(received)).collect()))
}

fn operated(received: &Received) -> Value {
    let frame = &received.frame;
    let stages = Stage::ALL.map(|stage| {
        let bucket = |field| frame.get(field, stage.place());
        json!({
            "stage": stage.name(), "p50_bucket": bucket(&layout::LATENCY_P50), "p95_bucket": bucket(&layout::LATENCY_P95),
            "p99_bucket": bucket(&layout::LATENCY_P99),
        })
    });
    json!({
        "hospital": received.appliance, "week": received.week, "uptime_h": frame.get(&layout::UPTIME_H, 0),
        "cpu_tenths": frame.get(&layout::CPU_BUCKET, 0), "gpu_tenths": frame.get(&layout::GPU_BUCKET, 0).checked_sub(1),
        "stages": stages,
    })
}

async fn weeks(
    State(site): State<Site>,
    Extension(viewer): Extension<Viewer>,
    asked: Asked,
) -> Result<Json<Vec<Row>>, Problem> {
    answered(&site.hub().records().snapshot(), viewer, asked).map(Json)
}

async fn weeks_csv(
    State(site): State<Site>,
    Extension(viewer): Extension<Viewer>,
    asked: Asked,
) -> Result<Response, Problem> {
    let rows = answered(&site.hub().records().snapshot(), viewer, asked)?;
    let text = csv(rows.into_iter());
    Ok(([(header::CONTENT_TYPE, CSV)], text).into_response())
}

async fn weeks_parquet(
    State(site): State<Site>,
    Extension(viewer): Extension<Viewer>,
    asked: Asked,
) -> Result<Response, Problem> {
    let rows = answered(&site.hub().records().snapshot(), viewer, asked)?;
    let written = crate::parquet::parquet(&rows).map_err(|error| {
        tracing::error!(%error, "no Parquet file could be written");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the file could not be written; ask for CSV",
        )
    })?;
    Ok(([(header::CONTENT_TYPE, PARQUET)], written).into_response())
}

fn answered(snapshot: &Snapshot, viewer: Viewer, asked: Asked) -> Result<Vec<Row>, Problem> {
    let wanted = asked_for(asked)?;
    let found: Vec<Row> = rows(snapshot, viewer, wanted).take(ROWS_MAX + 1).collect();
    if found.len() > ROWS_MAX {
        let detail = "these are more than 250000 rows; ask for fewer weeks";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    Ok(found)
}

fn asked_for(asked: Asked) -> Result<Wanted, Problem> {
    let detail = "ask by hospital, model, from_week and to_week, all of them numbers";
    let wanted = asked.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, detail));
    wanted.map(|Query(wanted)| wanted)
}
