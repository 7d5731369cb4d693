//! DICOM over TLS (PS3.15 annex B): who a certificate says is calling.

use pericard_domain::ae::AeTitle;
use pericard_domain::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, HashSet};
use std::io;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The TLS side of the door: what is negotiated is the acceptor's affair, whose certificate it is ours.
pub struct TlsDoor {
    acceptor: TlsAcceptor,
    bound: HashMap<AeTitle, HashSet<Digest>>,
}

impl TlsDoor {
    /// A door that takes every client that the acceptor takes.
    #[must_use]
    pub fn new(acceptor: TlsAcceptor) -> Self {
        Self {
            acceptor,
            bound: HashMap::new(),
        }
    }

    /// Binds an application entity title to a certificate, given by the SHA-256 of its DER bytes: from now on nobody
    /// calls by this title without it. A title may have several, so that a certificate can be renewed.
    #[must_use]
    pub fn bind(mut self, title: AeTitle, certificate_sha256: Digest) -> Self {
        self.bound
            .entry(title)
            .or_default()
            .insert(certificate_sha256);
        self
    }

    /// Whether whoever showed this certificate may call by this title.
    pub(crate) fn is_own(&self, title: &AeTitle, certificate: Option<Digest>) -> bool {
        self.bound
            .get(title)
            .is_none_or(|own| certificate.is_some_and(|shown| own.contains(&shown)))
    }

    /// The TLS session, and the SHA-256 of the client's certificate when it showed one.
    pub(crate) async fn shake_hands(
        &self,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Option<Digest>)> {
        let stream = self.acceptor.accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates();
        let certificate = shown
            .and_then(|chain| chain.first())
            .map(|own| Digest::new(Sha256::digest(own).into()));
        Ok((stream, certificate))
    }
}
