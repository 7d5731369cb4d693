//! The handle, and every verb.

use crate::access::{NewToken, Token};
use crate::admission::{Admission, NewObject, Refusal};
use crate::audit_log::{AuditLine, AuditQuery, Verified};
use crate::object::Incoming;
use crate::outbox::{Delivery, DeliveryRow, DeliveryTrouble};
use crate::queue::{Conclusion, JobQuery, LeaseTerms, LeasedJob, PlannedInference};
use pericard_domain::actor::Actor;
use pericard_domain::finding::Report;
use pericard_domain::job::{Failure, Job, JobId, Priority};
use pericard_domain::study::{Instance, Study};
use pericard_domain::time::{Clock, Timestamp};
use pericard_domain::uid::{InstanceUid, StudyUid};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The data directory: database, objects, audit key and checkpoint.
    pub dir: PathBuf,
    /// The name of this log in its checkpoints (C2SP tlog-checkpoint "origin"), as in `pericard.example-hospital/audit`.
    pub audit_origin: String,
    /// How long the writer waits for more changes to commit together.
    pub group_commit_window_us: u32,
    /// Below this much free space nothing is admitted.
    pub free_space_floor_mib: u32,
}

/// Why a verb did not happen. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is fuller than the floor allows.
    #[error(
        "less than {floor_mib} MiB are free in the data directory; free space or move the data"
    )]
    DiskFloor {
        /// The configured floor.
        floor_mib: u32,
    },
    /// An earlier write or sync failed: nothing is accepted until somebody has looked at the disk and restarted.
    #[error("the store is read-only since a disk error: {0}; check the disk, then restart")]
    ReadOnly(String),
    /// There is no such thing.
    #[error("there is no {0} here")]
    NotFound(&'static str),
    /// The thing is not in a state that allows this.
    #[error("{0}")]
    Conflict(String),
    /// The lease has lapsed or was never given; somebody else may be at work.
    #[error("the lease has lapsed")]
    LeaseLapsed,
    /// The database or a file failed.
    #[error("{step}: {reason}")]
    Failed {
        /// What was being done.
        step: &'static str,
        /// What the database or the system said.
        reason: String,
    },
}

/// A handle on what is kept. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<()>,
}

#[allow(unused_variables, clippy::unused_async, missing_docs)]
impl Store {
    /// Opens the store, makes it when the directory is empty, migrates it when it is older, and lets every lease of a
    /// former process lapse.
    ///
    /// # Errors
    /// When the directory cannot be used, another process serves from it, or it was written by a newer version.
    pub fn open(config: StoreConfig, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        unimplemented!()
    }

    // ---- receiving -----------------------------------------------------------------------------------------------

    /// Opens a file to receive an object into. Dropped without being sealed, it is gone.
    ///
    /// # Errors
    /// [`StoreError::DiskFloor`] and [`StoreError::ReadOnly`] before anything is written.
    pub fn incoming(&self) -> Result<Incoming, StoreError> {
        unimplemented!()
    }

    /// Takes a sealed object: file in place, directory synced, row, assembly job and audit line committed. Only when
    /// this resolves may the peer be told of success.
    pub async fn admit(&self, object: NewObject, from: Actor) -> Result<Admission, StoreError> {
        unimplemented!()
    }

    /// Writes that something was refused.
    pub async fn refuse(&self, refusal: Refusal, from: Actor) -> Result<(), StoreError> {
        unimplemented!()
    }

    // ---- work ----------------------------------------------------------------------------------------------------

    /// Leases the most urgent job that is due: by priority, then by age. `None` when nothing is due.
    /// A job whose attempts are used up is failed instead, visibly.
    pub async fn lease(&self, terms: LeaseTerms) -> Result<Option<LeasedJob>, StoreError> {
        unimplemented!()
    }

    /// When the next waiting job is due, or the next lease lapses.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        unimplemented!()
    }

    /// Resolves when there may be new work (a job was planned, came due by a change, or was retried) or new mail.
    pub async fn changed(&self) {
        unimplemented!()
    }

    /// Gives the lease more time.
    pub async fn renew(&self, job: &LeasedJob, lease: Duration) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Ends an assembly: the study is complete at its next revision, and these inferences wait.
    /// Returns the new revision.
    pub async fn complete_study(
        &self,
        job: &LeasedJob,
        planned: Vec<PlannedInference>,
    ) -> Result<u32, StoreError> {
        unimplemented!()
    }

    /// Puts the job back until later; the attempt does not count.
    pub async fn postpone(&self, job: &LeasedJob, due_at: Timestamp) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Ends an inference with its results: job done, result objects and report kept, outbox lines written, one commit.
    /// A second conclusion of the same (study, revision, model) changes nothing and is not an error.
    pub async fn conclude(
        &self,
        job: &LeasedJob,
        conclusion: Conclusion,
    ) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Ends an attempt without results. A transient failure waits for `retry_at` while attempts are left.
    pub async fn fail(
        &self,
        job: &LeasedJob,
        failure: Failure,
        retry_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Puts a failed or cancelled job back into the queue with fresh attempts.
    pub async fn retry_job(&self, id: JobId, by: Actor) -> Result<Job, StoreError> {
        unimplemented!()
    }

    /// Cancels a waiting job.
    pub async fn cancel_job(&self, id: JobId, by: Actor) -> Result<Job, StoreError> {
        unimplemented!()
    }

    pub async fn jobs(&self, query: JobQuery) -> Result<Vec<Job>, StoreError> {
        unimplemented!()
    }

    pub async fn job(&self, id: JobId) -> Result<Job, StoreError> {
        unimplemented!()
    }

    // ---- what is held --------------------------------------------------------------------------------------------

    /// Studies, latest received first. `limit` at most.
    pub async fn studies(&self, limit: u32, offset: u32) -> Result<Vec<Study>, StoreError> {
        unimplemented!()
    }

    pub async fn study(&self, study: &StudyUid) -> Result<Study, StoreError> {
        unimplemented!()
    }

    /// The study's objects at their latest revision, by series and instance number; with or without our own results.
    pub async fn instances(&self, study: &StudyUid) -> Result<Vec<Instance>, StoreError> {
        unimplemented!()
    }

    pub async fn instance(&self, instance: &InstanceUid) -> Result<Instance, StoreError> {
        unimplemented!()
    }

    /// Where the object's file is. Read-only; it is not changed or removed while the appliance runs.
    pub fn object_path(&self, instance: &Instance) -> PathBuf {
        unimplemented!()
    }

    /// What the models found in the study, latest revision of each model first.
    pub async fn reports(&self, study: &StudyUid) -> Result<Vec<KeptReport>, StoreError> {
        unimplemented!()
    }

    /// How many jobs are in each state and how many deliveries wait, for readiness and metrics.
    pub async fn depth(&self) -> Result<Depth, StoreError> {
        unimplemented!()
    }

    /// Why nothing can be accepted at the moment, when it cannot: for readiness.
    pub fn trouble(&self) -> Option<StoreError> {
        unimplemented!()
    }

    // ---- outbox --------------------------------------------------------------------------------------------------

    /// Leases the oldest delivery to `destination` that is due.
    pub async fn lease_delivery(
        &self,
        destination: &str,
        lease: Duration,
    ) -> Result<Option<Delivery>, StoreError> {
        unimplemented!()
    }

    /// The peer has it.
    pub async fn delivered(&self, delivery: &Delivery) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// The peer does not have it: later, or never.
    pub async fn not_delivered(
        &self,
        delivery: &Delivery,
        trouble: DeliveryTrouble,
    ) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// The outbox lines of a study, or all that are not delivered yet.
    pub async fn deliveries(
        &self,
        study: Option<&StudyUid>,
        limit: u32,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        unimplemented!()
    }

    // ---- access --------------------------------------------------------------------------------------------------

    /// Keeps a new token: only the hash of its secret.
    pub async fn issue_token(&self, token: NewToken, by: Actor) -> Result<Token, StoreError> {
        unimplemented!()
    }

    pub async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        unimplemented!()
    }

    pub async fn revoke_token(&self, id: &str, by: Actor) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// The token with that hash, when there is one, not revoked and not expired.
    pub async fn token_by_hash(
        &self,
        secret_sha256: &[u8; 32],
    ) -> Result<Option<Token>, StoreError> {
        unimplemented!()
    }

    /// Writes an audit line for an access (somebody read patient data, asked a model, was turned away at the door).
    pub async fn note_access(
        &self,
        verb: &'static str,
        subject: &str,
        by: Actor,
    ) -> Result<(), StoreError> {
        unimplemented!()
    }

    // ---- audit ---------------------------------------------------------------------------------------------------

    pub async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditLine>, StoreError> {
        unimplemented!()
    }

    /// Recomputes the whole log against its signed checkpoint.
    pub async fn verify_audit(&self) -> Result<Verified, StoreError> {
        unimplemented!()
    }
}

/// A report and when it was kept.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct KeptReport {
    /// What was found.
    pub report: Report,
    /// The DICOM objects made of it.
    pub objects: Vec<InstanceUid>,
    /// The job that made it.
    pub job: JobId,
    /// Whether a later revision's report of the same model supersedes it.
    pub superseded: bool,
}

/// How much there is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Depth {
    /// Jobs waiting or leased, by priority class.
    pub open_jobs: std::collections::BTreeMap<Priority, u64>,
    /// Jobs failed and not retried.
    pub failed_jobs: u64,
    /// Results not delivered yet.
    pub undelivered: u64,
    /// Deliveries given up as permanent failures.
    pub undeliverable: u64,
}
