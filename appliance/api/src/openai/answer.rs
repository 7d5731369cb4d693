//! What is answered: the language model's events, made into OpenAI's JSON, whole or as server-sent events.

use super::calls::{Calls, Piece};
use super::question::{Form, Question};
use super::thoughts::{Heard, Thoughts};
use crate::clinical_use;
use crate::problem::Problem;
use crate::talker::Speech;
use axum::Json;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{BoxStream, SelectAll};
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderName, HeaderValue, StatusCode};
use pericard_domain::chat::{ChatEvent, Choice, Finish, Shape, Usage};
use pericard_domain::time::Timestamp;
use pericard_runner::Loaded;
use serde_json::{Map, Value, json};
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
    /// Whether tools may be called in it.
    calls: bool,
    /// The tools that may also be called after other words.
    named: Vec<String>,
    unique: u64,
    id: String,
    created: i64,
    model: String,
    version: String,
    device: String,
    /// Whether the model may be used to treat patients.
    is_for_treatment: bool,
    fingerprint: String,
}

impl Answer {
    pub(super) fn new(
        question: &Question,
        (loaded, is_for_treatment): (&Loaded, bool),
        now: Timestamp,
    ) -> Self {
        let prefix = match question.form {
            Form::Chat => "chatcmpl",
            Form::Text => "cmpl",
        };
        // Only a name: when there are no random numbers, answers share one, and nothing rests on it.
        let unique = getrandom::u64().unwrap_or_default();
        let (version, device) = (&loaded.model.version, &loaded.device);
        let shape = &question.ask.sampling.shape;
        // In JSON of a schema whatever looks like a call is a text.
        let named: Vec<String> = match shape {
            Shape::Calls {
                tools,
                otherwise: None,
                ..
            } => tools.iter().map(|tool| tool.name.clone()).collect(),
            _ => Vec::new(),
        };
        Self {
            form: question.form,
            include_usage: question.include_usage,
            calls: matches!(shape, Shape::Calls { .. }),
            named,
            unique,
            id: format!("{prefix}-{unique:016x}"),
            created: now.as_millis() / 1000,
            model: loaded.model.name.clone(),
            version: version.clone(),
            device: device.clone(),
            is_for_treatment,
            fingerprint: fingerprint(loaded),
        }
    }

    /// The whole answer at once. The speeches go on side by side; each is heard to its end.
    ///
    /// # Errors
    /// 500 when the model failed.
    pub(super) async fn whole(self, speeches: Vec<Box<dyn Speech>>) -> Result<Response, Problem> {
        let (mut choices, mut total) = (Vec::new(), Usage::default());
        for speech in speeches {
            let (mut said, finish, usage) = hear(speech, self.nothing_said()).await?;
            choices.push(self.choice(choices.len(), &mut said, finish));
            total = together(total, usage);
        }
        let mut document = match self.form {
            Form::Chat => self.envelope("chat.completion"),
            Form::Text => self.envelope("text_completion"),
        };
        document["choices"] = json!(choices);
        document["usage"] = self.counted(total);
        Ok((self.headers(), Json(document)).into_response())
    }

    /// The answer as it comes. Dropping the response drops the speeches.
    pub(super) fn stream(self, speeches: Vec<Box<dyn Speech>>) -> Response {
        let headers = self.headers();
        let events = Sse::new(self.events(speeches));
        let events = events.keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL));
        (headers, events).into_response()
    }

    fn events(
        self,
        speeches: Vec<Box<dyn Speech>>,
    ) -> impl Stream<Item = Result<Event, Infallible>> {
        let said: Vec<Said> = speeches.iter().map(|_| self.nothing_said()).collect();
        let mut ready = VecDeque::new();
        if self.form == Form::Chat {
            let role = json!({"role": "assistant", "content": ""});
            ready.extend((0..said.len()).map(|index| self.chunk(index, &role, None, None)));
        }
        let numbered = speeches.into_iter().enumerate().map(|(index, speech)| {
            stream::unfold(Some(speech), move |speech| async move {
                let mut speech = speech?;
                let event = speech.next().await;
                let event = event.unwrap_or_else(|| ChatEvent::Failed(NO_END.to_owned()));
                let next = (!event.is_end()).then_some(speech);
                Some(((index, event), next))
            })
            .boxed()
        });
        let telling = Telling {
            answer: self,
            left: said.len(),
            speeches: stream::select_all(numbered),
            said,
            usage: Usage::default(),
            ready,
        };
        stream::unfold(telling, |mut telling| async {
            telling
                .next()
                .await
                .map(|data| (Ok(Event::default().data(data)), telling))
        })
    }

    fn headers(&self) -> [(HeaderName, HeaderValue); 3] {
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
            clinical_use::header(self.is_for_treatment),
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

    fn nothing_said(&self) -> Said {
        Said {
            calls: Calls::among(self.named.clone()),
            ..Said::default()
        }
    }

    fn choice(&self, index: usize, said: &mut Said, finish: Finish) -> Value {
        let logprobs = said.logprobs(self.form);
        let mut choice = json!({"index": index, "logprobs": logprobs});
        match self.form {
            Form::Text => choice["text"] = json!(said.text),
            Form::Chat => choice["message"] = self.message(index, said),
        }
        choice["finish_reason"] = self.reason(finish, said);
        choice
    }

    fn message(&self, index: usize, said: &mut Said) -> Value {
        let (first, last) = (said.thoughts.push(&said.text), said.thoughts.finish());
        let thought = first.thought + &last.thought;
        let mut pieces = self.pieces(said, first.said + &last.said);
        pieces.extend(said.calls.finish());
        let (mut content, mut calls) = (String::new(), Vec::<(String, String)>::new());
        for piece in pieces {
            match piece {
                Piece::Said(text) => content.push_str(&text),
                Piece::Call { name, .. } => calls.push((name, String::new())),
                Piece::Arguments { json, .. } => {
                    if let Some((_, arguments)) = calls.last_mut() {
                        arguments.push_str(&json);
                    }
                }
            }
        }
        let content_is_space = content.trim().is_empty();
        let mut message = json!({"role": "assistant", "content": content, "refusal": null});
        if !thought.is_empty() {
            message["reasoning_content"] = json!(thought.trim_end());
        }
        if !calls.is_empty() {
            if content_is_space {
                message["content"] = Value::Null;
            }
            let calls = calls.into_iter().enumerate();
            message["tool_calls"] = calls
                .map(|(at, (name, arguments))| {
                    let function = json!({"name": name, "arguments": arguments});
                    json!({"id": self.call_id(index, at), "type": "function", "function": function})
                })
                .collect();
        }
        message
    }

    /// What is said, with the calls in it where there may be any.
    fn pieces(&self, said: &mut Said, text: String) -> Vec<Piece> {
        match (self.calls, text.is_empty()) {
            (_, true) => Vec::new(),
            (true, _) => said.calls.push(&text),
            (false, _) => vec![Piece::Said(text)],
        }
    }

    fn call_id(&self, choice: usize, call: usize) -> String {
        format!("call_{:016x}{choice:02x}{call:02x}", self.unique)
    }

    /// An answer that called tools ended for that.
    fn reason(&self, finish: Finish, said: &Said) -> Value {
        match finish {
            Finish::Stop if said.calls.begun() > 0 => json!("tool_calls"),
            finish => json!(finish),
        }
    }

    /// A chunk: `content` is a delta of the conversation, or a piece of the text.
    fn chunk(
        &self,
        index: usize,
        content: &Value,
        logprobs: Option<Value>,
        finish: Option<&Value>,
    ) -> String {
        let mut chunk = match self.form {
            Form::Chat => self.envelope("chat.completion.chunk"),
            Form::Text => self.envelope("text_completion"),
        };
        let key = match self.form {
            Form::Chat => "delta",
            Form::Text => "text",
        };
        let choice =
            json!({"index": index, key: content, "logprobs": logprobs, "finish_reason": finish});
        chunk["choices"] = json!([choice]);
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk.to_string()
    }

    /// What a piece of text is told as; nothing when all of it is held back.
    fn told(&self, index: usize, heard: Heard, said: &mut Said) -> Vec<String> {
        let mut deltas = Vec::new();
        if !heard.thought.is_empty() {
            deltas.push(json!({"reasoning_content": heard.thought}));
        }
        for piece in self.pieces(said, heard.said) {
            deltas.push(self.delta(index, piece));
        }
        let chunks = deltas.iter();
        chunks
            .map(|delta| self.chunk(index, delta, said.logprobs(self.form), None))
            .collect()
    }

    fn delta(&self, index: usize, piece: Piece) -> Value {
        let call = |call: Value| json!({"tool_calls": [call]});
        match (self.form, piece) {
            (Form::Text, Piece::Said(text)) => json!(text),
            (_, Piece::Said(text)) => json!({"content": text}),
            (_, Piece::Call { index: at, name }) => {
                let function = json!({"name": name, "arguments": ""});
                let id = self.call_id(index, at);
                call(json!({"index": at, "id": id, "type": "function", "function": function}))
            }
            (_, Piece::Arguments { index: at, json }) => {
                call(json!({"index": at, "function": {"arguments": json}}))
            }
        }
    }

    fn finish_chunk(&self, index: usize, said: &mut Said, finish: Finish) -> String {
        let nothing = match self.form {
            Form::Chat => json!({}),
            Form::Text => json!(""),
        };
        let reason = self.reason(finish, said);
        self.chunk(index, &nothing, said.logprobs(self.form), Some(&reason))
    }

    fn usage_chunk(&self, usage: Usage) -> String {
        let mut chunk = match self.form {
            Form::Chat => self.envelope("chat.completion.chunk"),
            Form::Text => self.envelope("text_completion"),
        };
        chunk["choices"] = json!([]);
        chunk["usage"] = self.counted(usage);
        chunk.to_string()
    }

    fn counted(&self, usage: Usage) -> Value {
        let mut counted = json!({
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens.saturating_add(usage.completion_tokens),
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        });
        // In a text that is continued nothing tells thoughts from the rest.
        if self.form == Form::Chat {
            counted["completion_tokens_details"] =
                json!({"reasoning_tokens": usage.thought_tokens});
        }
        counted
    }
}

/// What decides an answer beside the question: the model to the digest, and what it runs on.
pub(super) fn fingerprint(loaded: &Loaded) -> String {
    let digest = loaded.model.digest.to_string();
    let digest = digest.get(..12).unwrap_or_default();
    format!("{}-{digest}-{}", loaded.model.version, loaded.device)
}

const NO_END: &str = "it ended without an end";

/// What one speech said that is not told yet.
#[derive(Default)]
struct Said {
    text: String,
    thoughts: Thoughts,
    calls: Calls,
    chosen: Vec<Choice>,
    /// Characters that began in the tokens that were told.
    characters: usize,
}

impl Said {
    /// Those of the tokens that are not told yet.
    fn logprobs(&mut self, form: Form) -> Option<Value> {
        let chosen = std::mem::take(&mut self.chosen);
        (!chosen.is_empty()).then(|| match form {
            Form::Chat => {
                let chosen: Vec<Value> = chosen.iter().map(described).collect();
                json!({"content": chosen, "refusal": null})
            }
            Form::Text => self.listed(&chosen),
        })
    }

    /// As the older interface has them: a list of each property. The likeliest are told with the one that was chosen.
    fn listed(&mut self, chosen: &[Choice]) -> Value {
        let (mut likeliest, mut offsets) = (Vec::new(), Vec::new());
        for choice in chosen {
            let own = [(choice.bytes.clone(), choice.logprob)];
            let told = choice.likeliest.iter().chain(&own);
            let told: Map<String, Value> = told
                .map(|(bytes, logprob)| (name(bytes), json!(logprob)))
                .collect();
            likeliest.push(told);
            // The rest of a character stands where that begins.
            let goes_on = choice.bytes.first().is_some_and(|byte| !begins_one(*byte));
            offsets.push(self.characters.saturating_sub(usize::from(goes_on)));
            self.characters += choice.bytes.iter().filter(|b| begins_one(**b)).count();
        }
        let names: Vec<String> = chosen.iter().map(|choice| name(&choice.bytes)).collect();
        let logprobs: Vec<f32> = chosen.iter().map(|choice| choice.logprob).collect();
        json!({
            "tokens": names,
            "token_logprobs": logprobs,
            "top_logprobs": likeliest,
            "text_offset": offsets,
        })
    }
}

fn described(choice: &Choice) -> Value {
    let token = |bytes: &[u8], logprob: f32| json!({"token": String::from_utf8_lossy(bytes), "logprob": logprob, "bytes": bytes});
    let likeliest = choice.likeliest.iter();
    let likeliest: Vec<Value> = likeliest.map(|(b, logprob)| token(b, *logprob)).collect();
    let mut described = token(&choice.bytes, choice.logprob);
    described["top_logprobs"] = json!(likeliest);
    described
}

/// A token in the older interface, where each has its own name though it be no whole character.
fn name(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let escaped = bytes.iter().map(|byte| format!("\\x{byte:02x}"));
            format!("bytes:{}", escaped.collect::<String>())
        }
    }
}

/// Whether a character of UTF-8 begins with this byte.
const fn begins_one(byte: u8) -> bool {
    byte & 0b1100_0000 != 0b1000_0000
}

async fn hear(
    mut speech: Box<dyn Speech>,
    mut said: Said,
) -> Result<(Said, Finish, Usage), Problem> {
    while let Some(event) = speech.next().await {
        match event {
            ChatEvent::Chosen(choice) => said.chosen.push(choice),
            ChatEvent::Text(piece) => said.text.push_str(&piece),
            ChatEvent::Finished { finish, usage } => return Ok((said, finish, usage)),
            ChatEvent::Failed(reason) => return Err(failed(&reason)),
        }
    }
    Err(failed(NO_END))
}

/// Of all choices: their prompt is the same and counts once.
fn together(total: Usage, one: Usage) -> Usage {
    Usage {
        prompt_tokens: one.prompt_tokens,
        completion_tokens: total
            .completion_tokens
            .saturating_add(one.completion_tokens),
        thought_tokens: total.thought_tokens.saturating_add(one.thought_tokens),
        // One reads the prompt and finds what was left of it before; the others find what that one reads.
        cached_tokens: if total.prompt_tokens == 0 {
            one.cached_tokens
        } else {
            total.cached_tokens.min(one.cached_tokens)
        },
    }
}

/// An answer being told.
struct Telling {
    answer: Answer,
    speeches: SelectAll<BoxStream<'static, (usize, ChatEvent)>>,
    said: Vec<Said>,
    usage: Usage,
    /// Speeches that have not ended.
    left: usize,
    /// What is to be said next.
    ready: VecDeque<String>,
}

impl Telling {
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(data) = self.ready.pop_front() {
                return Some(data);
            }
            let (index, event) = self.speeches.next().await?;
            self.take(index, event);
        }
    }

    fn take(&mut self, index: usize, event: ChatEvent) {
        let Self { answer, said, .. } = self;
        let said = &mut said[index];
        match event {
            ChatEvent::Chosen(choice) => said.chosen.push(choice),
            ChatEvent::Text(text) => {
                let heard = match answer.form {
                    Form::Chat => said.thoughts.push(&text),
                    Form::Text => Heard {
                        said: text,
                        ..Heard::default()
                    },
                };
                self.ready.extend(answer.told(index, heard, said));
            }
            ChatEvent::Finished { finish, usage } => {
                let rest = said.thoughts.finish();
                self.ready.extend(answer.told(index, rest, said));
                for piece in said.calls.finish() {
                    let delta = answer.delta(index, piece);
                    self.ready
                        .push_back(answer.chunk(index, &delta, None, None));
                }
                self.ready
                    .push_back(answer.finish_chunk(index, said, finish));
                self.usage = together(self.usage, usage);
                self.left -= 1;
                if self.left == 0 {
                    if answer.include_usage {
                        self.ready.push_back(answer.usage_chunk(self.usage));
                    }
                    self.ready.push_back("[DONE]".to_owned());
                }
            }
            // An error object instead of an end: OpenAI's clients raise it, and nobody takes a torso for an answer.
            ChatEvent::Failed(reason) => {
                let error = failed(&reason).openai_error().to_string();
                self.ready.push_back(error);
                self.speeches.clear();
            }
        }
    }
}

fn failed(reason: &str) -> Problem {
    tracing::error!(reason, "a language model failed");
    let detail = "the language model failed; the appliance's journal says why. What came so far is not an answer";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "model_failed", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token need not be whole characters: each has its own name, and its place is that of the character that it is part of.
    #[test]
    fn parts_of_characters_have_names_and_places() {
        let choice = |bytes: &[u8]| Choice {
            bytes: bytes.to_vec(),
            logprob: -0.5,
            likeliest: vec![(b"x".to_vec(), -0.25)],
        };
        let mut said = Said {
            chosen: [&b"a"[..], b"\xC3", b"\xBC"].map(choice).into(),
            ..Said::default()
        };
        let names = ["a", "bytes:\\xc3", "bytes:\\xbc"];
        let told = said.logprobs(Form::Text).expect("told");
        assert_eq!(told["tokens"], json!(names));
        assert_eq!(told["text_offset"], json!([0, 1, 1]));
        assert_eq!(told["top_logprobs"][1], json!({"x": -0.25, names[1]: -0.5}));
        assert_eq!(said.logprobs(Form::Text), None, "each is told once");
        said.chosen.push(choice(b"b"));
        let told = said.logprobs(Form::Text).expect("told");
        assert_eq!(told["text_offset"], json!([2]));
    }
}
