//! The runner.

use crate::imaging::Imaging;
use crate::language::{Language, Talk};
use pericard_domain::chat::{ChatRefusal, ChatRequest, Prompt};
use pericard_domain::image::{ImagingInput, ImagingOutput};
use pericard_domain::model::{ModelRef, Package, Task};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// What the runner is given.
#[derive(Debug, Clone)]
pub struct RunnerConfig {
    /// ONNX Runtime's shared library.
    pub onnxruntime: PathBuf,
    /// Cores that all models share. Both engines collapse when more threads compute than there are cores, so imaging
    /// and language each get a fixed share of them.
    pub cores: usize,
    /// Chats that may run at once.
    pub chats_max: usize,
    /// Chats that may wait.
    pub chats_waiting_max: usize,
}

/// Why an inference gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunFailure {
    /// The model is not loaded.
    #[error("the model {0} is not loaded")]
    NotLoaded(String),
    /// The package is broken, or its golden cases do not come out right.
    #[error("the model {model} cannot be loaded: {reason}")]
    Load {
        /// Which model.
        model: String,
        /// Why.
        reason: String,
    },
    /// The input is not what the model takes.
    #[error("{0}")]
    Unsuitable(String),
    /// The model failed.
    #[error("the model failed: {0}")]
    Model(String),
    /// The worker died, hung, or took more than it may.
    #[error("the worker was lost: {0}")]
    Lost(String),
}

/// A loaded model, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Loaded {
    /// Which.
    pub model: ModelRef,
    /// What it does.
    pub task: Task,
    /// What it runs on, as in `cpu`.
    pub device: String,
    /// How long loading and its golden cases took, ms.
    pub load_ms: u64,
    /// Tokens that its context holds, when it is a language model.
    pub context_tokens: Option<u32>,
}

/// Loads and runs models. Cheap to clone.
#[derive(Clone)]
pub struct Runner {
    imaging: Arc<Imaging>,
    language: Arc<Language>,
}

impl Runner {
    /// A runner without models.
    #[must_use]
    pub fn new(config: RunnerConfig) -> Self {
        let share = CoreShare::of(config.cores);
        Self {
            imaging: Arc::new(Imaging::new(config.onnxruntime.clone(), share.imaging)),
            language: Arc::new(Language::new(&config, share.language)),
        }
    }

    /// Loads a model and runs its golden cases. Blocking; may take seconds.
    ///
    /// # Errors
    /// [`RunFailure::Load`] with what did not come out right.
    pub fn load(&self, package: &Package) -> Result<Loaded, RunFailure> {
        let begun = Instant::now();
        let (device, context_tokens) = match package.manifest.task {
            Task::Chat => self
                .language
                .load(package)
                .map(|info| (info.0, Some(info.1))),
            Task::TextSpotting | Task::VolumeSegmentation => {
                self.imaging.load(package).map(|device| (device, None))
            }
        }
        .map_err(|reason| RunFailure::Load {
            model: package.model.to_string(),
            reason,
        })?;
        let load_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let loaded = Loaded {
            model: package.model.clone(),
            task: package.manifest.task,
            device,
            load_ms,
            context_tokens,
        };
        match package.manifest.task {
            Task::Chat => self.language.list(loaded.clone()),
            Task::TextSpotting | Task::VolumeSegmentation => self.imaging.list(loaded.clone()),
        }
        Ok(loaded)
    }

    /// The models that are loaded.
    #[must_use]
    pub fn loaded(&self) -> Vec<Loaded> {
        let mut all = self.imaging.loaded();
        all.extend(self.language.loaded());
        all
    }

    /// Runs an imaging model.
    ///
    /// # Errors
    /// See [`RunFailure`].
    pub async fn infer(
        &self,
        model: &ModelRef,
        input: ImagingInput,
    ) -> Result<ImagingOutput, RunFailure> {
        self.imaging.infer(model, input).await
    }

    /// Begins a generation by the language model of that name. Quick: tokenises, checks that it fits, admits it.
    ///
    /// # Errors
    /// See [`ChatRefusal`].
    pub fn chat(&self, model: &str, request: ChatRequest) -> Result<Talk, ChatRefusal> {
        self.language.chat(model, request)
    }

    /// How many tokens a prompt has, template included.
    ///
    /// # Errors
    /// See [`ChatRefusal`].
    pub fn count_tokens(&self, model: &str, prompt: &Prompt) -> Result<u32, ChatRefusal> {
        self.language.count_tokens(model, prompt)
    }

    /// Takes up no new work; what runs may end.
    pub fn close(&self) {
        self.imaging.close();
        self.language.close();
    }
}

/// How the cores are shared: never more computing threads than cores, and never none.
struct CoreShare {
    imaging: usize,
    language: usize,
}

impl CoreShare {
    fn of(cores: usize) -> Self {
        let imaging = (cores / 2).max(1);
        Self {
            imaging,
            language: cores.saturating_sub(imaging).max(1),
        }
    }
}
