//! `pericard serve`

use super::{CommandError, ConfigFile};
use crate::outcome::{Outcome, OutcomeFile, digest_of};
use crate::reload::InEffect;
use crate::serve::{Doors, serve};
use crate::{journal, systemd};
use clap::Args;
use pericard_domain::actor::Actor;
use pericard_store::Store;
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
    pericard_runner::keep_few_heaps();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CommandError::failed)?;
    let ended = runtime.block_on(async {
        let stop = CancellationToken::new();
        stop_on_signal(stop.clone()).map_err(CommandError::failed)?;
        // Heard from now on: until there is something to read again, a SIGHUP must not end the process.
        let hangup = signal(SignalKind::hangup()).map_err(CommandError::failed)?;
        let file = args.config.file.clone();
        let doors = Doors::open(&config).await.map_err(CommandError::failed)?;
        let opened = |open: crate::serve::Open| {
            tokio::spawn(reload(hangup, file, open.in_effect, open.store));
        };
        Ok(serve(config, doors, stop, opened).await?)
    });
    // What is still in a blocking call when the grace is over is left: its lease lapses.
    runtime.shutdown_background();
    ended
}

/// At every SIGHUP: reads the configuration again, and takes up what can change while associations are open.
async fn reload(mut hangup: Signal, file: PathBuf, in_effect: Arc<InEffect>, store: Store) {
    while hangup.recv().await.is_some() {
        systemd::reloading();
        let digest = digest_of(&file);
        let read = in_effect.read_again(&file);
        let verb = match read {
            Ok(_) => "reload configuration",
            Err(_) => "refuse configuration",
        };
        note(&store, verb, &digest).await;
        let refused = match read {
            Ok(waits) if waits.is_empty() => {
                tracing::info!("read again");
                systemd::ready("serving");
                None
            }
            Ok(waits) => {
                let waits = waits.join(", ");
                tracing::warn!(
                    waits,
                    "read again; what waits is taken up by `systemctl restart pericard`"
                );
                systemd::ready(&format!("serving; for a restart wait: {waits}"));
                None
            }
            Err(why) => {
                tracing::error!(%why, "not read again; what was read before holds");
                systemd::ready("serving; the last reload was refused, and the journal says why");
                Some(why.to_string())
            }
        };
        tell(&Outcome { digest, refused });
    }
}

/// Tells whoever asked for this reload, when systemd gave a place for it.
fn tell(outcome: &Outcome) {
    let told = OutcomeFile::of_service().map_or(Ok(()), |place| place.put(outcome));
    if let Err(error) = told {
        tracing::error!(%error, "whoever asked for this reload is not told what became of it");
    }
}

/// Says in the audit log what became of the configuration; its digest tells one from another.
async fn note(store: &Store, verb: &'static str, digest: &str) {
    let subject = format!("configuration {digest}");
    let noted = store.note_access(verb, &subject, Actor::room("serve"));
    if let Err(error) = noted.await {
        tracing::error!(%error, verb, "this reload is not in the audit log");
    }
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
