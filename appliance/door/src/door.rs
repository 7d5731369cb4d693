//! The accept loop: connections in, within limits; requests to the router; drain at the end.

use crate::stall::Stalling;
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// How long to wait when the system has no file descriptors left: accepting again at once would only spin.
const ACCEPT_TROUBLE_WAIT: Duration = Duration::from_millis(100);
/// Requests that one HTTP/2 connection may have open.
const STREAMS_PER_CONNECTION_MAX: u32 = 64;
/// How often a quiet HTTP/2 connection is asked whether it is still there, and how long it may take to say so.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);

/// What a connection may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections that may be open at once; more wait in the kernel's backlog.
    pub connections_max: usize,
    /// Connections that one address may hold, so that one client cannot take them all.
    pub connections_per_address_max: usize,
    /// How long a TLS handshake may take.
    pub tls_handshake_timeout: Duration,
    /// How long a request's header may take, and how long a connection may rest between requests.
    pub header_timeout: Duration,
    /// How large a request's header may be.
    pub header_max_kib: u32,
    /// How long a client may take nothing of an answer that waits for it.
    pub write_stall_timeout: Duration,
    /// How long open requests may go on after the end was announced.
    pub drain_timeout: Duration,
}

/// Who hears of strangers that were turned away before they said anything.
pub trait Watch: Clone + Send + Sync + 'static {
    /// This address was turned away, for this reason.
    fn turned_away(&self, why: &'static str, address: IpAddr) -> impl Future<Output = ()> + Send;
}

/// What a connection shows of who came; every request through a door has one among its extensions.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// Where the connection came from.
    pub address: IpAddr,
    /// The certificate that the client showed and has the key of, where the door asks for one.
    pub certificate: Option<Arc<CertificateDer<'static>>>,
}

/// Serves `router` over HTTPS on `listener` until `stop`, then lets open requests end within the limits' drain.
///
/// # Errors
/// Only when the listener itself cannot be used.
pub async fn serve<W: Watch>(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    (router, watch): (Router, W),
    limits: Limits,
    stop: CancellationToken,
) -> io::Result<()> {
    listener.local_addr()?;
    let door = Door {
        acceptor: TlsAcceptor::from(tls),
        router,
        watch,
        visitors: Visitors::new(limits.connections_per_address_max),
        limits: Arc::new(limits),
        stop,
    };
    let mut connections = JoinSet::new();
    door.accept(&listener, &mut connections).await;
    drop(listener);
    door.drain(connections).await;
    Ok(())
}

#[derive(Clone)]
struct Door<W> {
    acceptor: TlsAcceptor,
    router: Router,
    watch: W,
    visitors: Visitors,
    limits: Arc<Limits>,
    stop: CancellationToken,
}

impl<W: Watch> Door<W> {
    async fn accept(&self, listener: &TcpListener, connections: &mut JoinSet<()>) {
        let places = Arc::new(Semaphore::new(self.limits.connections_max));
        loop {
            // A place first: what has none waits in the kernel's backlog and costs nothing here.
            let place = tokio::select! {
                place = Arc::clone(&places).acquire_owned() => place,
                () = self.stop.cancelled() => return,
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            while let Some(ended) = connections.try_join_next() {
                report(ended);
            }
            match accepted {
                Ok((stream, from)) => {
                    let door = self.clone();
                    connections.spawn(async move {
                        door.welcome(stream, from).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_TROUBLE_WAIT).await;
                }
            }
        }
    }

    async fn drain(&self, mut connections: JoinSet<()>) {
        let all_end = async {
            while let Some(ended) = connections.join_next().await {
                report(ended);
            }
        };
        let deadline = self.limits.drain_timeout;
        if tokio::time::timeout(deadline, all_end).await.is_err() {
            let cut = connections.len();
            tracing::warn!(cut, "connections were cut at the end of the drain");
            connections.shutdown().await;
        }
    }

    /// One connection, from its handshake to its end.
    async fn welcome(self, stream: TcpStream, from: SocketAddr) {
        let address = from.ip().to_canonical();
        let Some(_visit) = self.visitors.enter(address) else {
            let why = "it is one more than connections_per_address_max";
            self.watch.turned_away(why, address).await;
            return;
        };
        // Small answers are whole answers here: waiting to fill a segment would cost every client 40 ms.
        if stream.set_nodelay(true).is_err() {
            return; // Gone already.
        }
        let handshake = self.acceptor.accept(stream);
        let patience = self.limits.tls_handshake_timeout;
        match tokio::time::timeout(patience, handshake).await {
            Ok(Ok(stream)) => self.converse(stream, address).await,
            Ok(Err(error)) => tracing::debug!(%address, %error, "a TLS handshake failed"),
            Err(_) => {
                let why = "its TLS handshake took too long";
                self.watch.turned_away(why, address).await;
            }
        }
    }

    async fn converse(self, stream: TlsStream<TcpStream>, address: IpAddr) {
        let (_, tls) = stream.get_ref();
        let builder = builder(&self.limits, tls.alpn_protocol() == Some(b"h2"));
        let shown = tls.peer_certificates().and_then(<[_]>::first);
        let visitor = Visitor {
            address,
            certificate: shown.map(|certificate| Arc::new(certificate.clone().into_owned())),
        };
        let (silence, stall) = (self.limits.header_timeout, self.limits.write_stall_timeout);
        let router = self.router;
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(visitor.clone());
            router.clone().oneshot(request.map(Body::new))
        });
        let io = TokioIo::new(Stalling::new(stream, silence, stall));
        let mut connection = std::pin::pin!(builder.serve_connection_with_upgrades(io, service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%address, %error, "a connection broke off");
        }
    }
}

/// HTTP as the handshake agreed on. Never guessed from the first bytes: guessing waits for them without a limit.
fn builder(limits: &Limits, http2: bool) -> auto::Builder<TokioExecutor> {
    let builder = auto::Builder::new(TokioExecutor::new());
    let header_max_bytes = limits.header_max_kib.saturating_mul(1024);
    if http2 {
        let mut builder = builder.http2_only();
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .keep_alive_interval(HTTP2_PING_INTERVAL)
            .keep_alive_timeout(HTTP2_PING_INTERVAL)
            .max_header_list_size(header_max_bytes);
        builder
    } else {
        let mut builder = builder.http1_only();
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(usize::try_from(header_max_bytes).unwrap_or(usize::MAX));
        builder
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked; the others go on");
    }
}

/// How many connections each address holds.
#[derive(Clone)]
struct Visitors {
    per_address_max: usize,
    // A plain lock: held for one look into a map, never across an await.
    inside: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Visitors {
    fn new(per_address_max: usize) -> Self {
        Self {
            per_address_max,
            inside: Arc::default(),
        }
    }

    fn enter(&self, address: IpAddr) -> Option<Visit> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let held = inside.entry(address).or_insert(0);
        if *held >= self.per_address_max {
            return None;
        }
        *held += 1;
        Some(Visit {
            visitors: self.clone(),
            address,
        })
    }
}

/// A connection's place among those of its address, given back when it ends.
struct Visit {
    visitors: Visitors,
    address: IpAddr,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut inside = self
            .visitors
            .inside
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = inside.get_mut(&self.address) {
            *held -= 1;
            if *held == 0 {
                inside.remove(&self.address);
            }
        }
    }
}
