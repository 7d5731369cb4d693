//! Review: clinicians say whether a result is right, and the hospital sees how often it is.

use crate::access::Caller;
use crate::appliance::Api;
use crate::asked::{Asked, id};
use crate::body;
use crate::problem::Problem;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use http::HeaderMap;
use pericard_domain::job::JobId;
use pericard_domain::time::Timestamp;
use pericard_domain::uid::StudyUid;
use pericard_store::StoreError;
use pericard_store::review::{Concordance, Review, Verdict};
use pericard_store::week::WEEK_MS;
use serde_json::{Value, json};

/// For the OpenAPI document.
pub(crate) const PARAMETERS: &[(&str, &str)] =
    &[("weeks", "of so many weeks up to now; 13 if unsaid")];
/// A quarter of a year.
const WEEKS: u16 = 13;
/// The 97.5th percentile of the normal distribution: 95 of 100 such intervals hold the true share.
const Z: f64 = 1.959_964;

/// What a body says.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    job: JobId,
    verdict: Verdict,
}

pub(crate) async fn review(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(study): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let study: StudyUid = id("such study", &study)?;
    let body = body::json(&api.config, &headers, body).await?;
    let Said { job, verdict } = Said::read(body)?;
    let by = caller.actor;
    api.rooms.store.review(&study, job, verdict, by).await?;
    Ok(Json(
        json!({"study": study, "job": job, "verdict": verdict}),
    ))
}

impl Said {
    fn read(body: Value) -> Result<Self, Problem> {
        serde_json::from_value(body).map_err(|_| {
            let detail = "the body must be {\"job\": the result's job, \"verdict\": \"agreed\" or \"disagreed\"}";
            Problem::bad_request(detail)
        })
    }
}

/// Reads a review and keeps nothing: for the fuzz targets.
pub(crate) fn read(body: Value) {
    let _ = Said::read(body);
}

pub(crate) async fn concordance(
    State(api): State<Api>,
    asked: Asked,
) -> Result<Json<Value>, Problem> {
    let weeks = asked.value("weeks")?.unwrap_or(WEEKS);
    let counted = counted(&api, weeks).await?;
    let each: Vec<_> = counted.iter().map(shown).collect();
    Ok(Json(json!({"concordance": each})))
}

/// How people judged results of the last weeks, the week at hand with them.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn counted(api: &Api, weeks: u16) -> Result<Vec<Concordance>, StoreError> {
    let now = api.rooms.clock.now().as_millis();
    let from = now.saturating_sub(i64::from(weeks).saturating_mul(WEEK_MS));
    let (from, before) = (
        Timestamp::from_millis(from),
        Timestamp::from_millis(i64::MAX),
    );
    api.rooms.store.concordance(from, before).await
}

/// How people judged results of the last quarter.
///
/// # Errors
/// As [`counted`].
pub(crate) async fn of_quarter(api: &Api) -> Result<Vec<Concordance>, StoreError> {
    counted(api, WEEKS).await
}

/// A review as programs see it.
pub(crate) fn said(review: &Review) -> Value {
    json!({"reviewer": review.reviewer, "verdict": review.verdict, "at": review.at.rfc3339()})
}

/// The share of judged results that were called right, and the Wilson interval around it (95 %): unlike the usual one
/// it stays within 0 and 1 and means something when few were judged. `None` when none was.
pub(crate) fn agreement(counted: &Concordance) -> Option<[f64; 3]> {
    let judged = counted.agreed + counted.disagreed;
    if judged == 0 {
        return None;
    }
    let (n, share) = (judged as f64, counted.agreed as f64 / judged as f64);
    let whole = 1.0 + Z * Z / n;
    let middle = (share + Z * Z / (2.0 * n)) / whole;
    let half = Z / whole * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    Some([share, (middle - half).max(0.0), (middle + half).min(1.0)])
}

fn shown(counted: &Concordance) -> Value {
    let agreement = agreement(counted).map(|[share, low, high]| {
        json!({"share": share, "interval_95_low": low, "interval_95_high": high})
    });
    json!({
        "model": counted.model, "week_begins": counted.week_begins.rfc3339(),
        "agreed": counted.agreed, "disagreed": counted.disagreed, "unreviewed": counted.unreviewed,
        "agreement": agreement,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(agreed: u64, disagreed: u64) -> Concordance {
        Concordance {
            model: pericard_domain::model::ModelRef {
                name: "m".into(),
                version: "1".into(),
                digest: pericard_domain::digest::Digest::new([7; 32]),
            },
            week_begins: Timestamp::from_millis(0),
            agreed,
            disagreed,
            unreviewed: 3,
        }
    }

    /// Figures from the formula (Wilson 1927), worked out apart from this code.
    #[test]
    fn the_interval_is_wilsons() {
        let near = |agreed, disagreed, [low, high]: [f64; 2]| {
            let [_, l, h] = agreement(&judged(agreed, disagreed)).expect("an interval");
            assert!((l - low).abs() < 1e-4 && (h - high).abs() < 1e-4, "{l} {h}");
        };
        near(81, 19, [0.7222, 0.8749]);
        near(10, 0, [0.7225, 1.0]);
        near(0, 1, [0.0, 0.7935]);
        assert_eq!(agreement(&judged(0, 0)), None);
    }
}
