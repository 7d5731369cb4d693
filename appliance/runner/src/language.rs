//! Language models: one engine for each, each with its own scheduler on the cores that are language's share.

use crate::runner::{Loaded, RunnerConfig};
use pericard_domain::chat::{ChatEvent, ChatRefusal, ChatRequest, Prompt};
use pericard_domain::model::Package;
use pericard_language::{Engine, EngineLimits, Generation};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) struct Language {
    limits: EngineLimits,
    engines: Mutex<BTreeMap<String, Seat>>,
}

struct Seat {
    engine: Engine,
    loaded: Option<Loaded>,
}

impl Language {
    pub(crate) fn new(config: &RunnerConfig, threads: usize) -> Self {
        let limits = EngineLimits {
            threads,
            sequences_max: config.chats_max,
            queue_max: config.chats_waiting_max,
            ..EngineLimits::default()
        };
        Self {
            limits,
            engines: Mutex::default(),
        }
    }

    /// The device and the tokens that the context holds.
    pub(crate) fn load(&self, package: &Package) -> Result<(String, u32), String> {
        let weights = package
            .part("weights")
            .ok_or("the manifest names no file for the part `weights`")?;
        let engine = Engine::load(&weights, self.limits.clone()).map_err(|e| e.to_string())?;
        for case in &package.manifest.golden {
            engine.golden(&package.dir, case)?;
        }
        let info = engine.info();
        let facts = (info.device.to_owned(), info.context_tokens);
        let before = self.seats().insert(
            package.model.name.clone(),
            Seat {
                engine,
                loaded: None,
            },
        );
        if let Some(seat) = before {
            seat.engine.close(); // what it runs may end; new requests go to the new one
        }
        Ok(facts)
    }

    pub(crate) fn list(&self, loaded: Loaded) {
        if let Some(seat) = self.seats().get_mut(&loaded.model.name) {
            seat.loaded = Some(loaded);
        }
    }

    pub(crate) fn loaded(&self) -> Vec<Loaded> {
        self.seats()
            .values()
            .filter_map(|seat| seat.loaded.clone())
            .collect()
    }

    pub(crate) fn chat(&self, model: &str, request: ChatRequest) -> Result<Talk, ChatRefusal> {
        Ok(Talk {
            generation: self.engine(model)?.submit(request)?,
        })
    }

    pub(crate) fn count_tokens(&self, model: &str, prompt: &Prompt) -> Result<u32, ChatRefusal> {
        self.engine(model)?.count_tokens(prompt)
    }

    pub(crate) fn close(&self) {
        self.seats().values().for_each(|seat| seat.engine.close());
    }

    fn engine(&self, model: &str) -> Result<Engine, ChatRefusal> {
        let unknown = || ChatRefusal::UnknownModel(model.to_owned());
        self.seats()
            .get(model)
            .map(|seat| seat.engine.clone())
            .ok_or_else(unknown)
    }

    fn seats(&self) -> MutexGuard<'_, BTreeMap<String, Seat>> {
        // Held only to look up or to insert; a panic in between leaves a whole map.
        self.engines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A generation under way. Dropped, it stops within a step.
pub struct Talk {
    generation: Generation,
}

impl Talk {
    /// The next event; `None` after the end.
    pub async fn next(&mut self) -> Option<ChatEvent> {
        poll_fn(|context| self.generation.poll_recv(context)).await
    }
}
