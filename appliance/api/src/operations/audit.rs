//! The audit log, for auditors: ids and closed words, without patient data.

use crate::access::Caller;
use crate::appliance::Api;
use crate::asked::Asked;
use crate::problem::Problem;
use axum::extract::State;
use axum::{Extension, Json};
use http::StatusCode;
use pericard_store::StoreError;
use pericard_store::audit_log::{AuditLine, AuditQuery};
use serde_json::{Value, json};

/// For the OpenAPI document.
pub(crate) const PARAMETERS: &[(&str, &str)] = &[
    ("from", "from this line on, counted from 0"),
    ("limit", "at most so many"),
    ("subject", "only lines whose subject holds this"),
];

pub(crate) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    asked: Asked,
) -> Result<Json<Value>, Problem> {
    let query = AuditQuery {
        from: asked.value("from")?.unwrap_or(0),
        limit: asked.limit()?,
        subject: asked.text("subject").map(str::to_owned),
        ..AuditQuery::default()
    };
    api.note_access("read audit", "log", &caller).await?;
    let lines = api.rooms.store.audit(query).await?;
    let lines: Vec<_> = lines.iter().map(shown).collect();
    Ok(Json(json!({"lines": lines})))
}

/// For the OpenAPI document.
pub(crate) const CHECKPOINT_PARAMETERS: &[(&str, &str)] = &[(
    "verify",
    "true: recompute the whole log against its checkpoint, which takes long",
)];

/// The signed checkpoint of the log; on request the whole log is recomputed against it.
pub(crate) async fn checkpoint(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    asked: Asked,
) -> Result<Json<Value>, Problem> {
    if !asked.value("verify")?.unwrap_or(false) {
        let head = api.rooms.store.checkpoint().await?;
        // As the checkpoint itself has it: the third line of the note.
        let root = head.checkpoint.lines().nth(2).unwrap_or_default();
        return Ok(Json(json!({
            "lines": head.size, "root": root, "checkpoint": head.checkpoint, "verified": false,
        })));
    }
    api.note_access("verify audit", "log", &caller).await?;
    match api.rooms.store.verify_audit().await {
        Ok(verified) => {
            let mut body = json!(verified);
            body["verified"] = json!(true);
            Ok(Json(body))
        }
        // An auditor must hear which entry it is; there is nothing of a patient in an entry.
        Err(StoreError::Failed { reason, .. }) => {
            tracing::error!(reason, "the audit log does not verify");
            let detail = format!("the audit log does not verify: {reason}");
            Err(Problem::new(
                StatusCode::CONFLICT,
                "audit_log_broken",
                detail,
            ))
        }
        Err(error) => Err(error.into()),
    }
}

fn shown(line: &AuditLine) -> Value {
    json!({
        "index": line.index, "at": line.at.rfc3339(), "by": line.by, "verb": line.verb,
        "subject": line.subject, "detail": line.detail,
    })
}
