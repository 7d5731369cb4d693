//! Enrolment: a hospital's request comes in, by hand or over the door, and goes back as a note that the hub's key signed.
//!
//! Nobody is enrolled for asking: a request that came over the door waits until an admin has compared its key with the
//! hospital by telephone and grants it.

use crate::hub::Hub;
use crate::keys::{Keys, KeysError};
use crate::records::EnrolmentRequest;
use crate::store::{Grant, StoreError};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use pericard_audit::VerifierKey;
use pericard_audit::note::{self, KeyError, NoteError};
use sha2::{Digest as _, Sha256};
use std::net::SocketAddr;

const REQUEST_HEAD: &str = "pericard-enrolment-request/v1";
const HEAD: &str = "pericard-enrolment/v1";

/// A request is none, or cannot be granted.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    /// It is no request.
    #[error("this is no enrolment request: {0}; `pericard egress enrol-request` prints one")]
    Request(&'static str),
    /// The key in it did not sign it.
    #[error("the request was changed on its way: {0}")]
    Unsigned(#[from] NoteError),
    /// The key in it is none.
    #[error("the request holds a key that is none: {0}")]
    Key(#[from] KeyError),
    /// It cannot be certified.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// It cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an officer carries back to the hospital.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// The number that its appliance has from now on.
    pub number: u32,
    /// What its frames are signed with, to be compared by telephone.
    pub frame_key: VerifierKey,
    /// The signed note.
    pub note: String,
}

/// Grants a request: certifies its key, keeps its frame key, and says how the hub, which hospitals reach at `address`, is
/// known. The same frame key again keeps its number, and gets a new certificate.
///
/// # Errors
/// When it is no request, was changed, or nothing can be written.
pub fn enrol(
    (hub, keys): (&Hub, &Keys),
    request: &str,
    name: &str,
    address: SocketAddr,
) -> Result<Enrolled, EnrolmentError> {
    let asked = Asked::open(request)?;
    let certificate = keys.certify(&asked.csr, hub.now_s())?;
    let digest = Sha256::digest(&certificate).into();
    let number = hub.enrol(name, &asked.frame_key, &digest)?;
    let frame_key = asked.frame_key;
    let note = note_of((keys, address), number, &frame_key, &certificate)?;
    Ok(Enrolled {
        number,
        frame_key,
        note,
    })
}

/// What goes back to the hospital.
fn note_of(
    (keys, address): (&Keys, SocketAddr),
    number: u32,
    frame_key: &VerifierKey,
    certificate: &[u8],
) -> Result<String, EnrolmentError> {
    let own = keys.signing().verifier();
    let text = format!(
        "{HEAD}\nappliance {number}\naddress {address}\nhub_spki {}\nframe_key {frame_key}\ncosigner {own}\n\
         advisories {own}\ncatalogue {own}\ncertificate {}\n",
        hex::encode(keys.spki_sha256()?),
        BASE64_STANDARD.encode(certificate)
    );
    Ok(note::sign(&text, &[keys.signing()])?)
}

/// Who enrols while the hub serves: it has the authority's key, and knows where hospitals call.
pub struct Registrar {
    keys: Keys,
    address: SocketAddr,
}

/// What an admin decides on a request.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The number of the request.
    pub request: u32,
    /// The key that was compared with the hospital.
    pub frame_key: String,
    /// What the hospital is called from now on.
    pub name: String,
    /// The number of the admin's token.
    pub by: u32,
}

impl Registrar {
    /// One with these keys, for a hub that hospitals reach at `address`.
    #[must_use]
    pub const fn new(keys: Keys, address: SocketAddr) -> Self {
        Self { keys, address }
    }

    /// What hospitals check their enrolment with, to be read out by telephone.
    #[must_use]
    pub fn key(&self) -> VerifierKey {
        self.keys.signing().verifier()
    }

    /// Keeps a request until an admin decides on it, and gives its number. `by` is the token of the admin who brought it.
    ///
    /// # Errors
    /// When it is no request, could not be certified, or cannot be kept.
    pub fn ask(&self, hub: &Hub, request: &str, by: Option<u32>) -> Result<u32, EnrolmentError> {
        let asked = Asked::open(request)?;
        // What could never be granted does not wait.
        self.keys.certify(&asked.csr, hub.now_s())?;
        Ok(hub.ask(&asked.frame_key, &asked.csr, by)?)
    }

    /// Grants a request: the hospital is enrolled from now on.
    ///
    /// # Errors
    /// When none of this number and key waits, or nothing can be written.
    pub fn grant(&self, hub: &Hub, decision: &Decision) -> Result<Enrolled, EnrolmentError> {
        let known = hub.records().snapshot();
        let is_meant = |r: &&EnrolmentRequest| r.number == decision.request && r.granted.is_none();
        let request = known.requests.iter().find(is_meant);
        let request = request.ok_or(StoreError::NotFound("waiting request"))?;
        let frame_key: VerifierKey = request.frame_key.parse()?;
        let certificate = self.keys.certify(&request.csr, hub.now_s())?;
        let number = hub.grant(&Grant {
            request: decision.request,
            frame_key: &decision.frame_key,
            name: &decision.name,
            certificate: &certificate,
            certificate_sha256: Sha256::digest(&certificate).into(),
            by: decision.by,
        })?;
        let note = note_of((&self.keys, self.address), number, &frame_key, &certificate)?;
        Ok(Enrolled {
            number,
            frame_key,
            note,
        })
    }

    /// The note of a request that was granted, once more; nothing while it waits.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn note(&self, request: &EnrolmentRequest) -> Result<Option<String>, EnrolmentError> {
        let Some(granted) = &request.granted else {
            return Ok(None);
        };
        let frame_key = request.frame_key.parse()?;
        let place = (&self.keys, self.address);
        note_of(place, granted.hospital, &frame_key, &granted.certificate).map(Some)
    }
}

struct Asked {
    frame_key: VerifierKey,
    csr: Vec<u8>,
}

impl Asked {
    /// Believes the key that it names only when that key signed it.
    fn open(request: &str) -> Result<Self, EnrolmentError> {
        let missing = EnrolmentError::Request;
        let mut lines = request.lines();
        if lines.next() != Some(REQUEST_HEAD) {
            return Err(missing("its first line is another's"));
        }
        let mut said = |name: &str| lines.next().and_then(|line| line.strip_prefix(name));
        let frame_key = said("frame_key ").ok_or(missing("its frame key is missing"))?;
        let frame_key: VerifierKey = frame_key.parse()?;
        let csr = said("csr ").and_then(|text| BASE64_STANDARD.decode(text).ok());
        let csr = csr.ok_or(missing("its certificate request is missing"))?;
        note::open(request, std::slice::from_ref(&frame_key))?;
        Ok(Self { frame_key, csr })
    }
}
