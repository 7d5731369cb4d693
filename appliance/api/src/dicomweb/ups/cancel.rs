//! Somebody asks for a workitem's cancellation (PS3.18 section 11.8): one that nobody has claimed is cancelled, one that is
//! in progress is left to whoever does it, who is told.

use super::dataset::{self, Attributes};
use super::state::note_cancellation;
use super::{Handled, refused};
use crate::access::Caller;
use crate::appliance::Api;
use crate::problem::Problem;
use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::response::IntoResponse;
use http::{HeaderValue, StatusCode, header};
use pericard_domain::time::Timestamp;
use pericard_domain::workitem::{Cancellation, WorkitemState, cancellation};
use pericard_store::workitem::{Altered, Workitem};

/// What may be said with the request (PS3.4 table CC.2.2-1): why, and whom to ask.
const SAID: [&str; 4] = ["00741238", "0074100E", "0074100C", "0074100A"];

pub(crate) async fn cancel(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(workitem): Path<String>,
    request: Request,
) -> Handled {
    let (parts, body) = request.into_parts();
    let mut said = match parts.headers.contains_key(header::CONTENT_TYPE) {
        true => dataset::of_body(&api, &parts.headers, body).await?,
        false => Attributes::new(),
    };
    said.retain(|tag, _| SAID.contains(&tag.as_str()));
    let now = api.rooms.clock.now();
    let outcome = api.alter(&workitem, &caller, |held| change(held, &said, now));
    let outcome = outcome.await?;
    let mut response = StatusCode::ACCEPTED.into_response();
    if outcome == Cancellation::There {
        let warning = "299 - \"The UPS is already in the requested state of CANCELED\"";
        let headers = response.headers_mut();
        headers.insert(header::WARNING, HeaderValue::from_static(warning));
    }
    Ok(response)
}

fn change(
    held: Workitem,
    said: &Attributes,
    now: Timestamp,
) -> Result<(Cancellation, Option<Altered>), Problem> {
    let outcome = cancellation(held.state).map_err(|refusal| refused(refusal, true))?;
    let mut workitem = held;
    let told = match outcome {
        Cancellation::There => return Ok((outcome, None)),
        Cancellation::AtOnce => {
            workitem.state = WorkitemState::Canceled;
            if let Some(dataset) = workitem.dataset.as_object_mut() {
                dataset::put(
                    dataset,
                    dataset::STATE,
                    "CS",
                    WorkitemState::Canceled.name(),
                );
                note_cancellation(dataset, now);
                dataset.extend(said.clone());
            }
            workitem.state_report()
        }
        Cancellation::Told => {
            workitem.cancel_asked = true;
            workitem.cancel_report(said)
        }
    };
    let altered = Altered {
        workitem,
        told: vec![told],
        verb: "request workitem cancellation",
    };
    Ok((outcome, Some(altered)))
}
