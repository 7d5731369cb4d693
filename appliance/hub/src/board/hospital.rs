//! One hospital: how it reports, what it runs and how that does there, its audit log, what was refused of it.

use super::chart::{Chart, Point, Unit};
use super::layout::{Page, page};
use super::model::moved;
use super::pieces::{
    bucket, bucket_estimate, exact, model, model_name, moment, noised_distance, nothing, percent,
    share, state, sum, summed, tenths, verdict, week,
};
use super::visit::{Visit, nothing_there};
use super::{nation, witness};
use crate::findings::findings;
use crate::outlook::{Live, Outlook, Site as Stands};
use crate::records::{Snapshot, Viewer};
use crate::site::Site;
use crate::weeks::is_shown;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use pericard_frame::layout::{self, MODELS};
use pericard_frame::{Counter, Frame, Stage};

/// The alarms of a hospital that are listed.
const LISTED_MAX: usize = 20;

pub(super) async fn show(
    State(site): State<Site>,
    Extension(visit): Extension<Visit>,
    Path(number): Path<String>,
) -> Response {
    let (snapshot, outlook) = visit.look(&site);
    let number: Option<u32> = number.parse().ok();
    // What the viewer may not see is not in the outlook.
    match number.filter(|number| outlook.site(*number).is_some()) {
        Some(number) => page_of(&visit, &snapshot, &outlook, number).into_response(),
        None => nothing_there().into_response(),
    }
}

/// The page of this hospital.
pub(super) fn page_of(visit: &Visit, snapshot: &Snapshot, outlook: &Outlook, number: u32) -> Page {
    let Some(stands) = outlook.site(number) else {
        return nothing_there();
    };
    let is_own = visit.viewer == Viewer::Hospital(number);
    let found = findings(snapshot, outlook, visit.viewer);
    let name = &stands.hospital.name;
    let content = html! {
        @if !is_own { p.path { a href="/hospitals" { "Hospitals" } " / " (name) } }
        h1 { (name) }
        @for finding in found.iter().filter(|finding| is_own || finding.hospital == Some(number)) {
            (nation::one(snapshot, finding, visit.viewer))
        }
        div.cards {
            (facts(stands))
            (operation(stands, is_own))
            (stages(stands))
            (witness::card(snapshot, number))
        }
        (models(snapshot, visit, outlook, number))
        div.charts {
            @for live in outlook.lives_of(number) { (drift(snapshot, live)) }
            (queue_wait(snapshot, number))
        }
        (alarms(snapshot, visit.viewer, number))
        (advisories(snapshot))
    };
    let here = if is_own { "/" } else { "/hospitals" };
    page(visit, here, name, content)
}

fn facts(stands: &Stands) -> Markup {
    html! {
        section.sheet aria-labelledby="reports" {
            h2 #reports { "Reports" }
            dl.facts {
                div { dt { "state" } dd { (state(stands.state)) } }
                div { dt { "number" } dd.number { (stands.hospital.number) } }
                div { dt { "enrolled" } dd { (moment(stands.hospital.enrolled_at_s)) } }
                @if let Some(last) = &stands.last {
                    div { dt { "last frame" } dd.number { (last.sequence) } }
                    div { dt { "tells of the week of" } dd { (week(last.week)) } }
                    div { dt { "received" } dd { (moment(last.received_at_s)) } }
                    div { dt { "came" } dd { @if last.carried { "as a file, carried by hand" } @else { "by its gate" } } }
                    div { dt { "privacy budget left this year" } dd.number { (budget(stands)) } }
                }
            }
        }
    }
}

fn budget(stands: &Stands) -> String {
    let left = stands
        .last
        .as_ref()
        .map_or(0, |l| l.frame.get(&layout::BUDGET_LEFT, 0));
    format!(
        "{:.1} of epsilon for a patient seen every week",
        left as f64 / 1000.0
    )
}

/// The ways in which a job is given up: together as many as the models' inferences without result.
const GIVEN_UP: [Counter; 6] = [
    Counter::JobsUnsuitableInput,
    Counter::JobsUndecodable,
    Counter::JobsModelUnavailable,
    Counter::JobsModelFailed,
    Counter::JobsWorkerLost,
    Counter::JobsInternal,
];

/// Exact operational counts of the last week.
fn operation(stands: &Stands, is_own: bool) -> Markup {
    let told = [Counter::ObjectsAdmitted, Counter::JobsDone];
    let told = told.into_iter().chain(GIVEN_UP);
    html! {
        section.sheet aria-labelledby="operation" {
            h2 #operation { "Operation, in its last week" }
            @if let Some(last) = &stands.last {
                @let frame = &last.frame;
                dl.facts {
                    div { dt { "ran" } dd.number { (frame.get(&layout::UPTIME_H, 0)) " of 168 hours" } }
                    div { dt { "processors busy" } dd.number { (tenths(frame.get(&layout::CPU_BUCKET, 0))) } }
                    div { dt { "GPU busy" } dd.number { (gpu(frame)) } }
                    div { dt { "version" } dd.number {
                        (frame.get(&layout::RELEASE, 0)) "." (frame.get(&layout::RELEASE, 1)) "." (frame.get(&layout::RELEASE, 2))
                    } }
                    @for counter in told { div {
                        dt { (counter.family()) ", " (counter.class().replace('_', " ")) }
                        dd { (counted(frame, counter, is_own)) }
                    } }
                }
            } @else { (nothing("It was never heard.")) }
        }
    }
}

/// How busy its GPU was: tenths and one more, since none is not an idle one.
fn gpu(frame: &Frame) -> String {
    let busy = frame.get(&layout::GPU_BUCKET, 0).checked_sub(1);
    busy.map_or_else(|| "it has none".to_owned(), tenths)
}

/// What each stage is, for people.
const fn meaning(stage: Stage) -> &'static str {
    match stage {
        Stage::Admit => "an object, from its last byte until it is on disk",
        Stage::Infer => "an inference",
        Stage::Deliver => "a result, from its being due until the peer has taken it",
        Stage::FirstToken => "a chat, until its first word",
        Stage::Queue => "queue wait: a job, from its being due until it is begun",
    }
}

/// How long each stage took. What fewer than 200 stand behind is in no frame.
fn stages(stands: &Stands) -> Markup {
    let told = |frame: &Frame, field: &layout::Field<u8>, stage: Stage| {
        bucket(frame.get(field, stage.place()) as u8)
    };
    html! {
        section.sheet aria-labelledby="stages" {
            h2 #stages { "How long it took, in its last week" }
            @if let Some(last) = &stands.last { table.stack {
                thead { tr {
                    th scope="col" { "Stage" } th scope="col" { "Half stay within" } th scope="col" { "95 of 100" } th scope="col" { "99 of 100" }
                } }
                tbody { @for stage in Stage::ALL { tr {
                    td data-name="Stage" { (meaning(stage)) }
                    td data-name="Half stay within" { (told(&last.frame, &layout::LATENCY_P50, stage)) }
                    td data-name="95 of 100" { (told(&last.frame, &layout::LATENCY_P95, stage)) }
                    td data-name="99 of 100" { (told(&last.frame, &layout::LATENCY_P99, stage)) }
                } } }
            } } @else { (nothing("It was never heard.")) }
            p.quiet.small {
                "Each duration is known by the ends of its bucket, and told only when " (layout::MIN_TIMED) " or more stand behind it."
            }
        }
    }
}

/// How long jobs waited, week by week.
fn queue_wait(snapshot: &Snapshot, number: u32) -> Markup {
    let own = snapshot.frames.iter().filter(|f| f.appliance == number);
    let waited = own.map(|received| Point {
        week: received.week,
        value: bucket_estimate(
            received
                .frame
                .get(&layout::LATENCY_P95, Stage::Queue.place()) as u8,
        ),
        limit: None,
    });
    let mut points: Vec<Point> = waited.collect();
    points.sort_by_key(|point| point.week);
    Chart {
        id: "queue-wait",
        title: "Queue wait that 95 of 100 jobs stay within",
        what: "From a job's being due to its being begun; the band is what is known of it, from one end of its bucket to the \
               other. Weeks of fewer than 200 jobs tell none.",
        unit: Unit::Millis,
        points,
    }
    .draw()
}

/// A counter. It is a sum over the models, or nearly one: beside their cells it would give away one that is hidden. So others
/// are told of the jobs that were done what the shown cells come to, and nothing of the rest while anything is hidden.
fn counted(frame: &Frame, counter: Counter, is_own: bool) -> Markup {
    let count = frame.get(&layout::COUNTERS, counter.place());
    let done = (0..MODELS).map(|at| frame.get(&layout::MODEL_DONE, at));
    match counter {
        _ if is_own => exact(count, true),
        Counter::JobsDone => summed(sum(done)),
        _ if hides(frame) => html! { span.quiet { "left out: small cells could be worked out" } },
        _ => exact(count, false),
    }
}

/// Whether any cell of this frame is too small for others, among the models' or among the counters that add up to them.
fn hides(frame: &Frame) -> bool {
    let cells = (0..MODELS).flat_map(|at| {
        [&layout::MODEL_DONE, &layout::MODEL_FAILED].map(|field| frame.get(field, at))
    });
    let counters = GIVEN_UP.iter().chain(&[Counter::ObjectsAdmitted]);
    let counters = counters.map(|counter| frame.get(&layout::COUNTERS, counter.place()));
    cells.chain(counters).any(|count| !is_shown(count))
}

fn models(snapshot: &Snapshot, visit: &Visit, outlook: &Outlook, number: u32) -> Markup {
    let is_own = visit.viewer == Viewer::Hospital(number);
    let mut lives = outlook.lives_of(number).peekable();
    html! {
        section.sheet aria-labelledby="models" {
            h2 #models { "Models" }
            @if lives.peek().is_none() { (nothing("It told of no model yet.")) } @else { table.stack {
                thead { tr {
                    th scope="col" { "Model" } th scope="col" { "Inferences" } th scope="col" { "Without result" }
                    th scope="col" { "Positive" } th scope="col" { "Agreed with" } th scope="col" { "Scores" }
                    th scope="col" { "Its own verdict" } th scope="col" { "Duration" }
                } }
                tbody { @for live in lives { @if let Some(last) = live.weeks.last() {
                    @let pool = live.lately(nation::LATELY_WEEKS);
                    tr {
                        td data-name="Model" { (model(snapshot, visit.viewer, live.model)) }
                        td data-name="Inferences" { (exact(last.done, is_own)) }
                        td data-name="Without result" { (exact(last.failed, is_own)) }
                        td data-name="Positive" { (share(pool.positivity())) }
                        td data-name="Agreed with" { (share(pool.concordance())) }
                        td data-name="Scores" { span { (moved(live)) } }
                        td data-name="Its own verdict" { (verdict(last.verdict)) }
                        td data-name="Duration" { span { (bucket(last.p50)) ", 95 of 100 " (bucket(last.p95)) } }
                    }
                } } }
            } }
            p.quiet.small {
                "Counts of the last week, exact; shares of the last four histograms, with noise and their 95 % interval. A \
                 single hospital's interval is wide: judge it over weeks."
            }
        }
    }
}

fn drift(snapshot: &Snapshot, live: &Live) -> Markup {
    let name = model_name(snapshot, live.model);
    let title = format!("Score drift: {name}");
    let last = live
        .weeks
        .iter()
        .rev()
        .find_map(|week| week.told?.1.positivity());
    let what = format!(
        "Distance of each week from this hospital's own first weeks, with the alarm threshold of the week's counts and noise; \
         the band is the 95 % interval. \
         Positive in its newest histogram: {}.",
        last.map_or_else(|| "left out".to_owned(), percent)
    );
    let points = live.weeks.iter().map(|week| Point {
        week: week.week,
        value: week.distance.map(noised_distance),
        limit: week.distance.map(|far| far.threshold),
    });
    Chart {
        id: &format!("drift-{}", live.model),
        title: &title,
        what: &what,
        unit: Unit::Distance,
        points: points.collect(),
    }
    .draw()
}

fn alarms(snapshot: &Snapshot, viewer: Viewer, number: u32) -> Markup {
    let own = snapshot
        .alarms
        .iter()
        .rev()
        .filter(|alarm| alarm.appliance == number);
    let own: Vec<_> = own.take(LISTED_MAX).collect();
    html! {
        section.sheet aria-labelledby="alarms" {
            h2 #alarms { "What was refused" }
            @if own.is_empty() { (nothing("Nothing.")) } @else { (super::incidents::table(snapshot, &own, viewer)) }
        }
    }
}

/// Recalls and advisories are for every hospital.
fn advisories(snapshot: &Snapshot) -> Markup {
    html! {
        section.sheet aria-labelledby="advisories" {
            h2 #advisories { "Recalls and advisories" }
            (super::incidents::issued(snapshot, Viewer::Hospital(0)))
        }
    }
}
