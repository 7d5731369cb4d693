//! The engine's thread: step after step, until it is closed and nothing is left.

use crate::engine::{Board, Shared};
use crate::graph::{Batch, Graph};
use crate::kernels::pages::{Cache, Segment};
use crate::limits::EngineLimits;
use crate::prefix::Prefixes;
use crate::schedule::{Candidate, Pace, Policy, Share};
use crate::sequence::Sequence;
use crate::tokenizer::Tokenizer;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

/// What the engine's thread owns.
pub(crate) struct Steps {
    shared: Arc<Shared>,
    graph: Graph,
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
}

/// How long answers are and how long steps take, lately.
#[derive(Debug, Clone, Copy, Default)]
struct Forecast {
    step_s: f64,
    answer_tokens: f64,
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
    while steps.admit() {
        steps.step();
    }
    drop(steps); // the pool's threads end before anybody is told so
    drop(ended);
}

impl Steps {
    pub(crate) fn new(
        shared: Arc<Shared>,
        graph: Graph,
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
            graph,
            cache,
            prefixes: Prefixes::default(),
            prefix_idle: (limits.prefix_idle_s > 0)
                .then(|| Duration::from_secs(limits.prefix_idle_s.into())),
            tokenizer,
            policy,
            active: Vec::new(),
            pace: Pace::default(),
            forecast: Forecast::default(),
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

    fn drop_abandoned(&mut self, board: &mut MutexGuard<'_, Board>) {
        let before = self.active.len() + board.waiting.len();
        board.waiting.retain(|sequence| !sequence.is_abandoned());
        let cache = &mut self.cache;
        self.active.retain_mut(|sequence| {
            let keep = !sequence.is_abandoned();
            if !keep {
                sequence.release(cache);
            }
            keep
        });
        board.stats.cancelled += (before - self.active.len() - board.waiting.len()) as u64;
    }

    /// Gives places in order of urgency. One more than there are places is let in when it is more urgent than one
    /// that has a place: that one pauses.
    fn give_places(&mut self, board: &mut MutexGuard<'_, Board>) {
        let now = self.shared.began.elapsed();
        while !board.waiting.is_empty() {
            let candidates: Vec<Candidate> =
                board.waiting.iter().map(Sequence::candidate).collect();
            let Some(first) = self.policy.order(&candidates, now).first().copied() else {
                return;
            };
            let rank = self.policy.rank(&candidates[first], now);
            let active = self
                .active
                .iter()
                .map(|sequence| self.policy.rank(&sequence.candidate(), now));
            let displaces = active.max().is_some_and(|least| rank < least);
            let has_place = self.active.len() < self.policy.sequences_max;
            let may_displace = displaces && self.active.len() < 2 * self.policy.sequences_max;
            // Room for its prompt and for one more page of everybody, so that it is not thrown out again at once.
            let pages =
                Cache::pages_for(board.waiting[first].tokens().len() + 1) + self.active.len();
            let room = self.cache.free_pages() + self.prefixes.idle_pages(&self.cache);
            let fits = pages <= room || self.active.is_empty();
            if !((has_place || may_displace) && (fits || displaces)) {
                return;
            }
            let mut sequence = board.waiting.remove(first);
            let spared = sequence.resume(&mut self.prefixes, now, &mut self.cache);
            board.stats.prefix_tokens_found += spared as u64;
            board.stats.prefix_tokens_sought += sequence.tokens().len() as u64;
            self.active.push(sequence);
        }
    }

    fn publish(&self, board: &mut MutexGuard<'_, Board>) {
        board.running = self
            .active
            .iter()
            .map(|sequence| sequence.candidate().class)
            .collect();
        board.stats.running = self.active.len();
        board.stats.waiting = board.waiting.len();
        board.stats.kv_tokens = self.active.iter().map(|sequence| sequence.computed).sum();
        board.next_place_s = self
            .forecast
            .next_place_s(&self.active, &board.waiting, self.pace);
    }

    fn step(&mut self) {
        let began = Instant::now();
        let plan = self.plan();
        let batch = self.batch(&plan);
        let rows = batch.tokens.len();
        let result = catch_unwind(AssertUnwindSafe(|| self.compute(&plan, &batch)));
        let ended = result.unwrap_or_else(|_| self.failed(&plan));
        let took = began.elapsed();
        self.pace.learn(rows, took);
        self.forecast.step_s += 0.1 * (took.as_secs_f64() - self.forecast.step_s);
        let mut board = self.shared.lock();
        board.stats.steps += 1;
        board.stats.generated_tokens += batch.outputs.len() as u64;
        board.stats.prompt_tokens += (rows - batch.outputs.len()) as u64;
        drop(board);
        self.remove(ended);
    }

    /// What advances, with pages for all of it.
    fn plan(&mut self) -> Vec<Share> {
        loop {
            let candidates: Vec<Candidate> = self.active.iter().map(Sequence::candidate).collect();
            let plan = self
                .policy
                .plan(&candidates, self.shared.began.elapsed(), self.pace);
            if self.take_pages(&plan) {
                return plan;
            }
            self.preempt();
        }
    }

    fn take_pages(&mut self, plan: &[Share]) -> bool {
        for share in plan {
            let sequence = &mut self.active[share.candidate];
            let wanted = Cache::pages_for(sequence.computed + share.tokens);
            while sequence.pages.len() < wanted {
                let page = loop {
                    match self.cache.take() {
                        None if self.prefixes.evict(&mut self.cache) => {}
                        taken => break taken,
                    }
                };
                let Some(page) = page else { return false };
                sequence.pages.push(page);
            }
        }
        true
    }

    /// The least urgent sequence gives its pages back and begins again later; being row-independent, it continues
    /// with the very same text.
    fn preempt(&mut self) {
        let candidates: Vec<Candidate> = self.active.iter().map(Sequence::candidate).collect();
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
        let mut board = self.shared.lock();
        board.stats.preempted += 1;
        board.waiting.insert(0, sequence);
    }

    fn batch(&mut self, plan: &[Share]) -> Batch {
        let mut batch = Batch::default();
        for share in plan {
            let sequence = &self.active[share.candidate];
            let first_row = batch.tokens.len();
            let tokens = &sequence.tokens()[sequence.computed..][..share.tokens];
            batch.tokens.extend_from_slice(tokens);
            batch.segments.push(Segment {
                first_row,
                rows: share.tokens,
                position: sequence.computed,
                pages: sequence.pages.clone(),
            });
            if share.tokens == sequence.pending() {
                batch.outputs.push(batch.tokens.len() - 1);
            }
        }
        batch
    }

    /// Computes the batch and lets every sequence whose logits came choose its token. Returns which have ended.
    fn compute(&mut self, plan: &[Share], batch: &Batch) -> Vec<usize> {
        #[cfg(test)]
        assert!(!std::mem::take(&mut self.shared.lock().fault), "planned");
        let vocabulary = self.graph.vocabulary();
        let logits = self.graph.forward(&mut self.cache, batch);
        let mut rows = logits.chunks_exact(vocabulary);
        let now = self.shared.began.elapsed();
        let mut ended = Vec::new();
        for share in plan {
            let sequence = &mut self.active[share.candidate];
            let complete = share.tokens == sequence.pending();
            sequence.computed += share.tokens;
            if self.prefix_idle.is_some() {
                sequence.share(&mut self.prefixes, now, &mut self.cache);
            }
            if complete
                && let Some(logits) = rows.next()
                && sequence.advance(logits, &self.tokenizer)
            {
                ended.push(share.candidate);
                let tokens = sequence.tokens().len() - sequence.prompt_tokens();
                self.forecast.answer_tokens += 0.2 * (tokens as f64 - self.forecast.answer_tokens);
            }
        }
        ended
    }

    /// A panic costs the sequences of this step, and nothing else.
    fn failed(&mut self, plan: &[Share]) -> Vec<usize> {
        tracing::error!(
            sequences = plan.len(),
            "a step of the language engine failed"
        );
        let ended: Vec<usize> = plan.iter().map(|share| share.candidate).collect();
        for at in &ended {
            self.active[*at]
                .fail("the language engine failed while it wrote this answer; ask again");
        }
        ended
    }

    fn remove(&mut self, mut ended: Vec<usize>) {
        ended.sort_unstable();
        for at in ended.into_iter().rev() {
            self.active.remove(at).release(&mut self.cache);
        }
    }
}

impl Forecast {
    /// How long until the next place is free: the work ahead, shared evenly among those who have it.
    fn next_place_s(&self, active: &[Sequence], waiting: &[Sequence], pace: Pace) -> f64 {
        /// Of an answer, before any has ended.
        const ANSWER_TOKENS: f64 = 200.0;
        let expected = if self.answer_tokens > 0.0 {
            self.answer_tokens
        } else {
            ANSWER_TOKENS
        };
        let prompts: usize = active.iter().chain(waiting).map(Sequence::pending).sum();
        let read_s = if pace.tokens_per_s() > 0.0 {
            prompts as f64 / pace.tokens_per_s()
        } else {
            0.0
        };
        let answers = active
            .iter()
            .map(|sequence| expected.min(sequence.generated_left() as f64) * self.step_s);
        let longest = answers.fold(0.0, f64::max);
        read_s + longest / active.len().max(1) as f64
    }
}
