//! Studies and what the models found in them. Patient data: every reading of it is written into the audit log first.

use super::{orders, reviews};
use crate::access::Caller;
use crate::appliance::Api;
use crate::asked::{Asked, id};
use crate::origin::origin;
use crate::problem::Problem;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use http::{HeaderMap, Uri};
use pericard_domain::study::Study;
use pericard_domain::uid::{InstanceUid, StudyUid};
use pericard_store::KeptReport;
use serde_json::{Value, json};
use std::collections::HashMap;

pub(crate) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    asked: Asked,
) -> Result<Json<Value>, Problem> {
    let (limit, offset) = (asked.limit()?, asked.offset()?);
    api.note_access("list studies", "all", &caller).await?;
    let studies = api.rooms.store.studies(limit, offset).await?;
    let studies: Vec<_> = studies.iter().map(shown).collect();
    Ok(Json(json!({"studies": studies})))
}

pub(crate) async fn show(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(study): Path<String>,
) -> Result<Json<Value>, Problem> {
    let study: StudyUid = id("such study", &study)?;
    let held = api.rooms.store.study(&study).await?;
    api.note_access("read study", study.as_str(), &caller)
        .await?;
    let instances = api.rooms.store.instances(&study).await?;
    let mut body = shown(&held);
    let each = instances.iter().map(|i| {
        json!({
            "instance": i.identity.instance, "series": i.identity.series,
            "sop_class": i.identity.sop_class, "transfer_syntax": i.identity.transfer_syntax,
            "modality": i.facts.modality, "size_bytes": i.size_bytes, "sha256": i.digest,
            "revision": i.revision, "received_at": i.received_at.rfc3339(), "is_result": i.is_result,
        })
    });
    body["objects"] = each.collect();
    body["priors"] = orders::priors(&api.rooms.store.prior_orders(&study).await?);
    Ok(Json(body))
}

pub(crate) async fn results(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(study): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<Value>, Problem> {
    let study: StudyUid = id("such study", &study)?;
    let held = api.rooms.store.study(&study).await?;
    api.note_access("read results", study.as_str(), &caller)
        .await?;
    let reports = api.rooms.store.reports(&study).await?;
    let base = origin(&api.config, &headers, &uri);
    let urls = object_urls(&api, &study, &base).await?;
    let reports: Vec<_> = reports.iter().map(|r| report(r, &urls)).collect();
    Ok(Json(json!({
        "study": study, "state": held.state, "revision": held.revision, "reports": reports,
    })))
}

fn shown(study: &Study) -> Value {
    json!({
        "study": study.study, "state": study.state, "revision": study.revision,
        "instances": study.instances, "results": study.results,
        "first_received_at": study.first_received_at.rfc3339(),
        "last_received_at": study.last_received_at.rfc3339(),
        "facts": study.facts,
    })
}

/// Where each of the study's objects is retrieved from.
async fn object_urls(
    api: &Api,
    study: &StudyUid,
    base: &str,
) -> Result<HashMap<InstanceUid, String>, Problem> {
    let instances = api.rooms.store.instances(study).await?;
    let url = |i: pericard_domain::study::Instance| {
        let series = &i.identity.series;
        let instance = i.identity.instance.clone();
        let url = format!("{base}/dicomweb/studies/{study}/series/{series}/instances/{instance}");
        (instance, url)
    };
    Ok(instances.into_iter().map(url).collect())
}

fn report(kept: &KeptReport, urls: &HashMap<InstanceUid, String>) -> Value {
    let report = &kept.report;
    let objects: Vec<_> = kept
        .objects
        .iter()
        .map(|instance| json!({"instance": instance, "wado_url": urls.get(instance)}))
        .collect();
    json!({
        "model": report.model,
        // Whoever reads this without a viewer sees what a viewer would show: nobody has looked at it yet.
        "verification": "UNVERIFIED",
        "clinical_use": report.clinical_use,
        "revision": report.revision,
        "superseded": kept.superseded,
        "reviews": kept.reviews.iter().map(reviews::said).collect::<Vec<_>>(),
        "device": report.device,
        "at": report.at.rfc3339(),
        "job": kept.job,
        "findings": report.findings,
        "evidence": report.evidence,
        "objects": objects,
    })
}
