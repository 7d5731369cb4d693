//! Whether anything may be written: the stop after a disk error, and the floor of free space.

use crate::StoreError;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How old the answer to "how much space is free" may be.
const FREE_SPACE_AGE_MAX_MS: u64 = 100;
const MIB: u64 = 1024 * 1024;

/// What is known of the disk.
#[derive(Debug)]
pub(crate) struct Health {
    dir: PathBuf,
    floor_mib: u32,
    /// Set once and never cleared: after a failed sync nobody knows what the disk holds, and asking again may be
    /// answered with a success that is not one. Only a restart, which reads from the disk, finds out.
    stopped: OnceLock<String>,
    space: Mutex<Option<(Instant, bool)>>,
}

impl Health {
    pub(crate) fn new(dir: PathBuf, floor_mib: u32) -> Self {
        Self {
            dir,
            floor_mib,
            stopped: OnceLock::new(),
            space: Mutex::new(None),
        }
    }

    /// Stops all writing for good.
    pub(crate) fn stop(&self, step: &'static str, reason: impl std::fmt::Display) -> StoreError {
        let reason = format!("{step}: {reason}");
        tracing::error!(%reason, "the store is read-only from now on");
        StoreError::ReadOnly(self.stopped.get_or_init(|| reason).clone())
    }

    /// Whether something may be changed.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match self.stopped.get() {
            Some(reason) => Err(StoreError::ReadOnly(reason.clone())),
            None => Ok(()),
        }
    }

    /// Whether an object may be written.
    pub(crate) fn check_space(&self) -> Result<(), StoreError> {
        self.check()?;
        if self.is_above_floor()? {
            Ok(())
        } else {
            Err(self.floor())
        }
    }

    pub(crate) const fn floor(&self) -> StoreError {
        StoreError::DiskFloor {
            floor_mib: self.floor_mib,
        }
    }

    /// What a failed write means: a full disk is an answer, too few descriptors are a passing trouble, and an error of
    /// the disk is the end.
    pub(crate) fn write_failed(&self, step: &'static str, error: &std::io::Error) -> StoreError {
        use std::io::ErrorKind as Kind;
        match error.kind() {
            Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => self.floor(),
            Kind::OutOfMemory => StoreError::failed(step, error),
            _ if is_out_of_descriptors(error) => StoreError::failed(step, error),
            _ => self.stop(step, error),
        }
    }

    fn is_above_floor(&self) -> Result<bool, StoreError> {
        // A poisoned lock guards nothing but a cached answer.
        let mut space = self.space.lock().unwrap_or_else(PoisonError::into_inner);
        let age_max = Duration::from_millis(FREE_SPACE_AGE_MAX_MS);
        if let Some((at, above)) = *space
            && at.elapsed() < age_max
        {
            return Ok(above);
        }
        let stat = rustix::fs::statvfs(&self.dir)
            .map_err(|error| StoreError::failed("ask for free space", error))?;
        let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
        let above = free_bytes >= u64::from(self.floor_mib) * MIB;
        *space = Some((Instant::now(), above));
        Ok(above)
    }
}

fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_for_good_and_keeps_its_first_reason() {
        let health = Health::new("/".into(), 0);
        assert_eq!(health.check(), Ok(()));
        health.stop("sync object", "EIO");
        health.stop("commit", "another");
        let stopped = StoreError::ReadOnly("sync object: EIO".into());
        assert_eq!(health.check_space(), Err(stopped));
    }

    #[test]
    fn the_floor_is_measured() {
        let health = Health::new("/".into(), u32::MAX);
        assert_eq!(health.check_space(), Err(health.floor()));
        assert_eq!(Health::new("/".into(), 0).check_space(), Ok(()));
    }

    #[test]
    fn a_full_disk_is_an_answer_and_an_error_is_the_end() {
        let health = Health::new("/".into(), 1);
        let full = std::io::Error::from_raw_os_error(28); // ENOSPC
        assert_eq!(health.write_failed("write", &full), health.floor());
        assert_eq!(health.check(), Ok(()));
        let broken = std::io::Error::from_raw_os_error(5); // EIO
        health.write_failed("write", &broken);
        assert!(health.check().is_err());
    }
}
