//! One tile against some rows with AVX-512 VNNI: one instruction multiplies four weights of each of sixteen outputs.

#![cfg(target_arch = "x86_64")]
#![allow(clippy::needless_range_loop)] // parallel arrays of registers, unrolled: indices say what belongs together

use super::activation::{Activations, BLOCK, FINE_BITS};
use super::packed::{Form, Packed, TILE, scales_at};
use std::arch::x86_64::*;

/// Rows computed together: eight sums, eight unpacked weight vectors and the scales fill the 32 registers.
pub(crate) const ROWS: usize = 8;

/// The products of the sixteen outputs of `tile` with the rows from `row` on, one for each of `out`.
///
/// # Safety
/// The machine has AVX-512 F, BW, VL and VNNI.
pub(crate) unsafe fn products(weights: &Packed, tile: usize, x: &Activations, row: usize, out: &mut [[f32; TILE]]) {
    assert!(x.width == weights.inputs && (row + out.len()) * x.blocks() <= x.counts.len());
    let bytes = weights.tile(tile);
    // SAFETY: the caller vouches for the instructions; lengths were compared above, and `row + i` stays below
    // `row + out.len()`.
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

unsafe fn all<const FORM: usize>(tile: &[u8], x: &Activations, row: usize, out: &mut [[f32; TILE]]) {
    let mut row = row;
    let mut eights = out.chunks_exact_mut(ROWS);
    // SAFETY: passed on from the caller; every call gets exactly the rows it was compiled for.
    unsafe {
        for eight in &mut eights {
            some::<FORM, ROWS>(tile, x, row, eight);
            row += ROWS;
        }
        let rest = eights.into_remainder();
        match rest.len() {
            0 => {}
            1 => some::<FORM, 1>(tile, x, row, rest),
            2 => some::<FORM, 2>(tile, x, row, rest),
            3 => some::<FORM, 3>(tile, x, row, rest),
            4 => some::<FORM, 4>(tile, x, row, rest),
            5 => some::<FORM, 5>(tile, x, row, rest),
            6 => some::<FORM, 6>(tile, x, row, rest),
            _ => some::<FORM, 7>(tile, x, row, rest),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn some<const FORM: usize, const R: usize>(
    tile: &[u8],
    x: &Activations,
    row: usize,
    out: &mut [[f32; TILE]],
) {
    let form = const { Form::ALL[FORM] };
    let blocks = x.blocks();
    let mut sums = [_mm512_setzero_ps(); R];
    for block in 0..blocks {
        // SAFETY: a tile holds the quants and scales of `blocks` blocks; the rows were checked by the caller.
        unsafe {
            let weights = unpack::<FORM>(tile.as_ptr().add(block * form.quant_bytes()));
            let scales = tile.as_ptr().add(scales_at(form, blocks, block)).cast::<__m256i>();
            let scale = _mm512_cvtph_ps(_mm256_loadu_si256(scales));
            let counts = count::<FORM, R>(&weights, x, row * blocks + block);
            for r in 0..R {
                let of_row = _mm512_set1_ps(*x.scales.as_ptr().add((row + r) * blocks + block));
                let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(counts[r]), of_row);
                sums[r] = _mm512_fmadd_ps(scaled, scale, sums[r]);
            }
            if form.has_minimum() {
                let minimum = _mm512_cvtph_ps(_mm256_loadu_si256(scales.add(1)));
                for r in 0..R {
                    let of_row = _mm512_set1_ps(*x.sums.as_ptr().add((row + r) * blocks + block));
                    sums[r] = _mm512_fmadd_ps(minimum, of_row, sums[r]);
                }
            }
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        // SAFETY: sixteen floats.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sum) };
    }
}

// The two functions below are inlined into the one above always, by an attribute that does not go together with
// `target_feature`: called for every block, they would otherwise pass their vectors through memory.

/// The exact sums over one block for the sixteen outputs of `R` rows, the first of which has its block at `at`.
#[inline(always)]
unsafe fn count<const FORM: usize, const R: usize>(weights: &[__m512i; 8], x: &Activations, at: usize) -> [__m512i; R] {
    let form = const { Form::ALL[FORM] };
    // SAFETY: the caller's: the instructions are there and the blocks within `x`.
    unsafe {
        let first = x.values.as_ptr().add(at).cast::<i32>();
        let stride = x.blocks() * (2 * BLOCK / 4);
        let mut counts = [_mm512_setzero_si512(); R];
        for g in 0..8 {
            for r in 0..R {
                let four = _mm512_set1_epi32(first.add(r * stride + g).read_unaligned());
                counts[r] = _mm512_dpbusd_epi32(counts[r], weights[g], four);
            }
        }
        for r in 0..R {
            counts[r] = _mm512_slli_epi32::<FINE_BITS>(counts[r]);
            if form.offset() != 0 {
                let offset = -form.offset() * *x.counts.as_ptr().add(at + r * x.blocks());
                counts[r] = _mm512_add_epi32(counts[r], _mm512_set1_epi32(offset));
            }
        }
        for g in 0..8 {
            for r in 0..R {
                let four = _mm512_set1_epi32(first.add(r * stride + 8 + g).read_unaligned());
                counts[r] = _mm512_dpbusd_epi32(counts[r], weights[g], four);
            }
        }
        counts
    }
}

/// A block's weights as eight vectors of unsigned bytes: four neighbours of each of sixteen outputs.
#[inline(always)]
unsafe fn unpack<const FORM: usize>(quants: *const u8) -> [__m512i; 8] {
    let form = const { Form::ALL[FORM] };
    // SAFETY: the caller's: the instructions are there, and the quants of one block of this form.
    unsafe {
        let mut weights = [_mm512_setzero_si512(); 8];
        if matches!(form, Form::Q8_0) {
            for g in 0..8 {
                weights[g] = _mm512_loadu_si512(quants.add(g * 64).cast());
            }
            return weights;
        }
        let nibble = _mm512_set1_epi8(15);
        for j in 0..4 {
            let pairs = _mm512_loadu_si512(quants.add(j * 64).cast());
            weights[j] = _mm512_and_si512(pairs, nibble);
            weights[4 + j] = _mm512_and_si512(_mm512_srli_epi16::<4>(pairs), nibble);
        }
        if matches!(form, Form::Q5_0 | Form::Q5_1) {
            let high = quants.add(256).cast::<u64>();
            for g in 0..8 {
                let bits = high.add(g).read_unaligned();
                weights[g] = _mm512_mask_add_epi8(weights[g], bits, weights[g], _mm512_set1_epi8(16));
            }
        }
        weights
    }
}
