//! Frames and large values of WADO-RS (PS3.18 sections 10.4.1.1.4 to 10.4.1.1.6): as they are stored, or decoded by a
//! reader behind walls.

use super::media_ranges;
use super::parts::Parts;
use super::wado::{Wanted, refuse_damaged};
use crate::access::Caller;
use crate::appliance::Api;
use crate::multipart::parameters;
use crate::origin::origin;
use crate::painter::Kept;
use crate::problem::Problem;
use crate::reading::Desk;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderMap, StatusCode, Uri, header};
use pericard_dicom::json::{BULK_BYTES_MAX, BulkPath};
use pericard_domain::study::Instance;
use pericard_runner::Raw;
use std::slice;

/// For the OpenAPI document.
pub(crate) const MEDIA_TYPES: &[&str] = &[
    "multipart/related; type=\"application/octet-stream\"",
    "application/octet-stream",
];
/// The most frames that one list may name; whoever wants more retrieves the object.
const FRAMES_MAX: usize = 10_000;
/// Uncompressed, in the only order of bytes that is handed out.
const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
/// Transfer syntaxes whose pixels are one uncompressed value.
const UNCOMPRESSED: [&str; 4] = [
    "1.2.840.10008.1.2",
    EXPLICIT_LE,
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
];
const OCTETS: &str = "application/octet-stream";

type Handled = Result<Response, Problem>;
type OfValue = (String, String, String, String);

pub(crate) async fn frames(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((study, series, instance, list)): Path<OfValue>,
    headers: HeaderMap,
    uri: Uri,
) -> Handled {
    let wanted = Wanted::instance(&study, &series, &instance)?;
    let instance = only(&api, &wanted).await?;
    let list = listed(&list, &instance)?;
    let offer = Offer::accepted(&headers, &instance, list.len())?;
    refuse_damaged(&api, &instance.identity.study, slice::from_ref(&instance)).await?;
    let subject = instance.identity.instance.as_str();
    api.note_access("retrieve frames", subject, &caller).await?;
    let base = url(&origin(&api.config, &headers, &uri), &instance);
    give(&api, &instance, list, offer, &base).await
}

pub(crate) async fn bulk(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((study, series, instance, path)): Path<OfValue>,
    headers: HeaderMap,
    uri: Uri,
) -> Handled {
    let wanted = Wanted::instance(&study, &series, &instance)?;
    let instance = only(&api, &wanted).await?;
    let missing = || Problem::not_found("such bulk data");
    let path: BulkPath = path.parse().map_err(|()| missing())?;
    refuse_damaged(&api, &instance.identity.study, slice::from_ref(&instance)).await?;
    let subject = instance.identity.instance.as_str();
    api.note_access("retrieve bulk data", subject, &caller)
        .await?;
    let base = url(&origin(&api.config, &headers, &uri), &instance);
    let is_long = instance.size_bytes > BULK_BYTES_MAX;
    if path.is_pixel_data() && (is_compressed(&instance) || is_long) {
        // Compressed pixels are a value for each frame.
        let all = (1..=frames_of(&instance)).collect();
        let offer = Offer::stored(&instance, OCTETS);
        return give(&api, &instance, all, offer, &base).await;
    }
    let single = single_octets(&headers)?;
    let location = format!("{base}/bulkdata/{path}");
    let kept = api.kept(&instance);
    let desk = api.desk().await?;
    let (value, _) = desk.work(move |r| r.bulk(&kept, &path)).await?;
    let value = value.ok_or_else(missing)?;
    let media_type = format!("{OCTETS}; transfer-syntax={EXPLICIT_LE}");
    if single {
        return Ok(([(header::CONTENT_TYPE, media_type)], value).into_response());
    }
    let parts = Parts::new();
    let part = parts.part(&media_type, Some(&location), &value);
    let content_type = [(header::CONTENT_TYPE, parts.media_type(OCTETS))];
    Ok((content_type, [part, parts.end()].concat()).into_response())
}

/// The one object that an instance's URL names.
async fn only(api: &Api, wanted: &Wanted) -> Result<Instance, Problem> {
    let mut found = wanted.find(api).await?;
    found.pop().ok_or_else(|| Problem::not_found("such object"))
}

/// The object's own URL.
pub(super) fn url(base: &str, instance: &Instance) -> String {
    let (study, series, instance) = (
        &instance.identity.study,
        &instance.identity.series,
        &instance.identity.instance,
    );
    format!("{base}/dicomweb/studies/{study}/series/{series}/instances/{instance}")
}

pub(super) fn frames_of(instance: &Instance) -> u32 {
    instance.facts.frames.unwrap_or(1)
}

fn is_compressed(instance: &Instance) -> bool {
    !UNCOMPRESSED.contains(&instance.identity.transfer_syntax.as_str())
}

/// The frames of a list such as `1,3,2`, all of which there are.
fn listed(list: &str, instance: &Instance) -> Result<Vec<u32>, Problem> {
    if instance.facts.rows.is_none() {
        return Err(Problem::not_found("such image"));
    }
    let numbers: Option<Vec<u32>> = list.split(',').map(|n| n.trim().parse().ok()).collect();
    let numbers = numbers.ok_or_else(|| {
        let detail = "frames are numbers from 1 on, parted by commas";
        Problem::parameter("frames", detail)
    })?;
    if numbers.len() > FRAMES_MAX {
        let detail = format!("a list has at most {FRAMES_MAX} frames; retrieve the object instead");
        return Err(Problem::parameter("frames", detail));
    }
    match numbers
        .iter()
        .all(|n| (1..=frames_of(instance)).contains(n))
    {
        true => Ok(numbers),
        false => Err(Problem::not_found("such frame")),
    }
}

/// In which form frames go out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Offer {
    raw: Raw,
    /// Of each frame, with its transfer syntax.
    media_type: String,
    /// Bare, as there is only one.
    single: bool,
}

impl Offer {
    /// What the client accepts first (PS3.18 section 8.7.3.3.2). Nothing is encoded anew: frames go out as they are
    /// stored, or uncompressed.
    fn accepted(headers: &HeaderMap, instance: &Instance, frames: usize) -> Result<Self, Problem> {
        let ranges: Vec<_> = media_ranges(headers).collect();
        if ranges.is_empty() {
            return Ok(Self::stored(instance, "*/*"));
        }
        let mut offers = ranges
            .iter()
            .filter_map(|(essence, range)| Self::of(essence, range, instance, frames));
        offers
            .next()
            .ok_or_else(|| Problem::not_acceptable(&offered(instance)))
    }

    fn of(essence: &str, range: &str, instance: &Instance, frames: usize) -> Option<Self> {
        let parameters = parameters(range);
        let named = |name: &str| {
            let found = parameters.iter().find(|(n, _)| n == name);
            found.map(|(_, value)| value.to_ascii_lowercase())
        };
        let (media_type, single) = match essence {
            "*/*" | "multipart/*" => ("*/*".to_owned(), false),
            "multipart/related" => (named("type").unwrap_or_else(|| "*/*".into()), false),
            _ if frames == 1 => (essence.to_owned(), true),
            _ => return None,
        };
        let stored = instance.identity.transfer_syntax.as_str();
        let syntax = named("transfer-syntax");
        let as_stored = syntax.as_deref().is_some_and(|s| s == "*" || s == stored);
        let decoded = syntax.as_deref().is_none_or(|s| s == EXPLICIT_LE);
        let kind = media_type_of(stored);
        let offer = match media_type.as_str() {
            OCTETS | "application/*" if as_stored => Self::stored(instance, OCTETS),
            OCTETS | "application/*" if decoded => Self::native(),
            "*/*" if syntax.is_none() || as_stored => Self::stored(instance, "*/*"),
            "*/*" if decoded => Self::native(),
            "image/*" | "video/*" if kind.split('/').next() == media_type.split('/').next() => {
                Self::stored(instance, kind)
            }
            wanted if wanted == kind && (syntax.is_none() || as_stored) => {
                Self::stored(instance, kind)
            }
            _ => return None,
        };
        Some(Self { single, ..offer })
    }

    fn native() -> Self {
        Self {
            raw: Raw::Native,
            media_type: format!("{OCTETS}; transfer-syntax={EXPLICIT_LE}"),
            single: false,
        }
    }

    /// As stored, under that media type; under its own when any will do.
    fn stored(instance: &Instance, media_type: &str) -> Self {
        if !is_compressed(instance) {
            return Self::native();
        }
        let syntax = &instance.identity.transfer_syntax;
        let media_type = match media_type {
            "*/*" => media_type_of(syntax.as_str()),
            media_type => media_type,
        };
        Self {
            raw: Raw::Stored,
            media_type: format!("{media_type}; transfer-syntax={syntax}"),
            single: false,
        }
    }
}

/// The media type of one frame in a transfer syntax (PS3.18 table 8.7.3-2).
fn media_type_of(syntax: &str) -> &'static str {
    let codec = syntax.strip_prefix("1.2.840.10008.1.2.4.");
    match codec.and_then(|n| n.parse::<u32>().ok()) {
        Some(50..=70) => "image/jpeg",
        Some(80 | 81) => "image/jls",
        Some(90 | 91) => "image/jp2",
        Some(92 | 93) => "image/jpx",
        Some(100 | 101) => "video/mpeg2",
        Some(102..=108) => "video/mp4",
        Some(201..=203) => "image/jphc",
        _ if syntax == "1.2.840.10008.1.2.5" => "image/dicom-rle",
        _ => OCTETS,
    }
}

fn offered(instance: &Instance) -> String {
    let kind = media_type_of(instance.identity.transfer_syntax.as_str());
    format!("multipart/related of {OCTETS}, or of {kind} as it is stored")
}

/// Whether a large value is to come bare.
fn single_octets(headers: &HeaderMap) -> Result<bool, Problem> {
    let mut ranges = media_ranges(headers).peekable();
    if ranges.peek().is_none() {
        return Ok(false);
    }
    let mut taken = ranges.filter_map(|(essence, _)| match essence.as_str() {
        "*/*" | "multipart/*" | "multipart/related" => Some(false),
        OCTETS | "application/*" => Some(true),
        _ => None,
    });
    let none = || Problem::not_acceptable(MEDIA_TYPES[0]);
    taken.next().ok_or_else(none)
}

async fn give(api: &Api, instance: &Instance, list: Vec<u32>, offer: Offer, base: &str) -> Handled {
    let (desk, kept) = (api.desk().await?, api.kept(instance));
    if offer.single {
        let (raw, frame) = (offer.raw, list[0]); // `Offer::of` saw that there is one
        let (bytes, _) = desk.work(move |r| r.bytes(&kept, frame, raw)).await?;
        return Ok(([(header::CONTENT_TYPE, offer.media_type)], bytes).into_response());
    }
    several(desk, kept, list, offer, base).await
}

async fn several(desk: Desk, kept: Kept, list: Vec<u32>, offer: Offer, base: &str) -> Handled {
    let parts = Parts::new();
    let of_parts = offer.media_type.split(';').next().unwrap_or(OCTETS);
    let content_type = [(header::CONTENT_TYPE, parts.media_type(of_parts))];
    let raw = offer.raw;
    let locations: Vec<String> = list.iter().map(|n| format!("{base}/frames/{n}")).collect();
    let each = desk.each(list, move |r, frame| r.bytes(&kept, *frame, raw));
    let end = parts.end();
    let parts = each.await?.map_ok(move |(place, bytes)| {
        let location = locations.get(place).map(String::as_str);
        parts.part(&offer.media_type, location, &bytes)
    });
    let end = stream::once(async move { Ok::<Bytes, std::io::Error>(end) });
    let body = Body::from_stream(parts.chain(end));
    Ok((StatusCode::OK, content_type, body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transfer_syntax_has_a_media_type() {
        for (syntax, expected) in [
            ("1.2.840.10008.1.2.1", OCTETS),
            ("1.2.840.10008.1.2.4.50", "image/jpeg"),
            ("1.2.840.10008.1.2.4.70", "image/jpeg"),
            ("1.2.840.10008.1.2.4.80", "image/jls"),
            ("1.2.840.10008.1.2.4.90", "image/jp2"),
            ("1.2.840.10008.1.2.4.202", "image/jphc"),
            ("1.2.840.10008.1.2.5", "image/dicom-rle"),
            ("1.2.840.10008.1.2.4.102", "video/mp4"),
        ] {
            assert_eq!(media_type_of(syntax), expected, "{syntax}");
        }
    }
}
