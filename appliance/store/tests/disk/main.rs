//! The disk fails, fills up, or loses its power: the store as it is shipped, between the C library and itself.
//!
//! Nothing in the store knows of these tests. This program has its own `write`, `fsync`, `rename` and so on, which the
//! linker takes before the C library's, for Rust and for SQLite alike (`syscalls`). So what is tested is the code that
//! runs in a hospital, and the negative controls leave out single system calls of it rather than being other builds.
//!
//! - `simulated`: every call is recorded; seeds cut the record anywhere and decide what of the unsynced survives.
//! - `cuts`: real file systems (ext4 and xfs on loop devices), really shut down in the middle of ingest and inference.
//! - `errors`: each call of the way to disk fails once, in each way that it can.
//! - `clock`: steps of a day either way.
//! - `vault`: each sync of a backup fails once.
//! - `revisions`: what was promised is taken away on purpose, and the check that all of these end with must see it.
//!
//! `PERICARD_LONG=1` (`cargo xtask test --long`) runs all of it: 20,000 seeds, 200 cuts on each file system, every error.

mod clock;
mod cuts;
mod errors;
mod image;
#[path = "../../../../tests/faults/loop_disk.rs"]
mod loop_disk;
mod record;
mod revisions;
mod simulated;
#[allow(dead_code)] // shared with the tests of the verbs, which use more of it
#[path = "../store/site.rs"]
mod site;
mod syscalls;
mod vault;
mod work;

/// Whether what takes hours is asked for.
fn is_long() -> bool {
    std::env::var_os("PERICARD_LONG").is_some()
}

/// Numbers that are the same in every run (xorshift): a failing run can be run again.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        // Neighbouring seeds must not begin alike (the finalizer of SplitMix64).
        let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self((z ^ (z >> 31)) | 1)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end.max(1)
    }

    pub(crate) fn is_heads(&mut self) -> bool {
        self.below(2) == 0
    }
}
