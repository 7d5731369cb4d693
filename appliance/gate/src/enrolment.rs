//! Enrolment: two texts carried by hand. The gate asks with its keys; the hub answers with a number, an address and what
//! both will believe each other by. Both texts are signed notes, so that what was changed on the way is no enrolment.

use crate::desk::{Desk, DeskError};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use pericard_audit::note::{self, KeyError, NoteError};
use pericard_audit::{SigningKey, VerifierKey};
use rcgen::{CertificateParams, DnType, KeyPair};
use std::net::SocketAddr;

const REQUEST_HEAD: &str = "pericard-enrolment-request/v1";
const HEAD: &str = "pericard-enrolment/v1";
/// The name of the gate's signing key, and of its certificate: it says nothing about the hospital.
const NAME: &str = "pericard-egress";
const FRAME_KEY: &str = "frame.key";
const TLS_KEY: &str = "tls.key";
const ENROLMENT: &str = "enrolment";
const HUB_KEY: &str = "hub-key";

/// There is no enrolment that can be believed.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    /// A file of the gate cannot be used.
    #[error(transparent)]
    Desk(#[from] DeskError),
    /// The hub's key did not sign it.
    #[error("the enrolment is not the hub's: {0}; compare the hub's key by telephone")]
    Unsigned(#[from] NoteError),
    /// A key in it is none.
    #[error("the enrolment holds a key that is none: {0}")]
    Key(#[from] KeyError),
    /// It is signed, and says something else.
    #[error("the enrolment's line {0:?} is missing or wrong; ask the hub for another")]
    Line(&'static str),
    /// It answers another gate's request.
    #[error(
        "the enrolment is for another key; was another request sent to the hub? `pericard egress enrol-request` prints ours"
    )]
    OtherKey,
    /// There is one already, with another hub or another number.
    #[error(
        "this gate is enrolled as appliance {0} already; what was told there stays there. To begin anew, move the gate's folder away and make another request"
    )]
    Enrolled(u32),
    /// A key or a request cannot be made.
    #[error("the request cannot be made: {0}")]
    Request(#[from] rcgen::Error),
}

/// Who the hub is, and who we are to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// The appliance's number among the hub's.
    pub appliance: u32,
    /// Where the hub listens.
    pub address: SocketAddr,
    /// SHA-256 of the public key that the hub's TLS certificate holds.
    pub hub_spki: [u8; 32],
    /// Who signs enrolments.
    pub hub: VerifierKey,
    /// Our own frames' key, as the hub knows it.
    pub frame_key: VerifierKey,
    /// Who witnesses our audit log.
    pub cosigner: VerifierKey,
    /// Who signs recalls and advisories.
    pub advisories: VerifierKey,
    /// Who signs the catalogue of models.
    pub catalogue: VerifierKey,
    /// Our certificate, DER.
    pub certificate: Vec<u8>,
}

/// Makes the gate's keys, unless they are there, and the request that is carried to the hub: for the same
/// keys each time.
///
/// `seed` is 32 random bytes, used when there is no key yet.
///
/// # Errors
/// When the folder cannot be written, or what is in it is not the gate's.
pub fn request(desk: &Desk, seed: &[u8; 32]) -> Result<String, EnrolmentError> {
    desk.make()?;
    let _alone = desk.lock()?;
    if desk.text(FRAME_KEY)?.is_none() {
        let key = SigningKey::from_seed(NAME, seed)?;
        desk.keep_secret(FRAME_KEY, format!("{}\n", key.to_secret_text()).as_bytes())?;
    }
    if desk.bytes(TLS_KEY)?.is_none() {
        // Ed25519: each of its signatures has the same length, and so has each handshake.
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
        desk.keep_secret(TLS_KEY, &key.serialize_der())?;
    }
    let frame_key = frame_key(desk)?;
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, NAME);
    let csr = params.serialize_request(&KeyPair::try_from(tls_key(desk)?)?)?;
    let text = format!(
        "{REQUEST_HEAD}\nframe_key {}\ncsr {}\n",
        frame_key.verifier(),
        BASE64_STANDARD.encode(csr.der())
    );
    Ok(note::sign(&text, &[&frame_key])?)
}

/// Believes an enrolment that the hub's key signed and that answers our request, and keeps it.
///
/// # Errors
/// When it is not the hub's, is no enrolment, is for another key, or another one stands.
pub fn accept(desk: &Desk, signed: &str, hub_key: &str) -> Result<Enrolment, EnrolmentError> {
    desk.make()?;
    let _alone = desk.lock()?;
    let hub: VerifierKey = hub_key.trim().parse()?;
    let enrolment = Enrolment::open(signed, &hub)?;
    if frame_key(desk)?.verifier() != enrolment.frame_key {
        return Err(EnrolmentError::OtherKey);
    }
    crate::Line::to(&enrolment, tls_key(desk)?).map_err(|_| EnrolmentError::OtherKey)?;
    if let Some(held) = Enrolment::read(desk)?
        && (held.appliance, &held.hub) != (enrolment.appliance, &hub)
    {
        return Err(EnrolmentError::Enrolled(held.appliance));
    }
    // The key before what it opens: cut off between the two, there is no enrolment yet.
    desk.keep(HUB_KEY, format!("{hub}\n").as_bytes())?;
    desk.keep(ENROLMENT, signed.as_bytes())?;
    Ok(enrolment)
}

impl Enrolment {
    /// The enrolment that is kept; `None` when no hub is enrolled.
    ///
    /// # Errors
    /// When it cannot be read, or was changed since it was accepted.
    pub fn read(desk: &Desk) -> Result<Option<Self>, EnrolmentError> {
        let (Some(signed), Some(key)) = (desk.text(ENROLMENT)?, desk.text(HUB_KEY)?) else {
            return Ok(None);
        };
        Self::open(&signed, &key.parse()?).map(Some)
    }

    fn open(signed: &str, hub: &VerifierKey) -> Result<Self, EnrolmentError> {
        let opened = note::open(signed, std::slice::from_ref(hub))?;
        let mut lines = opened.text.lines();
        if lines.next() != Some(HEAD) {
            return Err(EnrolmentError::Line(HEAD));
        }
        let mut said = |name: &'static str| {
            let line = lines.next().and_then(|line| line.strip_prefix(name));
            let value = line.and_then(|rest| rest.strip_prefix(' '));
            value.ok_or(EnrolmentError::Line(name))
        };
        let wrong = EnrolmentError::Line;
        let number = said("appliance")?.parse().ok();
        let enrolment = Self {
            appliance: number.filter(|n| *n > 0).ok_or(wrong("appliance"))?,
            address: said("address")?.parse().map_err(|_| wrong("address"))?,
            hub_spki: spki(said("hub_spki")?).ok_or(wrong("hub_spki"))?,
            hub: hub.clone(),
            frame_key: said("frame_key")?.parse()?,
            cosigner: said("cosigner")?.parse()?,
            advisories: said("advisories")?.parse()?,
            catalogue: said("catalogue")?.parse()?,
            certificate: BASE64_STANDARD
                .decode(said("certificate")?)
                .map_err(|_| wrong("certificate"))?,
        };
        match lines.next() {
            None => Ok(enrolment),
            Some(_) => Err(wrong("certificate")),
        }
    }
}

/// What frames are signed with.
pub(crate) fn frame_key(desk: &Desk) -> Result<SigningKey, EnrolmentError> {
    let text = desk.text(FRAME_KEY)?.ok_or(EnrolmentError::OtherKey)?;
    Ok(SigningKey::from_secret_text(&text)?)
}

/// What the hub knows our connections by: PKCS#8, DER.
pub(crate) fn tls_key(desk: &Desk) -> Result<Vec<u8>, EnrolmentError> {
    desk.bytes(TLS_KEY)?.ok_or(EnrolmentError::OtherKey)
}

fn spki(text: &str) -> Option<[u8; 32]> {
    hex::decode(text).ok()?.try_into().ok()
}
