//! Frames that wait and models that were imported, as a test puts them.

use pericard_api::{ClosedFrame, FrameState, Frames, Imported, Imports, Outgoing};
use pericard_egress::{Meter, Preview};
use std::collections::BTreeSet;
use std::sync::Mutex;

/// The scripted shelves.
#[derive(Default)]
pub(crate) struct Shelves {
    pub(crate) frames: Mutex<Vec<ClosedFrame>>,
    /// The frames that are held, `None` for all.
    pub(crate) held: Mutex<BTreeSet<Option<u32>>>,
    pub(crate) is_enrolled: Mutex<bool>,
    /// Why nothing can be read or written.
    pub(crate) trouble: Mutex<Option<String>>,
    pub(crate) imported: Mutex<Vec<Imported>>,
}

impl Shelves {
    fn trouble(&self) -> Result<(), String> {
        match &*self.trouble.lock().expect("not poisoned") {
            Some(why) => Err(why.clone()),
            None => Ok(()),
        }
    }
}

impl Outgoing for Shelves {
    fn frames(&self) -> Result<Frames, String> {
        self.trouble()?;
        let held = self.held.lock().expect("not poisoned");
        let are_all_held = held.contains(&None);
        let frames = self.frames.lock().expect("not poisoned");
        let each = frames.iter().map(|frame| {
            let is_held = held.contains(&Some(frame.sequence));
            let over = frame.state == FrameState::Over;
            let state = match (is_held || are_all_held) && !over {
                true => FrameState::Held,
                false => frame.state,
            };
            ClosedFrame {
                state,
                is_held,
                ..*frame
            }
        });
        Ok(Frames {
            is_enrolled: *self.is_enrolled.lock().expect("not poisoned"),
            are_all_held,
            hold_days: 3,
            frames: each.collect(),
        })
    }

    fn decoded(&self, sequence: u32) -> Result<Option<Preview>, String> {
        self.trouble()?;
        let frames = self.frames.lock().expect("not poisoned");
        if !frames.iter().any(|frame| frame.sequence == sequence) {
            return Ok(None);
        }
        let preview = Meter::in_memory().preview();
        preview.map(Some).map_err(|error| error.to_string())
    }

    fn hold(&self, sequence: Option<u32>) -> Result<(), String> {
        self.trouble()?;
        self.held.lock().expect("not poisoned").insert(sequence);
        Ok(())
    }

    fn release(&self, sequence: Option<u32>) -> Result<(), String> {
        self.trouble()?;
        self.held.lock().expect("not poisoned").remove(&sequence);
        Ok(())
    }
}

impl Imports for Shelves {
    fn imported(&self) -> Result<Vec<Imported>, String> {
        self.trouble()?;
        Ok(self.imported.lock().expect("not poisoned").clone())
    }
}
