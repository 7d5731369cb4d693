//! One thread takes all frames: as many as wait are one transaction, so that a nation's are not one sync of the disk each.

use crate::hub::Hub;
use crate::ingest::{Sent, Way};
use pericard_frame::Reply;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::oneshot;

/// Frames that may wait; whoever comes then is asked to come again.
pub const FRAMES_WAITING_MAX: usize = 1024;
/// Frames in one transaction.
pub const FRAMES_PER_COMMIT_MAX: usize = 256;
/// How often it is looked whether another process changed the database, while no frame comes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A frame was not judged. It may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untaken {
    /// Too many wait.
    #[error("too many frames wait; send it again later")]
    Full,
    /// The database cannot be written, or the hub ends.
    #[error("nothing can be written now; the hub's journal says why")]
    Failed,
}

/// The way to the thread. It ends when the last of these is gone.
#[derive(Clone)]
pub struct Intake {
    queue: SyncSender<Waiting>,
}

struct Waiting {
    bytes: Vec<u8>,
    way: Way,
    answer: oneshot::Sender<Reply>,
}

impl Intake {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(hub: Arc<Hub>) -> io::Result<(Self, JoinHandle<()>)> {
        let (queue, waiting) = sync_channel(FRAMES_WAITING_MAX);
        let thread = thread::Builder::new().name("intake".into());
        let thread = thread.spawn(move || take_all(&hub, &waiting))?;
        Ok((Self { queue }, thread))
    }

    /// Has a frame judged, and gives the reply once what it says is on disk.
    ///
    /// # Errors
    /// When it cannot be judged now.
    pub async fn offer(&self, bytes: Vec<u8>, way: Way) -> Result<Reply, Untaken> {
        let (answer, reply) = oneshot::channel();
        let offered = self.queue.try_send(Waiting { bytes, way, answer });
        offered.map_err(|_| Untaken::Full)?;
        reply.await.map_err(|_| Untaken::Failed)
    }
}

fn take_all(hub: &Hub, waiting: &Receiver<Waiting>) {
    loop {
        match waiting.recv_timeout(LOOK_EVERY) {
            Ok(first) => take(hub, first, waiting),
            Err(RecvTimeoutError::Timeout) => {
                if let Err(error) = hub.refresh() {
                    tracing::error!(%error, "the database cannot be read");
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Takes the first and whatever waits behind it.
fn take(hub: &Hub, first: Waiting, waiting: &Receiver<Waiting>) {
    let behind = waiting.try_iter().take(FRAMES_PER_COMMIT_MAX - 1);
    let batch: Vec<Waiting> = std::iter::once(first).chain(behind).collect();
    let sent = batch.iter().map(|one| Sent {
        bytes: &one.bytes,
        way: one.way,
    });
    let sent: Vec<Sent<'_>> = sent.collect();
    match hub.ingest(&sent) {
        Ok(replies) => {
            for (one, reply) in batch.into_iter().zip(replies) {
                let _ = one.answer.send(reply); // who hung up asks again, and is told that it is known
            }
        }
        // What waits for an answer hears that there is none, as its sender is dropped.
        Err(error) => tracing::error!(%error, frames = batch.len(), "frames cannot be taken"),
    }
}
