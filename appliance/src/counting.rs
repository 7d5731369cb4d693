//! Counting: the meter's identity, the numbers of its models, and what is fed to it at a beat: uptime, how busy the machine
//! is, how far the audit log has come.

use crate::catalogue::{Catalogue, CatalogueError};
use crate::config::Config;
use crate::load::{Load, Ticks};
use crate::weekly::words;
use pericard_egress::{Identity, Meter, SpoolError};
use pericard_gate::{Desk, Enrolment};
use pericard_store::Store;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often the counters are put on disk.
const COUNTERS_FLUSH_S: u64 = 10;
/// How often the GPUs are asked how busy they are.
const GPU_LOOK_EVERY: Duration = Duration::from_secs(60);

/// Who counts: the number that the hub gave, and the release.
pub(crate) fn identity(config: &Config) -> Identity {
    Identity {
        appliance: enrolled_number(config),
        release: release(),
    }
}

/// Feeds the meter and puts it on disk, until the stop.
pub(crate) async fn keep_counters(
    meter: Meter,
    store: Store,
    load: Arc<dyn Load>,
    stop: CancellationToken,
) -> Result<(), SpoolError> {
    let mut beat = tokio::time::interval(Duration::from_secs(COUNTERS_FLUSH_S));
    let (mut since, mut processors) = (Instant::now(), load.processors());
    let mut gpus = tokio::time::interval(GPU_LOOK_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return meter.flush(),
            _ = gpus.tick() => {
                let load = Arc::clone(&load);
                if let Ok(Some(seen)) = tokio::task::spawn_blocking(move || load.gpus()).await {
                    meter.gpus(seen.busy, seen.all);
                }
            }
            _ = beat.tick() => {
                let (now, seconds) = (load.processors(), since.elapsed().as_secs());
                let Ticks { busy, all } = now.since(processors);
                meter.ran(seconds, busy, all);
                (since, processors) = (since + Duration::from_secs(seconds), now);
                match store.checkpoint().await {
                    Ok(head) => meter.anchor(head.size, words(&head.root)),
                    Err(error) => tracing::warn!(%error, "the counters are not anchored in the audit log"),
                }
                // A full disk must not close the doors: the counters go on in memory.
                if let Err(error) = meter.flush() {
                    tracing::warn!(%error, "the counters are not on disk");
                }
            }
        }
    }
}

/// The number that the hub gave this appliance; 0 without an enrolment that can be believed. A hospital's work does not stop
/// for it: frames with the number 0 are never sent.
fn enrolled_number(config: &Config) -> u32 {
    let desk = Desk::at(config.written.egress.gate_dir.clone());
    match Enrolment::read(&desk) {
        Ok(enrolment) => enrolment.map_or(0, |enrolment| enrolment.appliance),
        Err(error) => {
            tracing::warn!(%error, "frames carry no number, and are not sent");
            0
        }
    }
}

/// The hub's catalogue, believed, or an empty one.
pub(crate) fn catalogue(config: &Config) -> Result<Arc<Catalogue>, CatalogueError> {
    let egress = &config.written.egress;
    match (&egress.catalogue, &egress.catalogue_key) {
        (Some(path), Some(key)) => Ok(Arc::new(Catalogue::read(path, key)?)),
        _ => Ok(Arc::default()),
    }
}

/// The version as the frame has it.
fn release() -> [u16; 3] {
    let mut parts = env!("CARGO_PKG_VERSION")
        .split('.')
        .map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}
