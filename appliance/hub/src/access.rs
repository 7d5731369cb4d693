//! Who may use the API: programs show a token in every request. People log in at the dashboard.

use crate::problem::Problem;
use crate::records::Viewer;
use crate::site::Site;
use crate::token::Token;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode, header};

/// Whose token it is, by its number: what the audit log says of whoever changes something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder {
    pub(crate) token: u32,
}

/// Lets a program through that shows a token; the handler is told whose it is.
pub(crate) async fn guard(State(site): State<Site>, request: Request, next: Next) -> Response {
    match known(&site, request.headers()) {
        Some(token) => passed(token, request, next).await,
        None => nobody(),
    }
}

/// Lets a program through that shows one of a national role.
pub(crate) async fn national(State(site): State<Site>, request: Request, next: Next) -> Response {
    match known(&site, request.headers()) {
        Some(token) if token.viewer.is_national() => passed(token, request, next).await,
        Some(_) => {
            let detail = "this is about all hospitals; `pericard hub token issue --role analyst` makes a token for who reads it";
            Problem::new(StatusCode::FORBIDDEN, detail).into_response()
        }
        None => nobody(),
    }
}

/// Lets a program through that shows an admin's.
pub(crate) async fn admin(State(site): State<Site>, request: Request, next: Next) -> Response {
    match known(&site, request.headers()) {
        Some(token) if token.viewer == Viewer::Admin => passed(token, request, next).await,
        Some(_) => {
            let detail = "only an admin may do this; `pericard hub token issue --role admin` makes a token for one";
            Problem::new(StatusCode::FORBIDDEN, detail).into_response()
        }
        None => nobody(),
    }
}

async fn passed(token: Token, mut request: Request, next: Next) -> Response {
    let holder = Holder {
        token: token.number,
    };
    request.extensions_mut().insert(token.viewer);
    request.extensions_mut().insert(holder);
    next.run(request).await
}

fn nobody() -> Response {
    let detail =
        "a token is needed, as 'Authorization: Bearer ...'; `pericard hub token issue` makes one";
    Problem::new(StatusCode::UNAUTHORIZED, detail).into_response()
}

fn known(site: &Site, headers: &HeaderMap) -> Option<Token> {
    site.hub().token(&Token::key(bearer(headers)?)?)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}
