//! Incidents and recalls: what was refused and should be looked into, and what the hub has issued. An admin issues here.

use super::layout::{Page, page, word};
use super::nation;
use super::pieces::{Tone, chip, hospital, model, model_name, moment, nothing};
use super::visit::{Visit, refused, stranger};
use crate::findings::findings;
use crate::hub::Warning;
use crate::records::{Alarm, Snapshot, Viewer};
use crate::site::Site;
use axum::extract::{Extension, Form, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};
use pericard_frame::reply::{Cause, Kind};
use serde::Deserialize;

/// The alarms that are listed, the newest first.
const LISTED_MAX: usize = 200;
/// The longest text of an advisory.
const TEXT_CHARS_MAX: usize = 2000;

pub(super) async fn show(State(site): State<Site>, Extension(visit): Extension<Visit>) -> Page {
    let (snapshot, outlook) = visit.look(&site);
    let found = findings(&snapshot, &outlook, visit.viewer);
    let alarms: Vec<&Alarm> = snapshot.alarms.iter().rev().take(LISTED_MAX).collect();
    let content = html! {
        h1 { "Incidents and recalls" }
        section.sheet aria-labelledby="found" {
            h2 #found { "To be looked into" }
            @if found.is_empty() { (nothing("Nothing.")) }
            @for finding in &found { (nation::one(&snapshot, finding, visit.viewer)) }
        }
        section.sheet aria-labelledby="issued" {
            h2 #issued { "Recalls and advisories" }
            (issued(&snapshot, visit.viewer))
        }
        @if visit.viewer == Viewer::Admin { (form(&snapshot, &visit)) }
        section.sheet aria-labelledby="alarms" {
            h2 #alarms { "What was refused" }
            @if alarms.is_empty() { (nothing("Nothing.")) } @else { (table(&snapshot, &alarms, visit.viewer)) }
            p.quiet.small {
                "An alarm stays a finding until somebody has looked into it: " code { "pericard hub alarm close NUMBER" } " on the \
                 hub's own machine, which the audit log says. It opens again when the same is refused once more."
            }
        }
    };
    page(&visit, "/incidents", "Incidents", content)
}

/// What the form asks for.
#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    word: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    model: String,
    #[serde(default)]
    cause: String,
    #[serde(default)]
    text: String,
    sure: Option<String>,
}

/// Issues a recall or an advisory.
pub(super) async fn issue(
    State(site): State<Site>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    Form(asked): Form<Asked>,
) -> Response {
    if !visit.wrote(&headers, &asked.word) {
        return stranger().into_response();
    }
    let Some(warning) = meant(asked, visit.token) else {
        let why = "Choose a kind, a model and a cause, and say that you are sure: what is issued cannot be taken back.";
        return refused(StatusCode::BAD_REQUEST, why).into_response();
    };
    let done = tokio::task::spawn_blocking(move || site.hub().issue(warning)).await;
    match done {
        Ok(Ok(_)) => Redirect::to("/incidents").into_response(),
        Ok(Err(error)) => {
            tracing::error!(%error, "an advisory could not be issued");
            let why =
                "It was not issued: the hub cannot write now, or the model is in no catalogue.";
            refused(StatusCode::SERVICE_UNAVAILABLE, why).into_response()
        }
        Err(_) => refused(StatusCode::INTERNAL_SERVER_ERROR, "It was not issued.").into_response(),
    }
}

fn meant(asked: Asked, token: u32) -> Option<Warning> {
    asked.sure?;
    let text = asked.text.trim();
    (text.chars().count() <= TEXT_CHARS_MAX).then_some(())?;
    Some(Warning {
        kind: Kind::named(&asked.kind)?,
        model: asked.model.parse().ok()?,
        cause: Cause::named(&asked.cause)?,
        text: text.to_owned(),
        by: Some(token),
    })
}

fn form(snapshot: &Snapshot, visit: &Visit) -> Markup {
    html! {
        section.sheet aria-labelledby="issue" {
            h2 #issue { "Issue a recall or an advisory" }
            @if snapshot.models.is_empty() { (nothing("The catalogue is empty.")) } @else {
            form method="post" action="/incidents/advisories" {
                (word(visit))
                div.row {
                    (choice("kind", "Kind", Kind::ALL.iter().map(|k| (k.word().to_owned(), k.meaning().to_owned()))))
                    (choice("model", "Model", snapshot.models.iter().map(|m| (m.id.to_string(), model_name(snapshot, m.id)))))
                    (choice("cause", "Cause", Cause::ALL.iter().map(|c| (c.word().to_owned(), c.meaning().to_owned()))))
                }
                div.field {
                    label for="text" { "What it says to people at the hub; hospitals get kind, model and cause" }
                    textarea #text name="text" rows="3" maxlength=(TEXT_CHARS_MAX) {}
                }
                p { input #sure type="checkbox" name="sure" value="yes" required; " "
                    label for="sure" { "I am sure: it goes out, signed, with the reply to every frame, and cannot be taken back" } }
                button type="submit" { "Issue it" }
            }
            }
        }
    }
}

fn choice(name: &str, label: &str, choices: impl Iterator<Item = (String, String)>) -> Markup {
    html! {
        div.field {
            label for=(name) { (label) }
            select id=(name) name=(name) required {
                option value="" { "choose" }
                @for (value, said) in choices { option value=(value) { (said) } }
            }
        }
    }
}

/// What was issued, the newest first.
pub(super) fn issued(snapshot: &Snapshot, viewer: Viewer) -> Markup {
    html! {
        @if snapshot.advisories.is_empty() { (nothing("None was issued.")) } @else { table.stack {
            thead { tr {
                th scope="col" { "Number" } th scope="col" { "Kind" } th scope="col" { "Model" } th scope="col" { "Cause" }
                th scope="col" { "Issued" } th scope="col" { "Text" }
            } }
            tbody { @for issued in snapshot.advisories.iter().rev() {
                @let advisory = &issued.advisory;
                tr {
                    td.number data-name="Number" { (advisory.number) }
                    td data-name="Kind" { @match advisory.kind {
                        Kind::Recall => (chip("recall", Tone::Bad)),
                        Kind::Advisory => (chip("advisory", Tone::Warn)),
                    } }
                    td data-name="Model" { (model(snapshot, viewer, advisory.model)) }
                    td data-name="Cause" { (advisory.cause.meaning()) }
                    td data-name="Issued" { (moment(advisory.issued_at_s)) }
                    td data-name="Text" { (issued.text) }
                }
            } }
        } }
    }
}

/// Alarms, as they are given. Their numbers go through the nation, and would tell a hospital how many others have: who closes
/// alarms sees them.
pub(super) fn table(snapshot: &Snapshot, alarms: &[&Alarm], viewer: Viewer) -> Markup {
    let is_national = viewer.is_national();
    html! {
        table.stack {
            thead { tr {
                @if is_national { th scope="col" { "Number" } }
                th scope="col" { "When" } th scope="col" { "Hospital" } th scope="col" { "Frame" }
                th scope="col" { "What" } th scope="col" { "State" }
            } }
            tbody { @for alarm in alarms { tr {
                @if is_national { td.number data-name="Number" { (alarm.number) } }
                td data-name="When" { (moment(alarm.at_s)) }
                td data-name="Hospital" { (hospital(snapshot, alarm.appliance)) }
                td.number data-name="Frame" { @match alarm.sequence { Some(number) => (number), None => "none" } }
                td data-name="What" { (alarm.kind.meaning()) }
                td data-name="State" { @match alarm.closed_at_s {
                    Some(at_s) => span { (chip("closed", Tone::Quiet)) " " (moment(at_s)) },
                    None => (chip("open", Tone::Warn)),
                } }
            } } }
        }
    }
}
