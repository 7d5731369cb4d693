//! `pericard egress`

use super::{CommandError, ConfigFile, output};
use crate::serve::COUNTERS;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum EgressCommand {
    /// Show every number that would be sent. Nothing is sent: no hub can be configured in this version
    Preview {
        #[command(flatten)]
        config: ConfigFile,
        /// Print JSON, with the frame's bytes
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(command: EgressCommand) -> Result<(), CommandError> {
    let EgressCommand::Preview { config, json } = command;
    let spool = config.read()?.written.appliance.data_dir.join(COUNTERS);
    let preview = pericard_egress::preview(&spool).map_err(CommandError::failed)?;
    if json {
        return output::json(&preview);
    }
    output::line(preview);
    Ok(())
}
