//! RLE Lossless (PS3.5 annex G): for every sample width, and never more bytes out than the frame has.

use super::error::Fault;
use super::layout::Layout;
use super::samples::{Bits, Samples, wide};

const HEADER_BYTES: usize = 64;
const SEGMENTS_MAX: usize = 15;
const STEP: &str = "RLE";

/// Decodes one frame: its samples pixel by pixel.
pub(crate) fn decode(layout: &Layout, frame: &[u8]) -> Result<Samples, Fault> {
    let bytes_each = (layout.allocated / 8) as usize;
    let wanted = layout.channels * bytes_each;
    let segments = segments(frame)?;
    if bytes_each == 0 || segments.len() != wanted {
        let why = format!("{} segments where {wanted} are needed", segments.len());
        return Err(Fault::new(STEP, why));
    }
    // One cell a sample; the segments bring its bytes, the highest first (section G.2).
    let mut cells = vec![0_u32; layout.samples()];
    for (index, segment) in segments.into_iter().enumerate() {
        let channel = index / bytes_each;
        let plane = unpack_bits(segment, layout.pixels())?;
        let own = cells.iter_mut().skip(channel).step_by(layout.channels);
        for (cell, byte) in own.zip(plane) {
            *cell = *cell << 8 | u32::from(byte);
        }
    }
    Ok(wide(cells.into_iter(), Bits::of_cells(layout)))
}

/// The segments that the header names, each ending where the next begins.
fn segments(frame: &[u8]) -> Result<Vec<&[u8]>, Fault> {
    let header = frame
        .first_chunk::<HEADER_BYTES>()
        .ok_or_else(|| Fault::new(STEP, "the frame is shorter than its header"))?;
    let words: Vec<usize> = header
        .as_chunks::<4>()
        .0
        .iter()
        .map(|w| u32::from_le_bytes(*w) as usize)
        .collect();
    let count = words[0];
    if count == 0 || count > SEGMENTS_MAX {
        return Err(Fault::new(
            STEP,
            "the header does not have 1 to 15 segments",
        ));
    }
    let offsets = &words[1..=count];
    let ends = offsets[1..].iter().copied().chain([frame.len()]);
    offsets
        .iter()
        .zip(ends)
        .map(|(start, end)| {
            frame
                .get(*start..end)
                .filter(|_| *start >= HEADER_BYTES)
                .ok_or_else(|| Fault::new(STEP, "a segment lies outside the frame"))
        })
        .collect()
}

/// PackBits, to exactly `length` bytes; what comes after them is padding.
fn unpack_bits(segment: &[u8], length: usize) -> Result<Vec<u8>, Fault> {
    let short = || Fault::new(STEP, "a segment ends before the frame is full");
    let mut plane = Vec::with_capacity(length);
    let mut rest = segment;
    while plane.len() < length {
        let (&control, after) = rest.split_first().ok_or_else(short)?;
        let room = length - plane.len();
        match control {
            0..=127 => {
                let count = usize::from(control) + 1;
                let literal = after.get(..count.min(room)).ok_or_else(short)?;
                plane.extend_from_slice(literal);
                rest = after.get(count..).unwrap_or_default();
            }
            128 => rest = after,
            129..=255 => {
                let (&byte, after) = after.split_first().ok_or_else(short)?;
                let count = 257 - usize::from(control);
                plane.resize(plane.len() + count.min(room), byte);
                rest = after;
            }
        }
    }
    Ok(plane)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_literals_and_padding() {
        let packed = [2, 1, 2, 3, 128, 254, 9, 0, 7, 0, 0];
        assert_eq!(
            unpack_bits(&packed, 7).expect("unpacks"),
            [1, 2, 3, 9, 9, 9, 7]
        );
        assert!(unpack_bits(&packed[..6], 7).is_err());
        // A run that goes beyond the frame is cut there.
        assert_eq!(unpack_bits(&[129, 5], 3).expect("unpacks"), [5; 3]);
    }

    #[test]
    fn segments_must_lie_in_the_frame() {
        let frame = |count: u32, offset: u32| {
            let mut bytes = vec![0; 70];
            bytes[..4].copy_from_slice(&count.to_le_bytes());
            bytes[4..8].copy_from_slice(&offset.to_le_bytes());
            bytes
        };
        assert!(segments(&frame(1, 64)).is_ok());
        for (count, offset) in [
            (0, 64),
            (16, 64),
            (u32::MAX, 64),
            (1, 71),
            (1, 8),
            (1, u32::MAX),
            (2, 64),
        ] {
            assert!(segments(&frame(count, offset)).is_err(), "{count} {offset}");
        }
        assert!(segments(&[0; 63]).is_err());
    }
}
