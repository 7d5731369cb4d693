//! Why a model does not load.

use crate::header::HeaderError;
use std::path::PathBuf;

/// Why a model does not load. No request is involved, so nothing here can hold a patient.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be opened or mapped.
    #[error("cannot read the model file {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The header does not hold.
    #[error("the model file is refused: {0}")]
    Header(#[from] HeaderError),
    /// An architecture without a graph here.
    #[error("the architecture {0:?} is not supported; {known} are", known = crate::architecture::KNOWN)]
    Architecture(String),
    /// A metadata entry is missing or of the wrong type.
    #[error(
        "the metadata entry {0:?} is missing or has the wrong type; convert the model again with a current converter"
    )]
    Metadata(String),
    /// A tensor is missing or has the wrong shape.
    #[error("the tensor {name:?} is missing or does not have the shape {expected:?}")]
    Tensor {
        /// Which tensor.
        name: String,
        /// The shape that the metadata calls for, the fastest-running dimension first.
        expected: Vec<usize>,
    },
    /// A tokenizer that is not built here.
    #[error("the tokenizer cannot be built: {0}")]
    Tokenizer(String),
    /// The chat template does not parse.
    #[error("the chat template does not parse: {0}")]
    Template(String),
    /// A limit that leaves no room to work.
    #[error("the limit {0} leaves no room to work; raise it")]
    Limit(&'static str),
    /// The device that the configuration names cannot be had, or computes wrong. Nothing else computes in its place.
    #[error("the device cannot be used: {0}")]
    Device(String),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}
