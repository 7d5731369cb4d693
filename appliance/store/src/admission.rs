//! The words of admission.

use crate::object::Sealed;
use pericard_domain::job::Priority;
use pericard_domain::study::{InstanceFacts, ObjectIdentity};
use pericard_domain::time::Timestamp;
use pericard_domain::uid::InstanceUid;

/// An object to be admitted.
#[derive(Debug)]
pub struct NewObject {
    /// Its bytes, on disk.
    pub sealed: Sealed,
    /// What it is.
    pub identity: ObjectIdentity,
    /// What its header says.
    pub facts: InstanceFacts,
    /// When its study may be complete if nothing else arrives: when the assembly job is due.
    pub assemble_at: Timestamp,
    /// How urgent its study is, as far as is known now. Never lowers what an earlier object asked for.
    pub priority: Priority,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// New here.
    Stored,
    /// The same bytes under the same UID were here already: success, and nothing was changed.
    AlreadyHeld,
    /// Other bytes under the same UID were here already: both are kept, and this is the latest revision.
    Revised {
        /// Its number, 2 or more.
        revision: u32,
    },
}

/// Something that was refused, for the audit log. No patient data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked, as in `C-STORE`, `association`, `POST /dicomweb/studies`.
    pub what: String,
    /// Why it was refused: one sentence.
    pub why: String,
    /// Which object, when it said.
    pub instance: Option<InstanceUid>,
}
