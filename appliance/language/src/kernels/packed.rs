//! Weights, laid out for sixteen outputs at a time.
//!
//! A tile is sixteen rows of the matrix (sixteen outputs). It holds first the quants of all blocks, then their
//! scales (`scales.rs`), as many bits per weight as the file has:
//!
//! ```text
//! quants of one block, 4 bits:  4 x 64 bytes; byte [j][c][b] holds w[c][4j + b] low and w[c][16 + 4j + b] high
//! and for 5 bits:               8 x 64 more bits; bit [g][c][b] is the fifth of w[c][4g + b]
//! and for 6 bits:               2 x 64 more bytes; byte [h][c][b] holds the high two of w[c][4(4h + f) + b] at 2f
//! quants of one block, 8 bits:  8 x 64 bytes; byte [g][c][b] is w[c][4g + b] + 128
//! ```
//! `c` is one of the sixteen outputs and `b` one of four neighbours: what one dot-product instruction takes.

use super::activation::BLOCK;
pub(crate) use super::form::Form;
use super::lanes::{Lanes, Plain};
use super::scales::{self, Scales};

/// Outputs of a tile.
pub(crate) const TILE: usize = 16;

/// Sixty-four bytes, so that every vector load of quants stays within one cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A matrix in tiles.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) form: Form,
    /// Rows of the matrix; the last tile is filled up with zeros.
    pub(crate) outputs: usize,
    /// Row length, a multiple of 32.
    pub(crate) inputs: usize,
    lines: Vec<Line>,
}

impl Packed {
    /// Packs `outputs` rows of `inputs` weights from the bytes of the file.
    pub(crate) fn new(form: Form, outputs: usize, inputs: usize, file: &[u8]) -> Self {
        assert!(
            inputs.is_multiple_of(form.group_weights()),
            "rows come in whole groups"
        );
        let row_bytes = inputs / form.group_weights() * form.file_bytes();
        assert_eq!(file.len(), outputs * row_bytes, "the header was checked");
        let tile_lines = tile_bytes(form, inputs) / 64;
        let mut packed = Self {
            form,
            outputs,
            inputs,
            lines: vec![Line([0; 64]); outputs.div_ceil(TILE) * tile_lines],
        };
        for (output, row) in file.chunks_exact(row_bytes).enumerate() {
            packed.put(output, row);
        }
        packed
    }

    /// The number of tiles.
    pub(crate) fn tiles(&self) -> usize {
        self.outputs.div_ceil(TILE)
    }

    /// Blocks in a row.
    pub(crate) fn blocks(&self) -> usize {
        self.inputs / BLOCK
    }

    /// The bytes of a tile: quants of all blocks, then scales.
    pub(crate) fn tile(&self, tile: usize) -> &[u8] {
        let bytes = tile_bytes(self.form, self.inputs);
        &self.bytes()[tile * bytes..][..bytes]
    }

    /// Memory taken, bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.lines.len() * 64
    }

    /// Writes the weights of one row as floats: what an embedding is.
    pub(crate) fn row(&self, output: usize, into: &mut [f32]) {
        assert_eq!(
            into.len(),
            self.inputs,
            "a row has as many values as the matrix has inputs"
        );
        let tile = self.tile(output / TILE);
        let column = output % TILE;
        for (block, values) in into.chunks_exact_mut(BLOCK).enumerate() {
            let scales = scales_of(self.form, tile, self.blocks(), block);
            let [scale, second] = scales.map(|scales| scales[column]);
            for (k, value) in values.iter_mut().enumerate() {
                let weight =
                    i32::from(weight_of(self.form, tile, block, column, k)) - self.form.offset();
                *value = match self.form.has_halves() {
                    true if k < BLOCK / 2 => weight as f32 * scale,
                    true => weight as f32 * second,
                    false => weight as f32 * scale + second,
                };
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: a line is 64 plain bytes without padding.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * 64) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and any byte is a valid line.
        unsafe {
            std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.lines.len() * 64)
        }
    }

    fn put(&mut self, output: usize, row: &[u8]) {
        let (form, blocks) = (self.form, self.blocks());
        let bytes = tile_bytes(form, self.inputs);
        let tile = &mut self.bytes_mut()[output / TILE * bytes..][..bytes];
        let column = output % TILE;
        for (group, file) in row.chunks_exact(form.file_bytes()).enumerate() {
            let scales = &mut tile[scales_at(form, blocks, group * form.group())..];
            scales::put(form, scales, column, file);
            let quants = &mut tile[group * form.group() * form.quant_bytes()..];
            put_group(form, quants, column, file);
        }
    }
}

fn put_group(form: Form, quants: &mut [u8], column: usize, file: &[u8]) {
    let mut blocks = quants.chunks_exact_mut(form.quant_bytes());
    let mut next = || blocks.next().expect("a tile has room for every group");
    match form {
        Form::Q8_0 => {
            let quants = next();
            for (k, weight) in file[2..].iter().enumerate() {
                quants[k / 4 * 64 + column * 4 + k % 4] = weight ^ 0x80;
            }
        }
        Form::Q4_0 => put_nibbles(next(), column, &file[2..]),
        Form::Q4_1 => put_nibbles(next(), column, &file[4..]),
        Form::Q5_0 | Form::Q5_1 => {
            let quants = next();
            let high = &file[if form.has_minimum() { 4 } else { 2 }..];
            let word = u32::from_le_bytes([high[0], high[1], high[2], high[3]]);
            put_fifths(quants, column, |k| (word >> k & 1) as u8);
            put_nibbles(quants, column, &high[4..]);
        }
        Form::Q4K | Form::Q5K => {
            let (fifths, nibbles) = file[16..].split_at(form.file_bytes() - 16 - 128);
            for block in 0..8 {
                let quants = next();
                put_nibbles(
                    quants,
                    column,
                    &joined(&nibbles[block / 2 * 32..], block % 2),
                );
                if form.has_fifth_bit() {
                    put_fifths(quants, column, |k| fifths[k] >> block & 1);
                }
            }
        }
        Form::Q6K => {
            for block in 0..8 {
                // Each half of a superblock keeps the low bits of its first 64 weights low and of its others high.
                let (half, part) = (block / 4, block % 4);
                let quants = next();
                let low = &file[half * 64 + part % 2 * 32..];
                put_nibbles(quants, column, &joined(low, part / 2));
                let pairs = &file[128 + half * 32..][..BLOCK];
                for (k, pairs) in pairs.iter().enumerate() {
                    let byte = 256 + k / 16 * 64 + column * 4 + k % 4;
                    quants[byte] |= (pairs >> (2 * part) & 3) << (2 * (k / 4 % 4));
                }
            }
        }
    }
}

/// The low or high halves of 32 bytes, the first sixteen low and the others high, as a block of a tile has them.
fn joined(bytes: &[u8], high: usize) -> [u8; 16] {
    std::array::from_fn(|k| match high {
        0 => bytes[k] & 15 | bytes[16 + k] << 4,
        _ => bytes[k] >> 4 | bytes[16 + k] & 0xF0,
    })
}

/// The file keeps weight `k` low and weight `16 + k` high in byte `k`; so does the tile.
fn put_nibbles(quants: &mut [u8], column: usize, file: &[u8]) {
    for (k, pair) in file[..16].iter().enumerate() {
        quants[k / 4 * 64 + column * 4 + k % 4] = *pair;
    }
}

fn put_fifths(quants: &mut [u8], column: usize, fifth: impl Fn(usize) -> u8) {
    for k in 0..BLOCK {
        let bit = column * 4 + k % 4;
        quants[256 + k / 4 * 8 + bit / 8] |= fifth(k) << (bit % 8);
    }
}

fn tile_bytes(form: Form, inputs: usize) -> usize {
    scales_at(form, inputs / BLOCK, inputs / BLOCK).next_multiple_of(64)
}

/// Where the scales of a block's group begin within a tile.
pub(crate) const fn scales_at(form: Form, blocks: usize, block: usize) -> usize {
    blocks * form.quant_bytes() + block / form.group() * form.scale_bytes()
}

/// Weight `k` of a block as it is stored, before its offset.
pub(crate) fn weight_of(form: Form, tile: &[u8], block: usize, column: usize, k: usize) -> u8 {
    let quants = &tile[block * form.quant_bytes()..][..form.quant_bytes()];
    if form == Form::Q8_0 {
        return quants[k / 4 * 64 + column * 4 + k % 4];
    }
    let pair = quants[k % 16 / 4 * 64 + column * 4 + k % 4];
    let low = if k < 16 { pair & 15 } else { pair >> 4 };
    if form.has_fifth_bit() {
        let bit = column * 4 + k % 4;
        return low | (quants[256 + k / 4 * 8 + bit / 8] >> (bit % 8) & 1) << 4;
    }
    if form == Form::Q6K {
        let pairs = quants[256 + k / 16 * 64 + column * 4 + k % 4];
        return low | (pairs >> (2 * (k / 4 % 4)) & 3) << 4;
    }
    low
}

/// Scales and minima of a block's sixteen outputs, or the scales of its halves; minima are zero where the form has none.
pub(crate) fn scales_of(form: Form, tile: &[u8], blocks: usize, block: usize) -> [[f32; TILE]; 2] {
    let mut scales = Scales::<Plain>::none();
    scales.read(form, &tile[scales_at(form, blocks, block)..]);
    scales.of(form, block).map(|lanes| {
        let mut values = [0.0; TILE];
        lanes.store(&mut values);
        values
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{Device, Tensor};

    /// Random weights in a form's file layout, and the floats that candle reads from them.
    pub(crate) fn random(
        form: Form,
        outputs: usize,
        inputs: usize,
        seed: u64,
    ) -> (Vec<u8>, Vec<f32>) {
        let values: Vec<f32> = noise(seed).take(outputs * inputs).collect();
        let tensor = Tensor::from_vec(values, (outputs, inputs), &Device::Cpu).expect("a tensor");
        let quantised = QTensor::quantize(&tensor, dtype(form)).expect("quantised");
        let floats = quantised
            .dequantize(&Device::Cpu)
            .and_then(|t| t.flatten_all()?.to_vec1())
            .expect("floats");
        (quantised.data().expect("bytes").into_owned(), floats)
    }

    /// Values about -1 to 1, the same for the same seed.
    pub(crate) fn noise(seed: u64) -> impl Iterator<Item = f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
    }

    fn dtype(form: Form) -> GgmlDType {
        match form {
            Form::Q4_0 => GgmlDType::Q4_0,
            Form::Q4_1 => GgmlDType::Q4_1,
            Form::Q5_0 => GgmlDType::Q5_0,
            Form::Q5_1 => GgmlDType::Q5_1,
            Form::Q8_0 => GgmlDType::Q8_0,
            Form::Q4K => GgmlDType::Q4K,
            Form::Q5K => GgmlDType::Q5K,
            Form::Q6K => GgmlDType::Q6K,
        }
    }

    #[test]
    fn every_form_reads_back_as_candle_reads_it() {
        for form in Form::ALL {
            let (outputs, inputs) = (37, 3 * form.group_weights()); // the last tile is not full
            let (file, floats) = random(form, outputs, inputs, 3);
            let packed = Packed::new(form, outputs, inputs, &file);
            let mut row = vec![0.0; inputs];
            for output in 0..outputs {
                packed.row(output, &mut row);
                for (ours, theirs) in row.iter().zip(&floats[output * inputs..]) {
                    assert!(
                        (ours - theirs).abs() <= 1e-6 * theirs.abs().max(1.0),
                        "{form:?}: {ours} is not {theirs}"
                    );
                }
            }
        }
    }

    #[test]
    fn packing_takes_no_more_than_the_file_has() {
        for form in Form::ALL {
            let (file, _) = random(form, 160, 2304, 5);
            let packed = Packed::new(form, 160, 2304, &file);
            assert!(
                packed.memory_bytes() <= file.len() + 64 * packed.tiles(),
                "{form:?}"
            );
        }
    }
}
