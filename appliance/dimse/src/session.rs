//! What a peer that calls here asks for, one message after the other.

use crate::association::{Association, Context, Heard};
use crate::classes::VERIFICATION;
use crate::command::{CommandSet, RESPONSE, field, tag};
use crate::config::Limits;
use crate::door::{Door, OpenParcel};
use crate::status::Status;
use crate::wire::LinkError;
use pericard_domain::actor::Actor;
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
    pub(crate) tally: Tally,
}

impl<S: AsyncRead + AsyncWrite + Unpin, D: Door> Session<'_, S, D> {
    /// Answers messages until the peer asks for a release.
    ///
    /// When the appliance stops, the message in hand is answered first.
    pub(crate) async fn run(&mut self) -> Result<(), LinkError> {
        loop {
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
        let status = match command.field() {
            field::C_STORE => self.store(context, command).await?,
            field::C_ECHO => {
                self.skip_data_set(context, command).await?;
                let is_verification = self
                    .association
                    .context(context)
                    .is_some_and(|c| c.abstract_syntax == VERIFICATION);
                if is_verification {
                    Status::SUCCESS
                } else {
                    Status::CLASS_NOT_NEGOTIATED
                }
            }
            // Nothing here takes so long that it could be cancelled, and responses answer no question of ours.
            field::C_CANCEL => return self.skip_data_set(context, command).await,
            response if response & RESPONSE != 0 => {
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
