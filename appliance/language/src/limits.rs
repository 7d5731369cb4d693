//! How much an engine may take.

use crate::error::LoadError;
use pericard_domain::device::KvForm;

/// How much an engine may take. Every queue, buffer and wait of the engine has its bound here.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineLimits {
    /// Threads that compute, the scheduler's own included. More than the cores lent makes everything slower.
    pub threads: usize,
    /// Sequences that advance in one step.
    pub sequences_max: usize,
    /// Requests that wait for a place beyond those that advance; one more is refused as busy.
    pub queue_max: usize,
    /// Of all requests that may be under way, those that one caller may have, percent: the others find room.
    pub tenant_share_percent: u32,
    /// The longest that a request may have to wait for a place, as far as can be foretold, seconds; one that would wait
    /// longer is refused as busy.
    pub wait_s_max: u32,
    /// The longest context, tokens; the model's own limit caps it.
    pub context_tokens_max: u32,
    /// Memory for keys and values of all sequences, bytes.
    pub kv_bytes_max: usize,
    /// How they are kept. On a device, only as sixteen-bit floats.
    pub kv_form: KvForm,
    /// Tokens in one step, those of prompts included.
    pub step_tokens_max: usize,
    /// How long a step may take while answers are running, ms: prompts are cut into chunks that keep to it. While only prompts
    /// are read a step may take twice as long, so that nobody who comes waits for longer before its turn is considered.
    pub step_ms_max: u32,
    /// How long a request of a lower class waits before it counts as one class higher, seconds.
    pub ageing_s: u32,
    /// How long the beginning of a prompt is kept for the next that begins alike, seconds; zero keeps none.
    pub prefix_idle_s: u32,
    /// Whether tokens are guessed from the text so far and computed together. It changes no answer.
    pub drafts: bool,
    /// The longest text of a prompt before it is even tokenised, bytes.
    pub prompt_bytes_max: usize,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            threads: 2,
            sequences_max: 8,
            queue_max: 32,
            tenant_share_percent: 75,
            wait_s_max: 300,
            context_tokens_max: 8192,
            kv_bytes_max: 1 << 30,
            kv_form: KvForm::F16,
            step_tokens_max: 256,
            step_ms_max: 150,
            ageing_s: 60,
            prefix_idle_s: 600,
            drafts: true,
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
            ("tenant_share_percent", self.tenant_share_percent as usize),
            ("wait_s_max", self.wait_s_max as usize),
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

    /// Requests that may be under way, those that wait included.
    pub(crate) fn requests_max(&self) -> usize {
        self.sequences_max + self.queue_max
    }

    /// Of these, how many one caller may have. With a queue of no length, one caller may have all places.
    pub(crate) fn tenant_requests_max(&self) -> usize {
        let share = self.requests_max() * self.tenant_share_percent as usize / 100;
        share.max(self.sequences_max)
    }
}
