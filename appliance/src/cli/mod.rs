//! The command line. `--help` is the manual: data goes to stdout, talk to stderr.
//!
//! Exit codes: 0 done, 1 the operation failed, 2 wrong usage or configuration.

mod audit;
mod backup;
mod cert;
mod check;
mod deidentify;
mod doctor;
mod egress;
mod erase;
mod gate;
mod hub;
mod jobs;
#[cfg(test)]
mod manual;
mod model;
mod output;
mod owner;
mod plans;
mod rehearse;
mod reload;
mod serve;
pub(crate) mod submit;
mod token;
mod worker;

use crate::config::{Config, ConfigError, DEFAULT_FILE};
use crate::serve::ServeError;
use crate::tls::TlsError;
use crate::{clock::SystemClock, demo, dumps, journal};
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use pericard_store::{Store, StoreConfig, StoreError};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// A sovereign AI appliance for hospitals: takes DICOM and text, runs open-weight models on this machine, gives the
/// results back as valid DICOM objects, and lets nothing out but anonymized metrics.
#[derive(Debug, Parser)]
#[command(
    name = "pericard",
    version,
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the appliance
    Serve(serve::ServeArgs),
    /// Show the whole product on loopback: real samples, real models, results, one chat
    Demo(demo::DemoArgs),
    /// Validate the configuration; a wrong key is named with its line. With --study: which rules a study would meet
    Check(check::CheckArgs),
    /// Compare this machine with what it should be: each line ok, warn or fail, why, and what to do
    Doctor(doctor::DoctorArgs),
    /// Send DICOM files or folders to a running appliance
    Submit(submit::SubmitArgs),
    /// The queue: what waits, what runs, what failed and why
    #[command(subcommand)]
    Jobs(jobs::JobsCommand),
    /// Model packages: what is imported, what is live
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// The audit log: show, verify, export
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// What leaves the hospital, before it leaves: shown, held back, sent to the enrolled hub
    #[command(subcommand)]
    Egress(egress::EgressCommand),
    /// Make a backup while the appliance serves, or read one through
    Backup(backup::BackupArgs),
    /// Turn a backup into a data directory again, in an empty place
    Restore(backup::RestoreArgs),
    /// Erase a study on purpose: objects, results, jobs, and on request what the audit log says of it
    Erase(erase::EraseArgs),
    /// Clean a folder of images for research: names, numbers, dates and text in the pixels go; what cannot be cleaned stays
    Deidentify(deidentify::DeidentifyArgs),
    /// Bearer tokens for the HTTPS API
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Started by the appliance, never by hand: parses strangers' bytes, or runs one model, behind walls
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
    /// Run by `systemctl reload`, never by hand: has the service read its configuration again, and tells what became of it
    #[command(hide = true)]
    Reload(reload::ReloadArgs),
    /// The HTTPS door's certificate: made here, or signed by the hospital's authority
    #[command(subcommand)]
    Cert(cert::CertCommand),
    /// The national side, which no hospital runs: takes frames, warns of models, shows how they do
    #[command(subcommand)]
    Hub(hub::HubCommand),
}

/// Where the configuration is.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigFile {
    /// The configuration file
    #[arg(long = "config", value_name = "FILE", default_value = DEFAULT_FILE)]
    pub(crate) file: PathBuf,
}

/// How a command ended when it did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// Wrong usage or configuration: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The operation failed: exit code 1.
    #[error("{0}")]
    Failed(String),
}

impl CommandError {
    pub(crate) fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        match error {
            // What is installed is wrong, as a configuration is: trying again does not mend it.
            StoreError::Newer { .. } => Self::Usage(error.to_string()),
            error => Self::failed(error),
        }
    }
}

impl From<ServeError> for CommandError {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Store(error) => error.into(),
            // The disk, not the configuration: another try may find it mended.
            ServeError::Tls(TlsError::Io { .. }) => Self::failed(error),
            ServeError::Unguarded(_) | ServeError::Tls(_) | ServeError::Catalogue(_) => {
                Self::Usage(error.to_string())
            }
            error => Self::failed(error),
        }
    }
}

/// The command line, for whoever writes its manual.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command that `args` (the program's name first) ask for.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print(); // a closed terminal is nobody to tell
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let allowed = dumps::forbid()
        .map_err(|error| CommandError::Failed(format!("core dumps cannot be forbidden: {error}")));
    match allowed.and_then(|()| dispatch(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pericard: {error}");
            ExitCode::from(if matches!(error, CommandError::Usage(_)) {
                2
            } else {
                1
            })
        }
    }
}

fn dispatch(command: Command) -> Result<(), CommandError> {
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Submit(args) => submit::run(&args),
        Command::Jobs(command) => jobs::run(command),
        Command::Model(command) => model::run(command),
        Command::Audit(command) => audit::run(command),
        Command::Egress(command) => egress::run(command),
        Command::Backup(args) => backup::back_up(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Erase(args) => erase::run(&args),
        Command::Deidentify(args) => deidentify::run(&args),
        Command::Token(command) => token::run(command),
        Command::Worker(args) => worker::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Cert(command) => cert::run(command),
        Command::Hub(command) => hub::run(command),
    }
}

/// A runtime for commands that look at the store or talk to the appliance and end.
pub(crate) use serve::stop_on_signal;

pub(crate) fn block_on<T>(
    work: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.map_err(CommandError::failed)?.block_on(work)
}

impl ConfigFile {
    /// The configuration; root has become the user whom its data belongs to.
    pub(crate) fn read(&self) -> Result<Config, CommandError> {
        let config = Config::read(&self.file)?;
        owner::become_owner(&config.written.appliance.data_dir)?;
        Ok(config)
    }

    /// The store of the appliance that this configuration describes, beside the server when one runs.
    pub(crate) fn store(&self) -> Result<Store, CommandError> {
        let config = self.read()?;
        journal::begin("warn").map_err(CommandError::Usage)?;
        Ok(Store::open_beside(
            store_config(&config),
            Arc::new(SystemClock),
        )?)
    }
}

/// How the store of this configuration is opened.
pub(crate) fn store_config(config: &Config) -> StoreConfig {
    let written = &config.written;
    StoreConfig {
        dir: written.appliance.data_dir.clone(),
        audit_origin: format!("{}/audit", written.appliance.name),
        group_commit_window_us: written.storage.group_commit_window_us,
        free_space_floor_mib: written.storage.free_space_floor_mib,
    }
}
