//! Why a job is given up, and when it is tried again.

use pericard_domain::job::{Failure, FailureClass};
use pericard_domain::time::Timestamp;
use pericard_egress::Counter;
use pericard_runner::RunFailure;
use pericard_store::StoreError;
use std::time::Duration;

/// The wait before the second attempt; it doubles with each further one.
const RETRY_FIRST_S: u64 = 2;
/// The longest wait before an attempt.
const RETRY_LONGEST_S: u64 = 300;

/// Why a job is given up for now.
#[derive(Debug)]
pub(crate) enum GiveUp {
    /// The work failed.
    Failed(Failure),
    /// The store did.
    Store(StoreError),
}

impl GiveUp {
    pub(crate) fn failed(class: FailureClass, reason: impl Into<String>) -> Self {
        Self::Failed(Failure {
            class,
            reason: reason.into(),
        })
    }

    pub(crate) fn internal(error: &StoreError) -> Failure {
        Failure {
            class: FailureClass::Internal,
            reason: error.to_string(),
        }
    }
}

impl From<StoreError> for GiveUp {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<RunFailure> for GiveUp {
    fn from(failure: RunFailure) -> Self {
        let class = match &failure {
            RunFailure::NotLoaded(_) | RunFailure::Load { .. } => FailureClass::ModelUnavailable,
            RunFailure::Unsuitable(_) => FailureClass::UnsuitableInput,
            RunFailure::Model(_) => FailureClass::ModelFailed,
            RunFailure::Undecodable(_) => FailureClass::Undecodable,
            RunFailure::Unreadable(_) | RunFailure::Busy => FailureClass::Internal,
            RunFailure::Lost(_) => FailureClass::WorkerLost,
        };
        Self::failed(class, failure.to_string())
    }
}

/// When the attempt after this many is due.
pub(crate) fn retry_at(now: Timestamp, attempts: u32) -> Timestamp {
    let doubled = RETRY_FIRST_S.saturating_mul(1 << attempts.saturating_sub(1).min(16));
    now.after(Duration::from_secs(doubled.min(RETRY_LONGEST_S)))
}

/// What a failure of that class counts as.
pub(crate) fn counter(class: FailureClass) -> Counter {
    match class {
        FailureClass::UnsuitableInput => Counter::JobsUnsuitableInput,
        FailureClass::Undecodable => Counter::JobsUndecodable,
        FailureClass::ModelUnavailable => Counter::JobsModelUnavailable,
        FailureClass::ModelFailed => Counter::JobsModelFailed,
        FailureClass::WorkerLost => Counter::JobsWorkerLost,
        FailureClass::Internal => Counter::JobsInternal,
    }
}
