//! The engine's thread: step after step, until it is closed and nothing is left.

use crate::backend::Backend;
use crate::engine::{Board, Shared};
use crate::forecast::Forecast;
use crate::graph::Batch;
use crate::kernels::pages::{Cache, Segment};
use crate::limits::EngineLimits;
use crate::prefix::Prefixes;
use crate::schedule::{Candidate, Pace, Policy, Share, Turns};
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
    desk: Desk,
}

/// What a step is worked out on. It is kept, so that a step allocates only the texts that it sends.
#[derive(Default)]
struct Desk {
    turns: Turns,
    batch: Batch,
    /// Who chose tokens.
    moved: Vec<Moved>,
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
        let pages_kept = match limits.prefix_idle_s {
            0 => 0,
            _ => Cache::pages_for(cache.tokens()),
        };
        Self {
            shared,
            backend,
            cache,
            prefixes: Prefixes::with_room(pages_kept),
            prefix_idle: (limits.prefix_idle_s > 0)
                .then(|| Duration::from_secs(limits.prefix_idle_s.into())),
            tokenizer,
            policy,
            active: Vec::new(),
            pace: Pace::default(),
            forecast: Forecast::default(),
            drafts: limits.drafts,
            desk: Desk::default(),
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
    fn next_place(&mut self, board: &Board, now: Duration) -> Option<usize> {
        let candidate = |sequence: &Sequence| sequence.candidate(&board.fairness);
        let turns = &mut self.desk.turns;
        turns.consider(board.waiting.iter().map(candidate));
        self.policy.order(turns, now);
        let first = turns.order().first().copied()?;
        let rank = self.policy.rank(&turns.candidates()[first], now);
        let sequence = &board.waiting[first];
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
        board.running.clear();
        board.running.extend(self.active.iter().map(ahead));
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
        let mut desk = std::mem::take(&mut self.desk);
        let goes_on = self.step_at(&mut desk);
        self.desk = desk;
        goes_on
    }

    fn step_at(&mut self, desk: &mut Desk) -> bool {
        let began = Instant::now();
        self.plan(&mut desk.turns);
        self.lay_out(desk);
        let rows = desk.batch.tokens.len();
        let planned: usize = desk.turns.plan().iter().map(|share| share.tokens).sum();
        let result = catch_unwind(AssertUnwindSafe(|| self.compute(desk)));
        match result {
            Ok(Ok(())) => {}
            Ok(Err(why)) => {
                self.give_up(&why);
                return false;
            }
            Err(_) => self.failed(desk),
        }
        let took = began.elapsed();
        self.pace.learn(rows, took);
        self.forecast.step(took.as_secs_f64());
        let shared = Arc::clone(&self.shared);
        let mut board = shared.lock();
        board.figures.drafted += (rows - planned) as u64;
        self.account(desk, &mut board);
        self.remove(&desk.moved, &mut board);
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
    fn account(&mut self, desk: &Desk, board: &mut Board) {
        let (now, moved) = (self.shared.began.elapsed(), &desk.moved);
        board.stats.steps += 1;
        for share in desk.turns.plan() {
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

    /// Lets those that read a prompt go on from what others of their scope have read of it.
    fn catch_up(&mut self) {
        let now = self.shared.began.elapsed();
        let (prefixes, cache) = (&mut self.prefixes, &mut self.cache);
        let each = self.active.iter_mut();
        let spared: usize = each
            .map(|sequence| sequence.catch_up(prefixes, now, cache))
            .sum();
        self.shared.lock().stats.prefix_tokens_found += spared as u64;
    }

    /// Plans what advances, with pages for all of it.
    fn plan(&mut self, turns: &mut Turns) {
        let shares = self.prefix_idle.is_some();
        if shares {
            self.catch_up();
        }
        loop {
            {
                let board = self.shared.lock();
                let candidate = |sequence: &Sequence| Candidate {
                    reads: sequence.reads().filter(|_| shares),
                    ..sequence.candidate(&board.fairness)
                };
                turns.consider(self.active.iter().map(candidate));
                let now = self.shared.began.elapsed();
                self.policy.plan(turns, now, self.pace);
            }
            if self.take_pages(turns.plan()) {
                self.note_paused(turns.order());
                self.guess(turns.plan());
                return;
            }
            self.preempt(turns);
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
    fn preempt(&mut self, turns: &mut Turns) {
        let shared = Arc::clone(&self.shared);
        let mut board = shared.lock();
        let candidate = |sequence: &Sequence| sequence.candidate(&board.fairness);
        turns.consider(self.active.iter().map(candidate));
        self.policy.order(turns, self.shared.began.elapsed());
        // A single sequence always has its pages: the context is no longer than the cache.
        let mut order = turns.order().iter().rev();
        let last = order.find(|at| !self.active[**at].pages.is_empty());
        let Some(last) = last.copied().filter(|_| self.active.len() > 1) else {
            return;
        };
        let mut sequence = self.active.remove(last);
        sequence.release(&mut self.cache);
        board.stats.preempted += 1;
        sequence.fall_out(&mut board.figures);
        board.waiting.insert(0, sequence);
    }

    /// Lays out the batch of what is planned.
    fn lay_out(&self, desk: &mut Desk) {
        let (
            plan,
            Batch {
                tokens,
                segments,
                outputs,
            },
        ) = (desk.turns.plan(), &mut desk.batch);
        tokens.clear();
        outputs.clear();
        segments.resize_with(plan.len(), Segment::default);
        for (share, segment) in plan.iter().zip(segments) {
            let sequence = &self.active[share.candidate];
            segment.first_row = tokens.len();
            segment.rows = share.tokens + sequence.guess().len();
            segment.position = sequence.computed;
            segment.pages.clone_from(&sequence.pages);
            tokens.extend_from_slice(&sequence.tokens()[sequence.computed..][..share.tokens]);
            tokens.extend_from_slice(sequence.guess());
            if share.tokens == sequence.pending() {
                let chosen_after = segment.first_row + share.tokens - 1;
                outputs.extend(chosen_after..tokens.len());
            }
        }
    }

    /// Computes the batch and lets every sequence whose logits came choose its tokens; notes which did.
    ///
    /// # Errors
    /// What the device says when it fails.
    fn compute(&mut self, desk: &mut Desk) -> Result<(), String> {
        let Desk {
            turns,
            batch,
            moved,
        } = desk;
        moved.clear();
        #[cfg(test)]
        assert!(!std::mem::take(&mut self.shared.lock().fault), "planned");
        let vocabulary = self.backend.vocabulary();
        let mut logits = self.backend.forward(&mut self.cache, batch)?;
        let now = self.shared.began.elapsed();
        for share in turns.plan() {
            let sequence = &mut self.active[share.candidate];
            let complete = share.tokens == sequence.pending();
            sequence.computed += share.tokens;
            if complete {
                let rows = 1 + sequence.guess().len();
                let (own, others) = logits.split_at(rows * vocabulary);
                logits = others;
                let said = sequence.choose_through(own.chunks_exact(vocabulary), &self.tokenizer);
                let at = share.candidate;
                moved.push(Moved { at, said });
            }
            if self.prefix_idle.is_some() {
                sequence.share(&mut self.prefixes, now, &mut self.cache);
            }
        }
        Ok(())
    }

    /// A panic costs the sequences of this step, and nothing else.
    fn failed(&mut self, desk: &mut Desk) {
        let plan = desk.turns.plan();
        tracing::error!(
            sequences = plan.len(),
            "a step of the language engine failed"
        );
        desk.moved.clear();
        for share in plan {
            let at = share.candidate;
            self.active[at]
                .fail("the language engine failed while it wrote this answer; ask again");
            desk.moved.push(Moved { at, said: 0 });
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Architecture;
    use crate::backend::Model;
    use crate::file::ModelFile;
    use crate::generation::{self, Generation};
    use crate::gguf::{Gguf, text};
    use crate::kernels::allocations;
    use crate::kernels::attention::PAGE;
    use crate::sequence::Asked;
    use pericard_domain::chat::{ChatEvent, Sampling};
    use pericard_domain::device::{Device, KvForm};
    use pericard_domain::job::Priority;
    use std::path::Path;

    /// The kind of texts in a file.
    const STRING: u32 = 8;
    /// Answers that are said together.
    const ANSWERS: usize = 3;
    /// Steps until all of them are being said and every buffer has its size, and those that are counted then: they fill a few pages.
    const STEPS_BEFORE: usize = 12;
    const STEPS: usize = 100;
    /// Allocations that sending a token to its reader needs: its text.
    const ALLOCATIONS_OF_A_TOKEN: usize = 1;
    /// What is noted of an answer for guesses grows with it, by doubling.
    const DOUBLINGS_OF_AN_ANSWER: usize = 4;
    /// More tokens than an answer has here.
    const TOKENS_MAX: usize = 2_000;

    /// A small model, whose file has merges of tokens that it lacks; here nothing is merged.
    fn small() -> tempfile::NamedTempFile {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families/qwen3.gguf");
        let mut file = Gguf::read(&path);
        let merges = text(b"tokenizer.ggml.merges");
        let merges = file.entries.iter_mut().find(|entry| entry.key == merges);
        let none = [STRING.to_le_bytes().as_slice(), &0_u64.to_le_bytes()].concat();
        merges.expect("there").value = none;
        let written = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(written.path(), file.bytes()).expect("written");
        written
    }

    /// Computed by this thread alone.
    fn steps(limits: &EngineLimits) -> Steps {
        let file = small();
        let file = ModelFile::open(file.path()).expect("opens");
        let tokenizer = Tokenizer::new(&file).expect("a tokenizer");
        let model = Model {
            file: &file,
            shape: Architecture::read(&file).expect("known"),
            tokens: tokenizer.size(),
            limits,
        };
        let loaded = model.on(Device::Cpu).expect("loads");
        Steps::new(
            Arc::new(Shared::new()),
            loaded.backend,
            loaded.cache,
            Arc::new(tokenizer),
            limits,
        )
    }

    /// Has an answer begun to a prompt of so many tokens.
    fn begin(steps: &Steps, number: usize, tokens: usize, sampling: Sampling) -> Generation {
        let token = |n: usize| 40 + ((n * 7 + number) % 50) as u32;
        let asked = Asked {
            sampling,
            class: Priority::Routine,
            tenant: format!("tenant {number}"),
            scope: String::new(),
            grammar: None,
            thinks: false,
            closing: Arc::new([]),
        };
        let (sink, generation) = generation::channel();
        let sequence = Sequence::new((0..tokens).map(token).collect(), TOKENS_MAX, asked, sink);
        let mut board = steps.shared.lock();
        board.fairness.arrive(sequence.tenant());
        board.waiting.push(sequence);
        generation
    }

    /// Has an answer begun that is too long to end here.
    fn ask(steps: &Steps, number: usize, temperature: f32) -> Generation {
        let sampling = Sampling {
            temperature,
            top_p: 0.9,
            seed: number as u64,
            min_tokens: TOKENS_MAX as u32,
            ..Sampling::default()
        };
        begin(steps, number, 9, sampling)
    }

    /// How many tokens were said in the counted steps, in how many texts, and how often that allocated.
    fn counted(drafts: bool, temperature: f32) -> (usize, usize, usize) {
        let limits = EngineLimits {
            threads: 1,
            kv_bytes_max: 1 << 24,
            drafts,
            ..EngineLimits::default()
        };
        let mut steps = steps(&limits);
        let mut answers: Vec<Generation> =
            (0..ANSWERS).map(|n| ask(&steps, n, temperature)).collect();
        let (mut texts, mut allocated) = (0, 0);
        let said = |steps: &Steps| steps.shared.lock().stats.generated_tokens as usize;
        let mut said_before = 0;
        for number in 0..STEPS_BEFORE + STEPS {
            let count = allocations::of(|| assert!(steps.admit() && steps.step()));
            let mut sent = 0;
            for answer in &mut answers {
                while let Some(event) = answer.try_recv() {
                    assert!(matches!(event, ChatEvent::Text(_)), "{event:?}");
                    sent += 1;
                }
            }
            if number < STEPS_BEFORE {
                said_before = said(&steps);
            } else {
                texts += sent;
                allocated += count;
            }
        }
        assert_eq!(steps.active.len(), ANSWERS);
        (said(&steps) - said_before, texts, allocated)
    }

    #[test]
    fn a_step_allocates_the_texts_that_it_sends_and_nothing_else() {
        let (tokens, texts, allocated) = counted(false, 0.8);
        assert_eq!(tokens, ANSWERS * STEPS);
        assert!(texts > tokens / 2 && texts <= tokens, "{texts} of {tokens}");
        assert_eq!(allocated, ALLOCATIONS_OF_A_TOKEN * texts);
    }

    #[test]
    fn guesses_allocate_only_as_they_note_more() {
        let (tokens, texts, allocated) = counted(true, 0.0);
        assert!(tokens > ANSWERS * STEPS, "none was right");
        let most = ALLOCATIONS_OF_A_TOKEN * texts + DOUBLINGS_OF_AN_ANSWER * ANSWERS;
        assert!(allocated <= most, "{allocated} and not {most}");
    }

    /// What is said to a prompt of a few pages, and how many of its tokens were found computed.
    fn said(steps: &mut Steps) -> (String, u32) {
        let sampling = Sampling {
            temperature: 0.0,
            max_tokens: Some(20),
            min_tokens: 20,
            ..Sampling::default()
        };
        let mut answer = begin(steps, 1, 70, sampling);
        let mut text = String::new();
        loop {
            match answer.try_recv() {
                None => assert!(steps.admit() && steps.step()),
                Some(ChatEvent::Text(piece)) => text.push_str(&piece),
                Some(ChatEvent::Finished { usage, .. }) => return (text, usage.cached_tokens),
                Some(other) => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn in_eight_bits_more_is_held_and_a_beginning_is_found_again() {
        let kept = |kv_form| {
            steps(&EngineLimits {
                threads: 1,
                kv_bytes_max: 1 << 20,
                kv_form,
                ..EngineLimits::default()
            })
        };
        let (floats, mut bytes) = (kept(KvForm::F16), kept(KvForm::Q8));
        let (fewer, more) = (floats.cache.tokens(), bytes.cache.tokens());
        assert!(4 * more > 7 * fewer, "{more} tokens, and {fewer} as floats");
        let (text, cached) = said(&mut bytes);
        assert!(!text.is_empty() && cached == 0);
        assert_eq!(said(&mut bytes), (text, 2 * PAGE as u32));
        // Nothing of it stays once it is let go of.
        while bytes.prefixes.evict(&mut bytes.cache) {}
        assert_eq!(Cache::tokens_of(bytes.cache.free_pages()), more);
    }
}
