//! The engine's thread: step after step, until it is closed and nothing is left.

use crate::backend::Backend;
use crate::engine::{Board, Shared};
use crate::forecast::Forecast;
use crate::graph::Batch;
use crate::kernels::pages::{Cache, Segment};
use crate::limits::EngineLimits;
use crate::prefix::Prefixes;
use crate::schedule::{Candidate, Pace, Policy, Share};
use crate::sequence::Sequence;
use crate::tokenizer::Tokenizer;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the engine's thread owns.
pub(crate) struct Steps {
    shared: Arc<Shared>,
    backend: Backend,
    cache: Cache,
    prefixes: Prefixes,
    /// How long beginnings are kept; `None` keeps none.
    prefix_idle: Option<Duration>,
    tokenizer: Arc<Tokenizer>,
    policy: Policy,
    /// Sequences that have a place; some may be paused.
    active: Vec<Sequence>,
    pace: Pace,
    forecast: Forecast,
    /// Whether tokens are guessed and computed together.
    drafts: bool,
}

/// With guesses, a step has no more rows than this: where many answers share a pass, guesses only make it longer.
pub(crate) const DRAFT_ROWS_MAX: usize = 12;

/// A sequence that chose tokens in a step.
#[derive(Debug, Clone, Copy)]
struct Moved {
    at: usize,
    said: usize,
}

/// Steps until nothing is left after closing. Whatever happens, those who wait are told.
pub(crate) fn run(mut steps: Steps) {
    struct Ended(Arc<Shared>);
    impl Drop for Ended {
        fn drop(&mut self) {
            self.0.ended();
        }
    }
    let ended = Ended(Arc::clone(&steps.shared));
    while steps.admit() && steps.step() {}
    drop(steps); // the pool's threads end before anybody is told so
    drop(ended);
}

impl Steps {
    pub(crate) fn new(
        shared: Arc<Shared>,
        backend: Backend,
        cache: Cache,
        tokenizer: Arc<Tokenizer>,
        limits: &EngineLimits,
    ) -> Self {
        let policy = Policy {
            sequences_max: limits.sequences_max,
            step_tokens_max: limits.step_tokens_max,
            step_max: Duration::from_millis(limits.step_ms_max.into()),
            ageing: Duration::from_secs(limits.ageing_s.into()),
        };
        shared.lock().stats.kv_tokens_max = cache.tokens();
        Self {
            shared,
            backend,
            cache,
            prefixes: Prefixes::default(),
            prefix_idle: (limits.prefix_idle_s > 0)
                .then(|| Duration::from_secs(limits.prefix_idle_s.into())),
            tokenizer,
            policy,
            active: Vec::new(),
            pace: Pace::default(),
            forecast: Forecast::default(),
            drafts: limits.drafts,
        }
    }

    /// Waits for work and gives places. `false` when it is closed and nothing is left.
    fn admit(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut board = shared.lock();
        loop {
            self.forget_old();
            self.drop_abandoned(&mut board);
            self.give_places(&mut board);
            self.publish(&mut board);
            if !self.active.is_empty() {
                return true;
            }
            if board.closing && board.waiting.is_empty() {
                return false;
            }
            // Before it sleeps: nothing of what was said stays in a device's memory until somebody comes.
            if let Err(why) = self.backend.empty(&mut self.cache) {
                drop(board);
                self.give_up(&why);
                return false;
            }
            board = shared.wait(board, self.forgets_in());
        }
    }

    /// What nobody has continued for long does not stay in memory.
    fn forget_old(&mut self) {
        let now = self.shared.began.elapsed();
        if let Some(limit) = self.prefix_idle.and_then(|idle| now.checked_sub(idle)) {
            self.prefixes.forget_before(limit, &mut self.cache);
        }
    }

    /// How long until there is something to forget, if anything is kept.
    fn forgets_in(&self) -> Option<Duration> {
        let due = self.prefixes.oldest()? + self.prefix_idle?;
        // A little more, so that it is not found to be just not due yet.
        Some(due.saturating_sub(self.shared.began.elapsed()) + Duration::from_millis(10))
    }

    fn drop_abandoned(&mut self, board: &mut Board) {
        let Board {
            waiting,
            fairness,
            figures,
            stats,
            ..
        } = board;
        let cache = &mut self.cache;
        let mut keep = |sequence: &mut Sequence| {
            let abandoned = sequence.is_abandoned();
            if abandoned {
                sequence.release(cache);
                fairness.leave(sequence.tenant());
                figures.of(sequence.class()).abandoned += 1;
                stats.cancelled += 1;
            }
            !abandoned
        };
        waiting.retain_mut(&mut keep);
        self.active.retain_mut(keep);
    }

    /// Gives places in order of urgency. One more than there are places is let in when it is more urgent than one
    /// that has a place, or when its caller has less than its share of them: another one pauses.
    fn give_places(&mut self, board: &mut Board) {
        let now = self.shared.began.elapsed();
        while let Some(first) = self.next_place(board, now) {
            let mut sequence = board.waiting.remove(first);
            let spared = sequence.resume(&mut self.prefixes, now, &mut self.cache);
            board.stats.prefix_tokens_found += spared as u64;
            board.stats.prefix_tokens_sought += sequence.tokens().len() as u64;
            sequence.place(now, &mut board.figures);
            self.active.push(sequence);
        }
    }

    /// Which of those that wait gets a place now.
    fn next_place(&self, board: &Board, now: Duration) -> Option<usize> {
        let candidate = |sequence: &Sequence| sequence.candidate(&board.fairness);
        let candidates: Vec<Candidate> = board.waiting.iter().map(candidate).collect();
        let first = self.policy.order(&candidates, now).first().copied()?;
        let (sequence, rank) = (
            &board.waiting[first],
            self.policy.rank(&candidates[first], now),
        );
        let displaces = self.displaces(sequence, rank, board, now);
        let has_place = self.active.len() < self.policy.sequences_max;
        let may_displace = displaces && self.active.len() < 2 * self.policy.sequences_max;
        let fits = self.fits(sequence) || self.active.is_empty();
        ((has_place || may_displace) && (fits || displaces)).then_some(first)
    }

    /// Whether one of those with a place should pause for this one.
    fn displaces(&self, sequence: &Sequence, rank: u32, board: &Board, now: Duration) -> bool {
        let ranked = |other: &Sequence| self.policy.rank(&other.candidate(&board.fairness), now);
        if self.active.iter().any(|other| rank < ranked(other)) {
            return true;
        }
        let (_, callers) = board.fairness.under_way(sequence.tenant());
        let share = (self.policy.sequences_max / callers.max(1)).max(1);
        let places = |tenant: &str| self.active.iter().filter(|o| o.tenant() == tenant).count();
        let takes_more = |other: &Sequence| {
            other.tenant() != sequence.tenant()
                && rank <= ranked(other)
                && places(other.tenant()) > share
        };
        places(sequence.tenant()) < share && self.active.iter().any(takes_more)
    }

    /// The ledger of keys and values: whether there is room for a prompt and the answer that is expected, beside what
    /// those with a place are still expected to need, so that none is thrown out again at once.
    fn fits(&self, sequence: &Sequence) -> bool {
        let need = |sequence: &Sequence| {
            let answer_max = sequence.generated_left();
            self.forecast.pages(sequence.tokens().len(), answer_max)
        };
        let owed = |other: &Sequence| need(other).saturating_sub(other.pages.len());
        let pages = need(sequence) + self.active.iter().map(owed).sum::<usize>();
        pages <= self.cache.free_pages() + self.prefixes.idle_pages(&self.cache)
    }

    fn publish(&self, board: &mut Board) {
        let ahead = |sequence: &Sequence| sequence.ahead(&board.fairness);
        board.running = self.active.iter().map(ahead).collect();
        board.forecast = Forecast {
            tokens_per_s: self.pace.tokens_per_s(),
            ..self.forecast
        };
        board.stats.running = self.active.len();
        board.stats.waiting = board.waiting.len();
        board.stats.kv_tokens = self.active.iter().map(|sequence| sequence.computed).sum();
        // What is only kept for the next prompt is given up as soon as somebody needs it: it is as good as free.
        let free = self.cache.free_pages() + self.prefixes.idle_pages(&self.cache);
        let held = self.cache.tokens() - Cache::tokens_of(free);
        board.figures.kv_tokens = held as u64;
    }

    /// `false` when what computes is not to be believed any more.
    fn step(&mut self) -> bool {
        let began = Instant::now();
        let plan = self.plan();
        let batch = self.batch(&plan);
        let rows = batch.tokens.len();
        let planned: usize = plan.iter().map(|share| share.tokens).sum();
        let result = catch_unwind(AssertUnwindSafe(|| self.compute(&plan, &batch)));
        let moved = match result {
            Ok(Ok(moved)) => moved,
            Ok(Err(why)) => {
                self.give_up(&why);
                return false;
            }
            Err(_) => self.failed(&plan),
        };
        let took = began.elapsed();
        self.pace.learn(rows, took);
        self.forecast.step(took.as_secs_f64());
        let shared = Arc::clone(&self.shared);
        let mut board = shared.lock();
        board.figures.drafted += (rows - planned) as u64;
        self.account(&plan, &moved, &mut board);
        self.remove(&moved, &mut board);
        true
    }

    /// A device that failed once gives no answer again: all who wait are told, and the engine ends.
    fn give_up(&mut self, why: &str) {
        tracing::error!(why, "the device failed");
        let mut board = self.shared.lock();
        board.closing = true;
        for sequence in self.active.iter_mut().chain(&mut board.waiting) {
            sequence.fail("the device that wrote this answer failed; ask again");
        }
    }

    /// Enters a step into the figures.
    fn account(&mut self, plan: &[Share], moved: &[Moved], board: &mut Board) {
        let now = self.shared.began.elapsed();
        board.stats.steps += 1;
        for share in plan {
            let sequence = &self.active[share.candidate];
            board.fairness.charge(sequence.tenant(), share.tokens);
            let answers = moved.iter().any(|moved| moved.at == share.candidate);
            let read = share.tokens - usize::from(answers && share.tokens > 0);
            board.stats.prompt_tokens += read as u64;
        }
        for moved in moved {
            let sequence = &mut self.active[moved.at];
            sequence.account(moved.said, now, &mut board.figures);
            let guessed = moved.said.saturating_sub(1);
            board.fairness.charge(sequence.tenant(), guessed);
            board.stats.generated_tokens += moved.said as u64;
            board.figures.drafts_accepted += moved.said.saturating_sub(1) as u64;
            if sequence.is_over() {
                self.forecast
                    .answer(sequence.tokens().len() - sequence.prompt_tokens());
            }
        }
    }

    /// What advances, with pages for all of it.
    fn plan(&mut self) -> Vec<Share> {
        loop {
            let (plan, advancing) = {
                let board = self.shared.lock();
                let candidate = |sequence: &Sequence| sequence.candidate(&board.fairness);
                let candidates: Vec<Candidate> = self.active.iter().map(candidate).collect();
                let now = self.shared.began.elapsed();
                let plan = self.policy.plan(&candidates, now, self.pace);
                (plan, self.policy.advancing(&candidates, now))
            };
            if self.take_pages(&plan) {
                self.note_paused(&advancing);
                self.guess(&plan);
                return plan;
            }
            self.preempt();
        }
    }

    /// Counts those that others keep from advancing any further, though they keep their place.
    fn note_paused(&mut self, advancing: &[usize]) {
        let mut board = self.shared.lock();
        for (at, sequence) in self.active.iter_mut().enumerate() {
            match advancing.contains(&at) {
                true => sequence.go_on(),
                false => sequence.fall_out(&mut board.figures),
            }
        }
    }

    /// Guesses what follows the tokens that are chosen in this step, where few enough rows are in it. Guesses throw nobody
    /// out: without a page for one there is none.
    fn guess(&mut self, plan: &[Share]) {
        let rows: usize = plan.iter().map(|share| share.tokens).sum();
        let mut room = DRAFT_ROWS_MAX.saturating_sub(rows);
        for share in plan {
            let sequence = &mut self.active[share.candidate];
            let answers = self.drafts && sequence.pending() == 1;
            sequence.draft(if answers { room } else { 0 }, &self.tokenizer);
            let wanted = sequence.computed + 1 + sequence.guess().len();
            if !sequence.guess().is_empty() && !self.take_pages_until(share.candidate, wanted) {
                self.active[share.candidate].forget_guess();
            }
            room = room.saturating_sub(self.active[share.candidate].guess().len());
        }
    }

    fn take_pages(&mut self, plan: &[Share]) -> bool {
        plan.iter().all(|share| {
            let tokens = self.active[share.candidate].computed + share.tokens;
            self.take_pages_until(share.candidate, tokens)
        })
    }

    fn take_pages_until(&mut self, candidate: usize, tokens: usize) -> bool {
        let sequence = &mut self.active[candidate];
        while sequence.pages.len() < Cache::pages_for(tokens) {
            let page = loop {
                match self.cache.take() {
                    None if self.prefixes.evict(&mut self.cache) => {}
                    taken => break taken,
                }
            };
            let Some(page) = page else { return false };
            sequence.pages.push(page);
        }
        true
    }

    /// The least urgent sequence gives its pages back and begins again later; being row-independent, it continues
    /// with the very same text.
    fn preempt(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut board = shared.lock();
        let candidate = |sequence: &Sequence| sequence.candidate(&board.fairness);
        let candidates: Vec<Candidate> = self.active.iter().map(candidate).collect();
        let order = self.policy.order(&candidates, self.shared.began.elapsed());
        // A single sequence always has its pages: the context is no longer than the cache.
        let last = order
            .into_iter()
            .rev()
            .find(|at| !self.active[*at].pages.is_empty());
        let Some(last) = last.filter(|_| self.active.len() > 1) else {
            return;
        };
        let mut sequence = self.active.remove(last);
        sequence.release(&mut self.cache);
        board.stats.preempted += 1;
        sequence.fall_out(&mut board.figures);
        board.waiting.insert(0, sequence);
    }

    fn batch(&mut self, plan: &[Share]) -> Batch {
        let mut batch = Batch::default();
        for share in plan {
            let sequence = &self.active[share.candidate];
            let first_row = batch.tokens.len();
            let tokens = &sequence.tokens()[sequence.computed..][..share.tokens];
            batch.tokens.extend_from_slice(tokens);
            batch.tokens.extend_from_slice(sequence.guess());
            batch.segments.push(Segment {
                first_row,
                rows: share.tokens + sequence.guess().len(),
                position: sequence.computed,
                pages: sequence.pages.clone(),
            });
            if share.tokens == sequence.pending() {
                let chosen_after = first_row + share.tokens - 1;
                batch.outputs.extend(chosen_after..batch.tokens.len());
            }
        }
        batch
    }

    /// Computes the batch and lets every sequence whose logits came choose its tokens. Returns which did.
    ///
    /// # Errors
    /// What the device says when it fails.
    fn compute(&mut self, plan: &[Share], batch: &Batch) -> Result<Vec<Moved>, String> {
        #[cfg(test)]
        assert!(!std::mem::take(&mut self.shared.lock().fault), "planned");
        let vocabulary = self.backend.vocabulary();
        let logits = self.backend.forward(&mut self.cache, batch)?;
        let mut rows = logits.chunks_exact(vocabulary);
        let now = self.shared.began.elapsed();
        let mut moved = Vec::new();
        for share in plan {
            let sequence = &mut self.active[share.candidate];
            let complete = share.tokens == sequence.pending();
            sequence.computed += share.tokens;
            if complete {
                let own: Vec<&[f32]> = rows.by_ref().take(1 + sequence.guess().len()).collect();
                let said = sequence.choose_through(own.into_iter(), &self.tokenizer);
                let at = share.candidate;
                moved.push(Moved { at, said });
            }
            if self.prefix_idle.is_some() {
                sequence.share(&mut self.prefixes, now, &mut self.cache);
            }
        }
        Ok(moved)
    }

    /// A panic costs the sequences of this step, and nothing else.
    fn failed(&mut self, plan: &[Share]) -> Vec<Moved> {
        tracing::error!(
            sequences = plan.len(),
            "a step of the language engine failed"
        );
        let ended = plan.iter().map(|share| share.candidate);
        ended
            .map(|at| {
                self.active[at]
                    .fail("the language engine failed while it wrote this answer; ask again");
                Moved { at, said: 0 }
            })
            .collect()
    }

    fn remove(&mut self, moved: &[Moved], board: &mut Board) {
        let over = moved.iter().map(|moved| moved.at);
        let mut over: Vec<usize> = over.filter(|at| self.active[*at].is_over()).collect();
        over.sort_unstable();
        for at in over.into_iter().rev() {
            let mut sequence = self.active.remove(at);
            sequence.release(&mut self.cache);
            board.fairness.leave(sequence.tenant());
        }
    }
}
