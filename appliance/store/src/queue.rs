//! The words of the queue.

use crate::object::Sealed;
use pericard_domain::finding::Report;
use pericard_domain::job::{Failure, Job, Priority};
use pericard_domain::model::ModelRef;
use pericard_domain::rule::{Priors, ResultTerms};
use pericard_domain::settling::Because;
use pericard_domain::study::{InstanceFacts, ObjectIdentity};
use pericard_domain::time::Timestamp;
use pericard_domain::uid::StudyUid;
use std::time::Duration;

/// On what terms a job is leased.
#[derive(Debug, Clone, Copy)]
pub struct LeaseTerms {
    /// How long the lease lasts.
    pub lease: Duration,
    /// How many attempts a job has.
    pub attempts_max: u32,
}

/// A job in hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasedJob {
    /// The job, with this attempt counted.
    pub job: Job,
    /// What tells this lease from any other of the same job.
    pub lease_id: u64,
    /// When it lapses.
    pub until: Timestamp,
    /// What becomes of its result. None for an assembly, and for what was planned before schema 6.
    pub terms: Option<ResultTerms>,
}

/// An inference that a completed study gives rise to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedInference {
    /// Which model, to the digest.
    pub model: ModelRef,
    /// The rule that asked for it.
    pub rule: String,
    /// How urgent it is.
    pub priority: Priority,
    /// The peers that get its results, by name.
    pub destinations: Vec<String>,
    /// The HL7 peers that are told of them, by name.
    pub messages: Vec<String>,
    /// What becomes of its result.
    pub terms: ResultTerms,
}

/// What the completion of a study gives rise to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Completion {
    /// The inferences.
    pub planned: Vec<PlannedInference>,
    /// The earlier studies that they wait for.
    pub priors: Vec<Priors>,
    /// Why the study is taken as complete.
    pub because: Option<Because>,
    /// Why not everything could be planned that was asked for: the assembly ends as failed, and planning again, when it is
    /// retried, adds what is missing.
    pub lacks: Option<Failure>,
}

/// What an order on the worklist gives rise to: all of it or nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ordered {
    /// The inferences.
    pub planned: Vec<PlannedInference>,
    /// The earlier studies that they wait for.
    pub priors: Vec<Priors>,
}

impl From<Vec<PlannedInference>> for Completion {
    fn from(planned: Vec<PlannedInference>) -> Self {
        Self {
            planned,
            ..Self::default()
        }
    }
}

/// What an inference gave.
#[derive(Debug)]
pub struct Conclusion {
    /// What was found.
    pub report: Report,
    /// The DICOM objects made of it, sealed.
    pub objects: Vec<ResultFile>,
}

/// A result object to keep and to deliver.
#[derive(Debug)]
pub struct ResultFile {
    /// Its bytes, on disk.
    pub sealed: Sealed,
    /// What it is.
    pub identity: ObjectIdentity,
    /// What its header says.
    pub facts: InstanceFacts,
}

/// Which jobs to list, latest first.
#[derive(Debug, Clone, Default)]
pub struct JobQuery {
    /// Only this study's.
    pub study: Option<StudyUid>,
    /// Only those in the state of this name.
    pub state: Option<String>,
    /// At most so many; 0 stands for 100.
    pub limit: u32,
}
