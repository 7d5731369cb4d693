//! `pericard serve`

use super::{CommandError, ConfigFile};
use crate::serve::{Doors, serve};
use crate::{journal, systemd};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
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
        let doors = Doors::open(&config).await.map_err(CommandError::failed)?;
        serve(config, doors, stop, |_| ())
            .await
            .map_err(CommandError::failed)
    });
    // What is still in a blocking call when the grace is over is left: its lease lapses.
    runtime.shutdown_background();
    ended
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
