//! The national side: receives frames, witnesses each hospital's audit log, warns of models, and shows how models do.
//!
//! It knows numbers only. What a frame can say, the `frame` room says; nothing here has a place for a patient.
//!
//! - [`hub`]: the hub without its doors: enrols, takes frames, warns.
//! - [`ingest`]: what becomes of a frame, check by check.
//! - [`records`]: what the hub knows, as pages and exports read it.
//! - [`keys`], [`enrolment`]: what the hub is known by, and how a hospital comes to know it.
//! - `reading`, `enrolling`: the API, route by route.
//! - [`intake`]: one thread that takes all frames.
//! - [`site`]: what stands behind the hub's door.
//! - [`weeks`]: what each model did in each hospital's weeks, for the read API and researchers; small cells left out.
//! - [`figures`]: estimates out of noised counts, with their intervals and alarm thresholds.
//! - [`evaluation`]: what hospitals measured on cases of their own, brought together.
//! - [`outlook`], [`findings`]: where hospitals stand, how models do, and what somebody should look into.
//! - `board`: the dashboard, a page a file.
//! - [`token`]: who may look, and at what.
//! - [`store`]: the database, SQLite or PostgreSQL, where every change has its line in the hub's own audit log.

mod access;
mod board;
mod enrolling;
pub mod enrolment;
pub mod evaluation;
pub mod figures;
pub mod findings;
pub mod hub;
pub mod ingest;
pub mod intake;
pub mod keys;
mod openapi;
pub mod outlook;
mod parquet;
mod problem;
mod reading;
pub mod records;
pub mod site;
pub mod store;
pub mod token;
pub mod weeks;
mod words;

pub use enrolment::Registrar;
pub use hub::{Asking, Clock, Hub, Warning};
pub use ingest::{Sent, Way};
pub use keys::{Keys, Shown};
pub use openapi::document as openapi;
pub use pericard_frame::plan::Metric;
pub use pericard_frame::reply::{Cause, Kind, Status};
pub use records::{Records, Snapshot, Viewer};
pub use site::serve;
pub use token::Token;
