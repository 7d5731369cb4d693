//! What is expected, and what the hospital's information system is told.

use crate::access::Caller;
use crate::appliance::Api;
use crate::asked::{Asked, id};
use crate::problem::Problem;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use pericard_domain::uid::StudyUid;
use pericard_store::prior::PriorRow;
use serde_json::{Value, json};

/// For the OpenAPI document.
pub(crate) const MESSAGE_PARAMETERS: &[(&str, &str)] = &[
    ("study", "this study's, also those that are delivered"),
    ("limit", "at most so many"),
];

/// Orders: patient data.
pub(crate) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    asked: Asked,
) -> Result<Json<Value>, Problem> {
    let (limit, offset) = (asked.limit()?, asked.offset()?);
    api.note_access("list orders", "all", &caller).await?;
    let orders = api.rooms.store.expected(limit, offset).await?;
    Ok(Json(json!({"orders": orders})))
}

/// Messages: ids, states and reasons.
pub(crate) async fn messages(State(api): State<Api>, asked: Asked) -> Result<Json<Value>, Problem> {
    let study: Option<StudyUid> = asked.value("study")?;
    let messages = api.rooms.store.messages(study.as_ref(), asked.limit()?);
    Ok(Json(json!({"messages": messages.await?})))
}

pub(crate) async fn retry(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(message): Path<String>,
) -> Result<Json<Value>, Problem> {
    let number: i64 = id("such message", &message)?;
    api.rooms.store.retry_message(number, caller.actor).await?;
    Ok(Json(json!({"id": number, "state": "waiting"})))
}

/// The earlier studies that a study's analysis waited for.
pub(crate) fn priors(orders: &[PriorRow]) -> Value {
    let shown = |order: &PriorRow| {
        let studies = order.studies.iter();
        let studies = studies.map(|(study, state)| json!({"study": study, "state": state}));
        json!({
            "from": order.source, "revision": order.revision, "state": order.state,
            "deadline": order.deadline.rfc3339(), "outcome": order.outcome,
            "studies": studies.collect::<Vec<_>>(),
        })
    };
    orders.iter().map(shown).collect()
}
