//! Pictures that are what they were told to be: one grey square, and an outline wherever a segmentation is asked.

use pericard_api::{Kept, Painter, Reading};
use pericard_dicom::json::{self, BulkPath, JsonError};
use pericard_dicom::pixels::Pixels;
use pericard_dicom::scan::ScanLimits;
use pericard_dicom::segments::{Marked, Outline};
use pericard_domain::image::{FrameRef, GreyWindow};
use pericard_runner::{Raw, RunFailure, Shown, ShownFacts, View};
use std::fs::File;
use std::sync::Mutex;

/// The scripted painter.
#[derive(Default)]
pub(crate) struct Painting {
    /// What was asked for: which object, and how.
    pub(crate) asked: Mutex<Vec<(String, View)>>,
}

impl Painter for Painting {
    fn show(&self, object: &Kept, view: &View) -> Result<Shown, RunFailure> {
        let mut asked = self.asked.lock().expect("not poisoned");
        asked.push((object.instance.to_string(), *view));
        if !object.path.exists() {
            return Err(RunFailure::Unreadable("there is no such file".into()));
        }
        if view.frame > 1 {
            let why = format!("object {}: it has no such frame", object.instance);
            return Err(RunFailure::Undecodable(why));
        }
        let window = GreyWindow {
            center: 40.0,
            width: 400.0,
        };
        Ok(Shown {
            bytes: b"\x89PNG\r\n\x1a\n".to_vec(),
            facts: ShownFacts {
                width: 1,
                height: 1,
                window: Some(view.window.unwrap_or(window)),
            },
        })
    }

    fn marks(
        &self,
        _: &Kept,
        _: Option<&FrameRef>,
    ) -> Result<(Vec<Marked>, Vec<Outline>), RunFailure> {
        Ok((Vec::new(), Vec::new()))
    }

    fn reading(&self) -> Box<dyn Reading> {
        Box::new(InProcess)
    }
}

/// A reader without a process of its own: what it says is what the real one says, which `tests/workers` shows to be
/// behind walls.
struct InProcess;

fn undecodable(error: &dyn std::fmt::Display) -> RunFailure {
    RunFailure::Undecodable(error.to_string())
}

fn opened(object: &Kept) -> Result<File, RunFailure> {
    File::open(&object.path).map_err(|e| RunFailure::Unreadable(e.to_string()))
}

impl Reading for InProcess {
    fn describe(&mut self, object: &Kept, base: &str) -> Result<Vec<u8>, RunFailure> {
        let described = json::describe(&mut opened(object)?, &ScanLimits::default(), base);
        described
            .map(|value| value.to_string().into_bytes())
            .map_err(|e| undecodable(&e))
    }

    fn bytes(&mut self, object: &Kept, frame: u32, raw: Raw) -> Result<Vec<u8>, RunFailure> {
        let pixels = Pixels::open(&object.path, &ScanLimits::default());
        let mut pixels = pixels.map_err(|e| undecodable(&e))?;
        let bytes = match raw {
            Raw::Stored => pixels.stored_bytes(frame),
            Raw::Native => pixels.native_bytes(frame),
        };
        bytes.map_err(|e| undecodable(&e))
    }

    fn bulk(&mut self, object: &Kept, path: &BulkPath) -> Result<Option<Vec<u8>>, RunFailure> {
        match json::bulk(&mut opened(object)?, &ScanLimits::default(), path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(JsonError::NoSuchBulk) => Ok(None),
            Err(error) => Err(undecodable(&error)),
        }
    }

    fn show(&mut self, _: &Kept, view: &View) -> Result<Shown, RunFailure> {
        Ok(Shown {
            bytes: format!("picture {}", view.frame).into_bytes(),
            facts: ShownFacts {
                width: 1,
                height: 1,
                window: None,
            },
        })
    }
}
