//! C-FIND as its user (PS3.4 section C.4.1, annex K): one question, and every answer to it up to a limit.

use crate::classes::{EXPLICIT_LE, IMPLICIT_LE};
use crate::command::{CommandSet, field, tag};
use crate::request::{Call, Proposal, answers};
use crate::status::Status;
use crate::wire::{AbortReason, LinkError};
use pericard_dicom::identifier::Identifier;
use pericard_domain::uid::TransferSyntaxUid;

/// Priority (0000,0700): medium.
const PRIORITY_MEDIUM: u16 = 0;
/// A pending answer that says that some optional key is not supported.
const PENDING_WITH_WARNING: u16 = 0xFF01;

/// What came of a question.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) answers: Vec<Identifier>,
    /// Whether there were more than were wanted.
    pub(crate) is_cut: bool,
    /// Whether one could not be read, and is not among them.
    pub(crate) has_gap: bool,
    /// The last status: success, a failure, or that it was cancelled.
    pub(crate) status: u16,
}

impl Found {
    /// Whether every answer that the peer has is here: only then is what lacks not there.
    pub(crate) const fn is_whole(&self) -> bool {
        !self.is_cut && !self.has_gap
    }
}

/// What to propose in order to ask by that model.
pub(crate) fn proposal(model: &str) -> Proposal {
    Proposal::in_any_of(model, &[EXPLICIT_LE, IMPLICIT_LE])
}

/// Asks, in a context of that model. Of answers beyond so many the operation is cancelled.
pub(crate) async fn search(
    call: &mut Call,
    (context, syntax): (u8, &TransferSyntaxUid),
    model: &str,
    keys: &Identifier,
    answers_max: usize,
) -> Result<Found, LinkError> {
    let request = CommandSet::request(field::C_FIND, call.next_message_id(), true)
        .with_uid(tag::AFFECTED_SOP_CLASS, model)
        .with_number(tag::PRIORITY, PRIORITY_MEDIUM);
    let bytes = keys.encoded(syntax, "ISO_IR 192");
    call.association
        .send_both(context, &request, &bytes)
        .await?;
    let mut found = Found {
        answers: Vec::new(),
        is_cut: false,
        has_gap: false,
        status: 0,
    };
    loop {
        let (context, answer) = call.heard().await?;
        if !answers(&answer, &request) {
            return Err(not_asked());
        }
        let status = answer.number(tag::STATUS).ok_or_else(not_asked)?;
        if answer.has_data_set() {
            match call.association.small_data_set(context).await? {
                Some(bytes) => take(&mut found, &bytes, syntax, answers_max),
                None => found.has_gap = true,
            }
        }
        if ![Status::PENDING.code, PENDING_WITH_WARNING].contains(&status) {
            found.status = status;
            return Ok(found);
        }
        if found.answers.len() >= answers_max && !found.is_cut {
            found.is_cut = true;
            cancel(call, context, &request).await?;
        }
    }
}

fn take(found: &mut Found, bytes: &[u8], syntax: &TransferSyntaxUid, answers_max: usize) {
    if found.answers.len() >= answers_max {
        return;
    }
    match Identifier::read(bytes, syntax) {
        Ok(identifier) => found.answers.push(identifier),
        // One answer that cannot be read is not the end of the others.
        Err(error) => {
            found.has_gap = true;
            tracing::warn!("an answer to a query cannot be read: {error}");
        }
    }
}

/// C-CANCEL: it has no answer of its own.
pub(crate) async fn cancel(
    call: &mut Call,
    context: u8,
    request: &CommandSet,
) -> Result<(), LinkError> {
    let cancel = CommandSet::request(field::C_CANCEL, request.message_id(), false)
        .with_number(tag::MESSAGE_ID_RESPONDED_TO, request.message_id())
        .without(tag::MESSAGE_ID);
    call.association.send(context, &cancel).await
}

pub(crate) const fn not_asked() -> LinkError {
    LinkError::violation(
        "an answer to something that was not asked",
        AbortReason::InvalidParameter,
    )
}
