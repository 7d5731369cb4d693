//! The verbs, by group. Each that changes something is one named change; each that reads is one named read.

pub(crate) mod access;
pub(crate) mod admit;
pub(crate) mod assembly;
pub(crate) mod audit;
pub(crate) mod conclude;
pub(crate) mod damage;
pub(crate) mod deliver;
pub(crate) mod hold;
pub(crate) mod keep;
pub(crate) mod lease;
pub(crate) mod plan;
pub(crate) mod queue;
pub(crate) mod removal;
pub(crate) mod retention;
pub(crate) mod review;
pub(crate) mod scrub;
pub(crate) mod upkeep;
pub(crate) mod week;
pub(crate) mod workitem;
pub(crate) mod worklist;
