//! Whom the hospital has named, who we are to them, and the lines between.

use crate::charset::Charset;
use futures_util::future::BoxFuture;
use pericard_domain::digest::Digest;
use std::io;
use std::net::IpAddr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// An HL7 application that the hospital has named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What the configuration calls it: rules name it.
    pub name: String,
    /// Where it calls from and where it listens.
    pub address: IpAddr,
    /// Where it takes results. Without one it is told nothing.
    pub port: Option<u16>,
    /// Its application (MSH-5 of what it gets).
    pub application: String,
    /// Its facility (MSH-6 of what it gets).
    pub facility: String,
    /// SHA-256 of the certificates that are its own. With any, it calls and is called over TLS only.
    pub certificates: Vec<Digest>,
    /// In which character set it is told.
    pub charset: Charset,
}

/// What we call ourselves in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Us {
    /// Sending Application (MSH-3).
    pub application: String,
    /// Sending Facility (MSH-4).
    pub facility: String,
}

/// A stream to or from a peer.
pub type Line = Box<dyn Stream>;

/// What messages go over.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// TLS, as this room needs it: a seam, since certificates are the composition's to keep.
pub trait Secured: Send + Sync + 'static {
    /// The session with whoever connected, and the SHA-256 of its certificate.
    fn accept(&self, stream: TcpStream) -> BoxFuture<'_, io::Result<(Line, Digest)>>;

    /// The session with a peer at that host, which must show one of these certificates.
    fn connect<'a>(
        &'a self,
        stream: TcpStream,
        host: &'a str,
        own: &'a [Digest],
    ) -> BoxFuture<'a, io::Result<Line>>;
}
