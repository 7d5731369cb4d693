//! The queue: ids, states and reasons, without patient data.

use super::layout::{Page, may, page, sentence, word};
use super::login::elsewhere;
use super::pieces::{self, choice, job_state, moment, nothing, study_link};
use super::visit::{Posted, Visit};
use crate::appliance::Api;
use crate::asked::Asked;
use crate::operations::jobs::{STATES, job_id, query};
use crate::problem::Problem;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};
use pericard_domain::job::{Job, JobState};
use pericard_egress::Counter;

/// The page itself.
const HERE: &str = "/console/jobs";
/// For the OpenAPI document.
pub(crate) const PARAMETERS: &[(&str, &str)] = &[
    (
        "state",
        "only jobs that are waiting, leased, done, failed or cancelled",
    ),
    ("study", "only this study's"),
    ("limit", "at most so many"),
];

pub(crate) async fn list(
    State(api): State<Api>,
    Extension(visit): Extension<Visit>,
    asked: Asked,
) -> Result<Page, Problem> {
    let jobs = api.rooms.store.jobs(query(&asked)?).await?;
    let content = html! {
        h1 { "Queue" }
        form.row.filters method="get" action=(HERE) aria-label="Filter" {
            (choice(("state", "State"), STATES, asked.text("state")))
            div.field {
                label for="study" { "Study" }
                input #study name="study" maxlength="64" value=(asked.text("study").unwrap_or_default());
            }
            button type="submit" { "Filter" }
        }
        @if jobs.is_empty() { (nothing("There is no such job.")) } @else { (table(&visit, &jobs)) }
    };
    Ok(page(&visit, HERE, "Queue", content))
}

pub(crate) async fn retry(
    State(api): State<Api>,
    Extension(visit): Extension<Visit>,
    Path(job): Path<String>,
    _word: Posted,
) -> Result<Response, Problem> {
    let by = visit.caller.actor;
    api.rooms.store.retry_job(job_id(&job)?, by).await?;
    Ok(elsewhere(HERE, None))
}

pub(crate) async fn cancel(
    State(api): State<Api>,
    Extension(visit): Extension<Visit>,
    Path(job): Path<String>,
    _word: Posted,
) -> Result<Response, Problem> {
    let by = visit.caller.actor;
    api.rooms.store.cancel_job(job_id(&job)?, by).await?;
    api.rooms.meter.count(Counter::JobsCancelled);
    Ok(elsewhere(HERE, None))
}

fn table(visit: &Visit, jobs: &[Job]) -> Markup {
    html! {
        div.sheet {
            table.stack {
                thead { tr {
                    th scope="col" { "Job" } th scope="col" { "Work" } th scope="col" { "Study" }
                    th scope="col" { "Priority" } th scope="col" { "State" } th scope="col" { "Since" }
                    th scope="col" { span.unseen { "What can be done" } }
                } }
                tbody { @for job in jobs { (line(visit, job)) } }
            }
        }
    }
}

fn line(visit: &Visit, job: &Job) -> Markup {
    let failure = match &job.state {
        JobState::Failed { failure } => Some(failure),
        _ => job.last_failure.as_ref(),
    };
    html! {
        tr {
            td.number data-name="Job" { (job.id) }
            td data-name="Work" {
                (pieces::work(job))
                @if let Some(failure) = failure { p.reason { (sentence(&failure.reason)) } }
            }
            td data-name="Study" { (study_link(visit, job.work.study())) }
            td data-name="Priority" { (pieces::priority(job.priority)) }
            td data-name="State" {
                (job_state(&job.state))
                @if job.attempts > 1 { " " span.quiet { (job.attempts) " attempts" } }
            }
            td data-name="Since" { (moment(job.ended_at.unwrap_or(job.created_at))) }
            td.deeds { (deeds(visit, job)) }
        }
    }
}

/// What may be done with a job, by whoever may.
fn deeds(visit: &Visit, job: &Job) -> Markup {
    let (deed, label) = match job.state {
        JobState::Failed { .. } | JobState::Cancelled => ("retry", "Try again"),
        JobState::Waiting { .. } => ("cancel", "Cancel"),
        JobState::Leased { .. } | JobState::Done => return html! {},
    };
    let allowed = may(visit, &format!("/console/jobs/{{job}}/{deed}"));
    html! {
        @if allowed {
            form method="post" action={ (HERE) "/" (job.id) "/" (deed) } {
                (word(visit))
                button.plain type="submit" aria-label={ (label) ": job " (job.id) } { (label) }
            }
        }
    }
}
