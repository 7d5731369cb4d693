//! Sixteen floats at a time, written once and compiled for every tier.
//!
//! The functions are plain code over arrays; where they are inlined into a function compiled for wider instructions,
//! the compiler turns them into those. Hence loops and not closures: a closure that is not inlined would be compiled
//! for the plainest machine. The operations and their order are the same everywhere, hence so are the bits.

#![allow(clippy::needless_range_loop)] // parallel lanes: indices say what belongs together

use super::Tier;

/// Sixteen floats.
pub(crate) type Lane = [f32; 16];

/// Sixteen-bit floats to floats: the one step that wants an instruction of its own.
pub(crate) trait Widen {
    /// Widens sixteen values.
    fn widen(from: &[u16; 16]) -> Lane;
}

/// `a * b + c` with one rounding.
#[inline(always)]
pub(crate) fn fma(a: f32, b: &Lane, c: &Lane) -> Lane {
    let mut lane = *c;
    for i in 0..16 {
        lane[i] = a.mul_add(b[i], lane[i]);
    }
    lane
}

/// Every value times `factor`.
#[inline(always)]
pub(crate) fn scaled(lane: &Lane, factor: f32) -> Lane {
    let mut lane = *lane;
    for value in &mut lane {
        *value *= factor;
    }
    lane
}

/// `product *= silu(gate)`, value by value.
pub(crate) fn gate(tier: Tier, gates: &[Lane], products: &mut [Lane]) {
    match tier {
        // SAFETY: `Tier::detect` found the instructions.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => unsafe { gate_avx512(gates, products) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => unsafe { gate_avx2(gates, products) },
        _ => gate_lanes(gates, products),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
unsafe fn gate_avx512(gates: &[Lane], products: &mut [Lane]) {
    gate_lanes(gates, products);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn gate_avx2(gates: &[Lane], products: &mut [Lane]) {
    gate_lanes(gates, products);
}

#[inline(always)]
fn gate_lanes(gates: &[Lane], products: &mut [Lane]) {
    for (product, gate) in products.iter_mut().zip(gates) {
        for i in 0..16 {
            product[i] *= gate[i] / (1.0 + exp(-gate[i]));
        }
    }
}

/// The exponential: exactly one at zero, exactly zero below -87, within 2 units of the last place above.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to a whole number
    let clamped = x.clamp(-87.0, 88.0);
    let whole = clamped.mul_add(std::f32::consts::LOG2_E, MAGIC) - MAGIC;
    let rest = whole.mul_add(-0.693_359_4, clamped); // ln 2 in two parts, the first exact
    let rest = whole.mul_add(2.121_944_4e-4, rest);
    let mut sum = 1.987_569_1e-4_f32;
    for factor in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        sum = sum.mul_add(rest, factor);
    }
    let sum = sum.mul_add(rest * rest, rest) + 1.0;
    let power = f32::from_bits(((whole as i32 + 127) << 23) as u32);
    if x < -87.0 { 0.0 } else { sum * power }
}

/// The sum of sixteen floats, always in the same order.
#[inline(always)]
pub(crate) fn sum(lane: &Lane) -> f32 {
    fold(*lane, |a, b| a + b)
}

/// The largest of sixteen floats.
#[inline(always)]
pub(crate) fn largest(lane: &Lane) -> f32 {
    fold(*lane, f32::max)
}

/// Halves upon halves.
#[inline(always)]
fn fold(mut lane: Lane, join: impl Fn(f32, f32) -> f32) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lane[i] = join(lane[i], lane[i + half]);
        }
    }
    lane[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_close_and_exact_where_it_must_be() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1000.0), 0.0);
        for step in -8_600..8_800 {
            let x = step as f32 / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 3e-7, "exp({x})");
        }
    }
}
