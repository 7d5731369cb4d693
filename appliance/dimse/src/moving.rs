//! C-MOVE as its provider (PS3.4 section C.4.2): what is held goes to a configured peer, over an association of its own.

use crate::archive::Archive;
use crate::command::{CommandSet, tag};
use crate::door::Door;
use crate::negotiation::CONTEXTS_MAX;
use crate::part10::FileHead;
use crate::peer::Peer;
use crate::request::{Call, Proposal};
use crate::retrieval::SubOperations;
use crate::sending::{self, Origin, Rewriter};
use crate::service::Root;
use crate::session::Session;
use crate::status::Status;
use crate::wire::LinkError;
use pericard_domain::ae::AeTitle;
use pericard_domain::study::Instance;
use tokio::io::{AsyncRead, AsyncWrite};

impl<'a, S: AsyncRead + AsyncWrite + Unpin, D: Door> Session<'a, S, D> {
    /// Moves what the identifier names; every response but the last is sent here, and the last one too.
    pub(crate) async fn move_(
        &mut self,
        context: u8,
        command: &CommandSet,
        root: Root,
    ) -> Result<(), LinkError> {
        let (archive, destination, instances) =
            match self.asked_to_move(context, command, root).await? {
                Ok(found) => found,
                Err(status) => {
                    let response = CommandSet::response(command, &status);
                    return self.association.send(context, &response).await;
                }
            };
        let mut counts = SubOperations::new(instances.len());
        let mut rest = instances.as_slice();
        let mut status = None;
        while !rest.is_empty() && status.is_none() {
            let (batch, proposals) = batch(rest, self.rewriter);
            rest = &rest[batch.len()..];
            status = self
                .move_batch(
                    (context, command),
                    (archive, &destination),
                    (batch, &proposals),
                    &mut counts,
                )
                .await?;
        }
        let status = status.unwrap_or_else(|| counts.outcome());
        self.retrieved(context, command, &counts, &status).await
    }

    /// What is to be moved, and where.
    async fn asked_to_move(
        &mut self,
        context: u8,
        command: &CommandSet,
        root: Root,
    ) -> Result<Result<ToMove<'a>, Status>, LinkError> {
        let identifier = match self.identifier(context, command).await? {
            Ok(identifier) => identifier,
            Err(status) => return Ok(Err(status)),
        };
        let title = command
            .text(tag::MOVE_DESTINATION)
            .and_then(|t| AeTitle::new(t).ok());
        let named = |peer: &&Peer| Some(&peer.ae_title) == title.as_ref() && peer.is_callable();
        let Some(destination) = self.peers.now().iter().find(named).cloned() else {
            return Ok(Err(Status::UNKNOWN_DESTINATION));
        };
        let found = self
            .wanted(root, &identifier, &format!(" to {}", destination.name))
            .await;
        Ok(found.map(|(archive, instances)| (archive, destination, instances)))
    }

    /// Sends what one association takes; a status when the whole move is to end by it.
    async fn move_batch(
        &mut self,
        (context, command): (u8, &CommandSet),
        (archive, destination): (&Archive, &Peer),
        (batch, proposals): (&[Instance], &[Proposal]),
        counts: &mut SubOperations,
    ) -> Result<Option<Status>, LinkError> {
        let mut call = self.called(archive, destination, proposals).await;
        for instance in batch {
            if self.is_cancelled(command.message_id()).await? {
                if let Some(call) = call {
                    let _ = call.association.release().await;
                }
                return Ok(Some(Status::CANCELLED));
            }
            let origin = Origin {
                title: self.calling.to_string(),
                message_id: command.message_id(),
            };
            let sent = match &mut call {
                Some(open) => {
                    sub_operation(open, archive, instance, (&origin, self.rewriter)).await
                }
                None => Ok(None),
            };
            let sent = match sent {
                Ok(status) => status,
                Err(error) => {
                    tracing::warn!(destination = %destination.name, "C-MOVE: {error}");
                    // What has not been tried may still go over another association.
                    call = self.called(archive, destination, proposals).await;
                    None
                }
            };
            counts.count(&instance.identity.instance, sent);
            let response = counts.response(command, &Status::PENDING);
            self.association.send(context, &response).await?;
        }
        if let Some(call) = call {
            // Every object has its answer; how the peer ends the association changes none of them.
            let _ = call.association.release().await;
        }
        Ok(None)
    }

    async fn called(
        &self,
        archive: &Archive,
        destination: &Peer,
        proposals: &[Proposal],
    ) -> Option<Call> {
        let called = archive.caller.call(destination, proposals).await;
        called
            .inspect_err(|error| tracing::warn!("C-MOVE: {error}"))
            .ok()
    }
}

type ToMove<'a> = (&'a Archive, Peer, Vec<Instance>);

/// As many objects from the front as fit one association, and what to propose for them.
fn batch<'i>(instances: &'i [Instance], rewriter: Rewriter<'_>) -> (&'i [Instance], Vec<Proposal>) {
    let mut proposals: Vec<Proposal> = Vec::new();
    for (at, instance) in instances.iter().enumerate() {
        let further: Vec<Proposal> =
            sending::proposals(&instance.identity, instance.size_bytes, rewriter)
                .into_iter()
                .filter(|proposal| !proposals.contains(proposal))
                .collect();
        if proposals.len() + further.len() > CONTEXTS_MAX {
            return (&instances[..at], proposals);
        }
        proposals.extend(further);
    }
    (instances, proposals)
}

/// Sends one object; its status, or `None` when the peer does not take it in any way that we have.
async fn sub_operation(
    call: &mut Call,
    archive: &Archive,
    instance: &Instance,
    (origin, rewriter): (&Origin, Rewriter<'_>),
) -> Result<Option<u16>, LinkError> {
    let path = archive.store.object_path(instance);
    let reading = path.clone();
    let head = tokio::task::spawn_blocking(move || FileHead::of(&reading)).await;
    let Ok(Ok(head)) = head else {
        tracing::error!(instance = %instance.identity.instance, "an object's file cannot be read");
        return Ok(None);
    };
    let accepted = call.association.contexts().iter();
    let Some(way) = sending::way(accepted, &head, rewriter) else {
        return Ok(None);
    };
    let Some(body) = sending::body(way, path, &head, rewriter).await? else {
        return Ok(None);
    };
    let request = sending::request(call.next_message_id(), &head, Some(origin));
    sending::put(&mut call.association, way.context(), &request, body).await?;
    call.answer(&request)
        .await
        .map(|answer| Some(answer.status))
}
