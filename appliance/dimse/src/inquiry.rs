//! What we ask peers of our own accord: their worklist, how much they have of a study, a patient's earlier studies.
//!
//! One worker a peer, so that one that is down holds up nobody else. Nothing here changes what a study is: what comes of it
//! is kept by the store, and whoever decides looks there.

use crate::archive::Archive;
use crate::counting::Counter;
use crate::door::Door;
use crate::fetching::Fetcher;
use crate::peer::Peer;
use crate::peers::{Peers, one_worker_each};
use crate::worklist::Reader;
use pericard_domain::time::Clock;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How inquiries go about it.
#[derive(Debug, Clone)]
pub struct InquiryConfig {
    /// The most entries of a worklist.
    pub worklist_max: usize,
    /// How many days before and after today a worklist is asked about.
    pub worklist_days: u32,
    /// How long after a source was asked how much it has of a study it is asked again.
    pub count_again_after: Duration,
    /// How long an order for earlier studies is one worker's.
    pub fetch_lease: Duration,
    /// How long after a failure it is tried again.
    pub retry: Duration,
    /// How often to look for what nobody announced.
    pub look_every: Duration,
}

impl Default for InquiryConfig {
    fn default() -> Self {
        Self {
            worklist_max: 5000,
            worklist_days: 1,
            count_again_after: Duration::from_secs(30),
            fetch_lease: Duration::from_secs(15 * 60),
            retry: Duration::from_secs(30),
            look_every: Duration::from_secs(10),
        }
    }
}

/// Whom and with what.
pub(crate) struct Inquiry<D> {
    pub(crate) config: InquiryConfig,
    pub(crate) archive: Archive,
    pub(crate) door: D,
    pub(crate) peer: Peer,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Asks every peer what it is configured to be asked, until `stop`.
pub async fn inquire<D: Door>(
    config: InquiryConfig,
    archive: Archive,
    (door, clock): (D, Arc<dyn Clock>),
    peers: Peers,
    stop: CancellationToken,
) {
    let worker = |peer: Peer, retired: CancellationToken| {
        let inquiry = Arc::new(Inquiry {
            config: config.clone(),
            archive: archive.clone(),
            door: door.clone(),
            peer,
            clock: Arc::clone(&clock),
        });
        async move {
            let reading = Reader(Arc::clone(&inquiry)).run();
            let counting = Counter(Arc::clone(&inquiry)).run();
            let fetching = Fetcher(inquiry).run();
            let all = async { tokio::join!(reading, counting, fetching) };
            let _ = retired.run_until_cancelled(all).await;
        }
    };
    one_worker_each(peers, &stop, worker).await;
}
