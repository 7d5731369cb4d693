//! Object files: received into a staging file, sealed by an fsync, then put in place by the verb that commits them.

use crate::StoreError;
use pericard_domain::digest::Digest;
use std::path::{Path, PathBuf};

/// A file that receives an object. Its bytes are hashed as they come.
#[derive(Debug)]
pub struct Incoming {
    _private: (),
}

#[allow(unused_variables, missing_docs)]
impl Incoming {
    /// Appends bytes. Blocking, but to the page cache only; small enough to call from async code for one PDU.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Bytes written so far.
    pub fn len(&self) -> u64 {
        unimplemented!()
    }

    pub fn is_empty(&self) -> bool {
        unimplemented!()
    }

    /// A reader over what was written so far, for the scanner.
    pub fn reader(&self) -> Result<std::fs::File, StoreError> {
        unimplemented!()
    }

    /// Where the staging file is.
    pub fn path(&self) -> &Path {
        unimplemented!()
    }

    /// Puts the file on disk (fsync) and closes it. Runs on the store's own file threads.
    pub async fn seal(self) -> Result<Sealed, StoreError> {
        unimplemented!()
    }
}

/// A received object whose bytes are on disk but which is not yet promised to anybody. Dropped, it is gone.
#[derive(Debug)]
pub struct Sealed {
    /// The staging file.
    pub path: PathBuf,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its length.
    pub size_bytes: u64,
}
