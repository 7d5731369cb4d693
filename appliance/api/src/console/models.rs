//! The models: what they are, what they may be used for, and whether they are loaded; every imported version, and who made it
//! live.

use super::audit::who;
use super::layout::{Page, may, page};
use super::pieces::{Tone, chip, moment, nothing, or_dash};
use super::visit::Visit;
use crate::appliance::Api;
use crate::imports::{Imported, Standing};
use crate::openai::off_thread;
use crate::problem::Problem;
use axum::Extension;
use axum::extract::State;
use maud::{Markup, html};
use pericard_domain::model::{ModelRef, Package, Task};
use pericard_runner::Loaded;
use pericard_store::audit_log::{AuditLine, AuditQuery};
use std::sync::Arc;

/// What the audit log calls an approval.
const APPROVAL: &str = "activate model";
/// How many approvals are looked through, the latest: each import of a hospital's is one or two.
const APPROVALS: u32 = 1000;
/// Whoever sees how the appliance is set sees who made what live.
const SEES_APPROVALS: &str = "/console/settings";

pub(crate) async fn list(
    State(api): State<Api>,
    Extension(visit): Extension<Visit>,
) -> Result<Page, Problem> {
    let loaded = api.rooms.talker.loaded();
    let imports = Arc::clone(&api.rooms.imports);
    let imported = off_thread(move || imports.imported()).await?;
    if let Err(error) = &imported {
        tracing::error!(error, "the registry cannot be read");
    }
    let known = imported.as_deref().unwrap_or_default();
    let standing = |model: &ModelRef| {
        let found = known.iter().find(|imported| imported.model == *model);
        found.map(|imported| imported.standing)
    };
    let packages = &api.rooms.packages;
    let content = html! {
        h1 { "Models" }
        p.quiet {
            "What was live at the start of the appliance. A version is live once somebody has approved it with "
            code { "pericard model activate" } "; the next start takes it up."
        }
        @if may(&visit, "/console/models/agreement") {
            p { a href="/console/models/agreement" { "How often clinicians agreed with them" } }
        }
        @if packages.is_empty() { (nothing("No model is live.")) }
        div.models { @for package in packages.iter() {
            (sheet(package, standing(&package.model), loaded.iter().find(|l| l.model == package.model)))
        } }
        @if may(&visit, SEES_APPROVALS) {
            (versions(imported.as_deref().ok(), packages, &approvals(&api).await?))
        }
    };
    Ok(page(&visit, "/console/models", "Models", content))
}

/// Who made what live, the latest first.
async fn approvals(api: &Api) -> Result<Vec<AuditLine>, Problem> {
    let query = AuditQuery {
        verb: Some(APPROVAL.to_owned()),
        before: Some(u64::MAX),
        limit: APPROVALS,
        ..AuditQuery::default()
    };
    Ok(api.rooms.store.audit(query).await?)
}

/// Every imported version; `None` when the registry does not tell.
fn versions(imported: Option<&[Imported]>, loaded: &[Package], approvals: &[AuditLine]) -> Markup {
    html! {
        section.sheet aria-labelledby="versions" {
            h2 #versions { "Every imported version" }
            @match imported {
                None => p.say.bad { "The registry cannot be read; the journal says why." },
                Some([]) => (nothing("No package has been imported.")),
                Some(imported) => table.stack {
                    thead { tr {
                        th scope="col" { "Model" } th scope="col" { "Version" } th scope="col" { "Standing" }
                        th scope="col" { "Made live by" } th scope="col" { "At" } th scope="col" { "Digest" }
                    } }
                    tbody { @for version in imported {
                        (line(version, loaded, approvals.iter().find(|line| line.subject == version.model.to_string())))
                    } }
                },
            }
        }
    }
}

fn line(version: &Imported, loaded: &[Package], approval: Option<&AuditLine>) -> Markup {
    let model = &version.model;
    let is_taken_up = loaded.iter().any(|package| package.model == *model);
    html! {
        tr {
            td data-name="Model" { (model.name) }
            td data-name="Version" { (model.version) }
            td data-name="Standing" { (standing(version.standing, is_taken_up)) }
            td data-name="Made live by" { @match approval { Some(line) => (who(&line.by)), None => "nobody" } }
            td data-name="At" { @match approval { Some(line) => (moment(line.at)), None => "–" } }
            td data-name="Digest" { span.uid { (model.digest) } }
        }
    }
}

/// What the registry says by now, and what the start made of it.
fn standing(standing: Standing, is_taken_up: bool) -> Markup {
    match (standing, is_taken_up) {
        (Standing::Live, true) => chip("live", Tone::Good),
        (Standing::Live, false) => chip("live from the next start on", Tone::Warn),
        (Standing::Retired, false) => chip("retired", Tone::Quiet),
        (Standing::Retired, true) => chip("retired from the next start on", Tone::Warn),
        (Standing::Imported, false) => chip("imported", Tone::Quiet),
        (Standing::Imported, true) => chip("replaced from the next start on", Tone::Warn),
    }
}

fn sheet(package: &Package, now: Option<Standing>, running: Option<&Loaded>) -> Markup {
    let (model, manifest) = (&package.model, &package.manifest);
    let intended = &manifest.intended_use;
    html! {
        section.sheet aria-label=(model.name) {
            h2 { (model.name) " " span.quiet { (model.version) } }
            p { (manifest.summary) }
            p.chips {
                @match now {
                    Some(now) => (standing(now, true)),
                    None => (chip("live at the start", Tone::Warn)),
                } " "
                @if manifest.clinical_use { (chip("for clinical use", Tone::Good)) }
                @else { (chip("not for clinical use", Tone::Warn)) } " "
                @match running {
                    Some(running) => (chip(&format!("loaded on {}", running.device), Tone::Good)),
                    None => (chip("not loaded", Tone::Bad)),
                }
            }
            dl.facts {
                div { dt { "task" } dd { (task(manifest.task)) } }
                div { dt { "intended use" } dd { (intended.statement) } }
                div { dt { "modalities" } dd { (or_dash(some(&intended.modalities).as_deref())) } }
                div { dt { "licence" } dd { (manifest.licence) } }
                div { dt { "source" } dd { (manifest.source) } }
                @if let Some(running) = running {
                    div { dt { "loaded and self-tested in" } dd.number { (running.load_ms) " ms" } }
                    @if let Some(tokens) = running.context_tokens {
                        div { dt { "context" } dd.number { (tokens) " tokens" } }
                    }
                }
                div { dt { "digest" } dd.uid { (model.digest) } }
            }
        }
    }
}

fn some(words: &[String]) -> Option<String> {
    (!words.is_empty()).then(|| words.join(", "))
}

const fn task(task: Task) -> &'static str {
    match task {
        Task::TextSpotting => "finds text in images",
        Task::VolumeSegmentation => "outlines a structure in a volume",
        Task::Chat => "continues a conversation",
        Task::Embedding => "makes texts comparable",
        Task::TokenClassification => "finds names and numbers of persons in texts",
    }
}
