//! The listening sockets, and every connection on them: one message after the other, each answered before the next is read.

use crate::ack::{Answer, Trouble, acknowledgement};
use crate::frame::{FrameError, Frames};
use crate::heed::heed;
use crate::message::Message;
use crate::peer::{Line, Peer, Secured, Us};
use crate::places::Places;
use pericard_domain::actor::Actor;
use pericard_domain::digest::Digest;
use pericard_domain::time::Clock;
use pericard_store::Store;
use pericard_store::admission::Refusal;
use rustix::net::sockopt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long to wait after the system could not give us a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long open connections get to answer what they have in hand when the appliance stops.
const DRAIN: Duration = Duration::from_secs(10);
/// A connection may be silent for a day, but not its machine: one that was switched off or cut off gives its place back
/// after two minutes. So long a silence, so long between questions, and so many of them without an answer.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// Where messages come in.
#[derive(Default)]
pub struct Doors {
    /// For peers without certificates, each at its address.
    pub plain: Option<TcpListener>,
    /// For peers with certificates.
    pub tls: Option<(TcpListener, Arc<dyn Secured>)>,
}

/// How the door stands.
#[derive(Clone)]
pub struct Hl7Config {
    /// What we call ourselves.
    pub us: Us,
    /// Whose messages are heard, by now.
    pub peers: watch::Receiver<Arc<[Peer]>>,
    /// How much, how long.
    pub limits: Limits,
}

/// How much, how long.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once; one address may hold half of them.
    pub connections_max: usize,
    /// The longest message, KiB.
    pub message_max_kib: usize,
    /// How long a message may take from its first byte to its last, either way.
    pub message_timeout: Duration,
    /// How long a connection may be silent. Interfaces stay connected over night.
    pub idle_timeout: Duration,
    /// How long a TLS session may take to come about.
    pub handshake_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 16,
            message_max_kib: 1024,
            message_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(24 * 3600),
            handshake_timeout: Duration::from_secs(15),
        }
    }
}

/// Hears messages until `stop`.
pub async fn listen(
    doors: Doors,
    config: Hl7Config,
    (store, clock): (Store, Arc<dyn Clock>),
    stop: CancellationToken,
) {
    let places = Places::new(config.limits.connections_max);
    let reception = Arc::new(Reception {
        config,
        store,
        clock,
        stop,
        answered: AtomicU64::new(0),
        places,
    });
    let Doors { plain, tls } = doors;
    let plain = async {
        if let Some(listener) = plain {
            receive_all(listener, None, Arc::clone(&reception)).await;
        }
    };
    let tls = async {
        if let Some((listener, secured)) = tls {
            receive_all(listener, Some(secured), Arc::clone(&reception)).await;
        }
    };
    tokio::join!(plain, tls, reception.stop.cancelled());
}

async fn receive_all(
    listener: TcpListener,
    secured: Option<Arc<dyn Secured>>,
    reception: Arc<Reception>,
) {
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = reception.stop.cancelled() => break,
            Some(ended) = open.join_next(), if !open.is_empty() => {
                note_panic(&ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot accept an HL7 connection: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let place = match reception.places.take(address.ip()) {
            Ok(place) => place,
            Err(full) => {
                tracing::warn!(peer = %address.ip(), "closed an HL7 connection unheard: {full}");
                continue;
            }
        };
        let (reception, secured) = (Arc::clone(&reception), secured.clone());
        open.spawn(async move {
            let _place = place;
            reception.connected(stream, secured, address.ip()).await;
        });
    }
    drop(listener);
    let all = async { while open.join_next().await.is_some() {} };
    if timeout(DRAIN, all).await.is_err() {
        open.shutdown().await;
    }
}

/// Lets the kernel ask from time to time whether the other machine is still there.
fn ask_after(stream: &TcpStream) -> rustix::io::Result<()> {
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    sockopt::set_socket_keepalive(stream, true)
}

/// A panic ends the connection that it happened on and nothing else: nothing was acknowledged, and the peer sends again.
fn note_panic(ended: &Result<(), tokio::task::JoinError>) {
    if ended.as_ref().is_err_and(tokio::task::JoinError::is_panic) {
        tracing::error!("an HL7 connection ended by a fault of this program");
    }
}

struct Reception {
    config: Hl7Config,
    store: Store,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    /// How many messages were answered: the number of each answer.
    answered: AtomicU64,
    places: Places,
}

impl Reception {
    async fn connected(&self, stream: TcpStream, secured: Option<Arc<dyn Secured>>, ip: IpAddr) {
        let _ = stream.set_nodelay(true); // an answer must not wait; without it, it merely does
        if let Err(error) = ask_after(&stream) {
            tracing::warn!(peer = %ip, "it will not be noticed if this peer goes without a word: {error}");
        }
        let (line, certificate): (Line, Option<Digest>) = match secured {
            None => (Box::new(stream), None),
            Some(secured) => {
                let limit = self.config.limits.handshake_timeout;
                match timeout(limit, secured.accept(stream)).await {
                    Ok(Ok((line, certificate))) => (line, Some(certificate)),
                    Ok(Err(error)) => {
                        let why = format!("the TLS handshake failed: {error}");
                        return self.refuse(&why, ip).await;
                    }
                    Err(_) => return self.refuse("the TLS handshake took too long", ip).await,
                }
            }
        };
        let Some(peer) = self.peer(ip, certificate) else {
            let why = "the caller is no HL7 peer of this address and certificate";
            return self.refuse(why, ip).await;
        };
        if let Err(error) = self.hear(line, &peer).await {
            tracing::warn!(peer = %peer.name, "an HL7 connection ended: {error}");
            if matches!(error, FrameError::NotMllp | FrameError::TooLong { .. }) {
                self.refuse(&error.to_string(), ip).await;
            }
        }
    }

    /// Who calls: by address, and by certificate where it has one.
    fn peer(&self, ip: IpAddr, certificate: Option<Digest>) -> Option<Peer> {
        let peers = Arc::clone(&self.config.peers.borrow());
        let is_it = |peer: &&Peer| {
            let is_shown = match certificate {
                Some(shown) => peer.certificates.contains(&shown),
                None => peer.certificates.is_empty(),
            };
            is_shown && peer.address.to_canonical() == ip.to_canonical()
        };
        peers.iter().find(is_it).cloned()
    }

    async fn hear(&self, line: Line, peer: &Peer) -> Result<(), FrameError> {
        let limits = &self.config.limits;
        let most = limits.message_max_kib * 1024;
        let mut frames = Frames::new(line, most, limits.message_timeout);
        loop {
            let next = tokio::select! {
                biased;
                // What has begun to come is dropped: it was not acknowledged, so it comes again.
                () = self.stop.cancelled() => return Ok(()),
                next = frames.next(limits.idle_timeout) => next,
            };
            let bytes = match next {
                Ok(bytes) => bytes,
                Err(FrameError::Closed) => return Ok(()),
                Err(error) => return Err(error),
            };
            if let Some(answer) = self.answer(&bytes, peer).await {
                frames.send(&answer).await?;
            }
        }
    }

    async fn answer(&self, bytes: &[u8], peer: &Peer) -> Option<Vec<u8>> {
        let (message, answer) = match Message::parse(bytes) {
            Ok(message) => {
                let answer = heed(&self.store, peer, &message).await;
                (Some(message), answer)
            }
            Err(error) => (None, Answer::Reject(Trouble::malformed(&error))),
        };
        if let Answer::Error(trouble) | Answer::Reject(trouble) = &answer {
            tracing::warn!(peer = %peer.name, "a message was not heeded: {}", trouble.why);
            self.refuse(&trouble.why, peer.address).await;
        }
        let number = self.answered.fetch_add(1, Ordering::Relaxed) + 1;
        let now = self.clock.now();
        let now = format!("{}{}", now.dicom_date(), now.dicom_time());
        let number = format!("{now}-{number}");
        acknowledgement(message.as_ref(), &answer, &self.config.us, (&now, &number))
    }

    async fn refuse(&self, why: &str, ip: IpAddr) {
        let refusal = Refusal {
            what: "HL7".into(),
            why: why.to_owned(),
            instance: None,
        };
        let stranger = Actor::Unknown { address: ip };
        if let Err(error) = self.store.refuse(refusal, stranger).await {
            tracing::error!(%error, "the refusal is not in the audit log");
        }
    }
}

#[cfg(test)]
mod tests;
