//! Verification: does the peer answer? (PS3.4 annex A)

use crate::classes::{IMPLICIT_LE, VERIFICATION};
use crate::command::{CommandSet, field, tag};
use crate::peer::Peer;
use crate::request::{CallError, Caller, Proposal};
use std::time::{Duration, Instant};

/// Asks the peer for a sign of life; how long it took, association included.
///
/// # Errors
/// When it does not answer, or not with success.
pub async fn echo(caller: &Caller, peer: &Peer) -> Result<Duration, CallError> {
    let begun = Instant::now();
    let broken = |reason| CallError::Broken {
        name: peer.name.clone(),
        reason,
    };
    let not_accepted = |what| CallError::NotAccepted {
        name: peer.name.clone(),
        what,
    };
    let mut call = caller.call(peer, &[proposal()]).await?;
    let context = call
        .context(VERIFICATION, IMPLICIT_LE)
        .ok_or_else(|| not_accepted("the verification service"))?;
    let request = CommandSet::request(field::C_ECHO, call.next_message_id(), false)
        .with_uid(tag::AFFECTED_SOP_CLASS, VERIFICATION);
    call.association
        .send(context, &request)
        .await
        .map_err(broken)?;
    let answer = call.answer(&request).await.map_err(broken)?;
    call.association.release().await.map_err(broken)?;
    if answer.status == 0 {
        Ok(begun.elapsed())
    } else {
        Err(not_accepted("a C-ECHO, and answers it with a failure"))
    }
}

/// What is proposed in order to verify.
pub(crate) fn proposal() -> Proposal {
    Proposal::new(VERIFICATION, IMPLICIT_LE)
}
