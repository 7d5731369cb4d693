//! Whether anything may be written: the stop after a disk error, the two marks of free space, and the length of the queue.

use crate::StoreError;
use crate::care::{Bounds, DiskFacts, DiskLevel};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How old the answer to "how much space is free" may be.
const FREE_SPACE_AGE_MAX_MS: u64 = 100;
const MIB: u64 = 1024 * 1024;
/// Below how many free files nothing is accepted, where a file system has a number of them: many small objects use them up
/// before its space, and then not even the database could be opened again.
const FREE_FILES_FLOOR: u64 = 1024;
/// Below how many the disk is low.
const FREE_FILES_LOW: u64 = 4 * FREE_FILES_FLOOR;

/// What is known of the disk.
#[derive(Debug)]
pub(crate) struct Health {
    dir: PathBuf,
    floor_mib: u32,
    /// Set once and never cleared: after a failed sync nobody knows what the disk holds, and asking again may be
    /// answered with a success that is not one. Only a restart, which reads from the disk, finds out.
    stopped: OnceLock<String>,
    space: Mutex<Option<(Instant, Space)>>,
    low_mib: AtomicU32,
    jobs_waiting_max: AtomicU64,
    /// As the writer last counted them.
    jobs_waiting: AtomicU64,
}

/// What the file system says.
#[derive(Debug, Clone, Copy)]
struct Space {
    free_bytes: u64,
    total_bytes: u64,
    /// As many as there can be, where they are not counted.
    free_files: u64,
}

impl Space {
    fn level(&self, low_mib: u32, floor_mib: u32) -> DiskLevel {
        let is_below = |mib: u32, files: u64| {
            self.free_bytes < u64::from(mib) * MIB || self.free_files < files
        };
        if is_below(floor_mib, FREE_FILES_FLOOR) {
            DiskLevel::Floor
        } else if is_below(low_mib, FREE_FILES_LOW) {
            DiskLevel::Low
        } else {
            DiskLevel::Ample
        }
    }
}

impl Health {
    pub(crate) fn new(dir: PathBuf, floor_mib: u32) -> Self {
        Self {
            dir,
            floor_mib,
            stopped: OnceLock::new(),
            space: Mutex::new(None),
            low_mib: AtomicU32::new(floor_mib),
            jobs_waiting_max: AtomicU64::new(u64::MAX),
            jobs_waiting: AtomicU64::new(0),
        }
    }

    /// Sets the marks beyond which the appliance says no.
    pub(crate) fn bind(&self, bounds: Bounds) {
        let low_mib = bounds.free_space_low_mib.max(self.floor_mib);
        self.low_mib.store(low_mib, Ordering::Relaxed);
        let jobs_max = u64::from(bounds.jobs_waiting_max);
        self.jobs_waiting_max.store(jobs_max, Ordering::Relaxed);
    }

    /// Notes how many jobs wait.
    pub(crate) fn note_jobs_waiting(&self, jobs: u64) {
        self.jobs_waiting.store(jobs, Ordering::Relaxed);
    }

    /// Whether more work may be taken on.
    pub(crate) fn check_queue(&self) -> Result<(), StoreError> {
        let jobs_waiting_max = self.jobs_waiting_max.load(Ordering::Relaxed);
        if self.jobs_waiting.load(Ordering::Relaxed) < jobs_waiting_max {
            return Ok(());
        }
        Err(StoreError::QueueFull { jobs_waiting_max })
    }

    /// How full the disk is.
    pub(crate) fn disk(&self) -> Result<DiskFacts, StoreError> {
        let space = self.space()?;
        let low_mib = self.low_mib.load(Ordering::Relaxed);
        Ok(DiskFacts {
            free_bytes: space.free_bytes,
            total_bytes: space.total_bytes,
            low_mib,
            floor_mib: self.floor_mib,
            level: space.level(low_mib, self.floor_mib),
        })
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

    /// What it means that the disk had no room for something. How much is free is asked anew: what was known is wrong.
    pub(crate) fn full(&self) -> StoreError {
        *self.known_space() = None;
        self.floor()
    }

    const fn floor(&self) -> StoreError {
        StoreError::DiskFloor {
            floor_mib: self.floor_mib,
        }
    }

    fn known_space(&self) -> MutexGuard<'_, Option<(Instant, Space)>> {
        // A poisoned lock guards nothing but a cached answer.
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a failed write means: a full disk is an answer, too few descriptors are a passing trouble, and an error of
    /// the disk is the end.
    pub(crate) fn write_failed(&self, step: &'static str, error: &std::io::Error) -> StoreError {
        use std::io::ErrorKind as Kind;
        match error.kind() {
            Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => self.full(),
            Kind::OutOfMemory => StoreError::failed(step, error),
            _ if is_out_of_descriptors(error) => StoreError::failed(step, error),
            _ => self.stop(step, error),
        }
    }

    fn is_above_floor(&self) -> Result<bool, StoreError> {
        let level = self.space()?.level(self.floor_mib, self.floor_mib);
        Ok(level != DiskLevel::Floor)
    }

    fn space(&self) -> Result<Space, StoreError> {
        let mut known = self.known_space();
        let age_max = Duration::from_millis(FREE_SPACE_AGE_MAX_MS);
        if let Some((at, space)) = *known
            && at.elapsed() < age_max
        {
            return Ok(space);
        }
        let stat = rustix::fs::statvfs(&self.dir)
            .map_err(|error| StoreError::failed("ask for free space", error))?;
        let space = Space {
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_files: if stat.f_files == 0 {
                u64::MAX
            } else {
                stat.f_favail
            },
        };
        *known = Some((Instant::now(), space));
        Ok(space)
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
    fn between_the_two_marks_the_disk_is_low_and_still_written() {
        let health = Health::new("/".into(), 1);
        let bounds = |free_space_low_mib| Bounds {
            free_space_low_mib,
            jobs_waiting_max: 7,
        };
        health.bind(bounds(2));
        let level = |health: &Health| health.disk().map(|disk| disk.level);
        assert_eq!(level(&health), Ok(DiskLevel::Ample));
        health.bind(bounds(u32::MAX));
        assert_eq!(level(&health), Ok(DiskLevel::Low));
        assert_eq!(health.check_space(), Ok(()));
        let full = Health::new("/".into(), u32::MAX);
        full.bind(bounds(0)); // never below the floor
        assert_eq!(level(&full), Ok(DiskLevel::Floor));
    }

    #[test]
    fn a_disk_without_room_for_files_is_full() {
        let level = |free_files| {
            let space = Space {
                free_bytes: 100 * MIB,
                total_bytes: 100 * MIB,
                free_files,
            };
            space.level(50, 10)
        };
        assert_eq!(level(FREE_FILES_FLOOR - 1), DiskLevel::Floor);
        assert_eq!(level(FREE_FILES_FLOOR), DiskLevel::Low);
        assert_eq!(level(FREE_FILES_LOW), DiskLevel::Ample);
        assert_eq!(level(u64::MAX), DiskLevel::Ample);
    }

    #[test]
    fn a_queue_that_is_full_says_so() {
        let health = Health::new("/".into(), 1);
        health.note_jobs_waiting(u64::MAX - 1);
        assert_eq!(health.check_queue(), Ok(()), "without a limit");
        health.bind(Bounds {
            free_space_low_mib: 1,
            jobs_waiting_max: 7,
        });
        for (jobs, is_full) in [(6, false), (7, true), (8, true)] {
            health.note_jobs_waiting(jobs);
            assert_eq!(health.check_queue().is_err(), is_full, "{jobs}");
        }
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

    #[test]
    fn what_was_known_of_a_disk_is_forgotten_when_it_is_full() {
        let health = Health::new("/".into(), 0);
        health.disk().expect("asked");
        assert!(health.known_space().is_some());
        let full = std::io::Error::from_raw_os_error(28); // ENOSPC
        health.write_failed("write", &full);
        assert!(health.known_space().is_none());
    }
}
