//! The models: what they are, what they may be used for, and whether they are loaded.

use super::layout::{Page, may, page};
use super::pieces::{Tone, chip, nothing, or_dash};
use super::visit::Visit;
use crate::appliance::Api;
use axum::Extension;
use axum::extract::State;
use maud::{Markup, html};
use pericard_domain::model::{Package, Task};
use pericard_runner::Loaded;

pub(crate) async fn list(State(api): State<Api>, Extension(visit): Extension<Visit>) -> Page {
    let loaded = api.rooms.talker.loaded();
    let content = html! {
        h1 { "Models" }
        p.quiet {
            "Live packages. A package is live once somebody has approved it with "
            code { "pericard model activate" } "; retired ones are not loaded and not listed."
        }
        @if may(&visit, "/console/models/agreement") {
            p { a href="/console/models/agreement" { "How often clinicians agreed with them" } }
        }
        @if api.rooms.packages.is_empty() { (nothing("No model is live.")) }
        div.models { @for package in api.rooms.packages.iter() {
            (sheet(package, loaded.iter().find(|l| l.model == package.model)))
        } }
    };
    page(&visit, "/console/models", "Models", content)
}

fn sheet(package: &Package, running: Option<&Loaded>) -> Markup {
    let (model, manifest) = (&package.model, &package.manifest);
    let intended = &manifest.intended_use;
    html! {
        section.sheet aria-label=(model.name) {
            h2 { (model.name) " " span.quiet { (model.version) } }
            p { (manifest.summary) }
            p.chips {
                (chip("approved: live", Tone::Good)) " "
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
    }
}
