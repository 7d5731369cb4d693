//! The routes behind their guards, and what every answer wears.

use crate::appliance::{Api, Appliance};
use crate::config::ApiConfig;
use crate::console::HTML;
use crate::guard::{guard, unrouted};
use crate::problem::Problem;
use crate::route;
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use pericard_egress::Counter;
use std::any::Any;
use std::sync::Arc;
use std::time::Instant;
use tower_http::catch_panic::CatchPanicLayer;

/// What a page may load and where its forms may go: nothing but its own.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What every answer wears. `no-store`: answers hold patient data, and no cache may keep them.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// The routes of the appliance, guarded. [`crate::serve`] serves them; tests may call them without a network.
pub fn router(appliance: Appliance, config: ApiConfig) -> Router {
    routes(Api::new(appliance, config))
}

pub(crate) fn routes(api: Api) -> Router {
    let mut router = Router::new();
    for route in route::table() {
        let route = Arc::new(route);
        let guarded = middleware::from_fn_with_state((api.clone(), Arc::clone(&route)), guard);
        router = router.route(route.path, (route.handler)().route_layer(guarded));
    }
    let router = router
        .fallback(|State(api): State<Api>, request: Request| {
            unrouted(api, request, StatusCode::NOT_FOUND)
        })
        .method_not_allowed_fallback(|State(api): State<Api>, request: Request| {
            unrouted(api, request, StatusCode::METHOD_NOT_ALLOWED)
        });
    finish(router, api)
}

fn finish(router: Router<Api>, api: Api) -> Router {
    router
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(pericard_door::let_by))
        .layer(middleware::from_fn_with_state(api.clone(), dress))
        .with_state(api)
}

/// A panic costs its own request and nothing else. What it said goes to the journal only through the panic hook.
fn panicked(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("a handler panicked; the others go on");
    Problem::internal().into_response()
}

async fn dress(State(api): State<Api>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    // The route's pattern: the path itself holds ids, and a query may hold names.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let openai = request.uri().path().starts_with("/v1/");
    let fhir = request.uri().path().starts_with("/fhir/");
    let mut response = next.run(request).await;
    if openai && let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = problem.into_openai_response();
    }
    if fhir && let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = problem.into_fhir_response();
    }
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    let headers = response.headers_mut();
    if headers.get(header::CONTENT_TYPE).is_some_and(|t| t == HTML) {
        let policy = HeaderValue::from_static(PAGE_POLICY);
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    let status = response.status().as_u16();
    api.rooms.meter.count(counter(response.status()));
    let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let method = known(&method);
    tracing::info!(%method, route, status, ms, "answered");
    response
}

/// A method's name. One that no standard has is a word of the caller's, and not for the journal.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = [
        "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE",
    ];
    let mut known = KNOWN.into_iter();
    known
        .find(|name| *name == method.as_str())
        .unwrap_or("another")
}

fn counter(status: StatusCode) -> Counter {
    match status.as_u16() {
        ..400 => Counter::HttpSucceeded,
        400..500 => Counter::HttpRefused,
        500.. => Counter::HttpFailed,
    }
}
