//! The audit log, latest first, in pages by its own numbers.

use super::layout::{Page, page};
use super::pieces::{choice, moment, nothing};
use super::visit::Visit;
use crate::appliance::Api;
use crate::asked::Asked;
use crate::problem::Problem;
use axum::Extension;
use axum::extract::State;
use maud::{Markup, html};
use pericard_domain::actor::Actor;
use pericard_store::audit_log::{AuditLine, AuditQuery};

/// How many lines a page has.
const LINES: u32 = 50;
/// The page itself.
const HERE: &str = "/console/audit";
/// For the OpenAPI document.
pub(crate) const PARAMETERS: &[(&str, &str)] = &[
    ("before", "only lines before this one, counted from 0"),
    ("verb", "only lines of this verb"),
    ("by", "only lines whose actor holds this"),
    ("subject", "only lines whose subject holds this"),
];
/// What is looked for most; any other verb can be asked for by its name.
const VERBS: [&str; 20] = [
    "refuse",
    "log in",
    "log out",
    "list studies",
    "search studies",
    "read study",
    "read results",
    "view image",
    "retrieve",
    "read audit",
    "admit object",
    "complete study",
    "conclude job",
    "fail job",
    "issue token",
    "revoke token",
    "activate model",
    "retire model",
    "hold frame",
    "release frame",
];

pub(crate) async fn list(
    State(api): State<Api>,
    Extension(visit): Extension<Visit>,
    asked: Asked,
) -> Result<Page, Problem> {
    let text = |name: &str| asked.text(name).map(str::to_owned);
    let query = AuditQuery {
        before: Some(asked.value("before")?.unwrap_or(u64::MAX)),
        limit: LINES,
        subject: text("subject"),
        verb: text("verb"),
        by: text("by"),
        ..AuditQuery::default()
    };
    api.note_access("read audit", "log", &visit.caller).await?;
    let head = api.rooms.store.checkpoint().await?;
    let lines = api.rooms.store.audit(query).await?;
    let content = html! {
        h1 { "Audit log" }
        p.quiet { (head.size) " lines, signed. Verify them with " code { "pericard audit verify" } "." }
        (filters(&asked))
        @if lines.is_empty() { (nothing("There is no such line.")) } @else { (table(&lines)) }
        (pager(&asked, &lines))
    };
    Ok(page(&visit, HERE, "Audit log", content))
}

fn filters(asked: &Asked) -> Markup {
    let field = |name: &'static str, label: &str| {
        html! {
            div.field {
                label for=(name) { (label) }
                input id=(name) name=(name) maxlength="64" value=(asked.text(name).unwrap_or_default());
            }
        }
    };
    let verb = asked.text("verb");
    let others = verb.filter(|verb| !VERBS.contains(verb));
    html! {
        form.row.filters method="get" action=(HERE) role="search" aria-label="Search the log" {
            (choice(("verb", "Action"), VERBS.into_iter().chain(others), verb))
            (field("by", "Actor holds"))
            (field("subject", "Subject holds"))
            button type="submit" { "Search" }
        }
    }
}

fn table(lines: &[AuditLine]) -> Markup {
    html! {
        div.sheet {
            table.stack {
                thead { tr {
                    th scope="col" { "Line" } th scope="col" { "At" } th scope="col" { "Who" }
                    th scope="col" { "Action" } th scope="col" { "Subject" }
                } }
                tbody { @for line in lines {
                    tr {
                        td.number data-name="Line" { (line.index) }
                        td data-name="At" { (moment(line.at)) }
                        td data-name="Who" { (who(&line.by)) }
                        td data-name="Action" { (line.verb) }
                        td data-name="Subject" {
                            span.uid { (line.subject) }
                            @if !line.detail.is_null() {
                                details { summary { "More" } pre tabindex="0" { (format!("{:#}", line.detail)) } }
                            }
                        }
                    }
                } }
            }
        }
    }
}

/// Who did it.
pub(super) fn who(by: &Actor) -> Markup {
    match by {
        Actor::Peer { ae_title, address } => {
            html! { (ae_title.as_str()) span.quiet { " · " (address) } }
        }
        Actor::Application { name, address } => {
            html! { (name) span.quiet { " · " (address) } }
        }
        Actor::Token { id, address } => {
            html! { "token " code { (id) } span.quiet { " · " (address) } }
        }
        Actor::Unknown { address } => html! { "unknown" span.quiet { " · " (address) } },
        Actor::CommandLine => html! { "the command line" },
        Actor::Room { name } => html! { "the appliance" span.quiet { " · " (name) } },
    }
}

/// To earlier lines, with the same search.
fn pager(asked: &Asked, lines: &[AuditLine]) -> Markup {
    let earliest = lines.last().map(|line| line.index);
    let more = lines.len() == LINES as usize && earliest.is_some_and(|index| index > 0);
    html! {
        @if more || asked.text("before").is_some() {
            form.pager method="get" action=(HERE) aria-label="Pages" {
                @for (name, value) in asked.0.iter().filter(|(n, v)| n != "before" && !v.is_empty()) {
                    input type="hidden" name=(name) value=(value);
                }
                @if asked.text("before").is_some() { button.plain type="submit" { "Latest" } }
                @if let Some(index) = earliest.filter(|_| more) {
                    button.plain name="before" value=(index) { "Earlier" }
                }
            }
        }
    }
}
