//! `pericard demo`: the whole product on loopback, on real samples.
//!
//! Nothing here is staged: the appliance is the one that `pericard serve` runs, studies reach it through its DICOM door
//! and its HTTPS door, results come back to a DICOM peer, and the question goes through the HTTPS API.
//!
//! - [`stage`]: makes the directory, the configuration, the registry and the doors.
//! - [`pacs`]: a peer that sends studies and takes results.
//! - [`line`]: one HTTPS request, written out by hand: this binary links no HTTP client.
//! - [`hub`]: with `--hub`, the national side and a handful of simulated hospitals.
//! - [`story`]: what is shown, and what is printed of it.

mod hub;
mod line;
mod pacs;
mod stage;
mod story;

use crate::cli::CommandError;
use crate::places::Places;
use crate::serve::serve;
use crate::{cli, journal};
use clap::Args;
use hub::{HubStage, Shown};
use stage::Stage;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone, Args)]
pub(crate) struct DemoArgs {
    /// Where to keep everything; a new directory under the system's temporary one when not given
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Stop when everything has been shown
    #[arg(long)]
    pub(crate) exit: bool,
    /// Start the appliance without sending the sample studies
    #[arg(long)]
    pub(crate) no_samples: bool,
    /// Start a national hub and a handful of simulated hospitals, too, and print the address of its dashboard
    #[arg(long)]
    pub(crate) hub: bool,
    /// ONNX Runtime's shared library, when it is not where packages or the build helper put it
    #[arg(long, value_name = "FILE")]
    pub(crate) onnxruntime: Option<PathBuf>,
    /// Model packages, likewise
    #[arg(long, value_name = "DIR")]
    pub(crate) models: Option<PathBuf>,
    /// Sample studies, likewise
    #[arg(long, value_name = "DIR")]
    pub(crate) samples: Option<PathBuf>,
}

pub(crate) fn run(args: &DemoArgs) -> Result<(), CommandError> {
    journal::begin("warn").map_err(CommandError::Usage)?;
    let mut places = Places::found();
    places.onnxruntime = args.onnxruntime.clone().unwrap_or(places.onnxruntime);
    places.models = args.models.clone().unwrap_or(places.models);
    places.samples = args.samples.clone().unwrap_or(places.samples);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CommandError::failed)?;
    let ended = runtime.block_on(show(args, places));
    runtime.shutdown_background();
    ended
}

async fn show(args: &DemoArgs, places: Places) -> Result<(), CommandError> {
    let stop = CancellationToken::new();
    cli::stop_on_signal(stop.clone()).map_err(CommandError::failed)?;
    let (mut stage, doors) = Stage::set(args.dir.clone(), places).await?;
    let national = match args.hub {
        true => Some(HubStage::set(&mut stage).await?),
        false => None,
    };
    let (tell, open) = tokio::sync::oneshot::channel();
    let config = stage.config.clone();
    let mut appliance = tokio::spawn(serve(config, doors, stop.clone(), |open| {
        drop(tell.send(open))
    }));
    let open = tokio::select! {
        open = open => open.map_err(|_| ()),
        () = stop.cancelled() => Err(()),
    };
    if let Ok(open) = open {
        let pacs = stage.pacs.serve(stop.clone());
        let shown = national.as_ref().map(Shown::of);
        let hub = national.map(|national| national.open(stop.clone()));
        let (served, nation) = hub.unzip();
        let told = tokio::select! {
            told = story::tell(&stage, &open, args, shown.zip(nation)) => told,
            () = stop.cancelled() => Ok(()),
        };
        if told.is_err() || args.exit {
            stop.cancel();
        }
        stop.cancelled().await;
        let _ = pacs.await; // it ends with the stop; what it took is on disk
        if let Some(served) = served {
            served.await.map_err(CommandError::failed)??;
        }
        told?;
    }
    match (&mut appliance).await {
        Ok(ended) => ended.map_err(CommandError::failed),
        Err(panic) => Err(CommandError::failed(panic)),
    }
}
