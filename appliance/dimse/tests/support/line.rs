//! Over what the associations of a test go: plain TCP, or TLS with certificates of one authority.

use pericard_dimse::{Peer, Tls, TlsIdentity};
use pericard_domain::digest::Digest;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest as _, Sha256};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// For scripts of pynetdicom, whose last arguments are [`Line::files`]: what its two sides take.
pub(crate) const CONTEXTS: &str = r"
import ssl, sys
def context(side):
    key, certificate, authorities = sys.argv[-3:]
    made = ssl.SSLContext(side)
    made.load_cert_chain(certificate, key)
    made.load_verify_locations(authorities)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    return made
over_tls = sys.argv[-1].endswith('.crt')
calling = {'tls_args': (context(ssl.PROTOCOL_TLS_CLIENT), None)} if over_tls else {}
listening = {'ssl_context': context(ssl.PROTOCOL_TLS_SERVER)} if over_tls else {}
";

/// What bytes go over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Plain TCP, or TLS on which every peer shows one and the same certificate.
pub(crate) struct Line(Option<Secured>);

struct Secured {
    dir: TempDir,
    tls: Tls,
    theirs: Digest,
}

impl Line {
    pub(crate) fn plain() -> Self {
        Self(None)
    }

    pub(crate) fn tls() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // OpenSSL takes a certificate whose issuer has its own name for a self-signed one.
        params
            .distinguished_name
            .push(DnType::CommonName, "Test Authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let issue = || {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            (params.signed_by(&key, &root).unwrap(), key)
        };
        let ((own, own_key), (theirs, their_key)) = (issue(), issue());
        let write = |name: &str, pem: String| std::fs::write(dir.path().join(name), pem).unwrap();
        write("peer.key", their_key.serialize_pem());
        write("peer.crt", theirs.pem());
        write("ca.crt", root.pem());
        let tls = Tls::new(TlsIdentity {
            chain: vec![own.der().clone()],
            key: PrivateKeyDer::try_from(own_key.serialize_der()).unwrap(),
            authorities: vec![root.der().clone()],
        })
        .unwrap();
        let theirs = Digest::new(Sha256::digest(theirs.der()).into());
        Self(Some(Secured { dir, tls, theirs }))
    }

    pub(crate) fn both() -> [Self; 2] {
        [Self::plain(), Self::tls()]
    }

    pub(crate) fn name(&self) -> &'static str {
        self.0.as_ref().map_or("plain", |_| "TLS")
    }

    /// What we show on it.
    pub(crate) fn ours(&self) -> Option<Tls> {
        Some(self.0.as_ref()?.tls.clone())
    }

    /// A connection as a peer makes it: over TLS with its certificate, the handshake behind it.
    pub(crate) async fn connected(&self, to: SocketAddr) -> Box<dyn Stream> {
        let tcp = TcpStream::connect(to).await.unwrap();
        let files = self.files();
        let [key, certificate, authorities] = files.as_slice() else {
            return Box::new(tcp);
        };
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(authorities).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(certificate).unwrap()],
                PrivateKeyDer::from_pem_file(key).unwrap(),
            )
            .unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connecting = TlsConnector::from(Arc::new(client)).connect(name, tcp);
        Box::new(connecting.await.unwrap())
    }

    /// A peer that is heard and called over this line only.
    pub(crate) fn bound(&self, peer: Peer) -> Peer {
        let certificates = self.0.iter().map(|secured| secured.theirs).collect();
        Peer {
            certificates,
            ..peer
        }
    }

    /// What peers show on it: key, certificate and authorities; none of them in plain.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let dir = self.0.iter().map(|secured| secured.dir.path());
        dir.flat_map(|dir| ["peer.key", "peer.crt", "ca.crt"].map(|name| dir.join(name)))
            .collect()
    }

    /// The options of those of DCMTK's programs that know TLS: echoscu, storescu, storescp and findscu.
    pub(crate) fn dcmtk(&self) -> Vec<OsString> {
        match self.files().as_slice() {
            [key, certificate, authorities] => vec![
                "+tls".into(),
                key.into(),
                certificate.into(),
                "+cf".into(),
                authorities.into(),
            ],
            _ => Vec::new(),
        }
    }
}
