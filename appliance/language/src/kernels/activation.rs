//! Activations in eight bits: every block of 32 values as signed bytes with one scale.

use super::pool::{Disjoint, Pool};
use half::f16;

/// Values in a block.
pub(crate) const BLOCK: usize = 32;

/// Rows of activations in eight bits. Scale and sum are rounded to sixteen bits, as llama.cpp keeps them (its Q8_1),
/// so that the same file gives the same tokens.
#[derive(Debug, Default)]
pub(crate) struct Activations {
    /// Values in a row, a multiple of [`BLOCK`].
    pub(crate) width: usize,
    /// `rows * width` values.
    pub(crate) values: Vec<i8>,
    /// What a value of one is worth, for each block.
    pub(crate) scales: Vec<f32>,
    /// The sum of each block's values times its scale.
    pub(crate) sums: Vec<f32>,
    /// The sum of each block's values, exact.
    pub(crate) counts: Vec<i32>,
}

impl Activations {
    #[cfg(test)]
    pub(crate) fn with_room(rows: usize, width: usize) -> Self {
        let mut room = Self::default();
        room.shape(rows, width);
        room
    }

    /// Takes another shape. Allocates only beyond the largest shape so far.
    pub(crate) fn shape(&mut self, rows: usize, width: usize) {
        assert!(width.is_multiple_of(BLOCK), "activations come in whole blocks");
        let blocks = rows * (width / BLOCK);
        self.width = width;
        self.values.resize(rows * width, 0);
        self.scales.resize(blocks, 0.0);
        self.sums.resize(blocks, 0.0);
        self.counts.resize(blocks, 0);
    }

    /// Blocks in a row.
    pub(crate) fn blocks(&self) -> usize {
        self.width / BLOCK
    }

    /// Quantises rows of floats, as many as the shape has.
    pub(crate) fn quantise(&mut self, pool: &mut Pool, from: &[f32]) {
        assert_eq!(from.len(), self.values.len(), "the shape is taken beforehand");
        let total = self.scales.len();
        let piece = self.blocks() * ROWS_OF_PIECE;
        let parts = Parts {
            values: Disjoint(self.values.as_mut_ptr()),
            scales: Disjoint(self.scales.as_mut_ptr()),
            sums: Disjoint(self.sums.as_mut_ptr()),
            counts: Disjoint(self.counts.as_mut_ptr()),
        };
        pool.run(total.div_ceil(piece), &|number| {
            for block in number * piece..total.min((number + 1) * piece) {
                parts.quantise(block, &from[block * BLOCK..][..BLOCK]);
            }
        });
    }
}

/// Rows that one thread quantises at a time; a single row is not worth waking anybody.
const ROWS_OF_PIECE: usize = 8;

#[derive(Clone, Copy)]
struct Parts {
    values: Disjoint<i8>,
    scales: Disjoint<f32>,
    sums: Disjoint<f32>,
    counts: Disjoint<i32>,
}

impl Parts {
    fn quantise(&self, block: usize, source: &[f32]) {
        // SAFETY: a block is quantised by one thread only, and the buffers have room for every block.
        unsafe {
            let (scale, sum, count) = quantise_block(source, self.values.range(block * BLOCK, BLOCK));
            self.scales.range(block, 1)[0] = scale;
            self.sums.range(block, 1)[0] = sum;
            self.counts.range(block, 1)[0] = count;
        }
    }
}

#[inline]
fn quantise_block(source: &[f32], values: &mut [i8]) -> (f32, f32, i32) {
    let largest = source.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let scale = largest / 127.0;
    let inverse = if largest == 0.0 { 0.0 } else { 127.0 / largest };
    let mut count = 0_i32;
    for (value, source) in values.iter_mut().zip(source) {
        // The largest magnitude becomes 127, so the cast never saturates.
        *value = (source * inverse).round_ties_even() as i8;
        count += i32::from(*value);
    }
    (to_f16_and_back(scale), to_f16_and_back(scale * count as f32), count)
}

fn to_f16_and_back(value: f32) -> f32 {
    f16::from_f32(value).to_f32()
}
