//! `pericard worker`: what the appliance starts to parse strangers' bytes and to run models. Not for people.

use super::CommandError;
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// Work no more once locked in, but try the walls from inside as told. Harmless: whatever is tried is either denied
    /// or does nothing, and whoever can start this could try the same without it
    #[arg(long)]
    attempt: bool,
    /// What to work as
    kind: String,
}

/// Before anything else: no log, no runtime, no thread, no file.
pub(crate) fn run(args: &WorkerArgs) -> Result<(), CommandError> {
    let (name, _) = pericard_runner::NO_REPORTS;
    let reports = std::env::var(name).ok();
    pericard_runner::worker::run(&args.kind, args.attempt, reports.as_deref())
        .map_err(CommandError::Failed)
}
