//! Language models. Decoders from GGUF: tokenizer, graph, scheduler, KV cache, sampling. Encoders from safetensors or GGUF: texts
//! into vectors ([`Embedder`]). And for models that are run elsewhere, texts as tokens with their places ([`Slicer`]).
//!
//! ```text
//! Engine::submit --> template, tokenizer, "does it fit?", "is there room?" --> queue
//!                                                                               |
//!    engine thread:   admit -> plan (answers first, prompts in what time is left) -> Graph::forward -> choose -> send
//!                                                                               |
//! Generation::recv <-- whole characters, stop texts held back <-----------------+
//! ```
//! One thread decides and takes part in computing; the pool's threads compute. Prompts and answers of all sequences
//! share each pass over the weights, and what a beginning of a prompt gave is kept for the next prompt of the same scope
//! that begins alike; of those that come together, one reads it. Where an answer repeats what was said, several of its tokens are computed in one pass.
//! Arithmetic is row-independent, so the same seed and prompt give the same text whatever else is in the batch.
//!
//! Deliberately absent: HTTP, async runtimes, the network, the wall clock, and any text in logs.

mod architecture;
mod backend;
#[cfg(any(test, feature = "device"))]
mod device;
mod draft;
mod embedder;
mod encoder;
mod engine;
mod error;
mod fairness;
mod file;
mod forecast;
mod generation;
mod golden;
mod grammar;
mod graph;
pub mod header;
mod kernels;
mod limits;
mod map;
mod merges;
mod pieces;
mod prefix;
mod sampler;
mod schedule;
mod score;
mod sequence;
mod slicer;
mod step;
mod stop;
mod template;
mod thought;
mod timing;
mod tokenizer;
mod trial;
mod weights;
mod wordpiece;

#[cfg(test)]
#[allow(dead_code, reason = "not every test bends a file")]
#[path = "../tests/gguf/mod.rs"]
mod gguf;
#[cfg(test)]
#[path = "../tests/package/mod.rs"]
mod package;

pub use embedder::Embedder;
pub use engine::{Engine, EngineStats, ModelInfo};
pub use error::LoadError;
pub use generation::Generation;
pub use limits::EngineLimits;
pub use score::Scorer;
pub use slicer::Slicer;
pub use trial::try_device;
