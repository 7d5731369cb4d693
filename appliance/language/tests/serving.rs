//! What serving adds to the engine, with a real model: calls of tools, bounded thoughts, guesses, fair shares, figures, and that
//! nothing of one patient comes to another.

#[allow(dead_code, reason = "not every test bends a file")]
mod gguf;
mod package;

use gguf::Gguf;
use pericard_domain::chat::{
    ChatEvent, ChatRefusal, ChatRequest, Finish, Message, Prompt, Sampling, Shape, Tool, Usage,
};
use pericard_domain::figures::EngineFigures;
use pericard_domain::job::Priority;
use pericard_language::{Engine, EngineLimits, Generation};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn load(limits: EngineLimits) -> Option<Engine> {
    package::weights().map(|weights| Engine::load(&weights, limits).expect("the model loads"))
}

fn ask(text: &str, tokens: u32) -> ChatRequest {
    ChatRequest {
        prompt: Prompt::Messages(vec![Message {
            role: "user".to_owned(),
            content: text.to_owned(),
        }]),
        sampling: Sampling {
            temperature: 0.0,
            max_tokens: Some(tokens),
            ..Sampling::default()
        },
        priority: Priority::Routine,
        tenant: "a".to_owned(),
        scope: String::new(),
    }
}

fn drain(mut generation: Generation) -> (String, Finish, Usage) {
    let mut text = String::new();
    while let Some(event) = generation.recv() {
        match event {
            ChatEvent::Chosen(_) => {}
            ChatEvent::Text(piece) => text.push_str(&piece),
            ChatEvent::Finished { finish, usage } => return (text, finish, usage),
            ChatEvent::Failed(reason) => panic!("failed: {reason}"),
        }
    }
    panic!("no end came");
}

fn said(engine: &Engine, request: ChatRequest) -> String {
    drain(engine.submit(request).expect("taken up")).0
}

fn long() -> bool {
    std::env::var_os("PERICARD_LONG").is_some()
}

/// Guesses are right often where a text repeats itself, and the bytes are those that come without them.
#[test]
fn guesses_change_nothing_but_the_time() {
    let without = EngineLimits {
        drafts: false,
        ..EngineLimits::default()
    };
    let (Some(with), Some(without)) = (load(EngineLimits::default()), load(without)) else {
        return;
    };
    let report =
        "The heart is of normal size. There is a small left pleural effusion. The lungs are clear.";
    let copied = format!("Repeat this text three times, word by word: {report}");
    for (temperature, seed) in [(0.0, 0), (0.7, 1), (1.2, 2)] {
        let mut request = ask(&copied, 120);
        request.sampling.temperature = temperature;
        request.sampling.seed = seed;
        request.sampling.top_logprobs = Some(1);
        assert_eq!(said(&with, request.clone()), said(&without, request));
    }
    let mut shaped = ask(&copied, 120);
    shaped.sampling.shape = Shape::Schema(
        json!({"type": "array", "items": {"enum": [report, "The lungs are clear."]}, "minItems": 3, "maxItems": 3}).to_string(),
    );
    assert_eq!(said(&with, shaped.clone()), said(&without, shaped.clone()));
    // With others beside it, cut off and paused, too.
    let crowd: Vec<Generation> = (0..5)
        .map(|n| with.submit(ask(&copied, 10 + n)).expect("taken up"))
        .collect();
    assert_eq!(said(&with, shaped.clone()), said(&without, shaped));
    drop(crowd);
    let figures = with.figures();
    assert!(
        figures.drafts_accepted > 50 && figures.drafts_accepted <= figures.drafted,
        "{} of {} were right",
        figures.drafts_accepted,
        figures.drafted
    );
    assert!(with.stats().steps < without.stats().steps);
    assert_eq!(without.figures().drafted, 0);
}

fn tools() -> Vec<Tool> {
    let measure = json!({
        "type": "object",
        "properties": {"organ": {"$ref": "#/$defs/organ"}, "size_mm": {"type": "integer", "minimum": 1, "maximum": 99}},
        "required": ["organ", "size_mm"], "additionalProperties": false,
        "$defs": {"organ": {"enum": ["heart", "lung"]}},
    });
    let nothing = json!({"type": "object", "properties": {}, "additionalProperties": false});
    vec![
        Tool {
            name: "measure".to_owned(),
            parameters: measure.to_string(),
        },
        Tool {
            name: "call-nurse".to_owned(),
            parameters: nothing.to_string(),
        },
    ]
}

fn calls(text: &str) -> Vec<Value> {
    let each = text.split("<tool_call>\n").skip(1);
    each.map(|call| {
        let (call, _) = call.split_once("\n</tool_call>").expect("whole");
        serde_json::from_str(call).expect("JSON")
    })
    .collect()
}

/// Of sampled answers, so that only the grammar can keep calls in form.
#[test]
fn calls_keep_to_the_schemas_of_their_tools() {
    let Some(engine) = load(EngineLimits::default()) else {
        return;
    };
    let request = |must: bool, several: bool, otherwise: Option<Value>, seed: u64| {
        let mut request = ask("Measure the heart.", 90);
        request.sampling.temperature = 1.3;
        request.sampling.seed = seed;
        request.sampling.shape = Shape::Calls {
            tools: tools(),
            must,
            several,
            otherwise: otherwise.map(|schema| schema.to_string()),
        };
        request
    };
    for seed in 0..if long() { 200 } else { 4 } {
        let (text, finish, _) = drain(
            engine
                .submit(request(true, false, None, seed))
                .expect("taken up"),
        );
        assert_eq!(finish, Finish::Stop, "{text}");
        let called = calls(&text);
        assert_eq!(called.len(), 1, "{text}");
        match called[0]["name"].as_str() {
            Some("measure") => {
                let size = called[0]["arguments"]["size_mm"].as_u64();
                assert!(size.is_some_and(|size| (1..=99).contains(&size)), "{text}");
                assert!(
                    ["heart", "lung"]
                        .contains(&called[0]["arguments"]["organ"].as_str().expect("a text"))
                );
            }
            name => assert_eq!(
                (name, &called[0]["arguments"]),
                (Some("call-nurse"), &json!({}))
            ),
        }
        let free = said(&engine, request(false, false, None, seed));
        assert!(
            free.trim_start().starts_with("<tool_call>")
                || !free.trim_start().starts_with("<tool_call"),
            "{free}"
        );
        let schema = json!({"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"], "additionalProperties": false});
        let either = said(&engine, request(false, false, Some(schema), seed));
        assert!(
            calls(&either).len() == 1 || serde_json::from_str::<Value>(&either).is_ok(),
            "{either}"
        );
    }
    let mut wrong = request(true, false, None, 0);
    wrong.sampling.shape = Shape::Calls {
        tools: vec![Tool {
            name: "x".to_owned(),
            parameters: json!({"type": "wibble"}).to_string(),
        }],
        must: true,
        several: false,
        otherwise: None,
    };
    assert!(matches!(engine.submit(wrong), Err(ChatRefusal::Invalid(_))));
}

/// A model whose template begins thoughts, made from the one that there is.
#[test]
fn thoughts_end_when_they_have_taken_what_they_may() {
    let Some(weights) = package::weights() else {
        return;
    };
    let mut file = Gguf::read(&weights);
    let template =
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: <think>\n";
    for entry in &mut file.entries {
        if entry.key.ends_with(b"tokenizer.chat_template") {
            entry.value = gguf::text(template.as_bytes());
        }
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("thinks.gguf");
    std::fs::write(&path, file.bytes()).expect("writes");
    let engine = Engine::load(&path, EngineLimits::default()).expect("loads");
    let thought = |text: &str| {
        text.split_once("</think>")
            .map(|(thought, said)| (thought.to_owned(), said.to_owned()))
    };
    let mut request = ask("Is the heart a muscle?", 60);
    let (unbounded, _, usage) = drain(engine.submit(request.clone()).expect("taken up"));
    assert!(
        usage.thought_tokens > 0 && usage.thought_tokens <= usage.completion_tokens,
        "{usage:?}"
    );
    assert!(unbounded.starts_with("<think>\n"), "{unbounded}");
    let mut lengths = Vec::new();
    for most in [0, 6] {
        request.sampling.thought_tokens_max = Some(most);
        let (text, _, usage) = drain(engine.submit(request.clone()).expect("taken up"));
        // What the engine writes to end them is counted too.
        let closing_max = "\n</think>".len() as u32;
        let counts = most + 1..=most + closing_max;
        assert!(counts.contains(&usage.thought_tokens), "{usage:?}");
        let (thought, answer) = thought(&text).expect("they end");
        assert!(!answer.trim().is_empty(), "{text}");
        lengths.push(thought.len());
        if most > 0 {
            let free = thought
                .trim_end()
                .strip_prefix("<think>")
                .expect("begun")
                .trim();
            assert!(
                unbounded.contains(free),
                "{free:?} is how {unbounded:?} begins"
            );
        }
    }
    assert!(lengths[0] < lengths[1], "{lengths:?}");
    request.sampling.shape = Shape::Schema(json!({"enum": ["yes", "no"]}).to_string());
    let text = said(&engine, request);
    let (_, answer) = thought(&text).expect("they end");
    assert!(
        ["\"yes\"", "\"no\""].contains(&answer.trim()),
        "the shape holds after the thoughts: {text}"
    );
}

#[test]
fn an_answer_can_be_kept_from_ending_early() {
    let Some(engine) = load(EngineLimits::default()) else {
        return;
    };
    let mut request = ask("What is the capital of France?", 40);
    let (_, _, short) = drain(engine.submit(request.clone()).expect("taken up"));
    assert!(short.completion_tokens < 40, "{short:?}");
    request.sampling.min_tokens = u32::MAX;
    let (_, finish, usage) = drain(engine.submit(request).expect("taken up"));
    assert_eq!((finish, usage.completion_tokens), (Finish::Length, 40));
}

/// One caller fills every place; the next gets its share at once, and the queue keeps room for it.
#[test]
fn callers_share_places_and_queue() {
    let limits = EngineLimits {
        sequences_max: 2,
        queue_max: 6,
        tenant_share_percent: 50,
        ..EngineLimits::default()
    };
    let Some(engine) = load(limits) else { return };
    let story = "Write down the numbers from one to one thousand, each on its own line.";
    let mut long = ask(story, 1500);
    long.sampling.min_tokens = u32::MAX; // however early the model would end
    let greedy: Vec<Generation> = (0..4)
        .map(|_| engine.submit(long.clone()).expect("its share"))
        .collect();
    match engine.submit(ask(story, 1500)) {
        Err(ChatRefusal::Busy { retry_after_s }) => assert!((1..=600).contains(&retry_after_s)),
        other => panic!("more than its share was taken up: {other:?}"),
    }
    let mut other = ask("Is the heart a muscle?", 4);
    other.tenant = "b".to_owned();
    let (_, _, usage) = drain(engine.submit(other).expect("another caller finds room"));
    assert!(usage.completion_tokens > 0);
    for mut generation in greedy {
        let events: Vec<ChatEvent> = std::iter::from_fn(|| generation.try_recv()).collect();
        let ends: Vec<&ChatEvent> = events.iter().filter(|event| event.is_end()).collect();
        assert!(ends.is_empty(), "the others go on: {ends:?}");
    }
}

/// What would wait for too long is refused at once, with when to come back.
#[test]
fn a_wait_that_is_too_long_is_foretold() {
    let limits = EngineLimits {
        sequences_max: 1,
        queue_max: 100,
        tenant_share_percent: 100,
        wait_s_max: 5,
        ..EngineLimits::default()
    };
    let Some(engine) = load(limits) else { return };
    let mut learns = ask("Write about the heart.", 60);
    learns.sampling.min_tokens = u32::MAX;
    said(&engine, learns); // how long a step takes, and an answer
    let story = "Write down the numbers from one to one thousand, each on its own line. ".repeat(8);
    let mut waiting = Vec::new();
    let refused = (0..100).find_map(|_| match engine.submit(ask(&story, 1500)) {
        Ok(generation) => {
            waiting.push(generation);
            None
        }
        Err(refusal) => Some(refusal),
    });
    let Some(ChatRefusal::Busy { retry_after_s }) = refused else {
        panic!("{refused:?}");
    };
    assert!((1..=600).contains(&retry_after_s) && waiting.len() < 100);
    let urgent = ChatRequest {
        priority: Priority::Stat,
        ..ask("Is the heart a muscle?", 2)
    };
    said(&engine, urgent); // nothing of its class is before it
}

#[test]
fn figures_are_told_by_class() {
    let Some(engine) = load(EngineLimits::default()) else {
        return;
    };
    let stat = ChatRequest {
        priority: Priority::Stat,
        ..ask("Is the heart a muscle?", 5)
    };
    let (_, _, usage) = drain(engine.submit(stat).expect("taken up"));
    // What came in the last step is counted after its words are out.
    let accepted = until(&engine, |figures| {
        figures.classes[0].stopped + figures.classes[0].cut > 0
    })
    .drafts_accepted;
    drop(
        engine
            .submit(ask("Tell a long story.", 500))
            .expect("taken up"),
    );
    let figures = until(&engine, |figures| figures.classes[1].abandoned > 0);
    let (stat, routine) = (figures.classes[0], figures.classes[1]);
    let tokens = u64::from(usage.completion_tokens);
    assert_eq!(
        (stat.stopped + stat.cut, stat.generated_tokens),
        (1, tokens)
    );
    assert_eq!(stat.prompt_tokens, u64::from(usage.prompt_tokens));
    let counts = [
        stat.queue,
        stat.first_token,
        stat.prefill,
        stat.whole,
        stat.decode,
    ]
    .map(|h| h.count());
    assert_eq!(counts, [1; 5]);
    assert_eq!(
        stat.between_tokens.count() + accepted,
        tokens - 1,
        "one time for each step after the first"
    );
    assert!(stat.first_token.sum_s <= stat.whole.sum_s && stat.first_token.sum_s > 0.0);
    assert_eq!(
        (routine.abandoned, routine.stopped, routine.running),
        (1, 0, 0)
    );
    assert!(figures.kv_tokens_max > 0);
    assert_eq!(figures.kv_tokens, 0, "what is only kept is as good as free");
    let again = ChatRequest {
        priority: Priority::Stat,
        ..ask("Is the heart a muscle?", 5)
    };
    let (_, _, usage) = drain(engine.submit(again).expect("taken up"));
    assert!(usage.cached_tokens > 0, "beginnings are kept");
}

/// The figures once something is so; what they are then when it never is.
fn until(engine: &Engine, so: impl Fn(&EngineFigures) -> bool) -> EngineFigures {
    for _ in 0..200 {
        if so(&engine.figures()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10)); // the engine's own time passes
    }
    engine.figures()
}

#[test]
fn a_prompt_is_counted_when_its_answer_begins_and_its_memory_is_in_use() {
    let Some(engine) = load(EngineLimits::default()) else {
        return;
    };
    let mut story = ask("Tell a long story.", 500);
    story.sampling.min_tokens = u32::MAX;
    let prompt_tokens = engine.count_tokens(&story.prompt).expect("counts");
    let mut generation = engine.submit(story).expect("taken up");
    assert!(matches!(generation.recv(), Some(ChatEvent::Text(_))));
    let prompt_tokens = u64::from(prompt_tokens);
    let figures = until(&engine, |figures| {
        figures.classes[1].prompt_tokens > 0 && figures.kv_tokens >= prompt_tokens
    });
    let routine = figures.classes[1];
    assert_eq!(routine.prompt_tokens, prompt_tokens);
    assert_eq!((routine.running, routine.stopped + routine.cut), (1, 0));
    assert!(figures.kv_tokens >= prompt_tokens, "{figures:?}");
}

/// Its caller waits for a request from when it came, also while its grammar is made.
#[test]
fn the_wait_begins_when_a_request_comes() {
    let Some(engine) = load(EngineLimits::default()) else {
        return;
    };
    let mut shaped = ask("Is the heart a muscle?", 4);
    shaped.sampling.shape = Shape::Schema(json!({"enum": ["yes", "no"]}).to_string());
    let begun = Instant::now();
    // The first grammar of an engine takes in its whole vocabulary.
    let generation = engine.submit(shaped).expect("taken up");
    let taking_up = begun.elapsed();
    drain(generation);
    let figures = until(&engine, |figures| figures.classes[1].whole.count() > 0);
    let routine = figures.classes[1];
    let least_s = taking_up.as_secs_f64() / 2.0;
    assert!(
        routine.queue.sum_s > least_s && routine.first_token.sum_s > least_s,
        "{taking_up:?} to take it up, {} s in the queue",
        routine.queue.sum_s
    );
}

#[test]
fn who_pauses_for_another_is_counted_once() {
    let limits = EngineLimits {
        sequences_max: 1,
        ..EngineLimits::default()
    };
    let Some(engine) = load(limits) else { return };
    let mut long = ask("Tell a long story.", 1500);
    long.priority = Priority::Batch;
    long.sampling.min_tokens = u32::MAX;
    let mut pauses = engine.submit(long).expect("taken up");
    assert!(
        matches!(pauses.recv(), Some(ChatEvent::Text(_))),
        "it advances"
    );
    let stat = ChatRequest {
        priority: Priority::Stat,
        ..ask("Is the heart a muscle?", 8)
    };
    said(&engine, stat);
    let preempted = engine.figures().classes.map(|class| class.preempted);
    assert_eq!(preempted, [0, 0, 1]);
    assert_eq!(engine.stats().preempted, 0, "it kept its memory");
}

/// Whoever is refused and comes back when it was told to is taken up.
#[test]
fn who_waits_as_long_as_it_was_told_is_taken_up() {
    let limits = EngineLimits {
        sequences_max: 1,
        queue_max: 1,
        tenant_share_percent: 100,
        ..EngineLimits::default()
    };
    let Some(engine) = load(limits) else { return };
    let mut request = ask("Write about the heart.", 60);
    request.sampling.min_tokens = u32::MAX;
    let whole = said(&engine, request.clone()); // how long a step takes, and an answer
    // Those that follow end in the middle of it: a machine that is slower by then has the time for them all the same.
    let middle = whole.chars().skip(whole.chars().count() / 2).take(12);
    request.sampling.stop = vec![middle.collect()];
    let mut running = engine.submit(request.clone()).expect("runs");
    assert!(matches!(running.recv(), Some(ChatEvent::Text(_))));
    let _waits = engine.submit(request.clone()).expect("waits");
    let Err(ChatRefusal::Busy { retry_after_s }) = engine.submit(request.clone()) else {
        panic!("a third was taken up");
    };
    std::thread::sleep(Duration::from_secs(retry_after_s.into()));
    engine.submit(request).expect("taken up when it was told");
}

/// Several answers to one prompt: it is read once, whoever of them leaves, and the answers are those that come when each reads it.
#[test]
fn answers_to_one_prompt_read_it_once() {
    let apart = EngineLimits {
        prefix_idle_s: 0,
        ..EngineLimits::default()
    };
    let (Some(engine), Some(apart)) = (load(EngineLimits::default()), load(apart)) else {
        return;
    };
    let report = "The heart is of normal size. There is a small left pleural effusion. ".repeat(36);
    let request = |scope: &str, seed: u64| {
        let mut request = ask(&format!("{report}What is seen?"), 12);
        request.scope = scope.to_owned();
        request.sampling.temperature = 0.9;
        request.sampling.seed = seed;
        request.sampling.min_tokens = 12; // so that a prompt is counted before its answer ends
        request
    };
    let tokens = engine.count_tokens(&request("", 0).prompt).expect("counts");
    assert!(tokens >= 512, "{tokens}");
    // What is read of prompts, and the answers, of requests that come together.
    let together = |engine: &Engine, requests: Vec<ChatRequest>| {
        let before = engine.stats().prompt_tokens;
        let submit = |request| engine.submit(request).expect("taken up");
        let under_way: Vec<Generation> = requests.into_iter().map(submit).collect();
        let answers: Vec<String> = under_way.into_iter().map(|one| drain(one).0).collect();
        (engine.stats().prompt_tokens - before, answers)
    };
    let four = |scope: &str| (0..4).map(|seed| request(scope, seed)).collect::<Vec<_>>();
    let (one, alone) = together(&engine, vec![request("one", 0)]);
    let (all, shared) = together(&engine, four("four"));
    assert!(all * 10 < one * 13, "{all} tokens were read, of one {one}");
    let (each, unshared) = together(&apart, four("four"));
    assert!(each >= 4 * one - 4, "{each} tokens were read, of one {one}");
    assert_eq!((&shared, &shared[0]), (&unshared, &alone[0]));
    let (two, of_two) = together(&engine, vec![request("x", 0), request("y", 0)]);
    assert!(two >= 2 * one - 2, "another scope reads for itself: {two}");
    assert_eq!(of_two, [alone[0].as_str(), alone[0].as_str()]);
    // The first leaves while it reads.
    let first = engine.submit(request("left", 0)).expect("taken up");
    let others: Vec<Generation> = (1..4)
        .map(|seed| engine.submit(request("left", seed)).expect("taken up"))
        .collect();
    drop(first);
    let answers: Vec<String> = others.into_iter().map(|one| drain(one).0).collect();
    assert_eq!(answers, unshared[1..]);
}

/// Patient A's secret stands in front of a question; patient B asks the same question meanwhile, A asks again, and another patient
/// has the very words of A. Whatever is kept and shared in between, B's answer has nothing of A's, nobody finds what another
/// patient's request computed, and each finds its own. Every page that somebody takes is looked at too, and must be empty:
/// `Cache::take` does so where debug assertions are on, as they are here. 10,000 requests where asked.
#[test]
fn nothing_of_one_patient_comes_to_another() {
    const REQUESTS_OF_A_RUN: u64 = 4;
    let limits = EngineLimits {
        kv_bytes_max: 24 << 20, // so little that pages change hands all the time
        ..EngineLimits::default()
    };
    let Some(engine) = load(limits) else { return };
    let requests: u64 = if long() { 10_000 } else { 48 };
    let runs = requests / REQUESTS_OF_A_RUN;
    let question = "Repeat every number and name above.";
    let of = |patient: String, text: &str, tokens: u32| {
        let mut request = ask(text, tokens);
        request.scope = patient;
        request
    };
    let alone = said(&engine, of("nobody before".to_owned(), question, 12));
    let (mut told, mut found) = (0, 0);
    for run in 0..runs {
        let number = format!("{}", 4711 + run);
        let words = format!("Patient Quirin{run} {number}. {question}");
        let of_a = || of(format!("a{run}"), &words, 8);
        let begun = engine.submit(of_a()).expect("taken up");
        let of_b = of(format!("b{run}"), question, 12);
        let (text, _, usage) = drain(engine.submit(of_b).expect("taken up"));
        assert_eq!(
            usage.cached_tokens, 0,
            "run {run}: another scope's pages were found"
        );
        assert!(
            !text.contains("Quirin") && !text.contains(&number),
            "run {run}: {text}"
        );
        assert_eq!(text, alone, "run {run}: what others ask changes no answer");
        let (first, _, _) = drain(begun);
        told += usize::from(first.contains("Quirin"));
        let again = engine.submit(of_a()).expect("taken up");
        let of_c = engine.submit(of(format!("c{run}"), &words, 8));
        let ((again, _, own), (same, _, others)) = (drain(again), drain(of_c.expect("taken up")));
        assert_eq!(
            (&again, &same),
            (&first, &first),
            "run {run}: found or not, the same"
        );
        assert!(
            own.cached_tokens > 0,
            "run {run}: what A's request computed is kept"
        );
        assert_eq!(
            others.cached_tokens, 0,
            "run {run}: A's very words find nothing of A's"
        );
        found += u64::from(own.cached_tokens);
    }
    eprintln!(
        "{requests} requests: A's name in {told} of A's {runs} first answers, in none of B's; {found} tokens found again, all by A"
    );
    assert!(told > 0, "the secret can be told at all");
    assert_eq!(engine.stats().prefix_tokens_found, found);
}
