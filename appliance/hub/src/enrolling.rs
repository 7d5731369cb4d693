//! Enrolment over the door: anybody may ask, and waits; an admin looks at who waits, grants or refuses.

use crate::access::Holder;
use crate::enrolment::{Decision, EnrolmentError};
use crate::problem::Problem;
use crate::records::EnrolmentRequest;
use crate::site::Site;
use crate::store::StoreError;
use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// More than any request has: two keys and a signature.
pub(crate) const REQUEST_BYTES_MAX: usize = 4096;
/// The longest name of a hospital, characters.
pub(crate) const NAME_CHARS_MAX: usize = 120;
/// How long a request may take, however it trickles.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A hospital's officer asks, or whoever was sent the request.
pub(crate) async fn ask(
    State(site): State<Site>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let body = tokio::time::timeout(REQUEST_TIMEOUT, to_bytes(body, REQUEST_BYTES_MAX)).await;
    let text = body.ok().and_then(Result::ok);
    let text = text.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    let text = text.ok_or(NONE)?;
    let asked = move || site.registrar().ask(site.hub(), &text, None);
    let number = done(asked).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({"number": number}))))
}

/// Every request that waits or was granted.
pub(crate) async fn list(State(site): State<Site>) -> Result<Json<Value>, Problem> {
    let now = site.hub().records().snapshot();
    let each = now.requests.iter().map(|request| shown(&site, request));
    each.collect::<Result<_, _>>().map(Json)
}

fn shown(site: &Site, request: &EnrolmentRequest) -> Result<Value, Problem> {
    let granted = request.granted.as_ref();
    let note = site.registrar().note(request).map_err(|e| refusal(&e))?;
    Ok(json!({
        "number": request.number, "frame_key": request.frame_key, "asked_at_s": request.asked_at_s,
        "hospital": granted.map(|g| g.hospital), "granted_at_s": granted.map(|g| g.at_s),
        "granted_by": granted.map(|g| g.by), "note": note,
    }))
}

/// What is said to grant a request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Granting {
    name: String,
    frame_key: String,
}

/// Grants a request: the note goes back to the hospital.
pub(crate) async fn grant(
    State(site): State<Site>,
    Extension(holder): Extension<Holder>,
    Path(request): Path<String>,
    granting: Result<Json<Granting>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let Json(Granting { name, frame_key }) = granting.map_err(|_| NAMELESS)?;
    let decision = Decision {
        request: numbered(&request)?,
        frame_key,
        name: named(&name).ok_or(NAMELESS)?,
        by: holder.token,
    };
    let enrolled = done(move || site.registrar().grant(site.hub(), &decision)).await?;
    Ok(Json(
        json!({"hospital": enrolled.number, "note": enrolled.note}),
    ))
}

/// Refuses a request.
pub(crate) async fn refuse(
    State(site): State<Site>,
    Extension(holder): Extension<Holder>,
    Path(request): Path<String>,
) -> Result<StatusCode, Problem> {
    let request = numbered(&request)?;
    done(move || Ok(site.hub().refuse(request, holder.token)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A name that a hospital can have.
pub(crate) fn named(name: &str) -> Option<String> {
    let name = name.trim();
    let fits = !name.is_empty() && name.chars().count() <= NAME_CHARS_MAX;
    (fits && !name.chars().any(char::is_control)).then(|| name.to_owned())
}

const NONE: Problem = Problem::new(
    StatusCode::UNPROCESSABLE_ENTITY,
    "this is no enrolment request, or it was changed on its way; `pericard egress enrol-request` prints one",
);
const NAMELESS: Problem = Problem::new(
    StatusCode::UNPROCESSABLE_ENTITY,
    "say the hospital's name, of at most 120 characters, and the frame_key that was compared with it by telephone",
);
const NOT_WAITING: Problem = Problem::new(
    StatusCode::NOT_FOUND,
    "no request of this number waits; GET /hub/v1/enrolments lists those there are",
);

fn numbered(request: &str) -> Result<u32, Problem> {
    request.parse().map_err(|_| NOT_WAITING)
}

/// What may wait for a disk is done on a thread of its own.
async fn done<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EnrolmentError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| refusal(&error)),
        Err(_) => Err(UNABLE),
    }
}

const UNABLE: Problem = Problem::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "the hub cannot do this now; its journal says why. Try again later",
);

fn refusal(error: &EnrolmentError) -> Problem {
    match error {
        EnrolmentError::Store(StoreError::NotFound(_)) => NOT_WAITING,
        EnrolmentError::Store(StoreError::Refused(why)) => Problem::new(StatusCode::CONFLICT, why),
        EnrolmentError::Store(_) => {
            tracing::error!(%error, "an enrolment could not be written");
            UNABLE
        }
        EnrolmentError::Request(_)
        | EnrolmentError::Unsigned(_)
        | EnrolmentError::Key(_)
        | EnrolmentError::Keys(_) => NONE,
    }
}
