//! `pericard egress`

use super::gate::{self, GateCommand};
use super::{CommandError, ConfigFile, output, plans};
use crate::config::Written;
use crate::serve::{COUNTERS, EGRESS};
use clap::Subcommand;
use pericard_egress::{Books, Entry, Rules};
use std::path::Path;

#[derive(Debug, Subcommand)]
pub(crate) enum EgressCommand {
    /// Show every number that would be sent: counted since the start, or a week's frame.
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
    /// Show every week that became a frame, what it cost of the privacy budget, and where it stands with the hub
    Ledger {
        #[command(flatten)]
        config: ConfigFile,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the evaluation plans that the hub has sent, and where each stands
    Plans {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Accept an evaluation plan: the live model is scored on labelled studies that are held here, and the week's frame tells
    /// of it with noise
    AcceptPlan(plans::AcceptArgs),
    #[command(flatten)]
    Gate(GateCommand),
}

/// A line of the ledger, as scripts read it.
#[derive(serde::Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    entry: &'a Entry,
    /// Absent while no hub is enrolled.
    #[serde(skip_serializing_if = "Option::is_none")]
    standing: Option<String>,
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
            ledger(&written, rules, json)
        }
        EgressCommand::Plans { config } => plans::list(&config),
        EgressCommand::AcceptPlan(args) => plans::accept(&args),
        EgressCommand::Gate(command) => gate::run(command),
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

fn ledger(written: &Written, rules: Rules, json: bool) -> Result<(), CommandError> {
    let dir = written.appliance.data_dir.join(EGRESS);
    let books = Books::open(dir, rules).map_err(CommandError::failed)?;
    let standings = gate::standings(written)?.unwrap_or_default();
    let standing_of = |sequence| {
        let placed = standings.iter().find(|p| p.sequence == sequence);
        placed.map(|placed| gate::stands(placed.standing))
    };
    let rows = books.ledger().iter().map(|entry| Row {
        entry,
        standing: standing_of(entry.sequence),
    });
    let rows: Vec<Row<'_>> = rows.collect();
    if json {
        return output::json(&rows);
    }
    if rows.is_empty() {
        output::line(
            "no week became a frame yet; `weekly = true` under [egress] makes one of each",
        );
    }
    for Row { entry, standing } in rows {
        let standing = standing.map_or_else(String::new, |standing| format!("; {standing}"));
        output::line(said(entry) + &standing);
    }
    for advisory in gate::advisories(written)? {
        output::line(advisory);
    }
    Ok(())
}

fn said(entry: &Entry) -> String {
    let (week, sequence) = (entry.week, entry.sequence);
    let spent = f64::from(entry.spent_milli_epsilon) / 1000.0;
    let left = f64::from(entry.left_milli_epsilon) / 1000.0;
    let what = if entry.refused {
        "budget spent, nothing of patients".to_owned()
    } else if entry.passed_over {
        "passed over, may have been told before a backup was restored".to_owned()
    } else {
        let (models, plans) = (entry.models_told, entry.plans_told);
        format!("{models} models and {plans} evaluations told of")
    };
    format!(
        "week {week}  frame {sequence:>4}  epsilon {spent:.1} spent, {left:.1} left in the year  {what}"
    )
}
