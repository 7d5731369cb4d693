//! The connection to the hub: TLS 1.3, our certificate for us, one pinned key for the hub. No authority is believed and no
//! name is looked up, so that nobody but the officer who compared the hub's key can say where frames go.
//!
//! One request a connection, written out by hand: every request has the same length, and so has every reply.

use crate::enrolment::Enrolment;
use pericard_frame::FRAME_BYTES;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer,
    UnixTime,
};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme,
    StreamOwned,
};
use sha2::{Digest as _, Sha256};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// All of a request but the frame.
const HEAD: &[u8] =
    b"POST /hub/v1/frames HTTP/1.1\r\nhost: hub\r\ncontent-type: application/octet-stream\r\n\
    content-length: 4096\r\nconnection: close\r\n\r\n";
/// The longest head of a reply that is read.
pub const MAX_HEAD_BYTES: usize = 4096;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// The whole exchange, however slowly the bytes come.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(120);

/// The frame was not answered. Nothing is lost: the same bytes go in the next slot.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Our certificate or key cannot be used.
    #[error("our certificate does not fit our key: {0}; enrol anew")]
    Identity(rustls::Error),
    /// Nobody answers at the address.
    #[error("the hub at {address} does not answer: {error}")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The exchange broke off: among other things because the other side is not the hub that was enrolled.
    #[error("the exchange with the hub broke off: {0}")]
    Broken(io::Error),
    /// What came is no answer of a hub.
    #[error("the hub answered with something else than a reply: {0}")]
    Answer(&'static str),
}

/// A way to the hub.
#[derive(Debug, Clone)]
pub struct Line {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
}

impl Line {
    /// The way to the hub of this enrolment, with our key (PKCS#8, DER).
    ///
    /// # Errors
    /// When the enrolment's certificate is not for this key.
    pub fn to(enrolment: &Enrolment, key: Vec<u8>) -> Result<Self, LineError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let pinned = Pinned {
            spki: enrolment.hub_spki,
            provider: Arc::clone(&provider),
        };
        let certificate = CertificateDer::from(enrolment.certificate.clone());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(LineError::Identity)?
            .dangerous() // in place of authorities stands the pin, which is stricter
            .with_custom_certificate_verifier(Arc::new(pinned))
            .with_client_auth_cert(vec![certificate], key)
            .map_err(LineError::Identity)?;
        // Every handshake is a whole one, so that all have the same length and none can be linked by a ticket.
        tls.resumption = Resumption::disabled();
        let address = enrolment.address;
        let tls = Arc::new(tls);
        Ok(Self { address, tls })
    }

    /// Sends a frame and gives what was answered, unchecked.
    ///
    /// # Errors
    /// When the hub cannot be reached, is not the one that was enrolled, or does not answer whole and in time.
    pub fn send(&self, frame: &[u8; FRAME_BYTES]) -> Result<[u8; FRAME_BYTES], LineError> {
        let address = self.address;
        let unreachable = |error| LineError::Unreachable { address, error };
        let socket = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).map_err(unreachable)?;
        let paced = Paced {
            socket,
            until: Instant::now() + EXCHANGE_TIMEOUT,
        };
        // An address instead of a name: no name is sent either.
        let name = ServerName::IpAddress(address.ip().into());
        let connection = ClientConnection::new(Arc::clone(&self.tls), name);
        let connection = connection.map_err(|error| LineError::Broken(io::Error::other(error)))?;
        let mut stream = StreamOwned::new(connection, paced);
        let request = [HEAD, &frame[..]].concat();
        let sent = stream.write_all(&request).and_then(|()| stream.flush());
        sent.map_err(LineError::Broken)?;
        let reply = answer(&mut stream)?;
        stream.conn.send_close_notify();
        let _ = stream.flush(); // the reply is whole; how the hub hears the end is nothing to us
        Ok(reply)
    }
}

/// Reads a reply's head and body.
fn answer(stream: &mut impl Read) -> Result<[u8; FRAME_BYTES], LineError> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD_BYTES {
            return Err(LineError::Answer("its head has no end"));
        }
        let mut byte = [0];
        stream.read_exact(&mut byte).map_err(LineError::Broken)?;
        head.extend(byte);
    }
    let head = String::from_utf8(head).map_err(|_| LineError::Answer("its head is no text"))?;
    let head = head.to_ascii_lowercase();
    if !head.starts_with("http/1.1 200 ") {
        return Err(LineError::Answer("it is not 200"));
    }
    let length = format!("content-length: {FRAME_BYTES}");
    if !head.split("\r\n").any(|line| line == length) {
        return Err(LineError::Answer("it has not the length of a reply"));
    }
    let mut reply = [0; FRAME_BYTES];
    stream.read_exact(&mut reply).map_err(LineError::Broken)?;
    Ok(reply)
}

/// A socket that gives up when the exchange has lasted too long, also when bytes keep coming one by one.
struct Paced {
    socket: TcpStream,
    until: Instant,
}

impl Paced {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Some(left))
    }
}

impl Read for Paced {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(buffer)
    }
}

impl Write for Paced {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// Believes one key and nothing else: not a date, not a name, not an authority.
#[derive(Debug)]
struct Pinned {
    spki: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found: SubjectPublicKeyInfoDer<'_> =
            ParsedCertificate::try_from(certificate)?.subject_public_key_info();
        if Sha256::digest(&found)[..] == self.spki {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    /// Never asked, since only TLS 1.3 is spoken.
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
