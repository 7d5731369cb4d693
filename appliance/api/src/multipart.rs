//! Multipart bodies (RFC 2046 section 5.1), read as a stream: `multipart/related` of DICOMweb and `multipart/form-data`.
//!
//! What is held in memory is one piece of the network's and one delimiter, however large a part is.

use crate::body::Inflow;
use crate::problem::Problem;
use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, header};
use memchr::memmem::Finder;

/// The longest boundary. RFC 2046 section 5.1.1 ends at 70; Orthanc's client sends 73.
const BOUNDARY_CHARS_MAX: usize = 200;
/// How large the header of a part may be.
const PART_HEADER_MAX_BYTES: usize = 8 << 10;
/// Spaces that may follow a delimiter on its line.
const PADDING_MAX_BYTES: usize = 128;

/// A multipart body.
pub(crate) struct Multipart {
    inflow: Inflow,
    buffer: BytesMut,
    delimiter: Finder<'static>,
    delimiter_len: usize,
    place: Place,
}

/// Where in the body the reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Preamble,
    /// Just behind a delimiter.
    Delimiter,
    Part,
    End,
}

impl Multipart {
    /// The parts of a body with this boundary.
    pub(crate) fn new(inflow: Inflow, boundary: &str) -> Self {
        let delimiter = format!("\r\n--{boundary}");
        Self {
            inflow,
            // The first delimiter may stand at the very beginning, without its line break.
            buffer: BytesMut::from("\r\n"),
            delimiter_len: delimiter.len(),
            delimiter: Finder::new(&delimiter).into_owned(),
            place: Place::Preamble,
        }
    }

    /// Goes to the next part, over what is left of the present one, and returns its media type; `None` after the last.
    ///
    /// # Errors
    /// 400 when the body is not well formed or ends early, and what [`Inflow::next`] says.
    pub(crate) async fn next_part(&mut self) -> Result<Option<Part>, Problem> {
        if self.place == Place::Preamble {
            self.place = Place::Part;
        }
        while self.place == Place::Part {
            self.piece().await?;
        }
        if self.place == Place::End || self.is_close_delimiter().await? {
            self.place = Place::End;
            self.drain().await?;
            return Ok(None);
        }
        let part = self.part_header().await?;
        self.place = Place::Part;
        Ok(Some(part))
    }

    /// The next bytes of the present part; `None` at its end.
    ///
    /// # Errors
    /// 400 when the body ends within the part, and what [`Inflow::next`] says.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, Problem> {
        while self.place == Place::Part {
            if let Some(at) = self.delimiter.find(&self.buffer) {
                let piece = self.buffer.split_to(at).freeze();
                self.buffer.advance(self.delimiter_len);
                self.place = Place::Delimiter;
                return Ok((!piece.is_empty()).then_some(piece));
            }
            // The last bytes may be the beginning of a delimiter.
            let sure = self.buffer.len().saturating_sub(self.delimiter_len - 1);
            if sure > 0 {
                return Ok(Some(self.buffer.split_to(sure).freeze()));
            }
            self.fill("a part").await?;
        }
        Ok(None)
    }

    async fn is_close_delimiter(&mut self) -> Result<bool, Problem> {
        while self.buffer.len() < 2 {
            self.fill("a delimiter").await?;
        }
        Ok(self.buffer.starts_with(b"--"))
    }

    /// Reads from behind a delimiter to the beginning of the part's content.
    async fn part_header(&mut self) -> Result<Part, Problem> {
        let padding = self.line(PADDING_MAX_BYTES).await?;
        if !padding.iter().all(|b| matches!(b, b' ' | b'\t')) {
            return Err(malformed("something follows a boundary on its line"));
        }
        let mut part = Part::default();
        let mut left = PART_HEADER_MAX_BYTES;
        loop {
            let line = self.line(left).await?;
            left = left.saturating_sub(line.len() + 2);
            if line.is_empty() {
                return Ok(part);
            }
            part.take_header(&line);
        }
    }

    async fn line(&mut self, max_bytes: usize) -> Result<Bytes, Problem> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.buffer, b"\r\n") {
                if at > max_bytes {
                    return Err(malformed("a part's header is too large"));
                }
                let line = self.buffer.split_to(at).freeze();
                self.buffer.advance(2);
                return Ok(line);
            }
            if self.buffer.len() > max_bytes {
                return Err(malformed("a part's header is too large"));
            }
            self.fill("a part's header").await?;
        }
    }

    async fn fill(&mut self, within: &str) -> Result<(), Problem> {
        let Some(bytes) = self.inflow.next().await? else {
            return Err(malformed(&format!("the body ends within {within}")));
        };
        self.buffer.extend_from_slice(&bytes);
        Ok(())
    }

    /// Reads what follows the last delimiter, which means nothing, so that the connection can be used again.
    async fn drain(&mut self) -> Result<(), Problem> {
        self.buffer.clear();
        while self.inflow.next().await?.is_some() {}
        Ok(())
    }
}

/// What is known of a part before its content.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its media type in lower case, without parameters, when it says one.
    pub(crate) media_type: Option<String>,
}

impl Part {
    fn take_header(&mut self, line: &[u8]) {
        let Ok(line) = std::str::from_utf8(line) else {
            return; // File names in other encodings: of no interest.
        };
        if let Some((name, value)) = line.split_once(':')
            && name.trim().eq_ignore_ascii_case("content-type")
        {
            let essence = value.split(';').next().unwrap_or_default();
            self.media_type = Some(essence.trim().to_ascii_lowercase());
        }
    }
}

/// What a `Content-Type` of a multipart body says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MultipartType {
    pub(crate) boundary: String,
    /// The `type` parameter of `multipart/related`, in lower case.
    pub(crate) root_type: Option<String>,
}

impl MultipartType {
    /// Reads the header.
    ///
    /// # Errors
    /// 400 when there is no usable boundary.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let value = headers
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok());
        let parameters = parameters(value.unwrap_or_default());
        let named = |name: &str| {
            let found = parameters.iter().find(|(n, _)| n == name);
            found.map(|(_, value)| value.clone())
        };
        let boundary = named("boundary").unwrap_or_default();
        if boundary.is_empty() || boundary.len() > BOUNDARY_CHARS_MAX {
            return Err(malformed("the Content-Type has no usable boundary"));
        }
        let root_type = named("type").map(|t| t.to_ascii_lowercase());
        Ok(Self {
            boundary,
            root_type,
        })
    }
}

/// The parameters of a header value (RFC 9110 section 5.6.6), names in lower case, quotes removed.
pub(crate) fn parameters(value: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = value.split_once(';').map_or("", |(_, rest)| rest);
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', '\t', ';']).to_ascii_lowercase();
        let after = after.trim_start();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(';').unwrap_or((after, "")),
        };
        found.push((name, value.trim().to_owned()));
        rest = next;
    }
    found
}

fn malformed(what: &str) -> Problem {
    Problem::bad_request(format!("the multipart body is malformed: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ApiConfig;
    use axum::body::Body;
    use futures_util::stream;

    /// A body that arrives in pieces of `size` bytes.
    fn arriving(body: &[u8], size: usize) -> Multipart {
        let pieces: Vec<_> = body
            .chunks(size)
            .map(|c| Ok::<_, std::io::Error>(Bytes::copy_from_slice(c)))
            .collect();
        let body = Body::from_stream(stream::iter(pieces));
        let config = ApiConfig::new("unused");
        let inflow = Inflow::upload(&config, &HeaderMap::new(), body).expect("within limits");
        Multipart::new(inflow, "frontier")
    }

    async fn read(mut multipart: Multipart) -> Result<Vec<(Option<String>, Vec<u8>)>, Problem> {
        let mut parts = Vec::new();
        while let Some(part) = multipart.next_part().await? {
            let mut content = Vec::new();
            while let Some(piece) = multipart.piece().await? {
                content.extend_from_slice(&piece);
            }
            parts.push((part.media_type, content));
        }
        Ok(parts)
    }

    #[tokio::test]
    async fn parts_are_the_same_however_the_body_is_cut() {
        let body = b"preamble\r\n--frontier\r\nContent-Type: application/dicom; x=y\r\n\r\none\r\n--front\
            \r\n--frontier  \r\nX: y\r\ncontent-type:Text/Plain\r\n\r\n\r\n--frontier\r\n\r\n\r\nthree\r\n\
            \r\n--frontier--\r\nepilogue";
        let expected = vec![
            (
                Some("application/dicom".to_owned()),
                b"one\r\n--front".to_vec(),
            ),
            (Some("text/plain".to_owned()), Vec::new()),
            (None, b"\r\nthree\r\n".to_vec()),
        ];
        for size in 1..body.len() {
            let parts = read(arriving(body, size)).await;
            assert_eq!(parts.expect("well formed"), expected, "in pieces of {size}");
        }
    }

    #[tokio::test]
    async fn a_part_that_is_not_read_is_skipped() {
        let body = b"--frontier\r\n\r\nskipped\r\n--frontier\r\n\r\nread\r\n--frontier--";
        let mut multipart = arriving(body, 5);
        multipart
            .next_part()
            .await
            .expect("well formed")
            .expect("first");
        multipart
            .next_part()
            .await
            .expect("well formed")
            .expect("second");
        let piece = multipart
            .piece()
            .await
            .expect("well formed")
            .expect("content");
        assert!(b"read".starts_with(&piece), "{piece:?}");
    }

    #[tokio::test]
    async fn what_is_malformed_is_refused() {
        let flood = [
            &b"--frontier\r\nX: "[..],
            &vec![b'a'; PART_HEADER_MAX_BYTES + 1],
            b"\r\n\r\nx\r\n--frontier--",
        ]
        .concat();
        let bodies: [&[u8]; 8] = [
            b"",
            b"no boundary at all",
            b"--frontier",
            b"--frontier\r\n",
            b"--frontier\r\n\r\nends within",
            b"--frontierx\r\n\r\n\r\n--frontier--",
            b"--frontier\r\n\r\nends within\r\n--frontier",
            &flood,
        ];
        for body in bodies {
            for size in [1, 7, 64 << 10] {
                let refused = read(arriving(body, size)).await.expect_err("refused");
                assert_eq!(refused.status, 400, "{:?}", String::from_utf8_lossy(body));
            }
        }
    }

    #[tokio::test]
    async fn a_large_part_passes_through_a_small_buffer() {
        let content = vec![b'\r'; 3 << 20];
        let body = [&b"--frontier\r\n\r\n"[..], &content, b"\r\n--frontier--"].concat();
        let mut multipart = arriving(&body, 16 << 10);
        multipart
            .next_part()
            .await
            .expect("well formed")
            .expect("a part");
        let (mut total, mut largest) = (0, 0);
        while let Some(piece) = multipart.piece().await.expect("well formed") {
            total += piece.len();
            largest = largest.max(multipart.buffer.capacity());
        }
        assert_eq!(total, content.len());
        assert!(largest <= 64 << 10, "the buffer grew to {largest} bytes");
    }

    #[test]
    fn content_types() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().expect("a header"));
            MultipartType::of(&headers)
                .ok()
                .map(|t| (t.boundary, t.root_type))
        };
        let dicom = Some("application/dicom".to_owned());
        let orthancs = format!("{0}-{0}", "3b5703d7-d464-411a-9470-4a5dfdcf5c4f");
        let from_orthanc = format!("multipart/related; boundary={orthancs}");
        for (value, expected) in [
            (
                "multipart/related; type=\"application/dicom\"; boundary=b",
                Some(("b", dicom.clone())),
            ),
            (
                "multipart/related;boundary=\"a;b=c\";TYPE=application/DICOM",
                Some(("a;b=c", dicom)),
            ),
            ("multipart/form-data; boundary=----x", Some(("----x", None))),
            (&from_orthanc, Some((&orthancs, None))),
            ("multipart/related", None),
            ("multipart/related; boundary=\"\"", None),
        ] {
            let expected = expected.map(|(b, t)| (b.to_owned(), t));
            assert_eq!(of(value), expected, "{value}");
        }
    }
}
