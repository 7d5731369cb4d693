//! The runner.

use crate::imaging::{Imaging, held};
use crate::language::{Language, Talk};
use crate::picture::Picture;
use crate::reader::{Reader, Readers};
use crate::staff::Staff;
use crate::words::Share;
use pericard_confine::{Program, Walls};
use pericard_domain::chat::{ChatRefusal, ChatRequest, Prompt};
use pericard_domain::image::{ImagingInput, ImagingOutput};
use pericard_domain::model::{ModelRef, Package, Task};
use pericard_imaging::NO_REPORTS;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The workers of this program, which is `pericard`.
pub fn workers_of(program: impl Into<PathBuf>) -> Program {
    let (name, value) = NO_REPORTS;
    Program {
        path: program.into(),
        arguments: vec!["worker".into()],
        environment: vec![(name.into(), value.into())],
    }
}

/// What the runner is given.
#[derive(Debug, Clone)]
pub struct RunnerConfig {
    /// The program that workers are: see [`workers_of`].
    pub worker: Program,
    /// The longest that reading one object's header, one portion of frames or one volume may take.
    pub reading_timeout: Duration,
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
    /// An object's bytes cannot be decoded.
    #[error("{0}")]
    Undecodable(String),
    /// The appliance cannot read what it keeps, or has no memory to hand it over.
    #[error("{0}")]
    Unreadable(String),
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
    readers: Arc<Readers>,
    walls: Arc<Mutex<Option<Result<Walls, String>>>>,
}

impl Runner {
    /// A runner without models.
    #[must_use]
    pub fn new(config: RunnerConfig) -> Self {
        let cores = CoreShare::of(config.cores);
        let staff = Staff {
            program: config.worker,
        };
        let share = Share {
            threads: cores.language,
            sequences_max: config.chats_max,
            queue_max: config.chats_waiting_max,
        };
        let imaging = Imaging::new(staff.clone(), config.onnxruntime, cores.imaging);
        Self {
            imaging: Arc::new(imaging),
            language: Arc::new(Language::new(staff.clone(), share)),
            readers: Arc::new(Readers::new(staff, config.reading_timeout)),
            walls: Arc::default(),
        }
    }

    /// Starts a worker and tries its walls from inside; the result is kept for [`Runner::walls`]. Blocking.
    ///
    /// # Errors
    /// When no worker can be started, or a wall that the kernel has cannot be built: then nothing can be worked on.
    pub fn test_walls(&self) -> Result<Walls, String> {
        let walls = self.readers.test();
        *held(&self.walls) = Some(walls.clone());
        walls
    }

    /// What the latest test of the walls gave; `None` before the first.
    #[must_use]
    pub fn walls(&self) -> Option<Result<Walls, String>> {
        held(&self.walls).clone()
    }

    /// A reader of one study's objects.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.readers.reader()
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
        let no_memory = |e| RunFailure::Unreadable(format!("no shared memory: {e}"));
        self.look(model, Picture::of(&input).map_err(no_memory)?)
            .await
    }

    /// Runs an imaging model on what a reader gave.
    ///
    /// # Errors
    /// See [`RunFailure`].
    pub async fn look(
        &self,
        model: &ModelRef,
        picture: Picture,
    ) -> Result<ImagingOutput, RunFailure> {
        self.imaging.infer(model, picture).await
    }

    /// Takes a model away. Its process ends once what it works on has ended, and with it all its memory. `false` when it
    /// was not loaded.
    pub fn unload(&self, model: &ModelRef) -> bool {
        self.imaging.unload(model) || self.language.unload(&model.name)
    }

    /// The process that serves a model at this moment.
    #[must_use]
    pub fn pid(&self, model: &ModelRef) -> Option<u32> {
        self.imaging
            .pid(model)
            .or_else(|| self.language.pid(&model.name))
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
