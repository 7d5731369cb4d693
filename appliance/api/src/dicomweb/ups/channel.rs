//! The channel of notifications (PS3.18 section 11.13): a WebSocket (RFC 6455), over which a subscriber is told what it has
//! subscribed to. What it has not been told yet waits for it in the store, so a channel that breaks loses nothing.

use super::Handled;
use crate::access::Caller;
use crate::appliance::Api;
use crate::problem::Problem;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_sink::Sink as _;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use pericard_domain::ae::AeTitle;
use pericard_store::StoreError;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio_websockets::{Limits, Message, ServerBuilder, WebSocketStream};

/// Channels that may be open at once.
pub(crate) const CHANNELS_MAX: usize = 64;
/// How often a silent client is asked whether it is still there; also the longest that a notice waits when no news came of it.
const PING_INTERVAL_S: u64 = 20;
/// The largest message that a client may send: it has nothing to say but that it is there.
const MESSAGE_BYTES_MAX: usize = 4 << 10;
/// What a client's key is joined with before it is hashed (RFC 6455 section 1.3).
const HANDSHAKE: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

type Channel = WebSocketStream<TokioIo<Upgraded>>;

pub(crate) async fn open(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(title): Path<String>,
    mut request: Request,
) -> Handled {
    let wrong = |_| Problem::parameter("aetitle", "the subscriber is no application entity title");
    let title = AeTitle::new(&title).map_err(wrong)?;
    let answer = handshake(request.headers())?;
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let upgrade = upgrade.ok_or_else(not_a_handshake)?;
    let place = api.channels.clone().try_acquire_owned().map_err(|_| {
        let detail = "too many notification channels are open; close one";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
    })?;
    api.note_access("open notification channel", title.as_str(), &caller)
        .await?;
    tokio::spawn(converse(api, title.to_string(), upgrade, place));
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, answer)
        .body(Body::empty());
    response.map_err(|_| Problem::internal())
}

/// The answer to a client's key.
fn handshake(headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    let says = |name: header::HeaderName, word: &str| {
        let value = headers.get(name).and_then(|v| v.to_str().ok());
        let mut words = value.unwrap_or_default().split(',');
        words.any(|w| w.trim().eq_ignore_ascii_case(word))
    };
    let is_one = says(header::UPGRADE, "websocket")
        && says(header::CONNECTION, "upgrade")
        && says(header::SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| is_one);
    let key = key
        .and_then(|k| k.to_str().ok())
        .ok_or_else(not_a_handshake)?;
    let hash = sha1_smol::Sha1::from(format!("{key}{HANDSHAKE}")).digest();
    HeaderValue::from_str(&STANDARD.encode(hash.bytes())).map_err(|_| Problem::internal())
}

fn not_a_handshake() -> Problem {
    let detail = "this is a WebSocket: ask over HTTP/1.1 with Upgrade: websocket and Sec-WebSocket-Version: 13";
    Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail)
        .with_header(header::UPGRADE, HeaderValue::from_static("websocket"))
}

async fn converse(api: Api, title: String, upgrade: OnUpgrade, _place: OwnedSemaphorePermit) {
    let Ok(upgraded) = upgrade.await else {
        return; // The client has gone before the answer.
    };
    let limits = Limits::default().max_payload_len(Some(MESSAGE_BYTES_MAX));
    let builder = ServerBuilder::new().limits(limits);
    let mut channel = builder.serve(TokioIo::new(upgraded));
    if let Err(error) = tell(&api, &title, &mut channel).await {
        tracing::debug!(error, "a notification channel ended");
    }
    let mut channel = Pin::new(&mut channel);
    let _ = poll_fn(|cx| channel.as_mut().poll_close(cx)).await; // it may be gone already
}

/// Tells what there is to tell until the client goes.
async fn tell(api: &Api, title: &str, channel: &mut Channel) -> Result<(), String> {
    // Its own handle: news are told once to each.
    let store = api.rooms.store.clone();
    let failed = |error: StoreError| error.to_string();
    let gone = |error: tokio_websockets::Error| error.to_string();
    let mut message_id = 0_u16;
    loop {
        let changed = store.changed();
        let notices = store.notices(title).await.map_err(failed)?;
        for notice in &notices {
            let mut report = notice.report.clone();
            message_id = message_id.wrapping_add(1);
            report["00000110"] = serde_json::json!({"vr": "US", "Value": [message_id]});
            let message = Message::text(report.to_string());
            send(channel, message).await.map_err(gone)?;
        }
        if let Some(last) = notices.last() {
            store
                .notices_told(title, last.place)
                .await
                .map_err(failed)?;
            continue;
        }
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(Duration::from_secs(PING_INTERVAL_S)) => {
                send(channel, Message::ping("")).await.map_err(gone)?;
            }
            said = channel.next() => match said {
                None => return Ok(()),
                Some(Err(error)) => return Err(gone(error)),
                Some(Ok(message)) if message.is_close() => return Ok(()),
                Some(Ok(_)) => {}
            },
        }
    }
}

/// Sends a message, whole.
async fn send(channel: &mut Channel, message: Message) -> Result<(), tokio_websockets::Error> {
    let mut channel = Pin::new(channel);
    poll_fn(|cx| channel.as_mut().poll_ready(cx)).await?;
    channel.as_mut().start_send(message)?;
    poll_fn(|cx| channel.as_mut().poll_flush(cx)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 section 1.3.
    #[test]
    fn the_handshake_of_the_rfc() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("upgrade", "websocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            let name: header::HeaderName = name.parse().expect("a name");
            headers.insert(name, HeaderValue::from_static(value));
        }
        let answer = handshake(&headers).expect("a handshake");
        assert_eq!(answer, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        headers.remove(header::UPGRADE);
        assert!(handshake(&headers).is_err());
    }
}
