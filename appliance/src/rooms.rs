//! Named tasks with one stop and one grace.
//!
//! A stop closes every room. A room that falls closes the others and is named. A room that is not closed when the grace
//! is over is named and left behind: leases lapse, so nothing is lost by it.

use std::future::Future;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The open rooms.
pub struct Rooms {
    stop: CancellationToken,
    open: JoinSet<(&'static str, Result<(), String>)>,
    names: Vec<&'static str>,
}

/// How it ended, when it did not end well.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fallen {
    /// A room ended by itself.
    #[error("{room}: {reason}")]
    Room {
        /// Which.
        room: &'static str,
        /// Why.
        reason: String,
    },
    /// Rooms were not closed within the grace.
    #[error(
        "not closed within {grace_s} s: {rooms}; their work is taken up again at the next start"
    )]
    Late {
        /// Which.
        rooms: String,
        /// The grace.
        grace_s: u64,
    },
}

impl Rooms {
    /// No rooms yet; `stop` will close them.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            stop,
            open: JoinSet::new(),
            names: Vec::new(),
        }
    }

    /// Opens a room: a task that ends when the stop comes.
    pub fn open<E: std::fmt::Display>(
        &mut self,
        name: &'static str,
        room: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.names.push(name);
        self.open
            .spawn(async move { (name, room.await.map_err(|e| e.to_string())) });
    }

    /// Waits until the stop comes or a room falls, then until the others are closed, but not beyond the grace.
    ///
    /// # Errors
    /// The first room that fell, or those that were late.
    pub async fn run(mut self, grace: Duration) -> Result<(), Fallen> {
        let mut first = None;
        tokio::select! {
            () = self.stop.cancelled() => {}
            Some(ended) = self.open.join_next() => first = self.note(ended),
        }
        self.stop.cancel();
        let closing = async {
            while let Some(ended) = self.open.join_next().await {
                let fallen = self.note(ended);
                first = first.take().or(fallen);
            }
        };
        if tokio::time::timeout(grace, closing).await.is_err() && first.is_none() {
            first = Some(Fallen::Late {
                rooms: self.names.join(", "),
                grace_s: grace.as_secs(),
            });
        }
        first.map_or(Ok(()), Err)
    }

    /// Strikes a room off; it has fallen when it failed, panicked, or ended before the stop.
    fn note(
        &mut self,
        ended: Result<(&'static str, Result<(), String>), tokio::task::JoinError>,
    ) -> Option<Fallen> {
        let (room, reason) = match ended {
            Err(panic) => ("a room", Some(panic.to_string())),
            Ok((room, Err(reason))) => (room, Some(reason)),
            Ok((room, Ok(()))) => (
                room,
                (!self.stop.is_cancelled()).then(|| "ended by itself".to_owned()),
            ),
        };
        self.names.retain(|name| *name != room);
        let reason = reason?;
        tracing::error!(room, reason, "a room has fallen");
        Some(Fallen::Room { room, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(
        stop: &CancellationToken,
    ) -> impl Future<Output = Result<(), String>> + Send + 'static {
        let stop = stop.clone();
        async move {
            stop.cancelled().await;
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_stop_closes_every_room() {
        let stop = CancellationToken::new();
        let mut rooms = Rooms::new(stop.clone());
        rooms.open("one", until(&stop));
        rooms.open("two", until(&stop));
        stop.cancel();
        assert_eq!(rooms.run(Duration::from_secs(5)).await, Ok(()));
    }

    #[tokio::test]
    async fn a_fallen_room_closes_the_others_and_is_named() {
        let stop = CancellationToken::new();
        let mut rooms = Rooms::new(stop.clone());
        rooms.open("steady", until(&stop));
        rooms.open("weak", async { Err::<(), _>("no disk") });
        let fallen = Fallen::Room {
            room: "weak",
            reason: "no disk".into(),
        };
        assert_eq!(rooms.run(Duration::from_secs(5)).await, Err(fallen));
        assert!(stop.is_cancelled());
    }

    #[tokio::test]
    async fn a_late_room_is_named_and_left() {
        let stop = CancellationToken::new();
        let mut rooms = Rooms::new(stop.clone());
        rooms.open("prompt", until(&stop));
        rooms.open("late", std::future::pending::<Result<(), String>>());
        stop.cancel();
        let late = Fallen::Late {
            rooms: "late".into(),
            grace_s: 0,
        };
        assert_eq!(rooms.run(Duration::from_millis(1)).await, Err(late));
    }
}
