//! The minimal lower layer protocol: a vertical tab, a message, a file separator and a carriage return.

use bytes::{Buf, BytesMut};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

const START: u8 = 0x0B;
const END: u8 = 0x1C;
const RETURN: u8 = 0x0D;
/// How much may stand between two messages: line ends of senders that are generous with them.
const BETWEEN_BYTES_MAX: usize = 64;
/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("the line was closed")]
    Closed,
    #[error("the line was closed in the middle of a message")]
    Cut,
    #[error("what came is not MLLP")]
    NotMllp,
    #[error("the message is longer than {limit_kib} KiB")]
    TooLong { limit_kib: usize },
    #[error("{what} took longer than {limit_s} s")]
    TooSlow { what: &'static str, limit_s: u64 },
    #[error(transparent)]
    Network(#[from] io::Error),
}

/// A line that carries messages.
pub(crate) struct Frames<S> {
    line: S,
    buffer: BytesMut,
    message_bytes_max: usize,
    message_timeout: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    pub(crate) fn new(line: S, message_bytes_max: usize, message_timeout: Duration) -> Self {
        Self {
            line,
            buffer: BytesMut::new(),
            message_bytes_max,
            message_timeout,
        }
    }

    /// The next message, which must begin within `wait`. Cancel-safe.
    pub(crate) async fn next(&mut self, wait: Duration) -> Result<Vec<u8>, FrameError> {
        let too_slow = |what, limit: Duration| FrameError::TooSlow {
            what,
            limit_s: limit.as_secs(),
        };
        if self.buffer.is_empty() {
            let more = timeout(wait, self.more()).await;
            if !more.map_err(|_| too_slow("silence between two messages", wait))?? {
                return Err(FrameError::Closed);
            }
        }
        let limit = self.message_timeout;
        timeout_at(Instant::now() + limit, self.whole())
            .await
            .map_err(|_| too_slow("a message", limit))?
    }

    async fn whole(&mut self) -> Result<Vec<u8>, FrameError> {
        self.begin().await?;
        let mut looked_at = 0;
        loop {
            let rest = self.buffer.get(looked_at..).unwrap_or_default();
            if let Some(at) = rest.iter().position(|b| *b == END) {
                let message = self.buffer.split_to(looked_at + at);
                self.buffer.advance(1);
                self.end().await?;
                return Ok(message.to_vec());
            }
            looked_at = self.buffer.len();
            if looked_at > self.message_bytes_max {
                let limit_kib = self.message_bytes_max / 1024;
                return Err(FrameError::TooLong { limit_kib });
            }
            if !self.more().await? {
                return Err(FrameError::Cut);
            }
        }
    }

    /// Passes over the vertical tab, and line ends before it.
    async fn begin(&mut self) -> Result<(), FrameError> {
        for _ in 0..BETWEEN_BYTES_MAX {
            while self.buffer.is_empty() {
                if !self.more().await? {
                    return Err(FrameError::Closed);
                }
            }
            match self.buffer.get_u8() {
                START => return Ok(()),
                RETURN | b'\n' => {}
                _ => return Err(FrameError::NotMllp),
            }
        }
        Err(FrameError::NotMllp)
    }

    /// The carriage return after the end. Some leave it out; then what follows is the next message's.
    async fn end(&mut self) -> Result<(), FrameError> {
        if self.buffer.first() == Some(&RETURN) {
            self.buffer.advance(1);
        }
        Ok(())
    }

    async fn more(&mut self) -> Result<bool, FrameError> {
        self.buffer.reserve(READ_BYTES);
        Ok(self.line.read_buf(&mut self.buffer).await? > 0)
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, message: &[u8]) -> Result<(), FrameError> {
        let mut framed = Vec::with_capacity(message.len() + 3);
        framed.push(START);
        // What would end the frame has no place in a message.
        framed.extend(message.iter().filter(|b| !matches!(**b, START | END)));
        framed.extend_from_slice(&[END, RETURN]);
        let limit = self.message_timeout;
        let sent = async {
            self.line.write_all(&framed).await?;
            self.line.flush().await
        };
        let limit_s = limit.as_secs();
        let what = "sending a message";
        timeout(limit, sent)
            .await
            .map_err(|_| FrameError::TooSlow { what, limit_s })??;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    const SHORT: Duration = Duration::from_millis(50);

    async fn heard(bytes: &[u8]) -> Vec<Result<Vec<u8>, String>> {
        let (here, mut there) = duplex(64 * 1024);
        there.write_all(bytes).await.unwrap();
        drop(there);
        let mut frames = Frames::new(here, 1024, SHORT);
        let mut all = Vec::new();
        loop {
            match frames.next(SHORT).await {
                Ok(message) => all.push(Ok(message)),
                Err(FrameError::Closed) => return all,
                Err(error) => {
                    all.push(Err(error.to_string()));
                    return all;
                }
            }
        }
    }

    #[tokio::test]
    async fn messages_are_cut_where_they_end() {
        let two = heard(b"\x0bone\x1c\r\r\n\x0btwo\x1c\x0bthree\x1c\r").await;
        let expected = ["one", "two", "three"].map(|m| Ok(m.as_bytes().to_vec()));
        assert_eq!(two, expected);
    }

    #[tokio::test]
    async fn hostile_lines_end() {
        let long = [b"\x0b".to_vec(), vec![b'x'; 4096]].concat();
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], "not MLLP"),
            (b"\x0bhalf", "closed in the middle"),
            (&long, "longer than 1 KiB"),
            (&[b'\r'; 100], "not MLLP"),
        ] {
            let heard = heard(bytes).await;
            let said = heard[0].clone().unwrap_err();
            assert!(said.contains(expected), "{said}");
        }
    }

    #[tokio::test]
    async fn silence_ends() {
        let (here, _there) = duplex(64);
        let mut frames = Frames::new(here, 1024, SHORT);
        let error = frames.next(SHORT).await.unwrap_err();
        assert!(matches!(error, FrameError::TooSlow { .. }));
    }
}
