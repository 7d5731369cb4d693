//! Golden cases of a chat package: a conversation and what the model says to it, to the letter.

use crate::engine::Engine;
use pericard_domain::chat::{ChatEvent, ChatRequest, Finish, Message, Prompt, Sampling, Usage};
use pericard_domain::job::Priority;
use pericard_domain::model::GoldenCase;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// The input of a golden case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    messages: Vec<Message>,
    max_tokens: u32,
    #[serde(default)]
    temperature: f32,
    #[serde(default)]
    seed: u64,
}

/// What must come out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    text: String,
    finish: Finish,
    usage: Usage,
}

impl Engine {
    /// Runs a golden case of the package in `dir` through the loaded model. The arithmetic is the same on every
    /// machine, so the text must be too.
    ///
    /// # Errors
    /// A sentence that says what differs.
    pub fn golden(&self, dir: &Path, case: &GoldenCase) -> Result<(), String> {
        let input: Input = read(&dir.join(&case.input))?;
        let expected: Expected = read(&dir.join(&case.expected))?;
        let request = ChatRequest {
            prompt: Prompt::Messages(input.messages),
            sampling: Sampling {
                temperature: input.temperature,
                seed: input.seed,
                max_tokens: Some(input.max_tokens),
                ..Sampling::default()
            },
            priority: Priority::Routine,
            tenant: String::new(),
            scope: String::new(),
        };
        let mut generation = self
            .submit(request)
            .map_err(|refusal| refusal.to_string())?;
        let mut text = String::new();
        while let Some(event) = generation.recv() {
            match event {
                ChatEvent::Chosen(_) => {}
                ChatEvent::Text(piece) => text.push_str(&piece),
                ChatEvent::Failed(reason) => return Err(format!("case {:?}: {reason}", case.name)),
                ChatEvent::Finished { finish, usage } => {
                    // Whether it was read before has nothing to do with what is said, and what is said has the thoughts in it.
                    let usage = Usage {
                        cached_tokens: 0,
                        thought_tokens: expected.usage.thought_tokens,
                        ..usage
                    };
                    if (text.as_str(), finish, usage)
                        != (expected.text.as_str(), expected.finish, expected.usage)
                    {
                        return Err(format!(
                            "case {:?}: expected {:?} ({:?}, {:?}) but the model said {text:?} ({finish:?}, {usage:?})",
                            case.name, expected.text, expected.finish, expected.usage
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let bytes =
        std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| format!("{} is not a golden case: {error}", path.display()))
}
