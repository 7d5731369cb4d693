//! Baseline and extended sequential DCT with Huffman coding, 8 and 12 bits a sample (ISO/IEC 10918-1 annex F).
//!
//! The kept decoder knows 8 bits only; JPEG Extended (1.2.840.10008.1.2.4.51) has 12.

use super::super::error::Fault;
use super::bits::{BitReader, Huffman, STEP};
use super::{Component, JpegHeader, SOS, Segments, cosine};

const DHT: u8 = 0xC4;
const DQT: u8 = 0xDB;
const DRI: u8 = 0xDD;

/// Where the coefficients of a block go, in the order in which they come.
const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Decodes the stream that `header` was read from: samples pixel by pixel, colours as they are coded.
pub(crate) fn decode(header: &JpegHeader, stream: &[u8]) -> Result<Vec<i32>, Fault> {
    let mut decoder = Decoder::new(header)?;
    let mut segments = Segments::of(stream)?;
    while decoder.planes.iter().any(|p| !p.complete) {
        let Some((marker, body)) = segments.next()? else {
            return Err(Fault::new(STEP, "a component has no scan"));
        };
        match marker {
            DHT => decoder.tables.huffman(body)?,
            DQT => decoder.tables.quantization(body)?,
            DRI => decoder.restart = interval(body)?,
            SOS => {
                let rest = decoder.scan(body, segments.rest())?;
                segments.resume(rest);
            }
            _ => {}
        }
    }
    Ok(decoder.pixels())
}

fn interval(body: &[u8]) -> Result<usize, Fault> {
    let bytes = body
        .first_chunk()
        .ok_or_else(|| Fault::new(STEP, "a broken restart interval"))?;
    Ok(usize::from(u16::from_be_bytes(*bytes)))
}

#[derive(Default)]
struct Tables {
    dc: [Option<Huffman>; 4],
    ac: [Option<Huffman>; 4],
    /// In zigzag order, as they come.
    quantization: [Option<[f32; 64]>; 4],
}

impl Tables {
    fn huffman(&mut self, mut body: &[u8]) -> Result<(), Fault> {
        let broken = || Fault::new(STEP, "a broken Huffman table");
        while let Some((&selector, rest)) = body.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or_else(broken)?;
            let total = counts.iter().map(|c| usize::from(*c)).sum();
            let values = rest.get(..total).ok_or_else(broken)?;
            let class = if selector >> 4 == 0 {
                &mut self.dc
            } else {
                &mut self.ac
            };
            let slot = class
                .get_mut(usize::from(selector & 15))
                .ok_or_else(broken)?;
            *slot = Some(Huffman::new(counts, values)?);
            body = &rest[total..];
        }
        Ok(())
    }

    fn quantization(&mut self, mut body: &[u8]) -> Result<(), Fault> {
        let broken = || Fault::new(STEP, "a broken quantization table");
        while let Some((&selector, rest)) = body.split_first() {
            let bytes = if selector >> 4 == 0 { 1 } else { 2 };
            let values = rest.get(..64 * bytes).ok_or_else(broken)?;
            let slot = self
                .quantization
                .get_mut(usize::from(selector & 15))
                .ok_or_else(broken)?;
            let value = |c: &[u8]| c.iter().fold(0.0, |v, b| v * 256.0 + f32::from(*b));
            let mut table = [0.0; 64];
            for (entry, bytes) in table.iter_mut().zip(values.chunks_exact(bytes)) {
                *entry = value(bytes);
            }
            *slot = Some(table);
            body = &rest[64 * bytes..];
        }
        Ok(())
    }
}

/// One component's samples, in whole blocks.
struct Plane {
    component: Component,
    /// Blocks that a scan of this component alone has, across and down.
    own: (usize, usize),
    /// Samples a row: blocks that an interleaved scan has, times 8.
    stride: usize,
    samples: Vec<i32>,
    complete: bool,
}

struct Decoder<'h> {
    header: &'h JpegHeader,
    across: usize,
    down: usize,
    planes: Vec<Plane>,
    tables: Tables,
    restart: usize,
}

/// A component's part in a scan.
struct Part {
    plane: usize,
    dc: Huffman,
    ac: Huffman,
    quantization: [f32; 64],
    predictor: i32,
}

impl<'h> Decoder<'h> {
    /// Allocates by the size in the header, which has been held against Rows and Columns.
    fn new(header: &'h JpegHeader) -> Result<Self, Fault> {
        let most =
            |of: fn(&Component) -> usize| header.components.iter().map(of).max().unwrap_or(1);
        let (across, down) = (most(|c| c.across), most(|c| c.down));
        let plane = |component: &Component| {
            let blocks = |size: usize, own: usize, most: usize| {
                let units = size.div_ceil(8 * most);
                ((size * own).div_ceil(most).div_ceil(8), units * own)
            };
            let (own_across, all_across) = blocks(header.columns, component.across, across);
            let (own_down, all_down) = blocks(header.rows, component.down, down);
            Plane {
                component: *component,
                own: (own_across, own_down),
                stride: all_across * 8,
                samples: vec![0; all_across * 8 * all_down * 8],
                complete: false,
            }
        };
        if header.components.iter().any(|c| c.quantization > 3) {
            return Err(Fault::new(STEP, "a quantization table beyond the fourth"));
        }
        Ok(Self {
            header,
            across,
            down,
            planes: header.components.iter().map(plane).collect(),
            tables: Tables::default(),
            restart: 0,
        })
    }

    /// Decodes one scan; what comes after it.
    fn scan<'b>(&mut self, body: &[u8], data: &'b [u8]) -> Result<&'b [u8], Fault> {
        let mut parts = self.parts(body)?;
        let (units, alone) = match &parts[..] {
            [part] => (self.planes[part.plane].own, true),
            _ => (
                (
                    self.header.columns.div_ceil(8 * self.across),
                    self.header.rows.div_ceil(8 * self.down),
                ),
                false,
            ),
        };
        let mut bits = BitReader::new(data);
        for unit in 0..units.0 * units.1 {
            if self.restart > 0 && unit > 0 && unit % self.restart == 0 {
                bits.restart()?;
                parts.iter_mut().for_each(|p| p.predictor = 0);
            }
            let (x, y) = (unit % units.0, unit / units.0);
            for part in &mut parts {
                self.unit(part, alone, (x, y), &mut bits)?;
            }
        }
        for part in &parts {
            self.planes[part.plane].complete = true;
        }
        Ok(bits.after())
    }

    fn parts(&self, body: &[u8]) -> Result<Vec<Part>, Fault> {
        let broken = || Fault::new(STEP, "a scan header asks for what is not there");
        let (&count, rest) = body.split_first().ok_or_else(broken)?;
        let selectors = rest
            .as_chunks::<2>()
            .0
            .get(..usize::from(count))
            .ok_or_else(broken)?;
        if selectors.is_empty() || selectors.len() > self.planes.len() {
            return Err(broken());
        }
        let table = |tables: &[Option<Huffman>; 4], index: u8| {
            tables
                .get(usize::from(index))
                .cloned()
                .flatten()
                .ok_or_else(broken)
        };
        let part = |[id, selector]: &[u8; 2]| {
            let of = |p: &Plane| p.component.id == *id && !p.complete;
            let plane = self.planes.iter().position(of).ok_or_else(broken)?;
            let quantization = self.planes[plane].component.quantization;
            Ok(Part {
                plane,
                dc: table(&self.tables.dc, selector >> 4)?,
                ac: table(&self.tables.ac, selector & 15)?,
                quantization: self.tables.quantization[quantization].ok_or_else(broken)?,
                predictor: 0,
            })
        };
        selectors.iter().map(part).collect()
    }

    /// One component's blocks of a minimum coded unit.
    fn unit(
        &mut self,
        part: &mut Part,
        alone: bool,
        (x, y): (usize, usize),
        bits: &mut BitReader<'_>,
    ) -> Result<(), Fault> {
        let plane = &mut self.planes[part.plane];
        let (across, down) = if alone {
            (1, 1)
        } else {
            (plane.component.across, plane.component.down)
        };
        let (middle, top) = (
            (1_i32 << (self.header.precision - 1)) as f32,
            ((1_i32 << self.header.precision) - 1) as f32,
        );
        for block in 0..across * down {
            let (column, row) = (x * across + block % across, y * down + block / across);
            let mut values = coefficients(part, bits)?;
            cosine::inverse(&mut values);
            for (line, values) in values.as_chunks::<8>().0.iter().enumerate() {
                let start = (row * 8 + line) * plane.stride + column * 8;
                let out = plane.samples.get_mut(start..start + 8);
                for (sample, value) in out.into_iter().flatten().zip(values) {
                    // Clamped to the precision, so it fits.
                    *sample = (value + middle).round().clamp(0.0, top) as i32;
                }
            }
        }
        Ok(())
    }

    /// The planes side by side, smaller ones stretched, without what the blocks have beyond the picture.
    fn pixels(&self) -> Vec<i32> {
        let mut pixels =
            Vec::with_capacity(self.header.rows * self.header.columns * self.planes.len());
        for y in 0..self.header.rows {
            for x in 0..self.header.columns {
                pixels.extend(self.planes.iter().map(|p| {
                    let row = y * p.component.down / self.down;
                    let column = x * p.component.across / self.across;
                    p.samples[row * p.stride + column]
                }));
            }
        }
        pixels
    }
}

/// The coefficients of one block, dequantized (section F.2.2).
fn coefficients(part: &mut Part, bits: &mut BitReader<'_>) -> Result<[f32; 64], Fault> {
    let mut block = [0.0; 64];
    let size = part.dc.decode(bits)?;
    if size > 15 {
        return Err(Fault::new(STEP, "a difference of more than 15 bits"));
    }
    let difference = bits.signed(u32::from(size))?;
    // Cannot overflow honestly; a hostile stream may add up what it likes.
    part.predictor = part.predictor.wrapping_add(difference);
    block[0] = part.predictor as f32 * part.quantization[0];
    let mut index = 1;
    while index < 64 {
        let code = part.ac.decode(bits)?;
        let (zeros, size) = (usize::from(code >> 4), code & 15);
        match (zeros, size) {
            (15, 0) => index += 16,
            (_, 0) => break,
            _ => {
                index += zeros;
                let place = *ZIGZAG
                    .get(index)
                    .ok_or_else(|| Fault::new(STEP, "a block of more than 64 coefficients"))?;
                let value = bits.signed(u32::from(size))?;
                block[place] = value as f32 * part.quantization[index];
                index += 1;
            }
        }
    }
    Ok(block)
}
