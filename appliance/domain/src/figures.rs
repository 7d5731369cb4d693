//! What a language engine counts of itself, for the hospital's monitoring: times and tokens by class, with the meanings that
//! vLLM's metrics have. Numbers only: there is no place for a text.

use crate::job::Priority;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The upper bounds of the buckets of a [`Histogram`], seconds; one more bucket has none.
pub const BOUNDS_S: [f64; 18] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0,
];

/// How often something took how long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// For each of [`BOUNDS_S`], and one more for what took longer. Not cumulative.
    pub counts: [u64; BOUNDS_S.len() + 1],
    /// All of it together, seconds.
    pub sum_s: f64,
}

/// What is counted of one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassFigures {
    /// Requests that have a place at the moment.
    pub running: u64,
    /// Requests that wait for one at the moment.
    pub waiting: u64,
    /// From arrival to the first place.
    pub queue: Histogram,
    /// From arrival to the first token.
    pub first_token: Histogram,
    /// From each step that said something of an answer to the next that did; a step may say several tokens.
    pub between_tokens: Histogram,
    /// From the first place to the first token.
    pub prefill: Histogram,
    /// From the first token to the last.
    pub decode: Histogram,
    /// From arrival to the end.
    pub whole: Histogram,
    /// Tokens of prompts whose answers have begun.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Requests whose answer ended by itself, or by a stop text.
    pub stopped: u64,
    /// Requests whose answer ended at its longest.
    pub cut: u64,
    /// Requests that nobody waited for any more.
    pub abandoned: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests that were refused because there was too much work.
    pub refused: u64,
    /// How often one that advanced had to wait for another: paused, or to begin again without its memory.
    pub preempted: u64,
}

/// What a language engine counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineFigures {
    /// By class, in the order of [`Priority::ALL`].
    pub classes: [ClassFigures; Priority::ALL.len()],
    /// Tokens whose keys and values are in use. Those that are only kept for the next prompt are not.
    pub kv_tokens: u64,
    /// Tokens whose keys and values could be held.
    pub kv_tokens_max: u64,
    /// Tokens of prompts that were looked for among what is kept.
    pub prefix_sought: u64,
    /// Those that were found.
    pub prefix_found: u64,
    /// Steps.
    pub steps: u64,
    /// Tokens that were guessed from the text so far and computed beside the next one.
    pub drafted: u64,
    /// Those of them that were right.
    pub drafts_accepted: u64,
}

impl Histogram {
    /// Counts one more.
    pub fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS_S.iter().position(|bound| seconds <= *bound);
        self.counts[bucket.unwrap_or(BOUNDS_S.len())] += 1;
        self.sum_s += seconds;
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl EngineFigures {
    /// The figures of a class.
    pub fn of(&mut self, class: Priority) -> &mut ClassFigures {
        let place = Priority::ALL.iter().position(|one| *one == class);
        &mut self.classes[place.unwrap_or(0)] // every class is one of all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_one_bucket() {
        let mut histogram = Histogram::default();
        for ms in [0, 1, 2, 100, 700_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        assert_eq!(histogram.count(), 5);
        let counts = histogram.counts;
        assert_eq!((counts[0], counts[1], counts[6], counts[18]), (2, 1, 1, 1));
        assert!((histogram.sum_s - 700.103).abs() < 1e-9);
    }

    #[test]
    fn every_class_has_figures_of_its_own() {
        let mut figures = EngineFigures::default();
        for class in Priority::ALL {
            figures.of(class).stopped += 1;
        }
        assert!(figures.classes.iter().all(|class| class.stopped == 1));
    }
}
