//! One package, loaded: its networks and the pipeline that its task asks for.

use crate::golden;
use crate::text::TextSpotter;
use crate::volume::VolumeSegmenter;
use crate::{ImagingError, Runtime};
use pericard_domain::device::Device;
use pericard_domain::image::{ImagingInput, ImagingOutput};
use pericard_domain::model::{GoldenCase, Package, Task};
use std::path::Path;

/// One loaded package. Same input, same number of threads, same library: same output, to the bit.
pub struct Model {
    pipeline: Pipeline,
    device: Device,
}

enum Pipeline {
    Text(Box<TextSpotter>),
    Volume(Box<VolumeSegmenter>),
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let task = match self.pipeline {
            Pipeline::Text(_) => Task::TextSpotting,
            Pipeline::Volume(_) => Task::VolumeSegmentation,
        };
        f.debug_struct("Model")
            .field("task", &task)
            .finish_non_exhaustive()
    }
}

impl Model {
    /// Loads the networks of a verified package. Each runs on `threads` threads, which sleep while there is no work.
    ///
    /// # Errors
    /// When the task is not an imaging task, a part or parameter is missing or out of range, or a file is not a model
    /// that may be loaded.
    pub fn load(
        runtime: &Runtime,
        package: &Package,
        threads: usize,
    ) -> Result<Self, ImagingError> {
        let pipeline = match package.manifest.task {
            Task::TextSpotting => {
                Pipeline::Text(Box::new(TextSpotter::load(runtime, package, threads)?))
            }
            Task::VolumeSegmentation => {
                Pipeline::Volume(Box::new(VolumeSegmenter::load(runtime, package, threads)?))
            }
            task @ (Task::Chat | Task::Embedding | Task::TokenClassification) => {
                return Err(ImagingError::Task { task });
            }
        };
        Ok(Self {
            pipeline,
            device: runtime.device(),
        })
    }

    /// Runs the model: frames give text (see the package's card for how clips are looked at), a volume gives a mask in
    /// its own geometry.
    ///
    /// # Errors
    /// [`ImagingError::Input`] or [`ImagingError::TooLarge`] when the input is not one that the model takes,
    /// [`ImagingError::Engine`] when ONNX Runtime fails.
    pub fn infer(&mut self, input: &ImagingInput) -> Result<ImagingOutput, ImagingError> {
        match (&mut self.pipeline, input) {
            (Pipeline::Text(spotter), ImagingInput::Frames(frames)) => {
                spotter.spot(frames).map(ImagingOutput::Text)
            }
            (Pipeline::Volume(segmenter), ImagingInput::Volume(volume)) => {
                segmenter.segment(volume).map(ImagingOutput::Mask)
            }
            (Pipeline::Text(_), ImagingInput::Volume(_)) => {
                Err(ImagingError::input("it takes frames, not a volume"))
            }
            (Pipeline::Volume(_), ImagingInput::Frames(_)) => {
                Err(ImagingError::input("it takes a volume, not frames"))
            }
        }
    }

    /// Runs one golden case, whose files lie under `dir`.
    ///
    /// Text: the input is a PNG (8 bits, grey or RGB), the expected output `{"boxes": [{"text", "corners"}]}` in reading
    /// order; texts must be equal and corners within `tolerance` pixels. Volume: the input is an attached, raw NRRD in
    /// left-posterior-superior space, the expected output `{"mask_runs": [...]}`, the lengths of alternating runs outside
    /// and inside; 1 - Dice must be within `tolerance`.
    ///
    /// # Errors
    /// [`ImagingError::Golden`] says by how much the case is off.
    pub fn golden(&mut self, case: &GoldenCase, dir: &Path) -> Result<(), ImagingError> {
        let (input, expected) = (dir.join(&case.input), dir.join(&case.expected));
        let off = match &self.pipeline {
            Pipeline::Text(_) => {
                let expected = golden::ExpectedText::read(&expected)?;
                let output =
                    self.infer(&ImagingInput::Frames(vec![golden::read_frame(&input)?]))?;
                expected.off(&output, case.tolerance)
            }
            Pipeline::Volume(_) => {
                let expected = golden::ExpectedMask::read(&expected)?;
                let output = self.infer(&ImagingInput::Volume(golden::read_volume(&input)?))?;
                expected.off(&output, case.tolerance)
            }
        };
        off.map_or(Ok(()), |off| {
            Err(ImagingError::Golden {
                case: case.name.clone(),
                off,
            })
        })
    }

    /// Where it computes.
    #[must_use]
    pub const fn device(&self) -> Device {
        self.device
    }
}
