//! `pericard hub model`

use super::{HubFile, Opened};
use crate::cli::{CommandError, output};
use clap::Subcommand;
use pericard_hub::records::Model;

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Add a model to the catalogue
    Add {
        #[command(flatten)]
        config: HubFile,
        /// Its number from now on, from 1; the next free one when not given
        #[arg(long)]
        id: Option<u16>,
        /// Its name, as in its manifest
        name: String,
        /// Its version, as in its manifest
        version: String,
        /// SHA-256 of its manifest, as `pericard model list` shows it
        #[arg(value_parser = sha256)]
        digest: Sha256,
    },
    /// List the catalogue
    List {
        #[command(flatten)]
        config: HubFile,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the signed catalogue, to be carried to hospitals (egress.catalogue in their configuration)
    Export {
        #[command(flatten)]
        config: HubFile,
    },
}

/// SHA-256 of a manifest.
type Sha256 = [u8; 32];

pub(crate) fn run(command: ModelCommand) -> Result<(), CommandError> {
    match command {
        ModelCommand::Add {
            config,
            id,
            name,
            version,
            digest,
        } => {
            let Opened { hub, .. } = config.open()?;
            let snapshot = hub.records().snapshot();
            let last = snapshot.models.last().map_or(0, |model| model.id);
            let model = Model {
                id: id.unwrap_or_else(|| last.saturating_add(1)),
                name,
                version,
                digest,
            };
            hub.add_model(&model)?;
            output::line(model.id);
            eprintln!("hospitals know it once the catalogue is exported and carried to them");
            Ok(())
        }
        ModelCommand::List { config, json } => list(&config, json),
        ModelCommand::Export { config } => {
            let note = config.open()?.hub.catalogue();
            output::line(note.map_err(CommandError::failed)?.trim_end());
            Ok(())
        }
    }
}

fn list(config: &HubFile, json: bool) -> Result<(), CommandError> {
    let snapshot = config.open()?.hub.records().snapshot();
    let models = snapshot.models.iter();
    if json {
        let each = models.map(|model| {
            serde_json::json!({
                "id": model.id, "name": model.name, "version": model.version, "sha256": hex::encode(model.digest),
            })
        });
        return output::json(&each.collect::<Vec<_>>());
    }
    let row = |model: &Model| {
        let digest = hex::encode(model.digest);
        let (name, version) = (model.name.clone(), model.version.clone());
        vec![model.id.to_string(), name, version, digest]
    };
    let rows: Vec<_> = models.map(row).collect();
    output::table(&["NUMBER", "NAME", "VERSION", "SHA-256"], &rows);
    Ok(())
}

fn sha256(text: &str) -> Result<Sha256, String> {
    let mut digest = [0; 32];
    let text = text.strip_prefix("sha256:").unwrap_or(text);
    hex::decode_to_slice(text, &mut digest).map_err(|_| "64 hexadecimal digits".to_owned())?;
    Ok(digest)
}
