//! One tile against some rows with AVX-512 VNNI: one instruction multiplies four weights of each of sixteen outputs.

#![cfg(target_arch = "x86_64")]

use super::activation::{Activations, BLOCK};
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
    let form = Form::ALL[FORM];
    let blocks = x.blocks();
    let mut sums = [_mm512_setzero_ps(); R];
    for block in 0..blocks {
        // SAFETY: a tile holds the quants and scales of `blocks` blocks; the rows were checked by the caller.
        unsafe {
            let weights = unpack::<FORM>(tile.as_ptr().add(block * form.quant_bytes()));
            let scales = tile.as_ptr().add(scales_at(form, blocks, block)).cast::<__m256i>();
            let scale = _mm512_cvtph_ps(_mm256_loadu_si256(scales));
            for (r, sum) in sums.iter_mut().enumerate() {
                let at = (row + r) * blocks + block;
                let count = dot(form, &weights, x, at);
                let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(count), _mm512_set1_ps(*x.scales.as_ptr().add(at)));
                *sum = _mm512_fmadd_ps(scaled, scale, *sum);
            }
            if form.has_minimum() {
                let minimum = _mm512_cvtph_ps(_mm256_loadu_si256(scales.add(1)));
                for (r, sum) in sums.iter_mut().enumerate() {
                    let of_row = _mm512_set1_ps(*x.sums.as_ptr().add((row + r) * blocks + block));
                    *sum = _mm512_fmadd_ps(minimum, of_row, *sum);
                }
            }
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        // SAFETY: sixteen floats.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sum) };
    }
}

/// The exact sum over one block for the sixteen outputs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn dot(form: Form, weights: &[__m512i; 8], x: &Activations, at: usize) -> __m512i {
    // SAFETY: `at` is a block of `x`.
    unsafe {
        let values = x.values.as_ptr().add(at * BLOCK).cast::<i32>();
        let mut count = if form.offset() == 0 {
            _mm512_setzero_si512()
        } else {
            _mm512_set1_epi32(-form.offset() * *x.counts.as_ptr().add(at))
        };
        for (g, weights) in weights.iter().enumerate() {
            count = _mm512_dpbusd_epi32(count, *weights, _mm512_set1_epi32(values.add(g).read_unaligned()));
        }
        count
    }
}

/// A block's weights as eight vectors of unsigned bytes: four neighbours of each of sixteen outputs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn unpack<const FORM: usize>(quants: *const u8) -> [__m512i; 8] {
    let mut weights = [_mm512_setzero_si512(); 8];
    // SAFETY: the quants of one block of this form lie here.
    unsafe {
        if Form::ALL[FORM] as usize == Form::Q8_0 as usize {
            for (g, weights) in weights.iter_mut().enumerate() {
                *weights = _mm512_loadu_si512(quants.add(g * 64).cast());
            }
            return weights;
        }
        let nibble = _mm512_set1_epi8(15);
        for j in 0..4 {
            let pairs = _mm512_loadu_si512(quants.add(j * 64).cast());
            weights[j] = _mm512_and_si512(pairs, nibble);
            weights[4 + j] = _mm512_and_si512(_mm512_srli_epi16::<4>(pairs), nibble);
        }
        if FORM == Form::Q5_0 as usize || FORM == Form::Q5_1 as usize {
            let high = quants.add(256).cast::<u64>();
            for (g, weights) in weights.iter_mut().enumerate() {
                let bits = high.add(g).read_unaligned();
                *weights = _mm512_mask_add_epi8(*weights, bits, *weights, _mm512_set1_epi8(16));
            }
        }
    }
    weights
}
