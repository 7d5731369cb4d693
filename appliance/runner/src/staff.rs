//! Hiring: a process, what it is to be, and its word from behind the walls that it is ready.

use crate::words::{Load, Started};
use pericard_confine::{Limits, Lost, Program, Worker};
use std::time::Duration;

/// The longest that loading a model with its golden cases may take.
const LOADING_TIMEOUT_S: u64 = 900;
/// What loading may take.
pub(crate) const LOADING: Limits = Limits {
    time: Duration::from_secs(LOADING_TIMEOUT_S),
    cpu: Duration::from_secs(LOADING_TIMEOUT_S),
};

/// Where workers come from. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Staff {
    pub(crate) program: Program,
}

impl Staff {
    /// A worker that has loaded what it is to be and is locked in; the inner error is its reason why not.
    pub(crate) fn hire(
        &self,
        kind: &str,
        load: &Load,
    ) -> Result<Result<(Worker, Started), String>, Lost> {
        let mut worker = self.program.start(kind)?;
        let started = worker.ask::<Result<Started, String>>(load, &[], LOADING)?;
        Ok(started.map(|started| (worker, started)))
    }
}
