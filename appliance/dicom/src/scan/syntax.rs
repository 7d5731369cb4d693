//! How a transfer syntax encodes a data set (PS3.5 section 10 and annex A).

use pericard_domain::uid::TransferSyntaxUid;

/// Implicit VR Little Endian.
pub const IMPLICIT_LE: &str = "1.2.840.10008.1.2";
/// Explicit VR Little Endian.
pub const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
/// Deflated Explicit VR Little Endian.
pub const DEFLATED_LE: &str = "1.2.840.10008.1.2.1.99";
/// Explicit VR Big Endian (retired, still in archives).
pub const EXPLICIT_BE: &str = "1.2.840.10008.1.2.2";
/// Encapsulated uncompressed Explicit VR Little Endian.
pub const ENCAPSULATED_LE: &str = "1.2.840.10008.1.2.1.98";
/// Deflated Image Frame Compression.
pub const DEFLATED_FRAMES: &str = "1.2.840.10008.1.2.8.1";
/// RLE Lossless.
pub const RLE: &str = "1.2.840.10008.1.2.5";

/// What precedes every JPEG, JPEG-LS, JPEG 2000, MPEG, HEVC, JPEG XL and HTJ2K transfer syntax.
const CODEC_PREFIX: &str = "1.2.840.10008.1.2.4.";
/// The other transfer syntaxes that encapsulate (XML and MIME, SMPTE ST 2110), all Explicit VR Little Endian.
const OTHER_PREFIXES: [&str; 3] = [
    "1.2.840.10008.1.2.6.",
    "1.2.840.10008.1.2.7.",
    "1.2.840.10008.1.2.8.",
];

/// How the elements of a data set are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Encoding {
    /// Whether each element names its value representation.
    pub(crate) explicit: bool,
    /// Whether numbers begin with their highest byte.
    pub(crate) big_endian: bool,
}

impl Encoding {
    pub(crate) const IMPLICIT_LE: Self = Self::new(false, false);
    pub(crate) const EXPLICIT_LE: Self = Self::new(true, false);
    pub(crate) const EXPLICIT_BE: Self = Self::new(true, true);

    const fn new(explicit: bool, big_endian: bool) -> Self {
        Self {
            explicit,
            big_endian,
        }
    }

    pub(crate) fn u16(self, bytes: [u8; 2]) -> u16 {
        if self.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        }
    }

    pub(crate) fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    }

    pub(crate) fn u64(self, bytes: [u8; 8]) -> u64 {
        if self.big_endian {
            u64::from_be_bytes(bytes)
        } else {
            u64::from_le_bytes(bytes)
        }
    }
}

/// Whether a data set in this transfer syntax is deflated as a whole, and so may be far larger than its bytes (PS3.5
/// section A.5).
#[must_use]
pub fn is_deflated(syntax: &TransferSyntaxUid) -> bool {
    encoding_of(syntax.as_str()).is_some_and(|(_, deflated)| deflated)
}

/// The encoding of a transfer syntax, and whether the whole data set is deflated; `None` when it is not known.
pub(crate) fn encoding_of(uid: &str) -> Option<(Encoding, bool)> {
    match uid {
        IMPLICIT_LE => Some((Encoding::IMPLICIT_LE, false)),
        EXPLICIT_LE | ENCAPSULATED_LE | RLE => Some((Encoding::EXPLICIT_LE, false)),
        DEFLATED_LE => Some((Encoding::EXPLICIT_LE, true)),
        EXPLICIT_BE => Some((Encoding::EXPLICIT_BE, false)),
        // JPIP referenced deflate: the one codec syntax whose data set is itself deflated.
        "1.2.840.10008.1.2.4.95" | "1.2.840.10008.1.2.4.205" => Some((Encoding::EXPLICIT_LE, true)),
        _ if uid.starts_with(CODEC_PREFIX) => Some((Encoding::EXPLICIT_LE, false)),
        _ if OTHER_PREFIXES.iter().any(|p| uid.starts_with(p)) => {
            Some((Encoding::EXPLICIT_LE, false))
        }
        _ => None,
    }
}

/// JPEG baseline, extended and lossless; the retired processes too, which archives still have.
pub(crate) fn is_jpeg(uid: &str) -> bool {
    codec_number(uid).is_some_and(|n| (50..=70).contains(&n))
}

/// JPEG-LS, lossless and near-lossless.
pub(crate) fn is_jpeg_ls(uid: &str) -> bool {
    matches!(codec_number(uid), Some(80 | 81))
}

/// JPEG 2000 and high-throughput JPEG 2000, without those that only refer to pixels elsewhere.
pub(crate) fn is_jpeg_2000(uid: &str) -> bool {
    matches!(codec_number(uid), Some(90..=93 | 201..=203))
}

fn codec_number(uid: &str) -> Option<u32> {
    uid.strip_prefix(CODEC_PREFIX)?.parse().ok()
}
