//! The one thread that changes the database: it gathers waiting changes, commits them together, and answers.
//!
//! ```text
//! verb --> [file thread: rename, sync] --> queue --> writer: BEGIN, change, change, ..., audit, COMMIT --> answers
//! ```
//! A verb that brings files goes by way of a file thread, which puts them in place. The more callers there are, the more
//! of them share each commit.

mod batch;
mod placer;

pub(crate) use batch::Committer;
pub(crate) use placer::{Placement, Settler};

use crate::StoreError;
use crate::change::{Answer, Change, Done, Tx, named};
use crate::error::Fault;
use crate::health::Health;
use crate::traffic::Coming;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How many changes may wait for the writer; whoever brings more waits at the door.
const MAX_WAITING_CHANGES: usize = 4096;
/// How many changes are committed together at most.
const MAX_CHANGES_PER_COMMIT: usize = 256;
/// How often an idle writer looks whether another process has changed the database.
const BESIDE_POLL_MS: u64 = 200;

/// A change in the queue, with its place in it.
pub(crate) struct Queued {
    change: Box<dyn Change>,
    held: Held,
}

/// What a change holds until it is answered.
struct Held {
    _place: OwnedSemaphorePermit,
    /// The files that it speaks of.
    _coming: Option<Coming>,
}

/// The queue's end that verbs hold.
#[derive(Debug)]
pub(crate) struct Writer {
    health: Arc<Health>,
    room: Arc<Semaphore>,
    queue: Mutex<Option<mpsc::SyncSender<Queued>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// How long the writer waits for company.
pub(crate) struct Window {
    /// At most so long.
    pub(crate) wait: Duration,
    /// And only while there is somebody to wait for.
    pub(crate) approaching: Arc<AtomicUsize>,
}

impl Writer {
    pub(crate) fn start(
        committer: Committer,
        window: Window,
        news: watch::Sender<u64>,
        health: Arc<Health>,
    ) -> Result<Self, StoreError> {
        // Every change in it holds a place, so that a sender never waits here.
        let (queue, waiting) = mpsc::sync_channel(MAX_WAITING_CHANGES);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || write(committer, &window, &news, &waiting))
            .map_err(|error| StoreError::failed("start the writer", error))?;
        Ok(Self {
            health,
            room: Arc::new(Semaphore::new(MAX_WAITING_CHANGES)),
            queue: Mutex::new(Some(queue)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// A named change; resolves when it is on disk.
    pub(crate) async fn change<T, F>(&self, name: &'static str, body: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(Tx<'_>) -> Result<Done<T>, Fault> + Send + 'static,
    {
        let (queued, answer) = self.queued(name, body).await?;
        if let Some(queue) = self.queue() {
            // Fails only when the writer has ended; the answer then never comes, which says so.
            let _ = queue.send(queued);
        }
        answered(name, answer).await
    }

    /// A change with a place in the queue.
    pub(crate) async fn queued<T, F>(
        &self,
        name: &'static str,
        body: F,
    ) -> Result<(Queued, Answer<T>), StoreError>
    where
        T: Send + 'static,
        F: FnOnce(Tx<'_>) -> Result<Done<T>, Fault> + Send + 'static,
    {
        self.health.check()?;
        let place = Arc::clone(&self.room).acquire_owned().await;
        let place = place.map_err(|_| StoreError::failed(name, "the store is closing"))?;
        let (change, answer) = named(name, body);
        let queued = Queued {
            change,
            held: Held {
                _place: place,
                _coming: None,
            },
        };
        Ok((queued, answer))
    }

    /// The queue itself, for whoever puts files in place first.
    pub(crate) fn queue(&self) -> Option<mpsc::SyncSender<Queued>> {
        let queue = self.queue.lock();
        queue.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Commits what waits and ends the thread.
    pub(crate) fn close(&self) {
        let queue = self.queue.lock();
        drop(queue.unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock();
        let thread = thread.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic of the writer was told to everybody who waited for an answer.
            let _ = thread.join();
        }
    }
}

/// Waits for the answer to a change.
pub(crate) async fn answered<T>(name: &'static str, answer: Answer<T>) -> Result<T, StoreError> {
    let gone = |_| StoreError::failed(name, "the writer has ended; restart the appliance");
    answer.await.map_err(gone)?
}

impl Queued {
    /// The same change, holding the files that it speaks of.
    fn with_files(mut self, coming: Coming) -> Self {
        self.held._coming = Some(coming);
        self
    }

    pub(crate) fn refuse(self, error: StoreError) {
        self.change.answer(Some(error));
    }
}

fn write(
    mut committer: Committer,
    window: &Window,
    news: &watch::Sender<u64>,
    waiting: &mpsc::Receiver<Queued>,
) {
    let poll = Duration::from_millis(BESIDE_POLL_MS);
    loop {
        let batch = match waiting.recv_timeout(poll) {
            Ok(first) => gather(first, window, committer.latest_took(), waiting),
            Err(mpsc::RecvTimeoutError::Timeout) => Vec::new(),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        };
        let has_news = committer.was_changed_beside();
        if committer.commit(batch) || has_news {
            news.send_modify(|count| *count += 1);
        }
        committer.keep_house();
    }
    committer.close();
}

/// The first change and whoever comes with it: those that wait already, and those that come within the window while
/// any is known to be on its way. A lone caller never waits, and nobody waits for longer than a commit takes: on a fast
/// disk it is better to commit and take whoever comes meanwhile into the next.
fn gather(
    first: Queued,
    window: &Window,
    commit_took: Duration,
    waiting: &mpsc::Receiver<Queued>,
) -> Vec<Queued> {
    let mut batch = vec![first];
    let until = Instant::now() + window.wait.min(commit_took);
    while batch.len() < MAX_CHANGES_PER_COMMIT {
        if let Ok(next) = waiting.try_recv() {
            batch.push(next);
            continue;
        }
        let left = until.saturating_duration_since(Instant::now());
        let nobody = window.approaching.load(Ordering::Relaxed) == 0;
        if nobody || left.is_zero() {
            break;
        }
        match waiting.recv_timeout(left) {
            Ok(next) => batch.push(next),
            Err(_) => break,
        }
    }
    batch
}
