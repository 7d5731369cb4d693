//! One HTTPS request, written out by hand: this binary links no HTTP client, and the demonstration needs two requests.
//!
//! HTTP/1.0, so that the answer comes as it is and ends with the connection.

use crate::cli::CommandError;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The longest line of an answer that is looked at.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// A request's words.
pub(crate) struct Request<'a> {
    pub(crate) path: &'a str,
    pub(crate) token: &'a str,
    pub(crate) content_type: &'a str,
    pub(crate) accept: &'a str,
    pub(crate) body: &'a [u8],
}

/// An answer under way.
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    body: BufReader<TlsStream<TcpStream>>,
}

impl Answer {
    /// The next line of the body, without its end; `None` after the last.
    pub(crate) async fn line(&mut self) -> Result<Option<String>, CommandError> {
        let mut line = Vec::new();
        // A server may close without TLS's goodbye: the body is complete all the same, SSE has its own end.
        let read = (&mut self.body)
            .take(ANSWER_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .await
            .unwrap_or(0);
        Ok((read > 0).then(|| String::from_utf8_lossy(&line).trim_end().to_owned()))
    }

    /// The rest of the body.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let _ = (&mut self.body)
            .take(ANSWER_BYTES_MAX)
            .read_to_end(&mut rest)
            .await;
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// Posts to the appliance at `address`, trusting the certificate in `ca` and no other.
pub(crate) async fn post(
    address: SocketAddr,
    ca: &Path,
    request: Request<'_>,
) -> Result<Answer, CommandError> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(ca).map_err(CommandError::failed)?;
    roots.add(certificate).map_err(CommandError::failed)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(CommandError::failed)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address)
        .await
        .map_err(CommandError::failed)?;
    let name = ServerName::from(address.ip());
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(CommandError::failed)?;
    let head = format!(
        "POST {} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nContent-Type: {}\r\nAccept: {}\r\n\
         Content-Length: {}\r\n\r\n",
        request.path,
        request.token,
        request.content_type,
        request.accept,
        request.body.len()
    );
    stream
        .write_all(head.as_bytes())
        .await
        .map_err(CommandError::failed)?;
    stream
        .write_all(request.body)
        .await
        .map_err(CommandError::failed)?;
    stream.flush().await.map_err(CommandError::failed)?;
    let mut answer = Answer {
        status: 0,
        body: BufReader::new(stream),
    };
    let status = answer.line().await?.unwrap_or_default();
    answer.status = status
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    while answer.line().await?.is_some_and(|line| !line.is_empty()) {}
    Ok(answer)
}
