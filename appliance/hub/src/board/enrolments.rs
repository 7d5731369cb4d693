//! Requests for enrolment: an admin compares the key of each with its hospital by telephone, and grants or refuses it.

use super::layout::{Page, page, word};
use super::pieces::{hospital, moment, nothing};
use super::visit::{Visit, nothing_there, refused, stranger};
use crate::enrolling::{NAME_CHARS_MAX, REQUEST_BYTES_MAX, named};
use crate::enrolment::{Decision, EnrolmentError};
use crate::records::{EnrolmentRequest, Granted, Snapshot};
use crate::site::Site;
use crate::store::StoreError;
use axum::extract::{Extension, Form, Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};
use serde::Deserialize;

const HERE: &str = "/enrolments";
/// Those that were granted and are listed with their notes, the newest first.
const LISTED_MAX: usize = 20;

pub(super) async fn show(State(site): State<Site>, Extension(visit): Extension<Visit>) -> Page {
    let snapshot = site.hub().records().snapshot();
    let (granted, waiting): (Vec<_>, Vec<_>) = snapshot
        .requests
        .iter()
        .partition(|request| request.granted.is_some());
    let content = html! {
        h1 { "Enrolments" }
        p.quiet {
            "A hospital's request holds the key that its frames are believed by. Telephone the hospital, by a number that does not \
             come with the request, and compare the key before it is granted. The note that comes of it goes back to the \
             hospital, whose officer checks it with this hub's key: "
            code.uid { (site.registrar().key()) } "."
        }
        section.sheet aria-labelledby="waiting" {
            h2 #waiting { "Waiting" }
            @if waiting.is_empty() { (nothing("No request waits.")) }
            @for request in waiting { (decide(&visit, request)) }
        }
        (bring(&visit))
        section.sheet aria-labelledby="granted" {
            h2 #granted { "Granted" }
            @if granted.is_empty() { (nothing("None was granted here.")) }
            @for request in granted.into_iter().rev().take(LISTED_MAX) { (given(&site, &snapshot, request)) }
        }
    };
    page(&visit, HERE, "Enrolments", content)
}

/// What an admin is asked of one request.
fn decide(visit: &Visit, request: &EnrolmentRequest) -> Markup {
    let number = request.number;
    let id = |what: &str| format!("{what}-{number}");
    html! {
        section aria-labelledby=(id("request")) {
            h3 id=(id("request")) { "Request " (number) }
            dl.facts {
                div { dt { "came" } dd { (moment(request.asked_at_s)) } }
                div { dt { "its key" } dd.uid { (request.frame_key) } }
            }
            form method="post" action={ (HERE) "/" (number) "/grant" } {
                (word(visit))
                input type="hidden" name="key" value=(request.frame_key);
                div.field {
                    label for=(id("name")) { "Name of the hospital" }
                    input id=(id("name")) name="name" required maxlength=(NAME_CHARS_MAX) autocomplete="off";
                }
                p { input id=(id("sure")) type="checkbox" name="sure" value="yes" required; " "
                    label for=(id("sure")) { "I have compared this key with the hospital by telephone" } }
                button type="submit" { "Grant request " (number) }
            }
            form method="post" action={ (HERE) "/" (number) "/refuse" } {
                (word(visit))
                button.plain type="submit" { "Refuse request " (number) }
            }
        }
    }
}

/// Where a request is brought that came by another way.
fn bring(visit: &Visit) -> Markup {
    html! {
        section.sheet aria-labelledby="bring" {
            h2 #bring { "Bring a request" }
            form method="post" action={ (HERE) "/asked" } {
                (word(visit))
                div.field {
                    label for="asked" { "What " code { "pericard egress enrol-request" } " printed at the hospital" }
                    textarea #asked name="request" rows="6" required maxlength=(REQUEST_BYTES_MAX) spellcheck="false" {}
                }
                button type="submit" { "Let it wait" }
            }
        }
    }
}

/// One that was granted, with the note that goes back.
fn given(site: &Site, snapshot: &Snapshot, request: &EnrolmentRequest) -> Markup {
    let note = site.registrar().note(request);
    let id = format!("note-{}", request.number);
    html! { @if let Some(Granted { hospital: number, at_s, by, .. }) = &request.granted {
        details {
            summary { "Request " (request.number) ": " (moment(*at_s)) ", by token " (by) }
            p { (hospital(snapshot, *number)) ", appliance " (number) }
            @match note {
                Ok(Some(note)) => div.field {
                    label for=(id) { "The note for " code { "pericard egress enrol" } }
                    textarea id=(id) rows="10" readonly spellcheck="false" { (note) }
                },
                _ => p.say.bad { "Its note cannot be made: the hub's journal says why." },
            }
        }
    } }
}

/// A request that is brought.
#[derive(Deserialize)]
pub(super) struct Brought {
    #[serde(default)]
    word: String,
    #[serde(default)]
    request: String,
}

pub(super) async fn ask(
    State(site): State<Site>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    Form(brought): Form<Brought>,
) -> Response {
    if !visit.wrote(&headers, &brought.word) {
        return stranger().into_response();
    }
    // A form's lines end as in a letter.
    let text = brought
        .request
        .replace("\r\n", "\n")
        .trim_start()
        .to_owned();
    let done = move || {
        site.registrar()
            .ask(site.hub(), &text, Some(visit.token))
            .map(|_| ())
    };
    decided(done).await
}

/// What an admin decided.
#[derive(Deserialize)]
pub(super) struct Decided {
    #[serde(default)]
    word: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    key: String,
    sure: Option<String>,
}

pub(super) async fn grant(
    State(site): State<Site>,
    Extension(visit): Extension<Visit>,
    Path(number): Path<String>,
    headers: HeaderMap,
    Form(said): Form<Decided>,
) -> Response {
    let request = match about(&visit, &headers, &said, &number) {
        Ok(request) => request,
        Err(page) => return page.into_response(),
    };
    let (Some(name), Some(_)) = (named(&said.name), said.sure) else {
        let why = "Say the hospital's name, and that you have compared the key with it.";
        return refused(StatusCode::BAD_REQUEST, why).into_response();
    };
    let decision = Decision {
        request,
        frame_key: said.key,
        name,
        by: visit.token,
    };
    decided(move || site.registrar().grant(site.hub(), &decision).map(|_| ())).await
}

pub(super) async fn refuse(
    State(site): State<Site>,
    Extension(visit): Extension<Visit>,
    Path(number): Path<String>,
    headers: HeaderMap,
    Form(said): Form<Decided>,
) -> Response {
    let request = match about(&visit, &headers, &said, &number) {
        Ok(request) => request,
        Err(page) => return page.into_response(),
    };
    decided(move || Ok(site.hub().refuse(request, visit.token)?)).await
}

/// The request that a form of this session decides on, or what is answered to any other.
fn about(visit: &Visit, headers: &HeaderMap, said: &Decided, number: &str) -> Result<u32, Page> {
    if !visit.wrote(headers, &said.word) {
        return Err(stranger());
    }
    number.parse().map_err(|_| nothing_there())
}

/// Does it on a thread that may wait for a disk, and goes back to the page.
async fn decided(work: impl FnOnce() -> Result<(), EnrolmentError> + Send + 'static) -> Response {
    let error = match tokio::task::spawn_blocking(work).await {
        Ok(Ok(())) => return Redirect::to(HERE).into_response(),
        Ok(Err(error)) => error,
        Err(_) => {
            return refused(StatusCode::INTERNAL_SERVER_ERROR, "It was not done.").into_response();
        }
    };
    let (status, why) = match error {
        EnrolmentError::Store(StoreError::NotFound(_)) => (
            StatusCode::NOT_FOUND,
            "No request of this number waits: somebody else may have decided on it.",
        ),
        EnrolmentError::Store(StoreError::Refused(why)) => (StatusCode::CONFLICT, why),
        EnrolmentError::Store(error) => {
            tracing::error!(%error, "an enrolment could not be written");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "It was not done: the hub cannot write now.",
            )
        }
        _ => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "This is no enrolment request, or it was changed on its way.",
        ),
    };
    refused(status, why).into_response()
}
