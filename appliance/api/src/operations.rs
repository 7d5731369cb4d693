//! The appliance's own routes: studies and their results, the queue, models, audit, egress, health.

pub(crate) mod archive;
pub(crate) mod audit;
pub(crate) mod egress;
pub(crate) mod health;
pub(crate) mod jobs;
pub(crate) mod kept;
mod language;
pub(crate) mod metrics;
pub(crate) mod models;
pub(crate) mod orders;
pub(crate) mod reviews;
pub(crate) mod studies;
pub(crate) mod system;
pub(crate) mod upload;
