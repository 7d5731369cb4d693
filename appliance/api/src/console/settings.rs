//! The configuration as it is in effect: to read, never to change. Secrets are not in it: they stand in files of their own.

use super::layout::{Page, page};
use super::pieces::nothing;
use super::visit::Visit;
use crate::appliance::Api;
use axum::Extension;
use axum::extract::State;
use maud::html;
use std::sync::Arc;

/// One key of the configuration and its value in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The table that it stands in, as in `https` or `peers 1`.
    pub section: String,
    /// Its name, with its unit.
    pub key: String,
    /// Its value, as the file would say it.
    pub value: String,
}

pub(crate) async fn list(State(api): State<Api>, Extension(visit): Extension<Visit>) -> Page {
    let settings = Arc::clone(&api.rooms.settings.borrow());
    let sections = settings.chunk_by(|a, b| a.section == b.section);
    let content = html! {
        h1 { "Settings" }
        p.quiet {
            "In effect now; to read only. They are changed in " code { "pericard.toml" }
            ", tried with " code { "pericard check" } "."
        }
        @if settings.is_empty() { (nothing("Nothing is known of them.")) }
        div.cards { @for section in sections {
            section.sheet aria-label=(section[0].section) {
                h2 { "[" (section[0].section) "]" }
                dl.facts { @for setting in section {
                    div { dt { (setting.key) } dd.uid { (setting.value) } }
                } }
            }
        } }
    };
    page(&visit, "/console/settings", "Settings", content)
}
