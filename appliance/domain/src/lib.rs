//! The words of the appliance, and the state machines they move through.
//!
//! Every other room speaks these words, and this room names no other. There is no IO here, no async, no SQL and no
//! DICOM encoding: a value that exists has been checked, and what it means is said beside its type.
//!
//! - [`uid`]: DICOM unique identifiers, one type per role, so that a study can never be taken for a series.
//! - [`ae`]: application entity titles.
//! - [`digest`]: SHA-256 digests.
//! - [`time`]: timestamps and the [`time::Clock`] that is passed in.
//! - [`actor`]: who did it.
//! - [`study`]: what is held of an object and of a study.
//! - [`job`]: work, its priority, its states and why it failed.
//! - [`order`]: what the hospital says will come.
//! - [`settling`]: whether a study is complete.
//! - [`rule`]: which studies go to which models.
//! - [`model`]: model packages and their manifests.
//! - [`image`]: decoded pixels, volumes and masks, as plain vectors.
//! - [`finding`]: what a model says about a study, in coded words.
//! - [`chat`]: what crosses the seam to a language model.
//! - [`entity`]: what a model marks in a text.
//! - [`figures`]: what a language engine counts of itself.
//! - [`workitem`]: work that others order, and the states that it goes through.

pub mod actor;
pub mod ae;
pub mod chat;
pub mod device;
pub mod digest;
pub mod entity;
pub mod figures;
pub mod finding;
pub mod image;
pub mod job;
pub mod model;
pub mod order;
pub mod rule;
pub mod settling;
pub mod study;
pub mod time;
pub mod uid;
pub mod workitem;
