//! The meter that every room counts into.

use crate::preview::Preview;
use crate::prometheus;
use crate::spool::{self, SpoolError};
use crate::tally::{ModelTally, Tally, Timed};
use pericard_frame::layout::MODELS;
use pericard_frame::stage::bucket;
use pericard_frame::{Counter, Stage};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Who counts, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Identity {
    /// The number that the hub gave this appliance; 0 before it gave one.
    pub appliance: u32,
    /// The appliance's version: major, minor, patch, each at most 999.
    pub release: [u16; 3],
}

/// The catalogue's number of a model and its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CatalogueId(pub u16);

impl CatalogueId {
    /// In no catalogue. All such models are told of as one.
    pub const NONE: Self = Self(0);
}

/// How an inference ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// With a result.
    Done,
    /// Without one.
    Failed,
}

/// Counts and times. Cheap to clone; all clones count into one tally.
#[derive(Debug, Clone)]
pub struct Meter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    identity: Identity,
    spool: Option<PathBuf>,
    /// One lock for all: it is held for a few additions, and a reader sees counts that belong together.
    tally: Mutex<Tally>,
    /// Held while the spool is written, so that an older tally never replaces a newer one.
    flushing: Mutex<()>,
}

impl Meter {
    /// A meter that goes on where the spool file left off, or begins when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or is no spool of this version. Counting from zero without a word would make a hub
    /// believe in a week without failures.
    pub fn open(spool: PathBuf, identity: Identity) -> Result<Self, SpoolError> {
        let kept = spool::read(&spool)?;
        let tally = kept.map(|(_, tally)| tally).unwrap_or_default();
        let meter = Self::with(tally, Some(spool), identity);
        meter.flush()?; // so that what cannot be written is known at start
        Ok(meter)
    }

    /// A meter that keeps nothing: for tests.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::with(Tally::default(), None, Identity::default())
    }

    fn with(tally: Tally, spool: Option<PathBuf>, identity: Identity) -> Self {
        let inner = Inner {
            identity,
            spool,
            tally: Mutex::new(tally),
            flushing: Mutex::new(()),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Counts one.
    pub fn count(&self, counter: Counter) {
        self.count_by(counter, 1);
    }

    /// Counts several.
    pub fn count_by(&self, counter: Counter, by: u32) {
        let mut tally = self.tally();
        add(&mut tally.counts[counter.place()], u64::from(by));
    }

    /// Times a stage.
    pub fn observe(&self, stage: Stage, took: Duration) {
        time(&mut self.tally().stages[stage.place()], took);
    }

    /// Counts and times an inference, also as [`Stage::Infer`]. The catalogue's numbers that find no place any more are
    /// counted with those in no catalogue.
    pub fn inference(&self, model: CatalogueId, outcome: Outcome, took: Duration) {
        let mut tally = self.tally();
        time(&mut tally.stages[Stage::Infer.place()], took);
        let model = place_of(&mut tally.models, model.0);
        time(&mut model.timed, took);
        match outcome {
            Outcome::Done => add(&mut model.done, 1),
            Outcome::Failed => add(&mut model.failed, 1),
        }
    }

    /// What has been counted of one thing.
    #[must_use]
    pub fn counted(&self, counter: Counter) -> u64 {
        self.tally().counts[counter.place()]
    }

    /// Notes how far the audit log has come: its size, and its root as four big-endian numbers.
    pub fn anchor(&self, log_size: u64, log_root: [u64; 4]) {
        let mut tally = self.tally();
        (tally.log_size, tally.log_root) = (log_size, log_root);
    }

    /// Notes that the appliance ran for so long, and how busy its processors were meanwhile: of all their time, in
    /// whatever unit, how much.
    pub fn ran(&self, seconds: u64, cpu_busy: u64, cpu_all: u64) {
        let mut tally = self.tally();
        add(&mut tally.up_s, seconds);
        add(&mut tally.cpu_busy, cpu_busy);
        add(&mut tally.cpu_all, cpu_all);
    }

    /// Notes how busy the GPUs were when they were looked at: of all that they could do, in whatever unit, how much.
    pub fn gpus(&self, busy: u64, all: u64) {
        let mut tally = self.tally();
        add(&mut tally.gpu_busy, busy);
        add(&mut tally.gpu_all, all);
    }

    /// Writes the spool, durably. Call it now and then and at the end; a crash costs what was counted since.
    ///
    /// # Errors
    /// When it cannot be written. What was counted is not lost, and the next flush may work.
    pub fn flush(&self) -> Result<(), SpoolError> {
        let Some(spool) = &self.inner.spool else {
            return Ok(());
        };
        let flushing = self.inner.flushing.lock();
        let _held = flushing.unwrap_or_else(PoisonError::into_inner);
        let tally = self.tally().clone(); // not held while the disk is written
        spool::write(spool, self.inner.identity, &tally)
    }

    /// What would be sent if it were sent now.
    ///
    /// # Errors
    /// When what was counted does not keep to the frame's layout: a release number beyond 999.
    pub fn preview(&self) -> Result<Preview, SpoolError> {
        let Identity { appliance, release } = self.inner.identity;
        Preview::of(&self.tally().frame(release, appliance)?)
    }

    /// For the hospital's own monitoring: Prometheus text exposition format 0.0.4. Labels come from closed enums only.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let tally = self.tally().clone();
        prometheus::text(&tally)
    }

    /// All that was counted until now, and by whom.
    pub(crate) fn now(&self) -> (Tally, Identity) {
        (self.tally().clone(), self.inner.identity)
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        // Nothing under this lock can leave it half changed, so a panic elsewhere does not end the counting.
        let tally = self.inner.tally.lock();
        tally.unwrap_or_else(PoisonError::into_inner)
    }
}

fn place_of(models: &mut [ModelTally; MODELS], id: u16) -> &mut ModelTally {
    let known = models.iter().position(|model| model.id == id);
    let free = || (1..MODELS).find(|at| models[*at].id == 0);
    let at = if id == 0 {
        Some(0)
    } else {
        known.or_else(free)
    };
    let at = at.unwrap_or(0);
    if at > 0 {
        models[at].id = id;
    }
    &mut models[at]
}

fn time(timed: &mut Timed, took: Duration) {
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    add(&mut timed.buckets[bucket(millis)], 1);
    add(&mut timed.sum_ms, millis);
}

fn add(count: &mut u64, by: u64) {
    *count = count.saturating_add(by);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_have_places_until_there_are_none() {
        let meter = Meter::in_memory();
        let took = Duration::from_millis(3);
        for id in 0..40 {
            meter.inference(CatalogueId(id), Outcome::Done, took);
            meter.inference(CatalogueId(id), Outcome::Failed, took);
        }
        let tally = meter.tally();
        let told: Vec<_> = tally.models.iter().map(|m| (m.id, m.done)).collect();
        // 31 have places of their own; the other 8 are told of with those in no catalogue.
        assert_eq!(told[..3], [(0, 9), (1, 1), (2, 1)]);
        assert_eq!(told[31], (31, 1));
        assert_eq!(tally.stages[Stage::Infer.place()].count(), 80);
    }

    #[test]
    fn counts_from_many_threads_add_up() {
        let meter = Meter::in_memory();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..1000).for_each(|_| meter.count(Counter::JobsDone)));
            }
        });
        meter.count_by(Counter::JobsDone, u32::MAX);
        assert_eq!(
            meter.counted(Counter::JobsDone),
            8_000 + u64::from(u32::MAX)
        );
    }
}
