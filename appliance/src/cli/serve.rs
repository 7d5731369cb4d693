//! `pericard serve`

use super::{CommandError, ConfigFile};
use crate::config::Config;
use crate::serve::{Doors, certificate_paths, serve};
use crate::tls::{Renewable, dicom_identity};
use crate::{journal, systemd};
use clap::Args;
use pericard_dimse::Tls;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    config: ConfigFile,
}

pub(crate) fn run(args: &ServeArgs) -> Result<(), CommandError> {
    let config = args.config.read()?;
    journal::begin(&config.written.appliance.log_level).map_err(CommandError::Usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CommandError::failed)?;
    let ended = runtime.block_on(async {
        let stop = CancellationToken::new();
        stop_on_signal(stop.clone()).map_err(CommandError::failed)?;
        // Heard from now on: until there is something to read again, a SIGHUP must not end the process.
        let hangup = signal(SignalKind::hangup()).map_err(CommandError::failed)?;
        let (file, begun_with) = (args.config.file.clone(), config.clone());
        let doors = Doors::open(&config).await.map_err(CommandError::failed)?;
        let opened = |open: crate::serve::Open| {
            let certificates = Certificates {
                https: open.certificate,
                dicom: open.dicom_tls,
            };
            tokio::spawn(reload(hangup, file, begun_with, certificates));
        };
        serve(config, doors, stop, opened)
            .await
            .map_err(CommandError::failed)
    });
    // What is still in a blocking call when the grace is over is left: its lease lapses.
    runtime.shutdown_background();
    ended
}

/// What doors show, and can show anew.
struct Certificates {
    https: Arc<Renewable>,
    dicom: Option<Tls>,
}

/// At every SIGHUP: reads the configuration again, and takes up what can change while associations are open.
async fn reload(mut hangup: Signal, file: PathBuf, begun_with: Config, certificates: Certificates) {
    while hangup.recv().await.is_some() {
        systemd::reloading();
        match again(&file, &begun_with, &certificates) {
            Ok(waits) if waits.is_empty() => tracing::info!("read again"),
            Ok(waits) => tracing::warn!(
                waits = waits.join(", "),
                "read again; what waits is taken up by `systemctl restart pericard`"
            ),
            Err(why) => tracing::error!(why, "not read again; what was read before holds"),
        }
        systemd::ready("serving");
    }
}

/// Takes up the certificates and the log level. Says which sections have changed that wait for a restart.
fn again(
    file: &std::path::Path,
    begun_with: &Config,
    certificates: &Certificates,
) -> Result<Vec<String>, String> {
    let config = Config::read(file).map_err(|e| e.to_string())?;
    let paths = certificate_paths(&config).map_err(|e| e.to_string())?;
    certificates
        .https
        .renew(&paths)
        .map_err(|e| e.to_string())?;
    if let (Some(tls), Some(paths)) = (&certificates.dicom, &config.dicom_tls) {
        let identity = dicom_identity(paths).map_err(|e| e.to_string())?;
        tls.renew(identity).map_err(|e| e.to_string())?;
    }
    journal::set_level(&config.written.appliance.log_level)?;
    let sections = |config: &Config| {
        let mut written = config.written.clone();
        // These are taken up.
        written.appliance.log_level.clear();
        (written.https.certificate, written.https.key) = (None, None);
        // Other files are read again; whether there are any decides which doors there are.
        let tls = &mut written.dicom.tls;
        for path in [&mut tls.certificate, &mut tls.key, &mut tls.authorities] {
            *path = path.take().map(|_| PathBuf::new());
        }
        serde_json::to_value(written).map_err(|e| e.to_string())
    };
    let (then, now) = (sections(begun_with)?, sections(&config)?);
    let names = now.as_object().into_iter().flatten();
    let changed = names.filter(|(name, section)| then[name.as_str()] != **section);
    Ok(changed.map(|(name, _)| name.clone()).collect())
}

/// SIGTERM and SIGINT stop the appliance.
pub(crate) fn stop_on_signal(stop: CancellationToken) -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        systemd::stopping();
        stop.cancel();
    });
    Ok(())
}
