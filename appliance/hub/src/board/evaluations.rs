//! Federated evaluation: every plan, and its scorecard across hospitals.

use super::layout::{Page, page};
use super::pieces::{Tone, chip, hospital, model, moment, nothing, percent, week};
use super::visit::Visit;
use crate::evaluation::{HOSPITALS_MIN, Outcome, Score, Scorecard, scorecard};
use crate::records::{Published, Snapshot};
use crate::site::Site;
use axum::extract::{Extension, State};
use maud::{Markup, html};
use pericard_frame::plan::Plan;

pub(super) async fn show(State(site): State<Site>, Extension(visit): Extension<Visit>) -> Page {
    let snapshot = site.hub().records().snapshot();
    let content = html! {
        h1 { "Evaluations" }
        p.quiet {
            "What hospitals measured of a model on labelled cases of their own. Each sent one histogram of cases by label and \
             score, with noise; the metrics are computed here. Every hospital counts alike, one that is far from the middle is \
             clipped, and from fewer than " (HOSPITALS_MIN) " there is no figure, neither of all nor of one. An outcome of fewer \
             cases than the plan asks for is left out. The calibration error of all hospitals is where they are off alike; a \
             hospital's own also holds what chance adds, so each may be above it."
        }
        @if snapshot.plans.is_empty() { (nothing("No plan was published: `pericard hub evaluation publish` does.")) }
        @for published in snapshot.plans.iter().rev() { (card(&snapshot, &visit, published)) }
    };
    page(&visit, "/evaluations", "Evaluations", content)
}

fn card(snapshot: &Snapshot, visit: &Visit, published: &Published) -> Markup {
    let Scorecard {
        plan,
        outcomes,
        scores,
    } = scorecard(snapshot, &published.plan);
    let title = format!("plan-{}", plan.number);
    let open = plan.until_s > snapshot.now_s;
    html! {
        section.sheet aria-labelledby=(title) {
            h2 id=(title) { "Plan " (plan.number) ": " (model(snapshot, visit.viewer, plan.model)) " "
                @if open { (chip("open", Tone::Good)) } @else { (chip("ended", Tone::Quiet)) } }
            @if !published.text.is_empty() { p { (published.text) } }
            dl.facts {
                div { dt { "issued" } dd { (moment(plan.issued_at_s)) } }
                div { dt { "until" } dd { (moment(plan.until_s)) } }
                div { dt { "positive from a score of" } dd.number { "0." (plan.threshold_tenth) } }
                div { dt { "told from" } dd.number { (plan.cases_min) " cases" } }
                div { dt { "told by" } dd.number { (outcomes.len()) " hospitals" } }
            }
            (figures(&scores))
            @if !outcomes.is_empty() { (hospitals(snapshot, &plan, &outcomes, &scores)) }
        }
    }
}

fn figures(scores: &[Score]) -> Markup {
    html! {
        table.stack {
            caption { "Across hospitals" }
            thead { tr {
                th scope="col" { "Metric" } th scope="col" { "Figure (95 % interval)" } th scope="col" { "Lowest to highest" }
                th scope="col" { "Hospitals" } th scope="col" { "Clipped" }
            } }
            tbody { @for score in scores { tr {
                td data-name="Metric" { span { (score.metric.word().replace('-', " ")) br; span.quiet.small { (score.metric.meaning()) } } }
                td.number data-name="Figure" { @match score.estimate {
                    Some(estimate) => (percent(estimate)),
                    None => span.quiet { "left out: fewer than " (HOSPITALS_MIN) " hospitals" },
                } }
                td.number data-name="Lowest to highest" { @if let Some((low, high)) = score.range {
                    span { (percent(low)) " to " (percent(high)) }
                } }
                td.number data-name="Hospitals" { (score.hospitals) }
                td.number data-name="Clipped" { (score.clipped) }
            } } }
        }
    }
}

/// Hospital by hospital, from as many hospitals on as make a scorecard: the same figures by name are no less of a small
/// group than their sum. A metric without a figure across hospitals has none here either.
fn hospitals(snapshot: &Snapshot, plan: &Plan, outcomes: &[Outcome], scores: &[Score]) -> Markup {
    let counted = outcomes.iter().filter(|outcome| outcome.counts_for(plan));
    if counted.count() < HOSPITALS_MIN {
        return html! { p.quiet.small {
            "Hospital by hospital: left out, fewer than " (HOSPITALS_MIN) " hospitals told of " (plan.cases_min) " cases or more."
        } };
    }
    html! {
        details {
            summary { "Hospital by hospital" }
            table.stack {
                thead { tr {
                    th scope="col" { "Hospital" } th scope="col" { "Week of" } th scope="col" { "Cases" }
                    @for score in scores { th scope="col" { (score.metric.word().replace('-', " ")) } }
                } }
                tbody { @for outcome in outcomes { (row(snapshot, plan, outcome, scores)) } }
            }
            p.quiet.small {
                "A single hospital's figure stands with its 95 % interval, in which the noise of its cells is: it is there to find \
                 outliers, not to rank."
            }
        }
    }
}

fn row(snapshot: &Snapshot, plan: &Plan, outcome: &Outcome, scores: &[Score]) -> Markup {
    let threshold = usize::from(plan.threshold_tenth);
    let figure = |score: &Score| match (score.estimate, outcome.estimate(score.metric, threshold)) {
        (None, _) => "left out".to_owned(),
        (_, None) => "too few".to_owned(),
        (_, Some(estimate)) => percent(estimate),
    };
    html! { tr {
        td data-name="Hospital" { (hospital(snapshot, outcome.hospital)) }
        td data-name="Week of" { (week(outcome.week)) }
        @if outcome.counts_for(plan) {
            td.number data-name="Cases" { (format!("{:.0} (± {:.0})", outcome.cases().max(0.0), 1.96 * outcome.cases_sd())) }
            @for score in scores { td.number data-name=(score.metric.word().replace('-', " ")) { (figure(score)) } }
        } @else {
            td data-name="Cases" { span.quiet { "left out: fewer than " (plan.cases_min) } }
            @for score in scores { td data-name=(score.metric.word().replace('-', " ")) { span.quiet { "left out" } } }
        }
    } }
}
