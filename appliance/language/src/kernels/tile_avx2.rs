//! One tile against some rows with AVX2: the sixteen outputs in two halves.

#![cfg(target_arch = "x86_64")]

use super::activation::{Activations, Block, FINE_BITS};
use super::lanes::Avx2;
use super::packed::{Form, Packed, TILE, scales_at};
use super::scales::Scales;
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
    assert!(x.width == weights.inputs && row + out.len() <= x.rows());
    assert!(row.is_multiple_of(ROWS)); // so that rows computed together lie together
    let bytes = weights.tile(tile);
    // SAFETY: the caller vouches for the instructions; lengths were compared above.
    unsafe {
        match weights.form {
            Form::Q4_0 => all::<0>(bytes, x, row, out),
            Form::Q4_1 => all::<1>(bytes, x, row, out),
            Form::Q5_0 => all::<2>(bytes, x, row, out),
            Form::Q5_1 => all::<3>(bytes, x, row, out),
            Form::Q8_0 => all::<4>(bytes, x, row, out),
            Form::Q4K => all::<5>(bytes, x, row, out),
            Form::Q5K => all::<6>(bytes, x, row, out),
            Form::Q6K => all::<7>(bytes, x, row, out),
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
    let (first, step) = x.place(row);
    for half in 0..2 {
        let mut sums = [_mm256_setzero_ps(); R];
        let mut scales = Scales::<Avx2>::none();
        for block in 0..blocks {
            // SAFETY: a tile holds the quants and scales of `blocks` blocks; the rows were checked by the caller.
            unsafe {
                let weights = unpack::<FORM>(tile.as_ptr().add(block * form.quant_bytes()), half);
                if block % form.group() == 0 {
                    scales.read(form, &tile[scales_at(form, blocks, block)..]);
                }
                let [scale, second] = scales.of(form, block).map(|lanes| match half {
                    0 => lanes.0,
                    _ => lanes.1,
                });
                for (r, sum) in sums.iter_mut().enumerate() {
                    let at = first + block * step + r;
                    let by = _mm256_set1_ps(x.scales[at]);
                    let [first, last] = counts::<FORM>(&weights, x, at);
                    if form.has_halves() {
                        let both = _mm256_mul_ps(_mm256_cvtepi32_ps(first), scale);
                        let both = _mm256_fmadd_ps(_mm256_cvtepi32_ps(last), second, both);
                        *sum = _mm256_fmadd_ps(both, by, *sum);
                    } else {
                        let count = _mm256_cvtepi32_ps(_mm256_add_epi32(first, last));
                        *sum = _mm256_fmadd_ps(_mm256_mul_ps(count, by), scale, *sum);
                    }
                    if form.has_minimum() {
                        *sum = _mm256_fmadd_ps(second, _mm256_set1_ps(x.sums[at]), *sum);
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

/// The exact sums over both halves of one block for eight outputs.
#[inline(always)]
unsafe fn counts<const FORM: usize>(
    weights: &[__m256i; 8],
    x: &Activations,
    at: usize,
) -> [__m256i; 2] {
    let form = const { Form::ALL[FORM] };
    // SAFETY: `at` is a block of `x`.
    unsafe {
        let Block { whole, fine } = &x.values[at];
        let mut counts = [_mm256_setzero_si256(); 2];
        for (half, count) in counts.iter_mut().enumerate() {
            let weights = &weights[half * 4..][..4];
            let whole = dot::<FORM>(weights, &whole[half * 4..][..4]);
            let fine = dot::<FORM>(weights, &fine[half * 4..][..4]);
            *count = _mm256_add_epi32(_mm256_slli_epi32::<{ FINE_BITS as i32 }>(whole), fine);
        }
        if form.offset() != 0 && form.offset() != 128 {
            let firsts = if form.has_halves() { x.firsts[at] } else { 0 };
            for (count, of) in counts.iter_mut().zip([firsts, x.counts[at] - firsts]) {
                *count = _mm256_sub_epi32(*count, _mm256_set1_epi32(form.offset() * of));
            }
        }
        counts
    }
}

/// The exact sum over some fours. Pairs are summed in sixteen bits on the way: eight-bit weights must enter with their
/// magnitude only, or they overflow, and only those of four and five bits leave room for several.
#[inline(always)]
unsafe fn dot<const FORM: usize>(weights: &[__m256i], values: &[i32]) -> __m256i {
    let form = const { Form::ALL[FORM] };
    // SAFETY: the caller's: the instructions are there.
    unsafe {
        let ones = _mm256_set1_epi16(1);
        let mut sum = _mm256_setzero_si256();
        for (weights, four) in weights.iter().zip(values) {
            let four = _mm256_set1_epi32(*four);
            let pairs = if form.offset() == 128 {
                let weights = _mm256_xor_si256(*weights, _mm256_set1_epi8(-128));
                _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(four, weights))
            } else {
                _mm256_maddubs_epi16(*weights, four)
            };
            sum = match form.quant_bytes() {
                ..=320 => _mm256_add_epi16(sum, pairs), // at most 4 * 2 * 31 * 127 = 31496
                _ => _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones)),
            };
        }
        match form.quant_bytes() {
            ..=320 => _mm256_madd_epi16(sum, ones),
            _ => sum,
        }
    }
}

/// A block's weights of eight outputs as eight vectors of unsigned bytes.
#[inline(always)]
unsafe fn unpack<const FORM: usize>(quants: *const u8, half: usize) -> [__m256i; 8] {
    let form = const { Form::ALL[FORM] };
    // SAFETY: the caller's: the instructions are there, and the quants of one block of this form.
    unsafe {
        let mut weights = [_mm256_setzero_si256(); 8];
        if matches!(form, Form::Q8_0) {
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
        if form.has_fifth_bit() {
            let high = quants.add(256).cast::<u32>();
            for (g, weights) in weights.iter_mut().enumerate() {
                let bits = high.add(g * 2 + half).read_unaligned();
                *weights = _mm256_or_si256(*weights, spread(bits));
            }
        }
        if matches!(form, Form::Q6K) {
            for h in 0..2 {
                let pairs = _mm256_loadu_si256(quants.add(256 + h * 64 + half * 32).cast());
                let at_four = [
                    _mm256_slli_epi16::<4>(pairs),
                    _mm256_slli_epi16::<2>(pairs),
                    pairs,
                    _mm256_srli_epi16::<2>(pairs),
                ];
                for (weights, pairs) in weights[h * 4..].iter_mut().zip(at_four) {
                    let pairs = _mm256_and_si256(pairs, _mm256_set1_epi8(0x30));
                    *weights = _mm256_or_si256(*weights, pairs);
                }
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
