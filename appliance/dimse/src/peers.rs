//! Everybody whom the hospital has named: a list that may be read anew while associations are open.

use crate::peer::Peer;
use std::future::{Future, pending};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// The peers in effect. Cheap to clone; all clones change together.
#[derive(Debug, Clone)]
pub struct Peers(watch::Receiver<Arc<[Peer]>>);

impl Peers {
    /// As they are now.
    #[must_use]
    pub fn now(&self) -> Arc<[Peer]> {
        Arc::clone(&self.0.borrow())
    }

    /// Waits until there is a list that has not been waited for.
    async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            pending::<()>().await; // nobody can change it any more
        }
    }
}

impl From<watch::Receiver<Arc<[Peer]>>> for Peers {
    fn from(list: watch::Receiver<Arc<[Peer]>>) -> Self {
        Self(list)
    }
}

/// A list that stays as it is.
impl From<Vec<Peer>> for Peers {
    fn from(list: Vec<Peer>) -> Self {
        Self(watch::channel(list.into()).1)
    }
}

/// Keeps a worker for each peer that can be called, as the list changes, until `stop` cuts them.
///
/// A worker is given a token and ends by itself soon after that is cancelled: its peer is named no more, or otherwise. What
/// it has in hand, it ends; a worker for the peer as it is named now may be at work meanwhile.
pub(crate) async fn one_worker_each<F>(
    mut peers: Peers,
    stop: &CancellationToken,
    worker: impl Fn(Peer, CancellationToken) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut workers = JoinSet::new();
    let mut at_work: Vec<(Peer, CancellationToken)> = Vec::new();
    loop {
        let named = peers.now();
        for (_, retired) in at_work.extract_if(.., |(peer, _)| !named.contains(peer)) {
            retired.cancel();
        }
        for peer in named.iter().filter(|peer| peer.is_callable()) {
            if at_work.iter().all(|(known, _)| known != peer) {
                let retired = CancellationToken::new();
                let (work, stop) = (worker(peer.clone(), retired.clone()), stop.clone());
                workers.spawn(async move { stop.run_until_cancelled(work).await });
                at_work.push((peer.clone(), retired));
            }
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = peers.changed() => {}
            Some(ended) = workers.join_next() => note_panic(&ended),
        }
    }
    while let Some(ended) = workers.join_next().await {
        note_panic(&ended);
    }
}

fn note_panic<T>(ended: &Result<T, JoinError>) {
    if ended.as_ref().is_err_and(JoinError::is_panic) {
        tracing::error!(
            "work for a peer ended by a fault of this program; a restart takes it up again"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pericard_domain::ae::AeTitle;
    use tokio::sync::mpsc;

    fn peer(name: &str, port: u16) -> Peer {
        let address = "192.0.2.1".parse().unwrap();
        Peer::new(name, AeTitle::new("PACS").unwrap(), address, Some(port))
    }

    #[tokio::test]
    async fn a_peer_that_stays_keeps_its_worker_and_another_gets_or_loses_one() {
        let first: Arc<[Peer]> = Arc::from([peer("stays", 1), peer("moves", 2)]);
        let (list, peers) = watch::channel(first);
        let (tell, mut told) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let halt = stop.clone();
        let keeping = tokio::spawn(async move {
            let worker = |peer: Peer, retired: CancellationToken| {
                let tell = tell.clone();
                async move {
                    let (name, port) = (peer.name, peer.port.unwrap());
                    tell.send(format!("{name} {port} begins")).await.unwrap();
                    retired.cancelled().await;
                    tell.send(format!("{name} {port} ends")).await.unwrap();
                }
            };
            one_worker_each(peers.into(), &halt, worker).await;
        });
        let mut next = async |count: usize| {
            let mut words = Vec::new();
            for _ in 0..count {
                words.push(told.recv().await.unwrap());
            }
            words.sort_unstable();
            words
        };
        assert_eq!(next(2).await, ["moves 2 begins", "stays 1 begins"]);
        list.send(Arc::from([peer("stays", 1), peer("moves", 3)]))
            .unwrap();
        assert_eq!(next(2).await, ["moves 2 ends", "moves 3 begins"]);
        list.send(Arc::from([peer("stays", 1)])).unwrap();
        assert_eq!(next(1).await, ["moves 3 ends"]);
        stop.cancel();
        keeping.await.unwrap();
        assert!(told.recv().await.is_none(), "the stop cuts, nothing else");
    }
}
