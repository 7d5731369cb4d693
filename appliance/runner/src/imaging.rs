//! Imaging models: one inference at a time, on the cores that are imaging's share.

use crate::runner::{Loaded, RunFailure};
use pericard_domain::image::{ImagingInput, ImagingOutput};
use pericard_domain::model::{ModelRef, Package};
use pericard_imaging::{ImagingError, Model, Runtime};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

pub(crate) struct Imaging {
    library: PathBuf,
    threads: usize,
    runtime: OnceLock<Runtime>,
    models: Mutex<HashMap<ModelRef, Seat>>,
    /// One inference at a time: each uses every thread of the share. Fair, so the order of asking is the order of service.
    turn: Arc<Semaphore>,
}

struct Seat {
    loaded: Option<Loaded>,
    model: Arc<Mutex<Model>>,
    timeout: Duration,
}

impl Imaging {
    pub(crate) fn new(library: PathBuf, threads: usize) -> Self {
        Self {
            library,
            threads,
            runtime: OnceLock::new(),
            models: Mutex::default(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    pub(crate) fn load(&self, package: &Package) -> Result<String, String> {
        let model = contained(|| self.open(package))?.map_err(|e| e.to_string())?;
        let device = model.device().to_owned();
        let timeout = Duration::from_secs(package.manifest.budget.inference_timeout_s.into());
        let seat = Seat {
            loaded: None,
            model: Arc::new(Mutex::new(model)),
            timeout,
        };
        self.seats().insert(package.model.clone(), seat);
        Ok(device)
    }

    pub(crate) fn list(&self, loaded: Loaded) {
        if let Some(seat) = self.seats().get_mut(&loaded.model) {
            seat.loaded = Some(loaded);
        }
    }

    pub(crate) fn loaded(&self) -> Vec<Loaded> {
        let mut all: Vec<_> = self
            .seats()
            .values()
            .filter_map(|seat| seat.loaded.clone())
            .collect();
        all.sort_by(|a, b| a.model.cmp(&b.model));
        all
    }

    pub(crate) async fn infer(
        &self,
        model: &ModelRef,
        input: ImagingInput,
    ) -> Result<ImagingOutput, RunFailure> {
        let (seat, timeout) = match self.seats().get(model) {
            Some(seat) => (Arc::clone(&seat.model), seat.timeout),
            None => return Err(RunFailure::NotLoaded(model.to_string())),
        };
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let turn = turn.map_err(|_| RunFailure::Lost("the appliance is shutting down".into()))?;
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn; // given back when the inference has really ended, also after nobody waits for it any more
            contained(|| {
                seat.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .infer(&input)
            })
        });
        match tokio::time::timeout(timeout, work).await {
            Err(_) => Err(RunFailure::Lost(format!(
                "{model} took longer than {} s",
                timeout.as_secs()
            ))),
            Ok(Err(_)) => Err(RunFailure::Lost(format!("the thread of {model} ended"))),
            Ok(Ok(Err(panic))) => Err(RunFailure::Model(panic)),
            Ok(Ok(Ok(result))) => result.map_err(failure_of),
        }
    }

    pub(crate) fn close(&self) {
        self.turn.close();
    }

    fn open(&self, package: &Package) -> Result<Model, ImagingError> {
        let runtime = match self.runtime.get() {
            Some(runtime) => runtime,
            None => {
                let runtime = Runtime::load(&self.library)?;
                self.runtime.get_or_init(|| runtime)
            }
        };
        let mut model = Model::load(runtime, package, self.threads)?;
        for case in &package.manifest.golden {
            model.golden(case, &package.dir)?;
        }
        Ok(model)
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<ModelRef, Seat>> {
        // Held only to look up or to insert; a panic in between leaves a whole map.
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failure_of(error: ImagingError) -> RunFailure {
    match error {
        ImagingError::Input { .. } | ImagingError::TooLarge { .. } => {
            RunFailure::Unsuitable(error.to_string())
        }
        other => RunFailure::Model(other.to_string()),
    }
}

/// Panics never cross the room: one inside an engine becomes a sentence.
fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // The engine is not used again as it is after a panic in `load`; in `infer` it holds no state between calls.
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|_| "the engine panicked; the journal has the place".to_owned())
}
