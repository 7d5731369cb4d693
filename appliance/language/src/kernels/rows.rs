//! What is done to one row at a time: normalisation, rotation, adding.

use super::lanes::{Lanes, Plain};

/// Divides by the root of the mean square and multiplies by `weights`.
pub(crate) fn rms_norm(row: &[f32], weights: &[f32], epsilon: f32, into: &mut [f32]) {
    let scale = (mean_square(row) + epsilon).sqrt().recip();
    for ((into, value), weight) in into.iter_mut().zip(row).zip(weights) {
        *into = value * scale * weight;
    }
}

/// As [`rms_norm`], in place.
pub(crate) fn rms_norm_in_place(row: &mut [f32], weights: &[f32], epsilon: f32) {
    let scale = (mean_square(row) + epsilon).sqrt().recip();
    for (value, weight) in row.iter_mut().zip(weights) {
        *value = *value * scale * weight;
    }
}

fn mean_square(row: &[f32]) -> f32 {
    let mut squares = [0.0; 16];
    let mut lanes = row.chunks_exact(16);
    for lane in &mut lanes {
        for (square, value) in squares.iter_mut().zip(lane) {
            *square += value * value;
        }
    }
    let rest: f32 = lanes.remainder().iter().map(|value| value * value).sum();
    (Plain::load(&squares).sum() + rest) / row.len() as f32
}

/// Which values of a head are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pairing {
    /// Neighbours: 0 with 1, 2 with 3.
    Neighbours,
    /// The first half with the second.
    Halves,
}

/// Rotates a head by the angles of its position; values beyond the angles stay.
pub(crate) fn rotate(head: &mut [f32], cosines: &[f32], sines: &[f32], pairing: Pairing) {
    let half = cosines.len();
    for i in 0..half {
        let (a, b) = match pairing {
            Pairing::Neighbours => (2 * i, 2 * i + 1),
            Pairing::Halves => (i, i + half),
        };
        let (x, y) = (head[a], head[b]);
        head[a] = x * cosines[i] - y * sines[i];
        head[b] = x * sines[i] + y * cosines[i];
    }
}

/// Adds `values` to `row`.
pub(crate) fn add(row: &mut [f32], values: &[f32]) {
    row.iter_mut()
        .zip(values)
        .for_each(|(row, value)| *row += value);
}
