//! The studies, latest first. What is asked about a patient is posted: it never stands in an address, a log or a history.

use super::layout::{Page, page, word};
use super::pieces::{self, choice, date, moment, name, nothing, or_dash};
use super::visit::{Posted, Visit, WORD};
use crate::appliance::Api;
use crate::asked::Asked;
use crate::problem::Problem;
use axum::Extension;
use axum::extract::State;
use maud::{Markup, html};
use pericard_domain::job::Priority;
use pericard_store::worklist::{Progress, WorklistQuery, WorklistRow};

/// How many rows a page has.
const ROWS: u32 = 25;
/// The page itself.
const HERE: &str = "/console/worklist";
/// For the OpenAPI document.
pub(crate) const PARAMETERS: &[(&str, &str)] = &[
    (
        "progress",
        "only studies that are arriving, working, failed, done or held",
    ),
    ("priority", "only stat, routine or batch"),
    ("modality", "only this modality"),
    ("page", "which page, from 0"),
];

pub(crate) async fn list(
    State(api): State<Api>,
    Extension(visit): Extension<Visit>,
    asked: Asked,
) -> Result<Page, Problem> {
    api.note_access("list studies", "all", &visit.caller)
        .await?;
    let asked = Asked(
        asked
            .0
            .into_iter()
            .filter(|(n, _)| n != "patient")
            .collect(),
    );
    answer(&api, &visit, &asked).await
}

pub(crate) async fn search(
    State(api): State<Api>,
    Extension(visit): Extension<Visit>,
    Posted(asked): Posted,
) -> Result<Page, Problem> {
    api.note_access("search studies", "all", &visit.caller)
        .await?;
    answer(&api, &visit, &asked).await
}

async fn answer(api: &Api, visit: &Visit, asked: &Asked) -> Result<Page, Problem> {
    let at: u32 = asked.value("page")?.unwrap_or(0);
    let query = WorklistQuery {
        progress: named(asked, "progress", Progress::named)?,
        priority: named(asked, "priority", Priority::named)?,
        modality: asked.text("modality").map(str::to_owned),
        patient: asked.text("patient").map(|text| text.trim().to_owned()),
        limit: ROWS + 1, // one more tells whether there is a next page
        offset: at.saturating_mul(ROWS),
    };
    let mut rows = api.rooms.store.worklist(query).await?;
    let has_next = rows.len() > ROWS as usize;
    rows.truncate(ROWS as usize);
    let content = html! {
        h1 { "Worklist" }
        (filters(visit, asked))
        @if rows.is_empty() { (nothing("There is no such study.")) } @else { (table(&rows)) }
        (pager(visit, asked, at, has_next))
    };
    Ok(page(visit, HERE, "Worklist", content))
}

fn named<T>(
    asked: &Asked,
    field: &str,
    of: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Problem> {
    let wrong = || Problem::parameter(field, format!("there is no such {field}"));
    asked
        .text(field)
        .map(|text| of(text).ok_or_else(wrong))
        .transpose()
}

fn filters(visit: &Visit, asked: &Asked) -> Markup {
    let progress = Progress::ALL.map(Progress::name);
    let priorities = Priority::ALL.map(Priority::name);
    html! {
        div.filters {
            form.row method="get" action=(HERE) aria-label="Filter" {
                (choice(("progress", "State"), progress, asked.text("progress")))
                (choice(("priority", "Priority"), priorities, asked.text("priority")))
                div.field {
                    label for="modality" { "Modality" }
                    input #modality name="modality" size="6" maxlength="16" value=(asked.text("modality").unwrap_or_default());
                }
                button type="submit" { "Filter" }
            }
            form.row method="post" action=(HERE) role="search" aria-label="Look for a patient" autocomplete="off" {
                (word(visit))
                div.field {
                    label for="patient" { "Name, patient ID or accession number" }
                    input #patient type="search" name="patient" maxlength="64" required
                        value=(asked.text("patient").unwrap_or_default());
                }
                button type="submit" { "Search" }
                @if asked.text("patient").is_some() { a.button.plain href=(HERE) { "Show all" } }
            }
        }
    }
}

fn table(rows: &[WorklistRow]) -> Markup {
    html! {
        div.sheet {
            table.stack {
                thead { tr {
                    th scope="col" { "Patient" } th scope="col" { "ID" } th scope="col" { "Study" }
                    th scope="col" { "Objects" } th scope="col" { "Priority" } th scope="col" { "State" }
                    th scope="col" { "Received" }
                } }
                tbody { @for row in rows { (line(row)) } }
            }
        }
    }
}

fn line(row: &WorklistRow) -> Markup {
    let study = &row.study;
    let facts = &study.facts;
    let patient = facts.patient_name.as_deref().map(name);
    html! {
        tr {
            td data-name="Patient" {
                a.strong href={ "/console/studies/" (study.study) } { (patient.as_deref().unwrap_or("no name")) }
            }
            td data-name="ID" { (or_dash(facts.patient_id.as_deref())) }
            td data-name="Study" {
                span { (or_dash(facts.modality.as_deref())) " · " (or_dash(facts.study_description.as_deref())) }
                " " span.quiet { (facts.study_date.as_deref().map(date).unwrap_or_default()) }
            }
            td.number data-name="Objects" {
                (study.instances) @if study.results > 0 { span.quiet { " + " (study.results) " results" } }
            }
            td data-name="Priority" { (pieces::priority(row.priority)) }
            td data-name="State" {
                (pieces::progress(row.progress))
                @if study.revision > 1 { " " span.quiet { "revision " (study.revision) } }
            }
            td data-name="Received" { (moment(study.last_received_at)) }
        }
    }
}

/// To the pages before and after. Posted when a patient is looked for.
fn pager(visit: &Visit, asked: &Asked, at: u32, has_next: bool) -> Markup {
    let posted = asked.text("patient").is_some();
    let method = if posted { "post" } else { "get" };
    let kept = asked
        .0
        .iter()
        .filter(|(n, v)| n != "page" && n != WORD && !v.is_empty());
    html! {
        @if at > 0 || has_next {
            form.pager method=(method) action=(HERE) aria-label="Pages" {
                @if posted { (word(visit)) }
                @for (name, value) in kept { input type="hidden" name=(name) value=(value); }
                @if at > 0 { button.plain name="page" value=(at - 1) { "Newer" } }
                span.quiet { "Page " (at + 1) }
                @if has_next { button.plain name="page" value=(at + 1) { "Older" } }
            }
        }
    }
}
