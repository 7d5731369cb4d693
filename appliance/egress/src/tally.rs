//! What has been counted: plain numbers, as they are kept and as they are told.

use pericard_frame::layout::{self, MAX_COUNT, MIN_TIMED, MODELS};
use pericard_frame::stage::BUCKETS;
use pericard_frame::{Counter, Draft, Fault, Frame, Stage};

/// Hours of a week.
const WEEK_H: u64 = 168;

/// How many durations fell into each bucket.
pub(crate) type Histogram = [u64; BUCKETS];

/// Everything that has been counted. Numbers only, and only as many as there are places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) counts: [u64; Counter::ALL.len()],
    pub(crate) stages: [Timed; Stage::ALL.len()],
    pub(crate) models: [ModelTally; MODELS],
    pub(crate) log_size: u64,
    pub(crate) log_root: [u64; 4],
    /// Seconds that the appliance ran.
    pub(crate) up_s: u64,
    /// Of all the time of its processors, in whatever unit, the time that they were busy.
    pub(crate) cpu_busy: u64,
    pub(crate) cpu_all: u64,
    /// The same of its GPUs; nothing without one.
    pub(crate) gpu_busy: u64,
    pub(crate) gpu_all: u64,
}

/// Durations of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Timed {
    pub(crate) buckets: Histogram,
    pub(crate) sum_ms: u64,
}

/// What one model did. The first place is for all that are in no catalogue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ModelTally {
    pub(crate) id: u16,
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) timed: Timed,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            counts: [0; Counter::ALL.len()],
            stages: [Timed::default(); Stage::ALL.len()],
            models: [ModelTally::default(); MODELS],
            log_size: 0,
            log_root: [0; 4],
            up_s: 0,
            cpu_busy: 0,
            cpu_all: 0,
            gpu_busy: 0,
            gpu_all: 0,
        }
    }
}

impl Timed {
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    fn less(&mut self, then: &Self) {
        less(&mut self.buckets, &then.buckets);
        less([&mut self.sum_ms], [&then.sum_ms]);
    }

    /// The bucket, counted from 1, at or below which `percent` of the durations lie; 0 when there were too few to tell.
    fn quantile(&self, percent: u64) -> u8 {
        let count = self.count();
        if count < MIN_TIMED {
            return 0;
        }
        let rank = count.saturating_mul(percent).div_ceil(100);
        let mut below = 0;
        for (at, held) in (1..).zip(self.buckets) {
            below += held;
            if below >= rank {
                return at;
            }
        }
        BUCKETS as u8
    }
}

impl Tally {
    /// What was counted since it was like that.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        less(&mut since.counts, &earlier.counts);
        for (now, then) in since.stages.iter_mut().zip(&earlier.stages) {
            now.less(then);
        }
        for (now, then) in since.models.iter_mut().zip(&earlier.models) {
            less([&mut now.done, &mut now.failed], [&then.done, &then.failed]);
            now.timed.less(&then.timed);
        }
        less(
            [&mut since.up_s, &mut since.cpu_busy, &mut since.cpu_all],
            [&earlier.up_s, &earlier.cpu_busy, &earlier.cpu_all],
        );
        less(
            [&mut since.gpu_busy, &mut since.gpu_all],
            [&earlier.gpu_busy, &earlier.gpu_all],
        );
        since
    }

    /// The frame that tells it.
    pub(crate) fn frame(&self, release: [u16; 3], appliance: u32) -> Result<Frame, Fault> {
        let mut draft = Draft::new();
        for (at, number) in release.into_iter().enumerate() {
            draft.put(&layout::RELEASE, at, number);
        }
        draft.put(&layout::APPLIANCE, 0, appliance);
        draft.put(&layout::LOG_SIZE, 0, self.log_size);
        for (at, part) in self.log_root.into_iter().enumerate() {
            draft.put(&layout::LOG_ROOT, at, part);
        }
        for (at, timed) in self.stages.iter().enumerate() {
            draft.put(&layout::LATENCY_P50, at, timed.quantile(50));
            draft.put(&layout::LATENCY_P95, at, timed.quantile(95));
            draft.put(&layout::LATENCY_P99, at, timed.quantile(99));
        }
        for (at, model) in self.models.iter().enumerate() {
            draft.put(&layout::MODEL, at, model.id);
            draft.put(&layout::MODEL_DONE, at, told(model.done));
            draft.put(&layout::MODEL_FAILED, at, told(model.failed));
            draft.put(&layout::MODEL_P50, at, model.timed.quantile(50));
            draft.put(&layout::MODEL_P95, at, model.timed.quantile(95));
        }
        for (at, count) in self.counts.into_iter().enumerate() {
            draft.put(&layout::COUNTERS, at, told(count));
        }
        draft.put(&layout::UPTIME_H, 0, (self.up_s / 3600).min(WEEK_H) as u16);
        let cpu = tenths(self.cpu_busy, self.cpu_all);
        draft.put(&layout::CPU_BUCKET, 0, cpu.unwrap_or(0));
        // One more, so that an idle GPU is told from none.
        let gpu = tenths(self.gpu_busy, self.gpu_all).map(|tenths| tenths + 1);
        draft.put(&layout::GPU_BUCKET, 0, gpu.unwrap_or(0));
        draft.seal()
    }
}

/// Takes away number by number, never below zero.
fn less<'a>(now: impl IntoIterator<Item = &'a mut u64>, then: impl IntoIterator<Item = &'a u64>) {
    for (now, then) in now.into_iter().zip(then) {
        *now = now.saturating_sub(*then);
    }
}

/// How much of it was busy, in tenths; `None` of nothing.
fn tenths(busy: u64, all: u64) -> Option<u8> {
    let tenths = busy.saturating_mul(10).checked_div(all)?;
    Some(tenths.min(10) as u8)
}

/// A count as it is told: what is larger than may be is told as the largest.
fn told(count: u64) -> u32 {
    u32::try_from(count).map_or(MAX_COUNT, |count| count.min(MAX_COUNT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_told_only_of_enough_durations() {
        let mut timed = Timed::default();
        timed.buckets[3] = MIN_TIMED - 1;
        assert_eq!(timed.quantile(50), 0);
        timed.buckets[9] = 1;
        let at = |percent| timed.quantile(percent);
        assert_eq!((at(50), at(99), at(100)), (4, 4, 10));
        timed.buckets[BUCKETS - 1] = u64::from(u32::MAX);
        assert_eq!(timed.quantile(95), BUCKETS as u8);
    }

    #[test]
    fn the_largest_of_everything_is_still_a_frame() {
        let timed = Timed {
            buckets: [u64::MAX / BUCKETS as u64; BUCKETS],
            sum_ms: u64::MAX,
        };
        let model = ModelTally {
            id: u16::MAX,
            done: u64::MAX,
            failed: u64::MAX,
            timed,
        };
        let tally = Tally {
            counts: [u64::MAX; Counter::ALL.len()],
            stages: [timed; Stage::ALL.len()],
            models: [model; MODELS],
            log_size: u64::MAX,
            log_root: [u64::MAX; 4],
            up_s: u64::MAX,
            cpu_busy: u64::MAX,
            cpu_all: 1,
            gpu_busy: u64::MAX,
            gpu_all: 1,
        };
        assert_eq!(tally.since(&tally).counts, [0; Counter::ALL.len()]);
        let frame = tally.frame([999; 3], u32::MAX).expect("in range");
        assert!(frame.lines().all(|line| line.value <= line.spec.max));
    }
}
