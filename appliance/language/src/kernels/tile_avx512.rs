//! One tile against some rows with AVX-512 VNNI: one instruction multiplies four weights of each of sixteen outputs.

#![cfg(target_arch = "x86_64")]
use super::activation::{Activations, Block, FINE_BITS, ROWS_TOGETHER};
use super::lanes::Avx512;
use super::packed::{Form, Packed, TILE, scales_at};
use super::scales::Scales;
use std::arch::x86_64::*;

/// How far ahead weights are asked for: the hardware stops at every page, and with one row there is little to do
/// between one line and the next.
const AHEAD_BYTES: usize = 2048;

/// The products of the sixteen outputs of `tile` with the rows from `row` on, one for each of `out`.
///
/// # Safety
/// The machine has AVX-512 F, BW, VL and VNNI.
pub(crate) unsafe fn products(
    weights: &Packed,
    tile: usize,
    x: &Activations,
    row: usize,
    out: &mut [[f32; TILE]],
) {
    assert!(x.width == weights.inputs && row + out.len() <= x.rows());
    assert!(row.is_multiple_of(ROWS_TOGETHER)); // so that rows computed together lie together
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
            Form::Q4K => all::<5>(bytes, x, row, out),
            Form::Q5K => all::<6>(bytes, x, row, out),
            Form::Q6K => all::<7>(bytes, x, row, out),
        }
    }
}

/// All rows, block after block: a block is unpacked once, and stays in registers while the rows pass.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn all<const FORM: usize>(
    tile: &[u8],
    x: &Activations,
    row: usize,
    out: &mut [[f32; TILE]],
) {
    let form = const { Form::ALL[FORM] };
    let blocks = x.blocks();
    let mut scales = Scales::none();
    out.fill([0.0; TILE]);
    for block in 0..blocks {
        // SAFETY: a tile holds the quants and scales of `blocks` blocks; the rows were checked by the caller.
        unsafe {
            let quants = tile.as_ptr().add(block * form.quant_bytes());
            for line in 0..form.quant_bytes() / 64 {
                // Beyond the end of the matrix this asks for nothing: a prefetch never faults.
                _mm_prefetch::<_MM_HINT_T0>(quants.wrapping_add(AHEAD_BYTES + line * 64).cast());
            }
            let weights = unpack::<FORM>(quants);
            if block % form.group() == 0 {
                scales.read(form, &tile[scales_at(form, blocks, block)..]);
            }
            let [Avx512(scale), Avx512(second)] = scales.of(form, block);
            for (group, out) in out.chunks_mut(ROWS_TOGETHER).enumerate() {
                let (first, step) = x.place(row + group * ROWS_TOGETHER);
                for (at, out) in (first + block * step..).zip(out) {
                    let by = _mm512_set1_ps(x.scales[at]);
                    let mut sum = _mm512_loadu_ps(out.as_ptr());
                    if form.has_halves() {
                        let [first, last] = count_halves::<FORM>(&weights, x, at);
                        let both = _mm512_mul_ps(_mm512_cvtepi32_ps(first), scale);
                        let both = _mm512_fmadd_ps(_mm512_cvtepi32_ps(last), second, both);
                        sum = _mm512_fmadd_ps(both, by, sum);
                    } else {
                        let count = _mm512_cvtepi32_ps(count::<FORM>(&weights, x, at));
                        sum = _mm512_fmadd_ps(_mm512_mul_ps(count, by), scale, sum);
                    }
                    if form.has_minimum() {
                        sum = _mm512_fmadd_ps(second, _mm512_set1_ps(x.sums[at]), sum);
                    }
                    _mm512_storeu_ps(out.as_mut_ptr(), sum);
                }
            }
        }
    }
}

// The functions below are inlined into the one above always, by an attribute that does not go together with
// `target_feature`. They are written out without loops, so that every vector stays in a register.

/// The exact sums over one block for the sixteen outputs of the row that has its block at `at`.
///
/// Four sums that do not wait for each other: with one after the other, the rows' products stood in line for the five cycles
/// that each instruction takes, and prompts took half as long again.
#[inline(always)]
unsafe fn count<const FORM: usize>(weights: &[__m512i; 8], x: &Activations, at: usize) -> __m512i {
    let form = const { Form::ALL[FORM] };
    // SAFETY: the caller's: the instructions are there and the block within `x`.
    unsafe {
        let Block { whole, fine } = &x.values[at];
        let [a, b, c, d, e, f, g, h] = *weights;
        let zero = _mm512_setzero_si512();
        let offset = match form.offset() {
            0 => zero,
            offset => _mm512_set1_epi32(-offset * x.counts[at]),
        };
        let (first, last) = ([a, b, c, d], [e, f, g, h]);
        let wholes = _mm512_add_epi32(
            half(first, [whole[0], whole[1], whole[2], whole[3]], zero),
            half(last, [whole[4], whole[5], whole[6], whole[7]], zero),
        );
        let fines = _mm512_add_epi32(
            half(first, [fine[0], fine[1], fine[2], fine[3]], offset),
            half(last, [fine[4], fine[5], fine[6], fine[7]], zero),
        );
        _mm512_add_epi32(_mm512_slli_epi32::<FINE_BITS>(wholes), fines)
    }
}

/// The same of each half of the block.
#[inline(always)]
unsafe fn count_halves<const FORM: usize>(
    weights: &[__m512i; 8],
    x: &Activations,
    at: usize,
) -> [__m512i; 2] {
    let form = const { Form::ALL[FORM] };
    // SAFETY: the caller's: the instructions are there and the block within `x`.
    unsafe {
        let Block { whole, fine } = &x.values[at];
        let [a, b, c, d, e, f, g, h] = *weights;
        let first = half(
            [a, b, c, d],
            [whole[0], whole[1], whole[2], whole[3]],
            _mm512_setzero_si512(),
        );
        let last = half(
            [e, f, g, h],
            [whole[4], whole[5], whole[6], whole[7]],
            _mm512_setzero_si512(),
        );
        let offset = _mm512_set1_epi32(-form.offset() * x.firsts[at]);
        let first = _mm512_add_epi32(_mm512_slli_epi32::<FINE_BITS>(first), offset);
        let offset = _mm512_set1_epi32(-form.offset() * (x.counts[at] - x.firsts[at]));
        let last = _mm512_add_epi32(_mm512_slli_epi32::<FINE_BITS>(last), offset);
        [
            half([a, b, c, d], [fine[0], fine[1], fine[2], fine[3]], first),
            half([e, f, g, h], [fine[4], fine[5], fine[6], fine[7]], last),
        ]
    }
}

#[inline(always)]
unsafe fn half(weights: [__m512i; 4], fours: [i32; 4], sum: __m512i) -> __m512i {
    // SAFETY: the caller's: the instructions are there.
    unsafe {
        let sum = _mm512_dpbusd_epi32(sum, weights[0], _mm512_set1_epi32(fours[0]));
        let sum = _mm512_dpbusd_epi32(sum, weights[1], _mm512_set1_epi32(fours[1]));
        let sum = _mm512_dpbusd_epi32(sum, weights[2], _mm512_set1_epi32(fours[2]));
        _mm512_dpbusd_epi32(sum, weights[3], _mm512_set1_epi32(fours[3]))
    }
}

/// A block's weights as eight vectors of unsigned bytes: four neighbours of each of sixteen outputs.
#[inline(always)]
pub(super) unsafe fn unpack<const FORM: usize>(quants: *const u8) -> [__m512i; 8] {
    let form = const { Form::ALL[FORM] };
    // SAFETY: the caller's: the instructions are there, and the quants of one block of this form.
    unsafe {
        if matches!(form, Form::Q8_0) {
            let [a, b, c, d] = four_lines(quants);
            let [e, f, g, h] = four_lines(quants.add(256));
            return [a, b, c, d, e, f, g, h];
        }
        let [a, b, c, d] = four_lines(quants);
        let weights = [
            low(a),
            low(b),
            low(c),
            low(d),
            high(a),
            high(b),
            high(c),
            high(d),
        ];
        if matches!(form, Form::Q6K) {
            let low = _mm512_loadu_si512(quants.add(256).cast());
            let high = _mm512_loadu_si512(quants.add(320).cast());
            let [a, b, c, d, e, f, g, h] = weights;
            return [
                with_pair(a, _mm512_slli_epi16::<4>(low)),
                with_pair(b, _mm512_slli_epi16::<2>(low)),
                with_pair(c, low),
                with_pair(d, _mm512_srli_epi16::<2>(low)),
                with_pair(e, _mm512_slli_epi16::<4>(high)),
                with_pair(f, _mm512_slli_epi16::<2>(high)),
                with_pair(g, high),
                with_pair(h, _mm512_srli_epi16::<2>(high)),
            ];
        }
        if !form.has_fifth_bit() {
            return weights;
        }
        let bits = quants.add(256).cast::<u64>();
        let [a, b, c, d, e, f, g, h] = weights;
        [
            fifth(a, bits.read_unaligned()),
            fifth(b, bits.add(1).read_unaligned()),
            fifth(c, bits.add(2).read_unaligned()),
            fifth(d, bits.add(3).read_unaligned()),
            fifth(e, bits.add(4).read_unaligned()),
            fifth(f, bits.add(5).read_unaligned()),
            fifth(g, bits.add(6).read_unaligned()),
            fifth(h, bits.add(7).read_unaligned()),
        ]
    }
}

#[inline(always)]
unsafe fn four_lines(from: *const u8) -> [__m512i; 4] {
    // SAFETY: the caller's: the instructions are there, and 256 bytes.
    unsafe {
        [
            _mm512_loadu_si512(from.cast()),
            _mm512_loadu_si512(from.add(64).cast()),
            _mm512_loadu_si512(from.add(128).cast()),
            _mm512_loadu_si512(from.add(192).cast()),
        ]
    }
}

#[inline(always)]
unsafe fn low(pairs: __m512i) -> __m512i {
    // SAFETY: the caller's: the instructions are there.
    unsafe { _mm512_and_si512(pairs, _mm512_set1_epi8(15)) }
}

#[inline(always)]
unsafe fn high(pairs: __m512i) -> __m512i {
    // SAFETY: as above.
    unsafe { low(_mm512_srli_epi16::<4>(pairs)) }
}

/// Nibbles with the two bits at 4 and 5 of every byte of `pairs`.
#[inline(always)]
unsafe fn with_pair(nibbles: __m512i, pairs: __m512i) -> __m512i {
    // SAFETY: as above.
    unsafe { _mm512_or_si512(nibbles, _mm512_and_si512(pairs, _mm512_set1_epi8(0x30))) }
}

#[inline(always)]
unsafe fn fifth(nibbles: __m512i, bits: u64) -> __m512i {
    // SAFETY: as above.
    unsafe { _mm512_mask_add_epi8(nibbles, bits, nibbles, _mm512_set1_epi8(16)) }
}
