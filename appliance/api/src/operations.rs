//! The appliance's own routes: studies and their results, the queue, models, audit, egress, health.

mod archive;
pub(crate) mod audit;
pub(crate) mod egress;
pub(crate) mod health;
pub(crate) mod jobs;
pub(crate) mod kept;
pub(crate) mod metrics;
pub(crate) mod models;
pub(crate) mod reviews;
pub(crate) mod studies;
pub(crate) mod system;
pub(crate) mod upload;
