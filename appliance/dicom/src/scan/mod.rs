//! The first look at a stranger's object: what it is, and whether its structure keeps its promises.
//!
//! Nothing here recurses, and nothing is allocated because a length field says so: a length counts only as far as the
//! bytes are there. Large values are skipped, not read. Nothing else may parse an object that did not pass.

mod error;
mod limits;
pub(crate) mod source;
pub mod syntax;
pub(crate) mod walk;

pub use error::ScanError;
pub use limits::*;

use crate::header::{Collector, Extent, Header};
use dicom_core::Tag;
use pericard_domain::uid::TransferSyntaxUid;
use source::{ReadSeek, Source};
use std::io::{Read, Seek, SeekFrom};
use syntax::{Encoding, encoding_of};
use walk::{Token, Walker};

const PREAMBLE_BYTES: u64 = 128;
const PREFIX: &[u8; 4] = b"DICM";
const TRANSFER_SYNTAX: Tag = Tag(0x0002, 0x0010);

/// Scans a DICOM file (PS3.10 section 7.1: preamble, prefix, file meta information, data set) from its beginning.
///
/// # Errors
/// When it is not one, or its structure breaks a promise or a limit; see [`ScanError`].
pub fn scan_file(
    reader: &mut (impl Read + Seek),
    limits: &ScanLimits,
) -> Result<Header, ScanError> {
    let file = open_file(reader, limits)?;
    scan_opened(file, limits)
}

/// Scans a data set without file meta information, as a DICOM association carries it, from the reader's beginning.
///
/// # Errors
/// When its structure breaks a promise or a limit; see [`ScanError`].
pub fn scan_data_set(
    reader: &mut (impl Read + Seek),
    syntax: &TransferSyntaxUid,
    limits: &ScanLimits,
) -> Result<Header, ScanError> {
    let opened = open_data_set(reader, syntax, limits)?;
    scan_opened(opened, limits)
}

fn scan_opened(mut opened: Opened<'_>, limits: &ScanLimits) -> Result<Header, ScanError> {
    let mut collector = Collector::new(limits);
    let mut walker = opened.walker(limits);
    while let Some(token) = walker.next()? {
        collector.take(token, &mut walker)?;
    }
    let elements = walker.elements();
    collector.header(opened.place, elements)
}

/// Where and how a data set lies in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) syntax: TransferSyntaxUid,
    pub(crate) encoding: Encoding,
    pub(crate) deflated: bool,
    /// Of the data set (deflated or not), bytes from the beginning of the file.
    pub(crate) offset: u64,
}

/// A source that stands at the beginning of a data set.
pub(crate) struct Opened<'r> {
    source: Source<'r>,
    pub(crate) place: Place,
}

impl<'r> Opened<'r> {
    fn new(
        source: Source<'r>,
        syntax: TransferSyntaxUid,
        limits: &ScanLimits,
    ) -> Result<Self, ScanError> {
        let (encoding, deflated) =
            encoding_of(syntax.as_str()).ok_or(ScanError::UnsupportedTransferSyntax)?;
        let place = Place {
            syntax,
            encoding,
            deflated,
            offset: source.position(),
        };
        let source = if deflated {
            source.inflated(limits.inflated_bytes_max)?
        } else {
            source
        };
        Ok(Self { source, place })
    }

    /// The source itself, which stands at the beginning of the data set.
    pub(crate) fn into_source(self) -> Source<'r> {
        self.source
    }

    pub(crate) fn walker<'s>(&'s mut self, limits: &'s ScanLimits) -> Walker<'s, 'r> {
        Walker::new(&mut self.source, self.place.encoding, limits)
    }
}

/// Stands at the beginning of a bare data set.
pub(crate) fn open_data_set<'r>(
    reader: &'r mut dyn ReadSeek,
    syntax: &TransferSyntaxUid,
    limits: &ScanLimits,
) -> Result<Opened<'r>, ScanError> {
    Opened::new(Source::new(reader)?, syntax.clone(), limits)
}

/// Passes the preamble and the file meta information.
pub(crate) fn open_file<'r>(
    reader: &'r mut dyn ReadSeek,
    limits: &ScanLimits,
) -> Result<Opened<'r>, ScanError> {
    let mut source = Source::new(reader)?;
    source.skip(PREAMBLE_BYTES)?;
    let mut prefix = [0; PREFIX.len()];
    if source.read(&mut prefix)? != PREFIX.len() || &prefix != PREFIX {
        return Err(ScanError::NotDicom);
    }
    let syntax = file_meta_syntax(&mut source, limits)?;
    Opened::new(source, syntax, limits)
}

/// Bytes that a scan has seen to be there; of a deflated data set, bytes of what inflates out of it. What asks bounds the
/// length.
pub(crate) fn bytes_at(
    reader: &mut dyn ReadSeek,
    limits: &ScanLimits,
    deflated: bool,
    extent: Extent,
) -> Result<Vec<u8>, ScanError> {
    let mut bytes = vec![0; usize::try_from(extent.length).unwrap_or(usize::MAX)];
    if deflated {
        let mut source = open_file(reader, limits)?.into_source();
        source.skip(extent.offset)?;
        source.read(&mut bytes)?;
    } else {
        reader.seek(SeekFrom::Start(extent.offset))?;
        reader.read_exact(&mut bytes)?;
    }
    Ok(bytes)
}

/// The transfer syntax that the file meta information names. Its group length is not believed: it ends where group 2 ends.
fn file_meta_syntax(
    source: &mut Source<'_>,
    limits: &ScanLimits,
) -> Result<TransferSyntaxUid, ScanError> {
    let mut walker = Walker::new(source, Encoding::EXPLICIT_LE, limits);
    let mut syntax = None;
    while walker.next_group()? == Some(TRANSFER_SYNTAX.group()) {
        if let Some(Token::Element {
            tag: TRANSFER_SYNTAX,
            ..
        }) = walker.next()?
        {
            let value = walker.value(limits.fact_bytes_max)?;
            if syntax.replace(value).is_some() {
                return Err(ScanError::AmbiguousIdentity(TRANSFER_SYNTAX));
            }
        }
    }
    let syntax = syntax.ok_or(ScanError::MissingIdentity(TRANSFER_SYNTAX))?;
    TransferSyntaxUid::new(String::from_utf8_lossy(&syntax)).map_err(|why| ScanError::InvalidUid {
        tag: TRANSFER_SYNTAX,
        why,
    })
}

#[cfg(test)]
mod tests;
