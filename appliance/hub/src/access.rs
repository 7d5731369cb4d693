//! Who may use the read API: programs show a token in every request. People log in at the dashboard.

use crate::problem::Problem;
use crate::site::Site;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode, header};

/// Lets a program through that shows a token; the handler is told whose it is.
pub(crate) async fn guard(State(site): State<Site>, mut request: Request, next: Next) -> Response {
    let viewer = bearer(request.headers()).and_then(|secret| site.hub().viewer(secret));
    let Some(viewer) = viewer else {
        let detail = "a token is needed, as 'Authorization: Bearer ...'; `pericard hub token issue` makes one";
        return Problem::new(StatusCode::UNAUTHORIZED, detail).into_response();
    };
    request.extensions_mut().insert(viewer);
    next.run(request).await
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}
