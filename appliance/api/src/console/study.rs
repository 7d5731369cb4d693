//! A study's page: whose it is, one of its images with what the models found drawn on it, the findings in words, and what
//! became of it.

use super::layout::{page, part, sentence, word};
use super::login::elsewhere;
use super::pieces::{self, Tone, chip, date, job_state, moment, name, nothing, or_dash};
use super::viewer::{Asking, Viewer, viewer};
use super::visit::{Posted, Visit};
use crate::appliance::Api;
use crate::asked::{Asked, id};
use crate::operations::jobs::job_id;
use crate::problem::Problem;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use pericard_domain::finding::{Finding, Measurement};
use pericard_domain::job::{Job, JobState};
use pericard_domain::study::{Instance, Study};
use pericard_domain::uid::StudyUid;
use pericard_store::KeptReport;
use pericard_store::queue::JobQuery;
use pericard_store::review::Verdict;

/// For the OpenAPI document.
pub(crate) const PARAMETERS: &[(&str, &str)] = &[
    ("series", "which of its series is shown"),
    ("image", "which of the series' images, from 1"),
    ("center", "the window's middle; together with width"),
    ("width", "the window's width; together with center"),
    ("part", "viewer: only the viewer, for the page's script"),
];
/// The most jobs that are listed.
const JOBS: u32 = 100;

/// What the store says of a study.
pub(super) struct Held {
    pub(super) study: Study,
    pub(super) instances: Vec<Instance>,
    pub(super) reports: Vec<KeptReport>,
}

pub(crate) async fn show(
    State(api): State<Api>,
    Extension(visit): Extension<Visit>,
    Path(study): Path<String>,
    asked: Asked,
) -> Result<Response, Problem> {
    let study: StudyUid = id("such study", &study)?;
    let only_viewer = asked.text("part") == Some("viewer");
    let held = Held {
        study: api.rooms.store.study(&study).await?,
        instances: api.rooms.store.instances(&study).await?,
        reports: api.rooms.store.reports(&study).await?,
    };
    if !only_viewer {
        api.note_access("read study", study.as_str(), &visit.caller)
            .await?;
    }
    api.note_access("read results", study.as_str(), &visit.caller)
        .await?;
    let seen = viewer(&api, &held, Asking::of(&asked)?).await?;
    if only_viewer {
        return Ok(part(seen.markup).into_response());
    }
    let jobs = JobQuery {
        study: Some(study),
        limit: JOBS,
        ..JobQuery::default()
    };
    let jobs = api.rooms.store.jobs(jobs).await?;
    let content = html! {
        (whose(&held.study))
        div.desk {
            (seen.markup)
            div.side {
                (findings(&visit, &held, &seen, &jobs))
                (facts(&held.study))
            }
        }
        (revisions(&held))
        (jobs_table(&jobs))
        (objects(&held.instances))
    };
    let title = "Study"; // the tab's title stays in histories: no patient in it
    Ok(page(&visit, "/console/worklist", title, content).into_response())
}

/// Keeps what the visitor says of a result, and shows the study again.
pub(crate) async fn review(
    State(api): State<Api>,
    Extension(visit): Extension<Visit>,
    Path(study): Path<String>,
    Posted(fields): Posted,
) -> Result<Response, Problem> {
    let study: StudyUid = id("such study", &study)?;
    let job = job_id(fields.text("job").unwrap_or_default())?;
    let verdict = fields.text("verdict").and_then(Verdict::named);
    let wrong = || Problem::parameter("verdict", "\"verdict\" must be agreed or disagreed");
    let (verdict, by) = (verdict.ok_or_else(wrong)?, visit.caller.actor);
    api.rooms.store.review(&study, job, verdict, by).await?;
    Ok(elsewhere(&format!("/console/studies/{study}"), None))
}

fn whose(study: &Study) -> Markup {
    let facts = &study.facts;
    let patient = facts.patient_name.as_deref().map(name);
    html! {
        p.path { a href="/console/worklist" { "Worklist" } " / study" }
        h1 { (patient.as_deref().unwrap_or("no name")) }
        p.quiet {
            "ID " (or_dash(facts.patient_id.as_deref()))
            " · born " (facts.patient_birth_date.as_deref().map_or("–".to_owned(), date))
            " · " (or_dash(facts.patient_sex.as_deref()))
            " · " (or_dash(facts.study_description.as_deref()))
            " · " (facts.study_date.as_deref().map_or("–".to_owned(), date))
        }
    }
}

/// The words that stand at every result.
pub(super) const fn mark(clinical_use: bool) -> &'static str {
    match clinical_use {
        true => "AI, not verified",
        false => "AI, not verified · not for clinical use",
    }
}

/// The reports that count: those that no later revision supersedes.
pub(super) fn current(reports: &[KeptReport]) -> impl Iterator<Item = &KeptReport> {
    reports.iter().filter(|kept| !kept.superseded)
}

fn findings(visit: &Visit, held: &Held, seen: &Viewer, jobs: &[Job]) -> Markup {
    let mut number = 0;
    let any = current(&held.reports).next().is_some();
    let in_hand = jobs.iter().any(|job| {
        matches!(
            job.state,
            JobState::Waiting { .. } | JobState::Leased { .. }
        )
    });
    html! {
        section.sheet aria-labelledby="findings" {
            h2 #findings { "Findings" }
            @if !any && in_hand { (nothing("The models are not done yet.")) }
            @if !any && !in_hand { (nothing("No model has a result for this study.")) }
            @for kept in current(&held.reports) {
                div.report {
                    p.mark { (mark(kept.report.clinical_use)) }
                    h3 { (kept.report.model) }
                    @if kept.report.findings.is_empty() { p { "Nothing was found." } }
                    ol.findings start=(number + 1) {
                        @for finding in &kept.report.findings {
                            ({ number += 1; found(finding, number, seen) })
                        }
                    }
                    (verdicts(visit, kept))
                }
            }
        }
    }
}

/// What was said of a result, and what may be said of it.
fn verdicts(visit: &Visit, kept: &KeptReport) -> Markup {
    html! {
        @for review in &kept.reviews {
            p.quiet { (review.verdict.name()) " · " (review.reviewer) " · " (moment(review.at)) }
        }
        form.row method="post" action={ "/console/studies/" (kept.report.study) "/reviews" } {
            (word(visit))
            input type="hidden" name="job" value=(kept.job);
            @for (verdict, label) in [(Verdict::Agreed, "Agree"), (Verdict::Disagreed, "Disagree")] {
                button.plain type="submit" name="verdict" value=(verdict.name())
                    aria-label={ (label) ": " (kept.report.model) } { (label) }
            }
        }
    }
}

fn found(finding: &Finding, number: usize, seen: &Viewer) -> Markup {
    let code = &finding.concept;
    html! {
        li {
            strong { (code.meaning) }
            " " span.code { (code.value) " · " (code.scheme) }
            @if let Some(text) = &finding.text { p { "“" (text) "”" } }
            @for measured in &finding.measurements { p { (measurement(measured)) } }
            p.quiet {
                @if let Some(score) = finding.score { "score " (format!("{score:.2}")) " · " }
                @match seen.places.get(number - 1).and_then(Option::as_ref) {
                    Some((words, href)) => a href=(href) data-step { (words) },
                    None => "of the whole study",
                }
            }
        }
    }
}

fn measurement(measured: &Measurement) -> Markup {
    let Measurement {
        concept,
        value,
        unit,
    } = measured;
    html! {
        (concept.meaning) " " strong.number { (format!("{value:.2}")) } " " abbr title=(unit.meaning) { (unit.value) }
        " " span.code { (concept.value) " · " (concept.scheme) }
    }
}

fn facts(study: &Study) -> Markup {
    let facts = &study.facts;
    html! {
        section.sheet aria-labelledby="facts" {
            h2 #facts { "Study" }
            dl.facts {
                div { dt { "accession number" } dd { (or_dash(facts.accession_number.as_deref())) } }
                div { dt { "modality" } dd { (or_dash(facts.modality.as_deref())) } }
                div { dt { "body part" } dd { (or_dash(facts.body_part.as_deref())) } }
                div { dt { "referred by" } dd { (facts.referring_physician.as_deref().map_or("–".to_owned(), name)) } }
                div { dt { "received" } dd { (moment(study.first_received_at)) } }
                div { dt { "latest object" } dd { (moment(study.last_received_at)) } }
                div { dt { "objects" } dd.number { (study.instances) " + " (study.results) " results" } }
                div { dt { "UID" } dd.uid { (study.study) } }
            }
        }
    }
}

fn revisions(held: &Held) -> Markup {
    html! {
        section.sheet aria-labelledby="revisions" {
            h2 #revisions { "Revisions" }
            p.quiet {
                @match held.study.revision {
                    0 => "Objects may still arrive: the study has not been taken as complete yet.",
                    1 => "The study was taken as complete once.",
                    n => { "The study was taken as complete " (n) " times, each time with other objects than before." },
                }
            }
            @if !held.reports.is_empty() {
                table.stack {
                    thead { tr {
                        th scope="col" { "Revision" } th scope="col" { "Model" } th scope="col" { "Findings" }
                        th scope="col" { "Computed" } th scope="col" { "On" } th scope="col" { "Images" }
                        th scope="col" { "Standing" }
                    } }
                    tbody { @for kept in &held.reports {
                        tr {
                            td.number data-name="Revision" { (kept.report.revision) }
                            td data-name="Model" { (kept.report.model) }
                            td.number data-name="Findings" { (kept.report.findings.len()) }
                            td data-name="Computed" { (moment(kept.report.at)) }
                            td data-name="On" { (kept.report.device) }
                            td.number data-name="Images" { (kept.report.evidence.len()) }
                            td data-name="Standing" { @match kept.superseded {
                                true => (chip("superseded", Tone::Quiet)),
                                false => (chip("current", Tone::Good)),
                            } }
                        }
                    } }
                }
            }
        }
    }
}

fn jobs_table(jobs: &[Job]) -> Markup {
    html! {
        section.sheet aria-labelledby="jobs" {
            h2 #jobs { "Jobs" }
            table.stack {
                thead { tr {
                    th scope="col" { "Job" } th scope="col" { "Work" } th scope="col" { "Priority" }
                    th scope="col" { "State" } th scope="col" { "Planned" }
                } }
                tbody { @for job in jobs {
                    tr {
                        td.number data-name="Job" { (job.id) }
                        td data-name="Work" {
                            (pieces::work(job))
                            @if let JobState::Failed { failure } = &job.state { p.reason { (sentence(&failure.reason)) } }
                        }
                        td data-name="Priority" { (pieces::priority(job.priority)) }
                        td data-name="State" { (job_state(&job.state)) }
                        td data-name="Planned" { (moment(job.created_at)) }
                    }
                } }
            }
        }
    }
}

fn objects(instances: &[Instance]) -> Markup {
    html! {
        details.sheet {
            summary { (instances.len()) " objects" }
            table.stack {
                thead { tr {
                    th scope="col" { "Object" } th scope="col" { "Kind" } th scope="col" { "Size" }
                    th scope="col" { "Revision" } th scope="col" { "Received" }
                } }
                tbody { @for instance in instances {
                    tr {
                        td data-name="Object" { span.uid { (instance.identity.instance) } }
                        td data-name="Kind" {
                            (or_dash(instance.facts.modality.as_deref()))
                            @if instance.is_result { " " (chip("ours", Tone::Quiet)) }
                        }
                        td.number data-name="Size" { (pieces::bytes(instance.size_bytes)) }
                        td.number data-name="Revision" { (instance.revision) }
                        td data-name="Received" { (moment(instance.received_at)) }
                    }
                } }
            }
        }
    }
}
