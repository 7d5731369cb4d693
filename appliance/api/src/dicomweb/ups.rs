//! UPS-RS (PS3.18 section 11): a worklist on which others order, claim, follow and end work. A workitem whose code names
//! one of our models or rules orders an analysis, which `jobs` takes up.

mod cancel;
mod channel;
mod create;
mod dataset;
mod search;
mod state;
mod subscribe;
mod update;

pub(crate) use cancel::cancel;
pub(crate) use channel::{CHANNELS_MAX, open};
pub(crate) use create::create;
pub(crate) use search::{PARAMETERS, search};
pub(crate) use state::change_state;
pub(crate) use subscribe::{
    PARAMETERS as SUBSCRIPTION_PARAMETERS, subscribe, suspend, unsubscribe,
};
pub(crate) use update::update;

use super::{accept_json, json_type};
use crate::access::Caller;
use crate::appliance::Api;
use crate::asked::id;
use crate::problem::Problem;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use pericard_domain::uid::InstanceUid;
use pericard_domain::workitem::StateRefusal;
use pericard_store::StoreError;
use pericard_store::workitem::{Altered, Workitem};
use serde_json::json;

/// For the OpenAPI document.
pub(crate) const MEDIA_TYPES: &[&str] = &["application/dicom+json"];
/// The well-known workitem that stands for all of them (PS3.4 section CC.2.3).
const GLOBAL: &str = "1.2.840.10008.5.1.4.34.5";
/// The one that stands for all that match a filter.
const FILTERED: &str = "1.2.840.10008.5.1.4.34.5.1";
/// How often a change is tried on what others change at the same time.
const TRIES_MAX: usize = 8;

type Handled = Result<Response, Problem>;

/// Reads a workitem as it is created and as it is ended, and keeps nothing: for the fuzz targets.
pub(crate) fn read(body: serde_json::Value) {
    if let Ok(dataset) = dataset::of_value(body) {
        create::read(&dataset);
        state::read(&dataset);
    }
}

pub(crate) async fn retrieve(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(workitem): Path<String>,
    headers: HeaderMap,
) -> Handled {
    accept_json(&headers)?;
    let found = api.workitem(&workitem).await?;
    api.note_access("retrieve workitem", found.uid.as_str(), &caller)
        .await?;
    let body = json!([found.dataset]);
    Ok(([json_type()], body.to_string()).into_response())
}

impl Api {
    async fn workitem(&self, uid: &str) -> Result<Workitem, Problem> {
        let uid: InstanceUid = id("such workitem", uid)?;
        Ok(self.rooms.store.workitem(&uid).await?)
    }

    /// Changes a workitem as `change` says, and gives what that says besides; again when somebody else was quicker. `None`
    /// changes nothing.
    async fn alter<T>(
        &self,
        uid: &str,
        caller: &Caller,
        change: impl Fn(Workitem) -> Result<(T, Option<Altered>), Problem>,
    ) -> Result<T, Problem> {
        for _ in 0..TRIES_MAX {
            let (outcome, altered) = change(self.workitem(uid).await?)?;
            let Some(altered) = altered else {
                return Ok(outcome);
            };
            let by = caller.actor.clone();
            match self.rooms.store.alter_workitem(altered, by).await {
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
                Ok(()) => return Ok(outcome),
            }
        }
        let detail = "the workitem is being changed by others at the same time; try again";
        Err(Problem::new(StatusCode::CONFLICT, "conflict", detail).retry_after(1))
    }
}

/// A refusal that the state machine gives: what is missing is the client's mistake, what has happened is a conflict.
fn refused(refusal: StateRefusal, has_key: bool) -> Problem {
    let status = match refusal {
        StateRefusal::ToScheduled => StatusCode::BAD_REQUEST,
        StateRefusal::WrongKey if !has_key => StatusCode::BAD_REQUEST,
        _ => StatusCode::CONFLICT,
    };
    let code = refusal.code();
    let problem = Problem::new(
        status,
        "workitem_state",
        format!("{refusal} (0x{code:04X})"),
    );
    let warning = HeaderValue::from_str(&format!("299 - \"{refusal}\""));
    match warning {
        Ok(warning) => problem.with_header(header::WARNING, warning),
        Err(_) => problem,
    }
}
