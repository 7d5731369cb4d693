//! TLS 1.3 and nothing older.

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;

/// What a client may ask for in its ALPN extension, preferred first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A server's TLS for this room's door: TLS 1.3 only, HTTP/2 and HTTP/1.1.
///
/// # Errors
/// When the key is not the certificate's, or is of a kind that cannot be used.
pub fn tls_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<rustls::ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}
