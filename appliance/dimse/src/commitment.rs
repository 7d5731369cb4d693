//! Storage commitment (PS3.4 annex J), both ways.
//!
//! As provider: what a peer asks about is answered from what is on disk, and the answer is kept until the peer has heard
//! it: over an association of our own when we know where it listens, and else over the one that it asked on.
//!
//! As user: [`commit`] asks peers that are configured so about what was delivered to them. Their answer comes over the same
//! association or, as with Orthanc, over one that they open with the roles turned round; both end in the store.

use crate::archive::Archive;
use crate::association::{Heard, Roles};
use crate::classes::IMPLICIT_LE;
use crate::command::{CommandSet, RESPONSE, field, tag};
use crate::door::Door;
use crate::peer::Peer;
use crate::peers::{Peers, one_worker_each};
use crate::request::{Answer, Call, CallError, Proposal, answer_in};
use crate::session::Session;
use crate::status::Status;
use crate::wire::{AbortReason, LinkError};
use dicom_dictionary_std::{tags, uids};
use pericard_dicom::identifier::Identifier;
use pericard_domain::actor::Actor;
use pericard_domain::time::Clock;
use pericard_domain::uid::{InstanceUid, SopClassUid, TransferSyntaxUid};
use pericard_store::StoreError;
use pericard_store::commitment::{OwedPromise, Promise, Question, Reference};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Request Storage Commitment: the only action.
const REQUEST: u16 = 1;
/// Everything is committed.
const ALL_KEPT: u16 = 1;
/// Something is not.
const SOME_NOT_KEPT: u16 = 2;
/// Failure Reason where a peer gives none.
const UNSAID: u16 = 0x0110;

/// The most reports that are heard before the answer to a question: on this one, and on earlier ones that are still open.
const REPORTS_AHEAD_MAX: usize = 16;

/// How commitment goes about it.
#[derive(Debug, Clone)]
pub struct CommitmentConfig {
    /// The most objects in one question.
    pub references_max: u32,
    /// How long a peer may take to promise before it is asked again.
    pub patience: Duration,
    /// How long after a failure it is tried again.
    pub retry: Duration,
    /// How long an answer is waited for on the association that asked.
    pub linger: Duration,
    /// How often to look for what nobody announced.
    pub look_every: Duration,
}

impl Default for CommitmentConfig {
    fn default() -> Self {
        Self {
            references_max: 500,
            patience: Duration::from_secs(60 * 60),
            retry: Duration::from_secs(60),
            linger: Duration::from_secs(1),
            look_every: Duration::from_secs(30),
        }
    }
}

/// Asks every peer that commits about what it was sent, and tells every peer what it asked about, until `stop`.
pub async fn commit(
    config: CommitmentConfig,
    archive: Archive,
    peers: Peers,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let notary = |peer, retired| {
        let notary = Notary {
            config: config.clone(),
            archive: archive.clone(),
            peer,
            clock: Arc::clone(&clock),
        };
        notary.run(retired)
    };
    one_worker_each(peers, &stop, notary).await;
}

/// The worker of one peer.
struct Notary {
    config: CommitmentConfig,
    archive: Archive,
    peer: Peer,
    clock: Arc<dyn Clock>,
}

impl Notary {
    async fn run(self, retired: CancellationToken) {
        while !retired.is_cancelled() {
            let wait = match self.round().await {
                Ok(true) => continue,
                Ok(false) => self.config.look_every,
                Err(error) => {
                    tracing::error!(peer = %self.peer.name, "commitment: {error}");
                    self.config.retry
                }
            };
            let changed = timeout(wait, self.archive.store.changed());
            let _ = retired.run_until_cancelled(changed).await;
        }
    }

    /// Whether there was something to do.
    async fn round(&self) -> Result<bool, StoreError> {
        let told = self.tell().await?;
        Ok((self.peer.commit && self.ask().await?) || told)
    }

    async fn ask(&self) -> Result<bool, StoreError> {
        let (config, store) = (&self.config, &self.archive.store);
        let asked =
            store.commitment_question(&self.peer.name, config.references_max, config.patience);
        let Some(question) = asked.await? else {
            return Ok(false);
        };
        if let Err(why) = self.put(&question).await {
            tracing::warn!(peer = %self.peer.name, "commitment put off: {why}");
            let again_at = self.clock.now().after(config.retry);
            store
                .commitment_put_off(&question, &why.to_string(), again_at)
                .await?;
        }
        Ok(true)
    }

    /// N-ACTION, and the answer if it comes at once.
    async fn put(&self, question: &Question) -> Result<(), CallError> {
        let broken = |reason| self.broken(reason);
        let (mut call, context) = self.call(Roles::USER).await?;
        let request = CommandSet::request(field::N_ACTION, call.next_message_id(), true)
            .with_uid(
                tag::REQUESTED_SOP_CLASS,
                uids::STORAGE_COMMITMENT_PUSH_MODEL,
            )
            .with_uid(
                tag::REQUESTED_SOP_INSTANCE,
                uids::STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
            )
            .with_number(tag::ACTION_TYPE, REQUEST);
        let information = Identifier::default()
            .with(tags::TRANSACTION_UID, Some(&question.transaction))
            .with_items(
                tags::REFERENCED_SOP_SEQUENCE,
                question.references.iter().map(item).collect(),
            );
        let bytes = information.encoded(&implicit(), "");
        call.association
            .send_both(context, &request, &bytes)
            .await
            .map_err(broken)?;
        let answer = self.said(&mut call, &request).await.map_err(broken)?;
        if answer.status != 0 {
            return Err(self.not_accepted("a request for storage commitment"));
        }
        let linger = self.config.linger;
        // Silence is not a failure: the answer then comes over an association of the peer's.
        if let Ok(Heard::Command(context, command)) =
            call.association.next(linger, "a commitment").await
        {
            self.answered(&mut call, context, &command)
                .await
                .map_err(broken)?;
        }
        // The peer has accepted the question. What it reports meanwhile is taken; how the association ends is no matter.
        if let Err(error) = self.released(call).await {
            tracing::debug!(peer = %self.peer.name, "the release after a question: {error}");
        }
        Ok(())
    }

    /// Releases the association. A report that crosses with that is taken, but not answered: nothing may be sent by then. A
    /// peer that wants the answer reports again over an association of its own.
    async fn released(&self, mut call: Call) -> Result<(), LinkError> {
        call.association.ask_release().await?;
        for _ in 0..REPORTS_AHEAD_MAX {
            let Some((context, command)) = call.association.next_before_release().await? else {
                call.association.close().await;
                return Ok(());
            };
            self.taken(&mut call, context, &command).await?;
        }
        Err(LinkError::violation(
            "reports without an end",
            AbortReason::UnexpectedPdu,
        ))
    }

    /// The answer to our question. An archive that has the objects at hand may report on them before it: the transaction
    /// is in the store since before it was asked, so its word counts like any later one.
    async fn said(&self, call: &mut Call, request: &CommandSet) -> Result<Answer, LinkError> {
        for _ in 0..REPORTS_AHEAD_MAX {
            let (context, command) = call.heard().await?;
            if command.field() != field::N_EVENT_REPORT {
                return answer_in(&command, request);
            }
            self.answered(call, context, &command).await?;
        }
        call.answer(request).await
    }

    async fn answered(
        &self,
        call: &mut Call,
        context: u8,
        command: &CommandSet,
    ) -> Result<(), LinkError> {
        let Some(status) = self.taken(call, context, command).await? else {
            return Ok(());
        };
        let response = CommandSet::response(command, &status);
        call.association.send(context, &response).await
    }

    /// Takes a report, and says what the peer is to hear of it; `None` when it is none.
    async fn taken(
        &self,
        call: &mut Call,
        context: u8,
        command: &CommandSet,
    ) -> Result<Option<Status>, LinkError> {
        let bytes = match command.has_data_set() {
            true => call.association.small_data_set(context).await?,
            false => None,
        };
        if command.field() != field::N_EVENT_REPORT {
            return Ok(None);
        }
        let ip: IpAddr = call.peer_ip;
        let by = Actor::Peer {
            ae_title: self.peer.ae_title.clone(),
            address: ip,
        };
        // `None`: it has no information, or more of it than is read.
        let information = bytes.map(|bytes| Identifier::read(&bytes, &implicit()));
        let status = match information {
            Some(Ok(information)) => {
                settled(&self.archive, &self.peer, command, &information, by).await
            }
            Some(Err(_)) | None => Status::INVALID_ARGUMENT,
        };
        Ok(Some(status))
    }

    async fn tell(&self) -> Result<bool, StoreError> {
        let store = &self.archive.store;
        let Some(owed) = store
            .owed_promise(&self.peer.ae_title, self.config.retry)
            .await?
        else {
            return Ok(false);
        };
        match self.report(&owed).await {
            Ok(()) => store.promise_told(&owed).await?,
            Err(why) => {
                tracing::warn!(peer = %self.peer.name, attempts = owed.attempts, "a commitment is not told: {why}")
            }
        }
        Ok(true)
    }

    /// N-EVENT-REPORT over an association of ours, in which we are the provider.
    async fn report(&self, owed: &OwedPromise) -> Result<(), CallError> {
        let broken = |reason| self.broken(reason);
        let (mut call, context) = self.call(Roles::PROVIDER).await?;
        let (request, information) = event(call.next_message_id(), &owed.promise);
        let bytes = information.encoded(&implicit(), "");
        call.association
            .send_both(context, &request, &bytes)
            .await
            .map_err(broken)?;
        let answer = call.answer(&request).await.map_err(broken)?;
        let _ = call.association.release().await;
        if answer.status == 0 {
            Ok(())
        } else {
            Err(self.not_accepted("a storage commitment that it asked for"))
        }
    }

    async fn call(&self, roles: Roles) -> Result<(Call, u8), CallError> {
        let proposed = [proposal(roles)];
        let call = self.archive.caller.call(&self.peer, &proposed).await?;
        let context = call.context(uids::STORAGE_COMMITMENT_PUSH_MODEL, IMPLICIT_LE);
        let context = context.ok_or_else(|| self.not_accepted("storage commitment"))?;
        Ok((call, context))
    }

    fn broken(&self, reason: LinkError) -> CallError {
        CallError::Broken {
            name: self.peer.name.clone(),
            reason,
        }
    }

    fn not_accepted(&self, what: &'static str) -> CallError {
        CallError::NotAccepted {
            name: self.peer.name.clone(),
            what,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, D: Door> Session<'_, S, D> {
    /// N-ACTION: a peer asks what is kept. Success says that the question is, and that an answer will come.
    pub(crate) async fn asked_to_commit(
        &mut self,
        context: u8,
        command: &CommandSet,
    ) -> Result<(), LinkError> {
        let read = self.identifier(context, command).await?;
        let promised = match (read, self.archive) {
            (Ok(information), Some(archive)) => self.promised(archive, command, &information).await,
            (Ok(_), None) => Err(Status::PROCESSING_FAILURE),
            (Err(_), _) => Err(Status::INVALID_ARGUMENT),
        };
        let status = promised.as_ref().err().cloned().unwrap_or(Status::SUCCESS);
        let response = CommandSet::response(command, &status);
        self.association.send(context, &response).await?;
        match promised {
            // Who listens somewhere is called there: a peer that asks and leaves is the rule.
            Ok(owed) if !self.peer_named.is_some_and(Peer::is_callable) => {
                self.tell_here(context, &owed).await
            }
            _ => Ok(()),
        }
    }

    async fn promised(
        &self,
        archive: &Archive,
        command: &CommandSet,
        information: &Identifier,
    ) -> Result<OwedPromise, Status> {
        if command.text(tag::REQUESTED_SOP_INSTANCE)
            != Some(uids::STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE)
        {
            return Err(Status::NO_SUCH_INSTANCE);
        }
        if command.number(tag::ACTION_TYPE) != Some(REQUEST) {
            return Err(Status::NO_SUCH_ACTION);
        }
        let transaction = transaction(information).ok_or(Status::INVALID_ARGUMENT)?;
        let references = references(information, tags::REFERENCED_SOP_SEQUENCE)
            .ok_or(Status::INVALID_ARGUMENT)?;
        if references.is_empty() {
            return Err(Status::INVALID_ARGUMENT);
        }
        let question = Question {
            transaction,
            references,
        };
        let promise = archive
            .store
            .promise(self.calling, question, self.peer.clone());
        promise.await.map_err(|error| {
            tracing::error!("storage commitment: {error}");
            Status::PROCESSING_FAILURE
        })
    }

    /// N-EVENT-REPORT over the association that asked.
    async fn tell_here(&mut self, context: u8, owed: &OwedPromise) -> Result<(), LinkError> {
        let (request, information) = event(1, &owed.promise);
        let syntax = self
            .association
            .context(context)
            .map(|c| c.transfer_syntax.clone());
        let bytes = information.encoded(&syntax.unwrap_or_else(implicit), "");
        self.association
            .send_both(context, &request, &bytes)
            .await?;
        loop {
            let wait = self.limits.idle_timeout;
            match self
                .association
                .next(wait, "the answer to a commitment")
                .await?
            {
                Heard::Command(_, answer) if answer.field() == field::N_EVENT_REPORT | RESPONSE => {
                    break;
                }
                // Another question before the answer to ours; it waits, and the next after it would be one too many.
                Heard::Command(context, command)
                    if self.waiting.is_none() && !command.has_data_set() =>
                {
                    self.waiting = Some((context, command));
                }
                _ => {
                    return Err(LinkError::violation(
                        "something else than the answer to a commitment",
                        AbortReason::UnexpectedPdu,
                    ));
                }
            }
        }
        if let Some(archive) = self.archive
            && let Err(error) = archive.store.promise_told(owed).await
        {
            tracing::error!("storage commitment: {error}");
        }
        Ok(())
    }

    /// N-EVENT-REPORT: a peer says what it keeps of what it was sent.
    pub(crate) async fn told_of_commitment(
        &mut self,
        context: u8,
        command: &CommandSet,
    ) -> Result<Status, LinkError> {
        let information = match self.identifier(context, command).await? {
            Ok(information) => information,
            Err(_) => return Ok(Status::INVALID_ARGUMENT),
        };
        let (Some(archive), Some(peer)) = (self.archive, self.peer_named) else {
            return Ok(Status::NOT_AUTHORIZED);
        };
        Ok(settled(archive, peer, command, &information, self.peer.clone()).await)
    }
}

/// Takes note of what a peer promises.
async fn settled(
    archive: &Archive,
    peer: &Peer,
    command: &CommandSet,
    information: &Identifier,
    by: Actor,
) -> Status {
    let event = command.number(tag::EVENT_TYPE);
    if !matches!(event, Some(ALL_KEPT | SOME_NOT_KEPT)) {
        return Status::NO_SUCH_EVENT;
    }
    let parts = (
        transaction(information),
        references(information, tags::REFERENCED_SOP_SEQUENCE),
        references(information, tags::FAILED_SOP_SEQUENCE),
    );
    let (Some(transaction), Some(kept), Some(failed)) = parts else {
        return Status::INVALID_ARGUMENT;
    };
    let reasons = information
        .items(tags::FAILED_SOP_SEQUENCE)
        .iter()
        .map(|item| {
            let reason = item.text(tags::FAILURE_REASON).and_then(|r| r.parse().ok());
            reason.unwrap_or(UNSAID)
        });
    let promise = Promise {
        transaction,
        kept,
        not_kept: failed.into_iter().zip(reasons).collect(),
    };
    match archive
        .store
        .settle_commitment(&peer.name, promise, by)
        .await
    {
        Ok(()) => Status::SUCCESS,
        Err(StoreError::NotFound(_)) => Status::NO_SUCH_INSTANCE,
        Err(error) => {
            tracing::error!("storage commitment: {error}");
            Status::PROCESSING_FAILURE
        }
    }
}

/// The request that tells a promise, and its information (PS3.4 section J.3.3).
fn event(message_id: u16, promise: &Promise) -> (CommandSet, Identifier) {
    let kind = if promise.not_kept.is_empty() {
        ALL_KEPT
    } else {
        SOME_NOT_KEPT
    };
    let request = CommandSet::request(field::N_EVENT_REPORT, message_id, true)
        .with_uid(tag::AFFECTED_SOP_CLASS, uids::STORAGE_COMMITMENT_PUSH_MODEL)
        .with_uid(
            tag::AFFECTED_SOP_INSTANCE,
            uids::STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
        )
        .with_number(tag::EVENT_TYPE, kind);
    let mut information =
        Identifier::default().with(tags::TRANSACTION_UID, Some(&promise.transaction));
    if !promise.kept.is_empty() {
        information = information.with_items(
            tags::REFERENCED_SOP_SEQUENCE,
            promise.kept.iter().map(item).collect(),
        );
    }
    if !promise.not_kept.is_empty() {
        let failed = promise.not_kept.iter().map(|(reference, why)| {
            item(reference).with(tags::FAILURE_REASON, Some(&why.to_string()))
        });
        information = information.with_items(tags::FAILED_SOP_SEQUENCE, failed.collect());
    }
    (request, information)
}

fn item(reference: &Reference) -> Identifier {
    Identifier::default()
        .with(
            tags::REFERENCED_SOP_CLASS_UID,
            Some(reference.sop_class.as_str()),
        )
        .with(
            tags::REFERENCED_SOP_INSTANCE_UID,
            Some(reference.instance.as_str()),
        )
}

fn transaction(information: &Identifier) -> Option<String> {
    let text = information.text(tags::TRANSACTION_UID)?;
    // Any UID will do; the type only says that it is one.
    InstanceUid::new(text).ok().map(|uid| uid.to_string())
}

/// `None` when one of the items is not a reference.
fn references(information: &Identifier, tag: dicom_core::Tag) -> Option<Vec<Reference>> {
    let items = information.items(tag).iter();
    let read = |item: &Identifier| {
        Some(Reference {
            sop_class: SopClassUid::new(item.text(tags::REFERENCED_SOP_CLASS_UID)?).ok()?,
            instance: InstanceUid::new(item.text(tags::REFERENCED_SOP_INSTANCE_UID)?).ok()?,
        })
    };
    items.map(read).collect()
}

fn implicit() -> TransferSyntaxUid {
    // A constant of the standard, which is a UID.
    TransferSyntaxUid::new(IMPLICIT_LE).unwrap_or_else(|_| unreachable!("a UID of the standard"))
}

/// What is proposed in order to ask for commitment, as user, or to report it, as provider.
pub(crate) fn proposal(roles: Roles) -> Proposal {
    Proposal::new(uids::STORAGE_COMMITMENT_PUSH_MODEL, IMPLICIT_LE).taking(roles)
}
