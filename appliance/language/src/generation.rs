//! The two ends of one generation: the engine puts events in, whoever asked takes them out.
//!
//! No runtime is involved: a thread may block on [`Generation::recv`], and a task may await through
//! [`Generation::poll_recv`] without a thread of its own. What is kept is bounded by the tokens asked for.

use pericard_domain::chat::ChatEvent;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A generation under way. Dropping it cancels the sequence within one step.
#[derive(Debug)]
pub struct Generation {
    mailbox: Arc<Mailbox>,
}

/// Where the engine puts a generation's events.
#[derive(Debug)]
pub(crate) struct Sink {
    mailbox: Arc<Mailbox>,
}

#[derive(Debug, Default)]
struct Mailbox {
    state: Mutex<State>,
    bell: Condvar,
    abandoned: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<ChatEvent>,
    waker: Option<Waker>,
    /// An end was put in; nothing follows.
    ended: bool,
}

/// The two ends of a generation.
pub(crate) fn channel() -> (Sink, Generation) {
    let mailbox = Arc::new(Mailbox::default());
    (
        Sink {
            mailbox: Arc::clone(&mailbox),
        },
        Generation { mailbox },
    )
}

impl Generation {
    /// Waits for the next event; `None` after the end.
    pub fn recv(&mut self) -> Option<ChatEvent> {
        let mut state = self.mailbox.lock();
        loop {
            if let Some(event) = state.events.pop_front() {
                return Some(event);
            }
            if state.ended {
                return None;
            }
            state = self
                .mailbox
                .bell
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next event if one is there.
    pub fn try_recv(&mut self) -> Option<ChatEvent> {
        self.mailbox.lock().events.pop_front()
    }

    /// The next event, or `Ready(None)` after the end; otherwise the task is woken when there is one. For
    /// `std::future::poll_fn`.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<ChatEvent>> {
        let mut state = self.mailbox.lock();
        if let Some(event) = state.events.pop_front() {
            return Poll::Ready(Some(event));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.mailbox.abandoned.store(true, Ordering::Release);
    }
}

impl Sink {
    /// Puts an event in. Nothing follows an end.
    pub(crate) fn send(&self, event: ChatEvent) {
        let mut state = self.mailbox.lock();
        if state.ended {
            return;
        }
        state.ended = event.is_end();
        state.events.push_back(event);
        let waker = state.waker.take();
        drop(state);
        self.mailbox.bell.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether nobody takes events out any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.mailbox.abandoned.load(Ordering::Acquire)
    }
}

impl Drop for Sink {
    /// A generation never just goes silent.
    fn drop(&mut self) {
        self.send(ChatEvent::Failed(
            "the language engine ended before the answer did; ask again".to_owned(),
        ));
    }
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held leaves a queue that is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn text(text: &str) -> ChatEvent {
        ChatEvent::Text(text.to_owned())
    }

    #[test]
    fn a_task_is_woken_for_what_comes() {
        let (sink, mut generation) = channel();
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        assert_eq!(generation.poll_recv(&mut context), Poll::Pending);
        sink.send(text("a"));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(
            generation.poll_recv(&mut context),
            Poll::Ready(Some(text("a")))
        );
        assert_eq!(generation.poll_recv(&mut context), Poll::Pending);
        drop(sink);
        assert!(matches!(
            generation.poll_recv(&mut context),
            Poll::Ready(Some(ChatEvent::Failed(_)))
        ));
        assert_eq!(generation.poll_recv(&mut context), Poll::Ready(None));
    }

    #[test]
    fn nothing_follows_the_end_and_leaving_is_seen() {
        let (sink, mut generation) = channel();
        sink.send(ChatEvent::Failed("x".to_owned()));
        sink.send(text("late"));
        assert_eq!(
            generation.try_recv(),
            Some(ChatEvent::Failed("x".to_owned()))
        );
        assert_eq!(generation.recv(), None);
        assert!(!sink.is_abandoned());
        drop(generation);
        assert!(sink.is_abandoned());
    }
}
