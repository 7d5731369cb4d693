//! Liveness and readiness.

use crate::appliance::Api;
use crate::operations::kept;
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use pericard_runner::Walls;
use serde_json::{Value, json};

/// The process is alive and serves: all that a caller without a token learns.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// Which parts are ready, and what is wrong with those that are not.
pub(crate) async fn ready(State(api): State<Api>) -> (StatusCode, Json<Value>) {
    let walls = api.rooms.talker.walls();
    let parts = parts(&api).await;
    let (disk, care) = kept::facts(&api).await;
    let ready = parts.iter().all(|(_, why)| why.is_none());
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let parts: Vec<_> = parts
        .iter()
        .map(|(part, why)| json!({"part": part, "ready": why.is_none(), "why": why}))
        .collect();
    // A wall that this machine cannot build (a container without namespaces) leaves the others: said, and not in the way.
    let walls = walls.and_then(Result::ok).unwrap_or_default();
    (
        status,
        Json(json!({
            "ready": ready, "parts": parts, "disk": disk, "care": care, "walls": walls,
        })),
    )
}

/// The parts, each with what is wrong with it.
pub(crate) async fn parts(api: &Api) -> Vec<(String, Option<String>)> {
    let walls = api.rooms.talker.walls();
    let device = ("device".to_owned(), api.rooms.talker.device_trouble());
    let mut parts = vec![store(api).await, workers(walls.as_ref()), device];
    let loaded = api.rooms.talker.loaded();
    let notices = api.rooms.notices.borrow().clone();
    for package in api.rooms.packages.iter() {
        if notices.iter().any(|n| n.has_stopped(&package.model)) {
            continue; // it does no work on purpose, and the console says so loudly
        }
        let why = match loaded.iter().any(|l| l.model == package.model) {
            true => None,
            false => Some(
                "not loaded; the journal says whether it is still loading or failed".to_owned(),
            ),
        };
        parts.push((format!("model {}", package.model.name), why));
    }
    parts
}

fn workers(walls: Option<&Result<Walls, String>>) -> (String, Option<String>) {
    let why = match walls {
        None => Some("their walls are being tried".to_owned()),
        Some(Err(why)) => Some(format!("none can be started behind its walls: {why}")),
        Some(Ok(_)) => None,
    };
    ("workers".to_owned(), why)
}

async fn store(api: &Api) -> (String, Option<String>) {
    let why = match api.rooms.store.trouble() {
        Some(trouble) => Some(trouble),
        None => api.rooms.store.depth().await.err(),
    };
    ("store".to_owned(), why.map(|error| error.to_string()))
}
