//! The outbox: results go to the peers that are to have them, however long that takes.
//!
//! One worker a destination, so that one that is down holds up nobody else. A lease that lapses is taken up again by
//! whoever comes next; the peer may then get an object twice, which is the same object.

use crate::part10::FileHead;
use crate::peer::Peer;
use crate::peers::{Peers, one_worker_each};
use crate::request::{Answer, Call, CallError, Caller, Proposal};
use crate::sending::{self, Rewriter, Rewriting};
use crate::status::Status;
use futures_util::FutureExt;
use pericard_domain::study::{Instance, ObjectIdentity};
use pericard_domain::time::Clock;
use pericard_egress::{Counter, Meter, Stage};
use pericard_store::outbox::{Delivery, DeliveryTrouble};
use pericard_store::{Store, StoreError};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// How long after the store's time for an object it is looked for: two clocks never agree to the millisecond.
const DUE_MARGIN: Duration = Duration::from_millis(20);

/// How the outbox goes about it.
#[derive(Debug, Clone)]
pub struct DeliveryConfig {
    /// Objects sent over one association; the next association takes up the rest.
    pub deliveries_per_association_max: usize,
    /// How long an object is ours to send before somebody else may.
    pub lease: Duration,
    /// The wait after the first failed attempt; it doubles with every further one.
    pub backoff_min: Duration,
    /// The longest wait between two attempts.
    pub backoff_max: Duration,
    /// How often to look for mail that nobody announced.
    pub look_every: Duration,
    /// Where deliveries are counted.
    pub meter: Meter,
    /// Who writes objects anew for peers that take only the other uncompressed syntax. Without anybody they do not get them.
    pub rewriting: Option<Arc<dyn Rewriting>>,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            deliveries_per_association_max: 16,
            lease: Duration::from_secs(15 * 60),
            backoff_min: Duration::from_secs(5),
            backoff_max: Duration::from_secs(15 * 60),
            look_every: Duration::from_secs(30),
            meter: Meter::in_memory(),
            rewriting: None,
        }
    }
}

/// What the outbox needs of the store: a seam, so that tests need no database.
pub trait Mail: Clone + Send + Sync + 'static {
    /// Leases the oldest delivery to `destination` that is due.
    fn lease(
        &self,
        destination: &str,
        lease: Duration,
    ) -> impl Future<Output = Result<Option<Delivery>, StoreError>> + Send;
    /// The peer has it.
    fn delivered(&self, delivery: &Delivery)
    -> impl Future<Output = Result<(), StoreError>> + Send;
    /// The peer has it, and is to promise that it keeps it.
    fn delivered_uncommitted(
        &self,
        delivery: &Delivery,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// The peer does not have it.
    fn not_delivered(
        &self,
        delivery: &Delivery,
        trouble: DeliveryTrouble,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Where the object's file is.
    fn path(&self, instance: &Instance) -> PathBuf;
    /// Resolves when there may be new mail: at once, when some came since this handle last asked.
    fn changed(&self) -> impl Future<Output = ()> + Send;
}

impl Mail for Store {
    async fn lease(
        &self,
        destination: &str,
        lease: Duration,
    ) -> Result<Option<Delivery>, StoreError> {
        self.lease_delivery(destination, lease).await
    }

    async fn delivered(&self, delivery: &Delivery) -> Result<(), StoreError> {
        Self::delivered(self, delivery).await
    }

    async fn delivered_uncommitted(&self, delivery: &Delivery) -> Result<(), StoreError> {
        Self::delivered_uncommitted(self, delivery).await
    }

    async fn not_delivered(
        &self,
        delivery: &Delivery,
        trouble: DeliveryTrouble,
    ) -> Result<(), StoreError> {
        Self::not_delivered(self, delivery, trouble).await
    }

    fn path(&self, instance: &Instance) -> PathBuf {
        self.object_path(instance)
    }

    async fn changed(&self) {
        Self::changed(self).await;
    }
}

/// Delivers to every peer that has an address, until `stop`.
///
/// What is being sent when it comes is cut; a lease then lapses and the object is sent after the next start. What is being
/// sent when the list changes is ended.
pub async fn deliver<M: Mail>(
    config: DeliveryConfig,
    caller: Caller,
    peers: Peers,
    mail: (M, Arc<dyn Clock>),
    stop: CancellationToken,
) {
    let (mail, clock) = mail;
    let postman = |peer, retired: CancellationToken| {
        let postman = Postman {
            config: config.clone(),
            caller: caller.clone(),
            peer,
            mail: mail.clone(),
            clock: clock.clone(),
            due: Mutex::default(),
        };
        postman.run(retired)
    };
    one_worker_each(peers, &stop, postman).await;
}

/// The worker of one destination.
struct Postman<M> {
    config: DeliveryConfig,
    caller: Caller,
    peer: Peer,
    mail: M,
    clock: Arc<dyn Clock>,
    /// When what was put off is due again.
    due: Mutex<Vec<Instant>>,
}

/// How a round ended.
enum Round {
    /// Something was sent, and there may be more.
    More,
    /// There was nothing to send.
    Nothing,
    /// The peer could not be reached, or broke off.
    PeerFailed,
}

/// How an attempt ended.
enum Attempt {
    Delivered,
    Later(String),
    Never(String),
}

/// A lease with what is known of its file.
type Parcel = (Delivery, PathBuf, FileHead);

impl<M: Mail> Postman<M> {
    async fn run(self, retired: CancellationToken) {
        let mut failures = 0;
        while !retired.is_cancelled() {
            // A fault of ours must not end deliveries until the next start: it counts as one more failure.
            let round = AssertUnwindSafe(self.round()).catch_unwind().await;
            // Mail that comes is reason to look again, unless the peer is down.
            let (rest, heeds_mail) = match round {
                Ok(Ok(Round::More)) => {
                    failures = 0;
                    continue;
                }
                Ok(Ok(Round::Nothing)) => {
                    failures = 0;
                    (self.until_due(), true)
                }
                Ok(Ok(Round::PeerFailed)) => {
                    failures += 1;
                    (self.backoff(failures), false)
                }
                Ok(Err(error)) => {
                    tracing::error!(peer = %self.peer.name, "outbox: {error}");
                    (self.config.look_every, false)
                }
                Err(_) => {
                    failures += 1;
                    tracing::error!(peer = %self.peer.name, "delivery failed by a fault of this program");
                    (self.backoff(failures), false)
                }
            };
            tokio::select! {
                () = retired.cancelled() => {}
                () = sleep(rest) => {}
                () = self.mail.changed(), if heeds_mail => {}
            }
        }
    }

    fn remember(&self, due_at: Instant) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.push(due_at);
    }

    /// How long until something that was put off is due, as far as this worker knows.
    fn until_due(&self) -> Duration {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        // What is due now was just not found: it is somebody else's, or its time is the clock's, not ours.
        due.retain(|at| *at > now);
        let soonest = due.iter().min().map(|at| *at - now);
        soonest.map_or(self.config.look_every, |wait| {
            wait.min(self.config.look_every)
        })
    }

    /// One association's worth.
    async fn round(&self) -> Result<Round, StoreError> {
        let parcels = self.leased().await?;
        if parcels.is_empty() {
            return Ok(Round::Nothing);
        }
        let rewriter = self.config.rewriting.as_deref();
        let proposals = proposals(&parcels, rewriter);
        let mut call = match self.caller.call(&self.peer, &proposals).await {
            Ok(call) => call,
            Err(error) => {
                self.all_later(&parcels, &error).await?;
                return Ok(Round::PeerFailed);
            }
        };
        for (at, parcel) in parcels.iter().enumerate() {
            match attempt(&mut call, parcel, rewriter).await {
                Ok(attempt) => self.settle(&parcel.0, attempt).await?,
                Err(reason) => {
                    let name = self.peer.name.clone();
                    self.all_later(&parcels[at..], &CallError::Broken { name, reason })
                        .await?;
                    return Ok(Round::PeerFailed);
                }
            }
        }
        // Every object has its answer; how the peer ends the association changes none of them.
        let _ = call.association.release().await;
        Ok(Round::More)
    }

    /// What is due, as much as one association takes.
    async fn leased(&self) -> Result<Vec<Parcel>, StoreError> {
        let mut parcels = Vec::new();
        while parcels.len() < self.config.deliveries_per_association_max {
            let Some(delivery) = self.mail.lease(&self.peer.name, self.config.lease).await? else {
                break;
            };
            let path = self.mail.path(&delivery.instance);
            let head_path = path.clone();
            let head = tokio::task::spawn_blocking(move || FileHead::of(&head_path)).await;
            match head {
                Ok(Ok(head)) => parcels.push((delivery, path, head)),
                Ok(Err(error)) => {
                    let reason = format!("the object's file cannot be sent: {error}");
                    self.settle(&delivery, Attempt::Later(reason)).await?;
                }
                Err(_) => break, // the runtime is going down
            }
        }
        Ok(parcels)
    }

    async fn all_later(&self, parcels: &[Parcel], error: &CallError) -> Result<(), StoreError> {
        tracing::warn!(peer = %self.peer.name, waiting = parcels.len(), "delivery put off: {error}");
        for (delivery, ..) in parcels {
            self.settle(delivery, Attempt::Later(error.to_string()))
                .await?;
        }
        Ok(())
    }

    async fn settle(&self, delivery: &Delivery, attempt: Attempt) -> Result<(), StoreError> {
        self.config.meter.count(match attempt {
            Attempt::Delivered => Counter::DeliveriesDone,
            Attempt::Later(_) => Counter::DeliveriesTransient,
            Attempt::Never(_) => Counter::DeliveriesPermanent,
        });
        if matches!(attempt, Attempt::Delivered) {
            let waited = self.clock.now().since(delivery.waiting_since);
            self.config.meter.observe(Stage::Deliver, waited);
        }
        let settled = match attempt {
            Attempt::Delivered if self.peer.commit => {
                self.mail.delivered_uncommitted(delivery).await
            }
            Attempt::Delivered => self.mail.delivered(delivery).await,
            Attempt::Later(reason) => {
                let wait = self.backoff(delivery.attempts);
                let retry_at = self.clock.now().after(wait);
                self.remember(Instant::now() + wait + DUE_MARGIN);
                let trouble = DeliveryTrouble::Transient { reason, retry_at };
                self.mail.not_delivered(delivery, trouble).await
            }
            Attempt::Never(reason) => {
                tracing::error!(peer = %self.peer.name, "a result will not be delivered: {reason}");
                self.mail
                    .not_delivered(delivery, DeliveryTrouble::Permanent { reason })
                    .await
            }
        };
        match settled {
            // Somebody else took it up: the peer may get it twice, and it is theirs to settle.
            Err(StoreError::LeaseLapsed) => Ok(()),
            other => other,
        }
    }

    /// The wait after so many attempts: doubled each time, with up to a quarter more, so that the results of a long
    /// outage do not come back all at once.
    fn backoff(&self, attempts: u32) -> Duration {
        let doubled = self
            .config
            .backoff_min
            .saturating_mul(1 << attempts.saturating_sub(1).min(20));
        let wait = doubled.min(self.config.backoff_max);
        // Without randomness the wait is merely regular.
        let jitter = getrandom::u32().unwrap_or(0);
        wait + wait.mul_f64(f64::from(jitter) / f64::from(u32::MAX) / 4.0)
    }
}

/// What to propose for these parcels, each once.
fn proposals(parcels: &[Parcel], rewriter: Rewriter<'_>) -> Vec<Proposal> {
    let mut proposals = Vec::new();
    for (delivery, _, head) in parcels {
        let identity = ObjectIdentity {
            sop_class: head.sop_class.clone(),
            transfer_syntax: head.transfer_syntax.clone(),
            ..delivery.instance.identity.clone()
        };
        for proposal in sending::proposals(&identity, head.data_bytes, rewriter) {
            if !proposals.contains(&proposal) {
                proposals.push(proposal);
            }
        }
    }
    proposals
}

async fn attempt(
    call: &mut Call,
    (_, path, head): &Parcel,
    rewriter: Rewriter<'_>,
) -> Result<Attempt, crate::LinkError> {
    let Some(way) = sending::way(call.association.contexts().iter(), head, rewriter) else {
        let reason = "the peer does not accept this SOP class in a transfer syntax that we have";
        return Ok(Attempt::Never(reason.to_owned()));
    };
    let Some(body) = sending::body(way, path.clone(), head, rewriter).await? else {
        let reason = "the object cannot be written in the only transfer syntax that the peer takes";
        return Ok(Attempt::Never(reason.to_owned()));
    };
    let request = sending::request(call.next_message_id(), head, None);
    sending::put(&mut call.association, way.context(), &request, body).await?;
    call.answer(&request).await.map(settled)
}

fn settled(answer: Answer) -> Attempt {
    let Answer { status, comment } = answer;
    // The peer's words may hold anything, so they go no further than the length of theirs that the standard allows.
    let comment: String = comment.chars().take(64).collect();
    let said = || {
        format!("the peer answered 0x{status:04X} {comment}")
            .trim_end()
            .to_owned()
    };
    if Status::is_done(status) {
        if status != 0 {
            tracing::info!("delivered with a warning: {}", said());
        }
        Attempt::Delivered
    } else if Status::is_transient(status) {
        Attempt::Later(said())
    } else {
        Attempt::Never(said())
    }
}
