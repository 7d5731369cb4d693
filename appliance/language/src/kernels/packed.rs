//! Weights of 32-wide blocks, laid out for sixteen outputs at a time.
//!
//! A tile is sixteen rows of the matrix (sixteen outputs). It holds first the quants of all blocks, then their
//! scales, as many bits per weight as the file has:
//!
//! ```text
//! quants of one block, 4 bits:  4 x 64 bytes; byte [j][c][b] holds w[c][4j + b] low and w[c][16 + 4j + b] high
//! and for 5 bits:               8 x 64 more bits; bit [g][c][b] is the fifth of w[c][4g + b]
//! quants of one block, 8 bits:  8 x 64 bytes; byte [g][c][b] is w[c][4g + b] + 128
//! scales of one block:          16 x f16, then 16 x f16 minima where the form has them
//! ```
//! `c` is one of the sixteen outputs and `b` one of four neighbours: what one dot-product instruction takes.

use super::activation::BLOCK;
use half::f16;

/// Outputs of a tile.
pub(crate) const TILE: usize = 16;

/// How the weights of a block are stored in the file. All have 32 weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// 4 bits around 8, a scale.
    Q4_0,
    /// 4 bits, a scale and a minimum.
    Q4_1,
    /// 5 bits around 16, a scale.
    Q5_0,
    /// 5 bits, a scale and a minimum.
    Q5_1,
    /// 8 bits, a scale.
    Q8_0,
}

impl Form {
    pub(crate) const ALL: [Self; 5] = [Self::Q4_0, Self::Q4_1, Self::Q5_0, Self::Q5_1, Self::Q8_0];

    /// Bytes of a block in the file.
    pub(crate) const fn file_bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
        }
    }

    /// Bytes of the quants of one block of a tile.
    pub(crate) const fn quant_bytes(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 => 256,
            Self::Q5_0 | Self::Q5_1 => 256 + 64,
            Self::Q8_0 => 512,
        }
    }

    /// Whether the form has minima.
    pub(crate) const fn has_minimum(self) -> bool {
        matches!(self, Self::Q4_1 | Self::Q5_1)
    }

    /// Bytes of the scales of one block of a tile.
    pub(crate) const fn scale_bytes(self) -> usize {
        if self.has_minimum() { 64 } else { 32 }
    }

    /// What is subtracted from a stored weight.
    pub(crate) const fn offset(self) -> i32 {
        match self {
            Self::Q4_0 => 8,
            Self::Q5_0 => 16,
            Self::Q8_0 => 128,
            Self::Q4_1 | Self::Q5_1 => 0,
        }
    }

    const fn scale_fields(self) -> usize {
        if self.has_minimum() { 2 } else { 1 }
    }
}

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
        assert!(inputs.is_multiple_of(BLOCK), "rows come in whole blocks");
        let row_bytes = inputs / BLOCK * form.file_bytes();
        assert_eq!(file.len(), outputs * row_bytes, "the header was checked");
        let tile_lines = tile_bytes(form, inputs) / 64;
        let mut packed = Self {
            form,
            outputs,
            inputs,
            lines: vec![Line([0; 64]); outputs.div_ceil(TILE) * tile_lines],
        };
        for (output, row) in file.chunks_exact(row_bytes).enumerate() {
            for (block, bytes) in row.chunks_exact(form.file_bytes()).enumerate() {
                packed.put(output, block, bytes);
            }
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
            let (scale, minimum) = scale_of(self.form, tile, self.blocks(), block, column);
            for (k, value) in values.iter_mut().enumerate() {
                let weight =
                    i32::from(weight_of(self.form, tile, block, column, k)) - self.form.offset();
                *value = weight as f32 * scale + minimum;
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

    fn put(&mut self, output: usize, block: usize, file: &[u8]) {
        let (form, blocks) = (self.form, self.blocks());
        let bytes = tile_bytes(form, self.inputs);
        let tile = &mut self.bytes_mut()[output / TILE * bytes..][..bytes];
        let column = output % TILE;
        let fields = form.scale_fields();
        for field in 0..fields {
            let at = scales_at(form, blocks, block) + field * 2 * TILE + column * 2;
            tile[at..at + 2].copy_from_slice(&file[field * 2..field * 2 + 2]);
        }
        let quants = &mut tile[block * form.quant_bytes()..][..form.quant_bytes()];
        put_quants(form, quants, column, &file[fields * 2..]);
    }
}

fn put_quants(form: Form, quants: &mut [u8], column: usize, file: &[u8]) {
    match form {
        Form::Q8_0 => {
            for (k, weight) in file.iter().enumerate() {
                quants[k / 4 * 64 + column * 4 + k % 4] = weight ^ 0x80;
            }
        }
        Form::Q4_0 | Form::Q4_1 => put_nibbles(quants, column, file),
        Form::Q5_0 | Form::Q5_1 => {
            let high = u32::from_le_bytes([file[0], file[1], file[2], file[3]]);
            for k in 0..BLOCK {
                let bit = column * 4 + k % 4;
                quants[256 + k / 4 * 8 + bit / 8] |= ((high >> k & 1) as u8) << (bit % 8);
            }
            put_nibbles(quants, column, &file[4..]);
        }
    }
}

/// The file keeps weight `k` low and weight `16 + k` high in byte `k`; so does the tile.
fn put_nibbles(quants: &mut [u8], column: usize, file: &[u8]) {
    for (k, pair) in file.iter().enumerate() {
        quants[k / 4 * 64 + column * 4 + k % 4] = *pair;
    }
}

fn tile_bytes(form: Form, inputs: usize) -> usize {
    (inputs / BLOCK * (form.quant_bytes() + form.scale_bytes())).next_multiple_of(64)
}

/// Where the scales of a block begin within a tile.
pub(crate) const fn scales_at(form: Form, blocks: usize, block: usize) -> usize {
    blocks * form.quant_bytes() + block * form.scale_bytes()
}

/// Weight `k` of a block as it is stored, before its offset.
pub(crate) fn weight_of(form: Form, tile: &[u8], block: usize, column: usize, k: usize) -> u8 {
    let quants = &tile[block * form.quant_bytes()..][..form.quant_bytes()];
    if form == Form::Q8_0 {
        return quants[k / 4 * 64 + column * 4 + k % 4];
    }
    let pair = quants[k % 16 / 4 * 64 + column * 4 + k % 4];
    let low = if k < 16 { pair & 15 } else { pair >> 4 };
    if matches!(form, Form::Q4_0 | Form::Q4_1) {
        return low;
    }
    let bit = column * 4 + k % 4;
    low | (quants[256 + k / 4 * 8 + bit / 8] >> (bit % 8) & 1) << 4
}

/// Scale and minimum of a block; the minimum is zero where the form has none.
pub(crate) fn scale_of(
    form: Form,
    tile: &[u8],
    blocks: usize,
    block: usize,
    column: usize,
) -> (f32, f32) {
    let at = scales_at(form, blocks, block) + column * 2;
    let float = |at: usize| f16::from_le_bytes([tile[at], tile[at + 1]]).to_f32();
    let minimum = if form.has_minimum() {
        float(at + 2 * TILE)
    } else {
        0.0
    };
    (float(at), minimum)
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
        }
    }

    #[test]
    fn every_form_reads_back_as_candle_reads_it() {
        for form in Form::ALL {
            let (outputs, inputs) = (37, 96); // the last tile is not full
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
            let (file, _) = random(form, 160, 576, 5);
            let packed = Packed::new(form, 160, 576, &file);
            assert!(
                packed.memory_bytes() <= file.len() + 64 * packed.tiles(),
                "{form:?}"
            );
        }
    }
}
