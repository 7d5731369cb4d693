//! Noise: discrete Laplace, drawn exactly.
//!
//! What is protected is one patient in one week, in the histograms. With or without that patient, at most one cell of a
//! model's histogram differs, by one ([`crate::Week`] counts no more of a patient than that), so its L1 sensitivity is 1 and
//! noise of scale 1 / 0.5 = 2 makes a model's week cost epsilon 0.5. A patient is counted for at most two models a week, so
//! the histograms of a week cost a patient at most epsilon 1, however many models are told of. The outcome of an evaluation is
//! one more histogram, in which a patient is once: 0.5 each, and a frame tells of at most two, so that a week in which some are
//! told costs a patient at most 2. Weeks add up: somebody seen in every week of the year has spent 52, and 0.5 for each
//! evaluation.
//!
//! Nothing else in a frame has noise. Operational counts, such as the inferences of each model with and without a result, are
//! exact, and so not differentially private: a count of one is in the frame as one, and the hub shows counts from five on to
//! all but the hospital itself. The verdict on drift is made of exact numbers, too.
//!
//! The sampler is the one of the `prio` crate, that of Canonne, Kamath and Steinke (2020, "The Discrete Gaussian for
//! Differential Privacy", algorithms 1 and 2): whole numbers and fair draws only, so that no rounding of a logarithm gives
//! away what floating point would.

use pericard_frame::budget::MODEL_WEEK_MILLI_EPSILON;
use prio::dp::distributions::{DiscreteLaplace, DiscreteLaplaceDpStrategy};
use prio::dp::{DifferentialPrivacyStrategy as _, DpError, PureDpBudget, Rational};
use rand::SeedableRng as _;
use rand::distr::Distribution as _;
use rand::rngs::StdRng;

/// By how much one patient changes a model's week.
const SENSITIVITY: u32 = 1;

/// What noise grows from: 32 random bytes, new for every week, and never kept.
pub struct Seed(pub [u8; 32]);

/// A source of noise.
pub(crate) struct Noise {
    random: StdRng,
    law: DiscreteLaplace,
}

impl Noise {
    pub(crate) fn from(seed: Seed) -> Self {
        Self {
            random: StdRng::from_seed(seed.0),
            law: law().expect("neither epsilon nor sensitivity is zero"),
        }
    }

    /// One draw.
    pub(crate) fn draw(&mut self) -> i64 {
        loop {
            // One that does not fit has never been drawn: it is as likely as e^(-2^62).
            if let Ok(drawn) = i64::try_from(self.law.sample(&mut self.random)) {
                return drawn;
            }
        }
    }
}

fn law() -> Result<DiscreteLaplace, DpError> {
    let epsilon = Rational::from_unsigned(MODEL_WEEK_MILLI_EPSILON, 1000)?;
    let budget = PureDpBudget::new(epsilon)?;
    let sensitivity = Rational::from_unsigned(SENSITIVITY, 1)?;
    DiscreteLaplaceDpStrategy::from_budget(budget).create_distribution(sensitivity)
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
        let mut noise = Noise::from(Seed([7; 32]));
        let found = chi_square(|| noise.draw());
        assert!(found < CHI_SQUARE_MAX, "chi-square {found}");
    }

    #[test]
    fn the_test_of_the_draws_finds_noise_that_is_a_little_too_small() {
        let mut noise = Noise::from(Seed([7; 32]));
        let mut dropped = 0_u32;
        let found = chi_square(|| {
            let drawn = noise.draw();
            dropped += 1;
            if dropped.is_multiple_of(20) { 0 } else { drawn }
        });
        assert!(found > CHI_SQUARE_MAX, "chi-square {found}");
    }
}
