//! Worker processes behind walls: spawn, framed messages, shared memory, and what the kernel denies them.
//!
//! The appliance runs somebody else's programs (models) and reads strangers' bytes (DICOM). Both happen in processes of
//! the same binary that have nothing: no environment, no inherited descriptor, no network, no file but those handed over,
//! no right to start a process, and a cap on everything that can be counted.
//!
//! ```text
//!  parent: Program::start --socket--> child: Cell::enter   nothing is trusted yet, nothing untrusted is here yet
//!          send what to load           Cell::build          Landlock: read only what is to be loaded; no capabilities, no network
//!                                      (load, warm up)
//!          "ready" <------------------ Cell::lock           Landlock: nothing; seccomp on every thread; no new thread
//!          send untrusted input        work
//! ```
//! - [`Program`], [`Worker`]: the parent's side; [`Lost`] says how a worker ended.
//! - [`Cell`], [`Walls`]: the child's side, and what is in force.
//! - [`Channel`]: framed messages, with descriptors from parent to child only.
//! - [`Memory`]: sealed shared memory for pixels and tensors.
//! - [`attempts`]: what somebody who has taken over a worker would try.
//!
//! Deliberately absent: any knowledge of medicine or models, an async runtime, descriptors from child to parent, and an
//! unconfined fallback on Linux. Elsewhere than on Linux nothing confines a worker, and [`Walls`] says so.

pub mod attempts;
mod channel;
mod kernel;
mod memory;
mod process;
mod walls;

pub use channel::{Channel, ChannelError, MESSAGE_BYTES_MAX, Partial};
pub use kernel::keep_few_heaps;
pub use memory::{Memory, Room};
pub use process::{Leash, Limits, Lost, Program, Worker};
pub use walls::{Cell, Needs, Wall, WallError, Walls};
