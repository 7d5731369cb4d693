//! DICOMweb (PS3.18): store, search, retrieve.

mod attributes;
mod found;
pub(crate) mod frames;
pub(crate) mod matching;
mod parts;
pub(crate) mod qido;
pub(crate) mod rendered;
pub(crate) mod stow;
pub(crate) mod ups;
pub(crate) mod wado;

use crate::problem::Problem;
use http::{HeaderMap, HeaderValue, header};

/// The media type of DICOM in JSON (PS3.18 annex F).
const DICOM_JSON: &str = "application/dicom+json";

/// A JSON answer's headers.
fn json_type() -> (http::HeaderName, HeaderValue) {
    (header::CONTENT_TYPE, HeaderValue::from_static(DICOM_JSON))
}

/// Refuses an `Accept` that allows no JSON.
fn accept_json(headers: &HeaderMap) -> Result<(), Problem> {
    let mut accepted = media_ranges(headers).peekable();
    let taken = [
        "application/dicom+json",
        "application/json",
        "application/*",
        "*/*",
    ];
    if accepted.peek().is_none() || accepted.any(|(range, _)| taken.contains(&range.as_str())) {
        return Ok(());
    }
    Err(Problem::not_acceptable(DICOM_JSON))
}

/// The media ranges of the `Accept` headers, in lower case, each with all of its text.
pub(crate) fn media_ranges(headers: &HeaderMap) -> impl Iterator<Item = (String, String)> {
    let all = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok());
    let ranges = all.flat_map(split_ranges).map(|range| {
        let essence = range.split(';').next().unwrap_or_default();
        (essence.trim().to_ascii_lowercase(), range.trim().to_owned())
    });
    ranges
        .filter(|(essence, _)| !essence.is_empty())
        .collect::<Vec<_>>()
        .into_iter()
}

/// Splits at commas that stand outside quotes.
fn split_ranges(value: &str) -> Vec<&str> {
    let mut quoted = false;
    value
        .split(|c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_headers() {
        let accepts = |value: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(header::ACCEPT, value.parse().expect("a header"));
            }
            accept_json(&headers).is_ok()
        };
        for (value, expected) in [
            (None, true),
            (Some("*/*"), true),
            (Some("application/dicom+json"), true),
            (Some("text/html, application/json;q=0.9"), true),
            (
                Some("multipart/related; type=\"application/dicom+xml\""),
                false,
            ),
            (Some("text/html;x=\"a,application/json\""), false),
        ] {
            assert_eq!(accepts(value), expected, "{value:?}");
        }
    }
}
