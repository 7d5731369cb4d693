//! What stands behind the hub's door: the frames' route for gates, the read API for programs, and pages for people.

use crate::access::{admin, guard, national};
use crate::board;
use crate::enrolment::Registrar;
use crate::hub::Hub;
use crate::ingest::{Way, stranger};
use crate::intake::Intake;
use crate::problem::Problem;
use crate::reading::{Access, table};
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Router, response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use pericard_door::{Limits, Sessions, Visitor, Watch};
use pericard_frame::{FRAME_BYTES, Reply};
use sha2::{Digest as _, Sha256};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

/// How long a frame's 4096 bytes may take, however they trickle.
const FRAME_TIMEOUT: Duration = Duration::from_secs(30);
/// What a door takes. Hospitals call once a week each; people and researchers are few.
const LIMITS: Limits = Limits {
    connections_max: 512,
    connections_per_address_max: 128,
    tls_handshake_timeout: Duration::from_secs(10),
    header_timeout: Duration::from_secs(15),
    header_max_kib: 16,
    write_stall_timeout: Duration::from_secs(60),
    drain_timeout: Duration::from_secs(20),
};
/// What every answer wears: none is for a cache, a frame or a sniffer, and a page loads nothing but its own.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// What every handler is given.
#[derive(Clone)]
pub struct Site {
    hub: Arc<Hub>,
    registrar: Arc<Registrar>,
    intake: Intake,
    sessions: Arc<Sessions>,
}

impl Site {
    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    pub(crate) fn registrar(&self) -> &Registrar {
        &self.registrar
    }

    /// The hub: its records are what pages show.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.hub
    }
}

/// Serves the hub on `listener` until `stop`; then open requests end, and the last frames are answered.
///
/// # Errors
/// When the listener cannot be used, or the system gives no thread.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    (hub, registrar): (Arc<Hub>, Arc<Registrar>),
    stop: CancellationToken,
) -> io::Result<()> {
    let (intake, thread) = Intake::start(Arc::clone(&hub))?;
    let behind = (router((hub, registrar), intake), Journal);
    pericard_door::serve(listener, tls, behind, LIMITS, stop).await?;
    // The router is gone, and with it every way to the thread, which ends.
    let ended = tokio::task::spawn_blocking(move || thread.join()).await;
    if !matches!(ended, Ok(Ok(()))) {
        tracing::error!("the thread that takes frames panicked");
    }
    Ok(())
}

/// All that stands behind the door. Public for who measures it without a door: [`serve`] is how it is opened.
pub fn router((hub, registrar): (Arc<Hub>, Arc<Registrar>), intake: Intake) -> Router {
    let site = Site {
        hub,
        registrar,
        intake,
        sessions: Arc::new(Sessions::new(board::SESSIONS)),
    };
    let mut router = Router::new();
    // Two methods of one path are two routes: each has a guard of its own.
    for route in table() {
        let method = match route.access {
            Access::Open => (route.handler)(),
            Access::Token => {
                let guard = middleware::from_fn_with_state(site.clone(), guard);
                (route.handler)().route_layer(guard)
            }
            Access::National => {
                let guard = middleware::from_fn_with_state(site.clone(), national);
                (route.handler)().route_layer(guard)
            }
            Access::Admin => {
                let guard = middleware::from_fn_with_state(site.clone(), admin);
                (route.handler)().route_layer(guard)
            }
        };
        router = router.route(route.path, method);
    }
    router
        .merge(board::router(&site))
        .route("/hub/v1/frames", post(take))
        .fallback(async || {
            let detail = "there is no such route; /hub/v1/openapi.json lists those there are";
            Problem::new(StatusCode::NOT_FOUND, detail)
        })
        .layer(CatchPanicLayer::new())
        .layer(middleware::from_fn(pericard_door::let_by))
        .layer(middleware::from_fn(dress))
        .with_state(site)
}

/// A frame comes in, and a reply goes back: always of the same size, whatever it says.
async fn take(
    State(site): State<Site>,
    Extension(visitor): Extension<Visitor>,
    body: Body,
) -> Response {
    let Some(certificate) = visitor.certificate else {
        return sent(&stranger());
    };
    let way = Way::Connection(Sha256::digest(&*certificate).into());
    let body = tokio::time::timeout(FRAME_TIMEOUT, to_bytes(body, FRAME_BYTES)).await;
    let Ok(body) = body else {
        let detail = "the frame took too long";
        return Problem::new(StatusCode::REQUEST_TIMEOUT, detail).into_response();
    };
    // More than a frame has is no frame, and is judged as one.
    let bytes = body.map_or_else(|_| Vec::new(), |bytes| bytes.to_vec());
    match site.intake.offer(bytes, way).await {
        Ok(reply) => sent(&reply),
        Err(untaken) => {
            tracing::warn!(why = %untaken, "a frame was not judged");
            let detail = "no frame can be taken now; send it again later";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
        }
    }
}

fn sent(reply: &Reply) -> Response {
    let binary = [(header::CONTENT_TYPE, "application/octet-stream")];
    (binary, reply.bytes().to_vec()).into_response()
}

async fn dress(request: Request, next: Next) -> response::Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        let headers = response.headers_mut();
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Strangers are said to the journal.
#[derive(Clone, Copy)]
struct Journal;

impl Watch for Journal {
    async fn turned_away(&self, why: &'static str, address: IpAddr) {
        tracing::warn!(%address, why, "a connection was turned away");
    }
}
