//! What can go wrong here, and what to do about it.

use pericard_domain::model::Task;
use std::path::PathBuf;

/// Why a model could not be loaded or run. No text of any variant holds pixels or patient data.
#[derive(Debug, thiserror::Error)]
pub enum ImagingError {
    /// The shared library of ONNX Runtime cannot be used.
    #[error(
        "ONNX Runtime cannot be loaded from {path}: {reason}; install the pinned library there"
    )]
    Library {
        /// Where it was looked for.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// Another library is loaded already; a process can hold one.
    #[error(
        "ONNX Runtime is loaded from {loaded} already, so {asked} cannot be; one process holds one library"
    )]
    OtherLibrary {
        /// The one in use.
        loaded: PathBuf,
        /// The one asked for.
        asked: PathBuf,
    },
    /// The package's task is served by another engine.
    #[error("task {task:?} is not an imaging task; its package belongs to another engine")]
    Task {
        /// What the manifest says.
        task: Task,
    },
    /// The manifest does not say which file plays a part.
    #[error("the manifest names no file for part `{part}`; add it under [parts]")]
    Part {
        /// The part that the pipeline needs.
        part: &'static str,
    },
    /// A parameter of the manifest is missing, unknown or out of range.
    #[error("parameter `{name}` of the manifest {reason}")]
    Parameter {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of the package cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A model file is not what may be loaded.
    #[error("{path} is refused: {reason}")]
    Refused {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A network's inputs or outputs are not what its part in the pipeline needs.
    #[error("the network of part `{part}` does not fit its pipeline: {reason}")]
    Unfit {
        /// Its part.
        part: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// ONNX Runtime failed.
    #[error("ONNX Runtime failed to {doing} `{part}`: {reason}")]
    Engine {
        /// What it was doing.
        doing: &'static str,
        /// The part of the package.
        part: &'static str,
        /// What it said.
        reason: String,
    },
    /// The input is not one that the model takes.
    #[error("the input cannot be used: {reason}")]
    Input {
        /// Why.
        reason: String,
    },
    /// The input is larger than a named limit allows.
    #[error("the input has {size} {what}, more than the limit of {limit}")]
    TooLarge {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        size: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A golden case's file is not in the form that the pipeline reads.
    #[error("golden case file {path} is malformed: {reason}")]
    GoldenFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A golden case did not come out as it must. The model must not serve.
    #[error("golden case `{case}` is off: {off}; the model must not serve on this machine")]
    Golden {
        /// Which case.
        case: String,
        /// By how much.
        off: String,
    },
}

impl ImagingError {
    /// An input that cannot be used.
    pub(crate) fn input(reason: impl Into<String>) -> Self {
        Self::Input {
            reason: reason.into(),
        }
    }
}
