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

    /// Makes room for a shape, and keeps its own.
    pub(crate) fn reserve(&mut self, rows: usize, width: usize) {
        let blocks = rows * (width / BLOCK);
        self.values.reserve_exact(blocks);
        self.scales.reserve_exact(blocks);
        self.sums.reserve_exact(blocks);
        self.counts.reserve_exact(blocks);
        self.firsts.reserve_exact(blocks);
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
                    Tier::Amx | Tier::Avx512 => unsafe { parts.quantise_avx512(place, from) },
                    // SAFETY: the same.
                    #[cfg(target_arch = "x86_64")]
                    Tier::Avx2 => unsafe { parts.quantise_avx2(place, from) },
                    _ => parts.quantise(place, from, quantise_block),
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
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn quantise_avx512(&self, place: (usize, usize), from: &[f32]) {
        // SAFETY: who calls this has the instructions.
        self.quantise(place, from, |from, block| unsafe {
            quantise_block_avx512(from, block)
        });
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn quantise_avx2(&self, place: (usize, usize), from: &[f32]) {
        self.quantise(place, from, quantise_block);
    }

    #[inline(always)]
    fn quantise(
        &self,
        (first, step): (usize, usize),
        from: &[f32],
        quantised: impl Fn(&[f32; BLOCK], &mut Block) -> (f32, [i32; 2]),
    ) {
        let (blocks, _) = from.as_chunks();
        for (number, from) in blocks.iter().enumerate() {
            let block = first + number * step;
            // SAFETY: a block is quantised by one thread only, and the buffers have room for every block.
            unsafe {
                let values = &mut self.values.range(block, 1)[0];
                let (scale, [first, second]) = quantised(from, values);
                let count = first + second;
                self.scales.range(block, 1)[0] = scale;
                self.sums.range(block, 1)[0] = scale * count as f32;
                self.counts.range(block, 1)[0] = count;
                self.firsts.range(block, 1)[0] = first;
            }
        }
    }
}

/// 1.5 * 2^23: adding it rounds to a whole number, whose lowest byte is then the lowest byte of the float.
const MAGIC: f32 = 12_582_912.0;

/// What brings a block's largest magnitude to 127, and what one step of the second byte is then worth.
#[inline(always)]
fn steps_of(largest: f32) -> (f32, f32) {
    let inverse = if largest == 0.0 { 0.0 } else { 127.0 / largest };
    (inverse, largest / (127.0 * (1 << FINE_BITS) as f32))
}

/// The scale of a block, and the counts of its two halves.
#[inline(always)]
fn quantise_block(source: &[f32; BLOCK], block: &mut Block) -> (f32, [i32; 2]) {
    let mut largest = 0.0_f32;
    for value in source {
        largest = largest.max(value.abs());
    }
    let (inverse, scale) = steps_of(largest);
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
    (scale, counts)
}

/// The same to the bit: the products with a power of two are exact, fused with the addition or not.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn quantise_block_avx512(source: &[f32; BLOCK], block: &mut Block) -> (f32, [i32; 2]) {
    use std::arch::x86_64::*;
    // SAFETY: both halves of the source and of the block's bytes are whole vectors.
    unsafe {
        let halves = [0, BLOCK / 2].map(|at| _mm512_loadu_ps(source.as_ptr().add(at)));
        // A value that is no number is the first of the two, and the other one is taken.
        let largest = halves.iter().fold(_mm512_setzero_ps(), |largest, half| {
            _mm512_max_ps(_mm512_abs_ps(*half), largest)
        });
        let (inverse, scale) = steps_of(_mm512_reduce_max_ps(largest));
        let (magic, ones) = (_mm512_set1_ps(MAGIC), _mm_set1_epi8(1));
        let fine = _mm512_set1_ps((1 << FINE_BITS) as f32);
        let mut counts = [_mm_setzero_si128(); 2];
        for (number, half) in halves.iter().enumerate() {
            let steps = _mm512_mul_ps(*half, _mm512_set1_ps(inverse));
            let whole = _mm512_add_ps(steps, magic);
            let rest = _mm512_sub_ps(steps, _mm512_sub_ps(whole, magic));
            let rest = _mm512_fmadd_ps(rest, fine, magic);
            let whole = _mm512_cvtepi32_epi8(_mm512_castps_si512(whole));
            let rest = _mm512_cvtepi32_epi8(_mm512_castps_si512(rest));
            _mm_storeu_si128(
                block.whole.as_mut_ptr().cast::<__m128i>().add(number),
                whole,
            );
            _mm_storeu_si128(block.fine.as_mut_ptr().cast::<__m128i>().add(number), rest);
            let count = _mm_dpbusd_epi32(_mm_setzero_si128(), ones, whole);
            let count = _mm_slli_epi32::<{ FINE_BITS as i32 }>(count);
            counts[number] = _mm_dpbusd_epi32(count, ones, rest);
        }
        let sums = _mm_hadd_epi32(counts[0], counts[1]);
        let sums = _mm_hadd_epi32(sums, sums);
        (
            scale,
            [_mm_extract_epi32::<0>(sums), _mm_extract_epi32::<1>(sums)],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::packed::tests::noise;

    #[test]
    fn every_tier_quantises_alike() {
        let (rows, width) = (19, 3 * BLOCK);
        let mut values: Vec<f32> = noise(7).take(rows * width).collect();
        values[..BLOCK].fill(0.0);
        // Halves of a step, whose rounding is to even, and magnitudes at both ends.
        for (at, value) in values[BLOCK..2 * BLOCK].iter_mut().enumerate() {
            *value = at as f32 / 2.0 - 8.0;
        }
        values[2 * BLOCK] = 1e30;
        values[width] = 1e-38;
        let quantised = |tier| {
            let mut x = Activations::with_room(rows, width);
            x.quantise(&mut Pool::new(1).expect("no threads"), tier, &values);
            let bytes: Vec<_> = x.values.iter().map(|b| (b.whole, b.fine)).collect();
            let bits = |floats: &[f32]| floats.iter().map(|f| f.to_bits()).collect::<Vec<_>>();
            (bytes, bits(&x.scales), bits(&x.sums), x.counts, x.firsts)
        };
        let plain = quantised(Tier::Scalar);
        assert_eq!(quantised(Tier::detect()), plain);
        #[cfg(target_arch = "x86_64")]
        if matches!(Tier::detect(), Tier::Amx | Tier::Avx512) {
            assert_eq!(quantised(Tier::Avx2), plain);
        }
    }
}
