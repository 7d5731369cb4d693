//! What the appliance keeps: the only SQL and the only object files.
//!
//! The face speaks in verbs of the domain; no SQLite type shows outside. Every verb that changes something is one named
//! transaction with its audit line inside it, and its future resolves only when the change is on disk.
//!
//! - [`Store`]: the handle, and the verbs.
//! - [`object`]: object files: receive, seal (fsync), then admit or conclude with them.
//! - [`admission`], [`queue`], [`outbox`], [`access`], [`audit_log`]: the words of each group of verbs.

pub mod access;
pub mod admission;
pub mod audit_log;
pub mod object;
pub mod outbox;
pub mod queue;
mod store;

pub use store::{Depth, KeptReport, Store, StoreConfig, StoreError};
