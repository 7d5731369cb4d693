//! ONNX models: transforms, text spotting, volume segmentation, token classification.
//!
//! Pixels in, boxes or masks out; or, of a text, its tokens in and what stands where out. The room opens the files of a verified model package and nothing else; it knows no
//! study, no patient and no network. ONNX Runtime is a shared library whose path is handed in.
//!
//! - [`Runtime`]: the loaded library, one per process.
//! - [`Model`]: one package, ready to run.
//! - [`Labeller`]: one package that reads texts, ready to run.
//! - [`golden`]: the files of golden cases.
//! - [`ImagingError`]: what went wrong and what to do.
//!
//! Deliberately absent: external weight files, operators that are not in [`OPERATOR_DOMAINS`], models that run code of
//! their own, thread pools that spin while they wait (they take the cores from the language engine).

mod error;
pub mod golden;
mod grid;
mod labels;
mod model;
mod network;
mod onnx;
mod parameters;
mod runtime;
mod text;
mod version;
mod volume;

pub use error::ImagingError;
pub use labels::Labeller;
pub use model::Model;
pub use onnx::OPERATOR_DOMAINS;
pub use runtime::{NO_REPORTS, Runtime};

/// The most pixels that one frame may have.
pub const FRAME_PIXELS_MAX: usize = 64 << 20;
/// The most frames that one input may have.
pub const FRAMES_MAX: usize = 16_384;
/// The most voxels that one volume may have.
pub const VOLUME_VOXELS_MAX: usize = 320 << 20;
/// The largest model file that is read, bytes: an ONNX file cannot be larger (a protobuf's own limit).
pub const MODEL_FILE_BYTES_MAX: u64 = 2 << 30;
