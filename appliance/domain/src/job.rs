//! Work: what is to be done, how urgent it is, and what became of it.
//!
//! ```text
//!            lease                conclude
//! Waiting ----------> Leased --------------> Done
//!    ^                  |  \---------------> Failed      (the work cannot succeed, or no attempt is left)
//!    |   lease lapses,  |
//!    |   attempt failed |
//!    +------------------+            Waiting --> Cancelled (by a person)
//! ```
//! A crash, a shutdown and a power cut are one event: the lease lapses and the job waits again.

use crate::model::ModelRef;
use crate::time::Timestamp;
use crate::uid::StudyUid;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A job's number, given by the store and never given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JobId(pub i64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How urgent work is. The order is the order of service.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// A life may hang on it.
    Stat,
    /// The ordinary list.
    #[default]
    Routine,
    /// Whenever nothing else waits.
    Batch,
}

impl Priority {
    /// Every class, most urgent first.
    pub const ALL: [Self; 3] = [Self::Stat, Self::Routine, Self::Batch];

    /// The class's name in configuration and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stat => "stat",
            Self::Routine => "routine",
            Self::Batch => "batch",
        }
    }

    /// The class of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }
}

/// What stands between the names of two rules that asked for one job. No rule's name has a comma.
pub const RULES_JOINED_BY: &str = ", ";

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Work {
    /// Decide whether the study is complete and, if so, plan its inferences. One waits for every study that has
    /// received objects since it was last taken as complete; it is due when the study may be complete.
    Assemble {
        /// Which study.
        study: StudyUid,
    },
    /// Run one model over one revision of a study.
    Infer {
        /// Which study.
        study: StudyUid,
        /// Which of its revisions.
        revision: u32,
        /// Which model, to the digest.
        model: ModelRef,
        /// The rules that asked for it, joined by [`RULES_JOINED_BY`]: one inference serves all that name its model.
        rule: String,
    },
}

impl Work {
    /// The study that the work is about.
    #[must_use]
    pub const fn study(&self) -> &StudyUid {
        match self {
            Self::Assemble { study } | Self::Infer { study, .. } => study,
        }
    }

    /// The kind's name in lists and in the database.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Assemble { .. } => "assemble",
            Self::Infer { .. } => "infer",
        }
    }
}

/// Why work failed, in words that may be shown to whoever may see the job. No patient data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The closed class, for counting.
    pub class: FailureClass,
    /// One sentence: what was wrong and what to do.
    pub reason: String,
}

/// The classes of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The study does not hold what the model needs: no suitable series, a missing or doubled slice.
    UnsuitableInput,
    /// The pixels cannot be decoded.
    Undecodable,
    /// The model is not there, or its package does not verify.
    ModelUnavailable,
    /// The model ran and failed, or its output broke its contract.
    ModelFailed,
    /// The worker died, hung or took more than it may. Worth another attempt.
    WorkerLost,
    /// The appliance itself is at fault. Worth another attempt.
    Internal,
}

impl FailureClass {
    /// Whether the same work may succeed at another attempt.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::WorkerLost | Self::Internal)
    }
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum JobState {
    /// Not before this time.
    Waiting {
        /// When it is due.
        due_at: Timestamp,
    },
    /// Somebody works on it until the lease lapses.
    Leased {
        /// When the lease lapses.
        until: Timestamp,
    },
    /// Its results are kept.
    Done,
    /// It will not be tried again unless somebody asks.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// Somebody cancelled it.
    Cancelled,
}

impl JobState {
    /// The state's name in lists and in the database.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Leased { .. } => "leased",
            Self::Done => "done",
            Self::Failed { .. } => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A job, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// What is to be done.
    pub work: Work,
    /// How urgent it is.
    pub priority: Priority,
    /// Where it stands.
    #[serde(flatten)]
    pub state: JobState,
    /// Attempts begun so far.
    pub attempts: u32,
    /// Why the latest attempt failed, when one did.
    pub last_failure: Option<Failure>,
    /// When it was planned.
    pub created_at: Timestamp,
    /// When it was concluded or cancelled.
    pub ended_at: Option<Timestamp>,
}
