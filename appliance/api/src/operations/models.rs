//! The models that should be loaded, and whether they are.

use crate::appliance::Api;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

pub(crate) async fn list(State(api): State<Api>) -> Json<Value> {
    let loaded = api.rooms.talker.loaded();
    let models = api.rooms.packages.iter().map(|package| {
        let manifest = &package.manifest;
        let running = loaded.iter().find(|l| l.model == package.model);
        json!({
            "name": package.model.name,
            "version": package.model.version,
            "digest": package.model.digest,
            "summary": manifest.summary,
            "task": manifest.task,
            "licence": manifest.licence,
            "source": manifest.source,
            "clinical_use": manifest.clinical_use,
            "intended_use": manifest.intended_use,
            "loaded": running.is_some(),
            "device": running.map(|r| &r.device),
            "load_ms": running.map(|r| r.load_ms),
            "context_tokens": running.and_then(|r| r.context_tokens),
        })
    });
    Json(json!({"models": models.collect::<Vec<_>>()}))
}
