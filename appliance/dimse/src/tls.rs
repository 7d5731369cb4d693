//! DICOM over TLS (PS3.15 annex B), in both directions, with certificates that can be read again while associations are
//! open.
//!
//! A certificate is worth what the configuration binds it to: an authority's signature alone lets nobody call by a title,
//! and is not enough for a peer that we call. Only a web server may be known by its name instead.

use pericard_domain::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, PoisonError, RwLock};
use std::{fmt, io};
use tokio::net::TcpStream;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// What the DICOM network knows us by, and whom it believes: all DER.
#[derive(Debug)]
pub struct TlsIdentity {
    /// Our certificate, then those up to the authority's.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// The authorities that sign the peers' certificates.
    pub authorities: Vec<CertificateDer<'static>>,
}

/// Why an identity is of no use.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0}; give a certificate chain with its key, and the authorities that sign the peers' certificates"
)]
pub struct TlsUnusable(String);

/// TLS 1.2 and 1.3, as server and as client, with one identity. Cheap to clone; all clones change together.
#[derive(Clone)]
pub struct Tls(Arc<RwLock<Sides>>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

#[derive(Clone)]
struct Sides {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    /// The client that looks at names too.
    client_by_name: Arc<ClientConfig>,
}

impl Tls {
    /// With that identity.
    ///
    /// # Errors
    /// When the key is not the certificate's, or there is no authority.
    pub fn new(identity: TlsIdentity) -> Result<Self, TlsUnusable> {
        Ok(Self(Arc::new(RwLock::new(Sides::new(identity)?))))
    }

    /// Takes another identity: open associations keep what they have, new ones get the new one.
    ///
    /// # Errors
    /// As [`Tls::new`]; the identity then stays what it was.
    pub fn renew(&self, identity: TlsIdentity) -> Result<(), TlsUnusable> {
        let renewed = Sides::new(identity)?;
        // A writer that panicked left the whole old value or the whole new one.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }

    fn sides(&self) -> Sides {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The TLS session with whoever connected, and the SHA-256 of its certificate.
    ///
    /// # Errors
    /// When it does not come about, or shows no certificate.
    pub async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(server::TlsStream<TcpStream>, Digest)> {
        let stream = TlsAcceptor::from(self.sides().server)
            .accept(stream)
            .await?;
        let shown = shown(stream.get_ref().1.peer_certificates())?;
        Ok((stream, shown))
    }

    /// The TLS session with a peer at that host, which must show one of these certificates.
    ///
    /// # Errors
    /// When it does not come about, or the peer shows another certificate.
    pub async fn connect(
        &self,
        stream: TcpStream,
        host: &str,
        own: &[Digest],
    ) -> io::Result<client::TlsStream<TcpStream>> {
        let connector = TlsConnector::from(self.sides().client);
        let stream = connector.connect(server_name(host)?, stream).await?;
        let shown = shown(stream.get_ref().1.peer_certificates())?;
        if own.contains(&shown) {
            return Ok(stream);
        }
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("it shows a certificate that is not bound to it (SHA-256 {shown})"),
        ))
    }

    /// The TLS session with a web server, whose certificate an authority must have signed for that host.
    ///
    /// # Errors
    /// When it does not come about, or the certificate is for another host.
    pub async fn connect_by_name(
        &self,
        stream: TcpStream,
        host: &str,
    ) -> io::Result<client::TlsStream<TcpStream>> {
        let connector = TlsConnector::from(self.sides().client_by_name);
        connector.connect(server_name(host)?, stream).await
    }
}

/// The host as certificates name it.
fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

impl Sides {
    fn new(identity: TlsIdentity) -> Result<Self, TlsUnusable> {
        let unusable = |error: &dyn std::fmt::Display| TlsUnusable(error.to_string());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        for authority in identity.authorities {
            roots.add(authority).map_err(|e| unusable(&e))?;
        }
        let roots = Arc::new(roots);
        let (chain, key) = (identity.chain, identity.key);
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|e| unusable(&e))?;
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| unusable(&e))?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|e| unusable(&e))?;
        let client = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| unusable(&e))?
            .dangerous() // but not here: who is taken stands in `Signed`, and `Tls::connect` asks for more
            .with_custom_certificate_verifier(Arc::new(Signed::by(
                roots.clone(),
                provider.clone(),
            )?))
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(|e| unusable(&e))?;
        let client_by_name = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| unusable(&e))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|e| unusable(&e))?;
        Ok(Self {
            server: Arc::new(server),
            client: Arc::new(client),
            client_by_name: Arc::new(client_by_name),
        })
    }
}

/// Takes a server's certificate that an authority signed, whatever name it is for: which of them is the peer's own, its
/// binding says, and devices are mostly configured by an address that their certificates do not name.
#[derive(Debug)]
struct Signed(Arc<WebPkiServerVerifier>);

impl Signed {
    fn by(roots: Arc<RootCertStore>, provider: Arc<CryptoProvider>) -> Result<Self, TlsUnusable> {
        WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map(Self)
            .map_err(|error| TlsUnusable(error.to_string()))
    }
}

impl ServerCertVerifier for Signed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        let verified = self
            .0
            .verify_server_cert(end_entity, intermediates, name, ocsp, now);
        match verified {
            // The name is looked at last: signature, dates and purpose were found good by then.
            Err(Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// SHA-256 of the certificate that the other side showed: both sides ask for one, so its absence is a broken session.
fn shown(chain: Option<&[CertificateDer<'_>]>) -> io::Result<Digest> {
    chain
        .and_then(|chain| chain.first())
        .map(|own| Digest::new(Sha256::digest(own).into()))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it shows no certificate"))
}
