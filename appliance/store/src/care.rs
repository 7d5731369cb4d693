//! The words of care: how much may be kept, what was found damaged, what is kept for how long, and what was removed.

use pericard_domain::digest::Digest;
use pericard_domain::time::Timestamp;
use pericard_domain::uid::{InstanceUid, StudyUid};
use serde::Serialize;

/// The marks beyond which the appliance says no, before it has done the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Below this much free space only what is not batch work is taken, and retention hurries. Never below the floor.
    pub free_space_low_mib: u32,
    /// With so many jobs waiting, no object is taken.
    pub jobs_waiting_max: u32,
}

/// How full the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DiskFacts {
    /// Free for the appliance, bytes.
    pub free_bytes: u64,
    /// The file system's size, bytes.
    pub total_bytes: u64,
    /// The upper mark.
    pub low_mib: u32,
    /// The lower mark.
    pub floor_mib: u32,
    /// Where that stands.
    pub level: DiskLevel,
}

/// Where the free space stands between the marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskLevel {
    /// There is enough.
    Ample,
    /// Below the upper mark: batch work is refused, and retention hurries.
    Low,
    /// Below the lower mark: everything is refused.
    Floor,
}

/// What is wrong with an object's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DamageKind {
    /// It is not there.
    Missing,
    /// Its bytes are not those that were received.
    Altered,
    /// The disk does not give it.
    Unreadable,
}

impl DamageKind {
    /// Its name in the database, in the audit log and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Altered => "altered",
            Self::Unreadable => "unreadable",
        }
    }
}

/// An object whose file is not what was received. Sending the same object again mends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The study.
    pub study: StudyUid,
    /// The object.
    pub instance: InstanceUid,
    /// Which of its revisions.
    pub revision: u32,
    /// SHA-256 of what was received.
    pub sha256: Digest,
    /// What is wrong.
    pub kind: DamageKind,
    /// When that was found.
    pub found_at: Timestamp,
}

/// What a comparison of files with rows came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Reconciled {
    /// Files that were received and never promised to anybody, removed.
    pub unpromised: u64,
    /// Files that no row names and that may have been promised, set aside.
    pub set_aside: u64,
    /// Objects whose file is not there.
    pub missing: u64,
}

/// What a step of the checksum scrub came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Scrubbed {
    /// Objects whose files were read.
    pub objects: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Objects found damaged that were not known to be.
    pub damaged: u64,
    /// Whether that was the end of a pass over everything.
    pub is_pass_over: bool,
}

/// How the store's own care stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CareFacts {
    /// Objects known to be damaged.
    pub damaged: u64,
    /// Files set aside, which a person must look at.
    pub set_aside: u64,
    /// Files that are to be removed and are still there.
    pub to_remove: u64,
    /// When every checksum had been read for the latest time.
    pub scrubbed_at: Option<Timestamp>,
}

/// How long the studies of some modalities are kept. Counted from the latest object of the study, and never before all of
/// it is processed and delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionRule {
    /// A name for the audit log.
    pub name: String,
    /// Values of Modality (0008,0060), one of which the study must have; an empty list asks for nothing.
    pub modalities: Vec<String>,
    /// How long received objects are kept.
    pub images_kept_days: u32,
    /// How long the appliance's own results are kept, and with them everything about the study but the audit log.
    /// `None` is for ever.
    pub results_kept_days: Option<u32>,
}

/// What retention removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Expired {
    /// Studies of which something was removed.
    pub studies: u64,
    /// Objects removed.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Studies whose time is over and that are kept, since something of them is not processed or not delivered.
    pub withheld: u64,
}

/// What was erased of a study.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Erased {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Lines of the audit log whose content was erased; their places in the tree stay.
    pub audit_lines: u64,
}

/// How large the audit log is and what it hashes to, as last signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogHead {
    /// How many lines.
    pub size: u64,
    /// The root of the tree over them.
    pub root: [u8; 32],
    /// The signed checkpoint.
    pub checkpoint: String,
}
