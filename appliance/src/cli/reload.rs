//! `pericard reload`: what `systemctl reload` runs. A signal alone tells nobody what became of it.

use super::{CommandError, ConfigFile};
use crate::outcome::{Outcome, OutcomeFile, digest_of};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use std::thread;
use std::time::{Duration, Instant};

/// How long the service may take to read its configuration again.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Between two looks for its answer.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(crate) struct ReloadArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// The process that serves
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
    pid: i32,
}

/// Has the service read its configuration again, and fails with the reason when that was refused.
pub(crate) fn run(args: &ReloadArgs) -> Result<(), CommandError> {
    let failed = |why: String| CommandError::Failed(format!("process {}: {why}", args.pid));
    let pid = Pid::from_raw(args.pid).ok_or_else(|| failed("is none".into()))?;
    let place = OutcomeFile::of_service();
    if let Some(place) = &place {
        // Of an earlier reload, perhaps of the very same file: with another certificate, or before a model was retired.
        place.take_down().map_err(CommandError::failed)?;
    }
    let digest = digest_of(&args.config.file);
    kill_process(pid, Signal::HUP).map_err(|error| failed(error.to_string()))?;
    let Some(place) = place else {
        eprintln!(
            "there is no runtime directory to be answered in: the journal says what became of it"
        );
        return Ok(());
    };
    match answer(&place, &digest) {
        Some(Outcome { refused: None, .. }) => Ok(()),
        Some(Outcome {
            refused: Some(why), ..
        }) => Err(CommandError::Failed(format!(
            "not read again; what was read before holds: {why}"
        ))),
        None => Err(failed(format!(
            "did not say within {} s that it has read {} again; its journal may say why",
            ANSWER_MAX.as_secs(),
            args.config.file.display()
        ))),
    }
}

/// What became of the file with this digest.
fn answer(place: &OutcomeFile, digest: &str) -> Option<Outcome> {
    let begun = Instant::now();
    loop {
        let told = place.read().filter(|told| told.digest == digest);
        if told.is_some() || begun.elapsed() > ANSWER_MAX {
            return told;
        }
        thread::sleep(BETWEEN_LOOKS); // in another process there is nothing to await
    }
}
