//! Calling a peer: the association that we ask for (PS3.8 section 9.3.2).

use crate::association::{Association, Context, Heard, Roles};
use crate::command::{CommandSet, RESPONSE, tag};
use crate::negotiation::{self, APPLICATION_CONTEXT, CONTEXTS_MAX};
use crate::peer::Peer;
use crate::tls::Tls;
use crate::wire::{AbortReason, LinkError, Pdu as WirePdu, Wire};
use dicom_ul::pdu::{
    AssociationAC, AssociationRJ, AssociationRJResult, AssociationRQ, Pdu,
    PresentationContextProposed, PresentationContextResultReason, RequestorRoles, UserVariableItem,
};
use pericard_domain::ae::AeTitle;
use pericard_domain::uid::TransferSyntaxUid;
use pericard_intake::Pace;
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Who calls, and with what patience.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Our own application entity title.
    pub ae_title: AeTitle,
    /// How long things may take.
    pub limits: RequestLimits,
    /// For peers that have certificates.
    pub tls: Option<Tls>,
}

/// How long things may take when we call.
#[derive(Debug, Clone)]
pub struct RequestLimits {
    /// Until the peer has answered the connection.
    pub connect_timeout: Duration,
    /// One PDU, and the answer to our request for an association or its release.
    pub pdu_timeout: Duration,
    /// Until the peer has answered an operation; it may have to put the object on tape first.
    pub response_timeout: Duration,
    /// The longest P-DATA-TF PDU that the peer is told it may send, in bytes.
    pub pdu_bytes_max: u32,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            pdu_timeout: Duration::from_secs(30),
            response_timeout: Duration::from_secs(120),
            pdu_bytes_max: 128 * 1024,
        }
    }
}

/// Why a peer could not be asked. Every one of these may be otherwise on another day.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The configuration does not say where the peer listens.
    #[error("the configuration gives no host and port for {name}; it can call, but not be called")]
    NoAddress {
        /// The peer's name.
        name: String,
    },
    /// The peer has certificates, and we have none.
    #[error("{name} is called over TLS only; give dicom.tls a certificate, a key and authorities")]
    NoTls {
        /// The peer's name.
        name: String,
    },
    /// The TLS session with the peer does not come about.
    #[error(
        "no TLS session with {name}: {reason}; is its certificate under its peers entry, and ours known to it?"
    )]
    NotSecured {
        /// The peer's name.
        name: String,
        /// Why.
        reason: io::Error,
    },
    /// The peer's web server is spoken to over TLS, and we have none.
    #[error(
        "the web address of {name} is https; give dicom.tls a certificate, a key and authorities"
    )]
    NoWebTls {
        /// The peer's name.
        name: String,
    },
    /// The TLS session with the peer's web server does not come about.
    #[error(
        "no TLS session with the web server of {name}: {reason}; is its certificate under web_certificates of its peers entry, or signed by dicom.tls.authorities for its host's name?"
    )]
    WebNotSecured {
        /// The peer's name.
        name: String,
        /// Why.
        reason: io::Error,
    },
    /// The peer does not answer the connection.
    #[error("cannot connect to {name}: {reason}; is it running, and is a firewall between?")]
    Unreachable {
        /// The peer's name.
        name: String,
        /// What the system says.
        reason: io::Error,
    },
    /// The peer rejects the association.
    #[error("{name} rejects the association: {reason}; are both AE titles configured there?")]
    Rejected {
        /// The peer's name.
        name: String,
        /// What it says.
        reason: String,
    },
    /// The association broke.
    #[error("the association with {name} broke: {reason}")]
    Broken {
        /// The peer's name.
        name: String,
        /// How.
        reason: LinkError,
    },
    /// The peer does not take what was proposed.
    #[error("{name} does not accept {what}")]
    NotAccepted {
        /// The peer's name.
        name: String,
        /// What was proposed.
        what: &'static str,
    },
}

/// A presentation context to propose.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Proposal {
    pub(crate) abstract_syntax: String,
    pub(crate) transfer_syntaxes: Vec<String>,
    /// The roles that we offer to take.
    pub(crate) roles: Roles,
}

impl Proposal {
    /// To use a service.
    pub(crate) fn new(abstract_syntax: &str, transfer_syntax: &str) -> Self {
        Self {
            abstract_syntax: abstract_syntax.to_owned(),
            transfer_syntaxes: vec![transfer_syntax.to_owned()],
            roles: Roles::USER,
        }
    }

    /// In whichever of these transfer syntaxes the peer chooses.
    pub(crate) fn in_any_of(abstract_syntax: &str, transfer_syntaxes: &[&str]) -> Self {
        Self {
            abstract_syntax: abstract_syntax.to_owned(),
            transfer_syntaxes: transfer_syntaxes.iter().map(|s| (*s).to_owned()).collect(),
            roles: Roles::USER,
        }
    }

    /// To take these roles in it.
    pub(crate) fn taking(self, roles: Roles) -> Self {
        Self { roles, ..self }
    }
}

/// The stream to a peer, with or without TLS.
pub(crate) type Line = Box<dyn Stream>;

/// What an association runs over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An association that we asked for.
pub(crate) struct Call {
    pub(crate) association: Association<Line>,
    /// Where the peer answered.
    pub(crate) peer_ip: IpAddr,
    response_timeout: Duration,
    message_id: u16,
}

/// A peer's answer to an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) comment: String,
}

impl Caller {
    /// Asks the peer for an association with these contexts: 128 at most.
    pub(crate) async fn call(
        &self,
        peer: &Peer,
        proposals: &[Proposal],
    ) -> Result<Call, CallError> {
        let name = || peer.name.clone();
        let (Some(host), Some(port)) = (peer.host(), peer.port) else {
            return Err(CallError::NoAddress { name: name() });
        };
        let unreachable = |reason| CallError::Unreachable {
            name: name(),
            reason,
        };
        let stream = timeout(
            self.limits.connect_timeout,
            TcpStream::connect((host.as_str(), port)),
        )
        .await
        .map_err(|_| unreachable(io::ErrorKind::TimedOut.into()))?
        .map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let ip = stream.peer_addr().map_err(unreachable)?.ip();
        let line = self.secured(stream, &host, peer).await?;
        let wire = Wire::new(line, self.limits.pdu_timeout);
        self.associate((wire, ip), peer, proposals).await
    }

    /// The stream as the peer is to be spoken to: over TLS when it has certificates, and else never.
    async fn secured(&self, stream: TcpStream, host: &str, peer: &Peer) -> Result<Line, CallError> {
        if peer.certificates.is_empty() {
            return Ok(Box::new(stream));
        }
        let name = || peer.name.clone();
        let Some(tls) = &self.tls else {
            return Err(CallError::NoTls { name: name() });
        };
        let shaking = tls.connect(stream, host, &peer.certificates);
        match timeout(self.limits.connect_timeout, shaking).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(reason)) => Err(CallError::NotSecured {
                name: name(),
                reason,
            }),
            Err(_) => Err(CallError::NotSecured {
                name: name(),
                reason: io::ErrorKind::TimedOut.into(),
            }),
        }
    }

    async fn associate(
        &self,
        (mut wire, peer_ip): (Wire<Line>, IpAddr),
        peer: &Peer,
        proposals: &[Proposal],
    ) -> Result<Call, CallError> {
        let broken = |reason| CallError::Broken {
            name: peer.name.clone(),
            reason,
        };
        let request = negotiation::encoded(&Pdu::AssociationRQ(self.request(peer, proposals)));
        wire.send(&request.map_err(broken)?).await.map_err(broken)?;
        let wait = self.limits.pdu_timeout;
        let answer = match wire.next(wait, "the answer to our call").await {
            Ok(WirePdu::Associate(pdu)) => negotiation::decoded(pdu).map_err(broken)?,
            Ok(_) => return Err(broken(unexpected())),
            Err(error) => return Err(broken(error)),
        };
        match answer {
            Pdu::AssociationAC(answer) => Ok(Call {
                association: Association::new(
                    wire,
                    contexts(&answer, proposals),
                    negotiation::max_length(&answer.user_variables),
                    // Whom we call keeps the pace that it can: it holds no place of others.
                    (
                        self.limits.response_timeout,
                        Pace::new(0, self.limits.pdu_timeout),
                    ),
                ),
                peer_ip,
                response_timeout: self.limits.response_timeout,
                message_id: 0,
            }),
            Pdu::AssociationRJ(rejection) => Err(CallError::Rejected {
                name: peer.name.clone(),
                reason: said(&rejection),
            }),
            _ => Err(broken(unexpected())),
        }
    }

    fn request(&self, peer: &Peer, proposals: &[Proposal]) -> AssociationRQ {
        let presentation_contexts = proposals
            .iter()
            .take(CONTEXTS_MAX)
            .zip((1..=u8::MAX).step_by(2))
            .map(|(proposal, id)| PresentationContextProposed {
                id,
                abstract_syntax: proposal.abstract_syntax.clone(),
                transfer_syntaxes: proposal.transfer_syntaxes.clone(),
            })
            .collect();
        let mut user_variables = negotiation::ours(self.limits.pdu_bytes_max);
        user_variables.extend(role_items(proposals));
        AssociationRQ {
            protocol_version: 1,
            calling_ae_title: self.ae_title.to_string(),
            called_ae_title: peer.ae_title.to_string(),
            application_context_name: APPLICATION_CONTEXT.to_owned(),
            presentation_contexts,
            user_variables,
        }
    }
}

impl Call {
    /// The accepted context for objects of that class in that transfer syntax.
    pub(crate) fn context(&self, sop_class: &str, transfer_syntax: &str) -> Option<u8> {
        self.association
            .contexts()
            .iter()
            .find(|c| {
                c.abstract_syntax == sop_class && c.transfer_syntax.as_str() == transfer_syntax
            })
            .map(|c| c.id)
    }

    /// The accepted context of that class, in whichever transfer syntax.
    pub(crate) fn context_of(&self, sop_class: &str) -> Option<(u8, TransferSyntaxUid)> {
        let contexts = self.association.contexts().iter();
        let mut fitting = contexts.filter(|c| c.abstract_syntax == sop_class);
        fitting.next().map(|c| (c.id, c.transfer_syntax.clone()))
    }

    /// A message id that no open operation has: operations follow each other.
    pub(crate) fn next_message_id(&mut self) -> u16 {
        self.message_id = self.message_id.wrapping_add(1).max(1);
        self.message_id
    }

    /// How long the peer may take to answer an operation.
    pub(crate) const fn response_timeout(&self) -> Duration {
        self.response_timeout
    }

    /// The next command that the peer sends, an answer or a request of its own.
    pub(crate) async fn heard(&mut self) -> Result<(u8, CommandSet), LinkError> {
        let wait = self.response_timeout;
        match self
            .association
            .next(wait, "the answer to a request")
            .await?
        {
            Heard::Command(context, command) => Ok((context, command)),
            Heard::Release => Err(LinkError::violation(
                "a release in place of an answer",
                AbortReason::UnexpectedPdu,
            )),
        }
    }

    /// Waits for the answer to our request.
    pub(crate) async fn answer(&mut self, request: &CommandSet) -> Result<Answer, LinkError> {
        let (_, command) = self.heard().await?;
        answer_in(&command, request)
    }
}

/// What the command answers to that request: nothing else may come in its place.
pub(crate) fn answer_in(command: &CommandSet, request: &CommandSet) -> Result<Answer, LinkError> {
    match command.number(tag::STATUS) {
        Some(status) if answers(command, request) => Ok(Answer {
            status,
            comment: command
                .text(tag::ERROR_COMMENT)
                .unwrap_or_default()
                .to_owned(),
        }),
        _ => Err(LinkError::violation(
            "an answer to something that was not asked",
            AbortReason::InvalidParameter,
        )),
    }
}

/// Whether it answers that request.
pub(crate) fn answers(answer: &CommandSet, request: &CommandSet) -> bool {
    answer.field() == request.field() | RESPONSE
        && answer.number(tag::MESSAGE_ID_RESPONDED_TO) == Some(request.message_id())
}

/// What the peer accepted of what we proposed.
fn contexts(answer: &AssociationAC, proposals: &[Proposal]) -> Vec<Context> {
    let accepted = |r: &&dicom_ul::pdu::PresentationContextResult| {
        r.reason == PresentationContextResultReason::Acceptance
    };
    let ours = |result: &dicom_ul::pdu::PresentationContextResult| {
        let proposal = proposals
            .get(usize::from(result.id / 2))
            .filter(|_| result.id % 2 == 1)?;
        let transfer_syntax = TransferSyntaxUid::new(&result.transfer_syntax).ok()?;
        let is_proposed = |syntax: &String| syntax == transfer_syntax.as_str();
        proposal
            .transfer_syntaxes
            .iter()
            .any(is_proposed)
            .then(|| Context {
                id: result.id,
                abstract_syntax: proposal.abstract_syntax.clone(),
                transfer_syntax,
                requestor: roles_answered(answer, proposal),
            })
    };
    answer
        .presentation_contexts
        .iter()
        .filter(accepted)
        .filter_map(ours)
        .collect()
}

/// One item for each class that we take otherwise than as its user only.
fn role_items(proposals: &[Proposal]) -> Vec<UserVariableItem> {
    let mut items: Vec<UserVariableItem> = Vec::new();
    for proposal in proposals.iter().filter(|p| p.roles != Roles::USER) {
        let Roles { scu, scp } = proposal.roles;
        let item = UserVariableItem::ScuScpRoleSelectionSubItem(
            proposal.abstract_syntax.clone(),
            RequestorRoles { scu, scp },
        );
        if !items.contains(&item) {
            items.push(item);
        }
    }
    items
}

/// What the peer grants of the roles that we offered; without a word we are the user (PS3.7 section D.3.3.4).
fn roles_answered(answer: &AssociationAC, proposal: &Proposal) -> Roles {
    let about = |item: &UserVariableItem| match item {
        UserVariableItem::ScuScpRoleSelectionSubItem(class, roles)
            if class.trim_end_matches(['\0', ' ']) == proposal.abstract_syntax =>
        {
            Some(Roles {
                scu: roles.scu,
                scp: roles.scp,
            })
        }
        _ => None,
    };
    if proposal.roles == Roles::USER {
        return Roles::USER;
    }
    answer
        .user_variables
        .iter()
        .find_map(about)
        .unwrap_or(Roles::USER)
}

fn said(rejection: &AssociationRJ) -> String {
    let lasting = match rejection.result {
        AssociationRJResult::Permanent => "for good",
        AssociationRJResult::Transient => "for now",
    };
    format!("{} ({lasting})", rejection.source)
}

const fn unexpected() -> LinkError {
    LinkError::violation(
        "a PDU that does not answer our call",
        AbortReason::UnexpectedPdu,
    )
}
