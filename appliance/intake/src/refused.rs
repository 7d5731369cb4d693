//! Why an object is not taken, in words that every protocol can turn into its own.

use pericard_domain::study::ObjectIdentity;

/// Why an object is not taken. Nothing of it is kept; the sentences hold no patient data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The bytes are not a DICOM object, or not one that can be kept safely.
    #[error("the object is not valid DICOM: {0}")]
    Malformed(String),
    /// The object is not the one that the peer announced.
    #[error("the object's {0} is not the one that was announced")]
    Mismatch(&'static str),
    /// The object is of another study than the one that it was sent to.
    #[error("the object is of another study than the one that it was sent to")]
    OtherStudy(Box<ObjectIdentity>),
    /// The object is larger than may be.
    #[error(
        "the object is larger than the {limit_mib} MiB that are accepted; raise max_object_mib if it is legitimate"
    )]
    TooLarge {
        /// The configured limit.
        limit_mib: u32,
    },
    /// The disk is too full. The same object may be taken later.
    #[error("out of storage: {0}")]
    OutOfStorage(String),
    /// As much arrives at once as may. The same object may be taken later.
    #[error("too many objects are arriving at once; try again in {retry_after_s} s")]
    Busy {
        /// When to try again.
        retry_after_s: u32,
    },
    /// More work waits than may. The same object may be taken later.
    #[error("{reason}; try again in {retry_after_s} s")]
    QueueFull {
        /// How much waits.
        reason: String,
        /// When to try again.
        retry_after_s: u32,
    },
    /// This caller brings more than one caller may. The same object may be taken later.
    #[error("more {quota} than one caller may bring; try again in {retry_after_s} s")]
    OverQuota {
        /// Which quota.
        quota: &'static str,
        /// When to try again.
        retry_after_s: u32,
    },
    /// The appliance cannot keep anything at the moment. The same object may be taken later.
    #[error("the appliance cannot keep objects at the moment: {0}")]
    Unavailable(String),
}

impl Refused {
    /// When to try again, where that is known.
    #[must_use]
    pub const fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::Busy { retry_after_s }
            | Self::QueueFull { retry_after_s, .. }
            | Self::OverQuota { retry_after_s, .. } => Some(*retry_after_s),
            _ => None,
        }
    }

    /// Whether the same object may be taken later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::OutOfStorage(_)
                | Self::Busy { .. }
                | Self::QueueFull { .. }
                | Self::OverQuota { .. }
                | Self::Unavailable(_)
        )
    }
}
