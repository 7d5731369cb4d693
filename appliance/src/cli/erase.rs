//! `pericard erase`

use super::{CommandError, ConfigFile, block_on, output};
use clap::Args;
use pericard_domain::actor::Actor;
use pericard_domain::uid::StudyUid;

#[derive(Debug, Args)]
pub(crate) struct EraseArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// The study's UID
    study: StudyUid,
    /// Also erase what the audit log says of it; the log still verifies, and names the study by a digest only
    #[arg(long)]
    audit: bool,
    /// Really erase it: nothing brings it back but a backup
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &EraseArgs) -> Result<(), CommandError> {
    if !args.yes {
        let sentence =
            "this erases the study's objects, results and jobs for good; say --yes to do it";
        return Err(CommandError::Usage(sentence.into()));
    }
    let store = args.config.store()?;
    let erasing = store.erase_study(&args.study, args.audit, Actor::CommandLine);
    let erased = block_on(async { Ok(erasing.await?) })?;
    if args.json {
        return output::json(&erased);
    }
    output::line(format!(
        "erased: {} objects, {} lines of the audit log",
        erased.objects, erased.audit_lines
    ));
    Ok(())
}
