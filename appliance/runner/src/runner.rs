//! The runner.

use pericard_domain::chat::{ChatEvent, ChatRefusal, ChatRequest, Prompt};
use pericard_domain::image::{ImagingInput, ImagingOutput};
use pericard_domain::model::{ModelRef, Package, Task};
use std::path::PathBuf;
use std::sync::Arc;

/// What the runner is given.
#[derive(Debug, Clone)]
pub struct RunnerConfig {
    /// ONNX Runtime's shared library.
    pub onnxruntime: PathBuf,
    /// Cores that all models share.
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
    _inner: Arc<()>,
}

#[allow(unused_variables, clippy::unused_async)]
impl Runner {
    /// A runner without models.
    #[must_use]
    pub fn new(config: RunnerConfig) -> Self {
        unimplemented!()
    }

    /// Loads a model and runs its golden cases. Blocking; may take seconds.
    ///
    /// # Errors
    /// [`RunFailure::Load`] with what did not come out right.
    pub fn load(&self, package: &Package) -> Result<Loaded, RunFailure> {
        unimplemented!()
    }

    /// The models that are loaded.
    #[must_use]
    pub fn loaded(&self) -> Vec<Loaded> {
        unimplemented!()
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
        unimplemented!()
    }

    /// Begins a generation by the language model of that name. Quick: tokenises, checks that it fits, admits it.
    ///
    /// # Errors
    /// See [`ChatRefusal`].
    pub fn chat(&self, model: &str, request: ChatRequest) -> Result<Talk, ChatRefusal> {
        unimplemented!()
    }

    /// How many tokens a prompt has, template included.
    ///
    /// # Errors
    /// See [`ChatRefusal`].
    pub fn count_tokens(&self, model: &str, prompt: &Prompt) -> Result<u32, ChatRefusal> {
        unimplemented!()
    }

    /// Takes up no new work; what runs may end.
    pub fn close(&self) {
        unimplemented!()
    }
}

/// A generation under way. Dropped, it stops within a step.
pub struct Talk {
    _private: (),
}

impl Talk {
    /// The next event; `None` after the end.
    pub async fn next(&mut self) -> Option<ChatEvent> {
        unimplemented!()
    }
}
