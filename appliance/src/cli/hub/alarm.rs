//! `pericard hub alarm`

use super::{HubFile, moment};
use crate::cli::{CommandError, output};
use clap::Subcommand;
use pericard_hub::records::Alarm;

#[derive(Debug, Subcommand)]
pub(crate) enum AlarmCommand {
    /// List what was refused and is not closed
    List {
        #[command(flatten)]
        config: HubFile,
        /// Those that were closed, too
        #[arg(long)]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Close alarms that somebody has looked into; one opens again when the same is refused once more
    Close {
        #[command(flatten)]
        config: HubFile,
        /// Their numbers, as `pericard hub alarm list` shows them
        #[arg(required = true)]
        numbers: Vec<u32>,
    },
}

pub(crate) fn run(command: AlarmCommand) -> Result<(), CommandError> {
    match command {
        AlarmCommand::List { config, all, json } => list(&config, all, json),
        AlarmCommand::Close { config, numbers } => {
            let opened = config.open()?;
            for number in numbers {
                opened.hub.close_alarm(number)?;
                output::line(format!("alarm {number} closed"));
            }
            Ok(())
        }
    }
}

fn list(config: &HubFile, all: bool, json: bool) -> Result<(), CommandError> {
    let snapshot = config.open()?.hub.records().snapshot();
    let alarms = snapshot.alarms.iter();
    let alarms = alarms.filter(|alarm| all || alarm.is_open());
    if json {
        let each = alarms.map(|alarm| {
            serde_json::json!({
                "number": alarm.number, "hospital": alarm.appliance, "at_s": alarm.at_s, "kind": alarm.kind.word(),
                "sequence": alarm.sequence, "closed_at_s": alarm.closed_at_s,
            })
        });
        return output::json(&each.collect::<Vec<_>>());
    }
    let row = |alarm: &Alarm| {
        let sequence = alarm.sequence.map(|number| number.to_string());
        vec![
            alarm.number.to_string(),
            moment(alarm.at_s),
            alarm.appliance.to_string(),
            sequence.unwrap_or_default(),
            alarm.kind.word().to_owned(),
            alarm.closed_at_s.map_or_else(|| "open".to_owned(), moment),
        ]
    };
    let rows: Vec<_> = alarms.map(row).collect();
    output::table(
        &["NUMBER", "RAISED", "HOSPITAL", "FRAME", "KIND", "CLOSED"],
        &rows,
    );
    Ok(())
}
