//! In with a token, and out.

use super::LOGIN;
use super::layout::{Page, bare};
use super::visit::{Visit, stranger};
use crate::site::Site;
use crate::token::Token;
use axum::extract::{Extension, Form, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use http::{HeaderMap, StatusCode, header};
use maud::{Markup, html};
use serde::Deserialize;

/// What a person shows.
#[derive(Deserialize)]
pub(super) struct Shown {
    #[serde(default)]
    token: String,
}

/// What every form of a session carries.
#[derive(Deserialize)]
pub(super) struct Carried {
    #[serde(default)]
    word: String,
}

pub(super) async fn ask() -> Page {
    bare("Log in", form(None))
}

/// Begins a session when the token is one that counts.
pub(super) async fn enter(
    State(site): State<Site>,
    headers: HeaderMap,
    Form(shown): Form<Shown>,
) -> Response {
    let key = Token::key(shown.token.trim());
    let known = key.and_then(|key| Some((key, site.hub().token(&key)?)));
    let Some((key, token)) = known else {
        let why =
            "This token is unknown, expired or revoked. Ask the national administration for one.";
        let page = bare("Log in", form(Some(why)));
        return page.with(StatusCode::UNAUTHORIZED).into_response();
    };
    // What came before it, as somebody else perhaps, ends.
    site.sessions().end(&headers);
    let begun = site.sessions().begin(key, site.hub().now_s());
    let noted = note(&site, "log in", token.number).await;
    match begun {
        Ok(cookie) if noted => ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
        Ok(_) => unavailable(),
        Err(error) => {
            tracing::error!(%error, "no session could be begun");
            unavailable()
        }
    }
}

pub(super) async fn leave(
    State(site): State<Site>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    Form(carried): Form<Carried>,
) -> Response {
    if !visit.wrote(&headers, &carried.word) {
        return stranger().into_response();
    }
    note(&site, "log out", visit.token).await;
    let gone = site.sessions().end(&headers);
    let gone = gone.map(|cookie| [(header::SET_COOKIE, cookie)]);
    (gone, Redirect::to(LOGIN)).into_response()
}

/// Whether it stands in the audit log.
async fn note(site: &Site, verb: &'static str, token: u32) -> bool {
    let site = site.clone();
    let noted = tokio::task::spawn_blocking(move || site.hub().note_visit(verb, token)).await;
    match noted {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::error!(%error, verb, "this is not in the audit log");
            false
        }
        Err(_) => false,
    }
}

fn unavailable() -> Response {
    let why = "The hub cannot write now; its journal says why. Try again later.";
    super::visit::refused(StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

fn form(wrong: Option<&str>) -> Markup {
    html! {
        form.sheet.login method="post" action=(LOGIN) {
            h1 { "Pericard hub" }
            p.quiet { "Log in with a token of this hub." }
            @if let Some(wrong) = wrong { p.say.bad role="alert" { (wrong) } }
            label for="token" { "Token" }
            // A password field, so that it is not shown to those who stand behind, nor kept among the form's words.
            input #token type="password" name="token" autocomplete="current-password" required autofocus
                aria-invalid=[wrong.map(|_| "true")] maxlength="128" spellcheck="false";
            button type="submit" { "Log in" }
            p.quiet.small {
                "The national administration issues tokens: " code { "pericard hub token issue" }
                ". A session ends after 30 minutes without use."
            }
        }
    }
}
