//! Which sequences advance in the next step, and by how much. Pure decisions: numbers in, numbers out.

use crate::prefix::Beginning;
use pericard_domain::job::Priority;
use std::collections::HashMap;
use std::time::Duration;

/// A sequence, as far as its turn is concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) class: Priority,
    /// Who asked: a number for each caller.
    pub(crate) caller: u64,
    /// How much its caller was served, compared with other callers; less goes first within a class.
    pub(crate) served: u64,
    /// When it arrived, since the engine began.
    pub(crate) arrived: Duration,
    /// Tokens that are known but not yet computed: one while it answers, more while its prompt is read.
    pub(crate) pending: usize,
    /// The page that it reads next, as others of its scope will find it; `None` where none of them could.
    pub(crate) reads: Option<Beginning>,
}

/// How many tokens of a candidate to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Which candidate, by its place in the list.
    pub(crate) candidate: usize,
    pub(crate) tokens: usize,
}

/// How candidates are weighed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) sequences_max: usize,
    pub(crate) step_tokens_max: usize,
    pub(crate) step_max: Duration,
    /// After which wait a class counts as the next higher one.
    pub(crate) ageing: Duration,
}

/// How many times as long a step may take that no answer waits for: longer steps read prompts faster, and a STAT request
/// that comes waits for the end of the step.
const STEPS_ALONE: usize = 2;

/// How fast prompts have been read lately.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    tokens_per_s: f64,
}

impl Pace {
    /// Takes a step into account.
    pub(crate) fn learn(&mut self, tokens: usize, took: Duration) {
        /// Steps of single tokens say nothing about how fast prompts are read.
        const TOKENS_MIN: usize = 16;
        if tokens < TOKENS_MIN || took.is_zero() {
            return;
        }
        let seen = tokens as f64 / took.as_secs_f64();
        let weight = if self.tokens_per_s == 0.0 { 1.0 } else { 0.3 };
        self.tokens_per_s += weight * (seen - self.tokens_per_s);
    }

    /// Tokens per second; zero while nothing is known.
    pub(crate) fn tokens_per_s(self) -> f64 {
        self.tokens_per_s
    }
}

/// What turns are worked out on, kept from one step to the next so that none of them allocates.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    candidates: Vec<Candidate>,
    /// The candidates by their places in the list, the most urgent first.
    order: Vec<usize>,
    /// Of each candidate, whether it lies beyond its caller's share of the places.
    beyond: Vec<bool>,
    /// How many places each caller has taken so far.
    places: HashMap<u64, usize>,
    /// The pages that the plan so far has somebody read.
    read: Vec<Beginning>,
    plan: Vec<Share>,
}

impl Turns {
    /// Takes up candidates in the place of those before.
    pub(crate) fn consider(&mut self, candidates: impl Iterator<Item = Candidate>) {
        self.candidates.clear();
        self.candidates.extend(candidates);
    }

    /// The candidates.
    pub(crate) fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// What [`Policy::order`] or [`Policy::advancing`] gave last.
    pub(crate) fn order(&self) -> &[usize] {
        &self.order
    }

    /// What [`Policy::plan`] gave last.
    pub(crate) fn plan(&self) -> &[Share] {
        &self.plan
    }
}

impl Policy {
    /// Whose turn comes first: by class, where waiting raises it; within a class, what lies within its caller's share of the
    /// places before what lies beyond; then by how much each caller was served, then by arrival.
    pub(crate) fn order(&self, turns: &mut Turns, now: Duration) {
        let Turns {
            candidates,
            order,
            beyond,
            places,
            ..
        } = turns;
        let rank = |at: usize| self.rank(&candidates[at], now);
        order.clear();
        order.extend(0..candidates.len());
        order.sort_unstable_by_key(|at| {
            let candidate = &candidates[*at];
            (rank(*at), candidate.served, candidate.arrived, *at)
        });
        places.clear();
        for candidate in candidates.iter() {
            places.entry(candidate.caller).or_default();
        }
        let share = (self.sequences_max / places.len().max(1)).max(1);
        beyond.clear();
        beyond.resize(candidates.len(), false);
        for at in order.iter() {
            let taken = places.entry(candidates[*at].caller).or_default();
            *taken += 1;
            beyond[*at] = *taken > share;
        }
        order.sort_by_key(|at| (rank(*at), beyond[*at]));
    }

    /// The class with ageing; a lower number is more urgent. Ageing never reaches STAT.
    pub(crate) fn rank(&self, candidate: &Candidate, now: Duration) -> u32 {
        let waited = now.saturating_sub(candidate.arrived);
        let aged =
            u32::try_from(waited.as_millis() / self.ageing.as_millis().max(1)).unwrap_or(u32::MAX);
        match candidate.class {
            Priority::Stat => 0,
            Priority::Routine => 1,
            Priority::Batch => 2_u32.saturating_sub(aged).max(1),
        }
    }

    /// Those that advance, the most urgent first. The others pause.
    pub(crate) fn advancing(&self, turns: &mut Turns, now: Duration) {
        self.order(turns, now);
        turns.order.truncate(self.sequences_max);
    }

    /// The next step: every answer among those that advance goes on by one token, and what room is left goes to prompts, the
    /// most urgent first. Prompts get no more than keeps the step short, and so the wait of whoever comes or leaves
    /// meanwhile: `step_max` beside answers, [`STEPS_ALONE`] times that without any. A prompt whose next page one before it reads in
    /// this step gets nothing, and goes on from there in the next: nobody waits for one that does not advance, or is less urgent.
    pub(crate) fn plan(&self, turns: &mut Turns, now: Duration, pace: Pace) {
        self.advancing(turns, now);
        let Turns {
            candidates,
            order,
            read,
            plan,
            ..
        } = turns;
        let answers = |at: &&usize| candidates[**at].pending == 1;
        plan.clear();
        plan.extend(order.iter().filter(answers).map(|at| Share {
            candidate: *at,
            tokens: 1,
        }));
        let alone = if plan.is_empty() { STEPS_ALONE } else { 1 };
        let most = self.step_tokens_max.saturating_sub(plan.len());
        let mut room = most.min(alone * self.short_step(pace));
        read.clear();
        for candidate in order.iter().filter(|at| !answers(at)) {
            let candidate = *candidate;
            let Candidate { pending, reads, .. } = candidates[candidate];
            let tokens = pending.min(room);
            if tokens > 0 && reads.is_none_or(|page| !read.contains(&page)) {
                plan.push(Share { candidate, tokens });
                room -= tokens;
                read.extend(reads);
            }
        }
    }

    fn short_step(&self, pace: Pace) -> usize {
        /// Before anything is known, and however slow the machine: prompts must advance.
        const TOKENS_MIN: usize = 16;
        let tokens = pace.tokens_per_s() * self.step_max.as_secs_f64();
        (tokens as usize).max(TOKENS_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        sequences_max: 3,
        step_tokens_max: 100,
        step_max: Duration::from_millis(100),
        ageing: Duration::from_secs(60),
    };

    fn candidate(class: Priority, arrived_s: u64, pending: usize) -> Candidate {
        Candidate {
            class,
            caller: 0,
            served: 0,
            arrived: Duration::from_secs(arrived_s),
            pending,
            reads: None,
        }
    }

    fn turns(candidates: &[Candidate]) -> Turns {
        let mut turns = Turns::default();
        // Nothing of whom it was about before may stay.
        turns.consider((0..7).map(|n| candidate(Priority::Stat, n, 1)));
        POLICY.plan(&mut turns, Duration::from_secs(9), Pace::default());
        turns.consider(candidates.iter().copied());
        turns
    }

    fn plan(candidates: &[Candidate], now_s: u64, tokens_per_s: f64) -> Vec<(usize, usize)> {
        let mut turns = turns(candidates);
        let pace = Pace { tokens_per_s };
        POLICY.plan(&mut turns, Duration::from_secs(now_s), pace);
        let shares = turns.plan().iter();
        shares
            .map(|share| (share.candidate, share.tokens))
            .collect()
    }

    fn order(candidates: &[Candidate], now_s: u64) -> Vec<usize> {
        let mut turns = turns(candidates);
        POLICY.order(&mut turns, Duration::from_secs(now_s));
        turns.order().to_vec()
    }

    #[test]
    fn answers_go_on_beside_a_prompt_cut_to_the_time() {
        let candidates = [
            candidate(Priority::Routine, 0, 1),
            candidate(Priority::Routine, 1, 5000),
        ];
        assert_eq!(plan(&candidates, 2, 400.0), [(0, 1), (1, 40)]);
        assert_eq!(plan(&candidates, 2, 0.0), [(0, 1), (1, 16)]);
        assert_eq!(
            plan(&candidates[1..], 2, 400.0),
            [(0, 80)],
            "alone, a prompt gets twice the time"
        );
        assert_eq!(plan(&candidates[1..], 2, 0.0), [(0, 32)]);
        assert_eq!(
            plan(&candidates[1..], 2, 500.0),
            [(0, 100)],
            "where that is enough, the whole step"
        );
    }

    #[test]
    fn who_would_read_the_same_page_waits_for_one_before_it_and_for_no_other() {
        let of = |class, arrived_s, scope: Option<&str>| Candidate {
            reads: scope.map(Beginning::of),
            ..candidate(class, arrived_s, 40)
        };
        let (stat, routine) = (Priority::Stat, Priority::Routine);
        let candidates = [
            of(routine, 0, Some("a")),
            of(routine, 1, Some("a")),
            of(routine, 2, Some("b")),
        ];
        assert_eq!(plan(&candidates, 3, 1000.0), [(0, 40), (2, 40)]);
        assert_eq!(
            plan(&candidates[1..], 3, 1000.0),
            [(0, 40), (1, 40)],
            "who is gone is not waited for"
        );
        let urgent = [of(routine, 0, Some("a")), of(stat, 1, Some("a"))];
        assert_eq!(plan(&urgent, 2, 1000.0), [(1, 40)]);
        let unknown = [of(routine, 0, None), of(routine, 1, None)];
        assert_eq!(plan(&unknown, 2, 1000.0), [(0, 40), (1, 40)]);
    }

    #[test]
    fn the_urgent_go_first_and_pause_the_others() {
        let candidates = [
            candidate(Priority::Batch, 0, 1),
            candidate(Priority::Routine, 1, 1),
            candidate(Priority::Routine, 2, 1),
            candidate(Priority::Stat, 9, 50),
        ];
        assert_eq!(plan(&candidates, 10, 1000.0), [(1, 1), (2, 1), (3, 50)]);
        let mut turns = turns(&candidates);
        POLICY.advancing(&mut turns, Duration::from_secs(10));
        assert_eq!(turns.order(), [3, 1, 2], "the batch pauses");
    }

    #[test]
    fn who_was_served_less_goes_first_within_a_class() {
        let served = |class, arrived_s, served| Candidate {
            served,
            ..candidate(class, arrived_s, 1)
        };
        let candidates = [
            served(Priority::Routine, 0, 2),
            served(Priority::Routine, 1, 0),
            served(Priority::Stat, 2, 9),
            served(Priority::Batch, 3, 0),
        ];
        assert_eq!(order(&candidates, 4), [2, 1, 0, 3]);
    }

    #[test]
    fn a_caller_that_comes_later_has_its_share_of_the_places_at_once() {
        let of = |caller, class, arrived_s| Candidate {
            caller,
            ..candidate(class, arrived_s, 1)
        };
        let (routine, batch) = (Priority::Routine, Priority::Batch);
        let candidates = [
            of(1, routine, 0),
            of(1, routine, 1),
            of(1, routine, 2),
            of(2, batch, 3),
            of(2, routine, 4),
            of(2, routine, 5),
        ];
        let order = order(&candidates, 6);
        // Three places for two callers: one each, then in order of arrival; a class goes before all that.
        assert_eq!(order, [0, 4, 1, 2, 5, 3]);
    }

    #[test]
    fn waiting_raises_a_batch_but_never_above_stat() {
        let batch = candidate(Priority::Batch, 0, 1);
        assert_eq!(
            order(&[candidate(Priority::Routine, 5, 1), batch], 30),
            [0, 1]
        );
        assert_eq!(
            order(&[candidate(Priority::Routine, 5, 1), batch], 61),
            [1, 0]
        );
        assert_eq!(
            order(&[candidate(Priority::Stat, 900, 1), batch], 999),
            [0, 1]
        );
    }

    #[test]
    fn no_step_is_longer_than_it_may_be_and_somebody_always_advances() {
        for count in 1..20 {
            let candidates: Vec<Candidate> = (0..count)
                .map(|i| candidate(Priority::ALL[i % 3], i as u64, 1 + 37 * (i % 4)))
                .collect();
            let plan = plan(&candidates, 100, 123.0);
            let total: usize = plan.iter().map(|(_, tokens)| tokens).sum();
            assert!(
                total > 0 && total <= POLICY.step_tokens_max && plan.len() <= POLICY.sequences_max
            );
        }
    }
}
