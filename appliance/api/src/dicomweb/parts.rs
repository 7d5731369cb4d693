//! Answers of several parts (RFC 2046 section 5.1, PS3.18 section 8.6.1.2).

use bytes::Bytes;
use std::fmt::Write as _;

/// The way in which the parts of one answer are told apart.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    boundary: String,
}

impl Parts {
    pub(super) fn new() -> Self {
        // A name that no object's bytes are likely to hold: random, and long.
        let random = [(); 2].map(|()| getrandom::u64().unwrap_or_default());
        Self {
            boundary: format!("pericard-{:016x}{:016x}", random[0], random[1]),
        }
    }

    /// The whole answer's media type, of parts of this one.
    pub(super) fn media_type(&self, of_parts: &str) -> String {
        let boundary = &self.boundary;
        format!("multipart/related; type=\"{of_parts}\"; boundary={boundary}")
    }

    /// What stands before a part.
    pub(super) fn head(&self, media_type: &str, location: Option<&str>) -> Bytes {
        let mut head = format!("--{}\r\nContent-Type: {media_type}\r\n", self.boundary);
        if let Some(location) = location {
            let _ = write!(head, "Content-Location: {location}\r\n"); // a String takes everything
        }
        head.push_str("\r\n");
        Bytes::from(head)
    }

    /// A part that is there as a whole.
    pub(super) fn part(&self, media_type: &str, location: Option<&str>, content: &[u8]) -> Bytes {
        let head = self.head(media_type, location);
        [&head[..], content, Self::TAIL].concat().into()
    }

    /// What stands after a part.
    pub(super) const TAIL: &[u8] = b"\r\n";

    /// What stands after all parts.
    pub(super) fn end(&self) -> Bytes {
        Bytes::from(format!("--{}--\r\n", self.boundary))
    }
}
