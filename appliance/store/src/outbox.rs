//! The words of the outbox: one line for every result object and destination.

use pericard_domain::study::Instance;
use pericard_domain::time::Timestamp;
use pericard_domain::uid::{InstanceUid, StudyUid};
use serde::Serialize;

/// A delivery in hand.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The outbox line.
    pub id: i64,
    /// What tells this lease from any other of the same line.
    pub lease_id: u64,
    /// The peer's name.
    pub destination: String,
    /// What to send.
    pub instance: Instance,
    /// Attempts begun, this one included.
    pub attempts: u32,
    /// Since when the peer should have it.
    pub waiting_since: Timestamp,
}

/// Why an attempt did not deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryTrouble {
    /// It may work later.
    Transient {
        /// One sentence, without patient data.
        reason: String,
        /// When to try again.
        retry_at: Timestamp,
    },
    /// It never will: the peer refuses this kind of object.
    Permanent {
        /// One sentence, without patient data.
        reason: String,
    },
}

/// An outbox line, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeliveryRow {
    /// The line.
    pub id: i64,
    /// The study.
    pub study: StudyUid,
    /// The result object.
    pub instance: InstanceUid,
    /// The peer's name.
    pub destination: String,
    /// `waiting`, `leased`, `delivered` or `failed`.
    pub state: String,
    /// Attempts begun.
    pub attempts: u32,
    /// Why the latest attempt did not deliver.
    pub last_trouble: Option<String>,
    /// When it was delivered.
    pub delivered_at: Option<Timestamp>,
}
