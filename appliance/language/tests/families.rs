//! Every family of decoders on a small model of random weights: its logits are those of llama.cpp.

#[allow(dead_code, reason = "not every test bends a file")]
mod gguf;

use gguf::{Entry, Gguf, text};
use pericard_language::{LoadError, Scorer};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How far a logit may be off, in every form: Q4_K, Q5_K and Q6_K are multiplied as the file has them, as the older forms are, so
/// that no weight is rounded. What is: keys and values, sixteen-bit floats here and 32-bit ones there, off by up to 2^-11 of
/// themselves and by 2e-4 in the mean; and activations, in steps of 1/16,256 of a block's largest value, off by some 5e-5 of
/// themselves in the mean. Logits here are 4.7 at most in the mean (the root of the mean square), so a layer leaves them off by
/// about 0.001, and the worst of 960 by three to four times that: of two layers 0.0055. 0.0049 was the most seen (`llama3`;
/// `k4` 0.0040). Activations in eight bits, or weights that were converted to Q8_0, are in steps 128 times as coarse.
const LOGIT_TOLERANCE: f32 = 0.01;
/// How far another model is off at least.
const OTHER_MODEL_MIN: f32 = 0.2;

#[derive(Deserialize)]
struct Case {
    name: String,
    tokens: Vec<u32>,
    /// By position.
    logits: BTreeMap<usize, Vec<f32>>,
}

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(file)
}

fn weights(name: &str) -> PathBuf {
    golden(&format!("families/{name}.gguf"))
}

fn scorer(weights: &Path) -> Result<Scorer, LoadError> {
    Scorer::load(weights, 1, 1 << 24)
}

fn cases() -> Vec<Case> {
    let bytes = std::fs::read(golden("families.json")).expect("the golden file");
    serde_json::from_slice(&bytes).expect("its form")
}

fn worst(of: &[Vec<f32>], case: &Case) -> f32 {
    let pairs = case
        .logits
        .iter()
        .flat_map(|(at, theirs)| of[*at].iter().zip(theirs));
    pairs.fold(0.0, |worst, (a, b)| worst.max((a - b).abs()))
}

#[test]
fn logits_of_every_family_are_llama_cpps() {
    let cases = cases();
    assert_eq!(
        cases.len(),
        7,
        "llama (three forms), qwen2, qwen3, gemma3, phi3"
    );
    for case in &cases {
        let mut scorer = scorer(&weights(&case.name)).expect("loads");
        let ours = scorer.logits(&case.tokens).expect("fits");
        let worst = worst(&ours, case);
        eprintln!("{}: a logit is off by {worst}", case.name);
        assert!(worst < LOGIT_TOLERANCE, "{}: {worst}", case.name);
    }
}

/// Llama 3's factors change every position but the first: without the tensor, the very same file is another model.
#[test]
fn frequency_factors_are_obeyed() {
    let case = cases().into_iter().find(|case| case.name == "llama3");
    let case = case.expect("the Llama 3 case");
    let mut file = std::fs::read(weights("llama3")).expect("reads");
    let name = b"rope_freqs.weight";
    let at = file
        .windows(name.len())
        .position(|window| window == name)
        .expect("the file has factors");
    file[at] = b'x'; // a name that nobody asks for
    let dir = tempfile::tempdir().expect("a directory");
    let without = dir.path().join("without.gguf");
    std::fs::write(&without, file).expect("writes");
    let ours = scorer(&without).expect("loads").logits(&case.tokens);
    let off = worst(&ours.expect("fits"), &case);
    assert!(off > OTHER_MODEL_MIN, "off by {off} only");
}

/// A whole number where a float belongs is not taken for its absence.
#[test]
fn a_frequency_of_another_type_is_refused_by_name() {
    const U32: u32 = 4;
    let honest = Gguf::read(&weights("llama3"));
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("bent.gguf");
    for key in ["llama.rope.freq_base", "llama.rope.scaling.attn_factor"] {
        let mut bent = honest.clone();
        bent.entries
            .retain(|entry| entry.key != text(key.as_bytes()));
        std::fs::write(&path, bent.bytes()).expect("writes");
        scorer(&path)
            .map(drop)
            .expect("without it there is a default");
        bent.entries.push(Entry {
            key: text(key.as_bytes()),
            kind: U32,
            value: 500_000_u32.to_le_bytes().to_vec(),
        });
        std::fs::write(&path, bent.bytes()).expect("writes");
        match scorer(&path).map(drop) {
            Err(LoadError::Metadata(named)) => assert_eq!(named, key),
            other => panic!("{key}: {other:?}"),
        }
    }
}

#[test]
fn what_is_not_computed_is_refused_by_name() {
    let file = std::fs::read(weights("qwen2")).expect("reads");
    for (from, to, named) in [
        ("qwen2", "bloom", "bloom"),
        ("qwen2.block_count", "qwen2.logit_scale", "logit_scale"),
    ] {
        let mut other = file.clone();
        let at = other
            .windows(from.len())
            .position(|window| window == from.as_bytes())
            .expect("the file names it");
        other[at..at + to.len()].copy_from_slice(to.as_bytes());
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("other.gguf");
        std::fs::write(&path, other).expect("writes");
        let refusal = scorer(&path).err().expect("refused").to_string();
        assert!(refusal.contains(named), "{refusal}");
    }
}
