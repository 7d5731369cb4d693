//! Who may use a route: programs show a token in every request, people a cookie that holds theirs.

use crate::problem::Problem;
use crate::records::Viewer;
use crate::site::Site;
use axum::Form;
use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;

/// The cookie of people. `__Host-` binds it to this very host and to TLS.
const COOKIE: &str = "__Host-pericard-hub";
/// How long a browser keeps it.
const COOKIE_AGE_S: u32 = 12 * 3600;
/// Where people show their token.
pub(crate) const LOGIN: &str = "/login";

/// Lets a program through that shows a token; the handler is told whose it is.
pub(crate) async fn guard(State(site): State<Site>, mut request: Request, next: Next) -> Response {
    let viewer = bearer(request.headers()).and_then(|secret| site.hub().viewer(secret));
    let Some(viewer) = viewer else {
        let detail = "a token is needed, as 'Authorization: Bearer ...'; `pericard hub token create` makes one";
        return Problem::new(StatusCode::UNAUTHORIZED, detail).into_response();
    };
    request.extensions_mut().insert(viewer);
    next.run(request).await
}

/// Lets a person through, or sends them to where they show their token.
pub(crate) async fn guard_page(
    State(site): State<Site>,
    mut request: Request,
    next: Next,
) -> Response {
    let secret = cookie(request.headers()).or_else(|| bearer(request.headers()));
    let Some(viewer) = secret.and_then(|secret| site.hub().viewer(secret)) else {
        return Redirect::to(LOGIN).into_response();
    };
    request.extensions_mut().insert::<Viewer>(viewer);
    next.run(request).await
}

/// What a person shows.
#[derive(Deserialize)]
pub(crate) struct Shown {
    token: String,
}

pub(crate) async fn login_page() -> Html<&'static str> {
    Html(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Pericard hub: log in</title>\
         <meta name=\"viewport\" content=\"width=device-width\"></head><body><main><h1>Pericard hub</h1>\
         <form method=\"post\" action=\"/login\"><p><label>Token <input name=\"token\" type=\"password\" required \
         autocomplete=\"current-password\" maxlength=\"128\"></label> <button>Log in</button></p></form>\
         <p>The national administration issues tokens: <code>pericard hub token create</code>.</p></main></body></html>",
    )
}

/// The first page: who looks, and where the numbers are.
pub(crate) async fn first_page(Extension(viewer): Extension<Viewer>) -> Html<String> {
    Html(format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Pericard hub</title>\
         <meta name=\"viewport\" content=\"width=device-width\"></head><body><main><h1>Pericard hub</h1>\
         <p>You read as {}.</p><p>The numbers are at <code>/hub/v1/</code>: \
         <a href=\"/hub/v1/openapi.json\">what there is</a>.</p>\
         <form method=\"post\" action=\"/logout\"><button>Log out</button></form></main></body></html>",
        viewer.role()
    ))
}

/// Keeps a token that is good in the browser; it is asked for again with every page, so that a revoked one ends at once.
pub(crate) async fn login(State(site): State<Site>, Form(shown): Form<Shown>) -> Response {
    let secret = shown.token.trim();
    let known = site.hub().viewer(secret).is_some();
    let kept = set_cookie(secret, COOKIE_AGE_S).filter(|_| known);
    let Some(kept) = kept else {
        return (StatusCode::UNAUTHORIZED, login_page().await).into_response();
    };
    ([(header::SET_COOKIE, kept)], Redirect::to("/")).into_response()
}

pub(crate) async fn logout() -> Response {
    let gone = set_cookie("", 0).map(|cookie| [(header::SET_COOKIE, cookie)]);
    (gone, Redirect::to(LOGIN)).into_response()
}

/// `None` for what cannot stand in a cookie, and so is no token.
fn set_cookie(secret: &str, age_s: u32) -> Option<HeaderValue> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    let text =
        format!("{COOKIE}={secret}; Path=/; Max-Age={age_s}; Secure; HttpOnly; SameSite=Strict");
    HeaderValue::from_str(&text)
        .ok()
        .filter(|_| secret.chars().all(is_plain))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get(header::COOKIE)?.to_str().ok()?;
    let mut pairs = all
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(name, secret)| (name == COOKIE).then_some(secret))
}
