//! What this room is handed: the other rooms' handles, and what every handler sees of them.

use crate::ApiConfig;
use crate::guard::Doorman;
use crate::talker::Talker;
use pericard_domain::model::Package;
use pericard_domain::time::{Clock, Timestamp};
use pericard_egress::Meter;
use pericard_intake::Intake;
use pericard_store::Store;
use std::sync::Arc;

/// The handles that the composition root gives. Cheap to clone.
#[derive(Clone)]
pub struct Appliance {
    /// What is kept.
    pub store: Store,
    /// The one door in.
    pub intake: Intake,
    /// The models that are loaded.
    pub talker: Arc<dyn Talker>,
    /// The models that should be loaded.
    pub packages: Arc<[Package]>,
    /// The closed counters.
    pub meter: Meter,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The appliance's version.
    pub version: &'static str,
}

/// What every handler is given.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) rooms: Appliance,
    pub(crate) config: Arc<ApiConfig>,
    pub(crate) doorman: Arc<Doorman>,
    pub(crate) started_at: Timestamp,
}

impl Api {
    pub(crate) fn new(rooms: Appliance, config: ApiConfig) -> Self {
        let doorman = Doorman::new(config.refused_identities_per_minute_max);
        Self {
            started_at: rooms.clock.now(),
            rooms,
            config: Arc::new(config),
            doorman: Arc::new(doorman),
        }
    }
}
