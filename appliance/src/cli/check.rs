//! `pericard check`

use super::rehearse::rehearse;
use super::{CommandError, ConfigFile, output};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::tls::{self, CertificatePaths, TlsError};
use clap::Args;
use pericard_dimse::Tls;
use pericard_domain::time::Clock as _;
use pericard_registry::Registry;
use std::collections::BTreeSet;
use std::path::PathBuf;

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
    if let Some(paths) = &config.dicom_tls {
        let wrong = |e: TlsError| CommandError::Usage(e.to_string());
        let identity = tls::dicom_identity(paths).map_err(wrong)?;
        Tls::new(identity).map_err(|e| wrong(e.into()))?;
    }
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

/// A certificate that ends soon is no mistake of the configuration: it is said beside the answer.
fn warn_of_certificates(config: &Config) {
    let made_here = || {
        let dir = config.written.appliance.data_dir.join("tls");
        CertificatePaths {
            certificate: dir.join("server.pem"),
            key: dir.join("server.key"),
        }
    };
    let https = config.certificate.clone().unwrap_or_else(made_here);
    let dicom = config.dicom_tls.as_ref().and_then(tls::dicom_shown);
    let now = SystemClock.now();
    for shown in tls::https_shown(&https).into_iter().chain(dicom) {
        if let Some(warning) = shown.warning(now) {
            eprintln!("{warning}");
        }
    }
}
