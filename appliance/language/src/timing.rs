//! When what became of a request, for the figures: the meanings are vLLM's.

use pericard_domain::figures::ClassFigures;
use std::time::Duration;

/// The times of one request, since the engine began.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Times {
    pub(crate) arrived: Duration,
    prompt_tokens: u64,
    placed: Option<Duration>,
    first: Option<Duration>,
    latest: Duration,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By itself, or by a stop text.
    Stopped,
    /// At its longest.
    Cut,
    Failed,
}

impl Times {
    /// It came at this time, with a prompt of so many tokens.
    pub(crate) fn arrive(at: Duration, prompt_tokens: usize) -> Self {
        Self {
            arrived: at,
            prompt_tokens: prompt_tokens as u64,
            ..Self::default()
        }
    }

    /// It has a place; one that was thrown out and comes back had it before.
    pub(crate) fn place(&mut self, now: Duration, figures: &mut ClassFigures) {
        if self.placed.is_none() {
            self.placed = Some(now);
            figures.queue.observe(now.saturating_sub(self.arrived));
        }
    }

    /// It said so many tokens, in one step: they came together, and there is one time between them and those before.
    pub(crate) fn say(&mut self, tokens: usize, now: Duration, figures: &mut ClassFigures) {
        if tokens == 0 {
            return;
        }
        figures.generated_tokens += tokens as u64;
        if self.first.is_some() {
            figures
                .between_tokens
                .observe(now.saturating_sub(self.latest));
        } else {
            self.first = Some(now);
            figures.prompt_tokens += self.prompt_tokens;
            figures
                .first_token
                .observe(now.saturating_sub(self.arrived));
            let placed = self.placed.unwrap_or(self.arrived);
            figures.prefill.observe(now.saturating_sub(placed));
        }
        self.latest = now;
    }

    /// It ended.
    pub(crate) fn end(&self, ending: Ending, figures: &mut ClassFigures) {
        match ending {
            Ending::Stopped => figures.stopped += 1,
            Ending::Cut => figures.cut += 1,
            Ending::Failed => {
                figures.failed += 1;
                return;
            }
        }
        let first = self.first.unwrap_or(self.latest);
        figures.decode.observe(self.latest.saturating_sub(first));
        figures
            .whole
            .observe(self.latest.saturating_sub(self.arrived));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_request_have_vllms_meanings() {
        let (mut figures, second) = (ClassFigures::default(), Duration::from_secs(1));
        let mut times = Times::arrive(second, 9);
        times.place(3 * second, &mut figures);
        times.place(4 * second, &mut figures);
        times.say(0, 5 * second, &mut figures);
        assert_eq!((figures.prompt_tokens, figures.first_token.count()), (0, 0));
        times.say(1, 6 * second, &mut figures);
        assert_eq!(
            figures.prompt_tokens, 9,
            "counted with the first token, not only at the end"
        );
        times.say(2, 7 * second, &mut figures);
        times.say(1, 10 * second, &mut figures);
        times.end(Ending::Stopped, &mut figures);
        let sums = [
            figures.queue.sum_s,
            figures.first_token.sum_s,
            figures.prefill.sum_s,
            figures.between_tokens.sum_s,
            figures.decode.sum_s,
            figures.whole.sum_s,
        ];
        assert_eq!(sums, [2.0, 5.0, 3.0, 4.0, 4.0, 9.0]);
        // Two steps after the first: a guess that was right is no token that took no time.
        assert_eq!(figures.between_tokens.count(), 2);
        assert_eq!(figures.between_tokens.counts[0], 0);
        assert_eq!((figures.prompt_tokens, figures.generated_tokens), (9, 4));
        assert_eq!((figures.stopped, figures.cut, figures.failed), (1, 0, 0));
    }
}
