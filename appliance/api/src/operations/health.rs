//! Liveness and readiness.

use crate::appliance::Api;
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};

/// The process is alive and serves: all that a caller without a token learns.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// Which parts are ready, and what is wrong with those that are not.
pub(crate) async fn ready(State(api): State<Api>) -> (StatusCode, Json<Value>) {
    let mut parts = vec![store(&api).await];
    let loaded = api.rooms.talker.loaded();
    for package in api.rooms.packages.iter() {
        let why = match loaded.iter().any(|l| l.model == package.model) {
            true => None,
            false => Some(
                "not loaded; the journal says whether it is still loading or failed".to_owned(),
            ),
        };
        parts.push((format!("model {}", package.model.name), why));
    }
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
    (status, Json(json!({"ready": ready, "parts": parts})))
}

async fn store(api: &Api) -> (String, Option<String>) {
    let why = match api.rooms.store.trouble() {
        Some(trouble) => Some(trouble),
        None => api.rooms.store.depth().await.err(),
    };
    ("store".to_owned(), why.map(|error| error.to_string()))
}
