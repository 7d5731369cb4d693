//! Why a verb did not happen, as callers see it, and as the writer sees it.

/// Why a verb did not happen. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk is fuller than the floor allows.
    #[error(
        "less than {floor_mib} MiB, or too few files, are free in the data directory; free space or move the data"
    )]
    DiskFloor {
        /// The configured floor.
        floor_mib: u32,
    },
    /// More jobs wait than may.
    #[error("{jobs_waiting_max} jobs wait already, and no more may")]
    QueueFull {
        /// The configured limit.
        jobs_waiting_max: u64,
    },
    /// The same object was erased or has expired a moment ago, and its file is still on its way out.
    #[error("the same object is just being removed; send it again in a moment")]
    BeingRemoved,
    /// An earlier write or sync failed: nothing is accepted until somebody has looked at the disk and restarted.
    #[error("the store is read-only since a disk error: {0}; check the disk, then restart")]
    ReadOnly(String),
    /// There is no such thing.
    #[error("there is no {0} here")]
    NotFound(&'static str),
    /// The thing is not in a state that allows this.
    #[error("{0}")]
    Conflict(String),
    /// The data was written by a newer version of the appliance, and was left as it is.
    #[error(
        "the data directory was written by a newer version of the appliance (schema {found}, this one knows {known}); install \
         that version, or restore a backup made by this one"
    )]
    Newer {
        /// The schema that was found.
        found: i64,
        /// The newest that this version knows.
        known: i64,
    },
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

impl StoreError {
    pub(crate) fn failed(step: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Failed {
            step,
            reason: reason.to_string(),
        }
    }
}

/// What went wrong inside a transaction: something that was said on purpose, or the database's own trouble, which the
/// writer must tell apart.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The verb's own answer.
    Said(StoreError),
    /// A statement failed.
    Sql {
        /// The statement's name.
        step: &'static str,
        /// What the database said.
        error: rusqlite::Error,
    },
}

/// How bad a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gravity {
    /// This change failed; the others need not.
    Change,
    /// The disk is full: the whole transaction is undone, and the next may work.
    Full,
    /// The disk or the database file cannot be trusted any more.
    Disk,
}

impl Fault {
    pub(crate) fn sql(step: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |error| Self::Sql { step, error }
    }

    pub(crate) fn gravity(&self) -> Gravity {
        use rusqlite::ErrorCode as Code;
        let Self::Sql { error, .. } = self else {
            return Gravity::Change;
        };
        match error.sqlite_error_code() {
            Some(Code::DiskFull) => Gravity::Full,
            Some(
                Code::SystemIoFailure
                | Code::DatabaseCorrupt
                | Code::NotADatabase
                | Code::CannotOpen
                | Code::ReadOnly
                | Code::FileLockingProtocolFailed,
            ) => Gravity::Disk,
            _ => Gravity::Change,
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Said(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Said(error) => error,
            Fault::Sql { step, error } => Self::failed(step, error),
        }
    }
}
