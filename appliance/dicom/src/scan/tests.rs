//! What the scanner reads, and what it refuses. Hostile input at full size is in `tests/hostile.rs`.

use super::*;
use crate::header::PixelBytes;
use std::io::Cursor;

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";

fn long(vr: &str) -> bool {
    matches!(vr, "OB" | "OW" | "SQ" | "UN" | "UT")
}

/// An element in explicit VR little endian.
fn el(group: u16, element: u16, vr: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&group.to_le_bytes());
    bytes.extend_from_slice(&element.to_le_bytes());
    bytes.extend_from_slice(vr.as_bytes());
    if long(vr) {
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
    } else {
        bytes.extend_from_slice(&(value.len() as u16).to_le_bytes());
    }
    bytes.extend_from_slice(value);
    bytes
}

fn undefined(group: u16, element: u16, vr: &str) -> Vec<u8> {
    let mut bytes = el(group, element, vr, &[]);
    let at = bytes.len() - 4;
    bytes[at..].fill(0xff);
    bytes
}

fn item(length: Option<u32>) -> Vec<u8> {
    let mut bytes = vec![0xfe, 0xff, 0x00, 0xe0];
    bytes.extend_from_slice(&length.unwrap_or(u32::MAX).to_le_bytes());
    bytes
}

const ITEM_END: [u8; 8] = [0xfe, 0xff, 0x0d, 0xe0, 0, 0, 0, 0];
const SEQUENCE_END: [u8; 8] = [0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0];

fn identity() -> Vec<u8> {
    [
        el(8, 0x16, "UI", CT.as_bytes()),
        el(8, 0x18, "UI", b"1.2.3.4\0"),
        el(8, 0x60, "CS", b"CT"),
        el(0x10, 0x10, "PN", b"Doe^Jane "),
        el(0x20, 0x0d, "UI", b"1.2.3.40"),
        el(0x20, 0x0e, "UI", b"1.2.3.41"),
    ]
    .concat()
}

fn scan(bytes: Vec<u8>) -> Result<Header, ScanError> {
    scan_as(bytes, syntax::EXPLICIT_LE)
}

fn scan_as(bytes: Vec<u8>, uid: &str) -> Result<Header, ScanError> {
    let syntax = TransferSyntaxUid::new(uid).expect("a UID");
    scan_data_set(&mut Cursor::new(bytes), &syntax, &ScanLimits::default())
}

#[test]
fn identity_and_facts() {
    let header = scan(identity()).expect("scans");
    assert_eq!(header.identity.instance.as_str(), "1.2.3.4");
    assert_eq!(header.identity.sop_class.as_str(), CT);
    assert_eq!(header.facts.modality.as_deref(), Some("CT"));
    assert_eq!(header.facts.patient_name.as_deref(), Some("Doe^Jane"));
    assert_eq!(header.elements, 6);
    assert!(header.pixel.is_none());
}

#[test]
fn a_file_with_our_own_meta_information() {
    let identity_ = scan(identity()).expect("scans").identity;
    let source = pericard_domain::ae::AeTitle::new("CT_1").expect("a title");
    let mut file = crate::meta::file_meta(
        &identity_.sop_class,
        &identity_.instance,
        &identity_.transfer_syntax,
        Some(&source),
    );
    let group_length = u32::from_le_bytes(file[140..144].try_into().expect("four bytes"));
    assert_eq!(file.len(), 144 + group_length as usize);
    let offset = file.len() as u64;
    file.extend(identity());
    let header = scan_file(&mut Cursor::new(file), &ScanLimits::default()).expect("scans");
    assert_eq!(header.identity, identity_);
    assert_eq!(header.data_set_offset, offset);
}

#[test]
fn sequences_of_every_form() {
    let inner = el(8, 0x18, "UI", b"9.9.9.9\0");
    let defined = el(8, 0x1140, "SQ", &[item(Some(16)), inner.clone()].concat());
    let undefined_ = [
        undefined(8, 0x1140, "SQ"),
        item(None),
        inner,
        ITEM_END.to_vec(),
        item(Some(0)),
        SEQUENCE_END.to_vec(),
    ]
    .concat();
    // Unknown with undefined length: implicit VR inside.
    let unknown = [
        undefined(9, 0x1010, "UN"),
        item(None),
        vec![8, 0, 0x18, 0, 2, 0, 0, 0, b'9', 0],
        ITEM_END.to_vec(),
        SEQUENCE_END.to_vec(),
    ]
    .concat();
    for sequence in [defined, undefined_, unknown] {
        let header = scan([sequence, identity()].concat()).expect("scans");
        assert_eq!(header.identity.instance.as_str(), "1.2.3.4");
        assert_eq!(header.elements, 8);
    }
}

#[test]
fn fragments_are_found() {
    let bytes = [
        identity(),
        undefined(0x7fe0, 0x10, "OB"),
        item(Some(4)),
        vec![0; 4],
        item(Some(6)),
        vec![1; 6],
        item(Some(2)),
        vec![2; 2],
        SEQUENCE_END.to_vec(),
        el(0xfffc, 0xfffc, "OB", &[0; 10]),
    ]
    .concat();
    let base = identity().len() as u64 + 12;
    let header = scan_as(bytes.clone(), syntax::RLE).expect("scans");
    let Some(PixelBytes::Encapsulated {
        offset_table,
        fragments,
    }) = header.pixel.map(|p| p.data)
    else {
        panic!("encapsulated");
    };
    assert_eq!((offset_table.offset, offset_table.length), (base + 8, 4));
    assert_eq!(
        fragments
            .iter()
            .map(|f| (f.offset - base, f.length))
            .collect::<Vec<_>>(),
        [(20, 6), (34, 2)]
    );
    // Cut anywhere in the pixel data: never taken for whole.
    for cut in base as usize - 11..base as usize + 44 {
        let error = scan_as(bytes[..cut].to_vec(), syntax::RLE).expect_err("cut");
        assert!(
            matches!(
                error,
                ScanError::Truncated { .. }
                    | ScanError::Unended { .. }
                    | ScanError::TrailingBytes { .. }
            ),
            "{cut}: {error}"
        );
    }
}

#[test]
fn native_pixels_in_either_byte_order() {
    let mut little = identity();
    little.extend(el(0x28, 0x10, "US", &[0, 2]));
    little.extend(el(0x7fe0, 0x10, "OW", &[7; 64]));
    let header = scan(little.clone()).expect("scans");
    let pixel = header.pixel.expect("has pixels");
    assert_eq!((pixel.rows, pixel.frames), (512, 1));
    assert!(
        matches!(pixel.data, PixelBytes::Native(e) if e.length == 64 && e.offset == little.len() as u64 - 64)
    );
    let claims = |e: ScanError| {
        matches!(
            e,
            ScanError::Truncated {
                claimed: 64,
                present: 63,
                ..
            }
        )
    };
    little.pop();
    assert!(claims(scan(little).expect_err("one byte short")));

    let big = [
        &[0, 8, 0, 0x16, b'U', b'I', 0, 2, b'1', 0][..],
        &[0, 8, 0, 0x18, b'U', b'I', 0, 2, b'2', 0],
        &[0, 0x20, 0, 0x0d, b'U', b'I', 0, 2, b'3', 0],
        &[0, 0x20, 0, 0x0e, b'U', b'I', 0, 2, b'4', 0],
        &[0, 0x28, 0, 0x10, b'U', b'S', 0, 2, 2, 0],
    ]
    .concat();
    let header = scan_as(big, syntax::EXPLICIT_BE).expect("scans");
    assert_eq!(header.facts.rows, Some(512));
}

#[test]
fn what_names_the_object_must_be_there_once_and_be_a_uid() {
    let cases: [(Vec<u8>, &str); 4] = [
        (el(8, 0x16, "UI", CT.as_bytes()), "missing"),
        (
            [identity(), el(8, 0x18, "UI", b"1.2\0\0")].concat(),
            "more than once",
        ),
        (el(0x20, 0x0d, "UI", b"../../etc/passwd"), "not a UID"),
        (el(0x20, 0x0d, "UI", &[b'1'; 66]), "not a UID"),
    ];
    for (bytes, expected) in cases {
        let error = scan(bytes).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("passwd"));
    }
}

#[test]
fn padding_is_not_garbage_and_garbage_is_not_padding() {
    let padded = |tail: &[u8]| scan([&identity()[..], tail].concat());
    for tail in [&[0; 1][..], &[0; 7], &[0; 8], &[0; 2000]] {
        assert!(padded(tail).is_ok(), "{} zeros", tail.len());
    }
    assert!(matches!(
        padded(&[1; 7]),
        Err(ScanError::TrailingBytes { .. })
    ));
    let mut tail = [0; 2000];
    tail[1999] = 1;
    assert!(matches!(
        padded(&tail),
        Err(ScanError::TrailingBytes { .. })
    ));
}

#[test]
fn a_deflated_data_set_must_be_whole_and_small() {
    use std::io::Write;
    let deflate = |bytes: &[u8]| {
        let mut encoder =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).expect("in memory");
        encoder.finish().expect("in memory")
    };
    let whole = deflate(&identity());
    let header = scan_as(whole.clone(), syntax::DEFLATED_LE).expect("scans");
    assert!(header.deflated);
    for cut in 0..whole.len() {
        assert!(
            scan_as(whole[..cut].to_vec(), syntax::DEFLATED_LE).is_err(),
            "cut at {cut}"
        );
    }
    let bomb = deflate(&[identity(), el(0x7fe0, 0x10, "OW", &vec![0; 2_000_000])].concat());
    let limits = ScanLimits {
        inflated_bytes_max: 1_000_000,
        ..ScanLimits::default()
    };
    let syntax = TransferSyntaxUid::new(syntax::DEFLATED_LE).expect("a UID");
    let refused = scan_data_set(&mut Cursor::new(bomb), &syntax, &limits);
    assert!(matches!(refused, Err(ScanError::InflatedTooLarge { .. })));
}

#[test]
fn limits_hold() {
    let nested = |depth: usize| {
        let mut bytes = identity();
        for _ in 0..depth {
            bytes.extend(undefined(9, 0x1010, "SQ"));
            bytes.extend(item(None));
        }
        for _ in 0..depth {
            bytes.extend(ITEM_END);
            bytes.extend(SEQUENCE_END);
        }
        bytes
    };
    assert!(scan(nested(NESTING_MAX)).is_ok());
    assert!(matches!(
        scan(nested(NESTING_MAX + 1)),
        Err(ScanError::TooDeep { .. })
    ));
    let limits = ScanLimits {
        elements_max: 5,
        ..ScanLimits::default()
    };
    let syntax = TransferSyntaxUid::new(syntax::EXPLICIT_LE).expect("a UID");
    let refused = scan_data_set(&mut Cursor::new(identity()), &syntax, &limits);
    assert!(matches!(
        refused,
        Err(ScanError::TooManyElements { max: 5 })
    ));
}

#[test]
fn not_a_file() {
    for bytes in [vec![], vec![0; 131], b"GIF89a".repeat(100)] {
        let refused = scan_file(&mut Cursor::new(bytes), &ScanLimits::default());
        assert!(matches!(refused, Err(ScanError::NotDicom)));
    }
}
