//! The frames that wait to leave, as this room needs them: the gate's folders in production, scripted ones in tests. Here they
//! are looked at and held back. What sends them is another process, and nothing in this room reaches it.

use pericard_domain::time::Timestamp;
use pericard_egress::Preview;

/// Whoever keeps the frames that wait. Every call reads or writes files: none is made on an async thread. An error is a word
/// for the journal.
pub trait Outgoing: Send + Sync + 'static {
    /// Every frame and where it stands, the oldest first.
    ///
    /// # Errors
    /// When that cannot be told.
    fn frames(&self) -> Result<Frames, String>;

    /// What the frame of this number says; `None` when there is none, or what lies there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    fn decoded(&self, sequence: u32) -> Result<Option<Preview>, String>;

    /// Holds a frame back, or all of them, those to come too.
    ///
    /// # Errors
    /// When the mark cannot be written.
    fn hold(&self, sequence: Option<u32>) -> Result<(), String>;

    /// Takes a hold away; that of all frames leaves those of single ones.
    ///
    /// # Errors
    /// When the mark cannot be taken away.
    fn release(&self, sequence: Option<u32>) -> Result<(), String>;
}

/// What could leave, and whether it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frames {
    /// Whether there is a hub that frames could go to.
    pub is_enrolled: bool,
    /// Whether all frames are held, those to come too.
    pub are_all_held: bool,
    /// How long a frame can be read before it goes, from when the gate saw it first.
    pub hold_days: u32,
    /// The frames, the oldest first.
    pub frames: Vec<ClosedFrame>,
}

/// A week that is over, as a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedFrame {
    /// Its number.
    pub sequence: u32,
    /// The week that it tells of, counted from Monday 5 January 1970; `None` where it does not say.
    pub week: Option<u16>,
    /// Where it stands.
    pub state: FrameState,
    /// Whether it is held by itself, whatever is done with all.
    pub is_held: bool,
}

/// Where a frame stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameState {
    /// The gate has not seen it yet.
    Unseen,
    /// It can be read and held back until then.
    Waiting {
        /// When it may go.
        until: Timestamp,
    },
    /// It is held back, and with it those behind it.
    Held,
    /// It goes in one of the next slots.
    Due,
    /// The hub refused it, and it is tried again.
    Refused {
        /// In words of a closed list.
        why: &'static str,
    },
    /// It is no frame that may be sent, and nothing behind it goes.
    Unusable,
    /// The hub has it, or it is never sent.
    Over,
}
