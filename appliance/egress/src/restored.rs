//! Books that come from a backup. They are older than what was told since, and nobody knows with which noise that was: so
//! none is drawn again for those weeks, and they are charged as the costliest that there can be.

use crate::spool::{self, SpoolError};
use std::path::{Path, PathBuf};

const MARK: u64 = u64::from_le_bytes(*b"PCRESTO1");

/// That the books come from a backup, and what may have been told since it was made. Kept beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// When they were restored, seconds since 1970.
    pub at_s: u64,
    /// The first week that can have been told since, where the books tell of none.
    pub from_week: u16,
    /// The first week that cannot have been told: the one that lasted when they were restored.
    pub not_before: u16,
    /// Evaluation plans that were accepted and may have been answered since.
    pub plans: Vec<u32>,
}

impl Restored {
    /// Marks the books in this folder, in place of an earlier mark.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn mark(&self, dir: &Path) -> Result<(), SpoolError> {
        std::fs::create_dir_all(dir).map_err(spool::failed("made", dir))?;
        let mut numbers = vec![MARK, self.at_s];
        numbers.extend([self.from_week, self.not_before].map(u64::from));
        numbers.extend(self.plans.iter().copied().map(u64::from));
        spool::replace(&path(dir), &numbers)
    }

    /// The mark of the books in this folder; `None` when they never were in a backup.
    ///
    /// # Errors
    /// When it cannot be read, or is none: then nobody knows what was told.
    pub fn of(dir: &Path) -> Result<Option<Self>, SpoolError> {
        let path = path(dir);
        let Some(numbers) = spool::read_numbers(&path)? else {
            return Ok(None);
        };
        let restored = match numbers[..] {
            [MARK, at_s, from_week, not_before, ref plans @ ..] => {
                read(at_s, (from_week, not_before), plans)
            }
            _ => None,
        };
        restored.map(Some).ok_or(SpoolError::Foreign(path))
    }
}

fn read(at_s: u64, (from_week, not_before): (u64, u64), plans: &[u64]) -> Option<Restored> {
    let plans = plans.iter().map(|plan| u32::try_from(*plan).ok());
    Some(Restored {
        at_s,
        from_week: from_week.try_into().ok()?,
        not_before: not_before.try_into().ok()?,
        plans: plans.collect::<Option<_>>()?,
    })
}

fn path(dir: &Path) -> PathBuf {
    dir.join("restored")
}
