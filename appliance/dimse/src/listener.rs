//! The listening socket, and every association on it from the first byte to the last.

use crate::association::Association;
use crate::config::DimseConfig;
use crate::door::Door;
use crate::negotiation::{self, Accepted, Calling, Held, Rejection};
use crate::peer::Origin;
use crate::session::{Session, Tally};
use crate::tls::Tls;
use crate::wire::{AbortReason, LinkError, Pdu, Wire};
use dicom_ul::pdu::AssociationRQ;
use pericard_domain::actor::Actor;
use pericard_domain::ae::AeTitle;
use pericard_egress::Counter;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// Connections above the limit of associations that are still told why they cannot have one; more are just closed.
const TURNED_AWAY_MAX: usize = 32;
/// How long to wait after the system could not give us a connection: it is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where associations come in. Both count as one door: what may be open at once is open on both together.
pub struct Listeners {
    /// DICOM as it is.
    pub plain: TcpListener,
    /// DICOM over TLS (PS3.15 annex B): only peers with certificates of their own.
    pub tls: Option<(TcpListener, Tls)>,
}

impl From<TcpListener> for Listeners {
    fn from(plain: TcpListener) -> Self {
        Self { plain, tls: None }
    }
}

/// Listens for associations until `stop`, then gives those that are open their time to end.
pub async fn listen<D: Door>(
    listeners: impl Into<Listeners>,
    config: DimseConfig,
    door: D,
    stop: CancellationToken,
) {
    let Listeners { plain, tls } = listeners.into();
    let reception = Arc::new(Reception::new(config, door, stop));
    let secured = async {
        if let Some((listener, tls)) = tls {
            receive_all(listener, Some(tls), Arc::clone(&reception)).await;
        }
    };
    tokio::join!(receive_all(plain, None, Arc::clone(&reception)), secured);
}

async fn receive_all<D: Door>(
    listener: TcpListener,
    tls: Option<Tls>,
    reception: Arc<Reception<D>>,
) {
    let stop = reception.stop.clone();
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            ended = open.join_next(), if !open.is_empty() => {
                report(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot accept a DICOM connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = reception.connections.clone().try_acquire_owned() else {
            tracing::warn!(peer = %address.ip(), "closed a DICOM connection unheard: too many are open");
            continue;
        };
        // Small answers must not wait for the peer's acknowledgement of the one before.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("TCP_NODELAY: {error}");
        }
        let (reception, tls, ip) = (reception.clone(), tls.clone(), address.ip());
        let span = tracing::info_span!("association", peer = %ip);
        let connected = async move { reception.connected(stream, tls, ip, place).await };
        open.spawn(connected.instrument(span));
    }
    drop(listener);
    drain(open, reception.config.limits.drain_timeout).await;
}

async fn drain(mut open: JoinSet<()>, limit: Duration) {
    let all = async {
        while let Some(ended) = open.join_next().await {
            report(Some(ended));
        }
    };
    if tokio::time::timeout(limit, all).await.is_err() {
        tracing::warn!(
            associations = open.len(),
            "cut DICOM associations that did not end in time"
        );
        open.shutdown().await;
    }
}

/// A panic ends the association that it happened on and nothing else.
fn report(ended: Option<Result<(), tokio::task::JoinError>>) {
    if let Some(Err(error)) = ended
        && error.is_panic()
    {
        tracing::error!(
            "an association ended by a fault of this program; its peer will send again"
        );
    }
}

/// What all associations of a listener share.
struct Reception<D> {
    config: DimseConfig,
    door: D,
    stop: CancellationToken,
    connections: Arc<Semaphore>,
    associations: Arc<Semaphore>,
    per_ae: Arc<Mutex<HashMap<AeTitle, usize>>>,
}

impl<D: Door> Reception<D> {
    fn new(config: DimseConfig, door: D, stop: CancellationToken) -> Self {
        let max = config.limits.associations_max;
        Self {
            connections: Arc::new(Semaphore::new(max + TURNED_AWAY_MAX)),
            associations: Arc::new(Semaphore::new(max)),
            per_ae: Arc::default(),
            config,
            door,
            stop,
        }
    }

    /// One connection. `_place` is held as long as it lasts.
    async fn connected(
        &self,
        stream: TcpStream,
        tls: Option<Tls>,
        ip: IpAddr,
        _place: OwnedSemaphorePermit,
    ) {
        let Some(tls) = tls else {
            return self.receive(stream, Origin::plain(ip)).await;
        };
        let limit = self.config.limits.artim_timeout;
        let shaken = tokio::select! {
            biased;
            () = self.stop.cancelled() => return,
            shaken = tokio::time::timeout(limit, tls.accept(stream)) => shaken,
        };
        let why = match shaken {
            Ok(Ok((stream, certificate))) => {
                let certificate = Some(certificate);
                return self.receive(stream, Origin { ip, certificate }).await;
            }
            Ok(Err(error)) => format!("the TLS handshake failed: {error}"),
            Err(_) => LinkError::too_slow("the TLS handshake", limit).to_string(),
        };
        tracing::warn!("no association: {why}");
        let stranger = Actor::Unknown { address: ip };
        self.config.meter.count(Counter::AssociationsRejected);
        self.door.refuse("association", &why, stranger).await;
    }

    async fn receive<S>(&self, stream: S, origin: Origin)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (limits, ip) = (&self.config.limits, origin.ip);
        let mut wire = Wire::new(stream, limits.pdu_timeout.min(limits.artim_timeout));
        let first = tokio::select! {
            biased;
            () = self.stop.cancelled() => return,
            first = wire.next(limits.artim_timeout, "asking for an association") => first,
        };
        let request = match first {
            Ok(Pdu::Associate(pdu)) => negotiation::request(pdu),
            Ok(_) => Err(LinkError::violation(
                "a PDU before there is an association",
                AbortReason::UnexpectedPdu,
            )),
            // A port scan, or a load balancer that looks whether we are there.
            Err(LinkError::Closed { within_pdu: false }) => return,
            Err(error) => Err(error),
        };
        let request = match request {
            Ok(request) => request,
            Err(error) => {
                return self
                    .turn_away(wire, error, Actor::Unknown { address: ip })
                    .await;
            }
        };
        match negotiation::admitted(&request, &origin, &self.config).await {
            Ok(calling) => {
                let actor = actor(&calling.title, ip);
                let _place = match self.place_for(&calling.title) {
                    Ok(held) => held,
                    Err(rejection) => return self.reject(wire, rejection, actor).await,
                };
                let syntaxes = self.syntaxes_held(&request, &calling).await;
                match negotiation::accepted(&request, &calling, &syntaxes, &self.config) {
                    Ok(accepted) => self.serve(wire, accepted, (calling, actor)).await,
                    Err(error) => self.turn_away(wire, error, actor).await,
                }
            }
            Err(rejection) => {
                let actor = AeTitle::new(&request.calling_ae_title)
                    .map_or(Actor::Unknown { address: ip }, |calling| {
                        actor(&calling, ip)
                    });
                self.reject(wire, rejection, actor).await;
            }
        }
    }

    /// What a peer that retrieves on its own association could be sent without being written anew.
    async fn syntaxes_held(&self, request: &AssociationRQ, calling: &Calling) -> Held {
        let archive = self.config.archive.as_ref();
        let archive =
            archive.filter(|_| calling.rights.retrieve && negotiation::takes_objects(request));
        let mut held = Held::new();
        if let Some(archive) = archive {
            match archive.store.syntaxes_held().await {
                Ok(all) => all
                    .into_iter()
                    .for_each(|(class, syntax)| held.entry(class).or_default().push(syntax)),
                Err(error) => tracing::error!("{error}"),
            }
        }
        held
    }

    async fn serve<S>(
        &self,
        mut wire: Wire<S>,
        accepted: Accepted,
        (calling, peer): (Calling, Actor),
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let limits = &self.config.limits;
        wire.set_pdu_timeout(limits.pdu_timeout);
        if let Err(error) = wire.send(&accepted.answer).await {
            return self.ended(&Err(error), Tally::default(), peer).await;
        }
        self.config.meter.count(Counter::AssociationsAccepted);
        // By the name that the configuration gives it: its title is whatever it says it is.
        let named = calling.peer.as_ref().map_or("", |peer| &peer.name);
        let contexts = accepted.contexts.len();
        tracing::debug!(named, contexts, "association accepted");
        let mut association = Association::new(
            wire,
            accepted.contexts,
            accepted.peer_pdu_bytes_max,
            (limits.message_timeout, limits.pace()),
        );
        let door = self.door.visited();
        let mut session = Session {
            association: &mut association,
            door: &door,
            peer: peer.clone(),
            limits,
            stop: &self.stop,
            calling: &calling.title,
            peer_named: calling.peer.as_ref(),
            our_title: &self.config.ae_title,
            peers: &self.config.peers,
            archive: self.config.archive.as_ref(),
            rewriter: self.config.rewriting.as_deref(),
            waiting: None,
            tally: Tally::default(),
        };
        let end = session.run().await;
        let tally = session.tally;
        match end.as_ref().err().map(LinkError::abort) {
            None => association.released(limits.artim_timeout).await,
            Some(Some(reason)) => association.abort(reason, self.farewell()).await,
            Some(None) => drop(association),
        }
        self.ended(&end, tally, peer).await;
    }

    async fn ended(&self, end: &Result<(), LinkError>, tally: Tally, peer: Actor) {
        let Tally {
            stored,
            refused,
            data_bytes,
        } = tally;
        match end {
            Ok(()) => tracing::info!(stored, refused, data_bytes, "association released"),
            Err(error) => {
                self.config.meter.count(Counter::AssociationsAborted);
                tracing::warn!(stored, refused, data_bytes, "association ended: {error}");
                if matches!(
                    error,
                    LinkError::Violation { .. } | LinkError::TooSlow { .. }
                ) {
                    self.door
                        .refuse("association", &error.to_string(), peer)
                        .await;
                }
            }
        }
    }

    async fn reject<S>(&self, mut wire: Wire<S>, rejection: Rejection, peer: Actor)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.config.meter.count(Counter::AssociationsRejected);
        tracing::warn!("association rejected: {rejection}");
        if let Ok(pdu) = rejection.pdu()
            && wire.send(&pdu).await.is_ok()
        {
            wire.close(self.farewell()).await;
        }
        self.door
            .refuse("association", &rejection.to_string(), peer)
            .await;
    }

    /// Aborts what never became an association.
    async fn turn_away<S>(&self, wire: Wire<S>, error: LinkError, peer: Actor)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.config.meter.count(Counter::AssociationsRejected);
        tracing::warn!("no association: {error}");
        if let Some(reason) = error.abort() {
            wire.abort(reason, self.farewell()).await;
        }
        self.door
            .refuse("association", &error.to_string(), peer)
            .await;
    }

    /// How long a peer that was turned away may keep its connection.
    fn farewell(&self) -> Duration {
        const FAREWELL_MAX: Duration = Duration::from_secs(2);
        self.config.limits.artim_timeout.min(FAREWELL_MAX)
    }

    /// A place among all associations and among those of this title.
    fn place_for(&self, calling: &AeTitle) -> Result<Place, Rejection> {
        let all = self.associations.clone();
        let place = all.try_acquire_owned().map_err(|_| Rejection::Congestion)?;
        let mut per_ae = self.per_ae.lock().unwrap_or_else(PoisonError::into_inner);
        let count = per_ae.entry(calling.clone()).or_default();
        if *count >= self.config.limits.associations_per_ae_max {
            return Err(Rejection::PerAeLimit);
        }
        *count += 1;
        Ok(Place {
            _place: place,
            calling: calling.clone(),
            per_ae: self.per_ae.clone(),
        })
    }
}

fn actor(calling: &AeTitle, ip: IpAddr) -> Actor {
    Actor::Peer {
        ae_title: calling.clone(),
        address: ip,
    }
}

/// A place that is given back when the association ends, however it ends.
struct Place {
    _place: OwnedSemaphorePermit,
    calling: AeTitle,
    per_ae: Arc<Mutex<HashMap<AeTitle, usize>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut per_ae = self.per_ae.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = per_ae.get_mut(&self.calling) {
            *count -= 1;
            if *count == 0 {
                per_ae.remove(&self.calling);
            }
        }
    }
}
