//! How the DICOM door stands.

use crate::archive::Archive;
use crate::peers::Peers;
use crate::sending::Rewriting;
use pericard_domain::ae::AeTitle;
use pericard_domain::uid::SopClassUid;
use pericard_egress::Meter;
use pericard_intake::Pace;
use std::sync::Arc;
use std::time::Duration;

/// How the DICOM door stands.
#[derive(Debug, Clone)]
pub struct DimseConfig {
    /// Our own application entity title.
    pub ae_title: AeTitle,
    /// Whether a peer that calls us by another title is turned away.
    pub called_ae_must_match: bool,
    /// The peers that may call, and those that get results.
    pub peers: Peers,
    /// What happens to a peer that is not among them.
    pub unlisted: Unlisted,
    /// Storage SOP classes to take beside the standard's: private ones.
    pub further_sop_classes: Vec<SopClassUid>,
    /// What is held, for those who search and retrieve. Without it neither is offered.
    pub archive: Option<Archive>,
    /// Who writes objects anew for peers that take only the other uncompressed syntax. Without anybody they do not get them.
    pub rewriting: Option<Arc<dyn Rewriting>>,
    /// How much, how long.
    pub limits: Limits,
    /// Where associations are counted.
    pub meter: Meter,
}

impl DimseConfig {
    /// The defaults, under that title.
    #[must_use]
    pub fn new(ae_title: AeTitle) -> Self {
        Self {
            ae_title,
            called_ae_must_match: true,
            peers: Vec::new().into(),
            unlisted: Unlisted::FromLoopback,
            further_sop_classes: Vec::new(),
            archive: None,
            rewriting: None,
            limits: Limits::default(),
            meter: Meter::in_memory(),
        }
    }
}

/// What happens to a calling peer that is not in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlisted {
    /// It is turned away.
    Refused,
    /// It is heard when it calls from this very machine.
    FromLoopback,
    /// It is heard. Only for a network where everybody may send.
    Accepted,
}

/// How much, how long.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Associations at once.
    pub associations_max: usize,
    /// Associations at once with one calling application entity title.
    pub associations_per_ae_max: usize,
    /// The longest P-DATA-TF PDU that peers are told they may send, in bytes: 4 KiB to 1 MiB.
    pub pdu_bytes_max: u32,
    /// How long a new connection may take to ask for its association, and a finished one to close (ARTIM, PS3.8 section 9.1.5).
    pub artim_timeout: Duration,
    /// How long one PDU may take from its first byte to its last, either way, and how long a peer may pause within a message.
    pub pdu_timeout: Duration,
    /// How long one message may take, however fast it comes.
    pub message_timeout: Duration,
    /// How much of a message must come while it is waited for, measured over twice a PDU's time: so that nobody holds a place by
    /// sending a byte now and then. 0 stands for no limit.
    pub message_kib_per_s_min: u32,
    /// How long an association may be silent between two messages.
    pub idle_timeout: Duration,
    /// The most answers to one query. Who needs more asks for less at a time.
    pub answers_max: usize,
    /// How long associations get to end what they are doing when the appliance stops.
    pub drain_timeout: Duration,
}

impl Limits {
    /// How slowly a message of a peer may come.
    pub(crate) fn pace(&self) -> Pace {
        Pace::new(self.message_kib_per_s_min, 2 * self.pdu_timeout)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            associations_max: 64,
            associations_per_ae_max: 16,
            pdu_bytes_max: 128 * 1024,
            artim_timeout: Duration::from_secs(15),
            pdu_timeout: Duration::from_secs(30),
            message_timeout: Duration::from_secs(30 * 60),
            message_kib_per_s_min: 8,
            idle_timeout: Duration::from_secs(5 * 60),
            answers_max: 10_000,
            drain_timeout: Duration::from_secs(20),
        }
    }
}
