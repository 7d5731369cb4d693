//! What the hub answers, believed only after every signature in it was checked.

use crate::desk::{Desk, DeskError};
use crate::enrolment::{Enrolment, EnrolmentError};
use pericard_audit::{Checkpoint, Hash, cosign};
use pericard_frame::layout::{self, reply as field};
use pericard_frame::reply::Status;
use pericard_frame::{ADVISORY_SIGNED_AS, Advisory, Fault, Frame, PLAN_SIGNED_AS, Plan, Reply};
use std::collections::BTreeMap;

/// A reply is not to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// It does not keep to the layout.
    #[error("the reply does not keep to the layout: {0}")]
    Fault(#[from] Fault),
    /// It says that the frame is taken, and the witness did not sign what the frame says of the audit log.
    #[error(
        "the hub's cosignature does not hold for the audit log of this frame; ask the hub's operator"
    )]
    Cosignature,
    /// An advisory in it is not signed by who signs advisories.
    #[error("advisory {0} in the reply is not signed by the hub's key for advisories")]
    Advisory(u32),
    /// An evaluation plan in it is not signed by who signs advisories.
    #[error("evaluation plan {0} in the reply is not signed by the hub's key for advisories")]
    Plan(u32),
}

/// Opens a reply to this frame and checks every signature in it. A refusal needs none: it makes nothing happen but another
/// try.
pub(crate) fn open(
    bytes: &[u8],
    frame: &Frame,
    enrolment: &Enrolment,
) -> Result<Reply, ReplyError> {
    let reply = Reply::open(bytes)?;
    if reply.status() != Status::Refused && !is_witnessed(&reply, frame, enrolment) {
        return Err(ReplyError::Cosignature);
    }
    let forged = reply.advisories().find(|a| !is_signed(a, enrolment));
    if let Some(forged) = forged {
        return Err(ReplyError::Advisory(forged.number));
    }
    let forged = reply.plans().find(|plan| !is_planned(plan, enrolment));
    match forged {
        Some(forged) => Err(ReplyError::Plan(forged.number)),
        None => Ok(reply),
    }
}

/// The recalls and advisories that the hub ever answered with, by their numbers. Signatures are checked again: who shows
/// them need not trust the gate's folder.
///
/// # Errors
/// When the gate's folder cannot be read or the enrolment is not to be believed.
pub fn advisories(desk: &Desk) -> Result<Vec<Advisory>, EnrolmentError> {
    let told = told(desk, |reply, enrolment| {
        let signed = reply.advisories().filter(|a| is_signed(a, enrolment));
        signed.map(|advisory| (advisory.number, advisory)).collect()
    })?;
    Ok(told.into_values().collect())
}

/// The evaluation plans that the hub ever answered with, by their numbers, their signatures checked again.
///
/// # Errors
/// When the gate's folder cannot be read or the enrolment is not to be believed.
pub fn plans(desk: &Desk) -> Result<Vec<Plan>, EnrolmentError> {
    let told = told(desk, |reply, enrolment| {
        let signed = reply.plans().filter(|plan| is_planned(plan, enrolment));
        signed.map(|plan| (plan.number, plan)).collect()
    })?;
    Ok(told.into_values().collect())
}

/// What is found in every reply that is kept, by its number.
fn told<T>(
    desk: &Desk,
    find: impl Fn(&Reply, &Enrolment) -> Vec<(u32, T)>,
) -> Result<BTreeMap<u32, T>, EnrolmentError> {
    let mut all = BTreeMap::new();
    let Some(enrolment) = Enrolment::read(desk)? else {
        return Ok(all);
    };
    for bytes in desk.replies()? {
        // One that is none any more is the gate's file only: it asks again for that frame.
        if let Ok(reply) = Reply::open(&bytes) {
            all.extend(find(&reply, &enrolment));
        }
    }
    Ok(all)
}

/// The reply that is kept; one that was damaged since is none, and the frame is sent again.
pub(crate) fn kept_reply(desk: &Desk, sequence: u32) -> Result<Option<Reply>, DeskError> {
    let bytes = desk.reply(sequence)?;
    Ok(bytes.and_then(|bytes| Reply::open(&bytes).ok()))
}

/// Whether the hub witnessed the audit log at what this frame says of it, or, for one that it knew, at some later size.
fn is_witnessed(reply: &Reply, frame: &Frame, enrolment: &Enrolment) -> bool {
    let size = reply.get(&field::LOG_SIZE, 0);
    let root = |at| reply.get(&field::LOG_ROOT, at);
    let frame_size = frame.get(&layout::LOG_SIZE, 0);
    let same_root = (0..4).all(|at| frame.get(&layout::LOG_ROOT, at) == root(at));
    let continues = match reply.status() {
        Status::Known => size > frame_size || (size == frame_size && same_root),
        _ => size == frame_size && same_root,
    };
    let mut bytes = [0; 32];
    for (part, at) in bytes.chunks_exact_mut(8).zip(0..) {
        part.copy_from_slice(&root(at).to_be_bytes());
    }
    let seen = Checkpoint {
        origin: format!("pericard/{}", enrolment.appliance),
        size,
        root: Hash::new(bytes),
    };
    let at_s = reply.get(&field::COSIGNED_AT, 0);
    continues && cosign::opens(&enrolment.cosigner, &seen, at_s, &reply.cosignature())
}

fn is_signed(advisory: &Advisory, enrolment: &Enrolment) -> bool {
    let bytes = advisory.signed_bytes();
    enrolment
        .advisories
        .opens(ADVISORY_SIGNED_AS, &bytes, &advisory.signature)
}

fn is_planned(plan: &Plan, enrolment: &Enrolment) -> bool {
    let bytes = plan.signed_bytes();
    enrolment
        .advisories
        .opens(PLAN_SIGNED_AS, &bytes, &plan.signature)
}
