//! `pericard hub advisory`

use super::{HubFile, moment};
use crate::cli::{CommandError, output};
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use pericard_hub::records::Issued;
use pericard_hub::{Cause, Kind, Warning};

#[derive(Debug, Subcommand)]
pub(crate) enum AdvisoryCommand {
    /// Issue a recall or an advisory: it goes out with the reply to every frame from now on, and cannot be taken back
    Issue {
        #[command(flatten)]
        config: HubFile,
        /// recall: stop using the model; advisory: mind what is said of it
        #[arg(long, value_parser = PossibleValuesParser::new(["recall", "advisory"]))]
        kind: String,
        /// The model's number in the catalogue
        #[arg(long)]
        model: u16,
        /// Why
        #[arg(long, value_parser = PossibleValuesParser::new(Cause::ALL.map(Cause::word)))]
        cause: String,
        /// What it says to people at the hub; replies hold numbers only
        #[arg(long, default_value = "")]
        text: String,
    },
    /// List what was issued
    List {
        #[command(flatten)]
        config: HubFile,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(command: AdvisoryCommand) -> Result<(), CommandError> {
    match command {
        AdvisoryCommand::Issue {
            config,
            kind,
            model,
            cause,
            text,
        } => {
            let warning = Warning {
                kind: Kind::named(&kind).unwrap_or(Kind::Advisory), // the parser takes no other word
                model,
                cause: Cause::named(&cause).unwrap_or(Cause::Unstated), // nor here
                text,
                by: None,
            };
            let issued = config.open()?.hub.issue(warning)?;
            output::line(issued.advisory.number);
            Ok(())
        }
        AdvisoryCommand::List { config, json } => list(&config, json),
    }
}

fn list(config: &HubFile, json: bool) -> Result<(), CommandError> {
    let snapshot = config.open()?.hub.records().snapshot();
    let issued = snapshot.advisories.iter();
    if json {
        let each = issued.map(|Issued { advisory, text }| {
            serde_json::json!({
                "number": advisory.number, "kind": advisory.kind.word(), "model": advisory.model,
                "issued_at_s": advisory.issued_at_s, "cause": advisory.cause.word(), "text": text,
            })
        });
        return output::json(&each.collect::<Vec<_>>());
    }
    let row = |Issued { advisory, text }: &Issued| {
        vec![
            advisory.number.to_string(),
            advisory.kind.word().to_owned(),
            advisory.model.to_string(),
            moment(advisory.issued_at_s),
            advisory.cause.word().to_owned(),
            text.clone(),
        ]
    };
    let rows: Vec<_> = issued.map(row).collect();
    output::table(
        &["NUMBER", "KIND", "MODEL", "ISSUED", "CAUSE", "TEXT"],
        &rows,
    );
    Ok(())
}
