//! How a request for an association is answered (PS3.8 section 9.3, PS3.7 annex D.3).

use crate::association::{Context, PEER_PDU_BYTES_MIN, Roles};
use crate::classes::{self, IMPLICIT_LE};
use crate::config::{DimseConfig, Unlisted};
use crate::peer::{Origin, Peer, Rights};
use crate::service::Service;
use crate::wire::{AbortReason, LinkError, PDU_HEADER_BYTES};
use bytes::Bytes;
use dicom_ul::pdu::{
    AssociationAC, AssociationRJ, AssociationRJResult,
    AssociationRJServiceProviderASCEReason as AcseReason,
    AssociationRJServiceProviderPresentationReason as PresentationReason,
    AssociationRJServiceUserReason as UserReason, AssociationRJSource, AssociationRQ, Pdu,
    PresentationContextProposed, PresentationContextResult, PresentationContextResultReason,
    RequestorRoles, UserVariableItem, read_pdu, write_pdu,
};
use pericard_dicom::meta::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};
use pericard_domain::ae::AeTitle;
use pericard_domain::uid::{SopClassUid, TransferSyntaxUid};
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The DICOM application context (PS3.7 annex A.2.1).
pub(crate) const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
/// The most presentation contexts: their ids are the odd numbers of a byte.
pub(crate) const CONTEXTS_MAX: usize = 128;
/// How many requests a peer may send ahead of our answers (PS3.7 annex D.3.3.3). They are taken up in their order.
const OPERATIONS_AHEAD_MAX: u16 = 16;
/// User information sub-item: asynchronous operations window.
const OPERATIONS_WINDOW: u8 = 0x53;
/// Variable items of an A-ASSOCIATE-RQ or -AC: application context, presentation contexts, user information.
const KNOWN_ITEMS: [u8; 4] = [0x10, 0x20, RESULT_ITEM, 0x50];
/// Variable item: a presentation context, as it was answered.
const RESULT_ITEM: u8 = 0x21;
/// Sub-item of it: its transfer syntax.
const TRANSFER_SYNTAX_ITEM: u8 = 0x40;
/// PDU header and fixed fields of an A-ASSOCIATE-RQ or -AC.
const FIXED_BYTES: usize = 74;

/// A request that was accepted.
pub(crate) struct Accepted {
    pub(crate) contexts: Vec<Context>,
    pub(crate) peer_pdu_bytes_max: u32,
    pub(crate) answer: Vec<u8>,
}

/// Who calls, when it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Calling {
    pub(crate) title: AeTitle,
    pub(crate) rights: Rights,
    /// Which of the configured peers it is, when it is one.
    pub(crate) peer: Option<Peer>,
}

/// The transfer syntaxes that objects of each class are held in, most of them first.
pub(crate) type Held = HashMap<SopClassUid, Vec<TransferSyntaxUid>>;

/// Why a request is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejection {
    #[error("the called AE title is not ours")]
    CalledAe,
    #[error("the calling AE title is not known at this address")]
    CallingAe,
    #[error(
        "the calling AE title is not bound to this certificate, or is bound to one and calls without TLS"
    )]
    Certificate,
    #[error("the protocol version is not supported")]
    ProtocolVersion,
    #[error("the application context is not DICOM's")]
    ApplicationContext,
    #[error("as many associations are open as may be")]
    Congestion,
    #[error("this AE title has as many associations open as it may")]
    PerAeLimit,
    #[error("the peer's maximum PDU length is too short to carry anything")]
    PduTooShort,
}

/// Reads an A-ASSOCIATE-RQ.
pub(crate) fn request(pdu: Bytes) -> Result<AssociationRQ, LinkError> {
    match decoded(pdu)? {
        Pdu::AssociationRQ(request) => Ok(request),
        _ => Err(LinkError::violation(
            "an answer where a request for an association belongs",
            AbortReason::UnexpectedPdu,
        )),
    }
}

/// Reads an association PDU whose length was checked when it was framed.
pub(crate) fn decoded(pdu: Bytes) -> Result<Pdu, LinkError> {
    let malformed =
        || LinkError::violation("a malformed association PDU", AbortReason::InvalidParameter);
    let pdu = without_unknown_items(&pdu);
    let length = u32::try_from(pdu.len()).map_err(|_| malformed())?.max(4096);
    // The reader does arithmetic on lengths that the peer chose; a panic there is the peer's fault, and ends nothing else.
    let read = catch_unwind(AssertUnwindSafe(|| read_pdu(&pdu[..], length, true)));
    match read {
        Ok(Ok(Some(pdu))) => Ok(pdu),
        _ => Err(malformed()),
    }
}

/// Unknown items shall be ignored (PS3.8 section 9.3.1); the reader would refuse the whole PDU for them.
fn without_unknown_items(pdu: &[u8]) -> Vec<u8> {
    let mut kept = pdu.get(..FIXED_BYTES).unwrap_or(pdu).to_vec();
    let mut rest = pdu.get(FIXED_BYTES..).unwrap_or_default();
    while let [kind, _, high, low, ..] = *rest {
        let length = 4 + usize::from(u16::from_be_bytes([high, low]));
        let item = &rest[..length.min(rest.len())];
        if let [RESULT_ITEM, _, 0, 4, context @ ..] = item {
            // A rejected context may come without a transfer syntax; the reader wants one, if an empty one.
            kept.extend_from_slice(&[RESULT_ITEM, 0, 0, 8]);
            kept.extend_from_slice(context);
            kept.extend_from_slice(&[TRANSFER_SYNTAX_ITEM, 0, 0, 0]);
        } else if KNOWN_ITEMS.contains(&kind) {
            kept.extend_from_slice(item);
        }
        rest = &rest[item.len()..];
    }
    // A cut item stays, for the reader to refuse.
    kept.extend_from_slice(rest);
    let length = (kept.len().saturating_sub(PDU_HEADER_BYTES)) as u32; // framed, so below 1 MiB
    if let Some(field) = kept.get_mut(2..PDU_HEADER_BYTES) {
        field.copy_from_slice(&length.to_be_bytes());
    }
    kept
}

/// Who calls, when it may.
pub(crate) async fn admitted(
    request: &AssociationRQ,
    origin: &Origin,
    config: &DimseConfig,
) -> Result<Calling, Rejection> {
    if request.protocol_version & 1 == 0 {
        return Err(Rejection::ProtocolVersion);
    }
    if request
        .application_context_name
        .trim_end_matches(['\0', ' '])
        != APPLICATION_CONTEXT
    {
        return Err(Rejection::ApplicationContext);
    }
    if (1..PEER_PDU_BYTES_MIN).contains(&max_length(&request.user_variables)) {
        return Err(Rejection::PduTooShort);
    }
    let called = AeTitle::new(&request.called_ae_title);
    if config.called_ae_must_match && called.as_ref() != Ok(&config.ae_title) {
        return Err(Rejection::CalledAe);
    }
    let title = AeTitle::new(&request.calling_ae_title).map_err(|_| Rejection::CallingAe)?;
    let (ip, mut at_its_address) = (origin.ip, false);
    let named = config.peers.now();
    for peer in named.iter() {
        if !peer.is_calling(&title, ip).await {
            continue;
        }
        if peer.is_shown(origin.certificate) {
            return Ok(Calling {
                title,
                rights: peer.rights,
                peer: Some(peer.clone()),
            });
        }
        at_its_address = true;
    }
    // Over TLS nobody is heard whose certificate the hospital has not bound to a title.
    if at_its_address || origin.certificate.is_some() {
        return Err(Rejection::Certificate);
    }
    // A title that is listed belongs to its address: nobody else may use it, wherever the unlisted may call from.
    let is_listed = named.iter().any(|p| p.ae_title == title);
    let unlisted_may = match config.unlisted {
        Unlisted::Refused => false,
        Unlisted::FromLoopback => ip.to_canonical().is_loopback(),
        Unlisted::Accepted => true,
    };
    if is_listed || !unlisted_may {
        return Err(Rejection::CallingAe);
    }
    // Nobody whom the hospital has not named gets anything out.
    Ok(Calling {
        title,
        rights: Rights::STORE,
        peer: None,
    })
}

/// Whether the requestor offers to take objects on its own association, as C-GET does.
pub(crate) fn takes_objects(request: &AssociationRQ) -> bool {
    request.user_variables.iter().any(
        |item| matches!(item, UserVariableItem::ScuScpRoleSelectionSubItem(_, roles) if roles.scp),
    )
}

/// Answers an admitted request context by context.
pub(crate) fn accepted(
    request: &AssociationRQ,
    calling: &Calling,
    held: &Held,
    config: &DimseConfig,
) -> Result<Accepted, LinkError> {
    check_context_ids(&request.presentation_contexts)?;
    let (mut contexts, mut results) = (Vec::new(), Vec::new());
    for proposed in &request.presentation_contexts {
        let roles = roles_proposed(request, &proposed.abstract_syntax);
        let (result, context) = answered(proposed, roles, (calling, held), config);
        results.push(result);
        contexts.extend(context);
    }
    let answer = Pdu::AssociationAC(AssociationAC {
        protocol_version: 1,
        calling_ae_title: request.calling_ae_title.clone(),
        called_ae_title: request.called_ae_title.clone(),
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: results,
        user_variables: user_information(request, &contexts, config),
    });
    Ok(Accepted {
        contexts,
        peer_pdu_bytes_max: max_length(&request.user_variables),
        answer: encoded(&answer)?,
    })
}

fn check_context_ids(proposed: &[PresentationContextProposed]) -> Result<(), LinkError> {
    let mut seen = HashSet::new();
    if proposed.iter().all(|c| c.id % 2 == 1 && seen.insert(c.id)) {
        return Ok(());
    }
    Err(LinkError::violation(
        "presentation context ids that are even or doubled",
        AbortReason::InvalidParameter,
    ))
}

/// The roles that the requestor offers to take in a class; it is the user of whatever it does not mention.
fn roles_proposed(request: &AssociationRQ, abstract_syntax: &str) -> Roles {
    let plain = |uid: &str| uid.trim_end_matches(['\0', ' ']).to_owned();
    let about = |item: &UserVariableItem| match item {
        UserVariableItem::ScuScpRoleSelectionSubItem(class, roles)
            if plain(class) == plain(abstract_syntax) =>
        {
            Some(Roles {
                scu: roles.scu,
                scp: roles.scp,
            })
        }
        _ => None,
    };
    request
        .user_variables
        .iter()
        .find_map(about)
        .unwrap_or(Roles::USER)
}

/// Which of the roles that it offers a requestor may take.
fn roles_granted(service: Service, proposed: Roles, calling: &Calling) -> Roles {
    let may = service.is_allowed(calling.rights);
    match service {
        // It takes objects: what it retrieves.
        Service::Storage => Roles {
            scu: proposed.scu && may,
            scp: proposed.scp && calling.rights.retrieve,
        },
        // It reports on what we stored there.
        Service::Commitment => Roles {
            scu: proposed.scu && may,
            scp: proposed.scp && calling.peer.is_some(),
        },
        _ => Roles {
            scu: proposed.scu && may,
            scp: false,
        },
    }
}

fn answered(
    proposed: &PresentationContextProposed,
    roles: Roles,
    (calling, held): (&Calling, &Held),
    config: &DimseConfig,
) -> (PresentationContextResult, Option<Context>) {
    use PresentationContextResultReason as Reason;
    let abstract_syntax = proposed.abstract_syntax.trim_end_matches(['\0', ' ']);
    let service = Service::of(abstract_syntax, config)
        .filter(|service| config.archive.is_some() || !service.needs_archive());
    let granted = service.map(|service| roles_granted(service, roles, calling));
    let granted = granted.filter(|granted| granted.scu || granted.scp);
    let offered = &proposed.transfer_syntaxes;
    let chosen = match service {
        Some(Service::Storage) if granted.is_some_and(|g| g.scp) => {
            let class = SopClassUid::new(abstract_syntax).ok();
            let held = class.and_then(|class| held.get(&class));
            classes::chosen_to_send(offered, held.map_or(&[], Vec::as_slice))
        }
        Some(Service::Storage | Service::Verification) | None => classes::chosen(offered),
        Some(_) => classes::chosen_plain(offered),
    };
    let (reason, context) = match (granted, chosen) {
        (None, _) => (Reason::AbstractSyntaxNotSupported, None),
        (Some(_), None) => (Reason::TransferSyntaxesNotSupported, None),
        (Some(requestor), Some(transfer_syntax)) => {
            let context = Context {
                id: proposed.id,
                abstract_syntax: abstract_syntax.to_owned(),
                transfer_syntax,
                requestor,
            };
            (Reason::Acceptance, Some(context))
        }
    };
    let transfer_syntax = match &context {
        Some(context) => context.transfer_syntax.to_string(),
        // Not significant, but some devices stumble over its absence.
        None => IMPLICIT_LE.to_owned(),
    };
    let result = PresentationContextResult {
        id: proposed.id,
        reason,
        transfer_syntax,
    };
    (result, context)
}

fn user_information(
    request: &AssociationRQ,
    contexts: &[Context],
    config: &DimseConfig,
) -> Vec<UserVariableItem> {
    let mut items = ours(config.limits.pdu_bytes_max);
    // While objects go out on an association, no further request can come in between.
    let is_alone = contexts.iter().any(|c| c.requestor.scp);
    for item in &request.user_variables {
        match item {
            UserVariableItem::Unknown(OPERATIONS_WINDOW, window) => {
                items.extend(operations_window(window, is_alone))
            }
            UserVariableItem::ScuScpRoleSelectionSubItem(class, _) => {
                let class_plain = class.trim_end_matches(['\0', ' ']);
                let accepted = contexts.iter().find(|c| c.abstract_syntax == class_plain);
                items.extend(accepted.map(|context| {
                    let Roles { scu, scp } = context.requestor;
                    let answer = RequestorRoles { scu, scp };
                    UserVariableItem::ScuScpRoleSelectionSubItem(class.clone(), answer)
                }));
            }
            UserVariableItem::SopClassExtendedNegotiationSubItem(class, asked)
                if contexts
                    .iter()
                    .any(|c| c.abstract_syntax == class.trim_end_matches(['\0', ' '])) =>
            {
                items.extend(extended(class, asked, config));
            }
            // Extended negotiation that is not answered is not agreed to; an identity is answered only if it was
            // asked for, and who may call is decided by title, address and certificate.
            _ => {}
        }
    }
    items
}

/// Queries and retrievals may name a series without its study (PS3.4 section C.5.1.1.1); nothing else is extended.
fn extended(class: &str, asked: &[u8], config: &DimseConfig) -> Option<UserVariableItem> {
    let plain = class.trim_end_matches(['\0', ' ']);
    let is_relational = matches!(
        Service::of(plain, config),
        Some(Service::Find(_) | Service::Move(_) | Service::Get(_))
    );
    let mut answer = vec![0; asked.len()];
    *answer.first_mut().filter(|_| is_relational)? = *asked.first()? & 1;
    Some(UserVariableItem::SopClassExtendedNegotiationSubItem(
        class.to_owned(),
        answer,
    ))
}

/// What we say of ourselves at either end.
pub(crate) fn ours(pdu_bytes_max: u32) -> Vec<UserVariableItem> {
    vec![
        UserVariableItem::MaxLength(pdu_bytes_max),
        UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS_UID.to_owned()),
        UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION_NAME.to_owned()),
    ]
}

/// The peer may invoke some operations ahead; we invoke one at a time.
fn operations_window(proposed: &[u8], is_alone: bool) -> Option<UserVariableItem> {
    let [a, b, _, _] = *proposed else { return None };
    let ahead = match u16::from_be_bytes([a, b]) {
        _ if is_alone => 1,
        0 => OPERATIONS_AHEAD_MAX, // without limit
        n => n.min(OPERATIONS_AHEAD_MAX),
    };
    let [a, b] = ahead.to_be_bytes();
    Some(UserVariableItem::Unknown(
        OPERATIONS_WINDOW,
        vec![a, b, 0, 1],
    ))
}

/// The longest PDU that the other end takes; 0 is without limit.
pub(crate) fn max_length(items: &[UserVariableItem]) -> u32 {
    let said = items.iter().find_map(|item| match item {
        UserVariableItem::MaxLength(length) => Some(*length),
        _ => None,
    });
    // The sub-item is mandatory; who leaves it out gets what every implementation takes.
    said.unwrap_or(16 * 1024)
}

impl Rejection {
    /// The A-ASSOCIATE-RJ that says so.
    pub(crate) fn pdu(&self) -> Result<Vec<u8>, LinkError> {
        use AssociationRJSource::{ServiceProviderASCE, ServiceProviderPresentation, ServiceUser};
        let source = match self {
            Self::CalledAe => ServiceUser(UserReason::CalledAETitleNotRecognized),
            Self::CallingAe | Self::Certificate => {
                ServiceUser(UserReason::CallingAETitleNotRecognized)
            }
            Self::ApplicationContext => ServiceUser(UserReason::ApplicationContextNameNotSupported),
            Self::PduTooShort => ServiceUser(UserReason::NoReasonGiven),
            Self::ProtocolVersion => ServiceProviderASCE(AcseReason::ProtocolVersionNotSupported),
            Self::Congestion => {
                ServiceProviderPresentation(PresentationReason::TemporaryCongestion)
            }
            Self::PerAeLimit => ServiceProviderPresentation(PresentationReason::LocalLimitExceeded),
        };
        let result = match self {
            Self::Congestion | Self::PerAeLimit => AssociationRJResult::Transient,
            _ => AssociationRJResult::Permanent,
        };
        encoded(&Pdu::AssociationRJ(AssociationRJ { result, source }))
    }
}

/// The bytes of an association PDU.
pub(crate) fn encoded(pdu: &Pdu) -> Result<Vec<u8>, LinkError> {
    let mut bytes = Vec::with_capacity(1024);
    write_pdu(&mut bytes, pdu).map_err(|_| {
        // Only a title that the peer sent and that cannot be sent back gets here.
        LinkError::violation(
            "an association that cannot be answered in its own words",
            AbortReason::InvalidParameter,
        )
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn config() -> DimseConfig {
        let mut config = DimseConfig::new(AeTitle::new("HERE").unwrap());
        config.peers = vec![Peer::new(
            "pacs",
            AeTitle::new("PACS").unwrap(),
            "10.0.0.0/8".parse().unwrap(),
            Some(104),
        )]
        .into();
        config
    }

    fn asked(called: &str, calling: &str) -> AssociationRQ {
        AssociationRQ {
            protocol_version: 1,
            calling_ae_title: calling.into(),
            called_ae_title: called.into(),
            application_context_name: APPLICATION_CONTEXT.into(),
            presentation_contexts: Vec::new(),
            user_variables: vec![UserVariableItem::MaxLength(16384)],
        }
    }

    #[tokio::test]
    async fn who_may_call() {
        let (here, away, in_net): (IpAddr, IpAddr, IpAddr) = (
            "127.0.0.1".parse().unwrap(),
            "192.0.2.1".parse().unwrap(),
            "10.9.9.9".parse().unwrap(),
        );
        use Unlisted::{Accepted, FromLoopback, Refused};
        for (calling, ip, unlisted, may) in [
            ("PACS", in_net, Refused, true),
            ("PACS", away, Accepted, false),
            ("PACS", here, FromLoopback, false),
            ("CT1", here, FromLoopback, true),
            ("CT1", here, Refused, false),
            ("CT1", away, FromLoopback, false),
            ("CT1", away, Accepted, true),
            ("", away, Accepted, false),
            ("A\\B", away, Accepted, false),
        ] {
            let mut config = config();
            config.unlisted = unlisted;
            let answer = admitted(&asked("HERE", calling), &Origin::plain(ip), &config).await;
            assert_eq!(answer.is_ok(), may, "{calling:?} from {ip}, {unlisted:?}");
        }
        let called = admitted(&asked("THERE", "CT1"), &Origin::plain(here), &config()).await;
        assert_eq!(called, Err(Rejection::CalledAe));
    }

    #[test]
    fn unknown_items_are_ignored_and_cut_ones_are_not() {
        let mut pdu = encoded(&Pdu::AssociationRQ(asked("HERE", "CT1"))).unwrap();
        pdu.extend_from_slice(&[0x77, 0, 0, 3, 1, 2, 3]);
        let length = u32::try_from(pdu.len() - PDU_HEADER_BYTES).unwrap();
        pdu[2..6].copy_from_slice(&length.to_be_bytes());
        assert_eq!(request(pdu.clone().into()).unwrap(), asked("HERE", "CT1"));
        pdu.truncate(pdu.len() - 9); // cuts the user information, and leaves nothing of the unknown item
        let length = u32::try_from(pdu.len() - PDU_HEADER_BYTES).unwrap();
        pdu[2..6].copy_from_slice(&length.to_be_bytes());
        assert!(request(pdu.into()).is_err());
    }

    #[test]
    fn lengths_that_overflow_the_reader_are_a_violation() {
        let mut pdu = encoded(&Pdu::AssociationRQ(asked("HERE", "CT1"))).unwrap();
        // An extended negotiation whose UID claims 65,535 bytes, within user information that has them.
        let mut item = vec![0x50, 0, 0xff, 0xff, 0x56, 0, 0, 4, 0xff, 0xff];
        item.resize(4 + 65_535, b'1');
        pdu.extend_from_slice(&item);
        pdu.resize(pdu.len() + 70_000, 0x77);
        let length = u32::try_from(pdu.len() - PDU_HEADER_BYTES).unwrap();
        pdu[2..6].copy_from_slice(&length.to_be_bytes());
        assert!(request(pdu.into()).is_err());
    }

    #[test]
    fn the_operations_window_is_answered_within_what_was_proposed() {
        assert_eq!(
            operations_window(&[0, 9, 0, 9], true),
            Some(UserVariableItem::Unknown(
                OPERATIONS_WINDOW,
                vec![0, 1, 0, 1]
            ))
        );
        let answer = |window: &[u8]| operations_window(window, false);
        let said = |a| {
            Some(UserVariableItem::Unknown(
                OPERATIONS_WINDOW,
                vec![0, a, 0, 1],
            ))
        };
        assert_eq!(answer(&[0, 0, 0, 0]), said(16));
        assert_eq!(answer(&[0, 3, 0, 9]), said(3));
        assert_eq!(answer(&[9, 9, 0, 1]), said(16));
        assert_eq!(answer(&[0, 1]), None);
    }
}
