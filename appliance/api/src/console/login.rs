//! In with a token, and out.

use super::layout::{Page, bare};
use super::now_s;
use super::visit::Posted;
use crate::access::address_of;
use crate::appliance::Api;
use crate::asked::Asked;
use crate::body;
use crate::guard::Unidentified;
use crate::problem::Problem;
use crate::token;
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use maud::{Markup, html};
use pericard_domain::actor::Actor;

/// Where one comes in.
pub(super) const LOGIN: &str = "/console/login";

pub(crate) async fn ask() -> Page {
    bare("Log in", form(None))
}

/// Begins a session when the token is one that counts.
pub(crate) async fn enter(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let address = address_of(request.extensions());
    let (parts, body) = request.into_parts();
    let fields = Asked(body::form(&api.config, &parts.headers, body).await?);
    let key = fields.text("token").map(str::trim).map(token::lookup_key);
    let why = match key {
        None => Unidentified::NoToken,
        Some(None) => Unidentified::WrongToken,
        Some(Some(key)) => match api.rooms.store.token_by_hash(&key).await? {
            None => Unidentified::WrongToken,
            Some(token) => {
                let id = token.id;
                let by = Actor::Token { id, address };
                let noted = api.rooms.store.note_access("log in", "console", by);
                noted.await?;
                // What came before it, as somebody else perhaps, ends.
                api.sessions.end(&parts.headers);
                let cookie = api.sessions.begin(key, now_s(&api));
                return cookie
                    .map(|cookie| elsewhere("/", Some(cookie)))
                    .map_err(|error| {
                        tracing::error!(%error, "no session could be begun");
                        Problem::internal()
                    });
            }
        },
    };
    let refused = api.turn_away(why, address).await;
    let said = match refused.status {
        StatusCode::TOO_MANY_REQUESTS => {
            "Too many wrong tokens came from this address. Wait a minute."
        }
        _ => "This token is unknown, expired or revoked. Ask the security administrator for one.",
    };
    let mut page = bare("Log in", form(Some(said)));
    page.status = refused.status;
    Ok(page.into_response())
}

pub(crate) async fn leave(
    State(api): State<Api>,
    Extension(visit): Extension<super::visit::Visit>,
    headers: HeaderMap,
    _word: Posted,
) -> Result<Response, Problem> {
    api.note_access("log out", "console", &visit.caller).await?;
    Ok(elsewhere(LOGIN, api.sessions.end(&headers)))
}

/// Whoever is nobody yet is shown the way in.
pub(super) fn first() -> Response {
    elsewhere(LOGIN, None)
}

/// To another page, which is asked for with GET.
pub(super) fn elsewhere(path: &str, cookie: Option<HeaderValue>) -> Response {
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, path)]).into_response();
    if let Some(cookie) = cookie {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

fn form(wrong: Option<&str>) -> Markup {
    html! {
        form.sheet.login method="post" action=(LOGIN) {
            h1 { "Pericard" }
            p.quiet { "Log in with a token of this appliance." }
            @if let Some(wrong) = wrong { p.say.bad role="alert" { (wrong) } }
            label for="token" { "Token" }
            // A password field, so that it is not shown to those who stand behind, nor kept among the form's words.
            input #token type="password" name="token" autocomplete="current-password" required autofocus
                aria-invalid=[wrong.map(|_| "true")] maxlength="128" spellcheck="false";
            button type="submit" { "Log in" }
            p.quiet.small {
                "Tokens are issued at the server: " code { "pericard token issue" }
                ". A session ends after 15 minutes without use."
            }
        }
    }
}
