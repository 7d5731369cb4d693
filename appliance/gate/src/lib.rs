//! The gate: the one process that sends anything to anybody, and what it sends is frames, to one hub.
//!
//! It knows two folders. In the spool lie frames that another process made; here they are read only, and every range is
//! checked again. In its own [`Desk`] lie its keys, the enrolment that an officer brought from the hub, what was sent and
//! what was answered. Whatever it does is one step that may be cut off anywhere and taken again: a frame's signed bytes are
//! on disk before their first byte is on the wire, and they are what every retry sends.
//!
//! - [`Desk`]: the gate's own folder, and every file in it.
//! - [`Enrolment`]: who the hub is, and who we are to it; made and believed as hand-carried text.
//! - [`Spool`]: the frames, and which of them the hospital holds back.
//! - [`Gate`]: what stands where, one send slot after the other, and frames carried by hand.
//! - [`Watch`]: what it is run with: the time, and somebody who hears what came of each slot.
//! - [`Line`]: the connection: TLS 1.3, both sides known, one key pinned, no name looked up.
//!
//! Deliberately absent: a clock, randomness and a journal, which the caller brings; a second connection; a second request;
//! any header that is not the same each time.

mod desk;
mod enrolment;
mod gate;
mod line;
mod reply;
mod slots;
mod spool;
mod standing;

pub use desk::{Desk, DeskError};
pub use enrolment::{Enrolment, EnrolmentError, accept, request};
pub use gate::{Gate, GateError, Slot};
pub use line::{Line, LineError, MAX_HEAD_BYTES};
pub use pericard_frame::plan::Metric;
pub use pericard_frame::reply::{Kind, Reason, Status};
pub use pericard_frame::{Advisory, Plan, Reply};
pub use reply::{ReplyError, advisories, plans};
pub use slots::Watch;
pub use spool::{Spool, SpoolError};
pub use standing::{Placed, Rules, Standing};
