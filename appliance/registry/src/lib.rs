//! Model packages: what is imported, that it is what it says, and which version of each is live.
//!
//! A package is a directory, or a tar of one: the payload in its own field's format (`model.gguf`, `model.onnx`), a
//! manifest `pericard-model.toml` that holds the SHA-256 of every other file, a card and golden cases. Nothing in it is
//! ever executed: payloads that run code when they are loaded are refused by their content, not by their name.
//!
//! - [`package`]: one package: read it, and verify every byte of it.
//! - [`Registry`]: the directory of imported packages, and which of them are live.

mod content;
pub mod package;
mod registry;
mod unpack;

pub use package::{PackageError, read_package};
pub use registry::{Entry, Registry, RegistryError, Standing};
