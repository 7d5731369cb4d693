//! Mapping a model file into memory.
#![allow(unsafe_code)] // two calls: memmap2 cannot know that nobody truncates or writes the file while it is mapped

use memmap2::{Mmap, UncheckedAdvice};
use std::fs::File;
use std::io;
use std::path::Path;

/// Maps a file for reading.
pub(crate) fn read_only(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    // SAFETY: a package's files belong to the appliance and are replaced by renaming, never written in place.
    unsafe { Mmap::map(&file) }
}

/// Gives the memory of a part of the mapping back: what was packed need not stay beside what was made of it. Whoever reads
/// the part again gets it from the file again. Nothing is lost where the system does not listen.
pub(crate) fn forget(map: &Mmap, start: usize, length: usize) {
    // SAFETY: the mapping is read-only and of a file, so its pages come back as they were.
    let heard = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, length) };
    drop(heard);
}
