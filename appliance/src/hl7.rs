//! HL7 over the certificates of the DICOM network: one identity, one list of authorities.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use pericard_dimse::Tls;
use pericard_domain::digest::Digest;
use pericard_hl7::{Doors, Line, Secured};
use std::io;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};

struct Sessions(Tls);

impl Secured for Sessions {
    fn accept(&self, stream: TcpStream) -> BoxFuture<'_, io::Result<(Line, Digest)>> {
        async move {
            let (stream, shown) = self.0.accept(stream).await?;
            Ok((Box::new(stream) as Line, shown))
        }
        .boxed()
    }

    fn connect<'a>(
        &'a self,
        stream: TcpStream,
        host: &'a str,
        own: &'a [Digest],
    ) -> BoxFuture<'a, io::Result<Line>> {
        async move { Ok(Box::new(self.0.connect(stream, host, own).await?) as Line) }.boxed()
    }
}

/// Lines over TLS.
pub(crate) fn secured(tls: &Tls) -> Arc<dyn Secured> {
    Arc::new(Sessions(tls.clone()))
}

/// Where messages come in.
pub(crate) fn doors(
    (plain, over_tls): (Option<TcpListener>, Option<TcpListener>),
    tls: Option<&Tls>,
) -> Doors {
    Doors {
        plain,
        tls: over_tls.zip(tls.map(secured)),
    }
}
