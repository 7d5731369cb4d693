//! What would leave, number by number, before it leaves: the frames that wait, and the week that lasts. Whoever reads them
//! may hold them back.

use super::layout::{Page, may, page, word};
use super::login::elsewhere;
use super::pieces::{Tone, chip, moment, nothing};
use super::settings::Setting;
use super::visit::{Posted, Visit};
use crate::appliance::Api;
use crate::asked::Asked;
use crate::notice::Notice;
use crate::openai::off_thread;
use crate::operations::egress::preview_for;
use crate::outgoing::{ClosedFrame, FrameState, Frames, Outgoing};
use crate::problem::Problem;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use pericard_domain::time::Timestamp;
use pericard_egress::{Preview, Shown};
use pericard_store::week::{FIRST_MONDAY_MS, WEEK_MS};
use std::sync::Arc;

/// The page itself.
const HERE: &str = "/console/egress";
/// What the form says of a hold of all frames.
const ALL: &str = "all";
/// How many frames that are over are listed, the latest.
const OVER_LISTED: usize = 8;
const DAY_MS: i64 = 86_400_000;
/// For the OpenAPI document.
pub(crate) const PARAMETERS: &[(&str, &str)] =
    &[("frame", "this frame, decoded, instead of the list")];

pub(crate) async fn preview(
    State(api): State<Api>,
    Extension(visit): Extension<Visit>,
    asked: Asked,
) -> Result<Response, Problem> {
    if let Some(sequence) = asked.value("frame")? {
        return Ok(one(&api, &visit, sequence).await?.into_response());
    }
    let preview = preview_for(&api, &visit.caller).await?;
    let frames = of(&api, |outgoing| outgoing.frames()).await;
    let content = html! {
        h1 { "Egress" }
        @match &frames {
            Ok(frames) => (waiting(&visit, frames)),
            Err(_) => p.say.bad {
                strong { "It is not known which frames wait, nor which are held." }
                " The journal says why: " code { "journalctl -u pericard -p err" } "."
            },
        }
        (notices(&api.rooms.notices.borrow()))
        section aria-labelledby="lasting" {
            h2 #lasting { "What is counted by now" }
            (numbers(&preview))
        }
        (settings(&api.rooms.settings.borrow()))
    };
    Ok(page(&visit, HERE, "Egress", content).into_response())
}

/// Holds a frame back, or all.
pub(crate) async fn hold(
    State(api): State<Api>,
    Extension(visit): Extension<Visit>,
    Posted(fields): Posted,
) -> Result<Response, Problem> {
    marked(&api, &visit, &fields, "hold frame", |outgoing, which| {
        outgoing.hold(which)
    })
    .await
}

/// Takes a hold away.
pub(crate) async fn release(
    State(api): State<Api>,
    Extension(visit): Extension<Visit>,
    Posted(fields): Posted,
) -> Result<Response, Problem> {
    marked(&api, &visit, &fields, "release frame", |outgoing, which| {
        outgoing.release(which)
    })
    .await
}

/// Said first, then done: there is no hold and no release that the log does not know.
async fn marked(
    api: &Api,
    visit: &Visit,
    fields: &Asked,
    verb: &'static str,
    mark: fn(&dyn Outgoing, Option<u32>) -> Result<(), String>,
) -> Result<Response, Problem> {
    let sequence = meant(fields)?;
    api.note_access(verb, &named(sequence), &visit.caller)
        .await?;
    of(api, move |outgoing| mark(outgoing, sequence)).await?;
    Ok(elsewhere(HERE, None))
}

/// What the keeper of the frames answers; trouble is for the journal.
async fn of<T: Send + 'static>(
    api: &Api,
    asked: impl FnOnce(&dyn Outgoing) -> Result<T, String> + Send + 'static,
) -> Result<T, Problem> {
    let outgoing = Arc::clone(&api.rooms.outgoing);
    let answer = off_thread(move || asked(outgoing.as_ref())).await?;
    answer.map_err(|error| {
        tracing::error!(error, "the frames that wait cannot be used");
        Problem::internal()
    })
}

/// Which frame a form means; `None` stands for all. Nothing said is no answer.
fn meant(fields: &Asked) -> Result<Option<u32>, Problem> {
    let wrong = || Problem::parameter("frame", "\"frame\" must be a frame's number, or \"all\"");
    match fields.text("frame") {
        Some(ALL) => Ok(None),
        Some(number) => number.parse().map(Some).map_err(|_| wrong()),
        None => Err(wrong()),
    }
}

/// As the command line and the audit log say it.
fn named(sequence: Option<u32>) -> String {
    sequence.map_or_else(|| "all frames".to_owned(), |n| format!("frame {n}"))
}

/// One frame, decoded.
async fn one(api: &Api, visit: &Visit, sequence: u32) -> Result<Page, Problem> {
    let subject = named(Some(sequence));
    api.note_access("preview egress", &subject, &visit.caller)
        .await?;
    let decoded = of(api, move |outgoing| outgoing.decoded(sequence)).await?;
    let preview = decoded.ok_or_else(|| Problem::not_found("such frame"))?;
    let content = html! {
        p.path { a href=(HERE) { "Egress" } " / frame" }
        h1 { "Frame " (sequence) }
        (numbers(&preview))
    };
    Ok(page(visit, HERE, "Frame", content))
}

/// Whether anything is sent, and the frames that are closed.
fn waiting(visit: &Visit, frames: &Frames) -> Markup {
    let is_over = |frame: &&ClosedFrame| frame.state == FrameState::Over;
    let (over, open): (Vec<_>, Vec<_>) = frames.frames.iter().partition(is_over);
    html! {
        (hold_of_all(visit, frames))
        section.sheet aria-labelledby="waiting" {
            h2 #waiting { "Frames that wait" }
            p.quiet {
                "Each tells of one week, and can be read and held back for " (frames.hold_days)
                " days from when the gate has seen it. One that is held holds those behind it."
            }
            @if open.is_empty() { (nothing("No frame waits.")) } @else { (table(visit, frames.hold_days, &open)) }
        }
        @if !over.is_empty() {
            details.sheet {
                summary { (over.len()) " frames are with the hub, or are never sent" }
                ul { @for frame in over.iter().rev().take(OVER_LISTED) {
                    li { a href=(link(frame)) { "Frame " (frame.sequence) } @if let Some(week) = frame.week { ", week " (days(week)) } }
                } }
            }
        }
    }
}

fn hold_of_all(visit: &Visit, frames: &Frames) -> Markup {
    let tone = if frames.are_all_held || !frames.is_enrolled {
        Tone::Good
    } else {
        Tone::Warn
    };
    html! {
        div class={ "say " (tone.class()) } {
            p {
                @if frames.are_all_held { strong { "All frames are held" } ", those to come too. " }
                @else { strong { "Frames are not held as a whole. " } }
                @match (frames.is_enrolled, frames.are_all_held) {
                    (false, _) => "No hub is enrolled: nothing is sent to anybody.",
                    (true, true) => "Nothing is sent to the hub that is enrolled.",
                    (true, false) => "A hub is enrolled: each frame that is not held goes to it when its time has come.",
                }
            }
            @if frames.are_all_held { (deed(visit, "release", ALL, "Release all")) }
            @else { (deed(visit, "hold", ALL, "Hold all")) }
        }
    }
}

fn table(visit: &Visit, hold_days: u32, frames: &[&ClosedFrame]) -> Markup {
    html! {
        table.stack {
            thead { tr {
                th scope="col" { "Frame" } th scope="col" { "Week" } th scope="col" { "State" } th scope="col" { "Goes" }
                th scope="col" { "Read" } th scope="col" { span.unseen { "What can be done" } }
            } }
            tbody { @for frame in frames {
                tr {
                    td.number data-name="Frame" { (frame.sequence) }
                    td data-name="Week" { @match frame.week { Some(week) => (days(week)), None => "–" } }
                    td data-name="State" { (state(frame)) }
                    td data-name="Goes" { (goes(frame.state, hold_days)) }
                    td data-name="Read" {
                        @if frame.state == FrameState::Unusable { "–" }
                        @else { a href=(link(frame)) { "Decode frame " (frame.sequence) } }
                    }
                    td.deeds {
                        @let which = frame.sequence.to_string();
                        @if frame.is_held { (deed(visit, "release", &which, "Release")) }
                        @else { (deed(visit, "hold", &which, "Hold")) }
                    }
                }
            } }
        }
    }
}

fn state(frame: &ClosedFrame) -> Markup {
    let (said, tone) = match frame.state {
        FrameState::Unseen => ("not seen by the gate yet", Tone::Quiet),
        FrameState::Waiting { .. } => ("waiting", Tone::Busy),
        FrameState::Held if frame.is_held => ("held", Tone::Warn),
        FrameState::Held => ("held with all", Tone::Warn),
        FrameState::Due => ("due", Tone::Busy),
        FrameState::Refused { .. } => ("refused by the hub", Tone::Bad),
        FrameState::Unusable => ("no frame", Tone::Bad),
        FrameState::Over => ("over", Tone::Quiet),
    };
    html! {
        (chip(said, tone))
        @if let FrameState::Refused { why } = frame.state { p.reason { (why) } }
    }
}

/// When it goes.
fn goes(state: FrameState, hold_days: u32) -> Markup {
    html! {
        @match state {
            FrameState::Unseen => { (hold_days) " days after the gate sees it" }
            FrameState::Waiting { until } => { "from " (moment(until)) " on" }
            FrameState::Held => "when it is released",
            FrameState::Due | FrameState::Refused { .. } => "in one of the next slots",
            FrameState::Unusable | FrameState::Over => "never",
        }
    }
}

/// A button for whoever may press it.
fn deed(visit: &Visit, deed: &str, which: &str, label: &str) -> Markup {
    let path = format!("{HERE}/{deed}");
    let said = match which {
        ALL => label.to_owned(),
        number => format!("{label}: frame {number}"),
    };
    html! {
        @if may(visit, &path) {
            form method="post" action=(path) {
                (word(visit))
                input type="hidden" name="frame" value=(which);
                button.plain type="submit" aria-label=(said) { (label) }
            }
        }
    }
}

fn link(frame: &ClosedFrame) -> String {
    format!("{HERE}?frame={}", frame.sequence)
}

/// A week from its Monday to its Sunday.
fn days(week: u16) -> String {
    let monday_ms = FIRST_MONDAY_MS + i64::from(week) * WEEK_MS;
    let [monday, sunday] = [monday_ms, monday_ms + 6 * DAY_MS].map(|at| {
        let at = Timestamp::from_millis(at).rfc3339();
        at.split_once('T')
            .map_or_else(|| at.clone(), |(date, _)| date.to_owned())
    });
    format!("{monday} to {sunday}")
}

/// How the gate is set.
fn settings(settings: &[Setting]) -> Markup {
    let gate: Vec<_> = settings.iter().filter(|s| s.section == "egress").collect();
    html! {
        @if !gate.is_empty() {
            section.sheet aria-labelledby="gate" {
                h2 #gate { "The gate, as configured" }
                dl.facts { @for setting in gate {
                    div { dt { (setting.key) } dd.uid { (setting.value) } }
                } }
            }
        }
    }
}

/// What the hub says of models.
fn notices(notices: &[Notice]) -> Markup {
    html! {
        @if !notices.is_empty() {
            section.sheet aria-labelledby="notices" {
                h2 #notices { "Recalls and advisories of the hub" }
                ul { @for notice in notices {
                    li { (notice.said()) }
                } }
            }
        }
    }
}

/// Every number of a frame, and its bytes.
fn numbers(preview: &Preview) -> Markup {
    let (said, unsaid): (Vec<_>, Vec<_>) = preview.numbers.iter().partition(|n| n.value != 0);
    html! {
        p {
            "One frame of " strong { (preview.frame_bytes) " bytes" } ": "
            (preview.numbers.len()) " unsigned numbers in fixed places, and "
            (preview.zero_padding_bytes) " bytes of zero padding. There is no place in it for a text."
        }
        (places("Numbers that are not zero", &said))
        details.sheet {
            summary { (unsaid.len()) " numbers that are zero" }
            (places("Numbers that are zero", &unsaid))
        }
        details.sheet {
            summary { "All bytes, in hexadecimal" }
            pre tabindex="0" aria-label="All bytes" { (lines(preview)) }
        }
    }
}

fn places(caption: &str, numbers: &[&Shown]) -> Markup {
    html! {
        table.stack {
            caption { (caption) }
            thead { tr {
                th scope="col" { "Number" } th scope="col" { "Value" } th scope="col" { "What it means" }
                th scope="col" { "Place" }
            } }
            tbody { @for number in numbers {
                tr {
                    td data-name="Number" { code { (number.name) } }
                    td.number data-name="Value" { (number.value) }
                    td data-name="Meaning" { (number.meaning) }
                    td.number.quiet data-name="Place" { (number.offset_bytes) " + " (number.width_bytes) }
                }
            } }
        }
    }
}

/// 32 bytes a line.
fn lines(preview: &Preview) -> String {
    let digits: Vec<char> = preview.frame_hex.chars().collect();
    let lines: Vec<String> = digits
        .chunks(64)
        .map(|line| line.iter().collect())
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_is_said_by_its_days() {
        assert_eq!(days(0), "1970-01-05 to 1970-01-11");
        assert_eq!(days(2968), "2026-11-23 to 2026-11-29");
    }
}
