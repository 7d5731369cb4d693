//! Where the fuzz targets come in. Not for anybody else: nothing here is kept as it is.

use crate::body::Inflow;
use crate::config::ApiConfig;
use crate::dicomweb::ups;
use crate::multipart::{Multipart, MultipartType};
use crate::operations::archive::unpack_and_forget;
use crate::operations::reviews;
use crate::{openai, texts};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde_json::Value;
use std::convert::Infallible;
use std::fs::File;

/// Reads a multipart body to its end, as STOW-RS and uploads do. The first byte says in what pieces the network brings
/// it, and the first line is its `Content-Type`.
pub async fn multipart(bytes: &[u8]) {
    let [pieces, rest @ ..] = bytes else { return };
    let end = rest.iter().position(|byte| *byte == b'\n');
    let (kind, body) = rest.split_at(end.unwrap_or(rest.len()));
    let Ok(kind) = HeaderValue::from_bytes(kind) else {
        return;
    };
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]);
    let Ok(kind) = MultipartType::of(&headers) else {
        return;
    };
    let pieces = body.chunks(usize::from(*pieces) + 1);
    let pieces: Vec<_> = pieces
        .map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece)))
        .collect();
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    let Ok(inflow) = Inflow::upload(&ApiConfig::new(""), &headers, body) else {
        return;
    };
    let mut multipart = Multipart::new(inflow, &kind.boundary);
    while let Ok(Some(_)) = multipart.next_part().await {
        while let Ok(Some(_)) = multipart.piece().await {}
    }
}

/// What reads a body in JSON, by the first byte of what is tried. New ones at the end: seeds name them by their place.
const READERS: [fn(Value); 6] = [
    openai::read,
    openai::read_embeddings,
    openai::read_alone,
    ups::read,
    reviews::read,
    texts::read,
];

/// Reads a body in JSON as one of the routes does that take one.
pub fn question(bytes: &[u8]) {
    let [which, body @ ..] = bytes else { return };
    if let Ok(body) = serde_json::from_slice(body) {
        READERS[usize::from(*which) % READERS.len()](body);
    }
}

/// Unpacks a zip archive, as an upload brings it.
pub fn archive(file: &File) {
    const ENTRIES_MAX: usize = 1000;
    const INFLATED_MAX_BYTES: u64 = 16 << 20;
    unpack_and_forget(file, ENTRIES_MAX, INFLATED_MAX_BYTES);
}
