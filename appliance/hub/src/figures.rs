//! Estimates out of noised counts, each with what chance makes of it.
//!
//! Two chances are at work: which patients came (sampling), and the discrete Laplace noise that every hospital adds to each
//! cell before anything leaves it (privacy). Both variances are known, so that every interval and every alarm threshold here
//! is computed from them, not fitted. What too few stand behind is no estimate at all.

use pericard_frame::layout::{BINS, CELLS, REVIEWS};

/// Fewer than this, counted with noise, are no estimate.
pub const ESTIMATE_MIN: f64 = 50.0;
/// The first tenth of the score that counts as positive: 0.5 and above.
pub const POSITIVE_FROM: usize = BINS / 2;
/// How many standard deviations a 95 % interval reaches to each side.
const REACH: f64 = 1.959_964;
/// How often what is true may lie outside an interval.
const OUTSIDE: f64 = 0.05;
/// The places in which two distributions over the bins are compared: behind each bin but the last.
const CUTS: usize = BINS - 1;
/// The states of review, by their place in a histogram.
const AGREED: usize = 1;
const DISAGREED: usize = 2;

/// A figure and the interval that holds the true one 95 times in 100.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// The lower end of its interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Estimate {
    pub(crate) fn around(value: f64, variance: f64, (from, to): (f64, f64)) -> Self {
        let reach = REACH * variance.sqrt();
        Self {
            value: value.clamp(from, to),
            low: (value - reach).clamp(from, to),
            high: (value + reach).clamp(from, to),
        }
    }
}

/// Noised histograms added up: of one model, over weeks or hospitals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pool {
    cells: [i64; CELLS],
    /// The variance of the noise in each cell.
    noise: f64,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            cells: [0; CELLS],
            noise: 0.0,
        }
    }
}

/// The variance of discrete Laplace noise that costs so many thousandths of epsilon, with a sensitivity of 1.
#[must_use]
pub fn noise_variance(milli_epsilon: u64) -> f64 {
    let step = (-(milli_epsilon as f64) / 1000.0).exp();
    2.0 * step / (1.0 - step).powi(2)
}

impl Pool {
    /// What one frame tells of one model: noise was drawn once for each of its weeks.
    #[must_use]
    pub fn told(cells: [i64; CELLS], weeks: u64, milli_epsilon: u64) -> Self {
        let noise = weeks as f64 * noise_variance(milli_epsilon);
        Self { cells, noise }
    }

    /// Both together.
    #[must_use]
    pub fn with(mut self, other: &Self) -> Self {
        for (held, more) in self.cells.iter_mut().zip(other.cells) {
            *held += more;
        }
        self.noise += other.noise;
        self
    }

    /// All of these together.
    pub fn of<'p>(pools: impl IntoIterator<Item = &'p Self>) -> Self {
        let none = Self::default();
        pools.into_iter().fold(none, |sum, pool| sum.with(pool))
    }

    /// How many inferences it tells of. Its chance is the noise alone: they were all counted.
    #[must_use]
    pub fn total(&self) -> Estimate {
        let variance = CELLS as f64 * self.noise;
        Estimate::around(self.count(|_, _| true), variance, (0.0, f64::MAX))
    }

    /// The share of scores of 0.5 and above.
    #[must_use]
    pub fn positivity(&self) -> Option<Estimate> {
        self.share(|_, bin| bin >= POSITIVE_FROM, |_, _| true)
    }

    /// The share of reviewed results that people agreed with.
    #[must_use]
    pub fn concordance(&self) -> Option<Estimate> {
        self.share(
            |review, _| review == AGREED,
            |review, _| review == AGREED || review == DISAGREED,
        )
    }

    /// How many of its results people reviewed, with noise.
    #[must_use]
    pub fn reviewed(&self) -> f64 {
        self.count(|review, _| review == AGREED || review == DISAGREED)
    }

    /// How many scores lie in each tenth, with noise.
    #[must_use]
    pub fn bins(&self) -> [f64; BINS] {
        std::array::from_fn(|wanted| self.count(|_, bin| bin == wanted))
    }

    /// The standard deviation of the noise in a sum of so many cells.
    #[must_use]
    pub fn noise_sd(&self, cells: usize) -> f64 {
        (cells as f64 * self.noise).sqrt()
    }

    fn count(&self, counts: impl Fn(usize, usize) -> bool) -> f64 {
        let held = places().zip(self.cells);
        let held = held.filter(|((review, bin), _)| counts(*review, *bin));
        held.map(|(_, count)| count as f64).sum()
    }

    fn share(
        &self,
        part: impl Fn(usize, usize) -> bool,
        whole: impl Fn(usize, usize) -> bool,
    ) -> Option<Estimate> {
        let (some, all) = (self.count(&part), self.count(&whole));
        if all < ESTIMATE_MIN {
            return None;
        }
        let width = |counts: &dyn Fn(usize, usize) -> bool| {
            places()
                .filter(|(review, bin)| counts(*review, *bin))
                .count()
        };
        let (inside, outside) = (width(&part), width(&whole) - width(&part));
        let (share, variance) = share_of((some, inside), (all - some, outside), self.noise);
        Some(Estimate::around(share, variance, (0.0, 1.0)))
    }

    /// The share of scores up to each cut, each with its variance around the share that is `expected` there.
    fn below(&self, expected: &[f64; CUTS]) -> [(f64, f64); CUTS] {
        let (bins, all) = (self.bins(), self.count(|_, _| true).max(1.0));
        let mut sum = 0.0;
        std::array::from_fn(|cut| {
            sum += bins[cut];
            let share = expected[cut];
            let (under, over) = ((cut + 1) as f64, (BINS - cut - 1) as f64);
            let noise = under * (1.0 - share).powi(2) + over * share.powi(2);
            let noise = REVIEWS as f64 * noise * self.noise / all.powi(2);
            (sum / all, share * (1.0 - share) / all + noise)
        })
    }

    fn shares_below(&self) -> [f64; CUTS] {
        self.below(&[0.5; CUTS])
            .map(|(share, _)| share.clamp(0.0, 1.0))
    }
}

/// The share of a part in it and the rest, and its variance: each a count over so many cells, with noise of this variance in
/// each of them. Noise may put it beyond 0 or 1: held to them, a mean of many would be too near the middle.
pub(crate) fn share_of(part: (f64, usize), rest: (f64, usize), noise: f64) -> (f64, f64) {
    let ((some, inside), (others, outside)) = (part, rest);
    let all = some + others;
    // Two successes and two failures more (Agresti and Coull): a share of 0 or 1 is no certainty.
    let near = ((some + 2.0) / (all + 4.0)).clamp(0.0, 1.0);
    let sampling = near * (1.0 - near) / (all + 4.0);
    let cells = inside as f64 * (1.0 - near).powi(2) + outside as f64 * near.powi(2);
    (some / all, sampling + noise * cells / all.powi(2))
}

/// How far scores lie from where they lay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distance {
    /// The greatest difference between two cumulated shares (Kolmogorov and Smirnov), 0 to 1.
    pub value: f64,
    /// The lower end of the interval that holds the true one at least 95 times in 100.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// What chance alone, of sampling and of noise, passes at most as often as was asked for.
    pub threshold: f64,
}

impl Distance {
    /// Whether it is farther than chance puts it.
    #[must_use]
    pub fn is_beyond(&self) -> bool {
        self.value > self.threshold
    }
}

/// How far these weeks lie from their own references, hospital by hospital, taken together: a hospital that joins or leaves
/// changes nothing. `false_alarms` is how often the threshold may be passed by chance. `None` without anything to compare.
#[must_use]
pub fn distance(pairs: &[(Pool, Pool)], false_alarms: f64) -> Option<Distance> {
    let mut sums = [(0.0, 0.0, 0.0); CUTS];
    let mut weight = 0.0;
    for (reference, week) in pairs {
        let size = week.total().value;
        let expected = reference.with(week).shares_below();
        let (then, now) = (reference.below(&expected), week.below(&expected));
        // The threshold supposes that nothing moved; the interval takes each as it is.
        let own = [reference, week].map(|pool| pool.below(&pool.shares_below()));
        for (cut, (difference, variance, spread)) in sums.iter_mut().enumerate() {
            *difference += size * (now[cut].0 - then[cut].0);
            *variance += size.powi(2) * (now[cut].1 + then[cut].1);
            *spread += size.powi(2) * (own[0][cut].1 + own[1][cut].1);
        }
        weight += size;
    }
    if weight < ESTIMATE_MIN {
        return None;
    }
    let sds = sums.map(|(_, variance, _): (f64, f64, f64)| variance.sqrt() / weight);
    let spreads = sums.map(|(_, _, spread): (f64, f64, f64)| spread.sqrt() / weight);
    let values = sums.map(|(difference, _, _): (f64, f64, f64)| difference.abs() / weight);
    let value = values.into_iter().fold(0.0, f64::max);
    // No cut is farther off than this, and the greatest of them is off by no more than the worst of them.
    let reach = threshold(&spreads, OUTSIDE);
    Some(Distance {
        value,
        low: (value - reach).max(0.0),
        high: (value + reach).min(1.0),
        threshold: threshold(&sds, false_alarms),
    })
}

/// The distance that normal deviations of these sizes pass together with at most this probability: the sum of their tails
/// is an upper bound, whatever hangs together between them.
fn threshold(sds: &[f64; CUTS], probability: f64) -> f64 {
    let passed = |at: f64| -> f64 { sds.iter().map(|sd| 2.0 * upper_tail(at / sd)).sum() };
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        if passed(middle) > probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// How often a standard normal deviation is above this (Abramowitz and Stegun 26.2.17; off by less than 7.5e-8).
fn upper_tail(deviations: f64) -> f64 {
    if !deviations.is_finite() {
        return 0.0; // nothing deviates where there is no chance
    }
    let t = 1.0 / (1.0 + 0.231_641_9 * deviations);
    let factors = [
        0.319_381_530,
        -0.356_563_782,
        1.781_477_937,
        -1.821_255_978,
        1.330_274_429,
    ];
    let sum = factors
        .iter()
        .rev()
        .fold(0.0, |sum, factor| (sum + factor) * t);
    sum * (-deviations.powi(2) / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

fn places() -> impl Iterator<Item = (usize, usize)> {
    (0..REVIEWS).flat_map(|review| (0..BINS).map(move |bin| (review, bin)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A generator of known numbers (Vigna's splitmix64): chance that is the same in every run.
    pub(crate) struct Chance(pub(crate) u64);

    impl Chance {
        pub(crate) fn unit(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        }

        pub(crate) fn noise(&mut self) -> i64 {
            let mut length = || (self.unit().ln() / -0.5).floor() as i64;
            length() - length() // two geometric lengths: discrete Laplace of scale 2
        }

        fn pool(&mut self, patients: usize, positive: f64) -> Pool {
            let mut cells = [0; CELLS];
            for _ in 0..patients {
                let bin = if self.unit() < positive { 5 } else { 0 } + (self.unit() * 5.0) as usize;
                let review = match self.unit() {
                    ..0.6 => 0,
                    ..0.9 => AGREED,
                    _ => DISAGREED,
                };
                cells[review * BINS + bin] += 1;
            }
            Pool::told(cells.map(|count| count + self.noise()), 1, 500)
        }
    }

    #[test]
    fn intervals_hold_what_is_true_as_often_as_they_say() {
        let mut chance = Chance(1);
        let (mut held, mut agreed, mut counted) = (0, 0, 0);
        let runs = 2000;
        for _ in 0..runs {
            let pool = chance.pool(400, 0.2);
            let holds = |e: Estimate, truth: f64| u32::from((e.low..=e.high).contains(&truth));
            held += holds(pool.positivity().expect("many"), 0.2);
            agreed += holds(pool.concordance().expect("many"), 0.75);
            counted += holds(pool.total(), 400.0);
        }
        for (what, times) in [
            ("positivity", held),
            ("concordance", agreed),
            ("total", counted),
        ] {
            let share = f64::from(times) / f64::from(runs);
            assert!((0.93..0.975).contains(&share), "{what}: {share}");
        }
    }

    /// Of one seed's weeks without drift, the share that passes the threshold.
    fn false_alarms(seed: u64, runs: u32, asked: f64) -> f64 {
        let mut chance = Chance(seed);
        let mut passed = 0;
        for _ in 0..runs {
            let (reference, week) = (chance.pool(800, 0.3), chance.pool(200, 0.3));
            let far = distance(&[(reference, week)], asked).expect("comparable");
            passed += u32::from(far.is_beyond());
        }
        f64::from(passed) / f64::from(runs)
    }

    #[test]
    fn chance_alone_passes_the_threshold_less_often_than_was_asked_for() {
        const SEEDS: [u64; 8] = [2, 11, 23, 97, 1009, 65_537, 7_777_777, u64::MAX / 3];
        let shares = SEEDS.map(|seed| false_alarms(seed, 1500, 0.02));
        // Each seed by itself, and all together.
        assert!(shares.iter().all(|share| *share < 0.02), "{shares:?}");
        let all = shares.iter().sum::<f64>() / SEEDS.len() as f64;
        assert!(all < 0.02, "{all}");
        assert!(all > 0.001, "{all}: it would find nothing");
    }

    #[test]
    fn what_moved_is_found() {
        let mut chance = Chance(2);
        let (reference, week) = (chance.pool(2000, 0.3), chance.pool(500, 0.5));
        let far = distance(&[(reference, week)], 0.002).expect("comparable");
        assert!(far.is_beyond(), "{far:?}");
    }

    #[test]
    fn a_distances_interval_holds_what_is_true_at_least_as_often_as_it_says() {
        const RUNS: u32 = 1500;
        let mut chance = Chance(4);
        // Positive are tenths from 0.5 on, each as often as the others: the shares up to 0.5 differ by as much.
        for (then, now) in [(0.3, 0.3), (0.3, 0.35), (0.3, 0.6), (0.02, 0.1)] {
            let (truth, mut held, mut widest) = (now - then, 0, 0.0_f64);
            for _ in 0..RUNS {
                let pair = (chance.pool(800, then), chance.pool(400, now));
                let far = distance(&[pair], 0.02).expect("comparable");
                assert!((far.low..=far.high).contains(&far.value), "{far:?}");
                held += u32::from((far.low..=far.high).contains(&truth));
                widest = widest.max(far.high - far.low);
            }
            let share = f64::from(held) / f64::from(RUNS);
            assert!(share >= 0.95, "{then} and {now}: {share}");
            assert!(widest < 0.5, "{then} and {now}: {widest} says nothing");
        }
    }

    #[test]
    fn a_hospital_that_joins_moves_nothing() {
        let mut chance = Chance(3);
        let first = (chance.pool(20_000, 0.1), chance.pool(5_000, 0.1));
        let other = (chance.pool(20_000, 0.7), chance.pool(5_000, 0.7));
        let far = distance(&[first, other], 0.002).expect("comparable");
        assert!(!far.is_beyond(), "{far:?}");
        let mixed = distance(&[(first.0, first.1.with(&other.1))], 0.002);
        assert!(mixed.expect("comparable").is_beyond());
    }

    #[test]
    fn what_few_stand_behind_is_no_estimate() {
        let mut cells = [0; CELLS];
        cells[AGREED * BINS] = 49;
        let few = Pool::told(cells, 1, 500);
        assert_eq!((few.positivity(), few.concordance()), (None, None));
        assert_eq!(distance(&[(few, few)], 0.01), None);
        let enough = few.with(&few);
        assert_eq!(enough.concordance().map(|share| share.value), Some(1.0));
        assert!(enough.concordance().is_some_and(|share| share.low < 0.97));
    }

    #[test]
    fn tails_are_those_of_the_tables() {
        for (at, tail) in [(0.0, 0.5), (1.959_964, 0.025), (3.090_232, 0.001)] {
            assert!((upper_tail(at) - tail).abs() < 1e-6, "{at}");
        }
        assert!((noise_variance(500) - 7.835).abs() < 0.001);
    }
}
