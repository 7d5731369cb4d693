//! The seam that jobs and the API see: models and the reader of DICOM, each in a confined process of its own.
//!
//! What crosses it are the plain words of `domain`: `ImagingInput` in and `ImagingOutput` out, `ChatRequest` in and
//! `ChatEvent`s out. Neither engine's types, threads or processes show on this side. A worker that dies, hangs or takes
//! more than it may is [`RunFailure::Lost`]: it costs one attempt, and another takes its place.
//!
//! - [`Runner`]: the handle; load, unload, list, infer, chat.
//! - [`Reader`]: strangers' DICOM objects as frames or one volume, in shared memory ([`Picture`]), or as a picture for people
//!   ([`View`]).
//! - [`Runner::scan`]: what an object is that arrives, before it is kept.
//! - [`worker`]: the other side, what `pericard worker KIND` does.
//! - [`attempt`]: tries a worker's walls from inside, one attempt at a time.

mod attempt;
mod imaging;
mod language;
mod picture;
mod reader;
mod rests;
mod runner;
mod scanner;
mod staff;
mod view;
mod words;
pub mod worker;

pub use attempt::{Kind, Prisoner};
pub use language::Talk;
pub use pericard_confine::keep_few_heaps;
pub use pericard_confine::{Limits, Lost, Program, Wall, Walls, attempts};
pub use pericard_imaging::NO_REPORTS;
pub use picture::Picture;
pub use reader::{Cleaned, Reader};
pub use runner::{LARGE_PAGES, Loaded, RunFailure, Runner, RunnerConfig, workers_of};
pub use scanner::{Haste, ScanFailure, ScannedObject};
pub use view::{Form, Raw, Shown, ShownFacts, View};
