//! The first page: the nation at a glance, and what somebody should look into.

use super::chart::{Chart, Point, Unit};
use super::hospital::page_of;
use super::layout::page;
use super::pieces::{hospital, model, nothing, sum, summed, week};
use super::visit::Visit;
use crate::findings::{Finding, FindingKind, findings};
use crate::outlook::{FALSE_ALARMS, Outlook, State, Trend};
use crate::records::{Snapshot, Viewer};
use crate::site::Site;
use axum::extract::{Extension, State as Given};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use std::collections::{BTreeMap, BTreeSet};

/// How many weeks count as now.
pub(super) const LATELY_WEEKS: usize = 4;

pub(super) async fn show(Given(site): Given<Site>, Extension(visit): Extension<Visit>) -> Response {
    let (snapshot, outlook) = visit.look(&site);
    if let Viewer::Hospital(own) = visit.viewer {
        return page_of(&visit, &snapshot, &outlook, own).into_response();
    }
    let found = findings(&snapshot, &outlook, visit.viewer);
    let content = html! {
        h1 { "The nation" }
        (to_look_into(&snapshot, &outlook, (&found, visit.viewer)))
        div.cards {
            (reporting(&outlook))
            (inferences(&outlook))
            (models(&snapshot, &outlook))
        }
        (volume(&outlook))
    };
    page(&visit, "/", "Overview", content).into_response()
}

/// Everything that was found, and how much of it may be chance.
fn to_look_into(
    snapshot: &Snapshot,
    outlook: &Outlook,
    (found, viewer): (&[Finding], Viewer),
) -> Markup {
    html! {
        section.sheet aria-labelledby="look" {
            h2 #look { "To be looked into" }
            @if found.is_empty() { p.say.good { strong { "Nothing." } " No finding is open." } }
            @for finding in found { (one(snapshot, finding, viewer)) }
            p.quiet.small {
                (outlook.compared) " weeks of models in hospitals were compared with their own first weeks. Chance alone moves \
                 at most one in " (1.0 / FALSE_ALARMS) " of them beyond its threshold, so at most "
                (format!("{:.1}", outlook.compared as f64 * FALSE_ALARMS))
                " of these by expectation; drift is said only after two in a row. Signatures and audit logs know no chance."
            }
        }
    }
}

/// A finding in a sentence.
pub(super) fn one(snapshot: &Snapshot, finding: &Finding, viewer: Viewer) -> Markup {
    let tone = match finding.kind {
        FindingKind::Silent => "warn",
        _ => "bad",
    };
    html! {
        p class={ "say " (tone) } data-finding=(finding.kind.word()) {
            strong { (finding.kind.meaning()) } " "
            @if let Some(number) = finding.hospital { (hospital(snapshot, number)) ", " }
            @if let Some(id) = finding.model { (model(snapshot, viewer, id)) ", " }
            @if let Some(since) = finding.since_week { "since the week of " (week(since)) ": " }
            (finding.why) "."
        }
    }
}

fn reporting(outlook: &Outlook) -> Markup {
    let states = [
        State::Reporting,
        State::Holding,
        State::Refused,
        State::Silent,
        State::New,
        State::Suspended,
    ];
    let count = |state| {
        outlook
            .sites
            .iter()
            .filter(|site| site.state == state)
            .count()
    };
    html! {
        section.sheet aria-labelledby="reporting" {
            h2 #reporting { a href="/hospitals" { "Hospitals" } }
            dl.facts {
                div { dt { "enrolled" } dd.number { (outlook.sites.len()) } }
                @for state in states { div { dt { (state.word()) } dd.number { (count(state)) } } }
            }
            p.quiet.small {
                "A frame is due two weeks after its week began: a week to be counted, and one in which the hospital may hold it. \
                 One that is later is held back or on its way by hand; after five weeks nothing comes any more. Exact."
            }
        }
    }
}

fn inferences(outlook: &Outlook) -> Markup {
    let weeks: BTreeSet<u16> = outlook
        .lives
        .iter()
        .flat_map(|l| l.weeks.iter().map(|w| w.week))
        .collect();
    let lately: Vec<u16> = weeks.into_iter().rev().take(LATELY_WEEKS).collect();
    let told = outlook.lives.iter().flat_map(|live| &live.weeks);
    let told: Vec<_> = told.filter(|week| lately.contains(&week.week)).collect();
    let done = sum(told.iter().map(|week| week.done));
    let failed = sum(told.iter().map(|week| week.failed));
    html! {
        section.sheet aria-labelledby="inferences" {
            h2 #inferences { "Inferences" }
            dl.facts {
                div { dt { "with a result" } dd { (summed(done)) } }
                div { dt { "without" } dd { (summed(failed)) } }
                @if let (Some(last), Some(first)) = (lately.first(), lately.last()) {
                    div { dt { "in the weeks of" } dd { (week(*first)) " to " (week(*last)) } }
                }
            }
            p.quiet.small { "Exact. Counts of one to four are left out, and so are in no sum." }
        }
    }
}

fn models(snapshot: &Snapshot, outlook: &Outlook) -> Markup {
    let live = |trend: &Trend| trend.weeks.last().map_or(0, |last| last.hospitals);
    html! {
        section.sheet aria-labelledby="in-use" {
            h2 #in-use { a href="/models" { "Models in use" } }
            @if outlook.trends.is_empty() { (nothing("No frame told of a model yet.")) }
            dl.facts { @for trend in &outlook.trends {
                div { dt { (model(snapshot, Viewer::Analyst, trend.model)) } dd { "in " (live(trend)) " hospitals" } }
            } }
        }
    }
}

/// What all models did, week by week.
fn volume(outlook: &Outlook) -> Markup {
    let mut weeks: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
    for week in outlook.lives.iter().flat_map(|live| &live.weeks) {
        weeks.entry(week.week).or_default().push(week.done);
    }
    let points = weeks
        .into_iter()
        .map(|(week, done)| Point::exact(week, sum(done).0 as f64));
    Chart {
        id: "volume",
        title: "Inferences with a result, by week",
        what: "Exact sums of all hospitals that told of the week; the newest weeks are still coming in. Counts of one to four \
               are left out.",
        unit: Unit::Count,
        points: points.collect(),
    }
    .draw()
}
