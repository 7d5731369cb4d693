//! How much an engine may take.

use crate::error::LoadError;

/// How much an engine may take. Every queue, buffer and wait of the engine has its bound here.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineLimits {
    /// Threads that compute, the scheduler's own included. More than the cores lent makes everything slower.
    pub threads: usize,
    /// Sequences that advance in one step.
    pub sequences_max: usize,
    /// Requests that wait for a place beyond those that advance; one more is refused as busy.
    pub queue_max: usize,
    /// The longest context, tokens; the model's own limit caps it.
    pub context_tokens_max: u32,
    /// Memory for keys and values of all sequences, bytes.
    pub kv_bytes_max: usize,
    /// Tokens in one step, those of prompts included.
    pub step_tokens_max: usize,
    /// How long a step may take while answers are running, ms: prompts are cut into chunks that keep to it.
    pub step_ms_max: u32,
    /// How long a request of a lower class waits before it counts as one class higher, seconds.
    pub ageing_s: u32,
    /// How long the beginning of a prompt is kept for the next that begins alike, seconds; zero keeps none.
    pub prefix_idle_s: u32,
    /// The longest text of a prompt before it is even tokenised, bytes.
    pub prompt_bytes_max: usize,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            threads: 2,
            sequences_max: 8,
            queue_max: 32,
            context_tokens_max: 8192,
            kv_bytes_max: 1 << 30,
            step_tokens_max: 256,
            step_ms_max: 150,
            ageing_s: 60,
            prefix_idle_s: 600,
            prompt_bytes_max: 1 << 20,
        }
    }
}

impl EngineLimits {
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        let rooms = [
            ("threads", self.threads),
            ("sequences_max", self.sequences_max),
            ("context_tokens_max", self.context_tokens_max as usize),
            ("kv_bytes_max", self.kv_bytes_max),
            ("step_ms_max", self.step_ms_max as usize),
            ("prompt_bytes_max", self.prompt_bytes_max),
        ];
        if let Some((name, _)) = rooms.into_iter().find(|(_, room)| *room == 0) {
            return Err(LoadError::Limit(name));
        }
        // Every running sequence must be able to advance in every step.
        if self.step_tokens_max < self.sequences_max {
            return Err(LoadError::Limit("step_tokens_max"));
        }
        Ok(())
    }
}
