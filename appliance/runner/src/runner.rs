//! The runner.

use crate::imaging::{Imaging, held};
use crate::language::{Language, Talk};
use crate::picture::Picture;
use crate::reader::{Reader, Readers};
use crate::scanner::{Haste, ScanFailure, ScannedObject, Scanners};
use crate::staff::Staff;
use crate::words::{Load, Share, clipped};
use crate::worker::DEVICE;
use pericard_confine::{Program, Walls};
use pericard_domain::chat::{ChatRefusal, ChatRequest, Embeddings, Prompt};
use pericard_domain::device::{Device, KvForm};
use pericard_domain::entity::Entity;
use pericard_domain::figures::EngineFigures;
use pericard_domain::image::{ImagingInput, ImagingOutput};
use pericard_domain::model::{ModelRef, Package, Task};
use pericard_imaging::NO_REPORTS;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Has the C library ask for large pages (`man mallopt`, glibc 2.35 and later; elsewhere it says nothing). A model's memory is
/// hundreds of MiB, taken and given back: in pages of 4 KiB the kernel's work on them took as long as the arithmetic (loading
/// `burned-in-text` with its golden cases: 137,000 faults and 7 s, with large pages 5,000 and 2.2 s).
pub const LARGE_PAGES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");

/// The workers of this program, which is `pericard`.
pub fn workers_of(program: impl Into<PathBuf>) -> Program {
    Program {
        path: program.into(),
        arguments: vec!["worker".into()],
        environment: [NO_REPORTS, LARGE_PAGES]
            .map(|(name, value)| (name.into(), value.into()))
            .into(),
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
    /// What models compute on. Where it cannot be had, none is loaded: another never takes its place.
    pub device: Device,
    /// Cores that all models share. Both engines collapse when more threads compute than there are cores, so imaging
    /// and language each get a fixed share of them.
    pub cores: usize,
    /// Chats that may run at once.
    pub chats_max: usize,
    /// Chats that may wait.
    pub chats_waiting_max: usize,
    /// How the keys and values of language models are kept.
    pub kv_form: KvForm,
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
    /// As many as may wait do.
    #[error("too many texts wait for the model; ask again in a moment")]
    Busy,
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
    scanners: Arc<Scanners>,
    walls: Arc<Mutex<Option<Result<Walls, String>>>>,
    staff: Staff,
    device: Device,
    /// Whether the device computes right; `None` until it was tried.
    trial: Arc<Mutex<Option<Result<(), String>>>>,
}

impl Runner {
    /// A runner without models.
    #[must_use]
    pub fn new(config: RunnerConfig) -> Self {
        let cores = CoreShare::of(config.cores);
        let mut program = config.worker;
        if config.device != Device::Cpu {
            // A driver would write what it compiles under the home directory, which no worker has.
            program
                .environment
                .push(("CUDA_CACHE_DISABLE".into(), "1".into()));
        }
        let staff = Staff { program };
        let share = Share {
            threads: cores.language,
            sequences_max: config.chats_max,
            queue_max: config.chats_waiting_max,
            kv_form: config.kv_form,
        };
        let imaging = Imaging::new(
            staff.clone(),
            config.onnxruntime,
            (cores.imaging, config.device),
        );
        Self {
            imaging: Arc::new(imaging),
            language: Arc::new(Language::new(staff.clone(), share, config.device)),
            readers: Arc::new(Readers::new(staff.clone(), config.reading_timeout)),
            scanners: Arc::new(Scanners::new(staff.clone(), config.reading_timeout)),
            walls: Arc::default(),
            staff,
            device: config.device,
            trial: Arc::default(),
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

    /// Tries in a worker whether the device can be had and computes right, and keeps the result for
    /// [`Runner::device_trouble`]. Blocking.
    ///
    /// # Errors
    /// Why it cannot be used: then no model is loaded.
    pub fn try_device(&self) -> Result<(), String> {
        let tried = match self.device {
            Device::Cpu => Ok(()),
            device => {
                let hired = self.staff.hire(DEVICE, &Load::Device(device));
                let hired = hired
                    .map_err(|lost| lost.to_string())
                    .and_then(|hired| hired);
                hired
                    .map(|_| ())
                    .map_err(|why| format!("{device}: {}", clipped(&why)))
            }
        };
        *held(&self.trial) = Some(tried.clone());
        tried
    }

    /// What models compute on.
    #[must_use]
    pub const fn device(&self) -> Device {
        self.device
    }

    /// Why the device cannot be used, as tried last; `None` when it can, and for the processor.
    #[must_use]
    pub fn device_trouble(&self) -> Option<String> {
        match (self.device, held(&self.trial).clone()) {
            (Device::Cpu, _) | (_, Some(Ok(()))) => None,
            (_, Some(Err(why))) => Some(why),
            (device, None) => Some(format!("{device} is being tried")),
        }
    }

    /// Says what an object is whose bytes have arrived. `file` can only read, and stands at its beginning. What one caller
    /// brings is scanned by processes that no other caller's objects come into.
    ///
    /// # Errors
    /// See [`ScanFailure`].
    pub async fn scan(
        &self,
        caller: &str,
        file: std::fs::File,
        haste: Haste,
    ) -> Result<ScannedObject, ScanFailure> {
        self.scanners.scan(caller, file, haste).await
    }

    /// The processes that scan what arrives, for whoever watches them.
    #[must_use]
    pub fn scanner_pids(&self) -> Vec<u32> {
        self.scanners.pids()
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
        if held(&self.trial).is_none() {
            // Kept, and told by what follows.
            let _ = self.try_device();
        }
        if let Some(reason) = self.device_trouble() {
            return Err(RunFailure::Load {
                model: package.model.to_string(),
                reason,
            });
        }
        let failed = |reason| RunFailure::Load {
            model: package.model.to_string(),
            reason,
        };
        if let Task::Chat | Task::Embedding = package.manifest.task {
            return self.language.load(package).map_err(failed);
        }
        let begun = Instant::now();
        let device = self.imaging.load(package).map_err(failed)?;
        let loaded = Loaded {
            model: package.model.clone(),
            task: package.manifest.task,
            device,
            load_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            context_tokens: None,
        };
        self.imaging.list(loaded.clone());
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

    /// Has a model of token classification mark what stands in a text.
    ///
    /// # Errors
    /// See [`RunFailure`].
    pub async fn mark(&self, model: &ModelRef, text: String) -> Result<Vec<Entity>, RunFailure> {
        self.imaging.mark(model, text).await
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

    /// The ids of a prompt's tokens, template included.
    ///
    /// # Errors
    /// See [`ChatRefusal`].
    pub fn tokens(&self, model: &str, prompt: &Prompt) -> Result<Vec<u32>, ChatRefusal> {
        self.language.tokens(model, prompt)
    }

    /// The text of tokens.
    ///
    /// # Errors
    /// See [`ChatRefusal`].
    pub fn text(&self, model: &str, tokens: &[u32]) -> Result<String, ChatRefusal> {
        self.language.text(model, tokens)
    }

    /// Makes texts into vectors by the embedding model of that name.
    ///
    /// # Errors
    /// See [`ChatRefusal`].
    pub fn embed(&self, model: &str, texts: &[String]) -> Result<Embeddings, ChatRefusal> {
        self.language.embed(model, texts)
    }

    /// What the engines of the language models count.
    #[must_use]
    pub fn figures(&self) -> Vec<(Loaded, EngineFigures)> {
        self.language.figures()
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
