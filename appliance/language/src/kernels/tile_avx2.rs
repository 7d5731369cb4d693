//! One tile against some rows with AVX2: the sixteen outputs in two halves.

#![cfg(target_arch = "x86_64")]

use super::activation::{Activations, FINE_BITS};
use super::packed::{Form, Packed, TILE, scales_at};
use std::arch::x86_64::*;

/// Rows computed together.
pub(crate) const ROWS: usize = 4;

/// The products of the sixteen outputs of `tile` with the rows from `row` on, one for each of `out`.
///
/// # Safety
/// The machine has AVX2, FMA and F16C.
pub(crate) unsafe fn products(
    weights: &Packed,
    tile: usize,
    x: &Activations,
    row: usize,
    out: &mut [[f32; TILE]],
) {
    assert!(x.width == weights.inputs && (row + out.len()) * x.blocks() <= x.counts.len());
    let bytes = weights.tile(tile);
    // SAFETY: the caller vouches for the instructions; lengths were compared above.
    unsafe {
        match weights.form {
            Form::Q4_0 => all::<0>(bytes, x, row, out),
            Form::Q4_1 => all::<1>(bytes, x, row, out),
            Form::Q5_0 => all::<2>(bytes, x, row, out),
            Form::Q5_1 => all::<3>(bytes, x, row, out),
            Form::Q8_0 => all::<4>(bytes, x, row, out),
        }
    }
}

unsafe fn all<const FORM: usize>(
    tile: &[u8],
    x: &Activations,
    row: usize,
    out: &mut [[f32; TILE]],
) {
    let mut row = row;
    let mut fours = out.chunks_exact_mut(ROWS);
    // SAFETY: passed on from the caller; every call gets exactly the rows it was compiled for.
    unsafe {
        for four in &mut fours {
            some::<FORM, ROWS>(tile, x, row, four);
            row += ROWS;
        }
        for one in fours.into_remainder() {
            some::<FORM, 1>(tile, x, row, std::slice::from_mut(one));
            row += 1;
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn some<const FORM: usize, const R: usize>(
    tile: &[u8],
    x: &Activations,
    row: usize,
    out: &mut [[f32; TILE]],
) {
    let form = const { Form::ALL[FORM] };
    let blocks = x.blocks();
    for half in 0..2 {
        let mut sums = [_mm256_setzero_ps(); R];
        for block in 0..blocks {
            // SAFETY: a tile holds the quants and scales of `blocks` blocks; the rows were checked by the caller.
            unsafe {
                let weights = unpack::<FORM>(tile.as_ptr().add(block * form.quant_bytes()), half);
                let scales = tile
                    .as_ptr()
                    .add(scales_at(form, blocks, block))
                    .cast::<__m128i>();
                let scale = _mm256_cvtph_ps(_mm_loadu_si128(scales.add(half)));
                for (r, sum) in sums.iter_mut().enumerate() {
                    let at = (row + r) * blocks + block;
                    let count = _mm256_cvtepi32_ps(dot(form, &weights, x, at));
                    let scaled = _mm256_mul_ps(count, _mm256_set1_ps(x.scales[at]));
                    *sum = _mm256_fmadd_ps(scaled, scale, *sum);
                    if form.has_minimum() {
                        let minimum = _mm256_cvtph_ps(_mm_loadu_si128(scales.add(2 + half)));
                        *sum = _mm256_fmadd_ps(minimum, _mm256_set1_ps(x.sums[at]), *sum);
                    }
                }
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            // SAFETY: eight of the sixteen floats.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr().add(half * 8), sum) };
        }
    }
}

// The functions below are inlined into the one above always, by an attribute that does not go together with
// `target_feature`: called for every block, they would otherwise pass their vectors through memory.

/// The exact sum over one block for eight outputs.
#[inline(always)]
unsafe fn dot(form: Form, weights: &[__m256i; 8], x: &Activations, at: usize) -> __m256i {
    // SAFETY: `at` is a block of `x`.
    unsafe {
        let values = &x.values[at];
        let signed = form.offset() == 128;
        let mut count = _mm256_setzero_si256();
        for (weights, four) in weights.iter().zip(values.whole) {
            count = _mm256_add_epi32(count, fours(*weights, _mm256_set1_epi32(four), signed));
        }
        count = _mm256_slli_epi32::<{ FINE_BITS as i32 }>(count);
        if form.offset() != 0 && !signed {
            let offset = -form.offset() * x.counts[at];
            count = _mm256_add_epi32(count, _mm256_set1_epi32(offset));
        }
        for (weights, four) in weights.iter().zip(values.fine) {
            count = _mm256_add_epi32(count, fours(*weights, _mm256_set1_epi32(four), signed));
        }
        count
    }
}

/// Products of four neighbours, summed, for eight outputs. Pairs are summed in sixteen bits on the way: eight-bit
/// weights must enter with their magnitude only, or they overflow.
#[inline(always)]
unsafe fn fours(weights: __m256i, values: __m256i, signed: bool) -> __m256i {
    // SAFETY: the caller's: the instructions are there.
    unsafe {
        let pairs = if signed {
            let weights = _mm256_xor_si256(weights, _mm256_set1_epi8(-128));
            _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(values, weights))
        } else {
            _mm256_maddubs_epi16(weights, values)
        };
        _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
    }
}

/// A block's weights of eight outputs as eight vectors of unsigned bytes.
#[inline(always)]
unsafe fn unpack<const FORM: usize>(quants: *const u8, half: usize) -> [__m256i; 8] {
    // SAFETY: the caller's: the instructions are there, and the quants of one block of this form.
    unsafe {
        let mut weights = [_mm256_setzero_si256(); 8];
        if FORM == Form::Q8_0 as usize {
            for (g, weights) in weights.iter_mut().enumerate() {
                *weights = _mm256_loadu_si256(quants.add(g * 64 + half * 32).cast());
            }
            return weights;
        }
        let nibble = _mm256_set1_epi8(15);
        for j in 0..4 {
            let pairs = _mm256_loadu_si256(quants.add(j * 64 + half * 32).cast());
            weights[j] = _mm256_and_si256(pairs, nibble);
            weights[4 + j] = _mm256_and_si256(_mm256_srli_epi16::<4>(pairs), nibble);
        }
        if FORM == Form::Q5_0 as usize || FORM == Form::Q5_1 as usize {
            let high = quants.add(256).cast::<u32>();
            for (g, weights) in weights.iter_mut().enumerate() {
                let bits = high.add(g * 2 + half).read_unaligned();
                *weights = _mm256_or_si256(*weights, spread(bits));
            }
        }
        weights
    }
}

/// Sixteen in every byte whose bit is set.
#[inline(always)]
unsafe fn spread(bits: u32) -> __m256i {
    // SAFETY: the caller's: the instructions are there.
    unsafe {
        let source = _mm256_set1_epi32(bits as i32);
        let which = _mm256_setr_epi64x(
            0,
            0x0101_0101_0101_0101,
            0x0202_0202_0202_0202,
            0x0303_0303_0303_0303,
        );
        let bytes = _mm256_shuffle_epi8(source, which);
        let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
        let set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
        _mm256_and_si256(set, _mm256_set1_epi8(16))
    }
}
