//! How what is kept fares: the disk, damaged objects, files set aside; and erasure on purpose.

use crate::access::Caller;
use crate::appliance::Api;
use crate::asked::{Asked, id};
use crate::problem::Problem;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use pericard_domain::uid::StudyUid;
use pericard_store::care::Damage;
use serde_json::{Value, json};

/// For the OpenAPI document.
pub(crate) const DAMAGE_PARAMETERS: &[(&str, &str)] = &[("limit", "at most so many")];
/// For the OpenAPI document.
pub(crate) const ERASE_PARAMETERS: &[(&str, &str)] = &[(
    "audit",
    "true: also erase what the audit log says of the study; the log still verifies",
)];

/// How full the disk is, and how the store's own care stands; each null when it cannot be told.
pub(crate) async fn facts(api: &Api) -> (Value, Value) {
    let disk = api.rooms.store.disk().ok();
    let care = api.rooms.store.care().await.ok();
    (json!(disk), json!(care))
}

/// The objects whose files are not what was received: ids only, no patient data.
pub(crate) async fn damages(State(api): State<Api>, asked: Asked) -> Result<Json<Value>, Problem> {
    let damages = api.rooms.store.damages(asked.limit()?).await?;
    let damages: Vec<_> = damages.iter().map(shown).collect();
    Ok(Json(json!({"damages": damages})))
}

/// Erases a study with everything about it. The store writes the audit line with the rows.
pub(crate) async fn erase(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(study): Path<String>,
    asked: Asked,
) -> Result<Json<Value>, Problem> {
    let study: StudyUid = id("such study", &study)?;
    let with_audit = asked.value("audit")?.unwrap_or(false);
    let erasing = api
        .rooms
        .store
        .erase_study(&study, with_audit, caller.actor);
    Ok(Json(json!(erasing.await?)))
}

fn shown(damage: &Damage) -> Value {
    json!({
        "study": damage.study, "instance": damage.instance, "revision": damage.revision,
        "sha256": damage.sha256, "kind": damage.kind, "found_at": damage.found_at.rfc3339(),
    })
}
