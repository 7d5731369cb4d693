//! What is answered: the language model's events, made into OpenAI's JSON, whole or as server-sent events.

use super::question::{Form, Question};
use crate::problem::Problem;
use crate::talker::Speech;
use axum::Json;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use http::{HeaderName, HeaderValue, StatusCode};
use pericard_domain::chat::{ChatEvent, Finish, Usage};
use pericard_domain::time::Timestamp;
use pericard_runner::Loaded;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

/// How often a quiet stream says that it is still there, so that proxies do not close it while a long prompt is read.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Names the model that answered, to the version.
const MODEL_HEADER: HeaderName = HeaderName::from_static("x-pericard-model");
/// Names the device that it ran on.
const DEVICE_HEADER: HeaderName = HeaderName::from_static("x-pericard-device");

/// Everything about an answer but its text.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    form: Form,
    include_usage: bool,
    id: String,
    created: i64,
    model: String,
    version: String,
    device: String,
    fingerprint: String,
}

impl Answer {
    pub(super) fn new(question: &Question, loaded: &Loaded, now: Timestamp) -> Self {
        let prefix = match question.form {
            Form::Chat => "chatcmpl",
            Form::Text => "cmpl",
        };
        // Only a name: when there are no random numbers, answers share one, and nothing rests on it.
        let unique = getrandom::u64().unwrap_or_default();
        let digest = loaded.model.digest.to_string();
        let (version, device) = (&loaded.model.version, &loaded.device);
        Self {
            form: question.form,
            include_usage: question.include_usage,
            id: format!("{prefix}-{unique:016x}"),
            created: now.as_millis() / 1000,
            model: loaded.model.name.clone(),
            version: version.clone(),
            device: device.clone(),
            fingerprint: format!(
                "{version}-{}-{device}",
                digest.get(..12).unwrap_or_default()
            ),
        }
    }

    /// The whole answer at once.
    ///
    /// # Errors
    /// 500 when the model failed.
    pub(super) async fn whole(self, mut speech: Box<dyn Speech>) -> Result<Response, Problem> {
        let mut text = String::new();
        while let Some(event) = speech.next().await {
            match event {
                ChatEvent::Text(piece) => text.push_str(&piece),
                ChatEvent::Finished { finish, usage } => {
                    let body = self.document(&text, finish, usage);
                    return Ok((self.headers(), Json(body)).into_response());
                }
                ChatEvent::Failed(reason) => return Err(failed(&reason)),
            }
        }
        Err(failed("it ended without an end"))
    }

    /// The answer as it comes. Dropping the response drops the speech.
    pub(super) fn stream(self, speech: Box<dyn Speech>) -> Response {
        let headers = self.headers();
        let events = Sse::new(self.events(speech));
        let events = events.keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL));
        (headers, events).into_response()
    }

    fn events(self, speech: Box<dyn Speech>) -> impl Stream<Item = Result<Event, Infallible>> {
        let mut ready = VecDeque::new();
        if self.form == Form::Chat {
            ready.push_back(self.chunk(json!({"role": "assistant", "content": ""}), None));
        }
        let telling = Telling {
            answer: self,
            speech: Some(speech),
            ready,
        };
        stream::unfold(telling, |mut telling| async {
            telling
                .next()
                .await
                .map(|data| (Ok(Event::default().data(data)), telling))
        })
    }

    fn headers(&self) -> [(HeaderName, HeaderValue); 2] {
        let value = |text: &str| {
            // A manifest's name or version with a line break in it would name nothing: it is left empty.
            HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
        };
        [
            (
                MODEL_HEADER,
                value(&format!("{}/{}", self.model, self.version)),
            ),
            (DEVICE_HEADER, value(&self.device)),
        ]
    }

    fn envelope(&self, object: &str) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        })
    }

    fn document(&self, text: &str, finish: Finish, usage: Usage) -> Value {
        let mut document = match self.form {
            Form::Chat => self.envelope("chat.completion"),
            Form::Text => self.envelope("text_completion"),
        };
        let mut choice = json!({"index": 0, "finish_reason": finish, "logprobs": null});
        match self.form {
            Form::Chat => {
                choice["message"] = json!({"role": "assistant", "content": text, "refusal": null});
            }
            Form::Text => choice["text"] = json!(text),
        }
        document["choices"] = json!([choice]);
        document["usage"] = counted(usage);
        document
    }

    /// A chunk: `content` is a delta of the conversation, or a piece of the text.
    fn chunk(&self, content: Value, finish: Option<Finish>) -> String {
        let mut chunk = match self.form {
            Form::Chat => self.envelope("chat.completion.chunk"),
            Form::Text => self.envelope("text_completion"),
        };
        let key = match self.form {
            Form::Chat => "delta",
            Form::Text => "text",
        };
        let choice = json!({"index": 0, key: content, "logprobs": null, "finish_reason": finish});
        chunk["choices"] = json!([choice]);
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk.to_string()
    }

    fn text_chunk(&self, text: &str) -> String {
        match self.form {
            Form::Chat => self.chunk(json!({"content": text}), None),
            Form::Text => self.chunk(json!(text), None),
        }
    }

    fn finish_chunk(&self, finish: Finish) -> String {
        match self.form {
            Form::Chat => self.chunk(json!({}), Some(finish)),
            Form::Text => self.chunk(json!(""), Some(finish)),
        }
    }

    fn usage_chunk(&self, usage: Usage) -> String {
        let mut chunk = match self.form {
            Form::Chat => self.envelope("chat.completion.chunk"),
            Form::Text => self.envelope("text_completion"),
        };
        chunk["choices"] = json!([]);
        chunk["usage"] = counted(usage);
        chunk.to_string()
    }
}

/// An answer being told.
struct Telling {
    answer: Answer,
    /// `None` after its end.
    speech: Option<Box<dyn Speech>>,
    /// What is to be said next.
    ready: VecDeque<String>,
}

impl Telling {
    async fn next(&mut self) -> Option<String> {
        if let Some(data) = self.ready.pop_front() {
            return Some(data);
        }
        let event = self.speech.as_mut()?.next().await;
        if !matches!(event, Some(ChatEvent::Text(_))) {
            self.speech = None;
        }
        match event {
            Some(ChatEvent::Text(text)) => Some(self.answer.text_chunk(&text)),
            Some(ChatEvent::Finished { finish, usage }) => {
                if self.answer.include_usage {
                    self.ready.push_back(self.answer.usage_chunk(usage));
                }
                self.ready.push_back("[DONE]".to_owned());
                Some(self.answer.finish_chunk(finish))
            }
            // An error object instead of an end: OpenAI's clients raise it, and nobody takes a torso for an answer.
            Some(ChatEvent::Failed(reason)) => Some(failed(&reason).openai_error().to_string()),
            None => Some(failed("it ended without an end").openai_error().to_string()),
        }
    }
}

fn counted(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens.saturating_add(usage.completion_tokens),
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    })
}

fn failed(reason: &str) -> Problem {
    tracing::error!(reason, "a language model failed");
    let detail = "the language model failed; the appliance's journal says why. What came so far is not an answer";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "model_failed", detail)
}
