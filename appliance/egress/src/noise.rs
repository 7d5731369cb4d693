//! Noise: discrete Laplace, drawn by `prio`'s exact sampler.
//!
//! What is protected is one patient in one week. With or without that patient, at most one cell of a model's histogram
//! differs, by one ([`crate::Week`] counts no more of a patient than that), so its L1 sensitivity is 1 and noise of scale
//! 1 / 0.5 = 2 makes a model's week cost epsilon 0.5. A patient is counted for at most two models a week, so a week costs
//! a patient at most epsilon 1, however many models are told of. Weeks add up: somebody seen in every week of the year
//! has spent 52.

use prio::dp::Rational;
use prio::dp::distributions::DiscreteLaplace;
use rand::SeedableRng as _;
use rand::distr::Distribution;
use rand::rngs::StdRng;

/// What a model's week costs, thousandths of epsilon.
pub const MODEL_WEEK_MILLI_EPSILON: u32 = 500;
/// The scale of the noise: sensitivity over epsilon.
const SCALE: (u32, u32) = (1000, MODEL_WEEK_MILLI_EPSILON);

/// What noise grows from: 32 random bytes, new for every week, and never kept.
pub struct Seed(pub [u8; 32]);

/// A source of noise.
pub(crate) struct Noise {
    laplace: DiscreteLaplace,
    random: StdRng,
}

impl Noise {
    /// `None` when the sampler refuses the scale, which is a constant: it does not.
    pub(crate) fn from(seed: Seed) -> Option<Self> {
        let scale = Rational::from_unsigned(SCALE.0, SCALE.1).ok()?;
        Some(Self {
            laplace: DiscreteLaplace::new(scale).ok()?,
            random: StdRng::from_seed(seed.0),
        })
    }

    /// One draw. One beyond 32 bits is as unlikely as a draw can be, and is told as the largest there is.
    pub(crate) fn draw(&mut self) -> i64 {
        let drawn = Distribution::sample(&self.laplace, &mut self.random);
        i32::try_from(&drawn).map_or(i64::from(i32::MAX), i64::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u32 = 40_000;
    /// Each of -9..=9 for itself, and one bin for each tail.
    const BINS: usize = 21;
    /// A true sampler is above this once in a million seeds (chi-square with 20 degrees of freedom). The seed is fixed,
    /// so that the test never fails by chance once it has passed.
    const CHI_SQUARE_MAX: f64 = 66.0;

    fn chi_square(mut draw: impl FnMut() -> i64) -> f64 {
        let mut found = [0_u32; BINS];
        for _ in 0..DRAWS {
            found[(draw().clamp(-10, 10) + 10) as usize] += 1;
        }
        // P(x) = (1 - q) / (1 + q) * q^|x| with q = e^(-1/2); the tail beyond 9 is q^10 / (1 + q) on each side.
        let q = (-0.5_f64).exp();
        let expected = |at: usize| {
            let x = (at as i32 - 10).abs();
            let share = if x == 10 {
                q.powi(10) / (1.0 + q)
            } else {
                (1.0 - q) / (1.0 + q) * q.powi(x)
            };
            share * f64::from(DRAWS)
        };
        let terms = found.iter().enumerate().map(|(at, found)| {
            let expected = expected(at);
            (f64::from(*found) - expected).powi(2) / expected
        });
        terms.sum()
    }

    #[test]
    fn draws_are_discrete_laplace_of_epsilon_one_half() {
        let mut noise = Noise::from(Seed([7; 32])).expect("a scale");
        let found = chi_square(|| noise.draw());
        assert!(found < CHI_SQUARE_MAX, "chi-square {found}");
    }

    #[test]
    fn the_test_of_the_draws_finds_noise_that_is_a_little_too_small() {
        let mut noise = Noise::from(Seed([7; 32])).expect("a scale");
        let mut dropped = 0_u32;
        let found = chi_square(|| {
            let drawn = noise.draw();
            dropped += 1;
            if dropped.is_multiple_of(20) { 0 } else { drawn }
        });
        assert!(found > CHI_SQUARE_MAX, "chi-square {found}");
    }
}
