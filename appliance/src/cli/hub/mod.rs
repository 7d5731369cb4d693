//! `pericard hub`: the national side. Everything is done on the hub's own machine; a hub that serves sees it within a second.

mod advisory;
mod alarm;
mod carried;
mod evaluation;
mod model;
mod token;

use super::{CommandError, output, owner, stop_on_signal};
use crate::hub::config::{DEFAULT_FILE, HubConfig};
use crate::hub::{self, DATABASE, HubError};
use crate::journal;
use clap::{Args, Subcommand};
use pericard_hub::enrolment;
use pericard_hub::keys::{Keys, KeysError};
use pericard_hub::store::StoreError;
use pericard_hub::{Hub, records::Hospital};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Where the hub's configuration is.
#[derive(Debug, Clone, Args)]
pub(crate) struct HubFile {
    /// The hub's configuration file
    #[arg(long = "config", value_name = "FILE", default_value = DEFAULT_FILE)]
    file: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HubCommand {
    /// Run the hub: takes hospitals' frames, shows the dashboard at its door
    Serve {
        #[command(flatten)]
        config: HubFile,
    },
    /// Validate the configuration; a wrong key is named with its line
    Check {
        #[command(flatten)]
        config: HubFile,
    },
    /// Print the hub's key, to be read out to hospitals by telephone
    Key {
        #[command(flatten)]
        config: HubFile,
    },
    /// Enrol an appliance from the request of `pericard egress enrol-request`; prints what is carried back
    Enrol {
        #[command(flatten)]
        config: HubFile,
        /// The file that was carried here
        request: PathBuf,
        /// What the hospital is called on the dashboard
        #[arg(long)]
        name: String,
    },
    /// List the enrolled appliances
    Hospitals {
        #[command(flatten)]
        config: HubFile,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Refuse an appliance's frames for the time being
    Suspend {
        #[command(flatten)]
        config: HubFile,
        /// Its number
        number: u32,
    },
    /// Take a suspended appliance's frames again
    Resume {
        #[command(flatten)]
        config: HubFile,
        /// Its number
        number: u32,
    },
    /// The catalogue of models: which number stands for which manifest
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Recalls and advisories, signed and sent with every reply
    #[command(subcommand)]
    Advisory(advisory::AdvisoryCommand),
    /// Alarms: what was refused and should be looked into, until it is closed
    #[command(subcommand)]
    Alarm(alarm::AlarmCommand),
    /// Federated evaluation: signed plans, which hospitals may carry out on cases of their own
    #[command(subcommand)]
    Evaluation(evaluation::EvaluationCommand),
    /// Who may look at the dashboard and use the read API
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Take frames that were carried here as files; writes the reply to each beside it, to be carried back
    Take {
        #[command(flatten)]
        config: HubFile,
        /// NNNNNNNN.frame
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// The hub's own audit log
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Write database and keys into a new folder, while the hub serves; put back, the folder is a data directory
    Backup {
        #[command(flatten)]
        config: HubFile,
        /// A folder that is not there yet
        dir: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Print the hub's audit log as JSON lines: who changed what, and when
    Show {
        #[command(flatten)]
        config: HubFile,
    },
    /// Recompute the hub's audit log: finds any line that was changed, removed or added
    Verify {
        #[command(flatten)]
        config: HubFile,
    },
}

pub(crate) fn run(command: HubCommand) -> Result<(), CommandError> {
    match command {
        HubCommand::Serve { config } => serve(&config),
        HubCommand::Check { config } => {
            HubConfig::read(&config.file)?;
            output::line(format!("{}: ok", config.file.display()));
            Ok(())
        }
        HubCommand::Key { config } => {
            output::line(config.open()?.keys.signing().verifier());
            Ok(())
        }
        HubCommand::Enrol {
            config,
            request,
            name,
        } => enrol(&config, &request, &name),
        HubCommand::Hospitals { config, json } => hospitals(&config, json),
        HubCommand::Suspend { config, number } => suspend(&config, number, true),
        HubCommand::Resume { config, number } => suspend(&config, number, false),
        HubCommand::Model(command) => model::run(command),
        HubCommand::Advisory(command) => advisory::run(command),
        HubCommand::Alarm(command) => alarm::run(command),
        HubCommand::Evaluation(command) => evaluation::run(command),
        HubCommand::Token(command) => token::run(command),
        HubCommand::Take { config, files } => carried::take(&config.open()?.hub, &files),
        HubCommand::Audit(AuditCommand::Show { config }) => {
            let lines = config.open()?.hub.store().audit()?;
            lines.into_iter().for_each(output::line);
            Ok(())
        }
        HubCommand::Audit(AuditCommand::Verify { config }) => {
            let lines = config.open()?.hub.store().verify_audit()?;
            output::line(format!("ok: {lines} lines"));
            Ok(())
        }
        HubCommand::Backup { config, dir } => back_up(&config, &dir),
    }
}

/// A hub, opened for one command.
pub(crate) struct Opened {
    config: HubConfig,
    hub: Hub,
    keys: Keys,
}

impl HubFile {
    /// The hub of this configuration; root has become the user whom its data belongs to.
    fn open(&self) -> Result<Opened, CommandError> {
        let config = HubConfig::read(&self.file)?;
        owner::become_owner(&config.written.hub.data_dir)?;
        let (hub, keys) = hub::open(&config)?;
        Ok(Opened { config, hub, keys })
    }
}

fn serve(file: &HubFile) -> Result<(), CommandError> {
    let Opened { config, hub, keys } = file.open()?;
    journal::begin(&config.written.hub.log_level).map_err(CommandError::Usage)?;
    pericard_runner::keep_few_heaps();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CommandError::failed)?;
    let hub = Arc::new(hub);
    let ended = runtime.block_on(async {
        let stop = CancellationToken::new();
        stop_on_signal(stop.clone()).map_err(CommandError::failed)?;
        let door = hub::door(&config, &hub).await?;
        let behind = (Arc::clone(&hub), keys, config.hospitals_call());
        Ok(hub::serve(door, behind, stop).await?)
    });
    // The hub goes last, outside: a connection to PostgreSQL cannot end within a runtime.
    drop(runtime);
    drop(hub);
    ended
}

fn enrol(file: &HubFile, request: &Path, name: &str) -> Result<(), CommandError> {
    let asked = read(request)?;
    let Opened { config, hub, keys } = file.open()?;
    let address = config.hospitals_call();
    let enrolled = enrolment::enrol((&hub, &keys), &asked, name, address);
    let enrolled = enrolled.map_err(CommandError::failed)?;
    output::line(enrolled.note.trim_end());
    eprintln!(
        "appliance {} is enrolled; carry this to it",
        enrolled.number
    );
    eprintln!(
        "by telephone: its key must be {}\nand what it checks the enrolment with is {}",
        enrolled.frame_key,
        keys.signing().verifier()
    );
    Ok(())
}

fn hospitals(file: &HubFile, json: bool) -> Result<(), CommandError> {
    let snapshot = file.open()?.hub.records().snapshot();
    let last = |hospital: &Hospital| {
        let of = |f: &&Arc<pericard_hub::records::Received>| f.appliance == hospital.number;
        snapshot
            .frames
            .iter()
            .rev()
            .find(of)
            .map(|f| f.received_at_s)
    };
    if json {
        let each = snapshot.hospitals.iter().map(|hospital| {
            serde_json::json!({
                "number": hospital.number, "name": hospital.name, "suspended": hospital.suspended,
                "enrolled_at_s": hospital.enrolled_at_s, "last_received_at_s": last(hospital),
            })
        });
        return output::json(&each.collect::<Vec<_>>());
    }
    let row = |hospital: &Hospital| {
        vec![
            hospital.number.to_string(),
            hospital.name.clone(),
            moment(hospital.enrolled_at_s),
            last(hospital).map_or_else(|| "never".into(), moment),
            if hospital.suspended { "suspended" } else { "" }.to_owned(),
        ]
    };
    let rows: Vec<_> = snapshot.hospitals.iter().map(row).collect();
    output::table(&["NUMBER", "NAME", "ENROLLED", "LAST HEARD", ""], &rows);
    Ok(())
}

fn suspend(file: &HubFile, number: u32, suspended: bool) -> Result<(), CommandError> {
    file.open()?.hub.suspend(number, suspended)?;
    let said = if suspended { "suspended" } else { "resumed" };
    output::line(format!("appliance {number} {said}"));
    Ok(())
}

fn back_up(file: &HubFile, dir: &Path) -> Result<(), CommandError> {
    let Opened { config, hub, .. } = file.open()?;
    let failed = |error| CommandError::Failed(format!("{}: {error}", dir.display()));
    std::fs::create_dir(dir).map_err(failed)?;
    // With the data in a server this is refused, and says what to do instead.
    hub.store().back_up(&dir.join(DATABASE))?;
    Keys::back_up(&config.written.hub.data_dir, dir).map_err(CommandError::failed)?;
    output::line(dir.display());
    Ok(())
}

fn read(file: &Path) -> Result<String, CommandError> {
    std::fs::read_to_string(file)
        .map_err(|error| CommandError::Failed(format!("{}: {error}", file.display())))
}

/// A moment in this machine's zone.
fn moment(at_s: u64) -> String {
    let at = i64::try_from(at_s).ok();
    let at = at.and_then(|at| chrono::DateTime::from_timestamp(at, 0));
    at.map_or_else(String::new, |at| {
        let at = at.with_timezone(&chrono::Local);
        at.format("%Y-%m-%d %H:%M %:z").to_string()
    })
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        match error {
            // What is installed is wrong: trying again does not mend it.
            StoreError::Newer { .. } => Self::Usage(error.to_string()),
            error => Self::failed(error),
        }
    }
}

impl From<HubError> for CommandError {
    fn from(error: HubError) -> Self {
        match error {
            HubError::Store(error) => error.into(),
            // What is installed is wrong: trying again does not mend it.
            HubError::Unguarded(_)
            | HubError::Keys(
                KeysError::Renamed { .. } | KeysError::Unusable { .. } | KeysError::Door(_),
            ) => Self::Usage(error.to_string()),
            error => Self::failed(error),
        }
    }
}
