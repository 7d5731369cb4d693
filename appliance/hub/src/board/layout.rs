//! What every page has: the head, the menu of those pages that the visitor may see, and the foot.

use super::pages;
use super::visit::{Visit, WORD};
use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;
use maud::{DOCTYPE, Markup, html};

/// A page, finished.
pub(super) struct Page {
    status: StatusCode,
    markup: Markup,
}

impl Page {
    pub(super) const fn with(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        (self.status, Html(self.markup.into_string())).into_response()
    }
}

/// A page with the menu. `here` is the page's path, or that of the page above it.
pub(super) fn page(visit: &Visit, here: &str, title: &str, content: Markup) -> Page {
    let menu = pages()
        .into_iter()
        .filter_map(|(path, name, who, _)| who.allows(visit.viewer).then_some((path, name?)));
    let body = html! {
        a.skip href="#content" { "Skip to the content" }
        header.top {
            div.inner {
                a.brand href="/" { "Pericard hub" }
                nav aria-label="Pages" {
                    ul { @for (path, name) in menu {
                        li { a href=(path) aria-current=[(path == here).then_some("page")] { (name) } }
                    } }
                }
                form.out method="post" action="/logout" {
                    (word(visit))
                    span.quiet.small { (visit.label) " (" (visit.viewer.role()) ")" }
                    button.plain type="submit" { "Log out" }
                }
            }
        }
        main #content tabindex="-1" { (content) }
        footer.foot {
            "Pericard hub · every figure is exact, or stands with its 95 % interval, or is left out because too few stand \
             behind it · times are UTC"
        }
    };
    whole(title, body)
}

/// A page without the menu.
pub(super) fn bare(title: &str, content: Markup) -> Page {
    whole(title, html! { main #content.bare { (content) } })
}

/// The hidden field that every form carries.
pub(super) fn word(visit: &Visit) -> Markup {
    html! { input type="hidden" name=(WORD) value=(visit.word()); }
}

pub(super) fn refusal(title: &str, why: &str) -> Markup {
    html! {
        div.sheet.login {
            h1 { (title) }
            p { (why) }
            p { a href="/" { "To the overview" } }
        }
    }
}

fn whole(title: &str, body: Markup) -> Page {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (title) " · Pericard hub" }
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/style.css";
            }
            body { (body) }
        }
    };
    Page {
        status: StatusCode::OK,
        markup,
    }
}
