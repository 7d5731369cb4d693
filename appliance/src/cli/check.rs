//! `pericard check`

use super::rehearse::rehearse;
use super::{CommandError, ConfigFile, output};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::counting::catalogue;
use crate::tls::{self, CertificatePaths, TlsError};
use clap::Args;
use pericard_dimse::Tls;
use pericard_domain::time::Clock as _;
use pericard_registry::Registry;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Where systemd puts a service's credentials while it runs.
const CREDENTIALS: &str = "/run/credentials";

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Say what the rules would do with the studies in this folder, and why
    #[arg(long, value_name = "DIR")]
    study: Option<PathBuf>,
}

pub(crate) fn run(args: &CheckArgs) -> Result<(), CommandError> {
    if let Some(dir) = &args.study {
        // Whoever asks may read the folder: the appliance's own user perhaps not.
        let config = Config::read(&args.config.file)?;
        return rehearse(&config.written.rules, dir);
    }
    let config = args.config.read()?;
    let written = &config.written;
    if !written.models.onnxruntime.exists() {
        let path = written.models.onnxruntime.display();
        return Err(CommandError::Usage(format!(
            "models.onnxruntime: {path} does not exist; imaging models need it"
        )));
    }
    check_certificates(&config).map_err(usage)?;
    // Counted as a start counts them, and beside one that serves: nothing is made there and nothing changes.
    let tokens = pericard_store::tokens_in(&written.appliance.data_dir)?;
    config
        .open_door(tokens)
        .map_or(Ok(()), |why| Err(CommandError::Usage(why)))?;
    catalogue(&config).map_err(usage)?;
    let registry_dir = written.appliance.data_dir.join("registry");
    let live: BTreeSet<String> = if registry_dir.exists() {
        let registry = Registry::open(&registry_dir).map_err(CommandError::failed)?;
        registry
            .live()
            .map_err(CommandError::failed)?
            .into_iter()
            .map(|package| package.model.name)
            .collect()
    } else {
        BTreeSet::new()
    };
    let named = written
        .rules
        .iter()
        .flat_map(|rule| rule.models.iter().map(move |model| (rule, model)));
    if let Some((rule, model)) = named.into_iter().find(|(_, model)| !live.contains(*model)) {
        return Err(CommandError::Usage(format!(
            "rules {:?}: no version of the model {model:?} is live; `pericard model import` and `activate` one",
            rule.name
        )));
    }
    warn_of_certificates(&config);
    output::line(format!("{}: ok", args.config.file.display()));
    output::line(format!("  https  {}", written.https.listen));
    output::line(format!(
        "  dicom  {} as {}",
        written.dicom.listen, config.ae_title
    ));
    if config.dicom_tls.is_some() {
        let listen = written.dicom.tls.listen;
        output::line(format!("  dicom  {listen} over TLS as {}", config.ae_title));
    }
    output::line(format!("  data   {}", written.appliance.data_dir.display()));
    output::line(format!(
        "  {} rules, {} peers, {} live models",
        written.rules.len(),
        config.peers.len(),
        live.len()
    ));
    Ok(())
}

fn usage(error: impl Display) -> CommandError {
    CommandError::Usage(error.to_string())
}

/// That each door's certificate is there, with the key that it was made for, as a start wants them.
fn check_certificates(config: &Config) -> Result<(), TlsError> {
    let made = made_here(config);
    let is_made = made.certificate.exists() && made.key.exists(); // else the first start makes both
    match &config.certificate {
        Some(own) if is_sealed(&own.key) => drop(tls::fingerprint(own)?),
        Some(own) => drop(tls::server_config(own)?),
        None if is_made => drop(tls::server_config(&made)?),
        None => {}
    }
    match &config.dicom_tls {
        Some(paths) if is_sealed(&paths.own.key) => drop(tls::fingerprint(&paths.own)?),
        Some(paths) => drop(Tls::new(tls::dicom_identity(paths)?).map_err(TlsError::from)?),
        None => {}
    }
    Ok(())
}

/// Whether this key is a credential of the service that cannot be read here: it is there only while the service runs, and perhaps
/// for the service alone.
fn is_sealed(key: &Path) -> bool {
    key.starts_with(CREDENTIALS) && File::open(key).is_err()
}

fn made_here(config: &Config) -> CertificatePaths {
    let dir = config.written.appliance.data_dir.join("tls");
    CertificatePaths {
        certificate: dir.join("server.pem"),
        key: dir.join("server.key"),
    }
}

/// A certificate that ends soon is no mistake of the configuration: it is said beside the answer.
fn warn_of_certificates(config: &Config) {
    let https = config.certificate.clone();
    let https = https.unwrap_or_else(|| made_here(config));
    let dicom = config.dicom_tls.as_ref().and_then(tls::dicom_shown);
    let now = SystemClock.now();
    for shown in tls::https_shown(&https).into_iter().chain(dicom) {
        if let Some(warning) = shown.warning(now) {
            eprintln!("{warning}");
        }
    }
}
