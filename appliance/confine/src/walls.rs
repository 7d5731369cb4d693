//! The child's side: the cell that a worker works in.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod open;
#[cfg(target_os = "linux")]
mod syscalls;

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
use open as system;

use crate::channel::Channel;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// A worker's cell, under construction.
#[derive(Debug)]
pub struct Cell {
    walls: Walls,
    needs: Needs,
}

/// What a worker must be able to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Files and folders that it reads while it loads, beside the system's libraries. Nothing can be opened afterwards.
    pub readable: Vec<PathBuf>,
    /// The most memory of its own, bytes.
    pub memory_bytes: u64,
    /// The most memory that it maps of what it is handed, bytes.
    pub shared_bytes: u64,
    /// The most descriptors that it holds.
    pub descriptors: u64,
    /// Whether it may start threads once it is locked: a decoder of JPEG starts its own. Processes it may never start.
    pub threads: bool,
    /// Whether it computes on a GPU: then it keeps the driver's devices and may ask them things, it may start threads, and
    /// nothing bounds the memory that it reserves, because a driver reserves far more than there is. None of this was tried on
    /// a GPU.
    pub device: bool,
}

/// One wall: what it is, and whether it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wall {
    /// Its name.
    pub name: String,
    /// Whether it is in force.
    pub stands: bool,
    /// How it was seen to stand, or why it does not.
    pub detail: String,
}

/// The walls around a worker, as seen from inside by trying.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walls(pub Vec<Wall>);

/// A wall could not be built; the worker must not work.
#[derive(Debug, thiserror::Error)]
#[error("the wall {wall:?} cannot be built: {why}")]
pub struct WallError {
    /// Which.
    pub wall: &'static str,
    /// Why.
    pub why: String,
}

impl Cell {
    /// The first thing that a worker does: lets go of all that it inherited but its end of the conversation (its stdin).
    ///
    /// # Errors
    /// When its stdin is no such end: a worker is started by the appliance, not by hand.
    pub fn enter() -> Result<(Self, Channel), WallError> {
        let failed = |error: io::Error| WallError {
            wall: "descriptors",
            why: error.to_string(),
        };
        system::close_inherited().map_err(failed)?;
        let end = std::io::stdin().as_fd().try_clone_to_owned();
        let end = UnixStream::from(end.map_err(failed)?);
        if end.peer_addr().is_err() {
            return Err(failed(io::Error::other(
                "a worker is started by the appliance",
            )));
        }
        let nothing = std::fs::File::open("/dev/null").map_err(failed)?;
        rustix::stdio::dup2_stdin(&nothing).map_err(|e| failed(e.into()))?;
        let cell = Self {
            walls: Walls::default(),
            needs: Needs::default(),
        };
        Ok((cell, Channel::new(end)))
    }

    /// Builds what may stand while it loads: no capabilities, no network, caps, only what is to be loaded readable, and no
    /// call that loading does not need.
    /// Call it before any thread is started: threads inherit these walls, and older ones would be without.
    ///
    /// # Errors
    /// When a wall that the kernel has cannot be built.
    pub fn build(&mut self, needs: Needs) -> Result<(), WallError> {
        self.needs = needs;
        system::build(&self.needs, &mut self.walls)
    }

    /// The walls so far.
    #[must_use]
    pub const fn walls(&self) -> &Walls {
        &self.walls
    }

    /// Builds the rest, on every thread: from here on nothing can be opened, started or mapped as code.
    ///
    /// # Errors
    /// When a wall that the kernel has cannot be built, or was built and does not hold.
    pub fn lock(mut self) -> Result<Walls, WallError> {
        system::lock(&self.needs, &mut self.walls)?;
        Ok(self.walls)
    }
}

impl Walls {
    /// The walls that do not stand.
    pub fn missing(&self) -> impl Iterator<Item = &Wall> {
        self.0.iter().filter(|wall| !wall.stands)
    }

    pub(crate) fn stands(&mut self, name: &str, detail: impl Into<String>) {
        self.put(name, true, detail.into());
    }

    pub(crate) fn is_missing(&mut self, name: &str, detail: impl Into<String>) {
        self.put(name, false, detail.into());
    }

    fn put(&mut self, name: &str, stands: bool, detail: String) {
        self.0.push(Wall {
            name: name.to_owned(),
            stands,
            detail,
        });
    }
}

impl fmt::Display for Walls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, wall) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            let mark = if wall.stands { "" } else { "NOT " };
            write!(f, "{comma}{mark}{} ({})", wall.name, wall.detail)?;
        }
        Ok(())
    }
}
