//! The appliance at a glance.

use crate::appliance::Api;
use crate::operations::kept;
use crate::problem::Problem;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

pub(crate) async fn show(State(api): State<Api>) -> Result<Json<Value>, Problem> {
    let now = api.rooms.clock.now();
    let depth = api.rooms.store.depth().await?;
    let loaded = api.rooms.talker.loaded();
    let (disk, care) = kept::facts(&api).await;
    Ok(Json(json!({
        "version": api.rooms.version,
        "started_at": api.started_at.rfc3339(),
        "now": now.rfc3339(),
        "uptime_s": now.since(api.started_at).as_secs(),
        "accepting": api.rooms.store.trouble().is_none(),
        "open_jobs": depth.open_jobs,
        "failed_jobs": depth.failed_jobs,
        "undelivered": depth.undelivered,
        "undeliverable": depth.undeliverable,
        "models": loaded,
        "disk": disk,
        "care": care,
    })))
}
