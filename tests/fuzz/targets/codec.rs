//! Each pixel codec: the first bytes say which, in how many pieces its stream comes, and what the header claims, and the rest
//! is the stream. The file around it is made here, so that every byte that is tried reaches a codec.
#![no_main]

use pericard_dicom::pixels::Pixels;
use pericard_dicom::scan::ScanLimits;
use std::io::Cursor;
use std::panic::PanicHookInfo;

/// Every syntax whose frames are decoded. New ones at the end: seeds name them by their place.
const SYNTAXES: [&str; 17] = [
    UNCOMPRESSED,
    "1.2.840.10008.1.2.5",     // RLE
    "1.2.840.10008.1.2.4.50",  // JPEG baseline
    "1.2.840.10008.1.2.4.51",  // JPEG extended
    "1.2.840.10008.1.2.4.70",  // JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.80",  // JPEG-LS lossless
    "1.2.840.10008.1.2.4.81",  // JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90",  // JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91",  // JPEG 2000
    "1.2.840.10008.1.2.4.57",  // JPEG lossless, every prediction
    "1.2.840.10008.1.2.4.92",  // JPEG 2000 part 2 lossless
    "1.2.840.10008.1.2.4.93",  // JPEG 2000 part 2
    "1.2.840.10008.1.2.4.201", // high-throughput JPEG 2000 lossless
    "1.2.840.10008.1.2.4.202", // ... with resolutions in order
    "1.2.840.10008.1.2.4.203", // high-throughput JPEG 2000
    "1.2.840.10008.1.2.8.1",   // each frame deflated
    "1.2.840.10008.1.2.1.98",  // encapsulated and uncompressed
];
const UNCOMPRESSED: &str = "1.2.840.10008.1.2.1";
/// What a header says of bits allocated, by two bits of the claims: 8 or 16 by a third where this is `None`.
const ALLOCATED: [Option<u16>; 4] = [None, Some(1), Some(32), Some(64)];
/// Where the sources of this repository are, in the names of files that panics come from.
const OURS: &str = "appliance/";

/// In what pieces a stream comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pieces {
    One,
    /// Two fragments of one frame.
    Two,
    /// Two frames, a fragment each.
    TwoFrames,
    /// The same, with a table of where they begin.
    TwoFramesByTable,
}

const PIECES: [Pieces; 4] = [
    Pieces::One,
    Pieces::Two,
    Pieces::TwoFrames,
    Pieces::TwoFramesByTable,
];

// The decoders are other people's, and where one of them panics the file is refused (`guarded` in `pixels/codec.rs`), here as
// in the appliance: not a finding. libFuzzer's own hook would end the process before that. A panic in code of ours is one, also
// where it would be contained with theirs, and so is any that nobody contains.
libfuzzer_sys::fuzz_target!(init: std::panic::set_hook(Box::new(end_if_ours)), |bytes: &[u8]| {
    let [which, claims, rows, columns, stream @ ..] = bytes else {
        return;
    };
    let (pieces, syntax) = (
        usize::from(*which) / SYNTAXES.len(),
        usize::from(*which) % SYNTAXES.len(),
    );
    let file = file(
        (SYNTAXES[syntax], PIECES[pieces % PIECES.len()]),
        *claims,
        (u16::from(*rows) + 1, u16::from(*columns) + 1),
        stream,
    );
    if let Ok(mut pixels) = Pixels::from_reader(Cursor::new(file), &ScanLimits::default()) {
        for frame in [1, pixels.frames()] {
            let _ = pixels.frame(frame);
            let _ = pixels.values(frame);
        }
    }
});

fn end_if_ours(panic: &PanicHookInfo<'_>) {
    if panic
        .location()
        .is_some_and(|place| place.file().contains(OURS))
    {
        eprintln!("{panic}");
        std::process::abort();
    }
}

/// A DICOM file in Explicit VR Little Endian around that stream (PS3.5 section 7, annex A.4).
fn file(
    (syntax, pieces): (&str, Pieces),
    claims: u8,
    (rows, columns): (u16, u16),
    stream: &[u8],
) -> Vec<u8> {
    let is_colour = claims & 1 == 1;
    let small = if claims & 2 == 0 { 8 } else { 16 };
    let allocated = ALLOCATED[usize::from(claims >> 5 & 3)].unwrap_or(small);
    let stored = match claims & 4 {
        0 => allocated,
        _ => allocated.saturating_sub(4).max(1),
    };
    let frames = match pieces {
        Pieces::One | Pieces::Two => "1",
        Pieces::TwoFrames | Pieces::TwoFramesByTable => "2",
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
    text(&mut out, (0x28, 8), b"IS", frames);
    number(&mut out, 0x10, rows);
    number(&mut out, 0x11, columns);
    number(&mut out, 0x100, allocated);
    number(&mut out, 0x101, stored);
    number(&mut out, 0x102, stored - 1);
    number(&mut out, 0x103, u16::from(claims >> 4 & 1));
    if syntax == UNCOMPRESSED {
        long(&mut out, stream.len() as u32);
        out.extend(stream);
    } else {
        long(&mut out, u32::MAX);
        fragments(&mut out, pieces, stream);
        out.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
    }
    out
}

/// The table of offsets, empty but where it is asked for, and the stream in its pieces (PS3.5 annex A.4).
fn fragments(out: &mut Vec<u8>, pieces: Pieces, stream: &[u8]) {
    const ITEM_HEAD_BYTES: usize = 8;
    let (first, second) = stream.split_at(stream.len() / 2);
    let second_at = (ITEM_HEAD_BYTES + first.len().next_multiple_of(2)) as u32;
    let table = [[0; 4], second_at.to_le_bytes()].concat();
    item(
        out,
        if pieces == Pieces::TwoFramesByTable {
            &table
        } else {
            &[]
        },
    );
    if pieces == Pieces::One {
        return item(out, stream);
    }
    item(out, first);
    item(out, second);
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
