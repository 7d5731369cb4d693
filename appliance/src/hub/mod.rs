//! The national side: opens keys, database and door, and serves until the end.

pub mod config;

use crate::clock::SystemClock;
use config::HubConfig;
use pericard_domain::time::Clock as _;
use pericard_hub::keys::KeysError;
use pericard_hub::store::{Place, StoreError};
use pericard_hub::{Hub, Keys, Registrar};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The database, below the data directory.
pub const DATABASE: &str = "hub.db";

/// The hub cannot be opened or served.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The data directory cannot be made.
    #[error("{path}: {error}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Keys or certificates cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody is known who may come in.
    #[error("{0}")]
    Unguarded(String),
    /// The door cannot be opened.
    #[error("the door {at}: {error}")]
    Door {
        /// Where.
        at: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
}

/// Seconds since 1970, by the machine's clock.
#[must_use]
pub fn now_s() -> u64 {
    u64::try_from(SystemClock.now().as_millis() / 1000).unwrap_or(0)
}

/// Opens keys and database; what is not there is made. Beside a hub that serves, too: it sees what is changed within a second.
///
/// # Errors
/// When one of them cannot be used.
pub fn open(config: &HubConfig) -> Result<(Hub, Keys), HubError> {
    let written = &config.written.hub;
    let dir = &written.data_dir;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(dir);
    made.map_err(|error| HubError::Directory {
        path: dir.clone(),
        error,
    })?;
    let keys = Keys::open(dir, &written.name, &config.shown, now_s())?;
    let key = Arc::clone(keys.signing());
    let file = dir.join(DATABASE);
    let place = written
        .postgresql
        .as_deref()
        .map_or(Place::File(&file), Place::Server);
    let hub = Hub::open(place, key, Arc::new(now_s))?;
    Ok((hub, keys))
}

/// Opens the door, unless it lies beyond loopback and nobody is known who may come in.
///
/// # Errors
/// When it may not be opened or cannot be.
pub async fn door(config: &HubConfig, hub: &Hub) -> Result<TcpListener, HubError> {
    let now_s = hub.now_s();
    let tokens = hub.tokens();
    let good = tokens.iter().filter(|token| token.is_good(now_s)).count();
    if let Some(why) = config.open_door(good) {
        return Err(HubError::Unguarded(why));
    }
    let at = config.written.https.listen;
    let opened = TcpListener::bind(at).await;
    opened.map_err(|error| HubError::Door { at, error })
}

/// Serves behind this door until the stop. Hospitals are enrolled with the address that they call.
///
/// # Errors
/// When door or certificate cannot be used.
pub async fn serve(
    door: TcpListener,
    (hub, keys, called): (Arc<Hub>, Keys, SocketAddr),
    stop: CancellationToken,
) -> Result<(), HubError> {
    let at = door.local_addr();
    let failed = |error| HubError::Door {
        at: SocketAddr::from(([0, 0, 0, 0], 0)),
        error,
    };
    let at = at.map_err(failed)?;
    let tls = keys.tls()?;
    tracing::info!(%at, key = %keys.signing().verifier(), "the hub serves");
    crate::systemd::ready("serving");
    let watchdog = tokio::spawn(crate::systemd::watchdog(stop.clone()));
    let registrar = Arc::new(Registrar::new(keys, called));
    let served = pericard_hub::serve(door, tls, (hub, registrar), stop.clone()).await;
    stop.cancel();
    let _ = watchdog.await; // it ends with the stop, and cannot fail
    served.map_err(|error| HubError::Door { at, error })
}
