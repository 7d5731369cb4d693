//! Recalls and advisories of the hub, as people and programs read them.

use crate::appliance::Api;
use axum::Json;
use axum::extract::State;
use pericard_domain::model::ModelRef;
use serde::Serialize;
use serde_json::{Value, json};

/// What the hub says of a model. All words are of closed lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// Its number among the hub's.
    pub number: u32,
    /// Whether the hub asks not to use the model any more.
    pub is_recall: bool,
    /// What it asks for, in words.
    pub kind: &'static str,
    /// Why, in words.
    pub cause: &'static str,
    /// The model, when it is live here.
    pub model: Option<ModelRef>,
    /// SHA-256 of its manifest, in hexadecimal.
    pub digest: String,
    /// When it was issued, seconds since 1970.
    pub issued_at_s: u64,
    /// Whether the model was stopped here because of it.
    pub stopped: bool,
}

impl Notice {
    /// Whether somebody here must do something about it.
    pub(crate) const fn is_alarm(&self) -> bool {
        self.is_recall && self.model.is_some()
    }

    /// Whether it stopped this model here: then the model does no work, and not because something failed.
    pub(crate) fn has_stopped(&self, model: &ModelRef) -> bool {
        self.stopped && self.model.as_ref() == Some(model)
    }

    /// In a sentence.
    pub(crate) fn said(&self) -> String {
        let what = match &self.model {
            Some(model) => format!("{} {}", model.name, model.version),
            None => "a model that is not live here".to_owned(),
        };
        let (number, kind, cause) = (self.number, self.kind, self.cause);
        let then = match (self.stopped, self.is_alarm()) {
            (true, _) => " It does no more work here.",
            (false, true) => " It still works here: retire it, or set egress.on_recall.",
            (false, false) => "",
        };
        format!("{what}: {kind} (number {number}, {cause}).{then}")
    }
}

pub(crate) async fn list(State(api): State<Api>) -> Json<Value> {
    let notices = api.rooms.notices.borrow().clone();
    Json(json!({"advisories": &*notices}))
}
