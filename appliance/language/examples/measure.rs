//! Measures the engine: tokens per second of prompts, of one answer and of eight at once, what memory that took, and what a
//! shared beginning spares the second prompt. One line of JSON on stdout.
//!
//! `cargo run --release -p pericard-language --example measure -- MODEL.gguf THREADS [ROW...]`, rows of `prompt`, `answer`,
//! `eight`, `deep`, `lookup` and `prefix`, or all; benches/chat.py runs it against llama.cpp. Only in the row `lookup`, which
//! is `answer` once more, are tokens guessed from the text so far: the texts here repeat themselves as real ones do not.

use pericard_domain::chat::{ChatEvent, ChatRequest, Prompt, Sampling};
use pericard_domain::job::Priority;
use pericard_language::{Engine, EngineLimits};
use std::path::Path;
use std::time::Instant;

const PROMPT_TOKENS: usize = 512;
const DEEP_TOKENS: usize = 4096;
const SHARED_TOKENS: usize = 2048;
const SHORT_TOKENS: usize = 16;
const ANSWER_TOKENS: u32 = 128;
const STREAMS: usize = 8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(weights), Some(threads)) = (arguments.next(), arguments.next()) else {
        return Err("usage: measure MODEL.gguf THREADS [ROW...]".into());
    };
    let rows: Vec<String> = arguments.collect();
    let wanted = |row: &str| rows.is_empty() || rows.iter().any(|name| name == row);
    let limits = EngineLimits {
        threads: threads.parse()?,
        prefix_idle_s: 0, // every prompt is read
        drafts: false,    // and every token computed in a step of its own
        ..EngineLimits::default()
    };
    let keeping = EngineLimits {
        prefix_idle_s: 600,
        ..limits.clone()
    };
    let guessing = EngineLimits {
        drafts: true,
        ..limits.clone()
    };
    let began = Instant::now();
    let engine = Engine::load(Path::new(&weights), limits)?;
    let mut figures = Figures::default();
    figures.put("load_s", began.elapsed().as_secs_f64());
    figures.put("loaded_resident_bytes", status("VmRSS:")?);
    run(&engine, 1, 32, 8)?; // first touches of memory are nobody's speed
    for (row, streams, prompt, answer) in [
        ("prompt", 1, PROMPT_TOKENS, 1),
        ("answer", 1, SHORT_TOKENS, ANSWER_TOKENS),
        ("eight", STREAMS, SHORT_TOKENS, ANSWER_TOKENS),
        ("deep", 1, DEEP_TOKENS, 32),
    ] {
        if wanted(row) {
            figures.speed(row, prompt, &run(&engine, streams, prompt, answer)?);
        }
    }
    figures.put("resident_bytes", status("VmRSS:")?);
    figures.put("peak_resident_bytes", status("VmHWM:")?);
    let info = engine.info();
    figures.put("weights_bytes", info.weights_bytes as f64);
    let instructions = info.instructions;
    drop(engine);
    if wanted("lookup") {
        figures.lookup(&Engine::load(Path::new(&weights), guessing)?)?;
    }
    if wanted("prefix") {
        let engine = Engine::load(Path::new(&weights), keeping)?;
        run(&engine, 1, 32, 8)?;
        let first = run(&engine, 1, SHARED_TOKENS, 1)?;
        let second = run(&engine, 1, SHARED_TOKENS + 16, 1)?;
        figures.put(
            "shared_prefix_first_token_share",
            second.first_s / first.first_s,
        );
        figures.put(
            "shared_prefix_first_token_cpu_share",
            second.first_cpu_s / first.first_cpu_s,
        );
    }
    figures.0.insert("instructions".into(), instructions.into());
    #[allow(clippy::print_stdout, reason = "stdout is this program's data")]
    {
        println!("{}", serde_json::Value::from(figures.0));
    }
    Ok(())
}

/// What was measured, by name.
#[derive(Default)]
struct Figures(serde_json::Map<String, serde_json::Value>);

impl Figures {
    fn put(&mut self, name: &str, value: f64) {
        self.0.insert(name.into(), value.into());
    }

    /// Speed and processor time of a row: of the prompt's tokens, or of the answer's.
    fn speed(&mut self, row: &str, prompt: usize, run: &Run) {
        let (rate, cpu_ms) = match row {
            "prompt" => (
                prompt as f64 / run.first_s,
                run.first_cpu_s * 1e3 / prompt as f64,
            ),
            _ => (run.rate(), run.cpu_ms()),
        };
        self.put(&format!("{row}_tokens_per_s"), rate);
        self.put(&format!("{row}_cpu_ms_per_token"), cpu_ms);
    }

    /// One answer with guesses: its speed, how many tokens were guessed, and how many of them were right.
    fn lookup(&mut self, engine: &Engine) -> Result<(), Box<dyn std::error::Error>> {
        run(engine, 1, 32, 8)?;
        let before = engine.figures();
        let answer = run(engine, 1, SHORT_TOKENS, ANSWER_TOKENS)?;
        let after = engine.figures();
        let (guessed, right) = (
            after.drafted - before.drafted,
            after.drafts_accepted - before.drafts_accepted,
        );
        self.speed("lookup", SHORT_TOKENS, &answer);
        self.put("lookup_guessed_tokens", guessed as f64);
        self.put("lookup_right_tokens", right as f64);
        Ok(())
    }
}

/// A line of what the system says of this process's memory, bytes.
fn status(name: &str) -> Result<f64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.split_whitespace().next());
    Ok(kib.ok_or("the system does not say")?.parse::<f64>()? * 1024.0)
}

struct Run {
    first_s: f64,
    first_cpu_s: f64,
    rest_s: f64,
    rest_cpu_s: f64,
    tokens: u32,
}

impl Run {
    fn rate(&self) -> f64 {
        f64::from(self.tokens) / self.rest_s
    }

    fn cpu_ms(&self) -> f64 {
        self.rest_cpu_s * 1e3 / f64::from(self.tokens)
    }
}

/// `streams` answers of `answer` tokens to prompts of `prompt` tokens: how long until all had their first token, and
/// how many tokens followed in what time.
fn run(
    engine: &Engine,
    streams: usize,
    prompt: usize,
    answer: u32,
) -> Result<Run, Box<dyn std::error::Error>> {
    let (began, began_cpu_s) = (Instant::now(), cpu_s()?);
    let mut generations = Vec::new();
    for stream in 0..streams {
        let request = ChatRequest {
            prompt: Prompt::Text(text(engine, prompt, stream)?),
            sampling: Sampling {
                temperature: 0.0,
                max_tokens: Some(answer),
                ..Sampling::default()
            },
            priority: Priority::Routine,
            tenant: String::new(),
            scope: String::new(),
        };
        generations.push(engine.submit(request)?);
    }
    let (mut first_s, mut tokens) = (0.0_f64, 0);
    for generation in &mut generations {
        let first = generation.recv();
        first_s = first_s.max(began.elapsed().as_secs_f64());
        if let Some(ChatEvent::Finished { usage, .. }) = first {
            tokens += usage.completion_tokens;
        }
    }
    let first_cpu_s = cpu_s()? - began_cpu_s;
    for generation in &mut generations {
        while let Some(event) = generation.recv() {
            if let ChatEvent::Finished { usage, .. } = event {
                tokens += usage.completion_tokens - 1;
            }
        }
    }
    let rest_s = began.elapsed().as_secs_f64() - first_s;
    Ok(Run {
        first_s,
        first_cpu_s,
        rest_s,
        rest_cpu_s: cpu_s()? - began_cpu_s - first_cpu_s,
        tokens,
    })
}

/// Processor time of all threads so far: what a busy machine cannot falsify.
fn cpu_s() -> Result<f64, Box<dyn std::error::Error>> {
    const TICKS_PER_S: f64 = 100.0; // what Linux reports here, whatever its own clock
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let (user, system): (f64, f64) = (fields[11].parse()?, fields[12].parse()?);
    Ok((user + system) / TICKS_PER_S)
}

/// A text of exactly so many tokens, which models like to continue for long, whatever a word costs in their vocabulary.
fn text(
    engine: &Engine,
    tokens: usize,
    stream: usize,
) -> Result<String, Box<dyn std::error::Error>> {
    const WORDS: &str = " one two three";
    const SAMPLE: usize = 64;
    let count = |text: &str| -> Result<usize, Box<dyn std::error::Error>> {
        Ok(engine.count_tokens(&Prompt::Text(text.to_owned()))? as usize)
    };
    let mut text = stream.to_string();
    let each = count(&WORDS.repeat(SAMPLE))?.div_ceil(SAMPLE);
    text.push_str(&WORDS.repeat(tokens.saturating_sub(count(&text)?) / each));
    for letter in "xq".chars().cycle().take(16 * each) {
        match count(&text)?.cmp(&tokens) {
            std::cmp::Ordering::Less => text.push(letter),
            std::cmp::Ordering::Equal => return Ok(text),
            std::cmp::Ordering::Greater => break,
        }
    }
    Err(format!("no text of exactly {tokens} tokens was found").into())
}
