//! A workitem is created (PS3.18 section 11.4).

use super::dataset::{self, Attributes};
use super::{FILTERED, GLOBAL, Handled, search};
use crate::access::Caller;
use crate::appliance::Api;
use crate::origin::origin;
use crate::problem::Problem;
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use http::{StatusCode, header};
use pericard_domain::uid::{InstanceUid, StudyUid};
use pericard_domain::workitem::WorkitemState;
use pericard_store::workitem::{NewWorkitem, Workitem};
use serde_json::Value;
use std::collections::BTreeMap;

/// Unified Procedure Step - Push: what every workitem is an instance of.
const UPS_PUSH: &str = "1.2.840.10008.5.1.4.34.6.1";

pub(crate) async fn create(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Handled {
    let (parts, body) = request.into_parts();
    let named = dataset::uid_of_query(&parts.uri, &["workitem", "AffectedSOPInstanceUID"])?;
    let mut dataset = dataset::of_body(&api, &parts.headers, body).await?;
    let uid = uid(named, &dataset)?;
    let study = accepted(&dataset)?;
    complete(&mut dataset, &uid);
    let subscribers = api.subscribers_of_new(&dataset).await?;
    let new = NewWorkitem {
        uid: uid.clone(),
        study,
        dataset: Value::Object(dataset),
        subscribers,
    };
    let told = vec![as_kept(&new, &api).state_report()];
    let kept = api.rooms.store.create_workitem(new, told, caller.actor);
    kept.await?;
    let base = origin(&api.config, &parts.headers, &parts.uri);
    let url = format!("{base}/dicomweb/workitems/{uid}");
    let location = [
        (header::LOCATION, url.clone()),
        (header::CONTENT_LOCATION, url),
    ];
    Ok((StatusCode::CREATED, location).into_response())
}

/// The UID that the query or the dataset gives it, and otherwise a new one.
fn uid(named: Option<InstanceUid>, dataset: &Attributes) -> Result<InstanceUid, Problem> {
    let said = dataset::text(dataset, dataset::SOP_INSTANCE);
    let wrong = |_| Problem::parameter(dataset::SOP_INSTANCE, "the SOP Instance UID is no UID");
    match (named, said) {
        (Some(named), Some(said)) if named.as_str() != said => Err(Problem::bad_request(
            "the query and the dataset name different UIDs",
        )),
        (Some(named), _) => Ok(named),
        (None, Some(said)) => said.parse().map_err(wrong),
        (None, None) => {
            let random = u128::from(random()?) << 64 | u128::from(random()?);
            format!("2.25.{random}").parse().map_err(wrong)
        }
    }
}

fn random() -> Result<u64, Problem> {
    getrandom::u64().map_err(|error| {
        tracing::error!(%error, "the system gives no random numbers");
        Problem::internal()
    })
}

/// What PS3.4 table CC.2.5-3 asks of a new workitem; the study, when it orders an analysis of ours.
fn accepted(dataset: &Attributes) -> Result<Option<StudyUid>, Problem> {
    let state = (dataset::STATE, "Procedure Step State");
    dataset::one_of(dataset, state, &[WorkitemState::Scheduled.name()])?;
    let priority = (dataset::PRIORITY, "Scheduled Procedure Step Priority");
    dataset::one_of(dataset, priority, &["HIGH", "MEDIUM", "LOW"])?;
    dataset::one_of(dataset, (dataset::LABEL, "Procedure Step Label"), &[])?;
    let readiness = (dataset::READINESS, "Input Readiness State");
    dataset::one_of(dataset, readiness, &["INCOMPLETE", "UNAVAILABLE", "READY"])?;
    let start = (dataset::START, "Scheduled Procedure Step Start DateTime");
    dataset::one_of(dataset, start, &[])?;
    for tag in [dataset::TRANSACTION, dataset::PROGRESS, dataset::PERFORMED] {
        let values = dataset.get(tag).and_then(|a| a.get("Value"));
        if values
            .and_then(Value::as_array)
            .is_some_and(|v| !v.is_empty())
        {
            let detail =
                "what comes of a workitem and who claims it are not said when it is created";
            return Err(Problem::parameter(tag, detail));
        }
    }
    if !dataset::is_order(dataset) {
        return Ok(None);
    }
    let study = dataset::input_study(dataset).and_then(|uid| uid.parse().ok());
    let missing = || {
        let detail = "an analysis is ordered of the study that the Input Information Sequence names; it names none";
        Problem::parameter(dataset::INPUTS, detail)
    };
    study.ok_or_else(missing).map(Some)
}

/// Reads a new workitem and keeps nothing: for the fuzz targets.
pub(super) fn read(dataset: &Attributes) {
    let _ = accepted(dataset);
    if let Some(Ok(uid)) = dataset::text(dataset, dataset::SOP_INSTANCE).map(str::parse) {
        complete(&mut dataset.clone(), &uid);
    }
}

/// What the worklist adds.
fn complete(dataset: &mut Attributes, uid: &InstanceUid) {
    dataset.remove(dataset::TRANSACTION);
    dataset::put(dataset, dataset::SOP_CLASS, "UI", UPS_PUSH);
    dataset::put(dataset, dataset::SOP_INSTANCE, "UI", uid.as_str());
    for tag in [dataset::PROGRESS, dataset::PERFORMED] {
        let empty = || serde_json::json!({"vr": "SQ"});
        dataset.entry(tag).or_insert_with(empty);
    }
}

/// The workitem as it will be.
fn as_kept(new: &NewWorkitem, api: &Api) -> Workitem {
    Workitem {
        place: 0,
        uid: new.uid.clone(),
        state: WorkitemState::Scheduled,
        version: 1,
        transaction: None,
        claimed_here: false,
        study: new.study.clone(),
        jobs: Vec::new(),
        cancel_asked: false,
        dataset: new.dataset.clone(),
        changed_at: api.rooms.clock.now(),
    }
}

impl Api {
    /// Who is subscribed to every workitem, and to those that match a filter which this one does.
    async fn subscribers_of_new(
        &self,
        dataset: &Attributes,
    ) -> Result<Vec<(String, bool)>, Problem> {
        let mut found = BTreeMap::new();
        for well_known in [GLOBAL, FILTERED] {
            let uid = well_known.parse().map_err(|_| Problem::internal())?;
            for subscription in self.rooms.store.subscriptions(&uid).await? {
                let filter = subscription.filter.as_deref().unwrap_or_default();
                if search::matches_filter(dataset, filter) {
                    let lock = found.entry(subscription.ae_title).or_insert(false);
                    *lock |= subscription.deletion_lock;
                }
            }
        }
        Ok(found.into_iter().collect())
    }
}
