//! What every page has: the head, the menu of those pages that the visitor may see, and the foot.

use super::HTML;
use super::visit::{Visit, WORD};
use crate::access::Access;
use crate::problem::Problem;
use crate::route;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use maud::{DOCTYPE, Markup, html};
use pericard_domain::actor::Role;
use std::sync::LazyLock;

/// The pages of the menu and what they are called there. Who may see them is not said here but in the table of routes.
const MENU: [(&str, &str); 7] = [
    ("/", "Overview"),
    ("/console/worklist", "Worklist"),
    ("/console/jobs", "Queue"),
    ("/console/models", "Models"),
    ("/console/egress", "Egress"),
    ("/console/audit", "Audit"),
    ("/console/settings", "Settings"),
];

/// Who may use each page, out of the one table.
static ACCESS: LazyLock<Vec<(&str, Access)>> = LazyLock::new(|| {
    let routes = route::table().into_iter();
    routes.map(|route| (route.path, route.access)).collect()
});

/// Whether somebody may use the page of this path, with its parameters in braces: what is not allowed is not shown either.
pub(super) fn may(visit: &Visit, path: &str) -> bool {
    let found = ACCESS.iter().find(|(known, _)| *known == path);
    found.is_some_and(|(_, access)| access.allows(&visit.caller.roles))
}

/// A page, finished.
pub(crate) struct Page {
    pub(super) status: StatusCode,
    markup: Markup,
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static(HTML))];
        (self.status, content_type, self.markup.into_string()).into_response()
    }
}

/// A page with the menu. `here` is the page's path, or that of the page above it.
pub(super) fn page(visit: &Visit, here: &str, title: &str, content: Markup) -> Page {
    let body = html! {
        a.skip href="#content" { "Skip to the content" }
        header.top {
            div.inner {
                a.brand href="/" { "Pericard" }
                nav aria-label="Pages" {
                    ul {
                        @for (path, name) in MENU.iter().filter(|(path, _)| may(visit, path)) {
                            li { a href=(path) aria-current=[(*path == here).then_some("page")] { (name) } }
                        }
                    }
                }
                form.out method="post" action="/console/logout" {
                    (word(visit))
                    span.quiet.small title=(roles(&visit.caller.roles)) { (visit.label) }
                    button.plain type="submit" { "Log out" }
                }
            }
        }
        main #content tabindex="-1" { (content) }
        footer.foot { "Pericard · results of models are not verified · times are UTC" }
    };
    whole(title, StatusCode::OK, body)
}

/// A piece of a page, for its script.
pub(super) fn part(markup: Markup) -> Page {
    Page {
        status: StatusCode::OK,
        markup,
    }
}

/// A page without the menu.
pub(super) fn bare(title: &str, content: Markup) -> Page {
    whole(
        title,
        StatusCode::OK,
        html! { main #content.bare { (content) } },
    )
}

/// The hidden field that every form carries.
pub(super) fn word(visit: &Visit) -> Markup {
    html! { input type="hidden" name=(WORD) value=(visit.word); }
}

/// An answer of the console: a refusal is said on a page.
pub(super) fn said(mut response: Response) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    let mut page = bare("Refused", refusal(&problem));
    page.status = problem.status;
    let mut response = page.into_response();
    if let Some((name, value)) = problem.header.map(|header| *header) {
        response.headers_mut().insert(name, value);
    }
    response
}

fn refusal(problem: &Problem) -> Markup {
    let reason = problem.status.canonical_reason().unwrap_or("Refused");
    html! {
        div.sheet.login {
            h1 { (reason) }
            p { (sentence(&problem.detail)) }
            p { a href="/" { "To the overview" } }
        }
    }
}

/// As a sentence stands by itself.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    let end = if text.ends_with(['.', '?']) { "" } else { "." };
    format!("{}{}{end}", first.unwrap_or_default(), letters.as_str())
}

fn roles(roles: &[Role]) -> String {
    let names: Vec<_> = roles.iter().map(|role| role.name()).collect();
    names.join(", ")
}

fn whole(title: &str, status: StatusCode, body: Markup) -> Page {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (title) " · Pericard" }
                link rel="icon" href="/console/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/console/style.css";
                script src="/console/viewer.js" defer {}
            }
            body { (body) }
        }
    };
    Page { status, markup }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_of_the_menu_is_a_page() {
        for (path, name) in MENU {
            assert!(ACCESS.iter().any(|(known, _)| *known == path), "{name}");
        }
    }

    #[test]
    fn refusals_are_sentences() {
        assert_eq!(
            sentence("there is no such study here"),
            "There is no such study here."
        );
        assert_eq!(sentence(""), ".");
    }
}
