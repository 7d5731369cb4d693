//! What computes a step: our own kernels on the processor, or a device through tensors. Chosen once, when the model is
//! loaded; the scheduler asks the same of both.

use crate::architecture::Architecture;
use crate::error::LoadError;
use crate::file::ModelFile;
use crate::graph::{Batch, Graph};
use crate::kernels::Tier;
use crate::kernels::pages::Cache;
use crate::kernels::pool::Pool;
use crate::limits::EngineLimits;
use crate::step::DRAFT_ROWS_MAX;
use crate::weights::Weights;
use pericard_domain::device::Device;
#[cfg(any(test, feature = "device"))]
use pericard_domain::device::KvForm;

/// A model that is read, before anything computes it.
pub(crate) struct Model<'a> {
    pub(crate) file: &'a ModelFile,
    pub(crate) shape: Architecture,
    /// Tokens in the vocabulary.
    pub(crate) tokens: usize,
    pub(crate) limits: &'a EngineLimits,
}

/// A model where it is computed.
pub(crate) struct Loaded {
    pub(crate) backend: Backend,
    pub(crate) cache: Cache,
    /// Memory of the matrices, bytes.
    pub(crate) weights_bytes: usize,
    /// The instruction set in use.
    pub(crate) instructions: &'static str,
}

/// What computes.
pub(crate) enum Backend {
    /// Our own kernels.
    Processor(Box<Graph>),
    /// A GPU, or in tests the processor in its place.
    #[cfg(any(test, feature = "device"))]
    Device(Box<crate::device::DeviceGraph>),
}

/// What is said where a device is to keep keys and values as the processor alone can.
#[cfg(any(test, feature = "device"))]
const ONLY_FLOATS: &str =
    "keys and values in eight bits (`q8`) are for the processor; a device keeps them as `f16`";

/// What is said where this program has no such device.
#[cfg(not(feature = "device"))]
pub(crate) fn not_built(device: Device) -> String {
    format!(
        "this program was built without {device}; install the build that has it (pericard-cuda for an NVIDIA GPU), or set `device = \"cpu\"`"
    )
}

impl Model<'_> {
    /// Loads it onto a device.
    ///
    /// # Errors
    /// Why that cannot be had, or what is wrong with the file.
    pub(crate) fn on(self, device: Device) -> Result<Loaded, LoadError> {
        match device {
            Device::Cpu => self.on_processor(),
            #[cfg(feature = "device")]
            device => {
                self.on_tensors(crate::device::open::open(device).map_err(LoadError::Device)?)
            }
            #[cfg(not(feature = "device"))]
            device => Err(LoadError::Device(not_built(device))),
        }
    }

    fn on_processor(self) -> Result<Loaded, LoadError> {
        let packed = Weights::read(self.file, &self.shape, self.tokens)?;
        let cache = Cache::new(&self.shape, self.limits.kv_bytes_max, self.limits.kv_form);
        let pool = Pool::new(self.limits.threads).map_err(LoadError::Thread)?;
        let tier = Tier::detect();
        let weights_bytes = packed.memory_bytes();
        let outputs = self.limits.sequences_max.max(DRAFT_ROWS_MAX);
        let graph = Graph::new(self.shape, packed, pool, tier)
            .with_room(self.limits.step_tokens_max, outputs);
        Ok(Loaded {
            backend: Backend::Processor(Box::new(graph)),
            cache,
            weights_bytes,
            instructions: tier.name(),
        })
    }

    /// Loads it as tensors.
    #[cfg(any(test, feature = "device"))]
    pub(crate) fn on_tensors(self, device: candle_core::Device) -> Result<Loaded, LoadError> {
        if self.limits.kv_form != KvForm::F16 {
            return Err(LoadError::Device(ONLY_FLOATS.to_owned()));
        }
        let cache = Cache::elsewhere(&self.shape, self.limits.kv_bytes_max);
        let sizes = (self.tokens, &cache);
        let graph = crate::device::DeviceGraph::load(device, self.file, self.shape, sizes)?;
        Ok(Loaded {
            weights_bytes: graph.weights_bytes(),
            backend: Backend::Device(Box::new(graph)),
            cache,
            instructions: "device",
        })
    }
}

impl Backend {
    /// The vocabulary's size.
    pub(crate) fn vocabulary(&self) -> usize {
        match self {
            Self::Processor(graph) => graph.vocabulary(),
            #[cfg(any(test, feature = "device"))]
            Self::Device(graph) => graph.vocabulary(),
        }
    }

    /// Takes a batch through the decoder: its keys and values are kept, and the logits of its outputs come back, a row of
    /// the vocabulary's size for each.
    ///
    /// # Errors
    /// What the device says. Nothing that it computes afterwards is to be believed.
    pub(crate) fn forward(&mut self, cache: &mut Cache, batch: &Batch) -> Result<&[f32], String> {
        match self {
            Self::Processor(graph) => Ok(graph.forward(cache, batch)),
            #[cfg(any(test, feature = "device"))]
            Self::Device(graph) => graph.forward(cache, batch).map_err(|e| e.to_string()),
        }
    }

    #[cfg_attr(
        not(any(test, feature = "device")),
        expect(unused_variables, reason = "here they were emptied already")
    )]
    /// Empties the pages that nobody holds any more, where that was not done as they were given back.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub(crate) fn empty(&mut self, cache: &mut Cache) -> Result<(), String> {
        match self {
            Self::Processor(_) => Ok(()),
            #[cfg(any(test, feature = "device"))]
            Self::Device(graph) => graph.empty(cache).map_err(|e| e.to_string()),
        }
    }
}
