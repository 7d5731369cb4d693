//! The threads that compute.
//!
//! One thread opens a piece of work cut into chunks; whoever is awake takes chunks until none is left. A worker that
//! the system has not let run yet simply finds the work closed, so a busy machine costs speed but never a stall:
//! only workers that have entered are waited for.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// How often a worker looks for work before it sleeps: tens of microseconds, longer than the pauses within a step and
/// short enough that an idle engine burns nothing.
const LOOKS_BEFORE_SLEEP: u32 = 4_000;
/// How often the opener looks before it lets others run while it waits for workers to leave.
const LOOKS_BEFORE_YIELD: u32 = 1_000;

/// The threads that compute. The one that calls [`Pool::run`] takes part.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

type Work<'a> = dyn Fn(usize) + Sync + 'a;

struct Shared {
    /// Round in the high half; then whether it is open; then how many workers are in.
    gate: AtomicU64,
    work: std::cell::UnsafeCell<Option<(*const Work<'static>, usize)>>,
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    stop: AtomicBool,
    sleepers: AtomicUsize,
    bed: Mutex<()>,
    bell: Condvar,
}

// SAFETY: `work` is written only by the opener while the gate is closed and nobody is in, and read only by those who
// entered through the open gate; the gate's ordering makes the write visible to them.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

const ROUND: u64 = 1 << 32;
const OPEN: u64 = 1 << 31;
const INSIDE: u64 = OPEN - 1;

impl Pool {
    /// Starts `threads - 1` workers, and returns when all of them run: a thread that begins asks the system for more than one that
    /// is under way, and whoever shuts the process in after this must not take that from it.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            gate: AtomicU64::new(0),
            work: std::cell::UnsafeCell::new(None),
            next: AtomicUsize::new(0),
            panic: Mutex::new(None),
            stop: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            bed: Mutex::new(()),
            bell: Condvar::new(),
        });
        let mut pool = Self {
            shared,
            workers: Vec::new(),
        };
        let (runs, running) = std::sync::mpsc::channel();
        for number in 1..threads {
            let (shared, runs) = (Arc::clone(&pool.shared), runs.clone());
            let worker = std::thread::Builder::new()
                .name(format!("language-{number}"))
                .spawn(move || {
                    let _ = runs.send(()); // nobody hears when another thread could not be started
                    attend(&shared);
                })?;
            pool.workers.push(worker);
        }
        running.iter().take(pool.workers.len()).for_each(drop);
        Ok(pool)
    }

    /// Threads that compute, the caller's included.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work` once for every number below `chunks`, on all threads, and returns when all calls have.
    ///
    /// # Panics
    /// With the panic of a call, after all others have ended.
    pub(crate) fn run(&mut self, chunks: usize, work: &Work<'_>) {
        if self.workers.is_empty() || chunks < 2 {
            return (0..chunks).for_each(work);
        }
        let shared = &*self.shared;
        shared.next.store(0, Ordering::Relaxed);
        // SAFETY: the gate is closed and nobody is in, so nobody reads. The lifetime is only forgotten until
        // `close` below has seen the last worker leave, which happens before this call returns or unwinds.
        unsafe {
            let work: *const Work<'_> = work;
            *shared.work.get() = Some((
                std::mem::transmute::<*const Work<'_>, *const Work<'static>>(work),
                chunks,
            ));
        }
        let round = (shared.gate.load(Ordering::Relaxed) & !(ROUND - 1)).wrapping_add(ROUND);
        shared.gate.store(round | OPEN, Ordering::SeqCst);
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            drop(shared.bed.lock().unwrap_or_else(PoisonError::into_inner));
            shared.bell.notify_all();
        }
        let own = catch_unwind(AssertUnwindSafe(|| shared.take_chunks(work, chunks)));
        shared.close();
        let theirs = shared
            .panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(panic) = own.err().or(theirs) {
            resume_unwind(panic);
        }
    }

    /// Calls `work` for every piece of `piece` values of `of`, with the piece's number.
    pub(crate) fn pieces<T: Send>(
        &mut self,
        of: &mut [T],
        piece: usize,
        work: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let length = of.len();
        let base = Disjoint(of.as_mut_ptr());
        self.run(length.div_ceil(piece), &|number| {
            let start = number * piece;
            // SAFETY: every number is given out once, and pieces of different numbers do not overlap.
            let own = unsafe { base.range(start, piece.min(length - start)) };
            work(number, own);
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(
            self.shared
                .bed
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        self.shared.bell.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its work, so it has none of its own to tell.
            drop(worker.join());
        }
    }
}

impl Shared {
    fn take_chunks(&self, work: &Work<'_>, chunks: usize) {
        loop {
            let chunk = self.next.fetch_add(1, Ordering::Relaxed);
            if chunk >= chunks {
                return;
            }
            work(chunk);
        }
    }

    /// Lets nobody else in and waits until everybody is out.
    fn close(&self) {
        self.gate.fetch_and(!OPEN, Ordering::SeqCst);
        let mut looks = 0;
        while self.gate.load(Ordering::Acquire) & INSIDE != 0 {
            looks += 1;
            if looks < LOOKS_BEFORE_YIELD {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }

    /// Enters the open round after `last`, if there is one.
    fn enter(&self, last: u64) -> Option<u64> {
        let gate = self.gate.load(Ordering::SeqCst);
        if gate & OPEN == 0 || gate & !(ROUND - 1) == last {
            return None;
        }
        self.gate
            .compare_exchange(gate, gate + 1, Ordering::SeqCst, Ordering::SeqCst)
            .ok()
            .map(|gate| gate & !(ROUND - 1))
    }

    fn sleep(&self, last: u64) {
        let bed = self.bed.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let gate = self.gate.load(Ordering::SeqCst);
        let called = gate & OPEN != 0 && gate & !(ROUND - 1) != last;
        if !called && !self.stop.load(Ordering::SeqCst) {
            // Spurious wake-ups only lead back to the loop of `attend`.
            drop(self.bell.wait(bed));
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A worker's life.
fn attend(shared: &Shared) {
    let mut last = 0;
    let mut looks = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        let Some(round) = shared.enter(last) else {
            looks += 1;
            if looks < LOOKS_BEFORE_SLEEP {
                std::hint::spin_loop();
            } else {
                shared.sleep(last);
                looks = 0;
            }
            continue;
        };
        last = round;
        looks = 0;
        let end = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: the gate was open when this worker entered, so the opener waits for it to leave; until then the
            // work is alive and unchanged.
            if let Some((work, chunks)) = unsafe { *shared.work.get() } {
                shared.take_chunks(unsafe { &*work }, chunks);
            }
        }));
        if let Err(panic) = end {
            shared
                .panic
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(panic);
        }
        shared.gate.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A buffer whose disjoint parts are written by several threads.
#[derive(Clone, Copy)]
pub(crate) struct Disjoint<T>(pub(crate) *mut T);

// SAFETY: whoever calls `range` vouches that parts do not overlap; values move between threads, hence `T: Send`.
unsafe impl<T: Send> Send for Disjoint<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Disjoint<T> {}

impl<T> Disjoint<T> {
    /// A part of the buffer.
    ///
    /// # Safety
    /// The part lies within the buffer, the buffer outlives the part, and no other part in use overlaps it.
    #[allow(clippy::mut_from_ref)] // the parts are disjoint by contract
    pub(crate) unsafe fn range(&self, start: usize, length: usize) -> &mut [T] {
        // SAFETY: the caller's contract.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_is_done_once() {
        let mut pool = Pool::new(3).expect("threads");
        for chunks in [0, 1, 2, 7, 1000] {
            let mut done = vec![0_u8; chunks * 3];
            pool.pieces(&mut done, 3, |_, piece| {
                piece.iter_mut().for_each(|times| *times += 1)
            });
            assert!(done.iter().all(|times| *times == 1));
        }
    }

    #[test]
    fn many_rounds_lose_nothing() {
        let mut pool = Pool::new(4).expect("threads");
        let total = AtomicUsize::new(0);
        for _ in 0..20_000 {
            pool.run(5, &|chunk| {
                total.fetch_add(chunk, Ordering::Relaxed);
            });
        }
        assert_eq!(total.into_inner(), 20_000 * 10);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let mut pool = Pool::new(2).expect("threads");
        for _ in 0..3 {
            let end = catch_unwind(AssertUnwindSafe(|| {
                pool.run(8, &|chunk| assert_ne!(chunk, 5, "planned"));
            }));
            assert!(end.is_err());
        }
        let mut done = [0_u8; 8];
        pool.pieces(&mut done, 1, |_, piece| piece[0] = 1);
        assert_eq!(done, [1; 8]);
    }
}
