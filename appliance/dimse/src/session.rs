//! What a peer that calls here asks for, one message after the other.

use crate::archive::Archive;
use crate::association::{Association, Context, Heard};
use crate::command::{CommandSet, RESPONSE, field, tag};
use crate::config::Limits;
use crate::door::{Door, OpenParcel};
use crate::peer::Peer;
use crate::peers::Peers;
use crate::sending::Rewriter;
use crate::service::{Service, TABLE};
use crate::status::Status;
use crate::wire::{AbortReason, LinkError};
use dicom_dictionary_std::uids::STORAGE_COMMITMENT_PUSH_MODEL;
use pericard_dicom::identifier::Identifier;
use pericard_domain::actor::Actor;
use pericard_domain::ae::AeTitle;
use pericard_domain::uid::{InstanceUid, SopClassUid};
use pericard_intake::{Arrival, Refused};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

/// What happened on an association, for the journal.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) stored: u64,
    pub(crate) refused: u64,
    pub(crate) data_bytes: u64,
}

/// An association with a peer that called here.
pub(crate) struct Session<'a, S, D> {
    pub(crate) association: &'a mut Association<S>,
    pub(crate) door: &'a D,
    pub(crate) peer: Actor,
    pub(crate) limits: &'a Limits,
    pub(crate) stop: &'a CancellationToken,
    /// By which title it called.
    pub(crate) calling: &'a AeTitle,
    /// Which of the configured peers it is, when it is one.
    pub(crate) peer_named: Option<&'a Peer>,
    pub(crate) our_title: &'a AeTitle,
    /// Everybody whom the hospital has named, by now.
    pub(crate) peers: &'a Peers,
    pub(crate) archive: Option<&'a Archive>,
    pub(crate) rewriter: Rewriter<'a>,
    /// A request that came while another was being answered.
    pub(crate) waiting: Option<(u8, CommandSet)>,
    pub(crate) tally: Tally,
}

impl<S: AsyncRead + AsyncWrite + Unpin, D: Door> Session<'_, S, D> {
    /// Answers messages until the peer asks for a release.
    ///
    /// When the appliance stops, the message in hand is answered first.
    pub(crate) async fn run(&mut self) -> Result<(), LinkError> {
        loop {
            if let Some((context, command)) = self.waiting.take() {
                self.answer(context, &command).await?;
                continue;
            }
            let next = self
                .association
                .next(self.limits.idle_timeout, "silence between two messages");
            let heard = tokio::select! {
                biased;
                // What has begun to come is dropped here: nothing was promised for it, and the peer is told.
                () = self.stop.cancelled() => return Err(LinkError::Stopping),
                heard = next => heard?,
            };
            let Heard::Command(context, command) = heard else {
                return Ok(());
            };
            self.answer(context, &command).await?;
        }
    }

    async fn answer(&mut self, context: u8, command: &CommandSet) -> Result<(), LinkError> {
        use Service::{Commitment, Find, Get, Move, Verification};
        let status = match (command.field(), self.service(context, command)) {
            (field::C_STORE, _) => self.store(context, command).await?,
            (field::C_FIND, Some(Find(root))) => self.find(context, command, root).await?,
            (field::C_MOVE, Some(Move(root))) => return self.move_(context, command, root).await,
            (field::C_GET, Some(Get(root))) => return self.get(context, command, root).await,
            (field::C_ECHO, Some(Verification)) => {
                self.skip_data_set(context, command).await?;
                Status::SUCCESS
            }
            (field::N_ACTION, Some(Commitment)) => {
                return self.asked_to_commit(context, command).await;
            }
            // Whatever roles it takes: older archives report without a word about them.
            (field::N_EVENT_REPORT, _) if self.is_of_commitment(context) => {
                self.told_of_commitment(context, command).await?
            }
            (field::C_ECHO | field::C_FIND | field::C_MOVE | field::C_GET, _) => {
                self.skip_data_set(context, command).await?;
                Status::CLASS_NOT_NEGOTIATED
            }
            // What it would cancel is over, and responses answer no question of ours.
            (field::C_CANCEL, _) => return self.skip_data_set(context, command).await,
            (response, _) if response & RESPONSE != 0 => {
                return self.skip_data_set(context, command).await;
            }
            _ => {
                self.skip_data_set(context, command).await?;
                Status::UNRECOGNIZED_OPERATION
            }
        };
        let response = CommandSet::response(command, &status);
        self.association.send(context, &response).await
    }

    /// The service that the context is of, when the request is about it.
    fn service(&self, context: u8, command: &CommandSet) -> Option<Service> {
        let context = self
            .association
            .context(context)
            .filter(|c| c.requestor.scu)?;
        let is_about = |class: &str| class == context.abstract_syntax;
        // Devices that leave the class out mean the context's.
        let named = command
            .text(tag::AFFECTED_SOP_CLASS)
            .or_else(|| command.text(tag::REQUESTED_SOP_CLASS));
        let service = TABLE
            .iter()
            .find(|(uid, _)| *uid == context.abstract_syntax);
        service
            .filter(|_| named.is_none_or(is_about))
            .map(|(_, service)| *service)
    }

    fn is_of_commitment(&self, context: u8) -> bool {
        let context = self.association.context(context);
        context.is_some_and(|c| c.abstract_syntax == STORAGE_COMMITMENT_PUSH_MODEL)
    }

    /// The identifier that belongs to a request, or the status that says why it is none.
    pub(crate) async fn identifier(
        &mut self,
        context: u8,
        command: &CommandSet,
    ) -> Result<Result<Identifier, Status>, LinkError> {
        if !command.has_data_set() {
            return Ok(Err(Status::NO_DATA_SET));
        }
        let Some(bytes) = self.association.small_data_set(context).await? else {
            return Ok(Err(Status::BAD_IDENTIFIER));
        };
        let Some(context) = self.association.context(context) else {
            return Ok(Err(Status::CLASS_NOT_NEGOTIATED));
        };
        let read = Identifier::read(&bytes, &context.transfer_syntax);
        Ok(read.map_err(|error| {
            tracing::warn!("an identifier cannot be read: {error}");
            Status::BAD_IDENTIFIER
        }))
    }

    /// Whether the peer has meanwhile asked to end the operation of that message. Never waits for it.
    pub(crate) async fn is_cancelled(&mut self, message_id: u16) -> Result<bool, LinkError> {
        if self.stop.is_cancelled() {
            return Err(LinkError::Stopping);
        }
        while self.waiting.is_none() && self.association.has_come()? {
            let wait = self.limits.pdu_timeout;
            match self.association.next(wait, "the rest of a message").await? {
                Heard::Command(context, command) if command.field() == field::C_CANCEL => {
                    self.skip_data_set(context, &command).await?;
                    if command.number(tag::MESSAGE_ID_RESPONDED_TO) == Some(message_id) {
                        return Ok(true);
                    }
                }
                // Its turn comes; until then nothing further is read, so nobody's data set is held in memory.
                Heard::Command(context, command) => self.waiting = Some((context, command)),
                Heard::Release => {
                    return Err(LinkError::violation(
                        "a release before the last answer",
                        AbortReason::UnexpectedPdu,
                    ));
                }
            }
        }
        Ok(false)
    }

    async fn skip_data_set(&mut self, context: u8, command: &CommandSet) -> Result<(), LinkError> {
        if command.has_data_set() {
            self.association.data_set(context, |_| {}).await?;
        }
        Ok(())
    }

    /// C-STORE (PS3.4 annex B): success only once the object is kept.
    async fn store(&mut self, context: u8, command: &CommandSet) -> Result<Status, LinkError> {
        if !command.has_data_set() {
            return Ok(self.refused(&Status::NO_DATA_SET).await);
        }
        let arrival = match self.association.context(context) {
            Some(context) if !context.requestor.scu => Err(Status::NOT_AUTHORIZED),
            Some(context) => announced(context, command),
            None => Err(Status::CLASS_NOT_NEGOTIATED),
        };
        let arrival = match arrival {
            Ok(arrival) => arrival,
            Err(status) => {
                self.association.data_set(context, |_| {}).await?;
                return Ok(self.refused(&status).await);
            }
        };
        let mut parcel = match self.door.begin(arrival, self.peer.clone()) {
            Ok(parcel) => parcel,
            Err(refused) => {
                // The peer hears only when it has sent all of it: an answer before that would be out of turn.
                self.association.data_set(context, |_| {}).await?;
                let why = refused.to_string();
                self.door.refuse("C-STORE", &why, self.peer.clone()).await;
                return Ok(self.counted(Err(refused)));
            }
        };
        let (data_bytes, mut is_open) = (&mut self.tally.data_bytes, true);
        let received = self.association.data_set(context, |piece| {
            *data_bytes += piece.len() as u64;
            // What the parcel refuses once, it refuses again when it is to be kept.
            is_open = is_open && parcel.write(piece).is_ok();
        });
        received.await?;
        let outcome = parcel.admit().await;
        Ok(self.counted(outcome))
    }

    fn counted(&mut self, outcome: Result<(), Refused>) -> Status {
        match outcome {
            Ok(()) => {
                self.tally.stored += 1;
                Status::SUCCESS
            }
            Err(refused) => {
                self.tally.refused += 1;
                tracing::warn!(
                    status = Status::from(&refused).code,
                    "C-STORE refused: {refused}"
                );
                Status::from(&refused)
            }
        }
    }

    /// What was refused here never came to the door, so the door is told.
    async fn refused(&mut self, status: &Status) -> Status {
        self.tally.refused += 1;
        self.door
            .refuse("C-STORE", status.comment, self.peer.clone())
            .await;
        status.clone()
    }
}

/// What the command says is coming.
fn announced(context: &Context, command: &CommandSet) -> Result<Arrival, Status> {
    let class = command
        .text(tag::AFFECTED_SOP_CLASS)
        .ok_or(Status::BAD_UID)?;
    let instance = command
        .text(tag::AFFECTED_SOP_INSTANCE)
        .ok_or(Status::BAD_UID)?;
    let sop_class = SopClassUid::new(class).map_err(|_| Status::BAD_UID)?;
    let instance = InstanceUid::new(instance).map_err(|_| Status::BAD_UID)?;
    if context.abstract_syntax != sop_class.as_str() {
        return Err(Status::CLASS_NOT_NEGOTIATED);
    }
    Ok(Arrival::DataSet {
        sop_class,
        instance,
        transfer_syntax: context.transfer_syntax.clone(),
    })
}
