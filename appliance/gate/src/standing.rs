//! Where a frame stands: the hold period, holds, and what the hub answered.

use crate::desk::Desk;
use crate::gate::GateError;
use crate::reply::kept_reply;
use crate::spool::{Spool, SpoolError};
use pericard_frame::reply::{Reason, Status};
use pericard_frame::{Fault, layout};
use std::fmt;

/// How frames go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How long a frame can be read and held back before it is sent, from when the gate saw it first.
    pub hold_days: u32,
}

impl Rules {
    fn until_s(self, seen_s: u64) -> u64 {
        seen_s.saturating_add(u64::from(self.hold_days) * 86_400)
    }
}

/// Where a frame stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It carries another number than the enrolment's: made before it, and never sent.
    Foreign,
    /// An earlier version of the appliance made it, in a layout that this one does not speak: it is not sent any more.
    Older,
    /// The gate has not seen it yet.
    Unseen,
    /// It can be read and held back until then, seconds since 1970.
    Waiting {
        /// Until when.
        until_s: u64,
    },
    /// The hospital holds it back, and with it those behind it.
    Held,
    /// It goes in one of the next slots, those before it first.
    Due,
    /// The hub refused it, and it is tried again.
    Refused(Reason),
    /// The hub has it.
    Accepted,
    /// What lies in the spool is no frame; it is not sent, and nothing behind it.
    Unusable,
}

/// A frame and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its number.
    pub sequence: u32,
    /// Where it stands.
    pub standing: Standing,
}

impl Standing {
    /// Where this frame stands now, for the appliance of this number.
    pub(crate) fn of(
        (spool, desk): (&Spool, &Desk),
        (sequence, appliance): (u32, u32),
        rules: Rules,
        now_s: u64,
    ) -> Result<Self, GateError> {
        let reply = kept_reply(desk, sequence)?;
        if reply
            .as_ref()
            .is_some_and(|r| r.status() != Status::Refused)
        {
            return Ok(Self::Accepted);
        }
        let frame = match spool.frame(sequence) {
            Ok(frame) => frame,
            Err(SpoolError::Fault { fault, .. }) if is_older(fault) => return Ok(Self::Older),
            Err(SpoolError::Fault { .. } | SpoolError::Misnamed { .. }) => {
                return Ok(Self::Unusable);
            }
            Err(error) => return Err(error.into()),
        };
        if frame.get(&layout::APPLIANCE, 0) != u64::from(appliance) {
            return Ok(Self::Foreign);
        }
        if spool.is_held(sequence)? {
            return Ok(Self::Held);
        }
        let Some(seen_s) = desk.seen(sequence)? else {
            return Ok(Self::Unseen);
        };
        let until_s = rules.until_s(seen_s);
        Ok(match reply {
            _ if now_s < until_s => Self::Waiting { until_s },
            Some(reply) => Self::Refused(reply.reason()),
            None => Self::Due,
        })
    }

    /// Whether it may go now, once those before it are gone.
    #[must_use]
    pub const fn may_go(self) -> bool {
        matches!(self, Self::Due | Self::Refused(_))
    }

    /// Whether those behind it need not wait for it.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Accepted | Self::Foreign | Self::Older)
    }
}

/// Whether these bytes are a frame of another layout: its mark is right, and its version is not.
fn is_older(fault: Fault) -> bool {
    let version = layout::LAYOUT_VERSION.spec().name;
    matches!(fault, Fault::OutOfRange { field, .. } if field == version)
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("made before the enrolment, never sent"),
            Self::Older => f.write_str("made by an earlier version, not sent any more"),
            Self::Unseen => f.write_str("not seen by the gate yet"),
            Self::Waiting { until_s } => write!(f, "waiting until {until_s} s after 1970"),
            Self::Held => f.write_str("held"),
            Self::Due => f.write_str("goes in one of the next slots"),
            Self::Refused(reason) => write!(f, "refused: {}", reason.meaning()),
            Self::Accepted => f.write_str("accepted"),
            Self::Unusable => f.write_str("not a frame, not sent"),
        }
    }
}
