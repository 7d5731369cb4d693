//! C-MOVE as its user (PS3.4 section C.4.2): a peer sends a study here, over an association of its own.

use crate::command::{CommandSet, field, tag};
use crate::door::Door;
use crate::fetching::{Brought, Budget, Candidate, caller};
use crate::getting_priors::{of_study, said_lacking};
use crate::inquiry::Inquiry;
use crate::request::{Call, CallError, answers};
use crate::searching::{cancel, not_asked, proposal};
use crate::status::Status;
use crate::wire::LinkError;
use dicom_dictionary_std::uids;

const MODEL: &str = uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_MOVE;

/// Has a study sent here, or as much of it as the budget allows.
pub(crate) async fn have_moved<D: Door>(
    inquiry: &Inquiry<D>,
    candidate: &Candidate,
    left: Budget,
) -> Result<Brought, CallError> {
    let (peer, caller) = (&inquiry.peer, caller(inquiry));
    let mut call = caller.call(peer, &[proposal(MODEL)]).await?;
    let Some((context, syntax)) = call.context_of(MODEL) else {
        return Err(CallError::NotAccepted {
            name: peer.name.clone(),
            what: "C-MOVE",
        });
    };
    let request = CommandSet::request(field::C_MOVE, call.next_message_id(), true)
        .with_uid(tag::AFFECTED_SOP_CLASS, MODEL)
        .with_number(tag::PRIORITY, 0)
        .with_text(tag::MOVE_DESTINATION, caller.ae_title.as_str());
    let bytes = of_study(&candidate.study).encoded(&syntax, "");
    let broken = |reason| CallError::Broken {
        name: peer.name.clone(),
        reason,
    };
    call.association
        .send_both(context, &request, &bytes)
        .await
        .map_err(broken)?;
    let moved = follow(inquiry, candidate, left, (&mut call, context, &request)).await;
    let _ = call.association.release().await;
    let ended = moved.map_err(broken)?;
    let brought = weighed(inquiry, candidate).await;
    Ok(match ended {
        Moved::Over => brought.over(),
        Moved::All if brought.objects > 0 => brought,
        // A peer that says that it has sent what did not come here is not believed.
        Moved::All => Brought {
            lacking: Some(
                "nothing came; is our AE title, with our address, known to the peer?".into(),
            ),
            ..brought
        },
        Moved::Lacking(why) => Brought {
            lacking: Some(why),
            ..brought
        },
    })
}

/// How it ended.
enum Moved {
    All,
    Lacking(String),
    Over,
}

/// Follows the answers to the last.
async fn follow<D: Door>(
    inquiry: &Inquiry<D>,
    candidate: &Candidate,
    left: Budget,
    (call, context, request): (&mut Call, u8, &CommandSet),
) -> Result<Moved, LinkError> {
    let mut is_cancelled = false;
    loop {
        let (context_heard, answer) = call.heard().await?;
        if !answers(&answer, request) {
            return Err(not_asked());
        }
        if answer.has_data_set() {
            call.association.data_set(context_heard, |_| {}).await?;
        }
        let status = answer.number(tag::STATUS).ok_or_else(not_asked)?;
        if status != Status::PENDING.code {
            if is_cancelled {
                return Ok(Moved::Over);
            }
            let lacking = said_lacking(status, &answer);
            return Ok(lacking.map_or(Moved::All, Moved::Lacking));
        }
        if is_cancelled {
            continue;
        }
        let brought = weighed(inquiry, candidate).await;
        if brought.objects > left.objects || brought.bytes > left.bytes {
            is_cancelled = true;
            cancel(call, context, request).await?;
        }
    }
}

/// How much of it is here.
async fn weighed<D>(inquiry: &Inquiry<D>, candidate: &Candidate) -> Brought {
    let weight = inquiry.archive.store.weight(&candidate.study).await;
    let (objects, bytes) = weight.unwrap_or_default();
    Brought {
        objects,
        bytes,
        ..Brought::default()
    }
}
