//! The device's arithmetic, done by the processor in its place, against our own engine's and llama.cpp's.

use super::*;
use crate::backend::{Backend, Model};
use crate::engine::Engine;
use crate::kernels::pages::Segment;
use crate::limits::EngineLimits;
use crate::package;
use pericard_domain::chat::{ChatEvent, ChatRequest, Prompt, Sampling};
use pericard_domain::device::KvForm;
use pericard_domain::job::Priority;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The tensors stand in 32 bits here and llama.cpp keeps the pages in 16; 0.0033 was the most seen.
const LOGIT_TOLERANCE: f32 = 0.01;
/// Between two orders of the same sums.
const CUT_TOLERANCE: f32 = 0.002;

#[derive(Deserialize)]
struct Case {
    name: String,
    tokens: Vec<u32>,
    logits: BTreeMap<usize, Vec<f32>>,
}

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(file)
}

fn cases() -> Vec<Case> {
    let bytes = std::fs::read(golden("families.json")).expect("the golden file");
    serde_json::from_slice(&bytes).expect("its form")
}

struct Loaded {
    backend: Backend,
    cache: Cache,
}

fn loaded(weights: &Path) -> Loaded {
    let file = ModelFile::open(weights).expect("opens");
    let shape = Architecture::read(&file).expect("known");
    let embedding = file.tensor("token_embd.weight").expect("there");
    let tokens = embedding.dims[1];
    let limits = EngineLimits {
        kv_bytes_max: 1 << 24,
        ..EngineLimits::default()
    };
    let model = Model {
        file: &file,
        shape,
        tokens,
        limits: &limits,
    };
    let loaded = model.on_tensors(Device::Cpu).expect("loads");
    Loaded {
        backend: loaded.backend,
        cache: loaded.cache,
    }
}

impl Loaded {
    /// The logits after each token, computed in chunks of these sizes, again and again.
    fn logits(&mut self, tokens: &[u32], chunks: &[usize]) -> Vec<Vec<f32>> {
        let pages: Vec<_> = (0..Cache::pages_for(tokens.len()))
            .map(|_| self.cache.take().expect("a page"))
            .collect();
        let (mut all, mut position) = (Vec::new(), 0);
        for size in chunks.iter().cycle() {
            let rows = (*size).min(tokens.len() - position);
            if rows == 0 {
                break;
            }
            let segment = Segment {
                first_row: 0,
                rows,
                position,
                pages: pages.clone(),
            };
            let batch = Batch {
                tokens: tokens[position..position + rows].to_vec(),
                segments: vec![segment],
                outputs: (0..rows).collect(),
            };
            let vocabulary = self.backend.vocabulary();
            let logits = self
                .backend
                .forward(&mut self.cache, &batch)
                .expect("computes");
            all.extend(logits.chunks_exact(vocabulary).map(<[f32]>::to_vec));
            position += rows;
        }
        self.cache.give(pages);
        all
    }
}

fn worst(of: &[Vec<f32>], theirs: &BTreeMap<usize, Vec<f32>>) -> f32 {
    let pairs = theirs
        .iter()
        .flat_map(|(at, theirs)| of[*at].iter().zip(theirs));
    pairs.fold(0.0, |worst, (a, b)| worst.max((a - b).abs()))
}

/// Every family, with its norms, biases, windows, pairings and frequency factors.
#[test]
fn logits_of_every_family_are_llama_cpps() {
    for case in cases() {
        let mut model = loaded(&golden(&format!("families/{}.gguf", case.name)));
        let ours = model.logits(&case.tokens, &[64]);
        let worst = worst(&ours, &case.logits);
        eprintln!("{}: a logit is off by {worst}", case.name);
        assert!(worst < LOGIT_TOLERANCE, "{}: {worst}", case.name);
    }
}

/// Pages, positions and masks: however a prompt is cut, and whoever else is in the step.
#[test]
fn how_a_prompt_is_cut_changes_nothing_but_the_last_bits() {
    for name in ["llama3", "gemma3", "phi3"] {
        let case = cases().into_iter().find(|case| case.name == name);
        let tokens = case.expect("the case").tokens;
        let mut model = loaded(&golden(&format!("families/{name}.gguf")));
        let whole = model.logits(&tokens, &[tokens.len()]);
        for chunks in [&[1][..], &[7, 33], &[32, 1, 1, 50]] {
            let cut = model.logits(&tokens, chunks);
            for (at, (a, b)) in whole.iter().zip(&cut).enumerate() {
                let off = a
                    .iter()
                    .zip(b)
                    .fold(0.0_f32, |w, (a, b)| w.max((a - b).abs()));
                assert!(
                    off < CUT_TOLERANCE,
                    "{name}, {chunks:?}, position {at}: {off}"
                );
            }
        }
    }
}

/// Two sequences in one step, at other positions and in pages that lie among each other's.
#[test]
fn sequences_of_one_step_do_not_see_each_other() {
    let case = cases().into_iter().find(|case| case.name == "gemma3");
    let tokens = case.expect("the case").tokens;
    let mut model = loaded(&golden("families/gemma3.gguf"));
    let alone = model.logits(&tokens[..60], &[60]);
    let mut pages = [Vec::new(), Vec::new()];
    for _ in 0..2 {
        for pages in &mut pages {
            pages.push(model.cache.take().expect("a page"));
        }
    }
    let mut step = |parts: [(&[u32], usize); 2]| {
        let mut batch = Batch::default();
        for ((tokens, position), pages) in parts.iter().zip(&pages) {
            batch.segments.push(Segment {
                first_row: batch.tokens.len(),
                rows: tokens.len(),
                position: *position,
                pages: pages.clone(),
            });
            batch.tokens.extend_from_slice(tokens);
            batch.outputs.push(batch.tokens.len() - 1);
        }
        let logits = model.backend.forward(&mut model.cache, &batch);
        logits.expect("computes").to_vec()
    };
    step([(&tokens[..40], 0), (&tokens[5..16], 0)]);
    let both = step([(&tokens[40..60], 40), (&tokens[16..17], 11)]);
    let last = &both[..both.len() / 2];
    let off = last
        .iter()
        .zip(&alone[59])
        .fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs()));
    assert!(off < CUT_TOLERANCE, "{off}");
}

#[test]
fn pages_are_empty_before_anybody_else_has_them() {
    let mut model = loaded(&golden("families/qwen2.gguf"));
    model.logits(&[1, 2, 3], &[3]);
    let Backend::Device(graph) = &mut model.backend else {
        panic!("not as tensors");
    };
    assert!(!graph.pages.is_empty().expect("read"), "something was kept");
    graph.empty(&mut model.cache).expect("emptied");
    assert!(graph.pages.is_empty().expect("read"));
}

/// The whole engine on the tensors: the scheduler, prefixes and sampling are the very same.
#[test]
fn the_engine_says_the_same_with_either() {
    let Some(weights) = package::weights() else {
        return;
    };
    let limits = || EngineLimits {
        kv_bytes_max: 1 << 26,
        ..EngineLimits::default()
    };
    let ours = Engine::load(&weights, limits()).expect("loads");
    let tensors = Engine::load_as_device(&weights, limits()).expect("loads");
    let prompts = [
        "The capital of France is",
        "The heart has four",
        "1, 2, 3, 4, 5,",
        "Water boils at",
    ];
    let mut alike = 0;
    for prompt in prompts {
        let say = |engine: &Engine| said(engine, prompt, 8);
        let (a, b) = (say(&ours), say(&tensors));
        eprintln!("{a:?} / {b:?}");
        alike += usize::from(a == b);
    }
    // What is rounded to eight bits on the way may turn a close decision.
    assert!(alike >= 3, "{alike} of {} are alike", prompts.len());
    // The last word is out before its pages are given back.
    for _ in 0..5_000 {
        if tensors.stats().kv_tokens == 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(tensors.stats().kv_tokens, 0);
}

fn said(engine: &Engine, prompt: &str, tokens: u32) -> String {
    let request = ChatRequest {
        prompt: Prompt::Text(prompt.to_owned()),
        sampling: Sampling {
            temperature: 0.0,
            max_tokens: Some(tokens),
            ..Sampling::default()
        },
        priority: Priority::Routine,
        tenant: String::new(),
        scope: String::new(),
    };
    let mut generation = engine.submit(request).expect("taken up");
    let mut text = String::new();
    while let Some(event) = generation.recv() {
        match event {
            ChatEvent::Text(piece) => text.push_str(&piece),
            ChatEvent::Failed(why) => panic!("{why}"),
            _ => {}
        }
    }
    text
}

#[test]
fn a_device_refuses_eight_bits_by_name() {
    let file = ModelFile::open(&golden("families/qwen2.gguf")).expect("opens");
    let limits = EngineLimits {
        kv_form: KvForm::Q8,
        ..EngineLimits::default()
    };
    let model = Model {
        file: &file,
        shape: Architecture::read(&file).expect("known"),
        tokens: 1,
        limits: &limits,
    };
    let refused = model.on_tensors(Device::Cpu).err().map(|e| e.to_string());
    assert!(
        refused.as_ref().is_some_and(|e| e.contains("`q8`")),
        "{refused:?}"
    );
}
