//! The enrolled hospitals, and how each reports.

use super::layout::{Page, page};
use super::pieces::{Tone, chip, moment, nothing, state, sum, summed, week};
use super::visit::Visit;
use crate::findings::{Finding, findings};
use crate::outlook::{Outlook, Site as Stands};
use crate::site::Site;
use axum::extract::{Extension, State};
use maud::{Markup, html};

pub(super) async fn list(State(site): State<Site>, Extension(visit): Extension<Visit>) -> Page {
    let (snapshot, outlook) = visit.look(&site);
    let found = findings(&snapshot, &outlook, visit.viewer);
    let content = html! {
        h1 { "Hospitals" }
        @if outlook.sites.is_empty() { (nothing("No hospital is enrolled: an admin grants a request, here or by `pericard hub enrol`.")) }
        @else { div.sheet { table.stack {
            thead { tr {
                th scope="col" { "Hospital" } th scope="col" { "State" } th scope="col" { "Last week told of" }
                th scope="col" { "Received" } th scope="col" { "Inferences of that week" } th scope="col" { "Findings" }
            } }
            tbody { @for stands in &outlook.sites { (row(&outlook, stands, &found)) } }
        } } }
    };
    page(&visit, "/hospitals", "Hospitals", content)
}

fn row(outlook: &Outlook, stands: &Stands, found: &[Finding]) -> Markup {
    let number = stands.hospital.number;
    let own = found
        .iter()
        .filter(|finding| finding.hospital == Some(number));
    let mut words: Vec<&str> = own.map(|finding| finding.kind.word()).collect();
    words.dedup();
    let last = stands.last.as_ref();
    let done = outlook
        .lives_of(number)
        .filter_map(|live| live.weeks.last());
    let done = sum(done
        .filter(|w| last.is_some_and(|l| l.week == w.week))
        .map(|w| w.done));
    html! {
        tr {
            td data-name="Hospital" { a href={ "/hospitals/" (number) } { (stands.hospital.name) } }
            td data-name="State" { (state(stands.state)) }
            td data-name="Last week told of" { @match last { Some(last) => (week(last.week)), None => "none" } }
            td data-name="Received" { @if let Some(last) = last { (moment(last.received_at_s)) } }
            td data-name="Inferences of that week" { span { (summed(done)) } }
            td data-name="Findings" { span.chips { @for word in words { (chip(&word.replace('_', " "), Tone::Bad)) } } }
        }
    }
}
