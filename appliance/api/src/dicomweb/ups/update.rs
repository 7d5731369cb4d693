//! A workitem is updated (PS3.18 section 11.6): by anybody while it is scheduled, then by whoever claimed it.

use super::dataset::{self, Attributes};
use super::{Handled, refused};
use crate::access::Caller;
use crate::appliance::Api;
use crate::problem::Problem;
use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::response::IntoResponse;
use http::{StatusCode, header};
use pericard_domain::uid::InstanceUid;
use pericard_domain::workitem::{StateRefusal, WorkitemState};
use pericard_store::workitem::{Altered, Told, Workitem};

/// What an update may not touch (PS3.4 table CC.2.5-3, column N-SET): what it is, where it stands, whose it is.
const FIXED: [&str; 10] = [
    "00080016", "00080018", "00741000", "00100010", "00100020", "00100021", "00100030", "00100040",
    "00380010", "00081080",
];

pub(crate) async fn update(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(workitem): Path<String>,
    request: Request,
) -> Handled {
    let (parts, body) = request.into_parts();
    let named = dataset::uid_of_query(&parts.uri, &["transaction-uid", "TransactionUID"])?;
    let mut new = dataset::of_body(&api, &parts.headers, body).await?;
    let said = new.remove(dataset::TRANSACTION);
    let said = said.and_then(|a| Some(a.get("Value")?.get(0)?.as_str()?.to_owned()));
    let key = named.map(|uid: InstanceUid| uid.to_string()).or(said);
    if let Some(tag) = FIXED.iter().find(|tag| new.contains_key(**tag)) {
        let detail =
            "an update does not change which workitem it is, where it stands, or whose it is";
        return Err(Problem::parameter(tag, detail));
    }
    api.alter(&workitem, &caller, |held| {
        change(held, &new, key.as_deref()).map(|altered| ((), Some(altered)))
    })
    .await?;
    let location = [(header::CONTENT_LOCATION, parts.uri.path().to_owned())];
    Ok((StatusCode::OK, location).into_response())
}

fn change(held: Workitem, new: &Attributes, key: Option<&str>) -> Result<Altered, Problem> {
    match held.state {
        WorkitemState::Scheduled => {}
        WorkitemState::InProgress if held.transaction.as_deref() == key => {}
        WorkitemState::InProgress => return Err(refused(StateRefusal::WrongKey, key.is_some())),
        WorkitemState::Completed | WorkitemState::Canceled => {
            return Err(refused(StateRefusal::Ended, true));
        }
    }
    let mut workitem = held;
    if let Some(dataset) = workitem.dataset.as_object_mut() {
        dataset.extend(new.clone());
        if workitem.state == WorkitemState::Scheduled && workitem.jobs.is_empty() {
            workitem.study = match dataset::is_order(dataset) {
                true => dataset::input_study(dataset).and_then(|uid| uid.parse().ok()),
                false => None,
            };
        }
    }
    let told = told(&workitem, new);
    Ok(Altered {
        workitem,
        told,
        verb: "update workitem",
    })
}

/// What subscribers want to hear of what changed.
fn told(workitem: &Workitem, new: &Attributes) -> Vec<Told> {
    let has = |tags: &[&str]| tags.iter().any(|tag| new.contains_key(*tag));
    let mut told = Vec::new();
    if has(&[dataset::READINESS]) {
        told.push(workitem.state_report());
    }
    if has(&[dataset::PROGRESS]) {
        told.push(workitem.progress_report());
    }
    if has(&["00404025", "00404026", "00404027", "00404034"]) {
        told.push(workitem.assigned_report());
    }
    told
}
