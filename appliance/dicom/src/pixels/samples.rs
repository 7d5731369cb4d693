//! Decoded samples, and how bytes become them.

use super::error::Fault;
use super::layout::{Kind, Layout};
use crate::scan::syntax::Encoding;
use std::io::Read;

/// The samples of one frame, row by row, the channels of a pixel beside each other.
#[derive(Debug, Clone, PartialEq)]
pub enum Samples {
    /// Whole numbers, sign and unused bits already dealt with.
    Integer(Vec<i32>),
    /// What does not fit: floating point, and unsigned 32-bit integers.
    Real(Vec<f64>),
}

impl Samples {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Integer(v) => v.len(),
            Self::Real(v) => v.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The bits of a sample that count (PS3.5 section 8.1.1).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bits {
    shift: u32,
    stored: u32,
    signed: bool,
}

impl Bits {
    /// As the image attributes say, for samples in their own cells.
    pub(crate) fn of_cells(layout: &Layout) -> Self {
        Self {
            shift: layout.high_bit + 1 - layout.stored,
            stored: layout.stored,
            signed: layout.signed,
        }
    }

    /// For the numbers that a codec gives back: whatever bits were beside the stored ones are no longer there.
    pub(crate) fn of_numbers(layout: &Layout) -> Self {
        Self {
            shift: 0,
            ..Self::of_cells(layout)
        }
    }

    /// The sample in the bits of a cell.
    pub(crate) fn sample(self, cell: u32) -> i32 {
        let unused = 32 - self.stored;
        let raw = (cell >> self.shift) << unused;
        if self.signed {
            raw.cast_signed() >> unused
        } else {
            (raw >> unused).cast_signed()
        }
    }
}

/// Puts the bytes of 16-bit words the other way round: in big endian, two 8-bit samples of an OW value stand so.
pub(crate) fn swap_words(bytes: &mut [u8]) {
    bytes
        .as_chunks_mut::<2>()
        .0
        .iter_mut()
        .for_each(|w| w.reverse());
}

/// Takes uncompressed bytes apart. `bytes` is one frame of [`Layout::native_bits`], from `bit` of its first byte on.
pub(crate) fn unpack(
    layout: &Layout,
    encoding: Encoding,
    bytes: &[u8],
    bit: u32,
) -> Result<Samples, Fault> {
    let needed = (layout.native_bits() + u64::from(bit)).div_ceil(8);
    if (bytes.len() as u64) < needed {
        let why = format!("{needed} bytes are needed and {} are there", bytes.len());
        return Err(Fault::new("pixel data too short", why));
    }
    let samples = cells(layout, encoding, bytes, bit);
    Ok(match samples {
        Samples::Integer(samples) => Samples::Integer(interleaved(layout, samples)),
        real @ Samples::Real(_) => real,
    })
}

fn cells(layout: &Layout, encoding: Encoding, bytes: &[u8], bit: u32) -> Samples {
    let bits = Bits::of_cells(layout);
    let count = if layout.is_subsampled() {
        layout.pixels() * 2
    } else {
        layout.samples()
    };
    let words = |n: usize| bytes.chunks_exact(n).take(count);
    let u32s = words(4).map(|c| encoding.u32([c[0], c[1], c[2], c[3]]));
    match (layout.kind, layout.allocated) {
        (Kind::Float, _) => Samples::Real(u32s.map(|b| f64::from(f32::from_bits(b))).collect()),
        (Kind::Double, _) => Samples::Real(
            bytes
                .as_chunks::<8>()
                .0
                .iter()
                .take(count)
                .map(|c| f64::from_bits(encoding.u64(*c)))
                .collect(),
        ),
        (Kind::Integer, 1) => {
            let one = |i: usize| i32::from(bytes[i / 8] >> (i % 8) & 1);
            let first = bit as usize;
            Samples::Integer((first..first + count).map(one).collect())
        }
        (Kind::Integer, 8) => Samples::Integer(
            bytes
                .iter()
                .take(count)
                .map(|b| bits.sample(u32::from(*b)))
                .collect(),
        ),
        (Kind::Integer, 16) => Samples::Integer(
            words(2)
                .map(|c| bits.sample(u32::from(encoding.u16([c[0], c[1]]))))
                .collect(),
        ),
        (Kind::Integer, _) => wide(u32s, bits),
    }
}

/// 32-bit cells: unsigned ones that use the highest bit do not fit into an `i32`.
pub(crate) fn wide(cells: impl Iterator<Item = u32>, bits: Bits) -> Samples {
    let samples = cells.map(|c| bits.sample(c));
    if bits.signed || bits.stored < 32 {
        Samples::Integer(samples.collect())
    } else {
        Samples::Real(samples.map(|s| f64::from(s.cast_unsigned())).collect())
    }
}

fn interleaved(layout: &Layout, samples: Vec<i32>) -> Vec<i32> {
    if layout.is_subsampled() {
        // Two luminances, then the chrominance that they share.
        return samples
            .as_chunks::<4>()
            .0
            .iter()
            .flat_map(|[y1, y2, b, r]| [*y1, *b, *r, *y2, *b, *r])
            .collect();
    }
    if layout.planar {
        by_pixel(&samples, layout.pixels())
    } else {
        samples
    }
}

/// From plane by plane to pixel by pixel.
pub(crate) fn by_pixel(planes: &[i32], pixels: usize) -> Vec<i32> {
    let (red, rest) = planes.split_at(pixels);
    let (green, blue) = rest.split_at(pixels);
    let pixels = red.iter().zip(green).zip(blue);
    pixels.flat_map(|((r, g), b)| [*r, *g, *b]).collect()
}

/// Inflates one frame of a Deflated Image Frame Compression (PS3.5 section A.4.12), no further than it needs.
pub(crate) fn inflate(layout: &Layout, stream: &[u8]) -> Result<Samples, Fault> {
    let needed = layout.native_bits().div_ceil(8);
    let mut bytes = Vec::new();
    flate2::read::DeflateDecoder::new(stream)
        .take(needed)
        .read_to_end(&mut bytes)
        .map_err(|_| Fault::new("inflate", "the frame is damaged (RFC 1951)"))?;
    unpack(layout, Encoding::EXPLICIT_LE, &bytes, 0)
}
