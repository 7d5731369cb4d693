//! File meta information (PS3.10 section 7.1) for a data set that is kept as it was received.

use pericard_domain::ae::AeTitle;
use pericard_domain::uid::{InstanceUid, SopClassUid, TransferSyntaxUid};

/// Identifies this implementation to whoever reads its files or talks to it (PS3.7 section D.3.3.2).
pub const IMPLEMENTATION_CLASS_UID: &str = "2.25.72236345801055364284463559426585127171";
/// The version that goes with it, at most 16 characters.
pub const IMPLEMENTATION_VERSION_NAME: &str = "PERICARD_0_1";

const PREAMBLE_BYTES: usize = 128;

/// The preamble, the prefix and the file meta information that make a received data set a DICOM file.
///
/// `source` is who sent it, for Source Application Entity Title (0002,0016).
#[must_use]
pub fn file_meta(
    sop_class: &SopClassUid,
    instance: &InstanceUid,
    transfer_syntax: &TransferSyntaxUid,
    source: Option<&AeTitle>,
) -> Vec<u8> {
    let mut group = Vec::with_capacity(512);
    // File Meta Information Version: OB, so with a 32-bit length.
    group.extend_from_slice(&[2, 0, 1, 0, b'O', b'B', 0, 0, 2, 0, 0, 0, 0, 1]);
    text(&mut group, 0x0002, *b"UI", sop_class.as_str());
    text(&mut group, 0x0003, *b"UI", instance.as_str());
    text(&mut group, 0x0010, *b"UI", transfer_syntax.as_str());
    text(&mut group, 0x0012, *b"UI", IMPLEMENTATION_CLASS_UID);
    text(&mut group, 0x0013, *b"SH", IMPLEMENTATION_VERSION_NAME);
    if let Some(source) = source {
        text(&mut group, 0x0016, *b"AE", source.as_str());
    }
    let mut file = vec![0; PREAMBLE_BYTES];
    file.extend_from_slice(b"DICM");
    file.extend_from_slice(&[2, 0, 0, 0, b'U', b'L', 4, 0]);
    // Seven short elements: far below 4 GiB.
    file.extend_from_slice(&(group.len() as u32).to_le_bytes());
    file.extend_from_slice(&group);
    file
}

/// An element of group 2 with a short text, padded to an even length: UIDs with NUL, other texts with a space.
fn text(group: &mut Vec<u8>, element: u16, vr: [u8; 2], value: &str) {
    let padding = value.len() % 2;
    // UIDs, titles and names are at most 64 characters.
    let length = (value.len() + padding) as u16;
    group.extend_from_slice(&[2, 0]);
    group.extend_from_slice(&element.to_le_bytes());
    group.extend_from_slice(&vr);
    group.extend_from_slice(&length.to_le_bytes());
    group.extend_from_slice(value.as_bytes());
    if padding == 1 {
        group.push(if &vr == b"UI" { 0 } else { b' ' });
    }
}
