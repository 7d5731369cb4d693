//! Health at a glance: what is wrong first, then how everything stands, then what came out last.

use super::layout::{Page, may, page, sentence};
use super::pieces::{self, Tone, bytes, chip, moment, nothing, study_link};
use super::visit::Visit;
use crate::appliance::Api;
use crate::certificate::ShownCertificate;
use crate::operations::health;
use crate::problem::Problem;
use axum::Extension;
use axum::extract::State;
use maud::{Markup, html};
use pericard_domain::job::{Job, Priority};
use pericard_domain::time::Timestamp;
use pericard_store::Depth;
use pericard_store::care::{CareFacts, Damage, DiskFacts, DiskLevel};
use pericard_store::queue::JobQuery;

/// How many results and damaged objects are listed.
const LISTED: u32 = 8;
/// The way to the queue, and the page whose visitors may see jobs.
const JOBS: &str = "/console/jobs";

type Part = (String, Option<String>);

/// What the page is made of.
struct Health {
    parts: Vec<Part>,
    depth: Depth,
    /// How many messages about results were given up.
    untold: u64,
    disk: Option<DiskFacts>,
    care: CareFacts,
    notices: std::sync::Arc<[crate::Notice]>,
    certificates: std::sync::Arc<[ShownCertificate]>,
    now: Timestamp,
}

pub(crate) async fn show(
    State(api): State<Api>,
    Extension(visit): Extension<Visit>,
) -> Result<Page, Problem> {
    let store = &api.rooms.store;
    let health = Health {
        parts: health::parts(&api).await,
        depth: store.depth().await?,
        untold: untold(&api).await?,
        disk: store.disk().ok(),
        care: store.care().await?,
        notices: api.rooms.notices.borrow().clone(),
        certificates: api.rooms.certificates.borrow().clone(),
        now: api.rooms.clock.now(),
    };
    let sees_jobs = may(&visit, JOBS);
    let (mut latest, mut damages) = (Vec::new(), Vec::new());
    if sees_jobs {
        let done = JobQuery {
            state: Some("done".to_owned()),
            limit: 4 * LISTED, // assemblies are among them
            ..JobQuery::default()
        };
        latest = store.jobs(done).await?;
        latest.retain(|job| job.work.kind() == "infer");
        latest.truncate(LISTED as usize);
        damages = store.damages(LISTED).await?;
    }
    let content = html! {
        h1 { "Overview" }
        (alarms(&health, &damages))
        div.cards {
            (readiness(&health.parts))
            (queue(&health.depth, sees_jobs))
            (disk(health.disk.as_ref()))
            (care(&health.care))
            (workers(&api))
            (about(&api))
        }
        @if sees_jobs { (results(&visit, &latest)) }
    };
    Ok(page(&visit, "/", "Overview", content))
}

async fn untold(api: &Api) -> Result<u64, Problem> {
    let counts = api.rooms.store.message_counts().await?;
    let failed = counts.into_iter().find(|(state, _)| *state == "failed");
    Ok(failed.map_or(0, |(_, count)| count))
}

/// What somebody must do something about.
fn alarms(health: &Health, damages: &[Damage]) -> Markup {
    let Health {
        parts,
        depth,
        untold,
        disk,
        care,
        notices,
        certificates,
        now,
    } = health;
    let level = disk.map(|disk| disk.level);
    let said: Vec<(Tone, String)> = [
        (level == Some(DiskLevel::Floor)).then(|| {
            (
                Tone::Bad,
                "The disk is full: nothing is taken any more. Free space.".to_owned(),
            )
        }),
        (level == Some(DiskLevel::Low)).then(|| {
            (
                Tone::Warn,
                "Space runs out: batch work is refused. Free space.".to_owned(),
            )
        }),
        level.is_none().then(|| {
            (
                Tone::Bad,
                "The disk does not say how full it is.".to_owned(),
            )
        }),
        (care.damaged > 0).then(|| {
            (
                Tone::Bad,
                format!(
                    "{} damaged objects: they are given to nobody. Send them again.",
                    care.damaged
                ),
            )
        }),
        (care.set_aside > 0).then(|| {
            (
                Tone::Warn,
                format!(
                    "{} files were set aside under objects/aside: look at them.",
                    care.set_aside
                ),
            )
        }),
        (depth.failed_jobs > 0)
            .then(|| (Tone::Warn, format!("{} jobs failed.", depth.failed_jobs))),
        (depth.undeliverable > 0).then(|| {
            (
                Tone::Bad,
                format!(
                    "{} results were refused where they were to go.",
                    depth.undeliverable
                ),
            )
        }),
        (*untold > 0).then(|| {
            (
                Tone::Bad,
                format!("{untold} messages about results were given up."),
            )
        }),
    ]
    .into_iter()
    .flatten()
    .chain(recalled(notices))
    .chain(ending(certificates, *now))
    .collect();
    let unready = parts
        .iter()
        .filter_map(|(part, why)| Some((part, why.as_ref()?)));
    let unready: Vec<_> = unready.collect();
    html! {
        section aria-label="Alarms" {
            @if said.is_empty() && unready.is_empty() {
                p.say.good { strong { "All is well." } " Nothing needs anybody's attention." }
            }
            @for (part, why) in &unready { p.say.bad { strong { (part) ": " } (sentence(why)) } }
            @for (tone, text) in &said { p class={ "say " (tone.class()) } { (text) } }
            @if !damages.is_empty() {
                table.stack {
                    caption { "Damaged objects" }
                    thead { tr { th scope="col" { "Object" } th scope="col" { "Damage" } th scope="col" { "Found" } } }
                    tbody { @for damage in damages {
                        tr {
                            td data-name="Object" { span.uid { (damage.instance) } }
                            td data-name="Damage" { (chip(damage.kind.name(), Tone::Bad)) }
                            td data-name="Found" { (moment(damage.found_at)) }
                        }
                    } }
                }
            }
        }
    }
}

/// Models that the hub recalled.
fn recalled(notices: &[crate::Notice]) -> impl Iterator<Item = (Tone, String)> + '_ {
    let alarms = notices.iter().filter(|notice| notice.is_alarm());
    alarms.map(|notice| {
        let tone = if notice.stopped {
            Tone::Warn
        } else {
            Tone::Bad
        };
        (tone, notice.said())
    })
}

/// Certificates whose successor is due.
fn ending(
    certificates: &[ShownCertificate],
    now: Timestamp,
) -> impl Iterator<Item = (Tone, String)> + '_ {
    certificates.iter().filter_map(move |shown| {
        let tone = if shown.is_over(now) {
            Tone::Bad
        } else {
            Tone::Warn
        };
        Some((tone, shown.warning(now)?))
    })
}

fn readiness(parts: &[Part]) -> Markup {
    html! {
        section.sheet aria-labelledby="readiness" {
            h2 #readiness { "Readiness" }
            dl.facts { @for (part, why) in parts {
                div {
                    dt { (part) }
                    dd { @match why {
                        None => (chip("ready", Tone::Good)),
                        Some(_) => (chip("not ready", Tone::Bad)),
                    } }
                }
            } }
        }
    }
}

fn queue(depth: &Depth, sees_jobs: bool) -> Markup {
    html! {
        section.sheet aria-labelledby="queue" {
            h2 #queue { @if sees_jobs { a href=(JOBS) { "Queue" } } @else { "Queue" } }
            dl.facts {
                @for class in Priority::ALL {
                    div { dt { "open, " (class.name()) } dd.number { (depth.open_jobs.get(&class).unwrap_or(&0)) } }
                }
                div { dt { "failed" } dd.number { (depth.failed_jobs) } }
                div { dt { "results to deliver" } dd.number { (depth.undelivered) } }
                div { dt { "refused by their destination" } dd.number { (depth.undeliverable) } }
            }
        }
    }
}

fn disk(disk: Option<&DiskFacts>) -> Markup {
    html! {
        section.sheet aria-labelledby="disk" {
            h2 #disk { "Disk" }
            @if let Some(disk) = disk {
                @let used = disk.total_bytes.saturating_sub(disk.free_bytes);
                @let (word, tone) = level(disk.level);
                meter min="0" max=(disk.total_bytes) value=(used) aria-label="Disk in use" { }
                dl.facts {
                    div { dt { "level" } dd { (chip(word, tone)) } }
                    div { dt { "free" } dd.number { (bytes(disk.free_bytes)) } }
                    div { dt { "of" } dd.number { (bytes(disk.total_bytes)) } }
                    div { dt { "low below" } dd.number { (disk.low_mib) " MiB" } }
                    div { dt { "closed below" } dd.number { (disk.floor_mib) " MiB" } }
                }
            } @else { (nothing("Nothing is known of it.")) }
        }
    }
}

const fn level(level: DiskLevel) -> (&'static str, Tone) {
    match level {
        DiskLevel::Ample => ("ample", Tone::Good),
        DiskLevel::Low => ("low", Tone::Warn),
        DiskLevel::Floor => ("closed", Tone::Bad),
    }
}

fn care(care: &CareFacts) -> Markup {
    html! {
        section.sheet aria-labelledby="care" {
            h2 #care { "Care of what is kept" }
            dl.facts {
                div { dt { "damaged objects" } dd.number { (care.damaged) } }
                div { dt { "files set aside" } dd.number { (care.set_aside) } }
                div { dt { "files to be removed" } dd.number { (care.to_remove) } }
                div { dt { "every checksum read" } dd { @match care.scrubbed_at {
                    Some(at) => (moment(at)),
                    None => "not yet",
                } } }
            }
        }
    }
}

fn workers(api: &Api) -> Markup {
    let walls = api.rooms.talker.walls().and_then(Result::ok);
    let walls: Vec<_> = walls.into_iter().flat_map(|walls| walls.0).collect();
    let stand = walls.iter().filter(|wall| wall.stands).count();
    let tone = if stand == walls.len() {
        Tone::Good
    } else {
        Tone::Warn
    };
    html! {
        section.sheet aria-labelledby="workers" {
            h2 #workers { "Workers" }
            dl.facts {
                @for model in api.rooms.talker.loaded() {
                    div { dt { (model.model) } dd { (chip(&model.device, Tone::Good)) } }
                }
                @if !walls.is_empty() {
                    div { dt { "walls" } dd { (chip(&format!("{stand} of {} stand", walls.len()), tone)) } }
                }
                @for wall in walls.iter().filter(|wall| !wall.stands) {
                    div { dt { "not: " (wall.name) } dd.quiet { (wall.detail) } }
                }
            }
        }
    }
}

fn about(api: &Api) -> Markup {
    let up = api.rooms.clock.now().since(api.started_at).as_secs();
    let (days, hours, minutes) = (up / 86_400, up / 3_600 % 24, up / 60 % 60);
    html! {
        section.sheet aria-labelledby="about" {
            h2 #about { "This appliance" }
            dl.facts {
                div { dt { "version" } dd { (api.rooms.version) } }
                div { dt { "started" } dd { (moment(api.started_at)) } }
                div { dt { "up for" } dd { (days) " d " (hours) " h " (minutes) " min" } }
                div { dt { "models" } dd.number { (api.rooms.packages.len()) } }
            }
        }
    }
}

fn results(visit: &Visit, latest: &[Job]) -> Markup {
    html! {
        section.sheet aria-labelledby="latest" {
            h2 #latest { "Latest results" }
            @if latest.is_empty() { (nothing("No model has finished a study yet.")) } @else {
                table.stack {
                    thead { tr {
                        th scope="col" { "Study" } th scope="col" { "Model" }
                        th scope="col" { "Priority" } th scope="col" { "Finished" }
                    } }
                    tbody { @for job in latest {
                        tr {
                            td data-name="Study" { (study_link(visit, job.work.study())) }
                            td data-name="Model" { (pieces::work(job)) }
                            td data-name="Priority" { (pieces::priority(job.priority)) }
                            td data-name="Finished" { @if let Some(at) = job.ended_at { (moment(at)) } }
                        }
                    } }
                }
            }
        }
    }
}
