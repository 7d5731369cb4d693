//! What somebody who has taken over a worker would try.
//!
//! A worker started with `--attempt` tries these from behind its walls, one at a time. They are in the shipped program, so
//! that the walls can be tried on the machine where they have to stand; nothing is given away by it: each attempt is made
//! so that it does no harm where it works (no data is changed, nobody is ended, nothing stays), and whoever can start the
//! program could make the same calls without it.

#[cfg(target_os = "linux")]
mod calls;

use crate::channel::Channel;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;

/// What came of an attempt that the worker survived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attempted {
    /// Denied, with this error number.
    Denied(i32),
    /// It worked.
    Worked(String),
    /// There is no such attempt.
    Unknown,
}

/// Tries one of [`names`]. Some need what a worker is handed in production: a file that was opened for reading, and sealed
/// memory.
#[must_use]
pub fn attempt(name: &str, channel: &Channel, handed: &[OwnedFd]) -> Attempted {
    #[cfg(target_os = "linux")]
    return calls::attempt(name, channel, handed);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (name, channel, handed);
        Attempted::Unknown
    }
}

/// What the names of files begin with that attempts would cut, remove, rename or link: whoever tries them puts some there.
pub const SCRATCH: &str = "/tmp/pericard-attempt-";

/// The names of all attempts.
#[must_use]
pub fn names() -> Vec<&'static str> {
    #[cfg(target_os = "linux")]
    return calls::names();
    #[cfg(not(target_os = "linux"))]
    Vec::new()
}
