//! Results to their peers: one worker each, one message after the other, until each is acknowledged.

use crate::ack::{Heard, heard};
use crate::frame::{FrameError, Frames};
use crate::peer::{Line, Peer, Secured, Us};
use crate::results::{control_id, result};
use pericard_domain::time::Clock;
use pericard_store::message::Message;
use pericard_store::outbox::DeliveryTrouble;
use pericard_store::{Store, StoreError};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How many answers to other messages are passed over while one is awaited.
const STRAY_ANSWERS_MAX: usize = 8;
/// The longest answer that is read, bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How messages are sent.
#[derive(Clone)]
pub struct SendConfig {
    /// What we call ourselves.
    pub us: Us,
    /// For peers with certificates.
    pub tls: Option<Arc<dyn Secured>>,
    /// How long a message is ours to send before somebody else may.
    pub lease: Duration,
    /// Until the peer has answered the connection.
    pub connect_timeout: Duration,
    /// Until the peer has acknowledged a message.
    pub answer_timeout: Duration,
    /// The wait after the first failed attempt; it doubles with every further one.
    pub backoff_min: Duration,
    /// The longest wait between two attempts.
    pub backoff_max: Duration,
    /// How often to look for messages that nobody announced.
    pub look_every: Duration,
}

impl SendConfig {
    /// The defaults, under that name.
    #[must_use]
    pub fn new(us: Us) -> Self {
        Self {
            us,
            tls: None,
            lease: Duration::from_secs(5 * 60),
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(60),
            backoff_min: Duration::from_secs(5),
            backoff_max: Duration::from_secs(15 * 60),
            look_every: Duration::from_secs(10),
        }
    }
}

/// Tells every peer that takes results, until `stop`. What is being sent when it comes is sent again after the next start.
pub async fn deliver(
    config: SendConfig,
    mut peers: watch::Receiver<Arc<[Peer]>>,
    (store, clock): (Store, Arc<dyn Clock>),
    stop: CancellationToken,
) {
    loop {
        let named = Arc::clone(&peers.borrow_and_update());
        let mut workers = JoinSet::new();
        for peer in named.iter().filter(|peer| peer.port.is_some()) {
            let courier = Courier {
                config: config.clone(),
                peer: peer.clone(),
                store: store.clone(),
                clock: Arc::clone(&clock),
            };
            workers.spawn(courier.run());
        }
        tokio::select! {
            () = stop.cancelled() => return,
            // What is cut here lapses, and is sent by the next worker; the peer knows it by its control id.
            changed = peers.changed() => if changed.is_err() {
                stop.cancelled().await;
                return;
            },
        }
        workers.shutdown().await;
    }
}

/// The worker of one peer.
struct Courier {
    config: SendConfig,
    peer: Peer,
    store: Store,
    clock: Arc<dyn Clock>,
}

impl Courier {
    async fn run(self) {
        loop {
            match self.round().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::error!(peer = %self.peer.name, "messages: {error}"),
            }
            let _ = timeout(self.config.look_every, self.store.changed()).await;
        }
    }

    /// One connection's worth; whether something was sent.
    async fn round(&self) -> Result<bool, StoreError> {
        let Some(first) = self.lease().await? else {
            return Ok(false);
        };
        let mut line = match self.connected().await {
            Ok(line) => Frames::new(line, ANSWER_BYTES_MAX, self.config.answer_timeout),
            Err(error) => {
                let why = format!("cannot connect: {error}");
                self.settle(&first, Heard::Later(why)).await?;
                return Ok(false);
            }
        };
        let mut next = Some(first);
        while let Some(message) = next {
            let heard = self.put(&mut line, &message).await;
            let is_taken = heard == Heard::Taken;
            self.settle(&message, heard).await?;
            next = match is_taken {
                true => self.lease().await?,
                false => None,
            };
        }
        Ok(true)
    }

    async fn lease(&self) -> Result<Option<Message>, StoreError> {
        self.store
            .lease_message(&self.peer.name, self.config.lease)
            .await
    }

    async fn connected(&self) -> io::Result<Line> {
        let Some(port) = self.peer.port else {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        };
        let limit = self.config.connect_timeout;
        let connecting = async {
            let stream = TcpStream::connect((self.peer.address, port)).await?;
            stream.set_nodelay(true)?;
            if self.peer.certificates.is_empty() {
                return Ok(Box::new(stream) as Line);
            }
            let no_tls =
                "it is called over TLS only; give dicom.tls a certificate, a key and authorities";
            let tls = self.config.tls.as_ref();
            let tls = tls.ok_or_else(|| io::Error::other(no_tls))?;
            let host = self.peer.address.to_string();
            tls.connect(stream, &host, &self.peer.certificates).await
        };
        match timeout(limit, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Sends a message and waits for its acknowledgement.
    async fn put(&self, line: &mut Frames<Line>, message: &Message) -> Heard {
        let offset_min = self.clock.utc_offset_min(message.created_at);
        let bytes = result(message, &self.peer, &self.config.us, offset_min);
        let broken = |error: FrameError| Heard::Later(format!("no acknowledgement: {error}"));
        if let Err(error) = line.send(&bytes).await {
            return broken(error);
        }
        let id = control_id(message);
        for _ in 0..STRAY_ANSWERS_MAX {
            match line.next(self.config.answer_timeout).await {
                Ok(answer) => match heard(&answer, &id) {
                    Heard::Other => {}
                    heard => return heard,
                },
                Err(error) => return broken(error),
            }
        }
        Heard::Later("the peer answers other messages than the one that was sent".into())
    }

    async fn settle(&self, message: &Message, heard: Heard) -> Result<(), StoreError> {
        let settled = match heard {
            Heard::Taken => self.store.message_delivered(message).await,
            Heard::Never(reason) => {
                tracing::error!(peer = %self.peer.name, "a message will not be delivered: {reason}");
                let trouble = DeliveryTrouble::Permanent { reason };
                self.store.message_not_delivered(message, trouble).await
            }
            Heard::Later(_) | Heard::Other => {
                let reason = match heard {
                    Heard::Later(reason) => reason,
                    _ => "no answer".to_owned(),
                };
                tracing::warn!(peer = %self.peer.name, "a message is put off: {reason}");
                let retry_at = self.clock.now().after(self.backoff(message.attempts));
                let trouble = DeliveryTrouble::Transient { reason, retry_at };
                self.store.message_not_delivered(message, trouble).await
            }
        };
        match settled {
            // Somebody else took it up, and it is theirs to settle.
            Err(StoreError::LeaseLapsed) => Ok(()),
            other => other,
        }
    }

    fn backoff(&self, attempts: u32) -> Duration {
        let doubled = self
            .config
            .backoff_min
            .saturating_mul(1 << attempts.saturating_sub(1).min(20));
        doubled.min(self.config.backoff_max)
    }
}
