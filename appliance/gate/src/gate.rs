//! The gate at work: one slot after the other, and frames carried by hand.

use crate::desk::{self, Desk, DeskError};
use crate::enrolment::{self, Enrolment, EnrolmentError};
use crate::line::{Line, LineError};
use crate::reply::{self, ReplyError};
use crate::slots::{self, Watch};
use crate::spool::{Spool, SpoolError};
use crate::standing::{Placed, Rules, Standing};
use pericard_audit::SigningKey;
use pericard_frame::reply::{Reason, Status};
use pericard_frame::{FRAME_BYTES, FRAME_SIGNED_AS, Frame, Reply};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A slot came to nothing. The next one begins where this one began.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// A file of the gate cannot be used.
    #[error(transparent)]
    Desk(#[from] DeskError),
    /// The enrolment cannot be believed.
    #[error(transparent)]
    Enrolment(#[from] EnrolmentError),
    /// A frame cannot be read, or is none.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The hub did not answer.
    #[error(transparent)]
    Line(#[from] LineError),
    /// What it answered is not to be believed.
    #[error("the answer to frame {sequence} is not believed, and the frame is sent again: {error}")]
    Reply {
        /// The frame.
        sequence: u32,
        /// Why not.
        error: ReplyError,
    },
    /// The spool holds other bytes than were signed and sent under this number.
    #[error(
        "the spool holds another frame {0} than the one that was signed; nothing is sent. Restore the data directory, or ask who changed it"
    )]
    OtherBytes(u32),
    /// A carried file is not named after a frame.
    #[error("{} is not named as a reply to a frame is: NNNNNNNN.reply", .0.display())]
    Name(PathBuf),
    /// A carried reply answers a frame that was never signed.
    #[error("frame {0} was not carried out from here, so that there is no answer to it")]
    NotSent(u32),
}

/// What came of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// A frame was sent, and the hub answered.
    Sent {
        /// The frame.
        sequence: u32,
        /// What the hub said.
        status: Status,
        /// Why it refused.
        reason: Reason,
    },
    /// The frame that is next may not go yet.
    Waits(Placed),
    /// Every frame is with the hub, or there is none.
    Nothing,
}

/// The gate, open: no other process has its desk meanwhile.
#[derive(Debug)]
pub struct Gate {
    spool: Spool,
    desk: Desk,
    rules: Rules,
    enrolment: Enrolment,
    key: SigningKey,
    line: Line,
    /// Held as long as the gate is open.
    _lock: File,
}

impl Gate {
    /// Opens the gate; `None` when no hub is enrolled.
    ///
    /// # Errors
    /// When another process has it open, or its folder is not as it left it.
    pub fn open(spool: Spool, desk: Desk, rules: Rules) -> Result<Option<Self>, GateError> {
        let Some(enrolment) = Enrolment::read(&desk)? else {
            return Ok(None);
        };
        desk.make()?;
        Ok(Some(Self {
            _lock: desk.lock()?,
            key: enrolment::frame_key(&desk)?,
            line: Line::to(&enrolment, enrolment::tls_key(&desk)?)?,
            spool,
            desk,
            rules,
            enrolment,
        }))
    }

    /// Who the hub is.
    #[must_use]
    pub fn enrolment(&self) -> &Enrolment {
        &self.enrolment
    }

    /// Where every frame stands, the oldest first. Needs no gate that is open, and no key.
    ///
    /// # Errors
    /// When the spool or the gate's folder cannot be read.
    pub fn standings(
        (spool, desk): (&Spool, &Desk),
        rules: Rules,
        now_s: u64,
    ) -> Result<Vec<Placed>, GateError> {
        let appliance = Enrolment::read(desk)?.map_or(0, |enrolment| enrolment.appliance);
        let place = |sequence| {
            let whose = (sequence, appliance);
            let standing = Standing::of((spool, desk), whose, rules, now_s)?;
            Ok(Placed { sequence, standing })
        };
        spool.sequences()?.into_iter().map(place).collect()
    }

    /// One slot after the other, `slot_s` apart, until the watch ends it. Each appliance has its own place between two of
    /// them, so that a nation's do not all call at once; nothing that waits, happens or fails moves one.
    pub fn run(&self, slot_s: u64, watch: &mut impl Watch) {
        let place_s = u64::from(self.enrolment.appliance);
        loop {
            watch.wait(slots::until_slot(watch.now(), slot_s, place_s));
            let slot = self.slot(watch.now().as_secs());
            if watch.heard(slot).is_break() {
                return;
            }
        }
    }

    /// One send slot: the first frame that the hub does not have is sent, when it may go. Those behind it wait, since each
    /// continues what the one before said of the audit log.
    ///
    /// # Errors
    /// When it could not be sent or the answer is not believed; the next slot sends the same bytes.
    pub fn slot(&self, now_s: u64) -> Result<Slot, GateError> {
        let Some(next) = self
            .look(now_s)?
            .into_iter()
            .find(|p| !p.standing.is_over())
        else {
            return Ok(Slot::Nothing);
        };
        if !next.standing.may_go() {
            return Ok(Slot::Waits(next));
        }
        let sequence = next.sequence;
        let frame = self.signed(sequence)?;
        let answer = self.line.send(frame.bytes())?;
        let reply = self.keep(sequence, &frame, &answer)?;
        Ok(Slot::Sent {
            sequence,
            status: reply.status(),
            reason: reply.reason(),
        })
    }

    /// Writes every frame that may go into a folder that is carried to the hub, and gives their numbers.
    ///
    /// # Errors
    /// When a frame cannot be read or the folder cannot be written.
    pub fn carry(&self, dir: &Path, now_s: u64) -> Result<Vec<u32>, GateError> {
        let places = self.look(now_s)?.into_iter();
        let goes = places
            .filter(|p| !p.standing.is_over())
            .take_while(|p| p.standing.may_go());
        let mut carried = Vec::new();
        for Placed { sequence, .. } in goes {
            let path = dir.join(format!("{sequence:08}.frame"));
            desk::write_durably(&path, self.signed(sequence)?.bytes(), 0o644)?;
            carried.push(sequence);
        }
        Ok(carried)
    }

    /// Takes a reply that was carried back, after checking all that is signed in it.
    ///
    /// # Errors
    /// When it is not named as a reply, answers no frame of ours, or is not to be believed.
    pub fn take(&self, file: &Path) -> Result<(u32, Reply), GateError> {
        let stem = file.file_stem().and_then(|stem| stem.to_str());
        let named = file.extension().is_some_and(|kind| kind == "reply");
        let sequence = stem.and_then(|stem| stem.parse().ok()).filter(|_| named);
        let sequence = sequence.ok_or_else(|| GateError::Name(file.into()))?;
        if self.desk.sent(sequence)?.is_none() {
            return Err(GateError::NotSent(sequence));
        }
        let frame = self.signed(sequence)?;
        let mut answer = Vec::new();
        let limit = FRAME_BYTES as u64 + 1;
        let read = File::open(file).and_then(|f| f.take(limit).read_to_end(&mut answer));
        read.map_err(desk::failed("read", file))?;
        Ok((sequence, self.keep(sequence, &frame, &answer)?))
    }

    /// Notes which frames are seen first, then says where each stands.
    fn look(&self, now_s: u64) -> Result<Vec<Placed>, GateError> {
        for sequence in self.spool.sequences()? {
            if self.desk.seen(sequence)?.is_none() {
                self.desk.keep_seen(sequence, now_s)?;
            }
        }
        Self::standings((&self.spool, &self.desk), self.rules, now_s)
    }

    /// The frame as it goes on the wire: signed once, kept before its first byte leaves, and the same ever after.
    fn signed(&self, sequence: u32) -> Result<Frame, GateError> {
        let frame = self.spool.frame(sequence)?;
        let seal = self.key.seal(FRAME_SIGNED_AS, frame.signed_bytes());
        let signed = frame.with_signature(seal);
        match self.desk.sent(sequence)? {
            Some(sent) if sent == signed.bytes() => {}
            Some(_) => return Err(GateError::OtherBytes(sequence)),
            None => self.desk.keep_sent(sequence, signed.bytes())?,
        }
        Ok(signed)
    }

    /// Keeps an answer that is to be believed. One that says that the hub has the frame is never replaced by a refusal.
    fn keep(&self, sequence: u32, frame: &Frame, answer: &[u8]) -> Result<Reply, GateError> {
        let opened = reply::open(answer, frame, &self.enrolment);
        let reply = opened.map_err(|error| GateError::Reply { sequence, error })?;
        let held = reply::kept_reply(&self.desk, sequence)?;
        let is_taken = held.is_some_and(|held| held.status() != Status::Refused);
        if !(is_taken && reply.status() == Status::Refused) {
            self.desk.keep_reply(sequence, reply.bytes())?;
        }
        Ok(reply)
    }
}
