//! The dashboard: pages for people, made here, whole, and of nothing but what stands in them. No page needs a script.
//!
//! Every figure has its uncertainty beside it, or says that it is exact, or that too few stand behind it to be shown.
//! Who may see a page stands once, in [`pages`].

mod chart;
mod decoder;
mod enrolments;
mod evaluations;
mod hospital;
mod hospitals;
mod incidents;
mod layout;
mod login;
mod model;
mod models;
mod nation;
mod pieces;
mod privacy;
mod visit;
mod witness;

use crate::site::Site;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get, post};
use http::header;
use pericard_door::SessionRules;
use visit::Who;

/// What a form may bring: a text and some words, or a frame.
const FORM_BYTES_MAX: usize = 32 << 10;
/// Of who looks at the nation: a screen may wait for as long as a discussion takes, and for no longer than a working day.
pub(crate) const SESSIONS: SessionRules = SessionRules {
    cookie: "pericard-hub",
    idle_s: 30 * 60,
    whole_s: 10 * 60 * 60,
};
/// Where people show their token.
const LOGIN: &str = "/login";

/// Every page, what it is called in the menu where it stands there, and who may see it.
#[rustfmt::skip] // a table
fn pages() -> Vec<(&'static str, Option<&'static str>, Who, MethodRouter<Site>)> {
    use Who::{Admin, Everybody, National};
    vec![
        ("/", Some("Overview"), Everybody, get(nation::show)),
        ("/models", Some("Models"), National, get(models::list)),
        ("/models/{model}", None, National, get(model::show)),
        ("/hospitals", Some("Hospitals"), National, get(hospitals::list)),
        ("/hospitals/{hospital}", None, Everybody, get(hospital::show)),
        ("/enrolments", Some("Enrolments"), Admin, get(enrolments::show)),
        ("/enrolments/asked", None, Admin, post(enrolments::ask)),
        ("/enrolments/{number}/grant", None, Admin, post(enrolments::grant)),
        ("/enrolments/{number}/refuse", None, Admin, post(enrolments::refuse)),
        ("/evaluations", Some("Evaluations"), National, get(evaluations::show)),
        ("/incidents", Some("Incidents"), National, get(incidents::show)),
        ("/incidents/advisories", None, Admin, post(incidents::issue)),
        ("/witness", Some("Witness"), National, get(witness::show)),
        ("/privacy", Some("Privacy"), Everybody, get(privacy::show)),
        ("/privacy/decoded", None, Everybody, post(privacy::decode)),
        ("/logout", None, Everybody, post(login::leave)),
    ]
}

pub(crate) fn router(site: &Site) -> Router<Site> {
    let mut router = Router::new();
    for (path, _, who, method) in pages() {
        let guard = middleware::from_fn_with_state((site.clone(), who), visit::guard);
        router = router.route(path, method.route_layer(guard));
    }
    router
        .route(LOGIN, get(login::ask).post(login::enter))
        .route("/style.css", get(style))
        .route("/icon.svg", get(icon))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
}

async fn style() -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/css; charset=utf-8")];
    (kind, include_str!("style.css"))
}

async fn icon() -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "image/svg+xml")];
    (kind, include_str!("icon.svg"))
}
