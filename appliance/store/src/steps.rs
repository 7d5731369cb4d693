//! The few threads on which files are put in place and synced, and the queue in front of them.

use crate::StoreError;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// How many threads sync files. Syncs wait for the disk, not for a core, and overlap in the journal.
const FILE_THREADS: usize = 16;

/// Something to be done on a file thread.
pub(crate) type Step = Box<dyn FnOnce() + Send>;

/// The threads. How many steps may wait is for those to bound who bring them: a file to sync has a place of
/// [`crate::files`], a placement one of the writer's, and a checkpoint is written one at a time.
#[derive(Debug)]
pub(crate) struct Steps {
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A channel of the standard library has one receiver, which threads would have to share behind a lock: each step would
/// wake two of them, one for the step and one for the lock. Here a step wakes one.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

#[derive(Default)]
struct Waiting {
    steps: VecDeque<Step>,
    is_closed: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Steps {
    pub(crate) fn start() -> Result<Self, StoreError> {
        let queue = Arc::new(Queue::default());
        let threads = (0..FILE_THREADS)
            .map(|n| {
                let queue = Arc::clone(&queue);
                std::thread::Builder::new()
                    .name(format!("store-file-{n}"))
                    .spawn(move || queue.work())
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| StoreError::failed("start the file threads", error))?;
        Ok(Self {
            queue,
            threads: Mutex::new(threads),
        })
    }

    /// Starts a step and waits for nothing. Once they are closed it is dropped, and whoever waits for its answer hears so.
    pub(crate) fn start_step(&self, step: Step) {
        let mut waiting = self.queue.lock();
        if !waiting.is_closed {
            waiting.steps.push_back(step);
            drop(waiting);
            self.queue.more.notify_one();
        }
    }

    /// Ends the threads when all that waits is done.
    pub(crate) fn close(&self) {
        self.queue.lock().is_closed = true;
        self.queue.more.notify_all();
        let threads = self.threads.lock();
        let mut threads = threads.unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // A step's panic was answered where the step was asked for.
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Held for one push or pop; a panic in between leaves a whole queue.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(step) = self.next() {
            // A panic is told to whoever waits by the answer that never comes; the thread is still good.
            drop(catch_unwind(AssertUnwindSafe(step)));
        }
    }

    fn next(&self) -> Option<Step> {
        let mut waiting = self.lock();
        loop {
            if let Some(step) = waiting.steps.pop_front() {
                return Some(step);
            }
            if waiting.is_closed {
                return None;
            }
            let woken = self.more.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn what_waits_is_done_before_the_end_and_a_panic_ends_nothing() {
        let (steps, done) = (
            Steps::start().expect("threads"),
            Arc::new(AtomicU32::new(0)),
        );
        for n in 0..200 {
            let done = Arc::clone(&done);
            steps.start_step(Box::new(move || {
                assert!(n % 10 != 0, "a step that panics");
                done.fetch_add(1, Ordering::Relaxed);
            }));
        }
        steps.close();
        assert_eq!(done.load(Ordering::Relaxed), 180);
        let late = Arc::clone(&done);
        steps.start_step(Box::new(move || {
            late.fetch_add(1, Ordering::Relaxed);
        }));
        assert_eq!(Arc::strong_count(&done), 1, "dropped, not kept");
    }
}
