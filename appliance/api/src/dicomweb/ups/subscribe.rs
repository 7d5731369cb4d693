//! Subscriptions to workitems (PS3.18 sections 11.10 to 11.12): to one, to all, or to all that match a filter.

use super::search::{Attribute, check_filter};
use super::{FILTERED, GLOBAL, Handled};
use crate::access::Caller;
use crate::appliance::Api;
use crate::asked::{Asked, id};
use crate::origin::origin;
use crate::problem::Problem;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use http::{HeaderMap, StatusCode, Uri, header};
use pericard_domain::ae::AeTitle;
use pericard_domain::uid::InstanceUid;
use pericard_store::workitem::Subscription;
use serde_json::Value;

/// The most workitems that one subscription to all of them begins with; later ones are told in any case.
const BEGINS_WITH_MAX: usize = 1000;

/// For the OpenAPI document.
pub(crate) const PARAMETERS: &[(&str, &str)] = &[
    (
        "deletionlock",
        "true, to keep the workitem until this subscription is given up",
    ),
    (
        "filter",
        "attribute=value pairs, parted by commas, for the filtered subscription",
    ),
];

type OfSubscriber = (String, String);

pub(crate) async fn subscribe(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((workitem, title)): Path<OfSubscriber>,
    headers: HeaderMap,
    uri: Uri,
    asked: Asked,
) -> Handled {
    let (workitem, title) = named(&workitem, &title)?;
    let filter = asked.text("filter").map(str::to_owned);
    check_filter(filter.as_deref().unwrap_or_default())?;
    if workitem.as_str() == FILTERED && filter.is_none() {
        return Err(Problem::parameter(
            "filter",
            "a filtered subscription has a filter",
        ));
    }
    let new = Subscription {
        ae_title: title.clone(),
        workitem: workitem.clone(),
        deletion_lock: asked.value("deletionlock")?.unwrap_or(false),
        filter,
    };
    let (besides, told) = match workitem.as_str() {
        GLOBAL | FILTERED => (api.meant_by(&new).await?, Vec::new()),
        _ => {
            let held = api.rooms.store.workitem(&workitem).await?;
            (Vec::new(), vec![held.state_report().to(&title)])
        }
    };
    let kept = api.rooms.store.subscribe(new, besides, told, caller.actor);
    kept.await?;
    let channel = origin(&api.config, &headers, &uri).replacen("https://", "wss://", 1);
    let location = format!("{channel}/dicomweb/subscribers/{title}");
    Ok((StatusCode::CREATED, [(header::CONTENT_LOCATION, location)]).into_response())
}

pub(crate) async fn unsubscribe(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((workitem, title)): Path<OfSubscriber>,
) -> Handled {
    let (workitem, title) = named(&workitem, &title)?;
    let is_all = [GLOBAL, FILTERED].contains(&workitem.as_str());
    let given_up = api
        .rooms
        .store
        .unsubscribe(&title, &workitem, is_all, caller.actor);
    given_up.await?;
    Ok(StatusCode::OK.into_response())
}

/// New workitems are not told any more; those that were, still are.
pub(crate) async fn suspend(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((workitem, title)): Path<OfSubscriber>,
) -> Handled {
    let (workitem, title) = named(&workitem, &title)?;
    if ![GLOBAL, FILTERED].contains(&workitem.as_str()) {
        let detail = "only a subscription to all workitems is suspended; give one to a single workitem up instead";
        return Err(Problem::bad_request(detail));
    }
    let suspended = api
        .rooms
        .store
        .unsubscribe(&title, &workitem, false, caller.actor);
    suspended.await?;
    Ok(StatusCode::OK.into_response())
}

fn named(workitem: &str, title: &str) -> Result<(InstanceUid, String), Problem> {
    let wrong = |_| Problem::parameter("aetitle", "the subscriber is no application entity title");
    let title = AeTitle::new(title).map_err(wrong)?;
    Ok((id("such workitem", workitem)?, title.to_string()))
}

impl Api {
    /// The workitems that a subscription to all of them means by now.
    async fn meant_by(&self, new: &Subscription) -> Result<Vec<InstanceUid>, Problem> {
        let pairs = new.filter.as_deref().unwrap_or_default().split(',');
        let keys = pairs.filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Attribute::read(name, value)
        });
        let keys: Vec<Attribute> = keys.collect::<Result<_, _>>()?;
        let found = self.matching_workitems(&keys, BEGINS_WITH_MAX).await?;
        let uid = |dataset: &Value| {
            let uid = dataset.get("00080018")?.get("Value")?.get(0)?.as_str()?;
            uid.parse().ok()
        };
        Ok(found.iter().filter_map(uid).collect())
    }
}
