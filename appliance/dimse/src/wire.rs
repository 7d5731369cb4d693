//! The byte stream, cut into PDUs (PS3.8 section 9.3).
//!
//! A length is refused before anything is allocated for it, a PDU that has begun must end within its time, and what is
//! sent goes out as one write per PDU: with Nagle's algorithm at either end a second small write would wait 40 ms.

use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

/// PDU type, a reserved byte, and the length of what follows.
pub(crate) const PDU_HEADER_BYTES: usize = 6;
/// The longest association request or answer: 128 presentation contexts with 40 transfer syntaxes each fit twice.
const ASSOCIATE_BYTES_MAX: usize = 512 * 1024;
/// The longest P-DATA-TF that is read whatever was negotiated. Devices overstep by a few bytes, which harms nobody here.
pub(crate) const DATA_BYTES_MAX: usize = 1024 * 1024 + 1024;
/// The longest release or abort PDU; the standard has 4.
const SHORT_BYTES_MAX: usize = 64;
/// The least room to read into: the usual PDU in few reads, an idle association in little memory.
const READ_BYTES_MIN: usize = 16 * 1024;
/// How much of a rejected peer's chatter is read away while it takes note.
const FAREWELL_BYTES_MAX: usize = 1024 * 1024;

/// Why an association ended otherwise than by a release.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The peer closed the connection.
    #[error("the peer closed the connection{}", if *.within_pdu { " in the middle of a PDU" } else { "" })]
    Closed {
        /// Whether it did so in the middle of a PDU.
        within_pdu: bool,
    },
    /// The peer aborted the association.
    #[error("the peer aborted the association (source {by}, reason {reason})")]
    Aborted {
        /// 0 is the peer's application, 2 its DICOM layer.
        by: u8,
        /// See PS3.8 section 9.3.8.
        reason: u8,
    },
    /// The peer was silent, or too slow.
    #[error("{what} took longer than {limit_s} s")]
    TooSlow {
        /// What took too long.
        what: &'static str,
        /// The limit.
        limit_s: f32,
    },
    /// The peer does not speak the protocol.
    #[error("protocol violation: {what}")]
    Violation {
        /// What it did.
        what: &'static str,
        /// What to tell it.
        abort: AbortReason,
    },
    /// The connection failed.
    #[error("the network connection failed: {0}")]
    Network(#[from] io::Error),
    /// This side is stopping.
    #[error("the appliance is stopping")]
    Stopping,
}

/// What an A-ABORT of the service provider says (PS3.8 section 9.3.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbortReason {
    /// Nothing in particular.
    NotSpecified = 0,
    /// The type of the PDU is not one of the standard's.
    UnrecognizedPdu = 1,
    /// The PDU does not belong here.
    UnexpectedPdu = 2,
    /// A field of the PDU has a value that it may not have.
    InvalidParameter = 6,
}

impl LinkError {
    pub(crate) const fn violation(what: &'static str, abort: AbortReason) -> Self {
        Self::Violation { what, abort }
    }

    pub(crate) fn too_slow(what: &'static str, limit: Duration) -> Self {
        let limit_s = limit.as_secs_f32();
        Self::TooSlow { what, limit_s }
    }

    /// What to tell the peer, when it is still there to be told.
    pub(crate) const fn abort(&self) -> Option<AbortReason> {
        match self {
            Self::Violation { abort, .. } => Some(*abort),
            Self::TooSlow { .. } | Self::Stopping => Some(AbortReason::NotSpecified),
            Self::Closed { .. } | Self::Aborted { .. } | Self::Network(_) => None,
        }
    }
}

/// A PDU, as far as the wire understands it.
#[derive(Debug)]
pub(crate) enum Pdu {
    /// A-ASSOCIATE-RQ, -AC or -RJ, header included: for whoever negotiates.
    Associate(Bytes),
    /// The presentation data values of a P-DATA-TF.
    Data(Bytes),
    ReleaseRequest,
    ReleaseReply,
}

/// A connection that carries PDUs.
pub(crate) struct Wire<S> {
    stream: S,
    buffer: BytesMut,
    pdu_timeout: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: S, pdu_timeout: Duration) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            pdu_timeout,
        }
    }

    pub(crate) fn pdu_timeout(&self) -> Duration {
        self.pdu_timeout
    }

    pub(crate) fn set_pdu_timeout(&mut self, limit: Duration) {
        self.pdu_timeout = limit;
    }

    /// The next PDU, which must begin within `wait`. An A-ABORT is an error.
    ///
    /// Cancel-safe while no PDU has begun; what has been read stays in the buffer.
    pub(crate) async fn next(
        &mut self,
        wait: Duration,
        what: &'static str,
    ) -> Result<Pdu, LinkError> {
        if self.buffer.is_empty() {
            timeout(wait, self.more())
                .await
                .map_err(|_| LinkError::too_slow(what, wait))??;
        }
        let limit = self.pdu_timeout;
        timeout_at(Instant::now() + limit, self.whole())
            .await
            .map_err(|_| LinkError::too_slow("a PDU", limit))?
    }

    async fn whole(&mut self) -> Result<Pdu, LinkError> {
        while self.buffer.len() < PDU_HEADER_BYTES {
            // The type alone tells a stranger: there is no need to wait for a length that means nothing.
            if let Some(kind) = self.buffer.first() {
                longest(*kind)?;
            }
            self.more().await?;
        }
        let kind = self.buffer[0];
        let [.., a, b, c, d] = *self
            .buffer
            .first_chunk::<PDU_HEADER_BYTES>()
            .unwrap_or(&[0; 6]);
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > longest(kind)? {
            return Err(LinkError::violation(
                "a PDU longer than was negotiated",
                AbortReason::InvalidParameter,
            ));
        }
        let total = PDU_HEADER_BYTES + length;
        self.buffer.reserve(total.saturating_sub(self.buffer.len()));
        while self.buffer.len() < total {
            self.more().await?;
        }
        let mut pdu = self.buffer.split_to(total).freeze();
        if kind <= 0x03 {
            return Ok(Pdu::Associate(pdu));
        }
        pdu.advance(PDU_HEADER_BYTES);
        match kind {
            0x04 => Ok(Pdu::Data(pdu)),
            0x05 => Ok(Pdu::ReleaseRequest),
            0x06 => Ok(Pdu::ReleaseReply),
            _ => Err(LinkError::Aborted {
                by: pdu.get(2).copied().unwrap_or(0),
                reason: pdu.get(3).copied().unwrap_or(0),
            }),
        }
    }

    /// Whether bytes have come already; never waits.
    pub(crate) fn has_come(&mut self) -> Result<bool, LinkError> {
        if !self.buffer.is_empty() {
            return Ok(true);
        }
        match self.more().now_or_never() {
            None => Ok(false),
            Some(read) => read.map(|()| true),
        }
    }

    async fn more(&mut self) -> Result<(), LinkError> {
        let within_pdu = !self.buffer.is_empty();
        if self.buffer.capacity() == self.buffer.len() {
            self.buffer.reserve(READ_BYTES_MIN);
        }
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) => Err(LinkError::Closed { within_pdu }),
            Ok(_) => Ok(()),
            // A reset is how a peer that has crashed closes.
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {
                Err(LinkError::Closed { within_pdu })
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Sends a whole PDU.
    pub(crate) async fn send(&mut self, pdu: &[u8]) -> Result<(), LinkError> {
        let limit = self.pdu_timeout;
        let sent = async {
            self.stream.write_all(pdu).await?;
            // Nothing is held back by a bare socket, but a TLS session keeps records until it is told.
            self.stream.flush().await
        };
        timeout(limit, sent)
            .await
            .map_err(|_| LinkError::too_slow("sending a PDU", limit))?
            .map_err(LinkError::from)
    }

    pub(crate) async fn send_release_request(&mut self) -> Result<(), LinkError> {
        self.send(&[5, 0, 0, 0, 0, 4, 0, 0, 0, 0]).await
    }

    pub(crate) async fn send_release_reply(&mut self) -> Result<(), LinkError> {
        self.send(&[6, 0, 0, 0, 0, 4, 0, 0, 0, 0]).await
    }

    /// Tells the peer that the association is over, and closes.
    pub(crate) async fn abort(mut self, reason: AbortReason, farewell: Duration) {
        // Source 2: the DICOM layer, which is who found the fault. If the peer is gone there is nobody to tell.
        let _ = self.send(&[7, 0, 0, 0, 0, 4, 0, 0, 2, reason as u8]).await;
        self.close(farewell).await;
    }

    /// Closes once the peer has, or after `farewell`: a close with unread bytes would reset the connection and take
    /// our last PDU with it.
    pub(crate) async fn close(mut self, farewell: Duration) {
        let drained = async {
            self.stream.shutdown().await?;
            let mut left = FAREWELL_BYTES_MAX;
            while left > 0 {
                self.buffer.clear();
                self.buffer.reserve(READ_BYTES_MIN);
                match self.stream.read_buf(&mut self.buffer).await? {
                    0 => break,
                    n => left = left.saturating_sub(n),
                }
            }
            io::Result::Ok(())
        };
        // Whatever happens here, the association is over.
        let _ = timeout(farewell, drained).await;
    }
}

/// The longest that a PDU of this kind may be.
fn longest(kind: u8) -> Result<usize, LinkError> {
    match kind {
        0x01..=0x03 => Ok(ASSOCIATE_BYTES_MAX),
        0x04 => Ok(DATA_BYTES_MAX),
        0x05..=0x07 => Ok(SHORT_BYTES_MAX),
        _ => Err(LinkError::violation(
            "not a DICOM PDU",
            AbortReason::UnrecognizedPdu,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    const SHORT: Duration = Duration::from_millis(50);

    async fn heard(bytes: &[u8]) -> Result<Pdu, LinkError> {
        let (here, mut there) = duplex(64 * 1024);
        there.write_all(bytes).await.unwrap();
        Wire::new(here, SHORT).next(SHORT, "nothing").await
    }

    #[tokio::test]
    async fn whole_pdus() {
        let data = [4, 0, 0, 0, 0, 3, 7, 8, 9];
        assert!(matches!(heard(&data).await, Ok(Pdu::Data(d)) if d[..] == [7, 8, 9]));
        assert!(matches!(
            heard(&[5, 0, 0, 0, 0, 4, 0, 0, 0, 0]).await,
            Ok(Pdu::ReleaseRequest)
        ));
        assert!(matches!(
            heard(&[7, 0, 0, 0, 0, 4, 0, 0, 2, 6]).await,
            Err(LinkError::Aborted { by: 2, reason: 6 })
        ));
    }

    #[tokio::test]
    async fn hostile_lengths_are_refused_unread() {
        for kind in 1..=7 {
            let refused = heard(&[kind, 0, 0xff, 0xff, 0xff, 0xff]).await;
            assert!(
                matches!(refused, Err(LinkError::Violation { .. })),
                "type {kind}"
            );
        }
    }

    #[tokio::test]
    async fn strangers_are_told_at_their_first_byte() {
        for first in [0u8, 8, b'G', 0x16, 0xff] {
            let abort = heard(&[first]).await.unwrap_err().abort();
            assert_eq!(abort, Some(AbortReason::UnrecognizedPdu), "{first}");
        }
    }

    #[tokio::test]
    async fn half_a_pdu_is_not_waited_for() {
        assert!(matches!(
            heard(&[4, 0, 0]).await,
            Err(LinkError::TooSlow { .. })
        ));
        assert!(matches!(heard(&[]).await, Err(LinkError::TooSlow { .. })));
    }
}
