//! One model: where it is live, how much it does, how often it is positive and right, whether its scores drift, how long it
//! takes.

use super::chart::{Chart, Point, Unit};
use super::layout::page;
use super::models::{drift, lately, warnings};
use super::pieces::{
    Tone, apart, bucket, bucket_estimate, chip, exact, hospital, model_name, noised,
    noised_distance, nothing, share, sum, summed, verdict, week,
};
use super::visit::{Visit, nothing_there};
use crate::figures::Pool;
use crate::outlook::{DISTANCE_MIN, FALSE_ALARMS, Live, Outlook, Trend, TrendWeek, middle};
use crate::records::{Model, Snapshot};
use crate::site::Site;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

pub(super) async fn show(
    State(site): State<Site>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
) -> Response {
    let (snapshot, outlook) = visit.look(&site);
    let id: Option<u16> = id.parse().ok();
    let known =
        |id: &u16| snapshot.models.iter().any(|m| m.id == *id) || outlook.trend(*id).is_some();
    let Some(id) = id.filter(known) else {
        return nothing_there().into_response();
    };
    let name = model_name(&snapshot, id);
    let content = html! {
        p.path { a href="/models" { "Models" } " / " (name) }
        h1 { (name) " " (warnings(&snapshot, id)) }
        @if let Some(trend) = outlook.trend(id) {
            (at_a_glance(&snapshot, trend))
            div.charts { (charts(trend)) }
            (places(&snapshot, &outlook, id))
        } @else { (nothing("No frame told of it yet.")) }
        (versions(&snapshot, &outlook, id))
    };
    page(&visit, "/models", &name, content).into_response()
}

fn at_a_glance(snapshot: &Snapshot, trend: &Trend) -> Markup {
    let weeks = lately(trend);
    let pool = Pool::of(weeks.iter().map(|week| &week.pool));
    let (compared, moved) = trend.breadth;
    let digest = snapshot
        .models
        .iter()
        .find(|m| m.id == trend.model)
        .map(|m| hex::encode(m.digest));
    html! {
        section.sheet aria-labelledby="glance" {
            h2 #glance { "The last " (weeks.len()) " weeks" }
            dl.facts {
                div { dt { "live in" } dd.number { (weeks.last().map_or(0, |week| week.hospitals)) " hospitals" } }
                div { dt { "inferences with a result" } dd { (summed(sum(weeks.iter().flat_map(|w| w.done.iter().copied())))) } }
                div { dt { "of these told of with noise" } dd { (noised(pool.total())) } }
                div { dt { "score of 0.5 and above" } dd { (share(pool.positivity())) } }
                div { dt { "reviewed" } dd.number { (reviewed(&pool)) } }
                div { dt { "agreed with, of the reviewed" } dd { (share(pool.concordance())) } }
                div { dt { "scores" } dd { (drift(trend)) ", " (moved) " of " (compared) " hospitals lie elsewhere" } }
                div { dt { "median duration" } dd { (durations(weeks)) } }
                @if let Some(digest) = digest { div { dt { "manifest" } dd.uid { (digest) } } }
            }
        }
    }
}

/// How many were reviewed, with the noise's interval.
fn reviewed(pool: &Pool) -> String {
    let reach = 1.96 * pool.noise_sd(20);
    let count = pool.reviewed();
    format!("{:.0} (± {reach:.0})", count.max(0.0))
}

/// The middle one of all hospitals' medians, and the slowest.
fn durations(weeks: &[TrendWeek]) -> String {
    let mut all: Vec<u8> = weeks
        .iter()
        .flat_map(|week| week.p50.iter().copied())
        .collect();
    all.sort_unstable();
    match (middle(&all), all.last()) {
        (Some(middle), Some(slowest)) => format!(
            "{} in the middle hospital, {} in the slowest",
            bucket(middle),
            bucket(*slowest)
        ),
        _ => "too few to tell".to_owned(),
    }
}

fn charts(trend: &Trend) -> Markup {
    let points = |value: &dyn Fn(&TrendWeek) -> Point| trend.weeks.iter().map(value).collect();
    let estimate = |week: &TrendWeek, value| Point {
        week: week.week,
        value,
        limit: None,
    };
    let alarm = format!(
        "The greatest difference between the cumulated scores of the week and of each hospital's own first weeks, hospital by \
         hospital, without the one that lies farthest. The threshold follows from the week's counts and noise: chance alone \
         passes it at most once in {} weeks. The band is the 95 % interval. Drift is said after two in a row of {DISTANCE_MIN} or more.",
        1.0 / FALSE_ALARMS
    );
    let all = [
        Chart {
            id: "distance",
            title: "Score drift",
            what: &alarm,
            unit: Unit::Distance,
            points: points(&|week| Point {
                week: week.week,
                value: week.distance.map(noised_distance),
                limit: week.distance.map(|far| far.threshold),
            }),
        },
        Chart {
            id: "concordance",
            title: "Agreed with, of the reviewed",
            what: "Estimated from noised counts; the band is the 95 % interval. A review that comes after its week was closed is \
                   told in no frame, and so not here.",
            unit: Unit::Percent,
            points: points(&|week| estimate(week, week.pool.concordance())),
        },
        Chart {
            id: "positivity",
            title: "Scores of 0.5 and above",
            what: "Estimated from noised counts; the band is the 95 % interval.",
            unit: Unit::Percent,
            points: points(&|week| estimate(week, week.pool.positivity())),
        },
        Chart {
            id: "volume",
            title: "Inferences with a result",
            what: "Exact; counts of one to four are left out, and the newest weeks are still coming in.",
            unit: Unit::Count,
            points: points(&|week| {
                Point::exact(week.week, sum(week.done.iter().copied()).0 as f64)
            }),
        },
        Chart {
            id: "duration",
            title: "Median duration of an inference",
            what: DURATIONS,
            unit: Unit::Millis,
            points: points(&|week| estimate(week, middle(&week.p50).and_then(bucket_estimate))),
        },
        Chart {
            id: "duration-95",
            title: "Duration that 95 of 100 inferences stay within",
            what: DURATIONS,
            unit: Unit::Millis,
            points: points(&|week| estimate(week, middle(&week.p95).and_then(bucket_estimate))),
        },
    ];
    html! { @for chart in &all { (chart.draw()) } }
}

/// What is said of both charts of durations.
const DURATIONS: &str = "Of the middle hospital among those that had 200 inferences or more to tell it of; the band is what \
                         is known of it, from one end of its bucket to the other.";

/// Where it is live.
fn places(snapshot: &Snapshot, outlook: &Outlook, id: u16) -> Markup {
    html! {
        section.sheet aria-labelledby="places" {
            h2 #places { "Where it is live" }
            table.stack {
                thead { tr {
                    th scope="col" { "Hospital" } th scope="col" { "Last week" } th scope="col" { "Inferences" }
                    th scope="col" { "Positive" } th scope="col" { "Agreed with" } th scope="col" { "Scores" }
                    th scope="col" { "Its own verdict" } th scope="col" { "Median duration" }
                } }
                tbody { @for live in outlook.lives.iter().filter(|live| live.model == id) { (place(snapshot, live)) } }
            }
            p.quiet.small {
                "Inferences of its last week, exact; shares of the last four histograms, with their interval. A hospital judges \
                 its exact scores by itself, and says no more of it than this word."
            }
        }
    }
}

fn place(snapshot: &Snapshot, live: &Live) -> Markup {
    let Some(last) = live.weeks.last() else {
        return html! {};
    };
    let pool = live.lately(super::nation::LATELY_WEEKS);
    html! {
        tr {
            td data-name="Hospital" { (hospital(snapshot, live.hospital)) }
            td data-name="Last week" { (week(last.week)) }
            td data-name="Inferences" { (exact(last.done, false)) }
            td data-name="Positive" { (share(pool.positivity())) }
            td data-name="Agreed with" { (share(pool.concordance())) }
            td data-name="Scores" { span { (moved(live)) } }
            td data-name="Its own verdict" { (verdict(last.verdict)) }
            td data-name="Median duration" { (bucket(last.p50)) }
        }
    }
}

/// Whether its scores moved, as far as the hub can tell.
pub(super) fn moved(live: &Live) -> Markup {
    html! { @match (live.apart_since, live.compared().next_back()) {
        (Some(since), _) => { (chip("moved", Tone::Bad)) " since " (week(since)) },
        (None, Some((_, far))) => {
            (chip("as before", Tone::Good)) " " span.quiet { (apart(&far)) }
        },
        (None, None) => (chip("not compared yet", Tone::Quiet)),
    } }
}

/// The other versions of the same model.
fn versions(snapshot: &Snapshot, outlook: &Outlook, id: u16) -> Markup {
    let name = snapshot.models.iter().find(|m| m.id == id).map(|m| &m.name);
    let others = snapshot.models.iter().filter(|m| Some(&m.name) == name);
    let others: Vec<&Model> = others.collect();
    let live = |id| {
        outlook
            .trend(id)
            .and_then(|t| t.weeks.last())
            .map_or(0, |w| w.hospitals)
    };
    html! {
        @if !others.is_empty() {
            section.sheet aria-labelledby="versions" {
                h2 #versions { "Versions" }
                table.stack {
                    thead { tr {
                        th scope="col" { "Number" } th scope="col" { "Version" } th scope="col" { "Live in" } th scope="col" { "Warnings" }
                    } }
                    tbody { @for other in others { tr {
                        td.number data-name="Number" { (other.id) }
                        td data-name="Version" { a href={ "/models/" (other.id) } { (other.version) } }
                        td.number data-name="Live in" { (live(other.id)) " hospitals" }
                        td data-name="Warnings" { span { (warnings(snapshot, other.id)) } }
                    } } }
                }
            }
        }
    }
}
