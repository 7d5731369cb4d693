//! What is asked: the request's JSON, made into the words of the domain.

use super::fields::Fields;
use super::tools::{self, Offer};
use crate::problem::Problem;
use pericard_domain::chat::{ChatRequest, Message, Prompt, Sampling, Shape};
use pericard_domain::job::Priority;
use serde_json::{Value, json};

/// Stop texts that a request may name, as OpenAI has it.
const STOPS_MAX: usize = 4;
/// Answers that one request may ask for: each takes a place of its own.
const CHOICES_MAX: u64 = 8;
/// The most likeliest tokens that are told with each, as OpenAI has it.
const TOP_LOGPROBS_MAX: u8 = 20;

/// The same where a text is continued.
const OLDER_LOGPROBS_MAX: u8 = 5;

/// Parameters that say who asks, or where to keep what was said: the answer is the same without them.
const HARMLESS: [&str; 5] = [
    "user",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
];

/// How long a reasoning model may think for each of OpenAI's `reasoning_effort`, tokens; `None` sets no limit.
const EFFORTS: [(&str, Option<u32>); 6] = [
    ("none", Some(0)),
    ("minimal", Some(64)),
    ("low", Some(512)),
    ("medium", Some(2048)),
    ("high", None),
    ("xhigh", None),
];

/// Which of the two interfaces is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Text,
}

/// What is asked, and how it is to be answered.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) form: Form,
    pub(super) model: String,
    pub(super) ask: ChatRequest,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// How many answers, each with the next seed.
    pub(super) choices: u64,
}

impl Question {
    /// Reads a request's body.
    ///
    /// # Errors
    /// 400, naming the parameter that is wrong or not supported.
    pub(super) fn read(form: Form, body: Value) -> Result<Self, Problem> {
        let mut fields = Fields::of(body)?;
        let model = fields.require("model", "the name of a model of /v1/models")?;
        let offer = match form {
            Form::Chat => Offer::read(&mut fields)?,
            Form::Text => None,
        };
        let prompt = match form {
            Form::Chat => messages(&mut fields, offer.as_ref())?,
            Form::Text => text(&mut fields)?,
        };
        let stream = fields.take("stream", "true or false")?.unwrap_or(false);
        let include_usage = stream_options(&mut fields, stream)?;
        let ask = ChatRequest {
            prompt,
            sampling: sampling(&mut fields, form, offer.as_ref())?,
            priority: priority(&mut fields)?,
            tenant: String::new(), // known to whoever knows the caller
            scope: fields.take("cache_salt", "a text")?.unwrap_or_default(),
        };
        let choices = choices(&mut fields)?;
        pass_over(&mut fields, form);
        fields.finish("")?;
        Ok(Self {
            form,
            model,
            ask,
            stream,
            include_usage,
            choices,
        })
    }
}

/// A model's name and a prompt of either form, and nothing else.
///
/// # Errors
/// 400, naming the parameter that is wrong.
pub(super) fn prompt_alone(body: Value) -> Result<(String, Prompt), Problem> {
    let is_text = body.get("prompt").is_some();
    let mut fields = Fields::of(body)?;
    let model = fields.require("model", "the name of a model of /v1/models")?;
    let prompt = if is_text {
        text(&mut fields)?
    } else {
        messages(&mut fields, None)?
    };
    fields.finish("")?;
    Ok((model, prompt))
}

/// A model's name and token ids, and nothing else.
///
/// # Errors
/// 400, naming the parameter that is wrong.
pub(super) fn tokens_alone(body: Value) -> Result<(String, Vec<u32>), Problem> {
    let mut fields = Fields::of(body)?;
    let model = fields.require("model", "the name of a model of /v1/models")?;
    let tokens = fields.require("tokens", "a list of token ids")?;
    fields.finish("")?;
    Ok((model, tokens))
}

fn messages(fields: &mut Fields, offer: Option<&Offer>) -> Result<Prompt, Problem> {
    let messages: Vec<Value> = fields.require("messages", "a list of messages")?;
    if messages.is_empty() {
        return Err(Problem::parameter(
            "messages",
            "\"messages\" must hold at least one message",
        ));
    }
    let mut read = Vec::new();
    for (index, given) in messages.into_iter().enumerate() {
        message(index, given, &mut read)?;
    }
    if let Some(offer) = offer {
        offer.tell(&mut read);
    }
    Ok(Prompt::Messages(read))
}

/// Adds a message to those that were read.
fn message(index: usize, message: Value, read: &mut Vec<Message>) -> Result<(), Problem> {
    let within = format!("messages[{index}].");
    let named = |field: &str| format!("{within}{field}");
    let Ok(mut fields) = Fields::of(message) else {
        return Err(Problem::parameter(
            "messages",
            format!("messages[{index}] must be an object"),
        ));
    };
    let role: String = fields
        .require("role", "a role")
        .map_err(|p| prefixed(p, &within))?;
    let role = match role.as_str() {
        "system" | "developer" => "system",
        "user" | "assistant" | "tool" => role.as_str(),
        _ => {
            let detail = "a message's role must be system, developer, user, assistant or tool";
            return Err(Problem::parameter(&named("role"), detail));
        }
    };
    fields.ignore_when("tool_calls", is_empty_list);
    let calls: Option<Vec<Value>> = match role {
        "assistant" => fields
            .take("tool_calls", "a list of calls")
            .map_err(|p| prefixed(p, &within))?,
        _ => None,
    };
    const CONTENT: &str = "a text, or a list of text parts";
    let content: Option<Value> = fields
        .take("content", CONTENT)
        .map_err(|p| prefixed(p, &within))?;
    let content = match content {
        None if calls.is_some() => String::new(),
        None => {
            let detail = format!("\"content\" is missing; it must be {CONTENT}");
            return Err(Problem::parameter(&named("content"), detail));
        }
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => joined(&named("content"), parts)?,
        Some(_) => {
            let detail = "a message's content must be a text, or a list of text parts";
            return Err(Problem::parameter(&named("content"), detail));
        }
    };
    // What OpenAI's own client sends back of an answer it received; thoughts are not said again.
    fields.ignore_when("annotations", is_empty_list);
    fields.ignore(&["reasoning_content"]);
    if role == "tool" {
        // Which call it answers: answers stand in the order of their calls.
        fields.ignore(&["tool_call_id"]);
        fields.finish(&within)?;
        tools::responded(read, &content);
        return Ok(());
    }
    fields.finish(&within)?;
    let content = match calls {
        Some(calls) => tools::called(&within, &content, calls)?,
        None => content,
    };
    read.push(Message {
        role: role.to_owned(),
        content,
    });
    Ok(())
}

/// The text of a list of parts. A picture, a sound or a file is refused: no model here would look at it.
fn joined(name: &str, parts: Vec<Value>) -> Result<String, Problem> {
    let part_text = |part: &Value| {
        let is_text = part.get("type").and_then(Value::as_str) == Some("text");
        let text = part.get("text").and_then(Value::as_str);
        text.filter(|_| is_text).map(str::to_owned)
    };
    let texts: Option<Vec<_>> = parts.iter().map(part_text).collect();
    let refused = || {
        Problem::parameter(
            name,
            format!("{name:?} may hold parts of type \"text\" only"),
        )
    };
    texts.map(|t| t.concat()).ok_or_else(refused)
}

fn prefixed(problem: Problem, within: &str) -> Problem {
    let param = problem.param.map(|p| format!("{within}{p}"));
    Problem { param, ..problem }
}

fn text(fields: &mut Fields) -> Result<Prompt, Problem> {
    let expected = "one text: several prompts, or token ids, are not supported here";
    let prompt: Value = fields.require("prompt", expected)?;
    let one = match prompt {
        Value::String(text) => Some(text),
        Value::Array(list) => match <[Value; 1]>::try_from(list) {
            Ok([Value::String(text)]) => Some(text),
            _ => None,
        },
        _ => None,
    };
    let refused = || Problem::parameter("prompt", format!("\"prompt\" must be {expected}"));
    one.map(Prompt::Text).ok_or_else(refused)
}

fn sampling(fields: &mut Fields, form: Form, offer: Option<&Offer>) -> Result<Sampling, Problem> {
    let default = Sampling::default();
    let temperature = fields.number("temperature", 0.0..=2.0)?;
    let top_p = fields.number("top_p", 0.0..=1.0)?;
    let seed: Option<i64> = fields.take("seed", "a whole number")?;
    // Both names of the same limit; the newer one counts.
    let expected = "a whole number from 1";
    let older: Option<u32> = fields.take("max_tokens", expected)?;
    let newer: Option<u32> = fields.take("max_completion_tokens", expected)?;
    let max_tokens = newer.or(older);
    if max_tokens == Some(0) {
        return Err(Problem::parameter(
            "max_tokens",
            format!("\"max_tokens\" must be {expected}"),
        ));
    }
    Ok(Sampling {
        temperature: temperature.unwrap_or(default.temperature),
        top_p: top_p.unwrap_or(default.top_p),
        seed: seed.map_or_else(any_seed, |seed| Ok(seed.cast_unsigned()))?,
        max_tokens,
        min_tokens: min_tokens(fields)?,
        stop: stop(fields)?,
        presence_penalty: fields
            .number("presence_penalty", -2.0..=2.0)?
            .unwrap_or(0.0),
        frequency_penalty: fields
            .number("frequency_penalty", -2.0..=2.0)?
            .unwrap_or(0.0),
        top_logprobs: match form {
            Form::Chat => top_logprobs(fields)?,
            Form::Text => older_logprobs(fields)?,
        },
        shape: match (form, offer) {
            (Form::Chat, None) => shape(fields)?,
            (Form::Chat, Some(offer)) => offer.shape(shape(fields)?),
            (Form::Text, _) => Shape::Free,
        },
        thought_tokens_max: match form {
            Form::Chat => thought_tokens(fields)?,
            Form::Text => None, // without a template nothing tells thoughts from the rest
        },
    })
}

/// `min_tokens` and `ignore_eos`, which load generators of vLLM's kind ask for: answers of a length that they know.
fn min_tokens(fields: &mut Fields) -> Result<u32, Problem> {
    let least: Option<u32> = fields.take("min_tokens", "a whole number from 0")?;
    let for_ever = fields.take("ignore_eos", "true or false")?.unwrap_or(false);
    Ok(if for_ever {
        u32::MAX
    } else {
        least.unwrap_or(0)
    })
}

/// How long a reasoning model may think: `thinking_token_budget`, vLLM's name for it, or OpenAI's `reasoning_effort`.
fn thought_tokens(fields: &mut Fields) -> Result<Option<u32>, Problem> {
    let budget: Option<u32> = fields.take("thinking_token_budget", "a whole number from 0")?;
    let effort: Option<String> = fields.take("reasoning_effort", "a text")?;
    let Some(effort) = effort else {
        return Ok(budget);
    };
    let known = EFFORTS.iter().find(|(name, _)| *name == effort);
    let Some((_, tokens)) = known else {
        let names: Vec<&str> = EFFORTS.iter().map(|(name, _)| *name).collect();
        let detail = format!("\"reasoning_effort\" must be one of {}", names.join(", "));
        return Err(Problem::parameter("reasoning_effort", detail));
    };
    Ok(budget.or(*tokens))
}

fn choices(fields: &mut Fields) -> Result<u64, Problem> {
    let expected = format!("a whole number from 1 to {CHOICES_MAX}");
    let choices = fields.take("n", &expected)?.unwrap_or(1);
    if !(1..=CHOICES_MAX).contains(&choices) {
        return Err(Problem::parameter("n", format!("\"n\" must be {expected}")));
    }
    Ok(choices)
}

/// `logprobs` asks for those of the chosen tokens, `top_logprobs` for more.
fn top_logprobs(fields: &mut Fields) -> Result<Option<u8>, Problem> {
    let wanted = fields.take("logprobs", "true or false")?.unwrap_or(false);
    let expected = format!("a whole number from 0 to {TOP_LOGPROBS_MAX}");
    let count: Option<u8> = fields.take("top_logprobs", &expected)?;
    if count.is_some_and(|count| count > TOP_LOGPROBS_MAX) {
        let detail = format!("\"top_logprobs\" must be {expected}");
        return Err(Problem::parameter("top_logprobs", detail));
    }
    if count.is_some() && !wanted {
        let detail = "\"top_logprobs\" may only be given with \"logprobs\": true";
        return Err(Problem::parameter("top_logprobs", detail));
    }
    Ok(wanted.then_some(count.unwrap_or(0)))
}

/// In the older interface `logprobs` is itself the count.
fn older_logprobs(fields: &mut Fields) -> Result<Option<u8>, Problem> {
    let expected = format!("a whole number from 0 to {OLDER_LOGPROBS_MAX}");
    fields.ignore_when("logprobs", |given| *given == json!(false));
    let count: Option<u8> = fields.take("logprobs", &expected)?;
    if count.is_some_and(|count| count > OLDER_LOGPROBS_MAX) {
        let detail = format!("\"logprobs\" must be {expected}");
        return Err(Problem::parameter("logprobs", detail));
    }
    Ok(count)
}

/// What the answer must be: text, any JSON object, or JSON of a schema.
fn shape(fields: &mut Fields) -> Result<Shape, Problem> {
    const WITHIN: &str = "response_format.";
    let Some(format) = fields.take::<Value>("response_format", "an object")? else {
        return Ok(Shape::Free);
    };
    let refused = |detail: &str| Problem::parameter("response_format", detail);
    let mut format =
        Fields::of(format).map_err(|_| refused("\"response_format\" must be an object"))?;
    let kind: String = format
        .require("type", "text, json_object or json_schema")
        .map_err(|problem| prefixed(problem, WITHIN))?;
    let shape = match kind.as_str() {
        "text" => Shape::Free,
        "json_object" => Shape::Schema(json!({"type": "object"}).to_string()),
        "json_schema" => {
            let named: Value = format
                .require("json_schema", "an object with a name and a schema")
                .map_err(|problem| prefixed(problem, WITHIN))?;
            let mut named =
                Fields::of(named).map_err(|_| refused("\"json_schema\" must be an object"))?;
            // Whether or not it is asked for, the schema is kept to.
            named.ignore(&["name", "description", "strict"]);
            let schema: Value = named
                .require("schema", "a JSON schema")
                .map_err(|problem| prefixed(problem, "response_format.json_schema."))?;
            named.finish("response_format.json_schema.")?;
            Shape::Schema(schema.to_string())
        }
        _ => return Err(refused("the type must be text, json_object or json_schema")),
    };
    format.finish(WITHIN)?;
    Ok(shape)
}

fn any_seed() -> Result<u64, Problem> {
    getrandom::u64().map_err(|error| {
        tracing::error!(%error, "the system has no random numbers");
        Problem::internal()
    })
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, Problem> {
    let expected = format!("a text or a list of at most {STOPS_MAX} texts, none of them empty");
    let refused = || Problem::parameter("stop", format!("\"stop\" must be {expected}"));
    let stop: Vec<String> = match fields.take::<Value>("stop", &expected)? {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text],
        Some(list) => serde_json::from_value(list).map_err(|_| refused())?,
    };
    if stop.len() > STOPS_MAX || stop.iter().any(String::is_empty) {
        return Err(refused());
    }
    Ok(stop)
}

/// `service_tier` is OpenAI's word for how urgent a request is.
pub(crate) fn priority(fields: &mut Fields) -> Result<Priority, Problem> {
    let tier: Option<String> = fields.take("service_tier", "a text")?;
    match tier.as_deref() {
        None | Some("auto" | "default") => Ok(Priority::Routine),
        Some("flex") => Ok(Priority::Batch),
        Some("priority") => Ok(Priority::Stat),
        Some(_) => {
            let detail = "\"service_tier\" must be auto, default, flex or priority";
            Err(Problem::parameter("service_tier", detail))
        }
    }
}

fn stream_options(fields: &mut Fields, stream: bool) -> Result<bool, Problem> {
    let Some(options) = fields.take::<Value>("stream_options", "an object")? else {
        return Ok(false);
    };
    if !stream {
        let detail = "\"stream_options\" may only be given with \"stream\": true";
        return Err(Problem::parameter("stream_options", detail));
    }
    let mut options = Fields::of(options)?;
    let include_usage = options
        .take("include_usage", "true or false")?
        .unwrap_or(false);
    // Padding against traffic analysis: none is added, none is asked for. And counts in every chunk, where the last has them.
    options.ignore(&["include_obfuscation", "continuous_usage_stats"]);
    options.finish("stream_options.")?;
    Ok(include_usage)
}

/// Passes over what cannot change the answer: harmless parameters, and values that ask for what is done anyway.
fn pass_over(fields: &mut Fields, form: Form) {
    fields.ignore(&HARMLESS);
    for (name, value) in [
        ("best_of", json!(1)),
        ("echo", json!(false)),
        ("store", json!(false)),
        ("logprobs", json!(false)),
        ("modalities", json!(["text"])),
        ("response_format", json!({"type": "text"})),
        ("function_call", json!("none")),
        ("suffix", json!("")),
    ] {
        fields.ignore_when(name, |given| *given == value);
    }
    fields.ignore_when("logit_bias", |given| {
        given.as_object().is_some_and(serde_json::Map::is_empty)
    });
    if form == Form::Chat {
        fields.ignore_when("functions", is_empty_list);
    }
}

fn is_empty_list(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(extra: Value) -> Result<Question, Problem> {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        let (fields, extra) = (body.as_object_mut(), extra.as_object().cloned());
        fields.expect("an object").extend(extra.expect("an object"));
        Question::read(Form::Chat, body)
    }

    #[test]
    fn parameters_are_obeyed() {
        let question = chat(json!({
            "temperature": 0, "top_p": 0.5, "seed": -1, "max_tokens": 5, "max_completion_tokens": 7,
            "stop": ["a", "b"], "stream": true, "stream_options": {"include_usage": true}, "service_tier": "flex",
            "presence_penalty": 0.5, "frequency_penalty": -1, "logprobs": true, "top_logprobs": 3, "n": 2,
            "response_format": {"type": "json_object"}, "cache_salt": "ward 9",
            "reasoning_effort": "low", "min_tokens": 3,
        }))
        .expect("all supported");
        let sampling = Sampling {
            temperature: 0.0,
            top_p: 0.5,
            seed: u64::MAX,
            max_tokens: Some(7),
            min_tokens: 3,
            stop: vec!["a".into(), "b".into()],
            presence_penalty: 0.5,
            frequency_penalty: -1.0,
            top_logprobs: Some(3),
            shape: Shape::Schema(r#"{"type":"object"}"#.into()),
            thought_tokens_max: Some(512),
        };
        assert_eq!(question.ask.sampling, sampling);
        assert_eq!(question.ask.priority, Priority::Batch);
        assert_eq!(
            (question.choices, question.ask.scope.as_str()),
            (2, "ward 9")
        );
        assert!(question.stream && question.include_usage);
        let unseeded =
            [chat(json!({})), chat(json!({}))].map(|q| q.expect("plain").ask.sampling.seed);
        assert_ne!(unseeded[0], unseeded[1]);
    }

    #[test]
    fn harmless_parameters_pass() {
        chat(json!({
            "user": "u", "metadata": {"a": "b"}, "n": 1, "logprobs": false, "tools": [], "tool_choice": "none",
            "response_format": {"type": "text"}, "presence_penalty": 0, "logit_bias": {}, "store": false,
            "max_tokens": null, "functions": null, "modalities": ["text"], "stop": "x",
        }))
        .expect("nothing of it changes an answer");
    }

    #[test]
    fn what_is_not_obeyed_is_refused_by_name() {
        for (extra, param) in [
            (json!({"n": 0}), "n"),
            (json!({"n": 9}), "n"),
            (json!({"tools": [{"type": "wand"}]}), "tools[0].type"),
            (
                json!({"tools": [{"type": "function"}]}),
                "tools[0].function.name",
            ),
            (
                json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}]}),
                "tools[0].function.parameters",
            ),
            (json!({"tool_choice": "required"}), "tool_choice"),
            (json!({"tool_choice": "perhaps"}), "tool_choice"),
            (
                json!({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": {"type": "function", "function": {"name": "g"}}}),
                "tool_choice",
            ),
            (
                json!({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "["}}]}]}),
                "messages[0].tool_calls[0]",
            ),
            (
                json!({"response_format": {"type": "grammar"}}),
                "response_format",
            ),
            (
                json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}),
                "response_format.json_schema.schema",
            ),
            (
                json!({"response_format": {"type": "json_object", "schema": {}}}),
                "response_format.schema",
            ),
            (json!({"logprobs": 3}), "logprobs"),
            (json!({"top_logprobs": 3}), "top_logprobs"),
            (
                json!({"logprobs": true, "top_logprobs": 21}),
                "top_logprobs",
            ),
            (json!({"presence_penalty": 2.5}), "presence_penalty"),
            (json!({"logit_bias": {"5": 1}}), "logit_bias"),
            (json!({"reasoning_effort": "immense"}), "reasoning_effort"),
            (
                json!({"thinking_token_budget": -1}),
                "thinking_token_budget",
            ),
            (json!({"temperature": 2.5}), "temperature"),
            (json!({"temperature": "hot"}), "temperature"),
            (json!({"top_p": -0.1}), "top_p"),
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"max_tokens": -3}), "max_tokens"),
            (json!({"stop": ["a", ""]}), "stop"),
            (json!({"stop": ["a", "b", "c", "d", "e"]}), "stop"),
            (json!({"stop": 3}), "stop"),
            (
                json!({"stream_options": {"include_usage": true}}),
                "stream_options",
            ),
            (json!({"model": 7}), "model"),
            (json!({"messages": []}), "messages"),
            (json!({"messages": ["hi"]}), "messages"),
            (
                json!({"messages": [{"role": "wizard", "content": "x"}]}),
                "messages[0].role",
            ),
            (
                json!({"messages": [{"role": "user"}]}),
                "messages[0].content",
            ),
            (
                json!({"messages": [{"role": "user", "content": 3}]}),
                "messages[0].content",
            ),
            (
                json!({"messages": [{"role": "user", "content": "x", "name": "y"}]}),
                "messages[0].name",
            ),
            (
                json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}),
                "messages[0].content",
            ),
        ] {
            let refused = chat(extra.clone()).expect_err("refused");
            assert_eq!(refused.param.as_deref(), Some(param), "{extra}");
            assert_eq!(refused.status, 400);
        }
    }

    #[test]
    fn tools_are_told_and_what_came_of_them() {
        let find = json!({"type": "function", "function": {"name": "find", "description": "Finds.", "parameters": {
            "type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}}});
        let call = |q: &str| json!({"id": "c", "type": "function", "function": {"name": "find", "arguments": json!({"q": q}).to_string()}});
        let question = chat(
            json!({"tools": [find], "parallel_tool_calls": false, "messages": [
                {"role": "user", "content": "Where?"},
                {"role": "assistant", "content": null, "tool_calls": [call("a"), call("b")]},
                {"role": "tool", "tool_call_id": "c", "content": "1"},
                {"role": "tool", "tool_call_id": "d", "content": "2"},
            ]}),
        )
        .expect("supported");
        let Shape::Calls {
            tools,
            must,
            several,
            otherwise,
        } = &question.ask.sampling.shape
        else {
            panic!("calls");
        };
        assert_eq!(
            (tools.len(), *must, *several, otherwise),
            (1, false, false, &None)
        );
        let schema: Value = serde_json::from_str(&tools[0].parameters).expect("JSON");
        assert_eq!(schema["additionalProperties"], false);
        let Prompt::Messages(read) = question.ask.prompt else {
            panic!("messages");
        };
        let roles: Vec<&str> = read.iter().map(|m| m.role.as_str()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user"]);
        assert!(read[0].content.contains("\"description\":\"Finds.\""));
        assert_eq!(
            read[2].content,
            "<tool_call>\n{\"name\": \"find\", \"arguments\": {\"q\":\"a\"}}\n</tool_call>\n\
             <tool_call>\n{\"name\": \"find\", \"arguments\": {\"q\":\"b\"}}\n</tool_call>"
        );
        assert_eq!(
            read[3].content,
            "<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>"
        );
        let named = json!({"type": "function", "function": {"name": "find"}});
        let find = json!({"type": "function", "function": {"name": "find"}});
        let question =
            chat(json!({"tools": [find.clone()], "tool_choice": named})).expect("supported");
        assert!(matches!(
            question.ask.sampling.shape,
            Shape::Calls {
                must: true,
                several: false,
                ..
            }
        ));
        let question = chat(json!({"tools": [find], "tool_choice": "none"})).expect("supported");
        assert_eq!(question.ask.sampling.shape, Shape::Free);
    }

    #[test]
    fn a_continued_text_has_older_probabilities() {
        let asked = |logprobs: Value| {
            let body = json!({"model": "m", "prompt": "x", "logprobs": logprobs});
            Question::read(Form::Text, body).map(|question| question.ask.sampling.top_logprobs)
        };
        for (given, count) in [
            (json!(0), Some(0)),
            (json!(5), Some(5)),
            (json!(null), None),
            (json!(false), None),
        ] {
            assert_eq!(asked(given.clone()).expect("supported"), count, "{given}");
        }
        for given in [json!(6), json!(true), json!(-1)] {
            let refused = asked(given.clone()).expect_err("refused");
            assert_eq!(refused.param.as_deref(), Some("logprobs"), "{given}");
        }
    }

    #[test]
    fn messages_and_prompts() {
        let messages = json!({"messages": [
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": "c", "refusal": null, "tool_calls": []},
        ]});
        let Prompt::Messages(read) = chat(messages).expect("supported").ask.prompt else {
            panic!("messages");
        };
        let read: Vec<_> = read
            .iter()
            .map(|m| (m.role.as_str(), m.content.as_str()))
            .collect();
        assert_eq!(
            read,
            [("system", "be brief"), ("user", "ab"), ("assistant", "c")]
        );

        let text = |prompt: Value| {
            let body = json!({"model": "m", "prompt": prompt});
            Question::read(Form::Text, body).map(|q| q.ask.prompt).ok()
        };
        assert_eq!(text(json!("x")), Some(Prompt::Text("x".into())));
        assert_eq!(text(json!(["x"])), Some(Prompt::Text("x".into())));
        assert_eq!(text(json!(["x", "y"])), None);
        assert_eq!(text(json!([1, 2])), None);
    }
}
