//! Whether a model's scores drift, judged on exact numbers inside the hospital. Only the verdict is told: it is no noised
//! number, and says at most so much as four words can a week. It needs many patients and two weeks of the same opinion.

use pericard_frame::layout::{BINS, CELLS};

/// A week with fewer patients says nothing.
const MIN_PATIENTS: u32 = 200;
/// How many such weeks make the reference.
const REFERENCE_WEEKS: u64 = 4;
/// The Kolmogorov-Smirnov distance that chance passes once in a hundred weeks, times the square root of the size.
const ALARM: f64 = 1.63;
/// How many weeks of another opinion change a verdict.
const PERSISTENCE_WEEKS: u64 = 2;

/// The verdicts, as the frame numbers them.
const UNKNOWN: u8 = 0;
const STABLE: u8 = 1;
const WATCH: u8 = 2;
const DRIFT: u8 = 3;

/// What is remembered of one model's scores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Judge {
    pub(crate) reference: [u64; BINS],
    pub(crate) reference_weeks: u64,
    pub(crate) verdict: u64,
    /// Weeks in a row beyond the alarm, and within it.
    pub(crate) beyond: u64,
    pub(crate) within: u64,
}

impl Judge {
    /// Hears one more week, and says what is told of it.
    pub(crate) fn hear(&mut self, cells: &[u32; CELLS]) -> u8 {
        let week: [u64; BINS] = std::array::from_fn(|bin| {
            cells
                .iter()
                .skip(bin)
                .step_by(BINS)
                .map(|n| u64::from(*n))
                .sum()
        });
        if week.iter().sum::<u64>() < u64::from(MIN_PATIENTS) {
            return UNKNOWN;
        }
        if self.reference_weeks < REFERENCE_WEEKS {
            self.reference_weeks += 1;
            for (held, new) in self.reference.iter_mut().zip(week) {
                *held += new;
            }
            return UNKNOWN;
        }
        if is_beyond(&self.reference, &week) {
            (self.beyond, self.within) = (self.beyond + 1, 0);
        } else {
            (self.beyond, self.within) = (0, self.within + 1);
        }
        let drifted = self.verdict == u64::from(DRIFT);
        let verdict = match (self.beyond, self.within) {
            (beyond, _) if beyond >= PERSISTENCE_WEEKS => DRIFT,
            (_, within) if within < PERSISTENCE_WEEKS && drifted => DRIFT,
            (1.., _) if !drifted => WATCH,
            (1.., _) => DRIFT,
            _ => STABLE,
        };
        self.verdict = u64::from(verdict);
        verdict
    }
}

/// Whether two samples are farther apart than chance puts them once in a hundred times.
fn is_beyond(reference: &[u64; BINS], week: &[u64; BINS]) -> bool {
    let (n, m) = (total(reference), total(week));
    let (mut below, mut distance) = ((0.0, 0.0), 0.0_f64);
    for (one, other) in reference.iter().zip(week) {
        below = (below.0 + *one as f64 / n, below.1 + *other as f64 / m);
        distance = distance.max((below.0 - below.1).abs());
    }
    distance > ALARM * ((n + m) / (n * m)).sqrt()
}

fn total(bins: &[u64; BINS]) -> f64 {
    bins.iter().sum::<u64>() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn week(bins: [u32; BINS]) -> [u32; CELLS] {
        let mut cells = [0; CELLS];
        cells[..BINS].copy_from_slice(&bins);
        cells
    }

    /// A number out of a generator of known ones (Vigna's splitmix64), 0 to 1.
    fn unit(state: &mut u64) -> f64 {
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A week of so many patients whose scores lie as they always do; some move to the highest tenth.
    fn drawn(state: &mut u64, patients: u32, moved: f64) -> [u32; CELLS] {
        let mut bins = [0; BINS];
        for _ in 0..patients {
            let usual = (unit(state) * unit(state) * BINS as f64) as usize;
            let bin = if unit(state) < moved { BINS - 1 } else { usual };
            bins[bin.min(BINS - 1)] += 1;
        }
        week(bins)
    }

    #[test]
    fn chance_alone_alarms_no_more_often_than_is_said_whatever_the_seed() {
        const SEEDS: u64 = 20;
        const WEEKS: u32 = 100;
        let (mut beyond, mut drifted) = (0, 0);
        for seed in 1..=SEEDS {
            let mut state = seed.wrapping_mul(0xD1B5_4A32_D192_ED03);
            let mut judge = Judge::default();
            for _ in 0..REFERENCE_WEEKS {
                judge.hear(&drawn(&mut state, 400, 0.0));
            }
            for _ in 0..WEEKS {
                let verdict = judge.hear(&drawn(&mut state, 400, 0.0));
                beyond += u32::from(judge.beyond > 0);
                drifted += u32::from(verdict == DRIFT);
            }
            // Drift that is there is found within two weeks of it.
            let told = [0, 1].map(|_| judge.hear(&drawn(&mut state, 400, 0.2)));
            assert_eq!(told[1], DRIFT, "seed {seed}");
        }
        let weeks = SEEDS as u32 * WEEKS;
        assert!(
            beyond * 100 <= weeks,
            "{beyond} of {weeks}: one in a hundred"
        );
        assert!(
            drifted * 1000 <= weeks,
            "{drifted} of {weeks}: two in a row are rarer"
        );
    }

    #[test]
    fn a_verdict_needs_patients_and_changes_only_with_persistence() {
        let (usual, other) = (
            week([50; BINS]),
            week([100, 90, 80, 70, 60, 40, 30, 20, 10, 0]),
        );
        let mut judge = Judge::default();
        let mut hear = |cells: &[u32; CELLS]| judge.hear(cells);
        for _ in 0..4 {
            assert_eq!(hear(&usual), UNKNOWN, "while the reference grows");
        }
        let few = week([19; BINS]);
        let weeks = [
            &usual, &usual, &other, &usual, &other, &few, &other, &usual, &usual,
        ];
        let told: Vec<_> = weeks.into_iter().map(&mut hear).collect();
        let expected = [
            STABLE, STABLE, WATCH, STABLE, WATCH, UNKNOWN, DRIFT, DRIFT, STABLE,
        ];
        assert_eq!(told, expected);
    }
}
