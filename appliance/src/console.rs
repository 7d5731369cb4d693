//! What the console is shown of rooms that `api` does not reach: the gate's folders, and the registry.

use pericard_api::{ClosedFrame, FrameState, Frames, Imported};
use pericard_domain::time::{Clock, Timestamp};
use pericard_egress::Preview;
use pericard_gate::{Desk, Enrolment, Gate, Placed, Rules, Spool, SpoolError, Standing};
use pericard_registry::Registry;
use std::path::PathBuf;
use std::sync::Arc;

/// The registry in this folder.
pub(crate) struct Imports(pub(crate) PathBuf);

impl pericard_api::Imports for Imports {
    fn imported(&self) -> Result<Vec<Imported>, String> {
        use pericard_registry::Standing;
        let listed = Registry::open(&self.0).and_then(|registry| registry.list());
        let entries = listed.map_err(|error| error.to_string())?.into_iter();
        let imported = entries.map(|entry| Imported {
            model: entry.model,
            standing: match entry.standing {
                Standing::Imported => pericard_api::Standing::Imported,
                Standing::Live => pericard_api::Standing::Live,
                Standing::Retired => pericard_api::Standing::Retired,
            },
        });
        Ok(imported.collect())
    }
}

/// The frames that wait for the gate.
pub(crate) struct Outgoing {
    pub(crate) spool: Spool,
    pub(crate) desk: Desk,
    pub(crate) rules: Rules,
    pub(crate) clock: Arc<dyn Clock>,
}

impl pericard_api::Outgoing for Outgoing {
    fn frames(&self) -> Result<Frames, String> {
        let enrolment = Enrolment::read(&self.desk).map_err(said)?;
        let now_s = u64::try_from(self.clock.now().as_millis() / 1000).unwrap_or(0);
        let placed = Gate::standings((&self.spool, &self.desk), self.rules, now_s);
        let placed = placed.map_err(said)?.into_iter();
        let frames = placed.map(|placed| self.closed(placed));
        Ok(Frames {
            is_enrolled: enrolment.is_some(),
            are_all_held: self.spool.has_mark(None).map_err(said)?,
            hold_days: self.rules.hold_days,
            frames: frames.collect::<Result<_, _>>()?,
        })
    }

    fn decoded(&self, sequence: u32) -> Result<Option<Preview>, String> {
        match self.spool.frame(sequence) {
            Ok(frame) => Preview::of(&frame).map(Some).map_err(said),
            Err(SpoolError::Io { path, verb, error }) => {
                Err(said(SpoolError::Io { path, verb, error }))
            }
            Err(_) => Ok(None),
        }
    }

    fn hold(&self, sequence: Option<u32>) -> Result<(), String> {
        self.spool.hold(sequence).map_err(said)
    }

    fn release(&self, sequence: Option<u32>) -> Result<(), String> {
        self.spool.release(sequence).map(|_| ()).map_err(said)
    }
}

impl Outgoing {
    fn closed(&self, placed: Placed) -> Result<ClosedFrame, String> {
        let Placed { sequence, standing } = placed;
        Ok(ClosedFrame {
            sequence,
            week: self.week(sequence)?,
            state: state(standing),
            is_held: self.spool.has_mark(Some(sequence)).map_err(said)?,
        })
    }

    /// The week that a frame tells of; `None` where what lies there is no frame of this version.
    fn week(&self, sequence: u32) -> Result<Option<u16>, String> {
        let Some(preview) = pericard_api::Outgoing::decoded(self, sequence)? else {
            return Ok(None);
        };
        let week = preview.numbers.iter().find(|number| number.name == "week");
        Ok(week.and_then(|number| number.value.try_into().ok()))
    }
}

fn state(standing: Standing) -> FrameState {
    match standing {
        Standing::Unseen => FrameState::Unseen,
        Standing::Waiting { until_s } => FrameState::Waiting {
            until: Timestamp::from_millis(
                i64::try_from(until_s.saturating_mul(1000)).unwrap_or(i64::MAX),
            ),
        },
        Standing::Held => FrameState::Held,
        Standing::Due => FrameState::Due,
        Standing::Refused(reason) => FrameState::Refused {
            why: reason.meaning(),
        },
        Standing::Unusable => FrameState::Unusable,
        Standing::Foreign | Standing::Older | Standing::Accepted => FrameState::Over,
    }
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}
