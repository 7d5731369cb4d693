//! `pericard model`

use super::{CommandError, ConfigFile, block_on, output, store_config};
use crate::clock::SystemClock;
use clap::Subcommand;
use pericard_domain::actor::Actor;
use pericard_registry::{Entry, Registry, RegistryError};
use pericard_store::Store;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Import a package: a directory, or a tar of one
    Import {
        #[command(flatten)]
        config: ConfigFile,
        /// The directory or the tar
        package: PathBuf,
        /// Make it live at once
        #[arg(long)]
        activate: bool,
    },
    /// List the imported packages
    List {
        #[command(flatten)]
        config: ConfigFile,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what a package says of itself
    Show {
        #[command(flatten)]
        config: ConfigFile,
        /// Its name
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check every byte of a package against its manifest
    Verify {
        #[command(flatten)]
        config: ConfigFile,
        /// Its name
        name: String,
        /// Its version
        version: String,
    },
    /// Make a version the one that rules mean by its name; taken up when the appliance starts
    Activate {
        #[command(flatten)]
        config: ConfigFile,
        /// Its name
        name: String,
        /// Its version
        version: String,
    },
    /// Take a version out of use for good; taken up when the appliance starts
    Retire {
        #[command(flatten)]
        config: ConfigFile,
        /// Its name
        name: String,
        /// Its version
        version: String,
    },
}

pub(crate) fn run(command: ModelCommand) -> Result<(), CommandError> {
    match command {
        ModelCommand::Import {
            config,
            package,
            activate,
        } => {
            let desk = Desk::open(&config)?;
            let imported = desk.registry.import(&package)?;
            desk.note("import model", &imported.model.to_string())?;
            if activate {
                desk.registry
                    .activate(&imported.model.name, &imported.model.version)?;
                desk.note("activate model", &imported.model.to_string())?;
            }
            output::line(format!("{} ({})", imported.model, imported.model.digest));
            Ok(())
        }
        ModelCommand::List { config, json } => list(&Desk::open(&config)?, json),
        ModelCommand::Show { config, name, json } => show(&Desk::open(&config)?, &name, json),
        ModelCommand::Verify {
            config,
            name,
            version,
        } => {
            let package = Desk::open(&config)?.registry.verified(&name, &version)?;
            output::line(format!(
                "{}: ok, {} files ({})",
                package.model,
                package.manifest.files.len(),
                package.model.digest
            ));
            Ok(())
        }
        ModelCommand::Activate {
            config,
            name,
            version,
        } => {
            let desk = Desk::open(&config)?;
            let package = desk.registry.activate(&name, &version)?;
            desk.note("activate model", &package.model.to_string())?;
            output::line(format!("{} is live from the next start on", package.model));
            Ok(())
        }
        ModelCommand::Retire {
            config,
            name,
            version,
        } => {
            let desk = Desk::open(&config)?;
            desk.registry.retire(&name, &version)?;
            desk.note("retire model", &format!("{name} {version}"))?;
            output::line(format!(
                "{name} {version} is retired from the next start on"
            ));
            Ok(())
        }
    }
}

/// The registry, and the audit log that every change of it is written into.
struct Desk {
    registry: Registry,
    store: Store,
}

impl Desk {
    fn open(file: &ConfigFile) -> Result<Self, CommandError> {
        let config = file.read()?;
        let registry = Registry::open(&config.written.appliance.data_dir.join("registry"))?;
        Ok(Self {
            registry,
            store: Store::open_beside(store_config(&config), Arc::new(SystemClock))?,
        })
    }

    fn note(&self, verb: &'static str, subject: &str) -> Result<(), CommandError> {
        block_on(async {
            Ok(self
                .store
                .note_access(verb, subject, Actor::CommandLine)
                .await?)
        })
    }
}

impl From<RegistryError> for CommandError {
    fn from(error: RegistryError) -> Self {
        Self::failed(error)
    }
}

fn list(desk: &Desk, json: bool) -> Result<(), CommandError> {
    let entries = desk.registry.list()?;
    if json {
        return output::json(&entries);
    }
    let row = |entry: &Entry| {
        let standing = format!("{:?}", entry.standing).to_lowercase();
        let clinical = if entry.manifest.clinical_use {
            "yes"
        } else {
            "NO"
        };
        let model = &entry.model;
        vec![
            model.name.clone(),
            model.version.clone(),
            standing,
            clinical.into(),
            entry.manifest.summary.clone(),
        ]
    };
    output::table(
        &["NAME", "VERSION", "STANDING", "CLINICAL USE", "SUMMARY"],
        &entries.iter().map(row).collect::<Vec<_>>(),
    );
    Ok(())
}

fn show(desk: &Desk, name: &str, json: bool) -> Result<(), CommandError> {
    let entries: Vec<Entry> = desk
        .registry
        .list()?
        .into_iter()
        .filter(|entry| entry.model.name == name)
        .collect();
    if entries.is_empty() {
        return Err(CommandError::Failed(format!(
            "there is no model {name:?} here; `pericard model list` shows what is"
        )));
    }
    if json {
        return output::json(&entries);
    }
    for entry in entries {
        let manifest = &entry.manifest;
        output::line(format!("{} ({:?})", entry.model, entry.standing).to_lowercase());
        output::line(format!("  {}", manifest.summary));
        output::line(format!("  digest        {}", entry.model.digest));
        output::line(format!("  licence       {}", manifest.licence));
        output::line(format!("  source        {}", manifest.source));
        output::line(format!(
            "  clinical use  {}",
            if manifest.clinical_use { "yes" } else { "NO" }
        ));
        output::line(format!(
            "  intended use  {}",
            manifest.intended_use.statement
        ));
    }
    Ok(())
}
