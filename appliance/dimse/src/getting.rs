//! C-GET as its provider (PS3.4 section C.4.3): what is held comes back over the association that asked for it.

use crate::archive::Archive;
use crate::association::Heard;
use crate::command::{CommandSet, RESPONSE, field, tag};
use crate::door::Door;
use crate::part10::FileHead;
use crate::retrieval::{SubOperations, Wanted};
use crate::sending;
use crate::service::Root;
use crate::session::Session;
use crate::status::Status;
use crate::wire::{AbortReason, LinkError};
use pericard_dicom::identifier::Identifier;
use pericard_domain::study::Instance;
use tokio::io::{AsyncRead, AsyncWrite};

/// What came of one sub-operation.
struct Sent {
    status: Option<u16>,
    /// The peer does not want the others.
    cancelled: bool,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin, D: Door> Session<'a, S, D> {
    /// Sends what the identifier names; every response is sent here, the last one too.
    pub(crate) async fn get(
        &mut self,
        context: u8,
        command: &CommandSet,
        root: Root,
    ) -> Result<(), LinkError> {
        let identifier = self.identifier(context, command).await?;
        let found = match identifier {
            Ok(identifier) => self.wanted(root, &identifier, "").await,
            Err(status) => Err(status),
        };
        let (archive, instances) = match found {
            Ok(found) => found,
            Err(status) => {
                let response = CommandSet::response(command, &status);
                return self.association.send(context, &response).await;
            }
        };
        let mut counts = SubOperations::new(instances.len());
        let mut cancelled = false;
        for (instance, message_id) in instances.iter().zip((1..=u16::MAX).cycle()) {
            cancelled = cancelled || self.is_cancelled(command.message_id()).await?;
            if cancelled {
                break;
            }
            let sent = self
                .get_one(archive, instance, (message_id, command.message_id()))
                .await?;
            cancelled = sent.cancelled;
            counts.count(&instance.identity.instance, sent.status);
            if counts.remaining > 0 && !cancelled {
                let response = counts.response(command, &Status::PENDING);
                self.association.send(context, &response).await?;
            }
        }
        let status = if cancelled {
            Status::CANCELLED
        } else {
            counts.outcome()
        };
        self.retrieved(context, command, &counts, &status).await
    }

    async fn get_one(
        &mut self,
        archive: &Archive,
        instance: &Instance,
        (message_id, get_id): (u16, u16),
    ) -> Result<Sent, LinkError> {
        let not_sent = Sent {
            status: None,
            cancelled: false,
        };
        let path = archive.store.object_path(instance);
        let reading = path.clone();
        let head = tokio::task::spawn_blocking(move || FileHead::of(&reading)).await;
        let Ok(Ok(head)) = head else {
            tracing::error!(instance = %instance.identity.instance, "an object's file cannot be read");
            return Ok(not_sent);
        };
        let as_provider = self
            .association
            .contexts()
            .iter()
            .filter(|c| c.requestor.scp);
        let Some(way) = sending::way(as_provider, &head, self.rewriter) else {
            return Ok(not_sent);
        };
        let Some(body) = sending::body(way, path, &head, self.rewriter).await? else {
            return Ok(not_sent);
        };
        let request = sending::request(message_id, &head, None);
        sending::put(self.association, way.context(), &request, body).await?;
        self.store_answer(message_id, get_id).await
    }

    /// Waits for the answer to a C-STORE of ours; the peer may cancel meanwhile.
    async fn store_answer(&mut self, message_id: u16, get_id: u16) -> Result<Sent, LinkError> {
        let mut cancelled = false;
        loop {
            let wait = self.limits.idle_timeout;
            let heard = self
                .association
                .next(wait, "the answer to a sub-operation")
                .await?;
            let Heard::Command(_, command) = heard else {
                return Err(out_of_turn());
            };
            let about = command.number(tag::MESSAGE_ID_RESPONDED_TO);
            match command.field() {
                field::C_CANCEL => cancelled = cancelled || about == Some(get_id),
                answer if answer == field::C_STORE | RESPONSE && about == Some(message_id) => {
                    let status = command.number(tag::STATUS).ok_or_else(out_of_turn)?;
                    return Ok(Sent {
                        status: Some(status),
                        cancelled,
                    });
                }
                _ => return Err(out_of_turn()),
            }
        }
    }

    /// The objects that are meant; the audit log has the retrieval before the first of them is sent.
    pub(crate) async fn wanted(
        &self,
        root: Root,
        identifier: &Identifier,
        whereto: &str,
    ) -> Result<(&'a Archive, Vec<Instance>), Status> {
        let wanted = Wanted::read(root, identifier)?;
        let archive = self.archive.ok_or(Status::UNABLE_TO_PROCESS)?;
        let subject = format!("{}{whereto}", wanted.subject());
        let unable = |error| {
            tracing::error!("retrieval: {error}");
            Status::UNABLE_TO_PROCESS
        };
        let noted = archive
            .store
            .note_access("retrieve", &subject, self.peer.clone());
        noted.await.map_err(unable)?;
        let instances = wanted.instances(&archive.store).await.map_err(unable)?;
        Ok((archive, instances))
    }

    /// The last response of a retrieval, with what failed.
    pub(crate) async fn retrieved(
        &mut self,
        context: u8,
        command: &CommandSet,
        counts: &SubOperations,
        status: &Status,
    ) -> Result<(), LinkError> {
        let response = counts.response(command, status);
        let syntax = self
            .association
            .context(context)
            .map(|c| c.transfer_syntax.clone());
        match (counts.failed_list(), syntax) {
            (Some(failed), Some(syntax)) => {
                let bytes = failed.encoded(&syntax, "");
                let response = response.with_data_set();
                self.association.send_both(context, &response, &bytes).await
            }
            _ => self.association.send(context, &response).await,
        }
    }
}

fn out_of_turn() -> LinkError {
    LinkError::violation(
        "something else than the answer to a sub-operation",
        AbortReason::UnexpectedPdu,
    )
}
