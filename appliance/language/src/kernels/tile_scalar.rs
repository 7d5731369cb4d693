//! One tile against some rows, in plain code: for machines without vector instructions, and what the others are
//! tested against.

use super::activation::{Activations, FINE_BITS, four};
use super::packed::{Packed, TILE, scale_of, weight_of};

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
    for (r, out) in out.iter_mut().enumerate() {
        let first = (row + r) * blocks;
        for (column, out) in out.iter_mut().enumerate() {
            let mut sum = 0.0_f32;
            for block in 0..blocks {
                let values = &x.values[first + block];
                let mut count = -form.offset() * x.counts[first + block];
                for (g, (whole, fine)) in values.whole.iter().zip(values.fine).enumerate() {
                    for (b, (whole, fine)) in four(*whole).iter().zip(four(fine)).enumerate() {
                        let weight = i32::from(weight_of(form, bytes, block, column, 4 * g + b));
                        count += weight * ((i32::from(*whole) << FINE_BITS) + i32::from(fine));
                    }
                }
                let (scale, minimum) = scale_of(form, bytes, blocks, block, column);
                sum = (count as f32 * x.scales[first + block]).mul_add(scale, sum);
                if form.has_minimum() {
                    sum = minimum.mul_add(x.sums[first + block], sum);
                }
            }
            *out = sum;
        }
    }
}
