//! What crosses the seam to a language model: messages in, pieces of text out. No HTTP, no tensors, no tokio.

use crate::job::Priority;
use serde::{Deserialize, Serialize};

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What it says.
    pub content: String,
}

/// What to continue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prompt {
    /// A conversation, to be put into the model's own chat template.
    Messages(Vec<Message>),
    /// Text as it stands, without a template.
    Text(String),
}

/// How the next token is chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 takes the likeliest token; above, the distribution is sharpened (below 1) or flattened (above 1).
    pub temperature: f32,
    /// Only the likeliest tokens that together have this probability are considered; 1 considers all.
    pub top_p: f32,
    /// The same seed, prompt and parameters give the same text, whatever else runs.
    pub seed: u64,
    /// The most tokens to generate; `None` is whatever the context has room for.
    pub max_tokens: Option<u32>,
    /// The model may not end its turn before so many tokens; load generators ask for it.
    pub min_tokens: u32,
    /// Generation ends before any of these texts.
    pub stop: Vec<String>,
    /// What is taken from the logit of every token that was generated before.
    pub presence_penalty: f32,
    /// What is taken for every time that it was.
    pub frequency_penalty: f32,
    /// With every token its probability is told, and so many of the likeliest beside it; `None` tells nothing.
    pub top_logprobs: Option<u8>,
    /// What the answer must be.
    pub shape: Shape,
    /// The most tokens that a reasoning model may think for before it must answer; `None` sets no limit but `max_tokens`.
    pub thought_tokens_max: Option<u32>,
}

/// What an answer must be. Thoughts that a template has begun come before it and are free.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    /// Any text.
    #[default]
    Free,
    /// JSON of this JSON schema.
    Schema(String),
    /// Calls of tools, each between [`CALL_BEGINS`] and [`CALL_ENDS`], or an answer.
    Calls {
        /// What may be called.
        tools: Vec<Tool>,
        /// Whether something must be called.
        must: bool,
        /// Whether several may be called.
        several: bool,
        /// What an answer without a call must be: JSON of this schema; `None` is any text.
        otherwise: Option<String>,
    },
}

/// Something that a model may ask its caller to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Its name: letters, digits, hyphens and underscores.
    pub name: String,
    /// The JSON schema of its arguments.
    pub parameters: String,
}

/// What stands before a call of a tool in what a model says.
pub const CALL_BEGINS: &str = "<tool_call>";
/// What stands after it.
pub const CALL_ENDS: &str = "</tool_call>";

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            seed: 0,
            max_tokens: None,
            min_tokens: 0,
            stop: Vec::new(),
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            top_logprobs: None,
            shape: Shape::Free,
            thought_tokens_max: None,
        }
    }
}

/// A request to a language model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// What to continue.
    pub prompt: Prompt,
    /// How.
    pub sampling: Sampling,
    /// How urgent it is.
    pub priority: Priority,
    /// Who asks. Callers of one class share the model evenly, however much one of them asks.
    pub tenant: String,
    /// Who may share what is computed of the prompt: the caller, or one of its patients. What was computed for one scope is
    /// never found from another.
    pub scope: String,
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model ended its turn, or a stop text was reached.
    Stop,
    /// `max_tokens` or the end of the context was reached.
    Length,
}

/// How many tokens went in and came out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, template included.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub completion_tokens: u32,
    /// Tokens of the prompt that were computed before, for the same scope.
    #[serde(default)]
    pub cached_tokens: u32,
    /// Of the tokens generated, those that were thought before the answer, with what ends the thoughts.
    #[serde(default)]
    pub thought_tokens: u32,
}

/// Texts made into vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Embeddings {
    /// One for each text, in order, each of length 1.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all texts together.
    pub tokens: u32,
}

/// A token that was chosen, and how likely it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// What it stands for; not always whole characters.
    pub bytes: Vec<u8>,
    /// The logarithm of its probability before temperature, penalties and shape.
    pub logprob: f32,
    /// The likeliest tokens, the first one first: their bytes and logarithms.
    pub likeliest: Vec<(Vec<u8>, f32)>,
}

/// What a generation sends, in order: text as it comes, then one end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ChatEvent {
    /// A token was chosen; its text follows with that of others. Only where probabilities were asked for.
    Chosen(Choice),
    /// The next piece of text: whole characters, with nothing of a stop text in it.
    Text(String),
    /// It is over.
    Finished {
        /// Why.
        finish: Finish,
        /// Of how many tokens.
        usage: Usage,
    },
    /// It failed; what was sent so far is all there is.
    Failed(String),
}

impl ChatEvent {
    /// Whether nothing follows.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        matches!(self, Self::Finished { .. } | Self::Failed(_))
    }
}

/// Why a request was not taken up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ChatRefusal {
    /// No such model is loaded. What was asked for is not said again: it is whatever the caller wrote there.
    #[error("no such model is loaded here; /v1/models lists those that are: {}", listed(.loaded))]
    UnknownModel {
        /// The names of those that are and could do it.
        loaded: Vec<String>,
    },
    /// The prompt and the room asked for do not fit. Nothing is ever cut.
    #[error(
        "the prompt has {prompt_tokens} tokens and {max_tokens} more were asked for, \
         but the model's context holds {context_tokens}; shorten the prompt or ask for fewer"
    )]
    DoesNotFit {
        /// Tokens of the prompt, template included.
        prompt_tokens: u32,
        /// Tokens asked for; 1 when nothing was said.
        max_tokens: u32,
        /// Tokens that the context holds.
        context_tokens: u32,
    },
    /// A text is longer than the model reads. Nothing is ever cut.
    #[error(
        "the text at index {index} has {tokens} tokens, but the model reads {tokens_max}; split it"
    )]
    TextTooLong {
        /// Which of the texts.
        index: u32,
        /// Tokens of it.
        tokens: u32,
        /// Tokens that the model reads at once.
        tokens_max: u32,
    },
    /// As much is waiting as may wait.
    #[error("the language model has as much work as it may queue; try again in {retry_after_s} s")]
    Busy {
        /// When to try again.
        retry_after_s: u32,
    },
    /// The request makes no sense: an unknown role, a parameter out of range.
    #[error("{0}")]
    Invalid(String),
    /// The appliance is shutting down.
    #[error("the appliance is shutting down; try again after the restart")]
    Closing,
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
