//! Request bodies, read with a limit on their size, on how long they may bring nothing, and on how slowly they may come: a
//! small one has a deadline, and an upload, which may be of any size, a least pace.

use crate::config::{ApiConfig, kib, mib, seconds};
use crate::problem::Problem;
use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode, header};
use pericard_intake::Pace;
use std::time::Duration;
use tokio::time::Instant;

/// How large a form may be: a search, a word and a button.
const FORM_BYTES_MAX: u64 = 16 << 10;
/// A request body under a limit of size and a limit of patience.
pub(crate) struct Inflow {
    stream: BodyDataStream,
    left_bytes: u64,
    limit_bytes: u64,
    idle: Duration,
    pace: Pace,
}

impl Inflow {
    /// An upload: as large as uploads may be.
    ///
    /// # Errors
    /// At once when the header already announces too much.
    pub(crate) fn upload(
        config: &ApiConfig,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Self, Problem> {
        let limit_bytes = mib(config.upload_max_mib);
        fits(headers, limit_bytes)?;
        let idle = seconds(config.body_idle_timeout_s);
        let pace = Pace::new(config.upload_kib_per_s_min, 2 * idle);
        Ok(Self {
            pace,
            ..Self::new(body, limit_bytes, idle)
        })
    }

    fn new(body: Body, limit_bytes: u64, idle: Duration) -> Self {
        Self {
            stream: body.into_data_stream(),
            left_bytes: limit_bytes,
            limit_bytes,
            idle,
            pace: Pace::new(0, idle),
        }
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// 413 beyond the limit, 408 when nothing came for too long or too little, 400 when the body broke off.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        if self.pace.is_too_slow() {
            return Err(dripping(&self.pace));
        }
        let begun = Instant::now();
        let Ok(next) = tokio::time::timeout(self.idle, self.stream.next()).await else {
            return Err(stalled(self.idle));
        };
        match next {
            None => Ok(None),
            Some(Err(_)) => Err(Problem::bad_request("the body broke off before its end")),
            Some(Ok(bytes)) => {
                self.pace.came(bytes.len(), begun.elapsed());
                let left = self.left_bytes.checked_sub(bytes.len() as u64);
                self.left_bytes = left.ok_or_else(|| too_large(self.limit_bytes))?;
                Ok(Some(bytes))
            }
        }
    }
}

/// A JSON body, whole.
///
/// # Errors
/// 415 for another type, 413 and 408 beyond the limits, 400 for what is not JSON.
pub(crate) async fn json(
    config: &ApiConfig,
    headers: &HeaderMap,
    body: Body,
) -> Result<serde_json::Value, Problem> {
    if media_type(headers).as_deref() != Some("application/json") {
        return Err(Problem::unsupported_media("application/json"));
    }
    parsed(&whole(config, headers, body, kib(config.json_max_kib)).await?)
}

fn parsed(all: &[u8]) -> Result<serde_json::Value, Problem> {
    // What serde says may quote the body, and the body may hold patient data: only the place is told.
    serde_json::from_slice(all).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Problem::bad_request(format!(
            "the body is not JSON at line {line}, column {column}"
        ))
    })
}

/// A body in the DICOM JSON model, whole.
///
/// # Errors
/// As [`json`].
pub(crate) async fn dicom_json(
    config: &ApiConfig,
    headers: &HeaderMap,
    body: Body,
) -> Result<serde_json::Value, Problem> {
    const TAKEN: [&str; 2] = ["application/dicom+json", "application/json"];
    if !media_type(headers).is_some_and(|m| TAKEN.contains(&m.as_str())) {
        return Err(Problem::unsupported_media(TAKEN[0]));
    }
    parsed(&whole(config, headers, body, kib(config.json_max_kib)).await?)
}

/// A form's fields, in their order.
///
/// # Errors
/// 415 for another type, 413 and 408 beyond the limits.
pub(crate) async fn form(
    config: &ApiConfig,
    headers: &HeaderMap,
    body: Body,
) -> Result<Vec<(String, String)>, Problem> {
    const FORM: &str = "application/x-www-form-urlencoded";
    if media_type(headers).as_deref() != Some(FORM) {
        return Err(Problem::unsupported_media(FORM));
    }
    let all = whole(config, headers, body, FORM_BYTES_MAX).await?;
    Ok(form_urlencoded::parse(&all).into_owned().collect())
}

/// A small body, whole.
async fn whole(
    config: &ApiConfig,
    headers: &HeaderMap,
    body: Body,
    limit_bytes: u64,
) -> Result<BytesMut, Problem> {
    let idle = seconds(config.body_idle_timeout_s);
    let mut inflow = Inflow::new(body, limit_bytes, idle);
    let whole = async {
        fits(headers, limit_bytes)?;
        let mut all = BytesMut::new();
        while let Some(bytes) = inflow.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok::<_, Problem>(all)
    };
    let deadline = seconds(config.json_timeout_s);
    match tokio::time::timeout(deadline, whole).await {
        Err(_) => Err(stalled(deadline)),
        Ok(all) => all,
    }
}

/// The body's media type in lower case, without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or_default();
    Some(essence.trim().to_ascii_lowercase())
}

/// Whether the length that the header announces, if it does, is within the limit.
fn fits(headers: &HeaderMap, limit_bytes: u64) -> Result<(), Problem> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    match announced {
        Some(length) if length > limit_bytes => Err(too_large(limit_bytes)),
        _ => Ok(()),
    }
}

fn too_large(limit_bytes: u64) -> Problem {
    let detail = format!("the body is larger than the {limit_bytes} bytes that are accepted here");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
}

fn stalled(limit: Duration) -> Problem {
    let detail = format!(
        "the body took longer than {} s; send it again",
        limit.as_secs()
    );
    Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", detail)
}

fn dripping(pace: &Pace) -> Problem {
    let detail = format!(
        "the body came more slowly than {} KiB/s over {} s; send it again over a faster line, or have upload_kib_per_s_min lowered",
        pace.kib_per_s_min(),
        pace.over().as_secs()
    );
    Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", detail)
}
