//! Closed counters and the gate: what may leave, before it leaves.
//!
//! Rooms are given a [`Meter`] and count into it. Its functions take closed enums and integers: there is no way to hand
//! it a text, a byte string or a label, so what a room knows of a patient cannot get in by mistake.
//!
//! - [`Meter`]: counts and times; keeps them in a spool file across restarts; tells the hospital's own monitoring.
//! - [`preview`]: every number that would leave, by name, before it leaves, and the very bytes.
//!
//! ```compile_fail,E0308
//! let meter = pericard_egress::Meter::in_memory();
//! meter.count("Doe^John");
//! ```
//!
//! Sending is not here yet, and nothing in the appliance can do it.

mod meter;
mod preview;
mod prometheus;
mod spool;
mod tally;

pub use meter::{CatalogueId, Identity, Meter, Outcome};
pub use pericard_frame::{Counter, Stage};
pub use preview::{Preview, Shown, preview};
pub use spool::SpoolError;
