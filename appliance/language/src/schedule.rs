//! Which sequences advance in the next step, and by how much. Pure decisions: numbers in, numbers out.

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

impl Policy {
    /// Whose turn comes first: by class, where waiting raises it; within a class, what lies within its caller's share of the
    /// places before what lies beyond; then by how much each caller was served, then by arrival.
    pub(crate) fn order(&self, candidates: &[Candidate], now: Duration) -> Vec<usize> {
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        let rank = |at: usize| self.rank(&candidates[at], now);
        order.sort_by_key(|at| {
            let candidate = &candidates[*at];
            (rank(*at), candidate.served, candidate.arrived, *at)
        });
        let mut places: HashMap<u64, usize> = HashMap::new();
        for candidate in candidates {
            places.entry(candidate.caller).or_default();
        }
        let share = (self.sequences_max / places.len().max(1)).max(1);
        let mut beyond = |at: usize| {
            let taken = places.entry(candidates[at].caller).or_default();
            *taken += 1;
            *taken > share
        };
        let mut order: Vec<_> = order
            .into_iter()
            .map(|at| (rank(at), beyond(at), at))
            .collect();
        order.sort_by_key(|(rank, beyond, _)| (*rank, *beyond));
        order.into_iter().map(|(_, _, at)| at).collect()
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
    pub(crate) fn advancing(&self, candidates: &[Candidate], now: Duration) -> Vec<usize> {
        let mut order = self.order(candidates, now);
        order.truncate(self.sequences_max);
        order
    }

    /// The next step: every answer among those that advance goes on by one token, and what room is left goes to prompts, the
    /// most urgent first. Prompts get no more than keeps the step short, and so the wait of whoever comes or leaves
    /// meanwhile: `step_max` beside answers, [`STEPS_ALONE`] times that without any.
    pub(crate) fn plan(&self, candidates: &[Candidate], now: Duration, pace: Pace) -> Vec<Share> {
        let (answers, prompts): (Vec<usize>, Vec<usize>) = self
            .advancing(candidates, now)
            .into_iter()
            .partition(|at| candidates[*at].pending == 1);
        let alone = if answers.is_empty() { STEPS_ALONE } else { 1 };
        let most = self.step_tokens_max.saturating_sub(answers.len());
        let mut room = most.min(alone * self.short_step(pace));
        let mut plan: Vec<Share> = answers
            .into_iter()
            .map(|candidate| Share {
                candidate,
                tokens: 1,
            })
            .collect();
        for candidate in prompts {
            let tokens = candidates[candidate].pending.min(room);
            if tokens > 0 {
                plan.push(Share { candidate, tokens });
                room -= tokens;
            }
        }
        plan
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
        }
    }

    fn plan(candidates: &[Candidate], now_s: u64, tokens_per_s: f64) -> Vec<(usize, usize)> {
        let plan = POLICY.plan(
            candidates,
            Duration::from_secs(now_s),
            Pace { tokens_per_s },
        );
        plan.into_iter()
            .map(|share| (share.candidate, share.tokens))
            .collect()
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
    fn the_urgent_go_first_and_pause_the_others() {
        let candidates = [
            candidate(Priority::Batch, 0, 1),
            candidate(Priority::Routine, 1, 1),
            candidate(Priority::Routine, 2, 1),
            candidate(Priority::Stat, 9, 50),
        ];
        assert_eq!(plan(&candidates, 10, 1000.0), [(1, 1), (2, 1), (3, 50)]);
        let advancing = POLICY.advancing(&candidates, Duration::from_secs(10));
        assert_eq!(advancing, [3, 1, 2], "the batch pauses");
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
        assert_eq!(
            POLICY.order(&candidates, Duration::from_secs(4)),
            [2, 1, 0, 3]
        );
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
        let order = POLICY.order(&candidates, Duration::from_secs(6));
        // Three places for two callers: one each, then in order of arrival; a class goes before all that.
        assert_eq!(order, [0, 4, 1, 2, 5, 3]);
    }

    #[test]
    fn waiting_raises_a_batch_but_never_above_stat() {
        let batch = candidate(Priority::Batch, 0, 1);
        assert_eq!(
            POLICY.order(
                &[candidate(Priority::Routine, 5, 1), batch],
                Duration::from_secs(30)
            ),
            [0, 1]
        );
        assert_eq!(
            POLICY.order(
                &[candidate(Priority::Routine, 5, 1), batch],
                Duration::from_secs(61)
            ),
            [1, 0]
        );
        assert_eq!(
            POLICY.order(
                &[candidate(Priority::Stat, 900, 1), batch],
                Duration::from_secs(999)
            ),
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
