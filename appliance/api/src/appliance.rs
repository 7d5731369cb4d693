//! What this room is handed: the other rooms' handles, and what every handler sees of them.

use crate::ApiConfig;
use crate::certificate::ShownCertificate;
use crate::console::{SESSIONS, Setting};
use crate::dicomweb::ups::CHANNELS_MAX;
use crate::guard::Doorman;
use crate::imports::Imports;
use crate::notice::Notice;
use crate::outgoing::Outgoing;
use crate::painter::{PICTURES_AT_ONCE_MAX, Painter};
use crate::reading::READINGS_AT_ONCE_MAX;
use crate::talker::Talker;
use pericard_domain::model::Package;
use pericard_domain::time::{Clock, Timestamp};
use pericard_door::Sessions;
use pericard_egress::Meter;
use pericard_intake::Intake;
use pericard_store::Store;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// The handles that the composition root gives. Cheap to clone.
#[derive(Clone)]
pub struct Appliance {
    /// What is kept.
    pub store: Store,
    /// The one door in.
    pub intake: Intake,
    /// The models that are loaded.
    pub talker: Arc<dyn Talker>,
    /// Whoever makes pictures of what is held.
    pub painter: Arc<dyn Painter>,
    /// The models that should be loaded.
    pub packages: Arc<[Package]>,
    /// Whoever keeps model packages.
    pub imports: Arc<dyn Imports>,
    /// Whoever keeps the frames that wait to leave.
    pub outgoing: Arc<dyn Outgoing>,
    /// The closed counters.
    pub meter: Meter,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The appliance's version.
    pub version: &'static str,
    /// The configuration as it is in effect by now, for people to read; without secrets.
    pub settings: watch::Receiver<Arc<[Setting]>>,
    /// What the hub says of models.
    pub notices: watch::Receiver<Arc<[Notice]>>,
    /// What the doors show.
    pub certificates: watch::Receiver<Arc<[ShownCertificate]>>,
}

/// What every handler is given.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) rooms: Appliance,
    pub(crate) config: Arc<ApiConfig>,
    pub(crate) doorman: Arc<Doorman>,
    pub(crate) started_at: Timestamp,
    /// Who has logged in to the console.
    pub(crate) sessions: Arc<Sessions>,
    /// A place for each picture that is being made.
    pub(crate) easels: Arc<Semaphore>,
    /// A place for each answer that is being read out of objects.
    pub(crate) desks: Arc<Semaphore>,
    /// A place for each channel of notifications.
    pub(crate) channels: Arc<Semaphore>,
}

impl Api {
    pub(crate) fn new(rooms: Appliance, config: ApiConfig) -> Self {
        let doorman = Doorman::new(config.refused_identities_per_minute_max);
        Self {
            started_at: rooms.clock.now(),
            rooms,
            config: Arc::new(config),
            doorman: Arc::new(doorman),
            sessions: Arc::new(Sessions::new(SESSIONS)),
            easels: Arc::new(Semaphore::new(PICTURES_AT_ONCE_MAX)),
            desks: Arc::new(Semaphore::new(READINGS_AT_ONCE_MAX)),
            channels: Arc::new(Semaphore::new(CHANNELS_MAX)),
        }
    }
}
