//! What a refused caller still sends.
//!
//! Many clients look for an answer only when they have sent all (curl's library over HTTP/2 among them, and with it Orthanc):
//! answered earlier they would see a broken connection instead of the refusal. So the rest of a refused body is let go by first.

use axum::body::{Body, BodyDataStream, HttpBody as _};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::header;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// How much of a refused body is let go by before the answer.
const REMAINDER_MAX_BYTES: usize = 32 << 20;
/// How long that may take.
const REMAINDER_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a body lies that nobody reads any more.
type Left = Arc<Mutex<Option<BodyDataStream>>>;

/// Answers a refusal only once the caller has sent the rest, within limits. Who waits to be asked for the body is not asked.
pub async fn let_by(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let waits = parts.headers.contains_key(header::EXPECT);
    let left = Left::default();
    let lent = Body::from_stream(Lent {
        body: Some(body.into_data_stream()),
        begun: !waits,
        left: Arc::clone(&left),
    });
    let response = next.run(Request::from_parts(parts, lent)).await;
    let refused = response.status().is_client_error() || response.status().is_server_error();
    let rest = left.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(rest) = rest.filter(|_| refused) {
        let _in_time = tokio::time::timeout(REMAINDER_TIMEOUT, drain(rest)).await; // either way the answer is next
    }
    response
}

async fn drain(mut rest: BodyDataStream) {
    let mut left_bytes = REMAINDER_MAX_BYTES;
    while let Some(Ok(bytes)) = rest.next().await {
        match left_bytes.checked_sub(bytes.len()) {
            Some(left) => left_bytes = left,
            None => break,
        }
    }
}

/// A body that comes back when it is let go of before its end.
struct Lent {
    body: Option<BodyDataStream>,
    /// Whether the caller sends it, asked or not.
    begun: bool,
    left: Left,
}

impl Stream for Lent {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.begun = true;
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = body.poll_next_unpin(context);
        if let Poll::Ready(None | Some(Err(_))) = polled {
            self.body = None;
        }
        polled
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let body = self.body.take().filter(|_| self.begun);
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = body;
    }
}
