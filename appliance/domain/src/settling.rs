//! Whether a study is complete: what is asked, and the answers.

use crate::order::Expected;
use crate::study::Instance;
use crate::time::Timestamp;
use crate::uid::StudyUid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many objects a series has where it comes from, by its UID.
pub type SeriesCounts = BTreeMap<String, u32>;

/// What is known of a study that may be complete.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Which.
    pub study: StudyUid,
    /// Its objects, results and all, each at its latest revision.
    pub instances: Vec<Instance>,
    /// When the latest received object came.
    pub last_received_at: Timestamp,
    /// The orders that are about it.
    pub expected: Vec<Expected>,
    /// What each source that was asked holds of it, by the source's name.
    pub counts: BTreeMap<String, SeriesCounts>,
}

/// Whether it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Complete(Because),
    /// Not before then, if nothing changes meanwhile.
    Wait {
        /// When to ask again.
        until: Timestamp,
        /// What it waits for.
        why: Because,
    },
}

/// Why a study is taken as complete, or is waited for. Ids and numbers only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum Because {
    /// An association is open over which objects of it came.
    AssociationOpen,
    /// A source has this many objects of it, and they are all here.
    Counted {
        /// Which source.
        source: String,
        /// How many.
        objects: u32,
    },
    /// A source has more objects of it than are here.
    Missing {
        /// Which source.
        source: String,
        /// How many are not here.
        objects: u32,
    },
    /// Something that was ordered, or that a rule requires, is not among what came.
    Lacking {
        /// What: a modality, or a rule and the number of its requirement.
        what: String,
    },
    /// Nothing came for so long.
    Idle {
        /// How long, seconds.
        seconds: u64,
    },
    /// It was waited for as long as it may be, and something still lacks.
    GaveUp {
        /// How long, seconds.
        seconds: u64,
        /// What lacks.
        lacking: String,
    },
}

/// Who decides.
pub trait Completeness: Send + Sync + 'static {
    /// Whether the study is complete now.
    fn verdict(&self, standing: &Standing, now: Timestamp) -> Verdict;
}
