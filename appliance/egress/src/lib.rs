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
//! What is told of patients goes through two more things, and reaches a frame with noise only:
//!
//! - [`Week`]: one week's inferences as exact histograms, of each patient no more than a stated share.
//! - [`Books`]: closes a week: noise, budget, frame, all in one durable step; the ledger of what was spent.
//! - [`Restored`]: that the books come from a backup, and which weeks may have been told since.
//! - [`Forecast`]: what the year's budget still has to pay.
//!
//! Nothing here can send. The gate is another process, and reads the frames only.

mod books;
mod drift;
mod evaluation;
mod forecast;
mod meter;
mod noise;
mod preview;
mod prometheus;
mod restored;
mod spool;
mod tally;
mod week;

pub use books::{Books, BooksError, Closing, Entry, Log, NEVER_TOLD_BELOW, Rules, TOLD_AT_ONCE};
pub use evaluation::Evaluation;
pub use forecast::{Expected, Forecast};
pub use meter::{CatalogueId, Identity, Meter, Outcome};
pub use noise::Seed;
pub use pericard_frame::budget::{MAX_MODELS_A_PATIENT, MODEL_WEEK_MILLI_EPSILON};
pub use pericard_frame::{Counter, Stage};
pub use preview::{Preview, Shown, preview, preview_frame};
pub use restored::Restored;
pub use spool::SpoolError;
pub use week::{Pseudonym, Review, Week};
