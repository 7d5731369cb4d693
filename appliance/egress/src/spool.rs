//! The spool: what was counted, on disk across restarts. A fixed row of little-endian numbers, like the frame that is made
//! of it, so that the process that will send frames can read it without knowing anything else of this appliance.

use crate::meter::Identity;
use crate::tally::{Tally, Timed};
use pericard_frame::layout::{MODELS, VERSION};
use pericard_frame::stage::BUCKETS;
use pericard_frame::{Counter, Fault, Stage};
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Readable by the folder's group, which is the gate's.
const SHOWN: u32 = 0o640;
const MARK: u64 = u64::from_le_bytes(*b"PCSPOOL1");
const TIMED_NUMBERS: usize = BUCKETS + 1;
/// How many numbers a tally is.
pub(crate) const TALLY_NUMBERS: usize = Counter::ALL.len()
    + Stage::ALL.len() * TIMED_NUMBERS
    + MODELS * (3 + TIMED_NUMBERS)
    + 5 // the audit log
    + 3 // uptime and processors
    + GPU_NUMBERS;
/// How many of them the layout before did not have.
pub(crate) const GPU_NUMBERS: usize = 2;
const NUMBERS: usize = 2 // mark and layout
    + 4 // identity
    + TALLY_NUMBERS;

/// The spool cannot be used, or what it holds cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The file cannot be read or written.
    #[error("the counters' spool {} cannot be {verb}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        verb: &'static str,
        /// Why not.
        error: io::Error,
    },
    /// The file is not a spool, or one of another version.
    #[error(
        "{} is not a spool of counters of this version; move it away to begin counting anew",
        .0.display()
    )]
    Foreign(PathBuf),
    /// There is no spool.
    #[error("there is no spool of counters at {}; the appliance has not run yet", .0.display())]
    Absent(PathBuf),
    /// What was counted does not keep to the frame's layout.
    #[error("what was counted cannot be told: {0}")]
    Frame(#[from] Fault),
}

/// What the file holds; `None` when there is no file, or one of an older layout: nothing of that was ever sent.
pub(crate) fn read(path: &Path) -> Result<Option<(Identity, Tally)>, SpoolError> {
    let Some(numbers) = read_numbers(path)? else {
        return Ok(None);
    };
    if let [MARK, version, ..] = numbers[..]
        && version < u64::from(VERSION)
    {
        return Ok(None);
    }
    let whole = numbers.len() == NUMBERS;
    let read = whole.then(|| Numbers(numbers.into_iter()).spool());
    let foreign = || SpoolError::Foreign(path.to_owned());
    read.flatten().map(Some).ok_or_else(foreign)
}

/// Replaces the file, so that a power cut leaves the old one or the new one.
pub(crate) fn write(path: &Path, identity: Identity, tally: &Tally) -> Result<(), SpoolError> {
    let mut numbers = vec![MARK, u64::from(VERSION), u64::from(identity.appliance)];
    numbers.extend(identity.release.map(u64::from));
    numbers.extend(tally_numbers(tally));
    replace(path, &numbers)
}

/// The numbers of a file; `None` when there is no file.
pub(crate) fn read_numbers(path: &Path) -> Result<Option<Vec<u64>>, SpoolError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let (numbers, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(SpoolError::Foreign(path.to_owned()));
    }
    let numbers = numbers.iter().map(|number| u64::from_le_bytes(*number));
    Ok(Some(numbers.collect()))
}

/// Replaces a file of numbers, durably.
pub(crate) fn replace(path: &Path, numbers: &[u64]) -> Result<(), SpoolError> {
    let bytes: Vec<u8> = numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    replace_bytes(path, &bytes)
}

/// Replaces a file, so that a power cut leaves the old one or the new one.
pub(crate) fn replace_bytes(path: &Path, bytes: &[u8]) -> Result<(), SpoolError> {
    replace_with(path, bytes, None)
}

/// The same for what the gate reads: its group may, whatever files of this process are otherwise for.
pub(crate) fn replace_shown(path: &Path, bytes: &[u8]) -> Result<(), SpoolError> {
    replace_with(path, bytes, Some(SHOWN))
}

fn replace_with(path: &Path, bytes: &[u8], mode: Option<u32>) -> Result<(), SpoolError> {
    let new = path.with_extension("new");
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let replace = || {
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        if let Some(mode) = mode {
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    replace().map_err(failed("written", path))
}

pub(crate) fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SpoolError {
    let path = path.to_owned();
    move |error| SpoolError::Io { path, verb, error }
}

/// A tally as numbers.
pub(crate) fn tally_numbers(tally: &Tally) -> Vec<u64> {
    let mut numbers = tally.counts.to_vec();
    for timed in &tally.stages {
        numbers.extend(timed.buckets);
        numbers.push(timed.sum_ms);
    }
    for model in &tally.models {
        numbers.extend([u64::from(model.id), model.done, model.failed]);
        numbers.extend(model.timed.buckets);
        numbers.push(model.timed.sum_ms);
    }
    numbers.push(tally.log_size);
    numbers.extend(tally.log_root);
    numbers.extend([tally.up_s, tally.cpu_busy, tally.cpu_all]);
    numbers.extend([tally.gpu_busy, tally.gpu_all]);
    numbers
}

/// The numbers of a file, taken one after the other.
pub(crate) struct Numbers<I>(pub(crate) I);

impl<I: Iterator<Item = u64>> Numbers<I> {
    fn spool(mut self) -> Option<(Identity, Tally)> {
        if self.next()? != MARK || self.next()? != u64::from(VERSION) {
            return None;
        }
        let appliance = self.next()?.try_into().ok()?;
        let mut release = [0; 3];
        for part in &mut release {
            *part = self.next()?.try_into().ok()?;
        }
        let tally = self.tally()?;
        Some((Identity { appliance, release }, tally))
    }

    pub(crate) fn tally(&mut self) -> Option<Tally> {
        let mut tally = self.older_tally()?;
        tally.gpu_busy = self.next()?;
        tally.gpu_all = self.next()?;
        Some(tally)
    }

    /// As the layout before had it.
    pub(crate) fn older_tally(&mut self) -> Option<Tally> {
        let mut tally = Tally::default();
        self.fill(&mut tally.counts)?;
        for timed in &mut tally.stages {
            self.timed(timed)?;
        }
        for model in &mut tally.models {
            model.id = self.next()?.try_into().ok()?;
            model.done = self.next()?;
            model.failed = self.next()?;
            self.timed(&mut model.timed)?;
        }
        tally.log_size = self.next()?;
        self.fill(&mut tally.log_root)?;
        tally.up_s = self.next()?;
        tally.cpu_busy = self.next()?;
        tally.cpu_all = self.next()?;
        Some(tally)
    }

    fn timed(&mut self, timed: &mut Timed) -> Option<()> {
        self.fill(&mut timed.buckets)?;
        timed.sum_ms = self.next()?;
        Some(())
    }

    pub(crate) fn fill(&mut self, places: &mut [u64]) -> Option<()> {
        for place in places {
            *place = self.next()?;
        }
        Some(())
    }

    pub(crate) fn next(&mut self) -> Option<u64> {
        self.0.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_back_in_its_place() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("counters");
        assert!(matches!(read(&path), Ok(None)));

        let mut next = 0;
        let mut number = || {
            next += 1;
            next
        };
        let mut tally = Tally::default();
        tally.counts.fill_with(&mut number);
        let mut fill = |timed: &mut Timed| {
            timed.buckets.fill_with(&mut number);
            timed.sum_ms = number();
        };
        tally.stages.iter_mut().for_each(&mut fill);
        for model in &mut tally.models {
            fill(&mut model.timed);
            (model.id, model.done, model.failed) = (7, 8, 9);
        }
        tally.log_root = [1, 2, 3, 4];
        (tally.gpu_busy, tally.gpu_all) = (5, 6);
        let identity = Identity {
            appliance: 12,
            release: [1, 2, 3],
        };
        for _ in 0..2 {
            write(&path, identity, &tally).expect("written");
            let kept = read(&path).expect("read");
            assert_eq!(kept, Some((identity, tally.clone())));
        }
    }

    #[test]
    fn what_is_no_spool_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("counters");
        write(&path, Identity::default(), &Tally::default()).expect("written");
        let good = fs::read(&path).expect("read");
        let mut other_version = good.clone();
        other_version[8] += 1;
        let mut older = good.clone();
        older[8] -= 1;
        fs::write(&path, older).expect("written");
        assert!(matches!(read(&path), Ok(None)), "counted anew");
        for bad in [&[][..], &good[1..], &good[8..], &other_version] {
            fs::write(&path, bad).expect("written");
            let opened = crate::Meter::open(path.clone(), Identity::default());
            assert!(matches!(opened, Err(SpoolError::Foreign(_))));
            assert_eq!(fs::read(&path).expect("read"), bad);
        }
    }
}
