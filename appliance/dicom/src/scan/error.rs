//! Why an object is refused before anything parses it.

use dicom_core::Tag;
use pericard_domain::uid::UidError;

/// Why a scan refused an object. Tags and counts only: never a value of the data set, which may be a patient's.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// No `DICM` at byte 128.
    #[error(
        "not a DICOM file: the DICM prefix of PS3.10 is missing; send a Part 10 file, or name the transfer syntax of a bare data set"
    )]
    NotDicom,
    /// An element, item or sequence is longer than what holds it.
    #[error(
        "truncated: {tag} claims {claimed} bytes and only {present} are left in what holds it; send the object again"
    )]
    Truncated {
        /// The element that claims, or the last one before the break.
        tag: Tag,
        /// Bytes claimed.
        claimed: u64,
        /// Bytes there.
        present: u64,
    },
    /// A value, sequence or encapsulated pixel data has no end.
    #[error(
        "truncated: {tag} has an undefined length and no delimiter ends it; send the object again"
    )]
    Unended {
        /// The element without an end.
        tag: Tag,
    },
    /// Sequences within sequences beyond the limit.
    #[error("sequences are nested deeper than {max} levels, at {tag}")]
    TooDeep {
        /// The sequence that went too deep.
        tag: Tag,
        /// The limit.
        max: usize,
    },
    /// More elements than the limit.
    #[error("the object has more than {max} data elements")]
    TooManyElements {
        /// The limit.
        max: u32,
    },
    /// More items than the limit.
    #[error("the object has more than {max} sequence items")]
    TooManyItems {
        /// The limit.
        max: u32,
    },
    /// More fragments than the limit.
    #[error("the pixel data has more than {max} fragments")]
    TooManyFragments {
        /// The limit.
        max: usize,
    },
    /// A deflated data set grows beyond the limit.
    #[error("the deflated data set inflates to more than {max} bytes")]
    InflatedTooLarge {
        /// The limit.
        max: u64,
    },
    /// A deflated data set that does not inflate.
    #[error("the deflated data set is damaged (RFC 1951); send the object again")]
    Deflate,
    /// A value that the header keeps is longer than any legal one.
    #[error("the value of {tag} is longer than {max} bytes")]
    ValueTooLong {
        /// The element.
        tag: Tag,
        /// The limit.
        max: u64,
    },
    /// The values together are more than a parsed object may hold.
    #[error("the values of the data set, without pixel data, are more than {max} bytes")]
    ObjectTooLarge {
        /// The limit.
        max: u64,
    },
    /// An undefined length where PS3.5 allows none.
    #[error("{tag} has an undefined length, which PS3.5 section 7.1 does not allow there")]
    UndefinedLength {
        /// The element.
        tag: Tag,
    },
    /// A delimiter or an item outside a sequence, or an element between items.
    #[error("{tag} stands where PS3.5 section 7.5 does not allow it")]
    Misplaced {
        /// The element.
        tag: Tag,
    },
    /// Bytes other than padding after the end of the data set.
    #[error("after {tag} come bytes that are neither an element nor padding")]
    TrailingBytes {
        /// The last good element.
        tag: Tag,
    },
    /// One of the elements that identify an object is absent or empty.
    #[error("{0}, which identifies the object, is missing or empty")]
    MissingIdentity(Tag),
    /// One of the elements that identify an object is there twice: which one is meant cannot be known.
    #[error("{0}, which identifies the object, is there more than once")]
    AmbiguousIdentity(Tag),
    /// One of the elements that identify an object is not a UID.
    #[error("{tag} is not a UID: {why}")]
    InvalidUid {
        /// The element.
        tag: Tag,
        /// What is wrong with it.
        why: UidError,
    },
    /// A transfer syntax whose encoding is not known.
    #[error(
        "the transfer syntax is not one of PS3.6 table A-1; send the object in a standard transfer syntax"
    )]
    UnsupportedTransferSyntax,
    /// The file could not be read.
    #[error("the object could not be read: {0}")]
    Io(#[from] std::io::Error),
}
