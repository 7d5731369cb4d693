//! Mapping a model file into memory.
#![allow(unsafe_code)] // one call: memmap2 cannot know that nobody truncates the file while it is mapped

use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::path::Path;

/// Maps a file for reading.
pub(crate) fn read_only(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    // SAFETY: a package's files belong to the appliance and are replaced by renaming, never written in place.
    unsafe { Mmap::map(&file) }
}
