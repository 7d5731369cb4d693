//! What becomes of a frame: every check, in the order in which they protect each other.
//!
//! Range first, since nothing can be read of bytes that are no frame; then who sent it, so that a stranger can raise no
//! alarm; then its signature, so that what follows is said of the appliance itself.

use crate::records::{AlarmKind, Received, Witnessed};
use crate::store::{Change, Enrolled, StoreError, Witness};
use crate::words::{digest_of, week_of, words_of};
use pericard_audit::{Checkpoint, Hash, SigningKey, VerifierKey, cosign, proof};
use pericard_frame::layout::{self, ADVISORIES, MODELS, PLANS, reply as field};
use pericard_frame::reply::{Kind, Reason, Reply, Status};
use pericard_frame::{Draft, FRAME_SIGNED_AS, Frame};
use std::collections::HashMap;

/// How many frames one appliance may send in an hour: months of waiting weeks, and no flood.
pub const FRAMES_PER_HOUR_MAX: u32 = 600;
const HOUR_S: u64 = 3600;

/// Bytes that somebody sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    /// What should be a frame.
    pub bytes: &'a [u8],
    /// How it came.
    pub way: Way,
}

/// How a frame came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Over a connection whose client showed the certificate with this SHA-256.
    Connection([u8; 32]),
    /// As a file: only its signature says whose it is.
    Carried,
}

/// What became of it.
pub(crate) struct Verdict {
    pub(crate) reply: Reply,
    pub(crate) accepted: Option<Received>,
}

/// How fast each appliance sends: the hour in which it was last heard, and how often in it.
#[derive(Debug, Default)]
pub(crate) struct Pace(HashMap<u32, (u64, u32)>);

impl Pace {
    fn allows(&mut self, number: u32, now_s: u64) -> bool {
        let hour = now_s / HOUR_S;
        let heard = self.0.entry(number).or_insert((hour, 0));
        if heard.0 != hour {
            *heard = (hour, 0);
        }
        heard.1 = heard.1.saturating_add(1);
        heard.1 <= FRAMES_PER_HOUR_MAX
    }
}

/// The answer to who shows no certificate. It raises no alarm, since it is nobody's.
#[must_use]
pub fn stranger() -> Reply {
    refused(Draft::new(), Reason::Unknown).reply
}

/// Judges a frame. What is accepted or raises an alarm becomes part of the change.
pub(crate) fn judge(
    change: &mut Change<'_>,
    key: &SigningKey,
    pace: &mut Pace,
    (sent, now_s): (&Sent<'_>, u64),
) -> Result<Verdict, StoreError> {
    let frame = Frame::open(sent.bytes).ok();
    let sender = match (sent.way, &frame) {
        (Way::Connection(certificate), _) => change.by_certificate(&certificate)?,
        (Way::Carried, Some(frame)) => change.by_number(appliance(frame))?,
        (Way::Carried, None) => None,
    };
    let Some(sender) = sender.filter(|sender| !sender.suspended) else {
        let reason = match frame {
            Some(_) => Reason::Unknown,
            None => Reason::OutOfRange,
        };
        return Ok(refused(Draft::new(), reason));
    };
    if sent.way != Way::Carried && !pace.allows(sender.number, now_s) {
        return Ok(refused(Draft::new(), Reason::Rate));
    }
    let Some(frame) = frame else {
        change.alarm(sender.number, AlarmKind::OutOfRange, None)?;
        return Ok(refused(Draft::new(), Reason::OutOfRange));
    };
    if let Err((kind, reason)) = authentic(&sender, &frame)? {
        change.alarm(sender.number, kind, Some(sequence(&frame)))?;
        return Ok(refused(Draft::new(), reason));
    }
    let before = change.witness(sender.number)?;
    let verdict = match change.frame(sender.number, sequence(&frame))? {
        Some(known) if known == frame.bytes() => Ok(false),
        Some(_) => Err((AlarmKind::OtherBytes, Reason::OtherBytes)),
        None => continues(before.as_ref(), &frame, now_s).map(|()| true),
    };
    match verdict {
        Ok(is_new) => {
            let carried = sent.way == Way::Carried;
            accept(change, key, (frame, is_new, carried), (before, now_s))
        }
        Err((kind, reason)) => {
            change.alarm(sender.number, kind, Some(sequence(&frame)))?;
            Ok(refused(told(change, before.as_ref(), &frame)?, reason))
        }
    }
}

/// What is wrong with a frame: the alarm that it raises, and what the appliance is told.
type Wrong = (AlarmKind, Reason);

/// Whether the appliance itself said this.
fn authentic(sender: &Enrolled, frame: &Frame) -> Result<Result<(), Wrong>, StoreError> {
    if sender.number != appliance(frame) {
        return Ok(Err((AlarmKind::Unknown, Reason::Unknown)));
    }
    let key = sender.frame_key.parse::<VerifierKey>();
    let key = key.map_err(|_| StoreError::Damaged("a frame key"))?;
    let signed = key.opens(FRAME_SIGNED_AS, frame.signed_bytes(), &frame.signature());
    Ok(if signed {
        Ok(())
    } else {
        Err((AlarmKind::Signature, Reason::Signature))
    })
}

/// Whether it tells of a week that can be over, and its log continues the one that was witnessed.
fn continues(before: Option<&Witness>, frame: &Frame, now_s: u64) -> Result<(), Wrong> {
    // A week of grace: an appliance's clock may be ahead, and its Monday begins before that of UTC.
    if frame.get(&layout::WEEK, 0) > week_of(now_s) + 1 {
        return Err((AlarmKind::OutOfRange, Reason::OutOfRange));
    }
    let earlier = before.map_or((0, Hash::empty_root()), |witness| {
        (witness.seen.size, Hash::new(witness.seen.root))
    });
    let later = (frame.get(&layout::LOG_SIZE, 0), Hash::new(root(frame)));
    let hashes = frame.get(&layout::PROOF_LEN, 0) as usize;
    let hash = |at| {
        digest_of(std::array::from_fn(|word| {
            frame.get(&layout::PROOF, 4 * at + word)
        }))
    };
    let path: Vec<Hash> = (0..hashes).map(|at| Hash::new(hash(at))).collect();
    let follows = frame.get(&layout::LOG_FROM, 0) == earlier.0
        && proof::check_consistency(earlier, later, &path).is_ok();
    if follows {
        Ok(())
    } else {
        Err((AlarmKind::Fork, Reason::Log))
    }
}

fn accept(
    change: &mut Change<'_>,
    key: &SigningKey,
    (frame, is_new, carried): (Frame, bool, bool),
    (before, now_s): (Option<Witness>, u64),
) -> Result<Verdict, StoreError> {
    if !is_new {
        let mut draft = told(change, before.as_ref(), &frame)?;
        draft.put(&field::STATUS, 0, Status::Known.number());
        return Ok(Verdict {
            reply: sealed(draft),
            accepted: None,
        });
    }
    let witness = witness(key, &frame, now_s);
    let received = Received {
        appliance: appliance(&frame),
        sequence: sequence(&frame),
        week: frame.get(&layout::WEEK, 0) as u16,
        received_at_s: now_s,
        carried,
        frame,
    };
    change.accept(&received, &witness)?;
    let mut draft = told(change, Some(&witness), &received.frame)?;
    draft.put(&field::STATUS, 0, Status::Accepted.number());
    Ok(Verdict {
        reply: sealed(draft),
        accepted: Some(received),
    })
}

fn witness(key: &SigningKey, frame: &Frame, now_s: u64) -> Witness {
    let seen = Witnessed {
        appliance: appliance(frame),
        size: frame.get(&layout::LOG_SIZE, 0),
        root: root(frame),
        cosigned_at_s: now_s,
    };
    let checkpoint = Checkpoint {
        origin: format!("pericard/{}", seen.appliance),
        size: seen.size,
        root: Hash::new(seen.root),
    };
    Witness {
        seen,
        signature: cosign::cosign(key, &checkpoint, now_s),
    }
}

/// What every appliance that is known is told: what is witnessed of its log, and the advisories that concern it most.
fn told(
    change: &mut Change<'_>,
    witness: Option<&Witness>,
    frame: &Frame,
) -> Result<Draft<pericard_frame::FromHub>, StoreError> {
    let mut draft = Draft::new();
    if let Some(witness) = witness {
        draft.put(&field::LOG_SIZE, 0, witness.seen.size);
        draft.put_all(&field::LOG_ROOT, 0, words_of(&witness.seen.root));
        draft.put(&field::COSIGNED_AT, 0, witness.seen.cosigned_at_s);
        draft.put_all(&field::COSIGNATURE, 0, witness.signature);
    }
    let mut advisories = change.advisories()?;
    let runs = |model: u16| (0..MODELS).any(|at| frame.get(&layout::MODEL, at) == u64::from(model));
    // Those of models that run there first, then recalls, then the newest.
    advisories.sort_by_key(|issued| {
        let advisory = &issued.advisory;
        let others = !runs(advisory.model);
        (
            others,
            advisory.kind != Kind::Recall,
            u32::MAX - advisory.number,
        )
    });
    for (at, issued) in advisories.iter().take(ADVISORIES).enumerate() {
        draft.put_advisory(at, &issued.advisory);
    }
    let mut plans = change.open_plans()?;
    plans.sort_by_key(|published| !runs(published.plan.model)); // stable: the newest first in each half
    for (at, published) in plans.iter().take(PLANS).enumerate() {
        draft.put_plan(at, &published.plan);
    }
    Ok(draft)
}

fn refused(mut draft: Draft<pericard_frame::FromHub>, reason: Reason) -> Verdict {
    draft.put(&field::STATUS, 0, Status::Refused.number());
    draft.put(&field::REASON, 0, reason.number());
    Verdict {
        reply: sealed(draft),
        accepted: None,
    }
}

fn sealed(draft: Draft<pericard_frame::FromHub>) -> Reply {
    // Every number in it is of a closed list, a signature's byte, or of a field that takes all numbers.
    draft
        .seal()
        .expect("a reply of the hub's own keeps to the layout")
}

fn appliance(frame: &Frame) -> u32 {
    frame.get(&layout::APPLIANCE, 0) as u32 // the field is no wider
}

fn sequence(frame: &Frame) -> u32 {
    frame.get(&layout::SEQUENCE, 0) as u32 // the field is no wider
}

fn root(frame: &Frame) -> [u8; 32] {
    digest_of(std::array::from_fn(|at| frame.get(&layout::LOG_ROOT, at)))
}
