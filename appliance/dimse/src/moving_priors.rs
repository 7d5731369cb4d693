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
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How often it is looked how much has come of a peer that says nothing of it.
const WEIGHED_EVERY: Duration = Duration::from_millis(250);

pub(crate) const MODEL: &str = uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_MOVE;

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
    let before = weighed(inquiry, candidate).await;
    call.association
        .send_both(context, &request, &bytes)
        .await
        .map_err(broken)?;
    let following = (&mut call, context, &request);
    let moved = follow(inquiry, candidate, (before, left), following).await;
    let _ = call.association.release().await;
    let here = weighed(inquiry, candidate).await;
    let brought = here.since(before);
    Ok(match moved {
        // What came until then is here.
        Err(reason) => brought.broken(&broken(reason)),
        Ok(Moved::Over) => brought.over(),
        Ok(Moved::All(sent)) if here.objects > 0 => Brought { sent, ..brought },
        // A peer that says that it has sent what did not come here is not believed.
        Ok(Moved::All(_)) => Brought {
            lacking: Some(
                "nothing came; is our AE title, with our address, known to the peer?".into(),
            ),
            ..brought
        },
        Ok(Moved::Lacking(why)) => Brought {
            lacking: Some(why),
            ..brought
        },
    })
}

/// How it ended.
enum Moved {
    /// It has sent all, so many objects where it says how many.
    All(Option<u32>),
    Lacking(String),
    Over,
}

/// Follows the answers to the last. A peer need not say how far it is (PS3.4 section C.4.2.3.1), so what has come is weighed
/// whether it says so or not.
async fn follow<D: Door>(
    inquiry: &Inquiry<D>,
    candidate: &Candidate,
    (before, left): (Weight, Budget),
    (call, context, request): (&mut Call, u8, &CommandSet),
) -> Result<Moved, LinkError> {
    let (mut is_cancelled, mut spoke_at) = (false, Instant::now());
    loop {
        if !is_cancelled {
            let brought = weighed(inquiry, candidate).await.since(before);
            if brought.objects > left.objects || brought.bytes > left.bytes {
                is_cancelled = true;
                cancel(call, context, request).await?;
            }
        }
        if !call.association.has_come()? && spoke_at.elapsed() < call.response_timeout() {
            sleep(WEIGHED_EVERY).await;
            continue;
        }
        let (context_heard, answer) = call.heard().await?;
        spoke_at = Instant::now();
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
            return Ok(lacking.map_or_else(|| Moved::All(sent(&answer)), Moved::Lacking));
        }
    }
}

/// How many objects it says that it has sent, with a warning or without.
fn sent(answer: &CommandSet) -> Option<u32> {
    let completed = answer.number(tag::COMPLETED_SUB_OPERATIONS)?;
    let warned = answer.number(tag::WARNING_SUB_OPERATIONS).unwrap_or(0);
    Some(u32::from(completed) + u32::from(warned))
}

/// How much of a study is here.
#[derive(Clone, Copy)]
struct Weight {
    objects: u64,
    bytes: u64,
}

impl Weight {
    /// What came since: another way may have brought some of it before.
    fn since(self, before: Self) -> Brought {
        Brought {
            objects: self.objects.saturating_sub(before.objects),
            bytes: self.bytes.saturating_sub(before.bytes),
            ..Brought::default()
        }
    }
}

async fn weighed<D>(inquiry: &Inquiry<D>, candidate: &Candidate) -> Weight {
    let weight = inquiry.archive.store.weight(&candidate.study).await;
    let (objects, bytes) = weight.unwrap_or_default();
    Weight { objects, bytes }
}
