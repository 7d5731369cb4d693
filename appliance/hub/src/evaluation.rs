//! Federated evaluation: what hospitals measured of a model on cases of their own, brought together.
//!
//! The hub publishes a signed plan ([`pericard_frame::Plan`]): the very model, what is to be computed, from which tenth of the
//! score on a case is positive, and how many cases there must be. It goes out with replies. A hospital whose officer accepts
//! it answers, in the frame of a later week, with one histogram of its cases by label and tenth of the score, noised like all
//! that comes from patients. Every metric is computed here, from those cells.
//!
//! Hospitals count alike, however many cases they say they have, and no figure is farther from the middle one than the others
//! allow: who invents an outcome moves the scorecard by little. From fewer than five hospitals there is none, since two could
//! work out the third.

use crate::figures::{Estimate, noise_variance, share_of};
use crate::records::Snapshot;
use pericard_frame::layout::{self, BINS, LABELS, OFFSET, TOLD_EVALUATIONS};
use pericard_frame::plan::{Metric, Plan};
use pericard_frame::{Frame, evaluation_cell};
use std::f64::consts::PI;
use std::ops::Range;

/// Fewer hospitals are no scorecard.
pub const HOSPITALS_MIN: usize = 5;
/// How many deviations (median absolute ones, scaled to normal) a hospital may be from the middle one before it is clipped.
const CLIP_DEVIATIONS: f64 = 3.0;
/// What a median absolute deviation is multiplied by to be a standard deviation.
const NORMAL_FROM_MEDIAN: f64 = 1.482_602;
/// Fewer than this with one label are no share.
const SHARE_MIN: f64 = 20.0;
/// Labels, by their place.
const WITHOUT: usize = 0;
const WITH: usize = 1;

/// What one hospital told of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Which hospital.
    pub hospital: u32,
    /// The week of the frame.
    pub week: u16,
    /// Cases by label and tenth of the score, with noise.
    cells: [[f64; BINS]; LABELS],
    /// The variance of the noise in each cell.
    noise: f64,
}

/// One metric, across hospitals.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Which.
    pub metric: Metric,
    /// How many hospitals it could be computed for.
    pub hospitals: usize,
    /// How many of these were clipped.
    pub clipped: usize,
    /// The figure; nothing from fewer than [`HOSPITALS_MIN`]. The calibration error of all: how far each tenth is off where
    /// hospitals are off alike. A hospital's own also holds what chance adds, and may be larger in every one of them.
    pub estimate: Option<Estimate>,
    /// The lowest and the highest of the hospitals, when there is a figure.
    pub range: Option<(Estimate, Estimate)>,
}

/// What one hospital's cells make of a metric. Noise may put it beyond what a share can be; it is held to that where it is
/// shown, not before hospitals are brought together, or the mean of those near 1 would be too low.
#[derive(Debug, Clone, Copy)]
struct Measure {
    value: f64,
    variance: f64,
    /// By how much chance makes it seem larger than it is, at most.
    folded: f64,
}

/// What came of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Scorecard {
    /// The plan.
    pub plan: Plan,
    /// What hospitals told, one outcome each: the newest.
    pub outcomes: Vec<Outcome>,
    /// What was asked for.
    pub scores: Vec<Score>,
}

/// The scorecard of a plan.
#[must_use]
pub fn scorecard(snapshot: &Snapshot, plan: &Plan) -> Scorecard {
    let mut outcomes: Vec<Outcome> = Vec::new();
    let told = snapshot.frames.iter().filter_map(|received| {
        let outcome = outcome(&received.frame, plan)?;
        Some((received.appliance, received.week, outcome))
    });
    for (hospital, week, (cells, noise)) in told {
        outcomes.retain(|known| known.hospital != hospital);
        outcomes.push(Outcome {
            hospital,
            week,
            cells,
            noise,
        });
    }
    let asked = Metric::ALL.into_iter().filter(|metric| plan.asks(*metric));
    let scores = asked.map(|metric| score(metric, plan, &outcomes)).collect();
    Scorecard {
        plan: *plan,
        outcomes,
        scores,
    }
}

type Cells = [[f64; BINS]; LABELS];

fn outcome(frame: &Frame, plan: &Plan) -> Option<(Cells, f64)> {
    let of = |place: &usize| frame.get(&layout::EVALUATION_PLAN, *place) == u64::from(plan.number);
    let place = (0..TOLD_EVALUATIONS).find(of)?;
    let cell = |label, bin| {
        let at = evaluation_cell(place, label, bin).unwrap_or(usize::MAX);
        frame.get(&layout::EVALUATION, at) as f64 - f64::from(OFFSET)
    };
    let cells = std::array::from_fn(|label| std::array::from_fn(|bin| cell(label, bin)));
    let epsilon = frame.get(&layout::EVALUATION_EPSILON, place);
    Some((cells, noise_variance(epsilon)))
}

fn score(metric: Metric, plan: &Plan, outcomes: &[Outcome]) -> Score {
    let enough = outcomes.iter().filter(|outcome| outcome.counts_for(plan));
    let threshold = usize::from(plan.threshold_tenth);
    let (of, mut each): (Vec<&Outcome>, Vec<Measure>) = enough
        .filter_map(|o| Some((o, o.measure(metric, threshold)?)))
        .unzip();
    let told = each.len() >= HOSPITALS_MIN;
    let robust = told.then(|| match metric {
        Metric::CalibrationError => robust(&off_alike(&of)),
        _ => robust(&each),
    });
    each.sort_by(|one, other| one.value.total_cmp(&other.value));
    Score {
        metric,
        hospitals: each.len(),
        clipped: robust.map_or(0, |(_, clipped)| clipped),
        estimate: robust.map(|(estimate, _)| estimate),
        range: told.then(|| (each[0].estimate(), each[each.len() - 1].estimate())),
    }
}

/// The mean of the hospitals, each pulled in to where the middle ones allow, and how many were. Those that were pulled in tell
/// nothing of how far hospitals lie apart: Student's t is that of the others, and wider by as much as the variance of all is
/// too small for them (Dixon and Tukey 1968, "Approximate behavior of the distribution of Winsorized t").
fn robust(each: &[Measure]) -> (Estimate, usize) {
    let values: Vec<f64> = each.iter().map(|measure| measure.value).collect();
    let middle = median(values.iter().copied());
    let away = median(values.iter().map(|value| (value - middle).abs()));
    let reach = CLIP_DEVIATIONS * NORMAL_FROM_MEDIAN * away;
    let pulled: Vec<f64> = values
        .iter()
        .map(|v| v.clamp(middle - reach, middle + reach))
        .collect();
    let clipped = values
        .iter()
        .zip(&pulled)
        .filter(|(value, in_)| value != in_)
        .count();
    let count = pulled.len() as f64;
    let mean = pulled.iter().sum::<f64>() / count;
    let variance = pulled.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let degrees = (pulled.len() - clipped).saturating_sub(1).max(1);
    let wider = (count - 1.0) / degrees as f64;
    let half = student_975(degrees) * wider * (variance / count).sqrt();
    let folded = each.iter().map(|measure| measure.folded).sum::<f64>() / count;
    let estimate = Estimate {
        value: mean.clamp(0.0, 1.0),
        low: (mean - half - folded).clamp(0.0, 1.0),
        high: (mean + half).clamp(0.0, 1.0),
    };
    (estimate, clipped)
}

/// How far from calibrated each hospital is, each tenth in the direction in which the middle hospital is off. What chance adds
/// to a hospital's own error, of which every part counts as positive, is in all of them, and would be in their mean; here it
/// goes one way in one and the other way in another. What is left of it is in the choice of direction.
fn off_alike(outcomes: &[&Outcome]) -> Vec<Measure> {
    let cases: Vec<f64> = outcomes.iter().map(|o| o.cases().max(1.0)).collect();
    let each = || outcomes.iter().zip(&cases);
    let middles: [f64; BINS] =
        std::array::from_fn(|bin| median(each().map(|(o, cases)| o.off(bin).0 / cases)));
    let folded = (0..BINS).map(|bin| {
        let variance = each().map(|(o, cases)| o.off(bin).1 / cases.powi(2));
        fold(
            middles[bin],
            variance.sum::<f64>() / cases.len().pow(2) as f64,
        )
    });
    let folded = folded.sum();
    let toward = |outcome: &Outcome| {
        let tenths = middles.iter().zip(0..BINS);
        tenths
            .map(|(middle, bin)| middle.signum() * outcome.off(bin).0)
            .sum::<f64>()
    };
    let measure = |(outcome, cases): (&&Outcome, &f64)| Measure {
        value: toward(outcome) / cases,
        variance: 0.0, // how far they lie apart tells it
        folded,
    };
    each().map(measure).collect()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let at = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[at - 1], sorted[at])
    } else {
        sorted[at]
    }
}

/// Student's t that 2.5 in 100 pass, by degrees of freedom: tables for few, their expansion (Abramowitz and Stegun 26.7.5)
/// for many.
fn student_975(degrees: usize) -> f64 {
    const FEW: [f64; 9] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262,
    ];
    let z = 1.959_964_f64;
    let n = degrees as f64;
    let many = z
        + (z.powi(3) + z) / (4.0 * n)
        + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * n.powi(2))
        + (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / (384.0 * n.powi(3));
    FEW.get(degrees.wrapping_sub(1)).copied().unwrap_or(many)
}

impl Outcome {
    /// How many cases it tells of, with noise.
    #[must_use]
    pub fn cases(&self) -> f64 {
        self.cells.iter().flatten().sum()
    }

    /// Whether it has as many cases as the plan asks for. What has fewer counts for nothing, and is shown nowhere.
    #[must_use]
    pub fn counts_for(&self, plan: &Plan) -> bool {
        self.cases() >= f64::from(plan.cases_min)
    }

    /// The standard deviation of the noise in that.
    #[must_use]
    pub fn cases_sd(&self) -> f64 {
        ((LABELS * BINS) as f64 * self.noise).sqrt()
    }

    /// What comes of a metric here; nothing from too few cases.
    #[must_use]
    pub fn value(&self, metric: Metric, threshold: usize) -> Option<f64> {
        let estimate = self.estimate(metric, threshold)?;
        Some(estimate.value)
    }

    /// The same with its interval, in which two chances are: which cases there were, and the noise in each cell.
    #[must_use]
    pub fn estimate(&self, metric: Metric, threshold: usize) -> Option<Estimate> {
        self.measure(metric, threshold).map(|m| m.estimate())
    }

    fn measure(&self, metric: Metric, threshold: usize) -> Option<Measure> {
        let above = |label| (self.sum(label, threshold..BINS), BINS - threshold);
        let below = |label| (self.sum(label, 0..threshold), threshold);
        let share = |part: (f64, usize), rest: (f64, usize)| {
            (part.0 + rest.0 >= SHARE_MIN).then(|| {
                let (value, variance) = share_of(part, rest, self.noise);
                Measure {
                    value,
                    variance,
                    folded: 0.0,
                }
            })
        };
        match metric {
            Metric::Sensitivity => share(above(WITH), below(WITH)),
            Metric::Specificity => share(below(WITHOUT), above(WITHOUT)),
            Metric::PositivePredictiveValue => share(above(WITH), above(WITHOUT)),
            Metric::AreaUnderCurve => self.area(),
            Metric::CalibrationError => self.calibration_error(),
        }
    }

    fn sum(&self, label: usize, bins: Range<usize>) -> f64 {
        self.cells[label][bins].iter().sum()
    }

    /// By how many cases with the finding a tenth has more than its score says, and the variance of that.
    fn off(&self, bin: usize) -> (f64, f64) {
        let [without, with] = [WITHOUT, WITH].map(|label| self.cells[label][bin]);
        let [vary_without, vary_with] = [WITHOUT, WITH].map(|label| self.variance(label, bin));
        let middle = middle(bin);
        (
            with * (1.0 - middle) - without * middle,
            vary_with * (1.0 - middle).powi(2) + vary_without * middle.powi(2),
        )
    }

    /// The variance of one cell: a count varies by as many as it is, and noise comes to it.
    fn variance(&self, label: usize, bin: usize) -> f64 {
        self.cells[label][bin].max(0.0) + self.noise
    }

    /// How often a case with the finding scores above one without it; within one tenth, half of them do. What each case adds
    /// to it gives its variance (DeLong, DeLong and Clarke-Pearson), the noise in its cell likewise.
    fn area(&self) -> Option<Measure> {
        let [without, with] = [WITHOUT, WITH].map(|label| self.sum(label, 0..BINS));
        if with < SHARE_MIN || without < SHARE_MIN {
            return None;
        }
        let under = |bin| (self.sum(WITHOUT, 0..bin) + self.cells[WITHOUT][bin] / 2.0) / without;
        let over = |bin| (self.sum(WITH, bin + 1..BINS) + self.cells[WITH][bin] / 2.0) / with;
        let won = (0..BINS).map(|bin| self.cells[WITH][bin] * under(bin));
        let area = won.sum::<f64>() / with;
        let variance = (0..BINS).map(|bin| {
            let adds = [(under(bin) - area) / with, (over(bin) - area) / without];
            self.variance(WITH, bin) * adds[0].powi(2)
                + self.variance(WITHOUT, bin) * adds[1].powi(2)
        });
        Some(Measure {
            value: area,
            variance: variance.sum(),
            folded: 0.0,
        })
    }

    /// How far the share with the finding is from the middle of each tenth, weighted by its cases. Tenths of few cases say
    /// nothing, since their noise would.
    fn calibration_error(&self) -> Option<Measure> {
        let tenths = || {
            let all = (0..BINS).map(|bin| (bin, self.cells[WITH][bin] + self.cells[WITHOUT][bin]));
            all.filter(|(_, here)| *here >= SHARE_MIN)
        };
        let cases: f64 = tenths().map(|(_, here)| here).sum();
        if cases < SHARE_MIN {
            return None;
        }
        let off = |bin: usize, here: f64| {
            let share = (self.cells[WITH][bin] / here).clamp(0.0, 1.0);
            here * (share - middle(bin))
        };
        let error = tenths()
            .map(|(bin, here)| off(bin, here).abs())
            .sum::<f64>()
            / cases;
        let (mut variance, mut folded) = (0.0, 0.0);
        for (bin, here) in tenths() {
            let (off, [without, with]) = (
                off(bin, here),
                [WITHOUT, WITH].map(|l| self.variance(l, bin)),
            );
            let (side, middle) = (off.signum(), middle(bin));
            variance += with * (side * (1.0 - middle) - error).powi(2)
                + without * (side * middle + error).powi(2);
            folded += fold(off, self.off(bin).1);
        }
        Some(Measure {
            value: error,
            variance: variance / cases.powi(2),
            folded: folded / cases,
        })
    }
}

impl Measure {
    fn estimate(&self) -> Estimate {
        let around = Estimate::around(self.value, self.variance, (0.0, 1.0));
        Estimate {
            low: (around.low - self.folded).max(0.0),
            ..around
        }
    }
}

/// The score in the middle of a tenth.
fn middle(bin: usize) -> f64 {
    (bin as f64 + 0.5) / BINS as f64
}

/// By how much chance makes a deviation seem larger than it is, at most, because only its size counts.
fn fold(deviation: f64, variance: f64) -> f64 {
    if variance <= 0.0 {
        return 0.0;
    }
    let largest = (2.0 * variance / PI).sqrt();
    largest * (-deviation.powi(2) / (2.0 * variance)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::Chance;

    fn outcome(hospital: u32, with: [f64; BINS], without: [f64; BINS]) -> Outcome {
        Outcome {
            hospital,
            week: 2_900,
            cells: [without, with],
            noise: 8.0,
        }
    }

    fn plan(cases_min: u32) -> Plan {
        Plan {
            number: 1,
            model: 1,
            model_digest: [0; 4],
            metrics: Metric::EVERY,
            threshold_tenth: 5,
            cases_min,
            issued_at_s: 0,
            until_s: 1,
            signature: [0; 64],
        }
    }

    const LOW: [f64; BINS] = [100.0, 50.0, 30.0, 10.0, 5.0, 5.0, 0.0, 0.0, 0.0, 0.0];
    const HIGH: [f64; BINS] = [0.0, 0.0, 5.0, 5.0, 10.0, 20.0, 30.0, 30.0, 50.0, 50.0];

    #[test]
    fn metrics_are_those_of_the_books() {
        let one = outcome(1, HIGH, LOW);
        let value = |metric| one.value(metric, 5).expect("enough cases");
        assert!((value(Metric::Sensitivity) - 180.0 / 200.0).abs() < 1e-9);
        assert!((value(Metric::Specificity) - 195.0 / 200.0).abs() < 1e-9);
        assert!((value(Metric::PositivePredictiveValue) - 180.0 / 185.0).abs() < 1e-9);
        // Pairs counted one by one.
        let pairs = (0..BINS).flat_map(|with| (0..BINS).map(move |without| (with, without)));
        let won: f64 = pairs
            .map(|(with, without)| {
                let half = if with > without {
                    1.0
                } else if with == without {
                    0.5
                } else {
                    0.0
                };
                half * HIGH[with] * LOW[without]
            })
            .sum();
        assert!((value(Metric::AreaUnderCurve) - won / 40_000.0).abs() < 1e-9);
        let even: [f64; BINS] = std::array::from_fn(|bin| 10.0 * (bin as f64 + 0.5));
        let rest = even.map(|with| 100.0 - with);
        let calibrated = outcome(1, even, rest).value(Metric::CalibrationError, 5);
        assert!(calibrated.expect("enough") < 1e-9);
        assert_eq!(
            outcome(1, [1.0; BINS], LOW).value(Metric::Sensitivity, 5),
            None
        );
    }

    /// So many cases as these, drawn by chance in their proportion, with the noise that a hospital adds.
    fn drawn(chance: &mut Chance, all: &Outcome) -> Outcome {
        let mut cells = [[0.0; BINS]; LABELS];
        for _ in 0..all.cases() as usize {
            let (at, mut sum) = (all.cases() * chance.unit(), 0.0);
            let place = all.cells.iter().flatten().position(|cases| {
                sum += cases;
                at < sum
            });
            let place = place.unwrap_or(LABELS * BINS - 1);
            cells[place / BINS][place % BINS] += 1.0;
        }
        Outcome {
            cells: cells.map(|label| label.map(|count| count + chance.noise() as f64)),
            noise: noise_variance(500),
            ..*all
        }
    }

    #[test]
    fn a_hospitals_interval_holds_what_is_true_as_often_as_it_says() {
        const RUNS: u32 = 2000;
        let mut chance = Chance(5);
        for all in truths() {
            let mut held = Metric::ALL.map(|_| 0);
            for _ in 0..RUNS {
                let told = drawn(&mut chance, &all);
                for (held, metric) in held.iter_mut().zip(Metric::ALL) {
                    let truth = all.value(metric, 5).expect("enough");
                    let seen = told.estimate(metric, 5).expect("enough");
                    *held += u32::from((seen.low..=seen.high).contains(&truth));
                }
            }
            for (held, metric) in held.into_iter().zip(Metric::ALL) {
                let share = f64::from(held) / f64::from(RUNS);
                assert!((0.925..0.985).contains(&share), "{metric:?}: {share}");
            }
        }
    }

    /// Three models for which metrics lie differently: one that is good, one calibrated, one that says too little.
    fn truths() -> [Outcome; 3] {
        let calibrated: [f64; BINS] = std::array::from_fn(|bin| 80.0 * middle(bin));
        let low = calibrated.map(|with| (with - 16.0).max(0.0));
        let rest = |with: [f64; BINS]| with.map(|with| 80.0 - with);
        [
            (HIGH, LOW),
            (calibrated, rest(calibrated)),
            (low, rest(low)),
        ]
        .map(|(with, without)| outcome(1, with, without))
    }

    #[test]
    fn a_nations_interval_holds_what_is_true_as_often_as_it_says() {
        const RUNS: u32 = 1000;
        let mut chance = Chance(11);
        for all in &truths() {
            // Hospitals without noise and without chance, all alike.
            let quiet = Outcome {
                noise: 0.0,
                ..all.clone()
            };
            let figure = |metric, told: &[Outcome]| score(metric, &plan(0), told).estimate;
            let truth = |metric| {
                figure(metric, &vec![quiet.clone(); 5])
                    .expect("a figure")
                    .value
            };
            let truths = Metric::ALL.map(truth);
            for hospitals in [5, 12, 30] {
                let mut held = Metric::ALL.map(|_| 0);
                for _ in 0..RUNS {
                    let told: Vec<_> = (0..hospitals).map(|_| drawn(&mut chance, all)).collect();
                    for (held, (metric, truth)) in
                        held.iter_mut().zip(Metric::ALL.iter().zip(truths))
                    {
                        let seen = figure(*metric, &told).expect("a figure");
                        *held += u32::from((seen.low..=seen.high).contains(&truth));
                    }
                }
                for (held, metric) in held.into_iter().zip(Metric::ALL) {
                    let share = f64::from(held) / f64::from(RUNS);
                    assert!(
                        (0.925..0.985).contains(&share),
                        "{metric:?} of {hospitals}: {share}"
                    );
                }
            }
        }
    }

    #[test]
    fn from_fewer_than_five_there_is_no_figure() {
        let all: Vec<Outcome> = (1..=5).map(|n| outcome(n, HIGH, LOW)).collect();
        let of = |count: usize, cases| score(Metric::Sensitivity, &plan(cases), &all[..count]);
        assert_eq!(
            (of(4, 0).estimate, of(4, 0).range, of(4, 0).hospitals),
            (None, None, 4)
        );
        assert!((of(5, 0).estimate.expect("a figure").value - 0.9).abs() < 1e-9);
        assert_eq!(of(5, 401).estimate, None, "too few cases");
    }

    #[test]
    fn one_that_invents_its_outcome_moves_it_by_little() {
        let honest = |n: u32| {
            let mut with = HIGH;
            with[4] += f64::from(n % 5);
            outcome(n, with, LOW)
        };
        let mut all: Vec<Outcome> = (1..=9).map(honest).collect();
        let sensitivity = |all: &[Outcome]| score(Metric::Sensitivity, &plan(0), all);
        let before = sensitivity(&all).estimate.expect("a figure").value;
        all.push(outcome(
            10,
            [90_000.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            LOW,
        ));
        let after = sensitivity(&all);
        assert_eq!(after.clipped, 1);
        let after = after.estimate.expect("a figure").value;
        assert!((before - after).abs() < 0.01, "{before} {after}");
    }

    #[test]
    fn students_t_is_that_of_the_tables() {
        for (degrees, t) in [
            (1, 12.706),
            (4, 2.776),
            (10, 2.228),
            (30, 2.042),
            (49, 2.010),
        ] {
            assert!((student_975(degrees) - t).abs() < 0.002, "{degrees}");
        }
    }
}
