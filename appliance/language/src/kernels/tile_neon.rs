//! One tile against some rows with NEON, which every aarch64 has: the sixteen outputs in four quarters.
//!
//! The newer machines multiply and sum four bytes in one instruction, which is written out: the compiler's name for it is not
//! stable. On the others pairs are summed in sixteen bits on the way; the sums are whole numbers either way, and exact.

#![cfg(target_arch = "aarch64")]

use super::activation::{Activations, Block, FINE_BITS};
use super::lanes::Neon;
use super::packed::{Form, Packed, TILE, scales_at};
use super::scales::Scales;
use std::arch::aarch64::*;
use std::arch::asm;

/// Rows computed together.
const ROWS: usize = 4;

/// A block's weights of four outputs: of each half of the block, four times four neighbours.
type Weights = [[int8x16_t; 4]; 2];

/// The products of the sixteen outputs of `tile` with the rows from `row` on, one for each of `out`.
///
/// # Safety
/// With `DOT` the machine has the dot product instructions.
pub(crate) unsafe fn products<const DOT: bool>(
    weights: &Packed,
    tile: usize,
    x: &Activations,
    row: usize,
    out: &mut [[f32; TILE]],
) {
    assert!(x.width == weights.inputs && row + out.len() <= x.rows());
    assert!(row.is_multiple_of(ROWS)); // so that rows computed together lie together
    let bytes = weights.tile(tile);
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        match weights.form {
            Form::Q4_0 => all::<0, DOT>(bytes, x, row, out),
            Form::Q4_1 => all::<1, DOT>(bytes, x, row, out),
            Form::Q5_0 => all::<2, DOT>(bytes, x, row, out),
            Form::Q5_1 => all::<3, DOT>(bytes, x, row, out),
            Form::Q8_0 => all::<4, DOT>(bytes, x, row, out),
            Form::Q4K => all::<5, DOT>(bytes, x, row, out),
            Form::Q5K => all::<6, DOT>(bytes, x, row, out),
            Form::Q6K => all::<7, DOT>(bytes, x, row, out),
        }
    }
}

unsafe fn all<const FORM: usize, const DOT: bool>(
    tile: &[u8],
    x: &Activations,
    row: usize,
    out: &mut [[f32; TILE]],
) {
    let mut row = row;
    let mut fours = out.chunks_exact_mut(ROWS);
    // SAFETY: passed on from the caller.
    unsafe {
        for four in &mut fours {
            some::<FORM, ROWS, DOT>(tile, x, row, four);
            row += ROWS;
        }
        for one in fours.into_remainder() {
            some::<FORM, 1, DOT>(tile, x, row, std::slice::from_mut(one));
            row += 1;
        }
    }
}

unsafe fn some<const FORM: usize, const R: usize, const DOT: bool>(
    tile: &[u8],
    x: &Activations,
    row: usize,
    out: &mut [[f32; TILE]],
) {
    let form = const { Form::ALL[FORM] };
    let blocks = x.blocks();
    let (first, step) = x.place(row);
    let mut scales = Scales::<Neon>::none();
    // SAFETY: passed on from the caller; a vector is four floats.
    unsafe {
        let mut sums = [[vdupq_n_f32(0.0); 4]; R];
        for block in 0..blocks {
            if block % form.group() == 0 {
                scales.read(form, &tile[scales_at(form, blocks, block)..]);
            }
            let [scale, second] = scales.of(form, block);
            let quants = &tile[block * form.quant_bytes()..][..form.quant_bytes()];
            for quarter in 0..4 {
                let weights = unpack::<FORM>(quants, quarter);
                let (scale, second) = (scale.0[quarter], second.0[quarter]);
                for (r, sums) in sums.iter_mut().enumerate() {
                    let at = first + block * step + r;
                    let (by, sum) = (x.scales[at], &mut sums[quarter]);
                    let [low, high] = counts::<FORM, DOT>(&weights, x, at);
                    if form.has_halves() {
                        let both = vmulq_f32(vcvtq_f32_s32(low), scale);
                        let both = vfmaq_f32(both, vcvtq_f32_s32(high), second);
                        *sum = vfmaq_f32(*sum, both, vdupq_n_f32(by));
                    } else {
                        let count = vcvtq_f32_s32(vaddq_s32(low, high));
                        *sum = vfmaq_f32(*sum, vmulq_n_f32(count, by), scale);
                    }
                    if form.has_minimum() {
                        *sum = vfmaq_f32(*sum, second, vdupq_n_f32(x.sums[at]));
                    }
                }
            }
        }
        for (out, sums) in out.iter_mut().zip(sums) {
            for (out, sum) in out.as_chunks_mut::<4>().0.iter_mut().zip(sums) {
                vst1q_f32(out.as_mut_ptr(), sum);
            }
        }
    }
}

// The functions below are inlined into the one above always: called for every block, they would otherwise pass their vectors
// through memory. Every such machine has their instructions, but for those of `DOT`.

/// The exact sums over both halves of one block for four outputs.
#[inline(always)]
unsafe fn counts<const FORM: usize, const DOT: bool>(
    weights: &Weights,
    x: &Activations,
    at: usize,
) -> [int32x4_t; 2] {
    let form = const { Form::ALL[FORM] };
    let Block { whole, fine } = &x.values[at];
    let halves = whole.as_chunks().0.iter().zip(fine.as_chunks().0);
    // SAFETY: passed on from the caller.
    unsafe {
        let mut counts = [vdupq_n_s32(0); 2];
        for ((count, weights), (whole, fine)) in counts.iter_mut().zip(weights).zip(halves) {
            let (whole, fine) = (dot::<DOT>(weights, whole), dot::<DOT>(weights, fine));
            *count = vaddq_s32(vshlq_n_s32::<{ FINE_BITS as i32 }>(whole), fine);
        }
        if form.offset() != 0 && form.offset() != 128 {
            let firsts = if form.has_halves() { x.firsts[at] } else { 0 };
            for (count, of) in counts.iter_mut().zip([firsts, x.counts[at] - firsts]) {
                *count = vsubq_s32(*count, vdupq_n_s32(form.offset() * of));
            }
        }
        counts
    }
}

/// The exact sum over half a block.
#[inline(always)]
unsafe fn dot<const DOT: bool>(weights: &[int8x16_t; 4], values: &[i32; 4]) -> int32x4_t {
    // SAFETY: four words; the rest is passed on from the caller.
    unsafe {
        let values = vld1q_s32(values.as_ptr());
        let sum = add_products::<DOT, 0>(vdupq_n_s32(0), weights[0], values);
        let sum = add_products::<DOT, 1>(sum, weights[1], values);
        let sum = add_products::<DOT, 2>(sum, weights[2], values);
        add_products::<DOT, 3>(sum, weights[3], values)
    }
}

/// Adds the products of the four outputs' weights with the four neighbours in one of the words.
#[inline(always)]
unsafe fn add_products<const DOT: bool, const WORD: i32>(
    mut sum: int32x4_t,
    weights: int8x16_t,
    values: int32x4_t,
) -> int32x4_t {
    // SAFETY: the caller vouches for the instruction that is written out, which touches these registers only.
    unsafe {
        if DOT {
            asm!(
                ".arch_extension dotprod",
                "sdot {sum:v}.4s, {weights:v}.16b, {values:v}.4b[{word}]",
                sum = inout(vreg) sum,
                weights = in(vreg) weights,
                values = in(vreg) values,
                word = const WORD,
                options(pure, nomem, nostack, preserves_flags),
            );
            return sum;
        }
        let four = vreinterpretq_s8_s32(vdupq_laneq_s32::<WORD>(values));
        let low = vmull_s8(vget_low_s8(weights), vget_low_s8(four));
        let high = vmull_high_s8(weights, four);
        vpadalq_s16(sum, vpaddq_s16(low, high)) // a pair is at most 2 * 128 * 127 = 32512
    }
}

/// A block's weights of the four outputs of a quarter.
#[inline(always)]
unsafe fn unpack<const FORM: usize>(quants: &[u8], quarter: usize) -> Weights {
    let form = const { Form::ALL[FORM] };
    // SAFETY: every such machine has the instructions.
    unsafe {
        let mut weights = [[vdupq_n_u8(0); 4]; 2];
        if matches!(form, Form::Q8_0) {
            for (g, weights) in weights.as_flattened_mut().iter_mut().enumerate() {
                *weights = veorq_u8(load(quants, g * 64 + quarter * 16), vdupq_n_u8(128));
            }
            return signed(weights);
        }
        for j in 0..4 {
            let pairs = load(quants, j * 64 + quarter * 16);
            weights[0][j] = vandq_u8(pairs, vdupq_n_u8(15));
            weights[1][j] = vshrq_n_u8::<4>(pairs);
        }
        if form.has_fifth_bit() {
            for (g, weights) in weights.as_flattened_mut().iter_mut().enumerate() {
                let bits = &quants[256 + g * 8 + quarter * 2..][..2];
                *weights = vorrq_u8(*weights, spread(bits[0], bits[1]));
            }
        }
        if matches!(form, Form::Q6K) {
            for (h, weights) in weights.iter_mut().enumerate() {
                let pairs = load(quants, 256 + h * 64 + quarter * 16);
                let at_four = [
                    vshlq_n_u8::<4>(pairs),
                    vshlq_n_u8::<2>(pairs),
                    pairs,
                    vshrq_n_u8::<2>(pairs),
                ];
                for (weights, pairs) in weights.iter_mut().zip(at_four) {
                    *weights = vorrq_u8(*weights, vandq_u8(pairs, vdupq_n_u8(0x30)));
                }
            }
        }
        signed(weights)
    }
}

#[inline(always)]
unsafe fn signed(weights: [[uint8x16_t; 4]; 2]) -> Weights {
    // SAFETY: as above; the bytes stay as they are.
    weights.map(|half| half.map(|weights| unsafe { vreinterpretq_s8_u8(weights) }))
}

/// Sixteen in every byte whose bit is set.
#[inline(always)]
unsafe fn spread(low: u8, high: u8) -> uint8x16_t {
    // SAFETY: as above.
    unsafe {
        let bits = vcombine_u8(vdup_n_u8(low), vdup_n_u8(high));
        let which = vcreate_u8(0x8040_2010_0804_0201);
        let set = vtstq_u8(bits, vcombine_u8(which, which));
        vandq_u8(set, vdupq_n_u8(16))
    }
}

#[inline(always)]
unsafe fn load(quants: &[u8], at: usize) -> uint8x16_t {
    let bytes = &quants[at..][..16];
    // SAFETY: as above, and these are sixteen bytes.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}
