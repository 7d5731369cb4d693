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

use crate::figures::{Estimate, noise_variance};
use crate::records::Snapshot;
use pericard_frame::layout::{self, BINS, LABELS, OFFSET, TOLD_EVALUATIONS};
use pericard_frame::plan::{Metric, Plan};
use pericard_frame::{Frame, evaluation_cell};

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
    /// The figure; nothing from fewer than [`HOSPITALS_MIN`].
    pub estimate: Option<Estimate>,
    /// The lowest and the highest of the hospitals, when there is a figure.
    pub range: Option<(f64, f64)>,
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
    let enough = outcomes
        .iter()
        .filter(|o| o.cases() >= f64::from(plan.cases_min));
    let threshold = usize::from(plan.threshold_tenth);
    let mut values: Vec<f64> = enough.filter_map(|o| o.value(metric, threshold)).collect();
    values.sort_by(f64::total_cmp);
    let told = values.len() >= HOSPITALS_MIN;
    let robust = told.then(|| robust(&values));
    Score {
        metric,
        hospitals: values.len(),
        clipped: robust.map_or(0, |(_, clipped)| clipped),
        estimate: robust.map(|(estimate, _)| estimate),
        range: told.then(|| (values[0], values[values.len() - 1])),
    }
}

/// The mean of the hospitals, each pulled in to where the middle ones allow, and how many were. Its interval is that of a mean
/// of so many hospitals (Student's t).
fn robust(sorted: &[f64]) -> (Estimate, usize) {
    let middle = median(sorted);
    let mut away: Vec<f64> = sorted.iter().map(|value| (value - middle).abs()).collect();
    away.sort_by(f64::total_cmp);
    let reach = CLIP_DEVIATIONS * NORMAL_FROM_MEDIAN * median(&away);
    let pulled: Vec<f64> = sorted
        .iter()
        .map(|v| v.clamp(middle - reach, middle + reach))
        .collect();
    let clipped = sorted
        .iter()
        .zip(&pulled)
        .filter(|(value, in_)| value != in_)
        .count();
    let count = pulled.len() as f64;
    let mean = pulled.iter().sum::<f64>() / count;
    let variance = pulled.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let half = student_975(pulled.len() - 1) * (variance / count).sqrt();
    let estimate = Estimate {
        value: mean,
        low: (mean - half).clamp(0.0, 1.0),
        high: (mean + half).clamp(0.0, 1.0),
    };
    (estimate, clipped)
}

fn median(sorted: &[f64]) -> f64 {
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

    /// The standard deviation of the noise in that.
    #[must_use]
    pub fn cases_sd(&self) -> f64 {
        ((LABELS * BINS) as f64 * self.noise).sqrt()
    }

    /// What comes of a metric here; nothing from too few cases.
    #[must_use]
    pub fn value(&self, metric: Metric, threshold: usize) -> Option<f64> {
        let above = |label: usize| -> f64 { self.cells[label][threshold..].iter().sum() };
        let all = |label: usize| -> f64 { self.cells[label].iter().sum() };
        let share =
            |part: f64, whole: f64| (whole >= SHARE_MIN).then(|| (part / whole).clamp(0.0, 1.0));
        match metric {
            Metric::Sensitivity => share(above(WITH), all(WITH)),
            Metric::Specificity => share(all(WITHOUT) - above(WITHOUT), all(WITHOUT)),
            Metric::PositivePredictiveValue => share(above(WITH), above(WITH) + above(WITHOUT)),
            Metric::AreaUnderCurve => self.area(all(WITH), all(WITHOUT)),
            Metric::CalibrationError => self.calibration_error(),
        }
    }

    /// How often a case with the finding scores above one without it; within one tenth, half of them do.
    fn area(&self, with: f64, without: f64) -> Option<f64> {
        if with < SHARE_MIN || without < SHARE_MIN {
            return None;
        }
        let (mut below, mut area) = (0.0, 0.0);
        for bin in 0..BINS {
            area += self.cells[WITH][bin] * (below + self.cells[WITHOUT][bin] / 2.0);
            below += self.cells[WITHOUT][bin];
        }
        Some((area / (with * without)).clamp(0.0, 1.0))
    }

    /// How far the share with the finding is from the middle of each tenth, weighted by its cases. Tenths of few cases say
    /// nothing, since their noise would.
    fn calibration_error(&self) -> Option<f64> {
        let (mut off, mut cases) = (0.0, 0.0);
        for bin in 0..BINS {
            let here = self.cells[WITH][bin] + self.cells[WITHOUT][bin];
            if here >= SHARE_MIN {
                let share = (self.cells[WITH][bin] / here).clamp(0.0, 1.0);
                off += here * (share - (bin as f64 + 0.5) / BINS as f64).abs();
                cases += here;
            }
        }
        (cases >= SHARE_MIN).then(|| off / cases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
