//! The seam that jobs and the API see: loads models, shares the cores, contains their failures.
//!
//! What crosses it are the plain words of `domain`: [`ImagingInput`] in and [`ImagingOutput`] out, [`ChatRequest`] in and
//! [`ChatEvent`]s out. Neither engine's types, threads or processes show on this side.

mod runner;

pub use runner::{Loaded, RunFailure, Runner, RunnerConfig, Talk};
