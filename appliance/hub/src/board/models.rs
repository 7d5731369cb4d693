//! The models of the catalogue, and how each does.

use super::layout::{Page, page};
use super::nation::LATELY_WEEKS;
use super::pieces::{Tone, chip, model, nothing, share, sum, summed, week};
use super::visit::Visit;
use crate::figures::Pool;
use crate::outlook::Trend;
use crate::records::Snapshot;
use crate::site::Site;
use axum::extract::{Extension, State};
use maud::{Markup, html};
use pericard_frame::reply::Kind;
use std::collections::BTreeSet;

pub(super) async fn list(State(site): State<Site>, Extension(visit): Extension<Visit>) -> Page {
    let (snapshot, outlook) = visit.look(&site);
    let told = outlook.trends.iter().map(|trend| trend.model);
    let ids: BTreeSet<u16> = told.chain(snapshot.models.iter().map(|m| m.id)).collect();
    let content = html! {
        h1 { "Models" }
        p.quiet {
            "Of the last " (LATELY_WEEKS) " weeks that were told of. Shares are estimates from noised counts, with their 95 % \
             interval; counts are exact."
        }
        @if ids.is_empty() { (nothing("The catalogue is empty: `pericard hub model add` begins it.")) }
        @else { div.sheet { table.stack {
            thead { tr {
                th scope="col" { "Model" } th scope="col" { "Live in" } th scope="col" { "Inferences" }
                th scope="col" { "Positive" } th scope="col" { "Agreed with" } th scope="col" { "Scores" }
            } }
            tbody { @for id in ids { (row(&snapshot, &visit, id, outlook.trend(id))) } }
        } } }
    };
    page(&visit, "/models", "Models", content)
}

fn row(snapshot: &Snapshot, visit: &Visit, id: u16, trend: Option<&Trend>) -> Markup {
    let weeks = trend.map_or(&[][..], |trend| lately(trend));
    let pool = Pool::of(weeks.iter().map(|week| &week.pool));
    let done = sum(weeks.iter().flat_map(|week| week.done.iter().copied()));
    html! {
        tr {
            td data-name="Model" { span { (model(snapshot, visit.viewer, id)) " " (warnings(snapshot, id)) } }
            td.number data-name="Live in" { (weeks.last().map_or(0, |week| week.hospitals)) " hospitals" }
            td data-name="Inferences" { span { (summed(done)) } }
            td data-name="Positive" { (share(pool.positivity())) }
            td data-name="Agreed with" { (share(pool.concordance())) }
            td data-name="Scores" { @if let Some(trend) = trend { span { (drift(trend)) } } }
        }
    }
}

/// The last weeks that were told of.
pub(super) fn lately(trend: &Trend) -> &[crate::outlook::TrendWeek] {
    &trend.weeks[trend.weeks.len().saturating_sub(LATELY_WEEKS)..]
}

/// Whether it drifts.
pub(super) fn drift(trend: &Trend) -> Markup {
    let compared = trend.weeks.iter().any(|week| week.distance.is_some());
    html! { @match trend.drifts_since {
        Some(since) => { (chip("drift", Tone::Bad)) " since " (week(since)) },
        None if compared => (chip("stable", Tone::Good)),
        None => (chip("not compared yet", Tone::Quiet)),
    } }
}

/// Recalls and advisories on this model.
pub(super) fn warnings(snapshot: &Snapshot, id: u16) -> Markup {
    let issued = snapshot.advisories.iter().map(|issued| &issued.advisory);
    let kinds: Vec<Kind> = issued.filter(|a| a.model == id).map(|a| a.kind).collect();
    html! {
        @if kinds.contains(&Kind::Recall) { (chip("recalled", Tone::Bad)) }
        @if kinds.contains(&Kind::Advisory) { (chip("advisory", Tone::Warn)) }
    }
}
