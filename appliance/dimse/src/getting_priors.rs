//! C-GET as its user (PS3.4 section C.4.3): a study comes over the association that asked for it.

use crate::association::Roles;
use crate::classes::{EXPLICIT_LE, IMPLICIT_LE};
use crate::command::{CommandSet, field, tag};
use crate::door::{Door, OpenParcel};
use crate::fetching::{Brought, Budget, Candidate, caller};
use crate::inquiry::Inquiry;
use crate::negotiation::CONTEXTS_MAX;
use crate::request::{Call, CallError, Proposal, answers};
use crate::searching::{cancel, not_asked, proposal};
use crate::status::Status;
use crate::wire::LinkError;
use dicom_dictionary_std::{tags, uids};
use pericard_dicom::identifier::Identifier;
use pericard_domain::actor::Actor;
use pericard_domain::uid::{InstanceUid, SopClassUid, StudyUid};
use pericard_intake::Arrival;

const MODEL: &str = uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_GET;
/// What a peer may send in: uncompressed, and what archives keep.
const SYNTAXES: [&str; 9] = [
    EXPLICIT_LE,
    IMPLICIT_LE,
    uids::JPEG_LOSSLESS_SV1,
    uids::JPEG2000_LOSSLESS,
    uids::JPEGLS_LOSSLESS,
    uids::JPEG_BASELINE8_BIT,
    uids::JPEG2000,
    uids::RLE_LOSSLESS,
    uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
];
/// What studies are made of, where the peer does not say.
const USUAL_CLASSES: [&str; 32] = [
    uids::CT_IMAGE_STORAGE,
    uids::ENHANCED_CT_IMAGE_STORAGE,
    uids::MR_IMAGE_STORAGE,
    uids::ENHANCED_MR_IMAGE_STORAGE,
    uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE,
    uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
    uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PROCESSING,
    uids::DIGITAL_MAMMOGRAPHY_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
    uids::DIGITAL_MAMMOGRAPHY_X_RAY_IMAGE_STORAGE_FOR_PROCESSING,
    uids::BREAST_TOMOSYNTHESIS_IMAGE_STORAGE,
    uids::ULTRASOUND_IMAGE_STORAGE,
    uids::ULTRASOUND_MULTI_FRAME_IMAGE_STORAGE,
    uids::X_RAY_ANGIOGRAPHIC_IMAGE_STORAGE,
    uids::X_RAY_RADIOFLUOROSCOPIC_IMAGE_STORAGE,
    uids::ENHANCED_XA_IMAGE_STORAGE,
    uids::NUCLEAR_MEDICINE_IMAGE_STORAGE,
    uids::POSITRON_EMISSION_TOMOGRAPHY_IMAGE_STORAGE,
    uids::ENHANCED_PET_IMAGE_STORAGE,
    uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
    uids::MULTI_FRAME_GRAYSCALE_BYTE_SECONDARY_CAPTURE_IMAGE_STORAGE,
    uids::MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE_IMAGE_STORAGE,
    uids::VL_ENDOSCOPIC_IMAGE_STORAGE,
    uids::VL_PHOTOGRAPHIC_IMAGE_STORAGE,
    uids::OPHTHALMIC_PHOTOGRAPHY8_BIT_IMAGE_STORAGE,
    uids::OPHTHALMIC_TOMOGRAPHY_IMAGE_STORAGE,
    uids::SEGMENTATION_STORAGE,
    uids::BASIC_TEXT_SR_STORAGE,
    uids::ENHANCED_SR_STORAGE,
    uids::COMPREHENSIVE_SR_STORAGE,
    uids::COMPREHENSIVE3_DSR_STORAGE,
    uids::GRAYSCALE_SOFTCOPY_PRESENTATION_STATE_STORAGE,
    uids::KEY_OBJECT_SELECTION_DOCUMENT_STORAGE,
];

/// Brings a study, or as much of it as the budget allows.
pub(crate) async fn get<D: Door>(
    inquiry: &Inquiry<D>,
    candidate: &Candidate,
    left: Budget,
) -> Result<Brought, CallError> {
    let peer = &inquiry.peer;
    let mut call = caller(inquiry)
        .call(peer, &proposals(&candidate.classes))
        .await?;
    let Some((context, syntax)) = call.context_of(MODEL) else {
        return Err(CallError::NotAccepted {
            name: peer.name.clone(),
            what: "C-GET",
        });
    };
    let request = CommandSet::request(field::C_GET, call.next_message_id(), true)
        .with_uid(tag::AFFECTED_SOP_CLASS, MODEL)
        .with_number(tag::PRIORITY, 0);
    let bytes = of_study(&candidate.study).encoded(&syntax, "");
    let broken = |reason| CallError::Broken {
        name: peer.name.clone(),
        reason,
    };
    call.association
        .send_both(context, &request, &bytes)
        .await
        .map_err(broken)?;
    let mut getting = Getting {
        door: inquiry.door.visited(),
        from: Actor::Peer {
            ae_title: peer.ae_title.clone(),
            address: call.peer_ip,
        },
        left,
        brought: Brought::default(),
        is_cancelled: false,
    };
    let ended = getting.run(&mut call, &request).await;
    let _ = call.association.release().await;
    match ended {
        Ok(()) => Ok(getting.brought),
        // Who was told to stop may do so by hanging up; what is over budget is not fetched in another way.
        Err(_) if getting.is_cancelled => Ok(getting.brought.over()),
        // What came until then is here.
        Err(reason) => Ok(getting.brought.broken(&broken(reason))),
    }
}

/// The key of a retrieval.
pub(crate) fn of_study(study: &StudyUid) -> Identifier {
    Identifier::default()
        .with(tags::QUERY_RETRIEVE_LEVEL, Some("STUDY"))
        .with(tags::STUDY_INSTANCE_UID, Some(study.as_str()))
}

/// What is proposed in order to get objects of these classes; of the usual ones, where the peer does not say.
pub(crate) fn proposals(classes: &[String]) -> Vec<Proposal> {
    let said = classes.iter().map(String::as_str);
    let classes: Vec<&str> = match classes.is_empty() {
        true => USUAL_CLASSES.to_vec(),
        false => said.collect(),
    };
    let stored = classes
        .into_iter()
        .map(|class| Proposal::in_any_of(class, &SYNTAXES).taking(Roles::PROVIDER));
    std::iter::once(proposal(MODEL))
        .chain(stored)
        .take(CONTEXTS_MAX)
        .collect()
}

struct Getting<D> {
    door: D,
    from: Actor,
    left: Budget,
    brought: Brought,
    is_cancelled: bool,
}

impl<D: Door> Getting<D> {
    async fn run(&mut self, call: &mut Call, request: &CommandSet) -> Result<(), LinkError> {
        loop {
            let (context, command) = call.heard().await?;
            if command.field() == field::C_STORE {
                self.store(call, context, &command).await?;
                if self.is_over() && !self.is_cancelled {
                    self.is_cancelled = true;
                    let asked = call.context_of(MODEL).map_or(context, |(id, _)| id);
                    cancel(call, asked, request).await?;
                }
                continue;
            }
            if !answers(&command, request) {
                return Err(not_asked());
            }
            if command.has_data_set() {
                call.association.data_set(context, |_| {}).await?;
            }
            let status = command.number(tag::STATUS).ok_or_else(not_asked)?;
            if status != Status::PENDING.code {
                self.brought = match self.is_cancelled {
                    true => std::mem::take(&mut self.brought).over(),
                    false => Brought {
                        lacking: self.lacking(status, &command),
                        ..std::mem::take(&mut self.brought)
                    },
                };
                return Ok(());
            }
        }
    }

    fn is_over(&self) -> bool {
        self.brought.objects > self.left.objects || self.brought.bytes > self.left.bytes
    }

    fn lacking(&self, status: u16, command: &CommandSet) -> Option<String> {
        if let Some(refused) = &self.brought.lacking {
            return Some(refused.clone());
        }
        said_lacking(status, command)
    }

    /// One sub-operation: an object comes, and is kept before the peer hears so.
    async fn store(
        &mut self,
        call: &mut Call,
        context: u8,
        command: &CommandSet,
    ) -> Result<(), LinkError> {
        let arrival = call.association.context(context).and_then(|context| {
            Some(Arrival::DataSet {
                sop_class: SopClassUid::new(command.text(tag::AFFECTED_SOP_CLASS)?).ok()?,
                instance: InstanceUid::new(command.text(tag::AFFECTED_SOP_INSTANCE)?).ok()?,
                transfer_syntax: context.transfer_syntax.clone(),
            })
        });
        let parcel = match arrival {
            Some(arrival) if !self.is_over() => self.door.begin(arrival, self.from.clone()).ok(),
            _ => None,
        };
        let status = match parcel {
            Some(parcel) => self.take(call, context, parcel).await?,
            None => {
                call.association.data_set(context, |_| {}).await?;
                Status::NOT_AUTHORIZED
            }
        };
        let response = CommandSet::response(command, &status);
        call.association.send(context, &response).await
    }

    async fn take(
        &mut self,
        call: &mut Call,
        context: u8,
        mut parcel: D::Parcel,
    ) -> Result<Status, LinkError> {
        let (mut bytes, mut is_open) = (0, true);
        let received = call.association.data_set(context, |piece| {
            bytes += piece.len() as u64;
            is_open = is_open && parcel.write(piece).is_ok();
        });
        received.await?;
        match parcel.admit().await {
            Ok(()) => {
                self.brought.objects += 1;
                self.brought.bytes += bytes;
                Ok(Status::SUCCESS)
            }
            Err(refused) => {
                self.brought.lacking = Some(format!("an object was not taken: {refused}"));
                Ok(Status::from(&refused))
            }
        }
    }
}

/// Why it is not all, by the last answer.
pub(crate) fn said_lacking(status: u16, command: &CommandSet) -> Option<String> {
    let failed = command.number(tag::FAILED_SUB_OPERATIONS).unwrap_or(0);
    match status {
        0 if failed == 0 => None,
        0xB000 | 0 => Some(format!("the peer could not send {failed} objects")),
        status => Some(format!("the peer ended with 0x{status:04X}")),
    }
}
