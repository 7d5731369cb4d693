//! TLS 1.3 and nothing older.

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use std::sync::Arc;

/// What a client may ask for in its ALPN extension, preferred first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What is given cannot open a door.
#[derive(Debug, thiserror::Error)]
pub enum TlsUnusable {
    /// The key is not the certificate's, or is of a kind that cannot be used.
    #[error("{0}")]
    Identity(#[from] rustls::Error),
    /// The authority is none.
    #[error("the clients' authority: {0}")]
    Authority(#[from] VerifierBuilderError),
}

/// A server's TLS: TLS 1.3 only, HTTP/2 and HTTP/1.1.
///
/// # Errors
/// When the key is not the certificate's, or is of a kind that cannot be used.
pub fn tls_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    config((chain, key), WebPkiClientVerifier::no_client_auth())
}

/// The same, and clients are asked for a certificate that `authority` signed. One that has none comes in without, since
/// people with browsers have none; one with another's does not come in.
///
/// # Errors
/// When key, certificate or authority cannot be used.
pub fn tls_config_asking(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authority: CertificateDer<'static>,
) -> Result<Arc<ServerConfig>, TlsUnusable> {
    let mut roots = RootCertStore::empty();
    roots.add(authority)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let clients = clients.allow_unauthenticated().build()?;
    Ok(config((chain, key), clients)?)
}

fn config(
    (chain, key): (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}
