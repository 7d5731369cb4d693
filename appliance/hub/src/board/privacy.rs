//! What a frame is, what it costs, and a decoder for any frame: whoever doubts what leaves a hospital can read it here.

use super::decoder::{Found, decoded, found};
use super::layout::{Page, page, word};
use super::visit::WORD;
use super::visit::{Visit, refused, stranger};
use crate::figures::{ESTIMATE_MIN, noise_variance};
use crate::site::Site;
use crate::weeks::COUNT_SHOWN_MIN;
use axum::extract::{Extension, Multipart, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};
use pericard_frame::layout::{LAYOUT, VERSION};
use pericard_frame::{FRAME_BYTES, Frame};

/// What a histogram of a week costs, as appliances spend it.
const WEEK_MILLI_EPSILON: u64 = 500;

pub(super) async fn show(Extension(visit): Extension<Visit>) -> Page {
    let content = html! {
        h1 { "Privacy" }
        (what())
        (budget())
        (form(&visit))
        (places())
    };
    page(&visit, "/privacy", "Privacy", content)
}

/// Decodes the file that was brought.
pub(super) async fn decode(
    State(site): State<Site>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    parts: Multipart,
) -> Response {
    let Some((said, file)) = brought(parts).await else {
        let why = "Bring one file of at most 4096 bytes: a frame, or a reply.";
        return refused(StatusCode::BAD_REQUEST, why).into_response();
    };
    if !visit.wrote(&headers, &said) {
        return stranger().into_response();
    }
    let snapshot = site.hub().records().snapshot();
    let found = found(&file);
    let known = matches!(&found, Found::Frame(frame)
        if snapshot.frames.iter().any(|held| held.frame.bytes() == frame.bytes() && visit.viewer.sees(held.appliance)));
    let content = html! {
        p.path { a href="/privacy" { "Privacy" } " / decoded" }
        h1 { "A frame, decoded" }
        @if known { p.say.good { "The hub holds this very frame." } }
        (decoded(&found))
        (form(&visit))
    };
    page(&visit, "/privacy", "Decoded", content).into_response()
}

/// The form's word and the file in it; nothing when it is neither, or too much.
async fn brought(mut parts: Multipart) -> Option<(String, Vec<u8>)> {
    let (mut said, mut file) = (None, None);
    while let Some(part) = parts.next_field().await.ok()? {
        match part.name() {
            Some(WORD) => said = Some(part.text().await.ok()?),
            Some("frame") => file = Some(part.bytes().await.ok()?.to_vec()),
            _ => {}
        }
    }
    said.zip(file)
}

fn what() -> Markup {
    html! {
        section.sheet aria-labelledby="what" {
            h2 #what { "What a frame is" }
            p {
                "All that ever leaves a hospital: " (FRAME_BYTES) " bytes, once a week, whatever there is to say. It is made of \
                 unsigned whole numbers in fixed places with fixed ranges, and has no place for a text. The bytes behind the last \
                 number (" (Frame::padding_bytes()) ") are zero, which both ends check. The hospital reads every frame decoded, and may \
                 hold it back for as long as it wants, before its gate signs and sends it; a retry sends the same bytes."
            }
            p {
                "Two kinds of number are in it. " strong { "Operational counts" } " say what the appliance did: exact, and identifying \
                 the hospital by design. " strong { "Histograms" } " are derived from patients: inferences by review and tenth of the \
                 score. Noise is added to each cell inside the hospital, before the frame is made, so that no frame, and no number on \
                 these pages, tells whether one patient was among those counted."
            }
        }
    }
}

fn budget() -> Markup {
    let sd = noise_variance(WEEK_MILLI_EPSILON).sqrt();
    html! {
        section.sheet aria-labelledby="budget" {
            h2 #budget { "The budget" }
            dl.facts {
                div { dt { "one model and week" } dd { "epsilon 0.5: discrete Laplace noise with a standard deviation of "
                    (format!("{sd:.1}")) " in each of 30 cells" } }
                div { dt { "one patient and week" } dd { "epsilon 1 at most: a patient is counted once for a model, for two models" } }
                div { dt { "one patient and year" } dd { "epsilon 52 for somebody who is seen in every week; 2 for two weeks" } }
                div { dt { "told at all" } dd { "from 200 inferences, or from 50 after four weeks together" } }
                div { dt { "shown here" } dd { "estimates from " (ESTIMATE_MIN) " on; exact counts from " (COUNT_SHOWN_MIN) " on" } }
            }
            p.quiet.small {
                "The claim is epsilon 1 for a patient and week, and weeks add up. A ledger in each hospital refuses what its year does \
                 not allow. The hospital's own verdict on drift comes from exact numbers: one of four words a week, from 200 patients on."
            }
        }
    }
}

fn form(visit: &Visit) -> Markup {
    html! {
        section.sheet aria-labelledby="decoder" {
            h2 #decoder { "Decode a frame or a reply" }
            form method="post" action="/privacy/decoded" enctype="multipart/form-data" {
                (word(visit))
                div.row {
                    div.field {
                        label for="frame" { "A file of " (FRAME_BYTES) " bytes: NNNNNNNN.frame or NNNNNNNN.reply" }
                        input #frame type="file" name="frame" required;
                    }
                    button type="submit" { "Decode it" }
                }
            }
            p.quiet.small { "It is read, shown and forgotten." }
        }
    }
}

/// Every place of the layout.
fn places() -> Markup {
    html! {
        section.sheet aria-labelledby="places" {
            h2 #places { "Every number of a frame, layout " (VERSION) }
            details {
                summary { "The layout" }
                table.stack {
                    thead { tr {
                        th scope="col" { "Field" } th scope="col" { "From byte" } th scope="col" { "Numbers" }
                        th scope="col" { "Range" } th scope="col" { "Meaning" }
                    } }
                    tbody { @for spec in LAYOUT { tr {
                        td data-name="Field" { code { (spec.name) } }
                        td.number data-name="From byte" { (spec.offset_bytes) }
                        td.number data-name="Numbers" { (spec.count) " of " (spec.width_bytes) " bytes" }
                        td.number data-name="Range" { (spec.min) " to " (spec.max) }
                        td data-name="Meaning" { (spec.meaning) }
                    } } }
                }
            }
        }
    }
}
