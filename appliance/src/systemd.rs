//! systemd's manners: `READY=1`, `WATCHDOG=1`, `STOPPING=1`. Without systemd each of them does nothing.

use sd_notify::NotifyState;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The doors are open.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read again; [`ready`] ends it.
pub fn reloading() {
    tell(&[NotifyState::Reloading]);
}

/// Nothing new is taken up.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells the watchdog, twice in the time that it grants, that the runtime still turns; until the stop.
///
/// # Errors
/// Never; the type is that of every room.
pub async fn watchdog(stop: CancellationToken) -> Result<(), std::convert::Infallible> {
    let Some(granted) = sd_notify::watchdog_enabled() else {
        stop.cancelled().await;
        return Ok(());
    };
    let mut beat = tokio::time::interval((granted / 2).max(Duration::from_millis(100)));
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = beat.tick() => tell(&[NotifyState::Watchdog]),
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd does not hear");
    }
}
