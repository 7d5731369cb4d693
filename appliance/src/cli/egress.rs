//! `pericard egress`

use super::{CommandError, ConfigFile, output};
use crate::serve::{COUNTERS, EGRESS};
use clap::Subcommand;
use pericard_egress::{Books, Entry, Rules};
use std::path::Path;

#[derive(Debug, Subcommand)]
pub(crate) enum EgressCommand {
    /// Show every number that would be sent: counted since the start, or a week's frame. This version sends nothing
    Preview {
        #[command(flatten)]
        config: ConfigFile,
        /// The number of a week's frame, from `pericard egress ledger`
        #[arg(long)]
        frame: Option<u32>,
        /// Print JSON, with the frame's bytes
        #[arg(long)]
        json: bool,
    },
    /// Show every week that became a frame, and what it cost of the privacy budget
    Ledger {
        #[command(flatten)]
        config: ConfigFile,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(command: EgressCommand) -> Result<(), CommandError> {
    match command {
        EgressCommand::Preview {
            config,
            frame,
            json,
        } => preview(&config.read()?.written.appliance.data_dir, frame, json),
        EgressCommand::Ledger { config, json } => {
            let written = config.read()?.written;
            let rules = Rules {
                year_milli_epsilon: written.egress.year_milli_epsilon,
            };
            ledger(&written.appliance.data_dir, rules, json)
        }
    }
}

fn preview(data: &Path, frame: Option<u32>, json: bool) -> Result<(), CommandError> {
    let preview = match frame {
        None => pericard_egress::preview(&data.join(COUNTERS)),
        Some(sequence) => pericard_egress::preview_frame(&data.join(EGRESS), sequence),
    };
    let preview = preview.map_err(CommandError::failed)?;
    if json {
        return output::json(&preview);
    }
    output::line(preview);
    Ok(())
}

fn ledger(data: &Path, rules: Rules, json: bool) -> Result<(), CommandError> {
    let books = Books::open(data.join(EGRESS), rules).map_err(CommandError::failed)?;
    if json {
        return output::json(&books.ledger());
    }
    if books.ledger().is_empty() {
        output::line(
            "no week became a frame yet; `weekly = true` under [egress] makes one of each",
        );
    }
    for entry in books.ledger() {
        output::line(said(entry));
    }
    Ok(())
}

fn said(entry: &Entry) -> String {
    let (week, sequence) = (entry.week, entry.sequence);
    let spent = f64::from(entry.spent_milli_epsilon) / 1000.0;
    let left = f64::from(entry.left_milli_epsilon) / 1000.0;
    let what = if entry.refused {
        "budget spent, nothing of patients".to_owned()
    } else {
        format!("{} models told of", entry.models_told)
    };
    format!(
        "week {week}  frame {sequence:>4}  epsilon {spent:.1} spent, {left:.1} left in the year  {what}"
    )
}
