//! The seam that jobs and the API see: loads models, shares the cores, contains their failures.
//!
//! What crosses it are the plain words of `domain`: `ImagingInput` in and `ImagingOutput` out, `ChatRequest` in and
//! `ChatEvent`s out. Neither engine's types, threads or processes show on this side.
//!
//! - [`Runner`]: the handle; load, list, infer, chat.
//! - [`imaging`](self): one imaging inference at a time, on the cores that are imaging's share.
//! - [`language`](self): one engine for each language model, each with its own scheduler.

mod imaging;
mod language;
mod runner;

pub use language::Talk;
pub use runner::{Loaded, RunFailure, Runner, RunnerConfig};
