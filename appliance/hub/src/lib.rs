//! The national side: receives frames, witnesses each hospital's audit log, warns of models, and shows how models do.
//!
//! It knows numbers only. What a frame can say, the `frame` room says; nothing here has a place for a patient.
//!
//! - [`hub`]: the hub without its doors: enrols, takes frames, warns.
//! - [`ingest`]: what becomes of a frame, check by check.
//! - [`records`]: what the hub knows, as pages and exports read it.
//! - [`store`]: the database, where every change has its line in the hub's own audit log.

pub mod hub;
pub mod ingest;
pub mod records;
pub mod store;
mod words;

pub use hub::{Clock, Hub, Warning};
pub use ingest::{Sent, Way};
pub use records::{Records, Snapshot};
