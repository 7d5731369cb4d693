//! Faults of the whole appliance, as it is shipped and through its real doors. The store alone, where faults are many
//! and cheap, is tested in `appliance/store/tests/disk`.
//!
//! - `failed_sync`: after an error of the disk nothing more is promised, and everybody is told.
//! - `power`: power cuts on ext4 and xfs in the middle of C-STORE, STOW-RS and inference.
//! - `processes`: `kill -9` of any process of it, at random.
//! - `soak`: an hour under load while workers are killed, in the long form.
//! - `space`: a full disk is refused cleanly, in the middle of an object too, and the service goes on when there is space.
//!
//! `PERICARD_LONG=1` (`cargo xtask test --long`) takes many more cuts and kills. In a binary of its own and one test after
//! the other, so that nothing else asks for the machine meanwhile.

mod failed_sync;
mod loop_disk;
mod power;
mod processes;
mod promises;
mod soak;
mod space;
#[path = "../it/support.rs"]
#[allow(dead_code)] // shared with `it`, which uses more of it
mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by the test that runs.
static MACHINE: Mutex<()> = Mutex::new(());

/// The machine, for one test alone: how soon an appliance is ready again says nothing beside another test's load.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner) // a test that failed is no reason for the next to
}

/// Moments that are the same in every run (xorshift): a failing run can be run again.
pub(crate) struct Moments(pub(crate) u64);

impl Moments {
    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end.max(1)
    }
}

/// How often: in the short form, and in the long one.
pub(crate) fn times(short: u32, long: u32) -> u32 {
    if std::env::var_os("PERICARD_LONG").is_some() {
        long
    } else {
        short
    }
}
