//! How long a request would wait for its turn: what is known of the work ahead, and how fast work has gone lately.

use pericard_domain::job::Priority;

/// The tokens of an answer, before any has ended.
const ANSWER_TOKENS: f64 = 200.0;
/// How fast a prompt is read, before any was, tokens/s: slow enough to promise nothing.
const TOKENS_PER_S: f64 = 50.0;

/// How fast work has gone lately.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Forecast {
    /// How long a step takes, seconds.
    pub(crate) step_s: f64,
    /// How long an answer is, tokens.
    pub(crate) answer_tokens: f64,
    /// How fast prompts are read.
    pub(crate) tokens_per_s: f64,
}

/// One request, as far as it keeps others waiting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ahead {
    pub(crate) class: Priority,
    /// Tokens of its prompt that are still to be read.
    pub(crate) prompt: usize,
    /// Tokens that it may still say.
    pub(crate) answer_max: usize,
}

impl Forecast {
    /// Learns how long a step took.
    pub(crate) fn step(&mut self, took_s: f64) {
        let weight = if self.step_s == 0.0 { 1.0 } else { 0.1 };
        self.step_s += weight * (took_s - self.step_s);
    }

    /// Learns how long an answer was.
    pub(crate) fn answer(&mut self, tokens: usize) {
        let weight = if self.answer_tokens == 0.0 { 1.0 } else { 0.2 };
        self.answer_tokens += weight * (tokens as f64 - self.answer_tokens);
    }

    /// How many tokens an answer is expected to have that may have no more than `most`.
    pub(crate) fn expected(&self, most: usize) -> f64 {
        let expected = if self.answer_tokens > 0.0 {
            self.answer_tokens
        } else {
            ANSWER_TOKENS
        };
        expected.min(most as f64)
    }

    /// How long a request takes once it has a place, seconds: reading alone, and saying beside others.
    fn takes_s(&self, ahead: &Ahead) -> f64 {
        let pace = if self.tokens_per_s > 0.0 {
            self.tokens_per_s
        } else {
            TOKENS_PER_S
        };
        ahead.prompt as f64 / pace + self.expected(ahead.answer_max) * self.step_s
    }

    /// How long a request waits that comes after all of `ahead` and gets one of so many places, seconds. Each place takes the
    /// next of the queue when its own work is done.
    pub(crate) fn wait_s(&self, ahead: &[Ahead], places: usize) -> f64 {
        let mut free_at = vec![0.0_f64; places.max(1)];
        for request in ahead {
            let first = free_at.iter_mut().min_by(|a, b| a.total_cmp(b));
            if let Some(first) = first {
                *first += self.takes_s(request);
            }
        }
        free_at.into_iter().fold(f64::INFINITY, f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ahead(prompt: usize, answer_max: usize) -> Ahead {
        Ahead {
            class: Priority::Routine,
            prompt,
            answer_max,
        }
    }

    #[test]
    fn a_free_place_is_free_at_once() {
        let forecast = Forecast::default();
        assert_eq!(forecast.wait_s(&[], 2), 0.0);
        assert_eq!(forecast.wait_s(&[ahead(1000, 10)], 2), 0.0);
    }

    #[test]
    fn the_queue_is_worked_off_by_all_places() {
        let mut forecast = Forecast {
            tokens_per_s: 100.0,
            ..Forecast::default()
        };
        forecast.step(0.1);
        forecast.answer(50);
        // 1 s to read and 5 s to say.
        let queue = [ahead(100, 1000); 5];
        assert!((forecast.wait_s(&queue[..2], 2) - 6.0).abs() < 1e-9);
        assert!((forecast.wait_s(&queue[..4], 2) - 12.0).abs() < 1e-9);
        assert!((forecast.wait_s(&queue, 2) - 12.0).abs() < 1e-9);
        // An answer that may be short is.
        assert!((forecast.wait_s(&[ahead(100, 10)], 1) - 2.0).abs() < 1e-9);
    }
}
