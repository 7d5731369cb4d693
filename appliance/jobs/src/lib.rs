//! Lease, prepare, infer, conclude: the only room with both data and model in hand.
//!
//! A job is a lease, and each kind of work is one step that ends in one transaction. A crash at any line of this room
//! is the same event as any other: the lease lapses, and the step is taken again from the beginning.
//!
//! - [`run`]: the loop: leases what is due, a named number at once, until the stop.
//! - `agree`: what radiologists say of our results in objects of their own.
//! - `assemble`: a study that may be complete: which rules match, which models run.
//! - `prepare`: the study's objects into what the model takes.
//! - `objects`: the report and its images into the result objects that the rule asks for.
//! - `reject`: that an analysis failed, into an object that says so in the study.
//! - [`score`]: a study's score alone, for an evaluation.
//! - `orders`: work that others order on the worklist, and what they are told of it.
//! - `infer`: the model, then its output as findings, then the result objects, then the conclusion.

mod agree;
mod assemble;
mod failure;
mod findings;
mod infer;
mod objects;
mod orders;
mod prepare;
mod reject;
mod run;
mod tracking;

pub use infer::score;
pub use run::{JobsConfig, Surroundings, run};
