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
use pericard_frame::budget::{
    MAX_MODELS_A_PATIENT, MODEL_WEEK_MILLI_EPSILON, WEEK_MILLI_EPSILON, WEEK_MILLI_EPSILON_MAX,
    YEAR_MILLI_EPSILON, YEAR_WEEKS,
};
use pericard_frame::layout::{CELLS, EVALUATION_CELLS, LAYOUT, TOLD_EVALUATIONS, VERSION};
use pericard_frame::{FRAME_BYTES, Frame};

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
                "Two kinds of number are in it. " strong { "Operational counts" } " say what the appliance did, such as each model's \
                 inferences with and without a result: exact, identifying the hospital by design, and not differentially private. \
                 A count of one is in the frame as one; the pages here show counts from " (COUNT_SHOWN_MIN) " on, and smaller ones \
                 to the hospital itself only. " strong { "Histograms" } " are derived from patients: inferences by review and tenth \
                 of the score, and the cases of an evaluation by label and tenth. Their cells are differentially private: noise is \
                 added to each inside the hospital, before the frame is made, and nobody can tell from the noised cells alone, but \
                 for what the budget below allows, whether one patient was among those counted."
            }
        }
    }
}

/// Thousandths of epsilon, as people say them.
fn epsilon(milli: u32) -> String {
    format!("epsilon {}", f64::from(milli) / 1000.0)
}

fn budget() -> Markup {
    let sd = noise_variance(MODEL_WEEK_MILLI_EPSILON.into()).sqrt();
    html! {
        section.sheet aria-labelledby="budget" {
            h2 #budget { "The budget" }
            dl.facts {
                div { dt { "one model and week" } dd { (epsilon(MODEL_WEEK_MILLI_EPSILON)) ": discrete Laplace noise with a standard \
                    deviation of " (format!("{sd:.1}")) " in each of " (CELLS) " cells" } }
                div { dt { "one evaluation" } dd { (epsilon(MODEL_WEEK_MILLI_EPSILON)) ": the same noise in each of " (EVALUATION_CELLS)
                    " cells; a frame tells of " (TOLD_EVALUATIONS) " at most" } }
                div { dt { "one patient and week" } dd { (epsilon(WEEK_MILLI_EPSILON)) " at most while no evaluation is told of: a patient is \
                    counted once for a model, for " (MAX_MODELS_A_PATIENT) " models; " (epsilon(WEEK_MILLI_EPSILON_MAX)) " at most in a week \
                    that tells of " (TOLD_EVALUATIONS) " evaluations" } }
                div { dt { "one patient and year" } dd { (epsilon(YEAR_MILLI_EPSILON)) " for somebody who is seen in each of "
                    (YEAR_WEEKS) " weeks, and " (epsilon(MODEL_WEEK_MILLI_EPSILON)) " more for each evaluation" } }
                div { dt { "told at all" } dd { "from 200 inferences, or from 50 after four weeks together" } }
                div { dt { "shown here" } dd { "estimates from " (ESTIMATE_MIN) " on; exact counts from " (COUNT_SHOWN_MIN) " on" } }
            }
            p.quiet.small {
                "The claim is about the histograms, for a patient and week, and weeks add up. A ledger in each hospital refuses to \
                 draw noise that its year does not allow. Exact counts are no part of it, and nor is the hospital's own verdict on \
                 drift, which comes from exact numbers: one of four words a week, from 200 patients on."
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
