//! What would leave, number by number, before it leaves.

use super::layout::{Page, page};
use super::settings::Setting;
use super::visit::Visit;
use crate::appliance::Api;
use crate::notice::Notice;
use crate::operations::egress::preview_for;
use crate::problem::Problem;
use axum::Extension;
use axum::extract::State;
use maud::{Markup, html};
use pericard_egress::{Preview, Shown};

pub(crate) async fn preview(
    State(api): State<Api>,
    Extension(visit): Extension<Visit>,
) -> Result<Page, Problem> {
    let preview = preview_for(&api, &visit.caller).await?;
    let (said, unsaid): (Vec<_>, Vec<_>) = preview.numbers.iter().partition(|n| n.value != 0);
    let content = html! {
        h1 { "Egress" }
        (hold(&api.rooms.settings.borrow()))
        (notices(&api.rooms.notices.borrow()))
        p {
            "One frame of " strong { (preview.frame_bytes) " bytes" } ": "
            (preview.numbers.len()) " unsigned numbers in fixed places, and "
            (preview.zero_padding_bytes) " bytes of zero padding. There is no place in it for a text."
        }
        (table("Numbers that are not zero", &said))
        details.sheet {
            summary { (unsaid.len()) " numbers that are zero" }
            (table("Numbers that are zero", &unsaid))
        }
        details.sheet {
            summary { "All bytes, in hexadecimal" }
            pre tabindex="0" aria-label="All bytes" { (lines(&preview)) }
        }
    };
    Ok(page(&visit, "/console/egress", "Egress", content))
}

/// Whether anything is sent, as far as the configuration says.
fn hold(settings: &[Setting]) -> Markup {
    let gate: Vec<_> = settings.iter().filter(|s| s.section == "egress").collect();
    html! {
        @if gate.is_empty() {
            p.say.good {
                strong { "Held." } " No sending gate is configured: nothing leaves. What is counted stays here, and this "
                "is what would be sent."
            }
        } @else {
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

fn table(caption: &str, numbers: &[&Shown]) -> Markup {
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
