//! Resampling of regular grids along one axis at a time: every output value is a weighted sum of neighbouring inputs.

/// For each output position, the first input position and the weights from there on.
pub(crate) struct Weights {
    rows: Vec<(usize, Vec<f32>)>,
}

/// A Gaussian is cut off at so many standard deviations.
const GAUSSIAN_REACH_SIGMA: f64 = 4.0;

impl Weights {
    /// From `from` to `to` samples with a triangle filter, as wide as the reduction asks for; positions outside the
    /// grid have the value of its edge. Enlarging, this is linear interpolation.
    pub(crate) fn triangle(from: usize, to: usize) -> Self {
        let factor = from as f64 / to as f64;
        let reach = factor.max(1.0);
        let row = |o: usize| {
            let centre = (o as f64 + 0.5) * factor - 0.5;
            let first = (centre - reach).ceil() as i64;
            let last = (centre + reach).floor() as i64;
            let mut dense = Dense::new(from);
            for i in first..=last {
                let weight = 1.0 - (i as f64 - centre).abs() / reach;
                dense.add(i.clamp(0, from as i64 - 1) as usize, weight.max(0.0));
            }
            dense.normalised()
        };
        Self {
            rows: (0..to).map(row).collect(),
        }
    }

    /// From `from` to `to` samples by linear interpolation, with zero outside the grid; when reducing, smoothed first
    /// with a Gaussian of standard deviation `(from / to - 1) / 2`, zero outside the grid.
    ///
    /// This is one axis of scikit-image's `resize(order=1, mode="constant", anti_aliasing=True)`, which is separable.
    pub(crate) fn smooth_linear(from: usize, to: usize, antialias: bool) -> Self {
        let factor = from as f64 / to as f64;
        let sigma = if antialias {
            ((factor - 1.0) / 2.0).max(0.0)
        } else {
            0.0
        };
        let kernel = gaussian(sigma);
        let reach = (kernel.len() / 2) as i64;
        let row = |o: usize| {
            let centre = (o as f64 + 0.5) * factor - 0.5;
            let (below, part) = (centre.floor() as i64, centre - centre.floor());
            let mut dense = Dense::new(from);
            for (i, share) in [(below, 1.0 - part), (below + 1, part)] {
                if share == 0.0 || i < 0 || i >= from as i64 {
                    continue;
                }
                for (d, weight) in (-reach..).zip(&kernel) {
                    if (0..from as i64).contains(&(i + d)) {
                        dense.add((i + d) as usize, share * weight);
                    }
                }
            }
            dense.row()
        };
        Self {
            rows: (0..to).map(row).collect(),
        }
    }

    /// Applies the weights along the middle axis of `[outer, from, inner]`, giving `[outer, to, inner]`.
    pub(crate) fn apply(&self, values: &[f32], from: usize, inner: usize) -> Vec<f32> {
        // No caller has an empty axis; were there one, there would be nothing to give.
        let block = (from * inner).max(1);
        let outer = values.len() / block;
        let mut out = vec![0.0_f32; outer * self.rows.len() * inner];
        for (source, target) in values
            .chunks_exact(block)
            .zip(out.chunks_exact_mut(self.rows.len() * inner))
        {
            if inner == 1 {
                for ((first, weights), sum) in self.rows.iter().zip(target) {
                    *sum = weights
                        .iter()
                        .zip(&source[*first..])
                        .map(|(w, v)| w * v)
                        .sum();
                }
                continue;
            }
            for ((first, weights), line) in self.rows.iter().zip(target.chunks_exact_mut(inner)) {
                for (weight, from) in weights
                    .iter()
                    .zip(source[first * inner..].chunks_exact(inner))
                {
                    for (sum, value) in line.iter_mut().zip(from) {
                        *sum += weight * value;
                    }
                }
            }
        }
        out
    }
}

/// Weights under construction: the touched stretch of a row.
struct Dense {
    weights: Vec<f64>,
    first: usize,
    length: usize,
}

impl Dense {
    fn new(length: usize) -> Self {
        Self {
            weights: Vec::new(),
            first: 0,
            length,
        }
    }

    fn add(&mut self, index: usize, weight: f64) {
        debug_assert!(index < self.length);
        if self.weights.is_empty() {
            self.first = index;
        }
        if index < self.first {
            let missing = self.first - index;
            self.weights.splice(0..0, std::iter::repeat_n(0.0, missing));
            self.first = index;
        }
        let at = index - self.first;
        if at >= self.weights.len() {
            self.weights.resize(at + 1, 0.0);
        }
        self.weights[at] += weight;
    }

    fn row(self) -> (usize, Vec<f32>) {
        (self.first, self.weights.iter().map(|w| *w as f32).collect())
    }

    fn normalised(mut self) -> (usize, Vec<f32>) {
        let sum: f64 = self.weights.iter().sum();
        self.weights.iter_mut().for_each(|w| *w /= sum);
        self.row()
    }
}

fn gaussian(sigma: f64) -> Vec<f64> {
    if sigma <= 1e-15 {
        return vec![1.0];
    }
    let reach = (GAUSSIAN_REACH_SIGMA * sigma + 0.5) as i64;
    let kernel: Vec<f64> = (-reach..=reach)
        .map(|d| (-0.5 * (d as f64 / sigma).powi(2)).exp())
        .collect();
    let sum: f64 = kernel.iter().sum();
    kernel.iter().map(|k| k / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_size_changes_nothing() {
        let values: Vec<f32> = (0..24).map(|v| (v * v) as f32).collect();
        for weights in [Weights::triangle(4, 4), Weights::smooth_linear(4, 4, true)] {
            assert_eq!(weights.apply(&values, 4, 3), values);
        }
    }

    #[test]
    fn triangle_keeps_a_constant_and_halves_by_averaging() {
        let flat = Weights::triangle(7, 3).apply(&[5.0; 7], 7, 1);
        assert!(flat.iter().all(|v| (v - 5.0).abs() < 1e-6), "{flat:?}");
        let doubled = Weights::triangle(2, 4).apply(&[0.0, 4.0], 2, 1);
        assert_eq!(doubled, [0.0, 1.0, 3.0, 4.0]);
    }

    /// scikit-image 0.26: `resize(np.arange(1, 9) ** 2.0, (5,), mode="constant", anti_aliasing=True, clip=False)`.
    #[test]
    fn smooth_linear_equals_the_reference() {
        let values: Vec<f32> = (1..9).map(|v| (v * v) as f32).collect();
        let smaller: &[f32] = &[1.90767, 8.50767, 20.50767, 37.30767, 59.29016];
        let larger: &[f32] = &[
            0.83333, 2.5, 4.83333, 8.16667, 12.5, 17.5, 23.5, 30.5, 38.16667, 46.83333, 56.5,
            53.33333,
        ];
        for expected in [smaller, larger] {
            let got = Weights::smooth_linear(8, expected.len(), true).apply(&values, 8, 1);
            for (a, b) in got.iter().zip(expected) {
                assert!((a - b).abs() < 1e-4, "{got:?} {expected:?}");
            }
        }
    }
}
