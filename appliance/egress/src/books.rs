//! The books: what was told, what it cost, and what waits to be told.
//!
//! Closing a week is one rename. The new books hold the spent budget, the noised counts that wait, and the frame itself;
//! they replace the old ones durably, and only then does the frame appear where the gate looks for it. A crash before
//! leaves the old books: no budget is spent and no noise was seen by anybody. A crash after leaves the new ones, and
//! opening them puts the very same frame in its place. There is no state in which a week's noise is drawn twice and both
//! draws can leave.
//!
//! Counts wait together with their noise. Each week's histogram is noised once, with that week's budget; whether enough
//! is gathered is decided on the sum of what has been noised already, and deciding costs nothing.
//!
//! Books that come from a backup are older than what was told since. Opening them passes over the weeks that may have been told,
//! with an entry for each and the highest price ([`Restored`]).

use crate::drift::Judge;
use crate::evaluation::Evaluation;
use crate::forecast::{Expected, Forecast, year_of};
use crate::meter::{CatalogueId, Meter};
use crate::noise::{Noise, Seed};
use crate::restored::Restored;
use crate::spool::{self, Numbers, SpoolError, TALLY_NUMBERS};
use crate::tally::Tally;
use crate::week::Week;
use pericard_frame::budget::{
    MAX_MODELS_A_PATIENT, MODEL_WEEK_MILLI_EPSILON, WEEK_MILLI_EPSILON_MAX, YEAR_MILLI_EPSILON,
};
use pericard_frame::layout::{
    self, CELLS, EVALUATION_CELLS, MAX_CELL, OFFSET, PROOF_HASHES, TOLD_EVALUATIONS, VERSION,
};
use pericard_frame::{Draft, FRAME_BYTES, Frame, ToHub};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// Fewer than this are told only after waiting for as many weeks as may be.
pub const TOLD_AT_ONCE: i64 = 200;
/// Fewer than this are never told.
pub const NEVER_TOLD_BELOW: i64 = 50;
/// How many weeks are told of together, at most.
const WEEKS_MAX: u64 = 4;
/// How many closed weeks the ledger shows: ten years.
const ENTRIES_MAX: usize = 520;
const MARK: u64 = u64::from_le_bytes(*b"PCBOOKS1");
/// The layout before this one. What was spent under it stays spent.
const OLDER: u64 = VERSION as u64 - 1;
/// How a week was told of, as the file has it; 0 when it was told.
const REFUSED: u64 = 1;
const PASSED_OVER: u64 = 2;
const FRAME_NUMBERS: usize = FRAME_BYTES / 8;

/// How much may be spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// In a year of 52 weeks, thousandths of epsilon that one patient can be charged.
    pub year_milli_epsilon: u32,
}

impl Default for Rules {
    /// Enough for somebody who is seen in every week of the year, for two models each time.
    fn default() -> Self {
        Self {
            year_milli_epsilon: YEAR_MILLI_EPSILON,
        }
    }
}

/// How far the audit log has come, and that it still holds what the frame before told of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// How many lines.
    pub size: u64,
    /// Its root, as four big-endian numbers.
    pub root: [u64; 4],
    /// The consistency proof from [`Books::log_from`] to this size.
    pub proof: Vec<[u64; 4]>,
}

/// A week that is over.
pub struct Closing {
    /// Which, counted from Monday 5 January 1970.
    pub week: u16,
    /// Its inferences.
    pub inferences: Week,
    /// The audit log.
    pub log: Log,
    /// Evaluations whose cases have been counted; those that were told already are passed over.
    pub evaluations: Vec<Evaluation>,
    /// What its noise grows from.
    pub seed: Seed,
}

/// A line of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// The week that was closed.
    pub week: u16,
    /// The frame that tells of it.
    pub sequence: u32,
    /// What it cost a patient at most, thousandths of epsilon.
    pub spent_milli_epsilon: u32,
    /// What is left in the year, thousandths of epsilon.
    pub left_milli_epsilon: u32,
    /// Of how many models the frame tells.
    pub models_told: u8,
    /// Of how many evaluation plans the frame tells.
    pub plans_told: u8,
    /// Whether the budget did not allow to draw noise: nothing derived from patients was told, no verdict on drift either.
    pub refused: bool,
    /// Whether it was passed over, without a frame: it may have been told before the books were restored from a backup.
    pub passed_over: bool,
}

/// A week cannot be closed.
#[derive(Debug, thiserror::Error)]
pub enum BooksError {
    /// They cannot be read or written.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// Another process has them open.
    #[error("the books of what leaves are in use by another process; try again when it has ended")]
    InUse,
    /// It has been closed, and what was told of it is told for good.
    #[error("week {0} is closed; a week is told of once")]
    Closed(u16),
    /// The proof is longer than any can be.
    #[error("the proof of the audit log has {0} hashes, and at most {PROOF_HASHES} fit")]
    Proof(usize),
}

/// The books, open: nobody else has them meanwhile.
#[derive(Debug)]
pub struct Books {
    dir: PathBuf,
    rules: Rules,
    kept: Kept,
    /// Held as long as they are open.
    _lock: File,
}

/// What the books say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Kept {
    year: u64,
    spent: u64,
    entries: Vec<Entry>,
    models: Vec<Waiting>,
    /// What had been counted when the last week was closed: a frame tells of one week.
    tally: Tally,
    log_size: u64,
    /// Which number the appliance had when it told of that log.
    log_appliance: u32,
    /// Every evaluation plan that was answered, or had too few cases: each is answered once.
    plans: Vec<u32>,
    frame: Option<Frame>,
}

/// A model's noised counts that are not told yet, and the judge of its scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    id: u16,
    weeks: u64,
    cells: [i64; CELLS],
    judge: Judge,
}

impl Books {
    /// Opens the books in this folder, or begins them. A frame that a crash kept from its place is put there.
    ///
    /// # Errors
    /// When they are in use, cannot be read or written, or are not books of this version.
    pub fn open(dir: PathBuf, rules: Rules) -> Result<Self, BooksError> {
        let frames = frames(&dir);
        fs::create_dir_all(&frames).map_err(spool::failed("made", &frames))?;
        let path = dir.join("lock");
        let lock = File::create(&path).map_err(spool::failed("written", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BooksError::InUse),
            Err(TryLockError::Error(error)) => {
                return Err(spool::failed("locked", &path)(error).into());
            }
        }
        let mut books = Self {
            kept: Kept::read(&dir)?,
            dir,
            rules,
            _lock: lock,
        };
        books.put_frame()?;
        if let Some(next) = books.kept.after_restoring(&books.dir, rules)? {
            spool::replace(&books.dir.join("books"), &next.numbers())?;
            books.kept = next;
        }
        Ok(books)
    }

    /// What the year's budget still has to pay, by the books in this folder. They are read beside whoever has them open, since
    /// they are replaced in one step.
    ///
    /// # Errors
    /// When they cannot be read, or are not books of this version.
    pub fn forecast(dir: &Path, rules: Rules, expected: &Expected) -> Result<Forecast, BooksError> {
        let mut kept = Kept::read(dir)?;
        if let Some(next) = kept.after_restoring(dir, rules)? {
            kept = next;
        }
        let is_charged = kept.year == u64::from(year_of(expected.week));
        let spent = if is_charged { kept.spent } else { 0 };
        let left = u64::from(rules.year_milli_epsilon).saturating_sub(spent);
        let open = expected.accepted.iter();
        let open = open.filter(|plan| !kept.plans.contains(plan)).count();
        let closed = kept.entries.last().map(|entry| entry.week);
        Ok(Forecast::of(
            expected,
            u32::try_from(left).unwrap_or(u32::MAX),
            closed,
            u32::try_from(open).unwrap_or(u32::MAX),
        ))
    }

    /// The week closed last; `None` before the first.
    #[must_use]
    pub fn last_week(&self) -> Option<u16> {
        self.kept.entries.last().map(|entry| entry.week)
    }

    /// The size of the audit log that the hub witnessed with the last frame; 0 before the first that carries the number
    /// that the appliance has now, since no hub was sent those before.
    #[must_use]
    pub fn log_from(&self, meter: &Meter) -> u64 {
        self.kept.log_from(meter.now().1.appliance)
    }

    /// Whether this evaluation plan has been answered, with an outcome or with too few cases for one.
    #[must_use]
    pub fn has_answered(&self, plan: u32) -> bool {
        self.kept.plans.contains(&plan)
    }

    /// Every closed week and what it cost, the oldest first.
    #[must_use]
    pub fn ledger(&self) -> &[Entry] {
        &self.kept.entries
    }

    /// Closes a week: draws its noise, charges the budget, and keeps the frame, in one step.
    ///
    /// # Errors
    /// When the week is closed already, or the books cannot be written; then nothing is told and nothing is spent.
    pub fn close(&mut self, closing: Closing, meter: &Meter) -> Result<Entry, BooksError> {
        let last = self.kept.entries.last();
        if last.is_some_and(|last| last.week >= closing.week) {
            return Err(BooksError::Closed(closing.week));
        }
        if closing.log.proof.len() > PROOF_HASHES {
            return Err(BooksError::Proof(closing.log.proof.len()));
        }
        let sequence = last.map_or(0, |last| last.sequence) + 1;
        let mut next = self.kept.clone();
        let entry = next.close(closing, sequence, meter, self.rules)?;
        spool::replace(&self.dir.join("books"), &next.numbers())?;
        self.kept = next;
        self.put_frame()?;
        Ok(entry)
    }

    /// Puts the last frame where the gate looks for it, unless it is there: always the bytes that the books hold.
    fn put_frame(&self) -> Result<(), SpoolError> {
        let (Some(entry), Some(frame)) = (self.kept.entries.last(), &self.kept.frame) else {
            return Ok(());
        };
        let path = frame_path(&self.dir, entry.sequence);
        match fs::read(&path) {
            Ok(held) if held == frame.bytes() => Ok(()),
            _ => spool::replace_shown(&path, frame.bytes()),
        }
    }
}

/// The folder that a gate may read, below the one of the books, which it may not.
fn frames(dir: &Path) -> PathBuf {
    dir.join("frames")
}

/// Where a frame lies, below the folder of the books.
pub(crate) fn frame_path(dir: &Path, sequence: u32) -> PathBuf {
    frames(dir).join(format!("{sequence:08}.frame"))
}

impl Kept {
    fn read(dir: &Path) -> Result<Self, SpoolError> {
        let path = dir.join("books");
        match spool::read_numbers(&path)? {
            None => Ok(Self::default()),
            Some(numbers) => Numbers(numbers.into_iter())
                .books()
                .ok_or(SpoolError::Foreign(path)),
        }
    }

    /// These books once they know that they come from a backup; `None` when they never did, or know it already.
    fn after_restoring(&self, dir: &Path, rules: Rules) -> Result<Option<Self>, SpoolError> {
        let Some(restored) = Restored::of(dir)? else {
            return Ok(None);
        };
        let mut next = self.clone();
        next.pass_over(&restored, rules);
        Ok((next != *self).then_some(next))
    }

    /// Passes over the weeks that may have been told since the backup was made. Each takes the number that its frame may have
    /// had; what waited may have been told with them, and plans that were accepted may have been answered.
    fn pass_over(&mut self, restored: &Restored, rules: Rules) {
        let last = self.entries.last().copied();
        let from = last.map_or(restored.from_week, |last| last.week.saturating_add(1));
        let shown = restored.not_before.saturating_sub(ENTRIES_MAX as u16);
        let first = last.map_or(0, |last| last.sequence) + 1;
        for (sequence, week) in (first..).zip(from.max(shown)..restored.not_before) {
            self.begin_year(week);
            self.spent += u64::from(WEEK_MILLI_EPSILON_MAX);
            self.frame = None;
            for model in &mut self.models {
                (model.weeks, model.cells) = (0, [0; CELLS]);
            }
            self.enter(Entry {
                week,
                sequence,
                spent_milli_epsilon: WEEK_MILLI_EPSILON_MAX,
                left_milli_epsilon: self.left(rules),
                models_told: 0,
                plans_told: 0,
                refused: false,
                passed_over: true,
            });
        }
        let unknown = restored.plans.iter().filter(|p| !self.plans.contains(p));
        let unknown: Vec<u32> = unknown.copied().collect();
        self.plans.extend(unknown);
    }

    /// The budget comes back with the year.
    fn begin_year(&mut self, week: u16) {
        let year = u64::from(year_of(week));
        if year != self.year {
            (self.year, self.spent) = (year, 0);
        }
    }

    fn left(&self, rules: Rules) -> u32 {
        let left = u64::from(rules.year_milli_epsilon).saturating_sub(self.spent);
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    fn enter(&mut self, entry: Entry) {
        self.entries.push(entry);
        let too_many = self.entries.len().saturating_sub(ENTRIES_MAX);
        self.entries.drain(..too_many);
    }

    fn close(
        &mut self,
        closing: Closing,
        sequence: u32,
        meter: &Meter,
        rules: Rules,
    ) -> Result<Entry, BooksError> {
        let Closing {
            week,
            inferences,
            log,
            evaluations,
            seed,
        } = closing;
        let (tally, identity) = meter.now();
        let frame = tally
            .since(&self.tally)
            .frame(identity.release, identity.appliance);
        let mut draft = Draft::from(&frame.map_err(SpoolError::from)?);
        draft.put(&layout::SEQUENCE, 0, sequence);
        draft.put(&layout::WEEK, 0, week);
        put_log(&mut draft, &log, self.log_from(identity.appliance));

        self.begin_year(week);
        // It hears every week; what it says is told only where the budget allows to tell of patients.
        let verdicts = self.judge(&inferences);
        let told_of = inferences.models().len().min(MAX_MODELS_A_PATIENT);
        let evaluations = self.unanswered(&evaluations);
        // A patient can be among a week's and among every evaluation's.
        let price = u64::from(MODEL_WEEK_MILLI_EPSILON) * (told_of + evaluations.len()) as u64;
        let budget = u64::from(rules.year_milli_epsilon);
        let refused = self.spent + price > budget;
        let (mut models_told, mut plans_told) = (0, 0);
        if !refused {
            self.spent += price;
            put_verdicts(&mut draft, &verdicts, &tally);
            let mut noise = Noise::from(seed);
            self.gather(&inferences, &mut noise);
            models_told = self.tell(&mut draft);
            plans_told = self.answer(&mut draft, &evaluations, &mut noise);
        }
        let left = self.left(rules);
        draft.put(
            &layout::BUDGET_LEFT,
            0,
            left.min(layout::BUDGET_LEFT.spec().max as u32),
        );
        let entry = Entry {
            week,
            sequence,
            spent_milli_epsilon: if refused { 0 } else { price as u32 },
            left_milli_epsilon: left,
            models_told,
            plans_told,
            refused,
            passed_over: false,
        };
        self.frame = Some(draft.seal().map_err(SpoolError::from)?);
        (self.tally, self.log_size) = (tally, log.size);
        self.log_appliance = identity.appliance;
        self.enter(entry);
        Ok(entry)
    }

    fn log_from(&self, appliance: u32) -> u64 {
        if self.log_appliance == appliance {
            self.log_size
        } else {
            0
        }
    }

    /// As many evaluations as a frame has place for, each plan once and none that was answered.
    fn unanswered(&self, evaluations: &[Evaluation]) -> Vec<Evaluation> {
        let mut open: Vec<Evaluation> = Vec::new();
        for evaluation in evaluations {
            let is_open = evaluation.plan > 0 && !self.plans.contains(&evaluation.plan);
            if is_open && open.iter().all(|held| held.plan != evaluation.plan) {
                open.push(*evaluation);
            }
        }
        open.truncate(TOLD_EVALUATIONS);
        open
    }

    /// Answers evaluations: their noise is drawn, once and for all. One with too few cases, as they are with noise, is
    /// told nothing of, and is answered too: trying again would be another look at the same patients.
    fn answer(
        &mut self,
        draft: &mut Draft<ToHub>,
        evaluations: &[Evaluation],
        noise: &mut Noise,
    ) -> u8 {
        let mut told = 0;
        for evaluation in evaluations {
            let cells = evaluation
                .cells
                .map(|exact| i64::from(exact) + noise.draw());
            self.plans.push(evaluation.plan);
            let least = NEVER_TOLD_BELOW.max(i64::from(evaluation.cases_min));
            if cells.iter().sum::<i64>() < least {
                continue;
            }
            let at = usize::from(told);
            draft.put(&layout::EVALUATION_PLAN, at, evaluation.plan);
            draft.put(
                &layout::EVALUATION_EPSILON,
                at,
                MODEL_WEEK_MILLI_EPSILON as u16,
            );
            draft.put_all(
                &layout::EVALUATION,
                at * EVALUATION_CELLS,
                cells.map(told_cell),
            );
            told += 1;
        }
        told
    }

    /// Lets each model's judge hear the week's exact numbers, and gives what it says of each.
    fn judge(&mut self, inferences: &Week) -> Vec<(CatalogueId, u8)> {
        let live = |id: u16| inferences.models().iter().any(|(live, _)| live.0 == id);
        self.models.retain(|model| live(model.id));
        let hear = |(id, cells): &(CatalogueId, [u32; CELLS])| {
            let verdict = self.waiting(id.0).judge.hear(cells);
            (*id, verdict)
        };
        inferences.models().iter().map(hear).collect()
    }

    /// Adds a week, each cell with noise of its own.
    fn gather(&mut self, inferences: &Week, noise: &mut Noise) {
        for (CatalogueId(id), cells) in inferences.models() {
            let waiting = self.waiting(*id);
            waiting.weeks += 1;
            for (held, exact) in waiting.cells.iter_mut().zip(cells) {
                *held += i64::from(*exact) + noise.draw();
            }
        }
    }

    /// Tells of the models of which enough is gathered. From here on only what has been noised is looked at.
    fn tell(&mut self, draft: &mut Draft<ToHub>) -> u8 {
        let mut told = 0;
        for model in &mut self.models {
            let count: i64 = model.cells.iter().sum();
            let is_over = model.weeks >= WEEKS_MAX;
            if count < TOLD_AT_ONCE && !is_over {
                continue;
            }
            if count >= NEVER_TOLD_BELOW {
                let at = usize::from(told);
                draft.put(&layout::HIST_MODEL, at, model.id);
                draft.put(&layout::HIST_WEEKS, at, model.weeks as u8);
                draft.put(&layout::HIST_EPSILON, at, MODEL_WEEK_MILLI_EPSILON as u16);
                draft.put_all(&layout::HIST, at * CELLS, model.cells.map(told_cell));
                told += 1;
            }
            (model.weeks, model.cells) = (0, [0; CELLS]);
        }
        told
    }

    fn waiting(&mut self, id: u16) -> &mut Waiting {
        let at = self.models.iter().position(|model| model.id == id);
        let at = at.unwrap_or_else(|| {
            self.models.push(Waiting {
                id,
                weeks: 0,
                cells: [0; CELLS],
                judge: Judge::default(),
            });
            self.models.len() - 1
        });
        &mut self.models[at]
    }

    fn numbers(&self) -> Vec<u64> {
        let mut numbers = vec![
            MARK,
            u64::from(VERSION),
            self.year,
            self.spent,
            self.log_size,
        ];
        numbers.push(self.entries.len() as u64);
        for entry in &self.entries {
            numbers.extend([u64::from(entry.week), u64::from(entry.sequence)]);
            numbers.extend([entry.spent_milli_epsilon, entry.left_milli_epsilon].map(u64::from));
            numbers.extend([u64::from(entry.models_told), how_told(entry)]);
            numbers.push(u64::from(entry.plans_told));
        }
        numbers.push(self.models.len() as u64);
        for model in &self.models {
            numbers.extend([u64::from(model.id), model.weeks]);
            numbers.extend(model.cells.map(i64::cast_unsigned));
            let judge = &model.judge;
            numbers.extend(judge.reference);
            numbers.extend([
                judge.reference_weeks,
                judge.verdict,
                judge.beyond,
                judge.within,
            ]);
        }
        numbers.extend(spool::tally_numbers(&self.tally));
        numbers.push(u64::from(self.log_appliance));
        numbers.push(self.plans.len() as u64);
        numbers.extend(self.plans.iter().copied().map(u64::from));
        if let Some(frame) = &self.frame {
            let (words, _) = frame.bytes().as_chunks::<8>();
            numbers.extend(words.iter().map(|word| u64::from_le_bytes(*word)));
        }
        numbers
    }
}

impl Kept {
    /// What books of the layout before say: all but the frame, which nobody can read any more.
    fn after_older(mut self, frame: impl Iterator<Item = u64>) -> Option<Self> {
        let bytes: Vec<u8> = frame.flat_map(u64::to_le_bytes).collect();
        // The appliance's number had the same place there.
        let spec = layout::APPLIANCE.spec();
        if let Some(number) = bytes.get(spec.offset_bytes..spec.end_bytes()) {
            self.log_appliance = u32::from_le_bytes(number.try_into().ok()?);
        }
        (bytes.is_empty() || bytes.len() == FRAME_BYTES).then_some(self)
    }
}

const fn how_told(entry: &Entry) -> u64 {
    match entry {
        Entry { refused: true, .. } => REFUSED,
        Entry {
            passed_over: true, ..
        } => PASSED_OVER,
        _ => 0,
    }
}

/// A noised count as it is told.
fn told_cell(count: i64) -> u16 {
    let told = (count + i64::from(OFFSET)).clamp(0, i64::from(MAX_CELL));
    u16::try_from(told).unwrap_or(MAX_CELL)
}

/// Puts what was said of each model at its place.
fn put_verdicts(draft: &mut Draft<ToHub>, verdicts: &[(CatalogueId, u8)], tally: &Tally) {
    for (CatalogueId(id), verdict) in verdicts {
        let place = tally.models.iter().position(|model| model.id == *id);
        if let Some(place) = place {
            draft.put(&layout::DRIFT, place, *verdict);
        }
    }
}

fn put_log(draft: &mut Draft<ToHub>, log: &Log, from: u64) {
    draft.put(&layout::LOG_SIZE, 0, log.size);
    draft.put_all(&layout::LOG_ROOT, 0, log.root);
    draft.put(&layout::LOG_FROM, 0, from);
    draft.put(&layout::PROOF_LEN, 0, log.proof.len() as u8);
    draft.put_all(&layout::PROOF, 0, log.proof.iter().flatten().copied());
}

impl<I: ExactSizeIterator<Item = u64>> Numbers<I> {
    fn books(mut self) -> Option<Kept> {
        if self.next()? != MARK {
            return None;
        }
        let is_older = match self.next()? {
            OLDER => true,
            version if version == u64::from(VERSION) => false,
            _ => return None,
        };
        let mut kept = Kept {
            year: self.next()?,
            spent: self.next()?,
            log_size: self.next()?,
            ..Kept::default()
        };
        for _ in 0..self.next()? {
            let entry = self.entry(is_older)?;
            kept.entries.push(entry);
        }
        for _ in 0..self.next()? {
            let model = self.waiting()?;
            kept.models.push(model);
        }
        if is_older {
            kept.tally = self.older_tally()?;
            return kept.after_older(self.0);
        }
        if self.0.len() < TALLY_NUMBERS {
            return None;
        }
        kept.tally = self.tally()?;
        kept.log_appliance = self.next()?.try_into().ok()?;
        for _ in 0..self.next()? {
            kept.plans.push(self.next()?.try_into().ok()?);
        }
        if self.0.len() == FRAME_NUMBERS {
            let bytes: Vec<u8> = self.0.flat_map(u64::to_le_bytes).collect();
            kept.frame = Some(Frame::open(&bytes).ok()?);
        } else if self.0.len() > 0 {
            return None;
        }
        Some(kept)
    }

    fn entry(&mut self, is_older: bool) -> Option<Entry> {
        let (week, sequence) = (self.next()?.try_into().ok()?, self.next()?.try_into().ok()?);
        let (spent, left) = (self.next()?.try_into().ok()?, self.next()?.try_into().ok()?);
        let (models, how) = (self.next()?.try_into().ok()?, self.next()?);
        let plans = if is_older { 0 } else { self.next()? };
        Some(Entry {
            week,
            sequence,
            spent_milli_epsilon: spent,
            left_milli_epsilon: left,
            models_told: models,
            plans_told: plans.try_into().ok()?,
            refused: how == REFUSED,
            passed_over: how == PASSED_OVER,
        })
    }

    fn waiting(&mut self) -> Option<Waiting> {
        let (id, weeks) = (self.next()?.try_into().ok()?, self.next()?);
        let mut cells = [0; CELLS];
        self.fill(&mut cells)?;
        let mut judge = Judge::default();
        self.fill(&mut judge.reference)?;
        judge.reference_weeks = self.next()?;
        judge.verdict = self.next()?;
        judge.beyond = self.next()?;
        judge.within = self.next()?;
        let cells = cells.map(u64::cast_signed);
        Some(Waiting {
            id,
            weeks,
            cells,
            judge,
        })
    }
}
