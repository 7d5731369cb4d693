//! Where the data set of a DICOM file begins, and what the file says it is (PS3.10 section 7.1).
//!
//! Only the file meta information is read, and never more than a fixed number of bytes: what follows is sent as it is.

use pericard_domain::uid::{InstanceUid, SopClassUid, TransferSyntaxUid};
use std::io::{self, Read};
use std::path::Path;

/// The preamble that any file may begin with.
const PREAMBLE_BYTES: usize = 128;
/// Preamble and prefix together; file meta information has some hundred bytes, and private information now and then.
const READ_BYTES_MAX: u64 = 256 * 1024;

/// Why a file is not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("not a DICOM file: it has no DICM prefix after its preamble")]
    NotDicom,
    #[error("its file meta information is malformed")]
    Malformed,
    #[error("its file meta information does not say its {0}")]
    Unsaid(&'static str),
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

/// What a file says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileHead {
    pub(crate) sop_class: SopClassUid,
    pub(crate) instance: InstanceUid,
    pub(crate) transfer_syntax: TransferSyntaxUid,
    /// Where the data set begins.
    pub(crate) data_offset: u64,
    /// How long the data set is.
    pub(crate) data_bytes: u64,
}

impl FileHead {
    /// Reads the head of a file. Blocking.
    pub(crate) fn of(path: &Path) -> Result<Self, FileError> {
        let file = std::fs::File::open(path)?;
        let file_bytes = file.metadata()?.len();
        let mut head = Vec::new();
        file.take(READ_BYTES_MAX).read_to_end(&mut head)?;
        Self::parse(&head, file_bytes)
    }

    fn parse(head: &[u8], file_bytes: u64) -> Result<Self, FileError> {
        let mut rest = head
            .get(PREAMBLE_BYTES..)
            .and_then(|after| after.strip_prefix(b"DICM"))
            .ok_or(FileError::NotDicom)?;
        let [mut sop_class, mut instance, mut transfer_syntax] = [None; 3];
        while let [2, 0, ..] = rest {
            let (element, value, after) = element(rest).ok_or(FileError::Malformed)?;
            match element {
                0x0002 => sop_class = Some(value),
                0x0003 => instance = Some(value),
                0x0010 => transfer_syntax = Some(value),
                _ => {}
            }
            rest = after;
        }
        let data_offset = (head.len() - rest.len()) as u64;
        Ok(Self {
            sop_class: said(sop_class, "SOP class")
                .and_then(|u| SopClassUid::new(u).map_err(|_| FileError::Unsaid("SOP class")))?,
            instance: said(instance, "SOP instance")
                .and_then(|u| InstanceUid::new(u).map_err(|_| FileError::Unsaid("SOP instance")))?,
            transfer_syntax: said(transfer_syntax, "transfer syntax").and_then(|u| {
                TransferSyntaxUid::new(u).map_err(|_| FileError::Unsaid("transfer syntax"))
            })?,
            data_offset,
            data_bytes: file_bytes.saturating_sub(data_offset),
        })
    }
}

fn said<'a>(value: Option<&'a [u8]>, what: &'static str) -> Result<&'a str, FileError> {
    value
        .and_then(|v| std::str::from_utf8(v).ok())
        .ok_or(FileError::Unsaid(what))
}

/// An element of group 2, Explicit VR Little Endian: its number, its value, and what follows it.
fn element(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let number = u16::from_le_bytes([*bytes.get(2)?, *bytes.get(3)?]);
    let vr = bytes.get(4..6)?;
    let is_long = matches!(vr, b"OB" | b"OW" | b"UN" | b"UT" | b"SQ");
    let (length, begin) = if is_long {
        let length: [u8; 4] = bytes.get(8..12)?.try_into().ok()?;
        (usize::try_from(u32::from_le_bytes(length)).ok()?, 12)
    } else {
        (
            usize::from(u16::from_le_bytes([*bytes.get(6)?, *bytes.get(7)?])),
            8,
        )
    };
    let end = length.checked_add(begin)?;
    Some((number, bytes.get(begin..end)?, bytes.get(end..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pericard_dicom::meta::file_meta;

    fn file() -> Vec<u8> {
        let mut file = file_meta(
            &SopClassUid::new("1.2.840.10008.5.1.4.1.1.7").unwrap(),
            &InstanceUid::new("1.2.3").unwrap(),
            &TransferSyntaxUid::new("1.2.840.10008.1.2.1").unwrap(),
            None,
        );
        file.extend_from_slice(&[8, 0, 0x16, 0, b'U', b'I', 0, 0]);
        file
    }

    #[test]
    fn the_data_set_begins_where_group_2_ends() {
        let file = file();
        let head = FileHead::parse(&file, file.len() as u64).unwrap();
        assert_eq!((head.instance.as_str(), head.data_bytes), ("1.2.3", 8));
        assert_eq!(
            &file[usize::try_from(head.data_offset).unwrap()..][..2],
            &[8, 0]
        );
    }

    #[test]
    fn no_cut_is_taken_for_a_file() {
        let file = file();
        for end in 0..file.len() - 8 {
            let head = FileHead::parse(&file[..end], end as u64);
            // Whole elements may be missing at the end, but only those that nobody needs.
            assert!(
                head.is_err() || head.is_ok_and(|h| h.data_bytes < 2),
                "{end}"
            );
        }
    }
}
