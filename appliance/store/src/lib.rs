//! What the appliance keeps: the only SQL and the only object files.
//!
//! The face speaks in verbs of the domain; no SQLite type shows outside. Every verb that changes something is one named
//! transaction with its audit line inside it, and its future resolves only when the change is on disk.
//!
//! - [`Store`]: the handle, and the verbs; [`tokens_in`] tells of a data directory without one.
//! - [`object`]: object files: receive, seal (fsync), then admit or conclude with them.
//! - [`backup`]: backups made while it serves, and how one becomes a data directory again.
//! - [`expect`], [`settle`], [`prior`], [`patient`], [`message`]: orders, what a study waits for, and what the hospital's
//!   information system says and is told.
//! - [`admission`], [`queue`], [`outbox`], [`access`], [`audit_log`], [`care`], [`find`],
//!   [`review`], [`week`], [`worklist`]: the words of each group of verbs.
//!
//! Inside, in the order of a change: `verbs` say what happens, `change` gives it a name and its audit lines, `writer`
//! places files and commits, `journal` keeps the log; `schema`, `sql` and `rows` are the database, `files` the disk, and
//! `health` says when to stop.
//!
//! Deletion is deliberate: nothing that was admitted is ever removed but by a rule of retention or by name, rows first and
//! files after.

pub mod access;
pub mod admission;
pub mod audit_log;
pub mod backup;
pub mod care;
mod change;
pub mod commitment;
mod error;
mod evidence;
pub mod expect;
mod files;
pub mod find;
mod glance;
mod health;
mod journal;
pub mod message;
mod names;
pub mod object;
pub mod outbox;
pub mod patient;
pub mod prior;
pub mod queue;
mod readers;
pub mod review;
mod rows;
mod schema;
pub mod settle;
mod sql;
mod steps;
mod store;
mod traffic;
mod verbs;
pub mod week;
pub mod workitem;
pub mod worklist;
mod writer;

pub use error::StoreError;
pub use glance::tokens_in;
pub use journal::{Leaves, Salted};
pub use store::{Depth, KeptReport, Store, StoreConfig};
