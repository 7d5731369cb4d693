//! The spool: frames that another process made, and marks by which the hospital holds them back. Read only, but for the
//! marks, which the command line and the console set and take away.

use pericard_frame::{FRAME_BYTES, Fault, Frame, layout};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The mark that holds every frame.
const ALL: &str = "all";

/// The spool cannot be used, or what lies in it is no frame.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// It cannot be read or written.
    #[error("{} cannot be {verb}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        verb: &'static str,
        /// Why not.
        error: io::Error,
    },
    /// What lies there does not keep to the frame's layout.
    #[error("frame {sequence} is not sent: {fault}")]
    Fault {
        /// Its number.
        sequence: u32,
        /// What is wrong.
        fault: Fault,
    },
    /// Its file is named as another frame.
    #[error("the file of frame {sequence} holds frame {found}; it is not sent")]
    Misnamed {
        /// By its name.
        sequence: u32,
        /// By its bytes.
        found: u64,
    },
    /// There is none.
    #[error("there is no frame {0}; `pericard egress ledger` shows those that there are")]
    Absent(u32),
}

/// The folder of the spool: `frames/` and `hold/`.
#[derive(Debug, Clone)]
pub struct Spool {
    dir: PathBuf,
}

impl Spool {
    /// The spool in this folder.
    #[must_use]
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The numbers of its frames, the oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn sequences(&self) -> Result<Vec<u32>, SpoolError> {
        let path = self.dir.join("frames");
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let mut sequences = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed("read", &path))?.file_name();
            sequences.extend(name.to_str().and_then(sequence_of));
        }
        sequences.sort_unstable();
        Ok(sequences)
    }

    /// A frame, every number of it checked.
    ///
    /// # Errors
    /// When there is none, it does not keep to the layout, or it is not the one that its name says.
    pub fn frame(&self, sequence: u32) -> Result<Frame, SpoolError> {
        let path = self.dir.join(format!("frames/{sequence:08}.frame"));
        let mut bytes = Vec::new();
        // One more than a frame has: a larger file is seen to be one, and is not read.
        let read =
            File::open(&path).and_then(|f| f.take(FRAME_BYTES as u64 + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SpoolError::Absent(sequence));
            }
            Err(error) => return Err(failed("read", &path)(error)),
        }
        let frame = Frame::open(&bytes).map_err(|fault| SpoolError::Fault { sequence, fault })?;
        match frame.get(&layout::SEQUENCE, 0) {
            found if found == u64::from(sequence) => Ok(frame),
            found => Err(SpoolError::Misnamed { sequence, found }),
        }
    }

    /// Whether the hospital holds this frame back, or all of them.
    ///
    /// # Errors
    /// When that cannot be told: then nothing may be sent.
    pub fn is_held(&self, sequence: u32) -> Result<bool, SpoolError> {
        Ok(self.has_mark(None)? || self.has_mark(Some(sequence))?)
    }

    /// Whether there is the mark that holds this frame by itself, or the one that holds all.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn has_mark(&self, sequence: Option<u32>) -> Result<bool, SpoolError> {
        let path = self.mark(sequence);
        path.try_exists().map_err(failed("looked for", &path))
    }

    /// Holds a frame back, or all of them, those to come too.
    ///
    /// # Errors
    /// When the mark cannot be written.
    pub fn hold(&self, sequence: Option<u32>) -> Result<(), SpoolError> {
        let folder = self.dir.join("hold");
        fs::create_dir_all(&folder).map_err(failed("made", &folder))?;
        let path = self.mark(sequence);
        let held = File::create(&path).and_then(|mark| mark.sync_all());
        let kept = held.and_then(|()| File::open(&folder)?.sync_all());
        kept.map_err(failed("written", &path))
    }

    /// Takes a hold away; that of all frames leaves those of single ones. `false` when there was none.
    ///
    /// # Errors
    /// When the mark cannot be taken away.
    pub fn release(&self, sequence: Option<u32>) -> Result<bool, SpoolError> {
        let path = self.mark(sequence);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed("removed", &path)(error)),
        }
    }

    fn mark(&self, sequence: Option<u32>) -> PathBuf {
        let name = sequence.map_or_else(|| ALL.to_owned(), |sequence| format!("{sequence:08}"));
        self.dir.join("hold").join(name)
    }
}

/// The number in a file's name; `None` for a file that is no frame.
fn sequence_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".frame")?;
    let sequence = digits.parse().ok()?;
    (format!("{sequence:08}") == digits).then_some(sequence)
}

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SpoolError {
    let path = path.to_owned();
    move |error| SpoolError::Io { path, verb, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_stand_until_they_are_taken_away_one_by_one() {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = Spool::at(dir.path().into());
        let held = |sequence| spool.is_held(sequence).expect("told");
        assert!(!held(1));
        spool.hold(Some(1)).expect("held");
        spool.hold(None).expect("held");
        assert!(held(1) && held(2));
        let marked = |sequence| spool.has_mark(sequence).expect("told");
        assert!(marked(None) && marked(Some(1)) && !marked(Some(2)));
        assert!(spool.release(None).expect("released"));
        assert!(held(1) && !held(2));
        assert!(spool.release(Some(1)).expect("released"));
        assert!(!held(1));
        assert!(!spool.release(Some(1)).expect("nothing to release"));
    }

    #[test]
    fn only_frames_are_found_in_their_order() {
        let dir = tempfile::tempdir().expect("a folder");
        let frames = dir.path().join("frames");
        fs::create_dir(&frames).expect("made");
        for name in [
            "00000010.frame",
            "00000002.frame",
            "00000003.new",
            "4.frame",
            "+0000005.frame",
        ] {
            fs::write(frames.join(name), [0; 5000]).expect("written");
        }
        let spool = Spool::at(dir.path().into());
        assert_eq!(spool.sequences().expect("read"), [2, 10]);
        let fault = Fault::Length { found_bytes: 4097 };
        assert!(
            matches!(spool.frame(2), Err(SpoolError::Fault { fault: found, .. }) if found == fault)
        );
        assert!(matches!(spool.frame(3), Err(SpoolError::Absent(3))));
    }
}
