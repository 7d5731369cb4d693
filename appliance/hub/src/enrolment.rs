//! Enrolment: a hospital's request comes in by hand, and goes back as a note that the hub's key signed.

use crate::hub::Hub;
use crate::keys::{Keys, KeysError};
use crate::store::StoreError;
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
    let (own, frame_key) = (keys.signing().verifier(), asked.frame_key);
    let text = format!(
        "{HEAD}\nappliance {number}\naddress {address}\nhub_spki {}\nframe_key {frame_key}\ncosigner {own}\n\
         advisories {own}\ncatalogue {own}\ncertificate {}\n",
        hex::encode(keys.spki_sha256()?),
        BASE64_STANDARD.encode(&certificate)
    );
    let note = note::sign(&text, &[keys.signing()])?;
    Ok(Enrolled {
        number,
        frame_key,
        note,
    })
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
