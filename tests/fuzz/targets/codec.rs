//! Each pixel codec: the first bytes say which and what the header claims, and the rest is the stream. The file around it
//! is made here, so that every byte that is tried reaches a codec.
#![no_main]

use pericard_dicom::pixels::Pixels;
use pericard_dicom::scan::ScanLimits;
use std::io::Cursor;

const SYNTAXES: [&str; 9] = [
    "1.2.840.10008.1.2.1",    // uncompressed
    "1.2.840.10008.1.2.5",    // RLE
    "1.2.840.10008.1.2.4.50", // JPEG baseline
    "1.2.840.10008.1.2.4.51", // JPEG extended
    "1.2.840.10008.1.2.4.70", // JPEG lossless
    "1.2.840.10008.1.2.4.80", // JPEG-LS lossless
    "1.2.840.10008.1.2.4.81", // JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90", // JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91", // JPEG 2000
];

// The decoders are other people's, and where one of them panics the file is refused (`guarded` in `pixels/codec.rs`):
// not a finding. libFuzzer's own hook would end the process before that. A panic that nobody contains still ends it.
libfuzzer_sys::fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |bytes: &[u8]| {
    let [which, claims, rows, columns, stream @ ..] = bytes else {
        return;
    };
    let syntax = SYNTAXES[usize::from(*which) % SYNTAXES.len()];
    let file = file(
        syntax,
        *claims,
        (u16::from(*rows) + 1, u16::from(*columns) + 1),
        stream,
    );
    if let Ok(mut pixels) = Pixels::from_reader(Cursor::new(file), &ScanLimits::default()) {
        let _ = pixels.frame(1);
    }
});

/// A DICOM file in Explicit VR Little Endian around that stream (PS3.5 section 7, annex A.4).
fn file(syntax: &str, claims: u8, (rows, columns): (u16, u16), stream: &[u8]) -> Vec<u8> {
    let is_colour = claims & 1 == 1;
    let allocated: u16 = if claims & 2 == 0 { 8 } else { 16 };
    let stored = if claims & 4 == 0 {
        allocated
    } else {
        allocated - 4
    };
    let mut meta = Vec::new();
    text(&mut meta, (2, 2), b"UI", "1.2.840.10008.5.1.4.1.1.7");
    text(&mut meta, (2, 3), b"UI", "1.2.3.4");
    text(&mut meta, (2, 0x10), b"UI", syntax);
    let mut out = vec![0; 128];
    out.extend(b"DICM");
    element(&mut out, (2, 0), b"UL", &(meta.len() as u32).to_le_bytes());
    out.extend(meta);
    text(&mut out, (8, 0x16), b"UI", "1.2.840.10008.5.1.4.1.1.7");
    text(&mut out, (8, 0x18), b"UI", "1.2.3.4");
    text(&mut out, (0x20, 0xD), b"UI", "1.2.3");
    text(&mut out, (0x20, 0xE), b"UI", "1.2.3.1");
    number(&mut out, 2, if is_colour { 3 } else { 1 });
    text(
        &mut out,
        (0x28, 4),
        b"CS",
        if is_colour { "RGB" } else { "MONOCHROME2" },
    );
    if is_colour {
        number(&mut out, 6, u16::from(claims >> 3 & 1));
    }
    number(&mut out, 0x10, rows);
    number(&mut out, 0x11, columns);
    number(&mut out, 0x100, allocated);
    number(&mut out, 0x101, stored);
    number(&mut out, 0x102, stored - 1);
    number(&mut out, 0x103, u16::from(claims >> 4 & 1));
    if syntax == SYNTAXES[0] {
        long(&mut out, stream.len() as u32);
        out.extend(stream);
    } else {
        long(&mut out, u32::MAX);
        item(&mut out, &[]);
        item(&mut out, stream);
        out.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
    }
    out
}

fn element(out: &mut Vec<u8>, (group, element): (u16, u16), kind: &[u8; 2], value: &[u8]) {
    out.extend(group.to_le_bytes());
    out.extend(element.to_le_bytes());
    out.extend(kind);
    out.extend((value.len() as u16).to_le_bytes());
    out.extend(value);
}

fn text(out: &mut Vec<u8>, tag: (u16, u16), kind: &[u8; 2], value: &str) {
    let mut value = value.as_bytes().to_vec();
    if value.len() % 2 == 1 {
        value.push(if kind == b"UI" { 0 } else { b' ' });
    }
    element(out, tag, kind, &value);
}

fn number(out: &mut Vec<u8>, of_group_28: u16, value: u16) {
    element(out, (0x28, of_group_28), b"US", &value.to_le_bytes());
}

/// The head of the pixel data.
fn long(out: &mut Vec<u8>, length: u32) {
    out.extend([0xE0, 0x7F, 0x10, 0x00]);
    out.extend(b"OB\0\0");
    out.extend(length.to_le_bytes());
}

fn item(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend([0xFE, 0xFF, 0x00, 0xE0]);
    out.extend(((bytes.len() + bytes.len() % 2) as u32).to_le_bytes());
    out.extend(bytes);
    out.extend(&[0][..bytes.len() % 2]);
}
