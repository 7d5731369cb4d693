//! What would leave, before it leaves.

use crate::access::Caller;
use crate::appliance::Api;
use crate::problem::Problem;
use axum::extract::State;
use axum::{Extension, Json};
use serde_json::{Value, json};

pub(crate) async fn preview(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    api.note_access("preview egress", "frame", &caller).await?;
    let preview = api.rooms.meter.preview().map_err(|error| {
        tracing::error!(%error, "the frame cannot be made");
        Problem::internal()
    })?;
    Ok(Json(json!(preview)))
}
