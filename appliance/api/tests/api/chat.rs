//! The language model through OpenAI's interface, byte for byte where it matters.

use crate::scripted::{ENCODER, MODEL};
use crate::site::{Answer, Site};
use http::{Request, header};
use pericard_egress::Counter;
use serde_json::{Value, json};

fn question(words: &str, extra: &Value) -> Value {
    let mut body = json!({"model": MODEL, "messages": [{"role": "user", "content": words}]});
    for (name, value) in extra.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

async fn ask(site: &Site, words: &str, extra: Value) -> Answer {
    site.post_json("/v1/chat/completions", &question(words, &extra))
        .await
}

/// The data of every event; the last is not JSON.
fn events(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let text = answer.text();
    let data = text.split("\n\n").filter(|event| !event.is_empty());
    data.map(|event| event.strip_prefix("data: ").expect("only data").to_owned())
        .collect()
}

#[tokio::test]
async fn an_answer_at_once() {
    let site = Site::new();
    let answer = ask(&site, "one two", json!({})).await;
    let body = answer.json();
    assert_eq!(answer.status, 200, "{body}");
    assert_eq!(body["object"], "chat.completion");
    let message = json!({"role": "assistant", "content": "one two ", "refusal": null});
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop", "logprobs": null});
    assert_eq!(body["choices"], json!([choice]));
    let details = json!({"cached_tokens": 1});
    let usage = json!({
        "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": 0},
    });
    assert_eq!(body["usage"], usage);
    assert_eq!(body["system_fingerprint"], "1.2.3-abababababab-cpu");
    assert_eq!(answer.header("x-pericard-model"), "parrot/1.2.3");
    assert_eq!(answer.header("x-pericard-device"), "cpu");
    assert!(
        site.audited()
            .await
            .contains(&("ask model".into(), "parrot 1.2.3".into()))
    );
    let counted = [
        Counter::ChatsAnswered,
        Counter::TokensPrompt,
        Counter::TokensGenerated,
    ];
    assert_eq!(counted.map(|c| site.meter.counted(c)), [1, 3, 2]);
}

#[tokio::test]
async fn an_answer_as_it_comes() {
    let site = Site::new();
    let extra = json!({"stream": true, "max_tokens": 2, "stream_options": {"include_usage": true}});
    let answer = ask(&site, "one two three", extra).await;
    let events = events(&answer);
    let (done, chunks) = events.split_last().expect("events");
    assert_eq!(done, "[DONE]");
    let chunks: Vec<Value> = chunks
        .iter()
        .map(|c| serde_json::from_str(c).expect("JSON"))
        .collect();
    let deltas: Vec<_> = chunks
        .iter()
        .map(|c| c["choices"][0]["delta"].clone())
        .collect();
    let expected = [
        json!({"role": "assistant", "content": ""}),
        json!({"content": "one "}),
        json!({"content": "two "}),
        json!({}),
        Value::Null,
    ];
    assert_eq!(deltas, expected);
    let finishes: Vec<_> = chunks[..4]
        .iter()
        .map(|c| c["choices"][0]["finish_reason"].clone())
        .collect();
    assert_eq!(
        finishes,
        [Value::Null, Value::Null, Value::Null, json!("length")]
    );
    assert!(
        chunks[..4]
            .iter()
            .all(|c| c.get("usage") == Some(&Value::Null))
    );
    assert_eq!(chunks[4]["choices"], json!([]));
    assert_eq!(chunks[4]["usage"]["total_tokens"], 6);
    assert!(
        chunks
            .iter()
            .all(|c| c["object"] == "chat.completion.chunk" && c["id"] == chunks[0]["id"])
    );
}

#[tokio::test]
async fn without_being_asked_no_usage_is_streamed() {
    let site = Site::new();
    let events = events(&ask(&site, "one", json!({"stream": true})).await);
    assert_eq!(events.len(), 4, "{events:?}");
    assert!(events.iter().all(|e| !e.contains("usage")), "{events:?}");
}

#[tokio::test]
async fn several_answers_to_one_question() {
    let site = Site::new();
    let body = ask(&site, "one two", json!({"n": 3})).await.json();
    let choices = body["choices"].as_array().expect("choices");
    let indices: Vec<_> = choices.iter().map(|choice| &choice["index"]).collect();
    assert_eq!(indices, [0, 1, 2]);
    assert_eq!(body["usage"]["prompt_tokens"], 3);
    assert_eq!(body["usage"]["completion_tokens"], 6);
    let extra = json!({"n": 2, "stream": true, "stream_options": {"include_usage": true}});
    let events = events(&ask(&site, "one two", extra).await);
    assert_eq!(events.iter().filter(|event| *event == "[DONE]").count(), 1);
    let (_, chunks) = events.split_last().expect("events");
    let mut texts = [String::new(), String::new()];
    let mut ends = 0;
    for chunk in chunks {
        let chunk: Value = serde_json::from_str(chunk).expect("JSON");
        if let Some(choice) = chunk["choices"].get(0) {
            let index = choice["index"].as_u64().expect("an index");
            let text = choice["delta"]["content"].as_str().unwrap_or_default();
            texts[usize::try_from(index).expect("small")].push_str(text);
            ends += usize::from(choice["finish_reason"] == "stop");
        } else {
            assert_eq!(chunk["usage"]["completion_tokens"], 4);
        }
    }
    assert_eq!((texts, ends), (["one two ".into(), "one two ".into()], 2));
}

#[tokio::test]
async fn thoughts_and_probabilities_have_their_own_fields() {
    let site = Site::new();
    let words = "<think> a heart </think> yes";
    let whole = ask(&site, words, json!({"logprobs": true, "top_logprobs": 2})).await;
    let choice = whole.json()["choices"][0].clone();
    let details = whole.json()["usage"]["completion_tokens_details"].clone();
    assert_eq!(details, json!({"reasoning_tokens": 3}));
    assert_eq!(choice["message"]["reasoning_content"], "a heart");
    assert_eq!(choice["message"]["content"], "yes ");
    let tokens = choice["logprobs"]["content"].as_array().expect("tokens");
    assert_eq!(tokens.len(), 5);
    assert_eq!(tokens[4]["token"], "yes ");
    assert_eq!(tokens[4]["bytes"], json!(b"yes "));
    assert_eq!(tokens[4]["top_logprobs"].as_array().map(Vec::len), Some(2));
    let streamed = ask(&site, words, json!({"stream": true, "logprobs": true})).await;
    let events = events(&streamed);
    let chunks = events[..events.len() - 1]
        .iter()
        .map(|event| serde_json::from_str::<Value>(event).expect("JSON")["choices"][0].clone());
    let (mut thought, mut said, mut told) = (String::new(), String::new(), 0);
    for choice in chunks {
        let delta = &choice["delta"];
        thought.push_str(delta["reasoning_content"].as_str().unwrap_or_default());
        said.push_str(delta["content"].as_str().unwrap_or_default());
        told += choice["logprobs"]["content"].as_array().map_or(0, Vec::len);
    }
    assert_eq!(
        (thought.trim(), said.as_str(), told),
        ("a heart", "yes ", 5)
    );
}

#[tokio::test]
async fn a_text_is_continued() {
    let site = Site::new();
    let body = json!({"model": MODEL, "prompt": "a b"});
    let answer = site.post_json("/v1/completions", &body).await.json();
    assert_eq!(
        (&answer["object"], &answer["choices"][0]["text"]),
        (&json!("text_completion"), &json!("a b "))
    );
    let body = json!({"model": MODEL, "prompt": "a b", "stream": true});
    let events = events(&site.post_json("/v1/completions", &body).await);
    let texts: Vec<_> = events[..events.len() - 1]
        .iter()
        .map(|e| serde_json::from_str::<Value>(e).expect("JSON")["choices"][0]["text"].clone())
        .collect();
    assert_eq!(texts, ["a ", "b ", ""]);
}

#[tokio::test]
async fn a_continued_text_has_older_probabilities() {
    let site = Site::new();
    let ask = |stream: bool| {
        let body = json!({"model": MODEL, "prompt": "ä b", "logprobs": 2, "stream": stream});
        let site = &site;
        async move { site.post_json("/v1/completions", &body).await }
    };
    let whole = ask(false).await.json();
    let logprobs = json!({
        "tokens": ["ä ", "b "], "token_logprobs": [0.0, 0.0],
        "top_logprobs": [{"ä ": 0.0}, {"b ": 0.0}], "text_offset": [0, 2],
    });
    assert_eq!(whole["choices"][0]["logprobs"], logprobs);
    assert_eq!(
        whole["usage"].get("completion_tokens_details"),
        None,
        "nothing tells thoughts from the rest here"
    );
    let events = events(&ask(true).await);
    let told = events[..events.len() - 1].iter().map(|event| {
        let chunk: Value = serde_json::from_str(event).expect("JSON");
        chunk["choices"][0]["logprobs"]["text_offset"].clone()
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [json!([0]), json!([2]), Value::Null]
    );
}

#[tokio::test]
async fn refusals_are_openais() {
    let site = Site::new();
    let long = "word ".repeat(20);
    let cases = [
        (
            question("hi", &json!({"model": "gpt-9"})),
            404,
            "model_not_found",
            "model",
        ),
        (
            question("hi", &json!({"model": "seer"})),
            404,
            "model_not_found",
            "model",
        ),
        (
            question(&long, &json!({})),
            400,
            "context_length_exceeded",
            "messages",
        ),
        (question("busy", &json!({})), 429, "rate_limit_exceeded", ""),
        (
            question("hi", &json!({"best_of": 3})),
            400,
            "unsupported_parameter",
            "best_of",
        ),
        (
            question("hi", &json!({"temperature": 9})),
            400,
            "invalid_parameter",
            "temperature",
        ),
    ];
    for (body, status, code, param) in cases {
        let answer = site.post_json("/v1/chat/completions", &body).await;
        let error = answer.json()["error"].clone();
        assert_eq!(
            (answer.status.as_u16(), &error["code"]),
            (status, &json!(code)),
            "{body}"
        );
        assert_eq!(error["param"].as_str().unwrap_or_default(), param, "{body}");
        if status == 429 {
            assert_eq!(answer.header("retry-after"), "7");
        }
    }
    let refusals = site
        .audited()
        .await
        .into_iter()
        .filter(|(verb, _)| verb == "refuse")
        .count();
    assert_eq!(refusals, 6, "each of them is in the audit log");
    let error = ask(&site, &long, json!({})).await.json()["error"]["message"].clone();
    let message = error.as_str().expect("a message");
    assert!(
        message.contains("21 tokens") && message.contains("holds 16"),
        "{message}"
    );
    let absent = ask(&site, "hi", json!({"model": "Mustermann"}))
        .await
        .json()["error"]
        .clone();
    let message = absent["message"].as_str().expect("a message");
    assert!(
        !message.contains("Mustermann") && message.contains(MODEL),
        "what a caller wrote is not said again, and what there is, is: {message}"
    );
}

#[tokio::test]
async fn a_model_that_fails_is_no_answer_and_tells_no_secret() {
    let site = Site::new();
    let whole = ask(&site, "fail", json!({})).await;
    assert_eq!(whole.status, 500);
    let streamed = ask(&site, "fail", json!({"stream": true})).await;
    let events = events(&streamed);
    let last: Value =
        serde_json::from_str(events.last().expect("an event")).expect("JSON, not [DONE]");
    assert_eq!(last["error"]["code"], "model_failed");
    assert!(!format!("{}{}", whole.text(), streamed.text()).contains("DOE"));
    assert_eq!(site.meter.counted(Counter::ChatsFailed), 2);
}

#[tokio::test]
async fn bodies_that_are_no_questions() {
    let mut site = Site::new();
    site.config.json_max_kib = 1;
    let send = |media_type: &'static str, body: Vec<u8>| {
        let request =
            Request::post("/v1/chat/completions").header(header::CONTENT_TYPE, media_type);
        site.call(request, body)
    };
    assert_eq!(send("text/plain", b"{}".to_vec()).await.status, 415);
    assert_eq!(send("application/json", vec![b' '; 2000]).await.status, 413);
    let broken = send("application/json", b"{\"model\": JANE DOE".to_vec()).await;
    assert_eq!(broken.status, 400);
    assert!(!broken.text().contains("DOE"), "{}", broken.text());
    assert_eq!(send("application/json", b"[]".to_vec()).await.status, 400);
    assert_eq!(
        send("application/json; charset=utf-8", b"{}".to_vec())
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn models_and_tokens() {
    let site = Site::new();
    let models = site.get("/v1/models").await.json();
    assert_eq!(
        models["data"].as_array().map(Vec::len),
        Some(2),
        "only those that have to do with texts"
    );
    assert_eq!(models["data"][1]["task"], "embedding");
    assert_eq!(models["data"][0]["id"], MODEL);
    assert_eq!(
        site.get("/v1/models/parrot").await.json()["max_model_len"],
        16
    );
    let absent = site.get("/v1/models/seer").await;
    assert_eq!(
        (absent.status.as_u16(), &absent.json()["error"]["code"]),
        (404, &json!("model_not_found"))
    );
    let body = json!({"model": MODEL, "prompt": "a bb c"});
    for path in ["/v1/tokenize", "/tokenize"] {
        let tokens = site.post_json(path, &body).await.json();
        let expected = json!({"count": 3, "max_model_len": 16, "tokens": [1, 2, 1]});
        assert_eq!(tokens, expected);
    }
    let body = json!({"model": MODEL, "tokens": [1, 2]});
    for path in ["/v1/detokenize", "/detokenize"] {
        let text = site.post_json(path, &body).await.json();
        assert_eq!(text, json!({"prompt": "x xx"}));
    }
}

const CALL: &str = "<tool_call> {\"name\": \"find\", \"arguments\": {\"q\": \"a b\"}} </tool_call>";

fn with_tools() -> Value {
    json!({"tools": [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]})
}

#[tokio::test]
async fn a_call_of_a_tool_at_once() {
    let site = Site::new();
    let choice = ask(&site, CALL, with_tools()).await.json()["choices"][0].clone();
    assert_eq!(choice["finish_reason"], "tool_calls", "{choice}");
    let message = &choice["message"];
    assert_eq!(message["content"], Value::Null);
    let call = &message["tool_calls"][0];
    let function = json!({"name": "find", "arguments": "{\"q\": \"a b\"}"});
    assert_eq!(
        (&call["type"], &call["function"]),
        (&json!("function"), &function)
    );
    assert!(
        call["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("call_"))
    );

    let said = ask(&site, "no call", with_tools()).await.json()["choices"][0].clone();
    assert_eq!(said["message"]["content"], "no call ");
    assert_eq!(said["finish_reason"], "stop");
    let unasked = ask(&site, CALL, json!({})).await.json()["choices"][0].clone();
    assert_eq!(
        unasked["message"]["content"],
        format!("{CALL} "),
        "without tools it is only text"
    );
}

#[tokio::test]
async fn a_call_after_other_words_is_none_of_them() {
    let site = Site::new();
    let words = format!("Looking {CALL}");
    let choice = ask(&site, &words, with_tools()).await.json()["choices"][0].clone();
    assert_eq!(choice["finish_reason"], "tool_calls", "{choice}");
    let message = &choice["message"];
    assert_eq!(message["content"], "Looking ");
    let function = json!({"name": "find", "arguments": "{\"q\":\"a b\"}"});
    assert_eq!(message["tool_calls"][0]["function"], function);
    let mut extra = with_tools();
    extra["stream"] = json!(true);
    let streamed = ask(&site, &words, extra).await.text();
    assert!(!streamed.contains("tool_call>"), "{streamed}");
    assert!(
        streamed.contains("\"finish_reason\":\"tool_calls\""),
        "{streamed}"
    );
}

#[tokio::test]
async fn a_call_of_a_tool_as_it_comes() {
    let site = Site::new();
    let mut extra = with_tools();
    extra["stream"] = json!(true);
    let answer = ask(&site, CALL, extra).await;
    let events = events(&answer);
    let (_, chunks) = events.split_last().expect("events");
    let chunks: Vec<Value> = chunks
        .iter()
        .map(|c| serde_json::from_str(c).expect("JSON"))
        .collect();
    let mut choices = chunks.iter().map(|c| &c["choices"][0]);
    let calls: Vec<&Value> = choices
        .clone()
        .map(|c| &c["delta"]["tool_calls"][0])
        .filter(|call| !call.is_null())
        .collect();
    assert_eq!(
        calls[0]["function"],
        json!({"name": "find", "arguments": ""})
    );
    assert!(calls[0]["id"].is_string() && calls.iter().all(|call| call["index"] == 0));
    let arguments = calls
        .iter()
        .filter_map(|call| call["function"]["arguments"].as_str());
    assert_eq!(arguments.collect::<String>(), "{\"q\": \"a b\"}");
    let said = choices
        .clone()
        .filter_map(|c| c["delta"]["content"].as_str());
    assert_eq!(said.collect::<String>(), "");
    let finish = choices.next_back().map(|c| c["finish_reason"].clone());
    assert_eq!(finish, Some(json!("tool_calls")));
}

#[tokio::test]
async fn texts_become_vectors() {
    let site = Site::new();
    let ask = |body: Value| {
        let site = &site;
        async move { site.post_json("/v1/embeddings", &body).await }
    };
    let texts: Vec<String> = (1..=10).map(|n| "x".repeat(n)).collect();
    let answer = ask(json!({"model": ENCODER, "input": texts})).await;
    let body = answer.json();
    assert_eq!(answer.status, 200, "{body}");
    assert_eq!(
        (&body["object"], &body["model"]),
        (&json!("list"), &json!(ENCODER))
    );
    assert_eq!(
        body["usage"],
        json!({"prompt_tokens": 55, "total_tokens": 55})
    );
    for (index, one) in body["data"].as_array().expect("a list").iter().enumerate() {
        let vector = json!([index as f64 + 1.0, -1.0]);
        let expected = json!({"object": "embedding", "index": index, "embedding": vector});
        assert_eq!(*one, expected);
    }
    let packed = json!({"model": ENCODER, "input": "x", "encoding_format": "base64"});
    let packed = ask(packed).await.json();
    assert_eq!(packed["data"][0]["embedding"], "AACAPwAAgL8=");

    let mut long = texts;
    long.push("x".repeat(17));
    let refused = ask(json!({"model": ENCODER, "input": long})).await;
    let error = refused.json()["error"].clone();
    assert_eq!(
        (refused.status.as_u16(), &error["code"]),
        (400, &json!("context_length_exceeded"))
    );
    let message = error["message"].as_str().expect("a message");
    assert!(
        message.contains("index 10")
            && message.contains("17 tokens")
            && message.contains("reads 16"),
        "{message}"
    );
    assert_eq!(
        ask(json!({"model": "seer", "input": "x"})).await.status,
        404
    );
}

#[tokio::test]
async fn every_answer_says_whether_its_model_may_treat_patients() {
    let mut site = Site::new();
    for told in ["false", "true"] {
        for (path, body) in [
            ("/v1/chat/completions", question("one", &json!({}))),
            (
                "/v1/chat/completions",
                question("one", &json!({"stream": true})),
            ),
            ("/v1/completions", json!({"model": MODEL, "prompt": "one"})),
            ("/v1/embeddings", json!({"model": ENCODER, "input": "one"})),
        ] {
            let answer = site.post_json(path, &body).await;
            assert_eq!(answer.status, 200, "{path}");
            assert_eq!(answer.header("x-pericard-clinical-use"), told, "{path}");
        }
        site.let_models_treat();
    }
}

#[tokio::test]
async fn engines_tell_their_figures_by_class() {
    let site = Site::new();
    let page = site.get("/metrics").await.text();
    for line in [
        "pericard_language_time_to_first_token_seconds_bucket{model_name=\"parrot\",class=\"stat\",le=\"0.05\"} 0",
        "pericard_language_time_to_first_token_seconds_bucket{model_name=\"parrot\",class=\"stat\",le=\"0.1\"} 1",
        "pericard_language_time_to_first_token_seconds_count{model_name=\"parrot\",class=\"stat\"} 1",
        "pericard_language_time_to_first_token_seconds_count{model_name=\"parrot\",class=\"batch\"} 0",
        "pericard_language_request_success_total{model_name=\"parrot\",class=\"stat\",finished_reason=\"stop\"} 1",
        "pericard_language_kv_cache_usage_perc{model_name=\"parrot\"} 0.25",
    ] {
        assert!(page.lines().any(|l| l == line), "{line}\n{page}");
    }
}
