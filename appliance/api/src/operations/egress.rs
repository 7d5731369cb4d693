//! What would leave, before it leaves.

use crate::access::Caller;
use crate::appliance::Api;
use crate::problem::Problem;
use axum::extract::State;
use axum::{Extension, Json};
use pericard_egress::Preview;
use serde_json::{Value, json};

pub(crate) async fn preview(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(json!(preview_for(&api, &caller).await?)))
}

/// The frame, for whoever looks at it; that is written into the audit log.
pub(crate) async fn preview_for(api: &Api, caller: &Caller) -> Result<Preview, Problem> {
    api.note_access("preview egress", "frame", caller).await?;
    api.rooms.meter.preview().map_err(|error| {
        tracing::error!(%error, "the frame cannot be made");
        Problem::internal()
    })
}
