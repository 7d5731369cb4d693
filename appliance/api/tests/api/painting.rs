//! Pictures that are what they were told to be: one grey square, and an outline wherever a segmentation is asked.

use pericard_api::{Kept, Painter};
use pericard_dicom::segments::{Marked, Outline};
use pericard_domain::image::{FrameRef, GreyWindow};
use pericard_runner::{RunFailure, Shown, ShownFacts, View};
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
}
