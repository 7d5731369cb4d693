//! A connection that loses patience: with a client that connects and says nothing, and with one that takes nothing of
//! an answer that waits for it. Neither may hold a connection, or a language model's sequence, for ever.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A stream under two limits of patience.
pub(crate) struct Stalling<S> {
    stream: S,
    /// Until the client has said its first word.
    silence: Option<Pin<Box<Sleep>>>,
    write_stall: Duration,
    /// Since a write has been waiting.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Stalling<S> {
    /// Waits for the first bytes for `silence`, and for each piece of an answer to be taken for `write_stall`.
    pub(crate) fn new(stream: S, silence: Duration, write_stall: Duration) -> Self {
        Self {
            stream,
            silence: Some(Box::pin(tokio::time::sleep(silence))),
            write_stall,
            stalled: None,
        }
    }

    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>>
    where
        S: Unpin,
    {
        if let Poll::Ready(done) = write(Pin::new(&mut self.stream), cx) {
            self.stalled = None;
            return Poll::Ready(done);
        }
        let limit = self.write_stall;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Poll::Ready(done) = Pin::new(&mut this.stream).poll_read(cx, buf) {
            this.silence = None;
            return Poll::Ready(done);
        }
        match &mut this.silence {
            None => Poll::Pending,
            Some(silence) => {
                ready!(silence.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.watch(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.watch(cx, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch(cx, |stream, cx| stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const SILENCE: Duration = Duration::from_millis(30);
    const STALL: Duration = Duration::from_millis(400);

    #[tokio::test]
    async fn silence_ends_a_connection_and_one_word_is_enough() {
        let (_client, server) = tokio::io::duplex(8);
        let refused = Stalling::new(server, SILENCE, STALL).read_u8().await;
        assert_eq!(refused.expect_err("silent").kind(), io::ErrorKind::TimedOut);

        let (mut client, server) = tokio::io::duplex(8);
        let mut server = Stalling::new(server, SILENCE, STALL);
        client.write_u8(7).await.expect("open");
        assert_eq!(server.read_u8().await.expect("spoke"), 7);
        let later = tokio::time::timeout(SILENCE * 9, server.read_u8()).await;
        assert!(later.is_err(), "the first word was enough");
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_ends() {
        let (mut client, server) = tokio::io::duplex(8);
        let mut server = Stalling::new(server, SILENCE, STALL);
        server.write_all(&[0; 8]).await.expect("room");
        let writing = tokio::spawn(async move {
            server.write_all(&[0; 8]).await?; // Taken below.
            server.write_all(&[0; 9]).await // Never taken.
        });
        client.read_exact(&mut [0; 8]).await.expect("written");
        let refused = writing.await.expect("no panic").expect_err("stalled");
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
    }
}
