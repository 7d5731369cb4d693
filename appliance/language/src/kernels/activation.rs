//! Activations in two times eight bits: every block of 32 values as signed bytes with one scale, and what their
//! rounding left over as signed bytes again.
//!
//! llama.cpp keeps only the first byte. That makes every product 0.3 % wrong at random, and the error of a whole pass
//! so large that the likeliest token changes with the way a prompt is cut into batches (measured: logits move by up
//! to 0.9). The second byte costs integer instructions, which decoding has to spare while it waits for memory, and
//! leaves the file's own weights as the only rounding that matters.

use super::Tier;
use super::pool::{Disjoint, Pool};

/// Values in a block.
pub(crate) const BLOCK: usize = 32;

/// Rows that lie together, block by block, so that who takes them past the weights reads memory in order. The last ones
/// may be fewer.
pub(crate) const ROWS_TOGETHER: usize = 16;

/// How many steps of the second byte make one of the first: a power of two, so that a shift joins them.
pub(crate) const FINE_BITS: u32 = 7;

/// The values of a block, by fours as the dot-product instructions take them: first bytes, then second bytes.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub(crate) struct Block {
    pub(crate) whole: [i32; BLOCK / 4],
    pub(crate) fine: [i32; BLOCK / 4],
}

/// Four neighbours out of a word.
pub(crate) const fn four(word: i32) -> [i8; 4] {
    let [a, b, c, d] = word.to_ne_bytes();
    [a as i8, b as i8, c as i8, d as i8]
}

/// Rows of activations.
#[derive(Debug, Default)]
pub(crate) struct Activations {
    /// Values in a row, a multiple of [`BLOCK`].
    pub(crate) width: usize,
    /// The values of each block.
    pub(crate) values: Vec<Block>,
    /// What one step of the second byte is worth, for each block.
    pub(crate) scales: Vec<f32>,
    /// The sum of each block's values.
    pub(crate) sums: Vec<f32>,
    /// The sum of each block's values in steps of the second byte, exact.
    pub(crate) counts: Vec<i32>,
    /// The same of the first half of each block.
    pub(crate) firsts: Vec<i32>,
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
        assert!(
            width.is_multiple_of(BLOCK),
            "activations come in whole blocks"
        );
        let blocks = rows * (width / BLOCK);
        self.width = width;
        self.values.resize(blocks, Block::default());
        self.scales.resize(blocks, 0.0);
        self.sums.resize(blocks, 0.0);
        self.counts.resize(blocks, 0);
        self.firsts.resize(blocks, 0);
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.values.len() / self.blocks()
    }

    /// Where the blocks of a row are: the first, and how far on each next one is.
    pub(crate) fn place(&self, row: usize) -> (usize, usize) {
        place_of(row, self.rows(), self.blocks())
    }

    /// Blocks in a row.
    pub(crate) fn blocks(&self) -> usize {
        self.width / BLOCK
    }

    /// Quantises rows of floats, as many as the shape has.
    pub(crate) fn quantise(&mut self, pool: &mut Pool, tier: Tier, from: &[f32]) {
        assert_eq!(
            from.len(),
            self.values.len() * BLOCK,
            "the shape is taken beforehand"
        );
        let (rows, width) = (self.rows(), self.width);
        let parts = Parts {
            values: Disjoint(self.values.as_mut_ptr()),
            scales: Disjoint(self.scales.as_mut_ptr()),
            sums: Disjoint(self.sums.as_mut_ptr()),
            counts: Disjoint(self.counts.as_mut_ptr()),
            firsts: Disjoint(self.firsts.as_mut_ptr()),
        };
        pool.run(rows.div_ceil(ROWS_OF_PIECE), &|number| {
            let first = number * ROWS_OF_PIECE;
            for row in first..rows.min(first + ROWS_OF_PIECE) {
                let from = &from[row * width..][..width];
                let place = place_of(row, rows, width / BLOCK);
                match tier {
                    // SAFETY: `Tier::detect` found the instructions.
                    #[cfg(target_arch = "x86_64")]
                    Tier::Amx | Tier::Avx512 | Tier::Avx2 => unsafe {
                        parts.quantise_avx2(place, from);
                    },
                    _ => parts.quantise(place, from),
                }
            }
        });
    }
}

fn place_of(row: usize, rows: usize, blocks: usize) -> (usize, usize) {
    let first = row / ROWS_TOGETHER * ROWS_TOGETHER;
    (
        first * blocks + row - first,
        ROWS_TOGETHER.min(rows - first),
    )
}

/// Rows that one thread quantises at a time; a single row is not worth waking anybody.
const ROWS_OF_PIECE: usize = 8;

#[derive(Clone, Copy)]
struct Parts {
    values: Disjoint<Block>,
    scales: Disjoint<f32>,
    sums: Disjoint<f32>,
    counts: Disjoint<i32>,
    firsts: Disjoint<i32>,
}

impl Parts {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn quantise_avx2(&self, place: (usize, usize), from: &[f32]) {
        self.quantise(place, from);
    }

    #[inline(always)]
    fn quantise(&self, (first, step): (usize, usize), from: &[f32]) {
        for (number, from) in from.chunks_exact(BLOCK).enumerate() {
            let block = first + number * step;
            // SAFETY: a block is quantised by one thread only, and the buffers have room for every block.
            unsafe {
                let values = &mut self.values.range(block, 1)[0];
                let (scale, [first, second]) = quantise_block(from, values);
                let count = first + second;
                self.scales.range(block, 1)[0] = scale;
                self.sums.range(block, 1)[0] = scale * count as f32;
                self.counts.range(block, 1)[0] = count;
                self.firsts.range(block, 1)[0] = first;
            }
        }
    }
}

#[inline(always)]
fn quantise_block(source: &[f32], block: &mut Block) -> (f32, [i32; 2]) {
    /// 1.5 * 2^23: adding it rounds to a whole number, whose lowest byte is then the lowest byte of the float.
    const MAGIC: f32 = 12_582_912.0;
    let mut largest = 0.0_f32;
    for value in source {
        largest = largest.max(value.abs());
    }
    let inverse = if largest == 0.0 { 0.0 } else { 127.0 / largest };
    let fine = (1 << FINE_BITS) as f32;
    let (mut wholes, mut fines) = ([0_u8; BLOCK], [0_u8; BLOCK]);
    for ((first, second), source) in wholes.iter_mut().zip(&mut fines).zip(source) {
        // The largest magnitude becomes 127 and what is left of any at most 64: both fit their bytes.
        let steps = source * inverse;
        let whole = steps + MAGIC;
        let rest = (steps - (whole - MAGIC)) * fine + MAGIC;
        *first = whole.to_bits() as u8;
        *second = rest.to_bits() as u8;
    }
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| i32::from(*byte as i8)).sum::<i32>();
    let counts = [0..BLOCK / 2, BLOCK / 2..BLOCK]
        .map(|half| (sum(&wholes[half.clone()]) << FINE_BITS) + sum(&fines[half]));
    // SAFETY: 32 bytes either way, and every pattern of them is eight words.
    unsafe {
        block.whole = std::mem::transmute::<[u8; BLOCK], [i32; BLOCK / 4]>(wholes);
        block.fine = std::mem::transmute::<[u8; BLOCK], [i32; BLOCK / 4]>(fines);
    }
    (largest / (127.0 * fine), counts)
}
