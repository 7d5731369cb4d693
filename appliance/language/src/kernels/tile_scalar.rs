//! One tile against some rows, in plain code: for machines without vector instructions, and what the others are
//! tested against.

use super::activation::{Activations, BLOCK, Block, FINE_BITS, four};
use super::packed::{Packed, TILE, scales_of, weight_of};
use std::array::from_fn;

/// The products of the sixteen outputs of `tile` with the rows from `row` on, one for each of `out`.
pub(crate) fn products(
    weights: &Packed,
    tile: usize,
    x: &Activations,
    row: usize,
    out: &mut [[f32; TILE]],
) {
    let (form, blocks) = (weights.form, weights.blocks());
    let bytes = weights.tile(tile);
    out.fill([0.0; TILE]);
    for block in 0..blocks {
        let [scales, seconds] = scales_of(form, bytes, blocks, block);
        for (column, (scale, second)) in scales.into_iter().zip(seconds).enumerate() {
            let weights: [i32; BLOCK] =
                from_fn(|k| i32::from(weight_of(form, bytes, block, column, k)) - form.offset());
            for (r, out) in out.iter_mut().enumerate() {
                let (first, step) = x.place(row + r);
                let at = first + block * step;
                let [low, high] = counts(&weights, &x.values[at]);
                let sum = &mut out[column];
                if form.has_halves() {
                    let both = (high as f32).mul_add(second, low as f32 * scale);
                    *sum = both.mul_add(x.scales[at], *sum);
                } else {
                    *sum = ((low + high) as f32 * x.scales[at]).mul_add(scale, *sum);
                }
                if form.has_minimum() {
                    *sum = second.mul_add(x.sums[at], *sum);
                }
            }
        }
    }
}

/// The exact sums over both halves of a block.
fn counts(weights: &[i32; BLOCK], values: &Block) -> [i32; 2] {
    let mut counts = [0; 2];
    for (k, weight) in weights.iter().enumerate() {
        let (whole, fine) = (
            four(values.whole[k / 4])[k % 4],
            four(values.fine[k / 4])[k % 4],
        );
        counts[k / 16] += weight * ((i32::from(whole) << FINE_BITS) + i32::from(fine));
    }
    counts
}
