//! The national side: receives frames, witnesses each hospital's audit log, warns of models, and shows how models do.
//!
//! It knows numbers only. What a frame can say, the `frame` room says; nothing here has a place for a patient.
//!
//! - [`records`]: what the hub knows, as pages and exports read it.

pub mod records;
