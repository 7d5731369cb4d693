//! The inverse discrete cosine transform (ISO/IEC 10918-1 section A.3.3), in single precision.

use std::f32::consts::{FRAC_1_SQRT_2, PI};
use std::sync::LazyLock;

/// `BASIS[u][x]`: half the amplitude of frequency `u` at place `x`.
static BASIS: LazyLock<[[f32; 8]; 8]> = LazyLock::new(|| {
    std::array::from_fn(|u| {
        let scale = if u == 0 { FRAC_1_SQRT_2 } else { 1.0 };
        std::array::from_fn(|x| {
            let angle = (2 * x + 1) as f32 * u as f32 * PI / 16.0;
            0.5 * scale * angle.cos()
        })
    })
});

/// A block of 8 by 8 frequencies, row by row, becomes a block of samples around 0.
pub(super) fn inverse(block: &mut [f32; 64]) {
    let basis = &*BASIS;
    let mut half = [0.0; 64];
    for (row, out) in block
        .as_chunks::<8>()
        .0
        .iter()
        .zip(half.as_chunks_mut::<8>().0)
    {
        // Most rows of most blocks have nothing in them.
        if row.iter().any(|c| *c != 0.0) {
            *out = line(basis, row);
        }
    }
    for column in 0..8 {
        let values = std::array::from_fn(|row| half[row * 8 + column]);
        for (row, value) in line(basis, &values).into_iter().enumerate() {
            block[row * 8 + column] = value;
        }
    }
}

fn line(basis: &[[f32; 8]; 8], frequencies: &[f32; 8]) -> [f32; 8] {
    let mut out = [0.0; 8];
    for (amplitude, wave) in frequencies.iter().zip(basis) {
        for (value, height) in out.iter_mut().zip(wave) {
            *value += amplitude * height;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_and_a_wave() {
        let mut block = [0.0; 64];
        block[0] = 80.0;
        inverse(&mut block);
        assert!(block.iter().all(|v| (v - 10.0).abs() < 1e-4));
        let mut block = [0.0; 64];
        block[1] = 8.0;
        inverse(&mut block);
        assert!((block[0] - FRAC_1_SQRT_2 * 2.0 * (PI / 16.0).cos()).abs() < 1e-4);
        assert!((block[0] + block[7]).abs() < 1e-4);
    }
}
