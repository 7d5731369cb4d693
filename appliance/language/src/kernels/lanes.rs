//! Sixteen floats at a time, written once and compiled for every tier.
//!
//! The functions are plain code over arrays; where they are inlined into a function compiled for wider instructions,
//! the compiler turns them into those. The operations and their order are the same everywhere, hence so are the bits.

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
    std::array::from_fn(|i| a.mul_add(b[i], c[i]))
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

/// `x * sigmoid(x)`.
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// The sum of sixteen floats, always in the same order.
#[inline(always)]
pub(crate) fn sum(lane: &Lane) -> f32 {
    let eight: [f32; 8] = std::array::from_fn(|i| lane[i] + lane[i + 8]);
    let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

/// The largest of sixteen floats.
#[inline(always)]
pub(crate) fn largest(lane: &Lane) -> f32 {
    let eight: [f32; 8] = std::array::from_fn(|i| lane[i].max(lane[i + 8]));
    let four: [f32; 4] = std::array::from_fn(|i| eight[i].max(eight[i + 4]));
    four[0].max(four[2]).max(four[1].max(four[3]))
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
