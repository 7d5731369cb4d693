//! Object files: received into a staging file, sealed, then put in place and on disk by the verb that commits them.

use crate::StoreError;
use crate::files::{Approach, Files, Staging};
use pericard_domain::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How much is collected before it is written, bytes: of a peer that sends in small pieces. A larger piece is written as it
/// is, since copying it costs more than the system call that it would save.
const BUFFER_BYTES: usize = 64 * 1024;

/// A file that receives an object. Its bytes are hashed as they come.
#[derive(Debug)]
pub struct Incoming {
    files: Arc<Files>,
    staging: Staging,
    /// Behind a lock only because `to_read` must write out what is buffered and has a shared borrow; never contended.
    spool: Mutex<Spool>,
    hasher: Sha256,
    len_bytes: u64,
}

#[derive(Debug)]
struct Spool {
    file: File,
    buffer: Vec<u8>,
    /// After a failed write nobody knows how much of it is in the file, so the file is of no more use.
    broken: Option<StoreError>,
}

impl Incoming {
    pub(crate) fn new(files: Arc<Files>) -> Result<Self, StoreError> {
        let (staging, file) = files.stage()?;
        let spool = Spool {
            file,
            buffer: Vec::new(),
            broken: None,
        };
        Ok(Self {
            files,
            staging,
            spool: Mutex::new(spool),
            hasher: Sha256::new(),
            len_bytes: 0,
        })
    }

    /// Appends bytes. Blocking, but to the page cache only; small enough to call from async code for one PDU.
    ///
    /// # Errors
    /// [`StoreError::DiskFloor`] when the disk is full, [`StoreError::ReadOnly`] when it failed. The file is then of no
    /// more use.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(bytes);
        self.len_bytes += bytes.len() as u64;
        let spool = self.spool.get_mut();
        let spool = spool.unwrap_or_else(PoisonError::into_inner);
        spool.take(bytes, &self.files)
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len_bytes
    }

    /// Whether nothing was written so far.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len_bytes == 0
    }

    /// Another handle of what was written so far, that can only read, from the beginning: for the scanner.
    ///
    /// # Errors
    /// As [`Self::write`], since what is buffered is written first.
    pub fn to_read(&self) -> Result<File, StoreError> {
        let spool = self.spool.lock();
        let mut spool = spool.unwrap_or_else(PoisonError::into_inner);
        spool.write_out(&self.files)?;
        let file = File::open(self.staging.path());
        file.map_err(|error| StoreError::failed("read the received object", error))
    }

    /// Where the staging file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.staging.path()
    }

    /// Writes out what is buffered: nothing is added from now on. Blocking as [`Self::write`] is, and not for longer:
    /// no more than its buffer is left to write.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn seal(self) -> Result<Sealed, StoreError> {
        let approach = self.files.approach();
        let spool = self.spool.into_inner();
        let mut spool = spool.unwrap_or_else(PoisonError::into_inner);
        spool.write_out(&self.files)?;
        Ok(Sealed {
            path: self.staging.path().to_owned(),
            digest: Digest::new(self.hasher.finalize().into()),
            size_bytes: self.len_bytes,
            staging: self.staging,
            file: spool.file,
            approach,
        })
    }
}

impl Spool {
    fn take(&mut self, bytes: &[u8], files: &Files) -> Result<(), StoreError> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.write_out(files)?;
        }
        if bytes.len() >= BUFFER_BYTES {
            return self.write_through(bytes, files);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn write_out(&mut self, files: &Files) -> Result<(), StoreError> {
        if self.buffer.is_empty() && self.broken.is_none() {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.buffer);
        let written = self.write_through(&buffer, files);
        self.buffer = buffer;
        self.buffer.clear();
        written
    }

    fn write_through(&mut self, bytes: &[u8], files: &Files) -> Result<(), StoreError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let written = files.health().check_space().and_then(|()| {
            let written = self.file.write_all(bytes);
            written.map_err(|error| files.health().write_failed("write an object", &error))
        });
        if let Err(error) = &written {
            self.broken = Some(error.clone());
        }
        written
    }
}

/// A received object, whole, which is neither on disk for certain nor promised to anybody. Dropped, it is gone.
#[derive(Debug)]
pub struct Sealed {
    /// The staging file.
    pub path: PathBuf,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its length.
    pub size_bytes: u64,
    pub(crate) staging: Staging,
    /// The same file, still open: it is synced where it is put in place.
    pub(crate) file: File,
    /// Tells the writer that a change is on its way, so that it is worth waiting for.
    pub(crate) approach: Approach,
}
