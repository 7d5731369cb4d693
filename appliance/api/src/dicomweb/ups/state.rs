//! A workitem is claimed, completed or cancelled by whoever does it (PS3.18 section 11.7).

use super::dataset::{self, Attributes};
use super::{Handled, refused};
use crate::access::Caller;
use crate::appliance::Api;
use crate::problem::Problem;
use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use pericard_domain::time::Timestamp;
use pericard_domain::uid::InstanceUid;
use pericard_domain::workitem::{Key, Step, WorkitemState, step};
use pericard_store::workitem::{Altered, Workitem};
use serde_json::{Value, json};

pub(crate) async fn change_state(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(workitem): Path<String>,
    request: Request,
) -> Handled {
    let (parts, body) = request.into_parts();
    let said = dataset::of_body(&api, &parts.headers, body).await?;
    let names: Vec<_> = WorkitemState::ALL.iter().map(|s| s.name()).collect();
    let to = dataset::one_of(&said, (dataset::STATE, "Procedure Step State"), &names)?;
    let to = WorkitemState::named(to).ok_or_else(Problem::internal)?;
    let key = dataset::text(&said, dataset::TRANSACTION).map(str::to_owned);
    if key
        .as_deref()
        .is_some_and(|key| InstanceUid::new(key).is_err())
    {
        let detail = "the transaction UID is no UID";
        return Err(Problem::parameter(dataset::TRANSACTION, detail));
    }
    let now = api.rooms.clock.now();
    let made = api.alter(&workitem, &caller, |held| {
        change(held, to, key.as_deref(), now)
    });
    Ok(answer(made.await?, to))
}

fn change(
    held: Workitem,
    to: WorkitemState,
    key: Option<&str>,
    now: Timestamp,
) -> Result<(Step, Option<Altered>), Problem> {
    let nothing = Attributes::new();
    let dataset = held.dataset.as_object().unwrap_or(&nothing);
    let shown = key.map_or(Key::None, Key::Shown);
    let is_complete = to != WorkitemState::Completed || has_performed(dataset);
    let step = step(
        (held.state, to),
        held.transaction.as_deref(),
        shown,
        is_complete,
    );
    let step = step.map_err(|refusal| refused(refusal, key.is_some()))?;
    if step == Step::There {
        return Ok((step, None));
    }
    let mut workitem = held;
    workitem.state = to;
    workitem.transaction = key.map(str::to_owned);
    if let Some(dataset) = workitem.dataset.as_object_mut() {
        dataset::put(dataset, dataset::STATE, "CS", to.name());
        if to == WorkitemState::Canceled {
            note_cancellation(dataset, now);
        }
    }
    let told = vec![workitem.state_report()];
    let altered = Altered {
        workitem,
        told,
        verb: "change workitem state",
    };
    Ok((step, Some(altered)))
}

/// Reads what a workitem must have to be ended, and keeps nothing: for the fuzz targets.
pub(super) fn read(dataset: &Attributes) {
    has_performed(dataset);
    note_cancellation(&mut dataset.clone(), Timestamp::from_millis(0));
}

/// What a workitem must have to be completed (PS3.4 table CC.2.5-3, column "Final State"): who did it, from when to when.
fn has_performed(dataset: &Attributes) -> bool {
    let mut performed = dataset::items(dataset, dataset::PERFORMED);
    performed.any(|item| {
        let named = dataset::items(item, "00404028").next().is_some();
        named
            && ["00404050", "00404051"]
                .iter()
                .all(|tag| dataset::text(item, tag).is_some())
    })
}

/// Procedure Step Cancellation DateTime (0040,4052), where it is not said already.
pub(super) fn note_cancellation(dataset: &mut Attributes, now: Timestamp) {
    let mut progress = dataset::items(dataset, dataset::PROGRESS).next().cloned();
    let progress = progress.get_or_insert_default();
    let (day, time) = (now.dicom_date(), now.dicom_time());
    let at = json!({"vr": "DT", "Value": [format!("{day}{time}")]});
    progress.entry("00404052").or_insert(at);
    let value = json!({"vr": "SQ", "Value": [Value::Object(progress.clone())]});
    dataset.insert(dataset::PROGRESS.to_owned(), value);
}

/// 200, with the standard's warning when nothing had to be changed.
fn answer(step: Step, to: WorkitemState) -> Response {
    let mut response = StatusCode::OK.into_response();
    if step == Step::There {
        let warning = match to {
            WorkitemState::Completed => {
                "299 - \"The UPS is already in the requested state of COMPLETED\""
            }
            _ => "299 - \"The UPS is already in the requested state of CANCELED\"",
        };
        let headers = response.headers_mut();
        headers.insert(header::WARNING, HeaderValue::from_static(warning));
    }
    response
}
