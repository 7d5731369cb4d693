//! Encoders from GGUF: a small one of random weights against numpy, the real one against its own safetensors, and bent files.

mod gguf;
mod package;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use gguf::{Entry, Gguf, text};
use pericard_domain::chat::ChatRefusal;
use pericard_domain::model::Package;
use pericard_language::{Embedder, LoadError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Of numbers in vectors of length 1: 32-bit floats against numpy's in double precision.
const TOLERANCE: f32 = 1e-5;
/// The same weights, the same arithmetic.
const COSINE_MIN: f64 = 0.9999;
/// Q8_0 rounds each weight to a 127th of the largest of 32. numpy, with weights rounded so, gives ten texts cosines from 0.99955 to
/// 0.99989 with those of the weights as they are.
const ROUNDED_COSINE_MIN: f64 = 0.999;
/// And fewer equal digits than this: else nothing was rounded.
const ROUNDED_COSINE_MAX: f64 = 0.99999;

const METADATA: &str = "is missing or has the wrong type";
const TENSOR: &str = "is missing or does not have the shape";
const WIDTHS: &str = "bert with these widths";

// Types of metadata entries and forms of tensors, by the numbers of the format.
const U32: u32 = 4;
const I32: u32 = 5;
const F32: u32 = 6;
const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;
const AS_F32: u32 = 0;
const AS_Q8_0: u32 = 8;

/// A text, its ids by `tokenizers`, and its vectors by numpy; tests/golden/make_encoder.py writes them.
#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    mean: Vec<f32>,
    first: Vec<f32>,
}

#[test]
fn ids_and_vectors_are_those_of_tokenizers_and_numpy() {
    let mean = load(&small()).expect("loads");
    let first = load(&with(
        &small(),
        "bert.pooling_type",
        U32,
        &2_u32.to_le_bytes(),
    ));
    let first = first.expect("loads");
    let cases: Vec<Case> = json(&golden("encoder.json"));
    assert_eq!(cases.len(), 9);
    for case in &cases {
        let ids = mean.tokens(0, &case.text).expect("short");
        assert_eq!(ids, case.ids, "{:?}", case.text);
        for (embedder, theirs) in [(&mean, &case.mean), (&first, &case.first)] {
            let ours = vector(embedder, &case.text);
            assert_eq!(ours.len(), theirs.len());
            let off = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs());
            let worst = off.fold(0.0, f32::max);
            assert!(worst < TOLERANCE, "{:?} is off by {worst}", case.text);
        }
    }
    assert_eq!(mean.text(&[2, 73, 89, 54, 3]), "cardio the");
}

#[test]
fn a_text_beyond_the_files_context_is_refused_with_its_count() {
    let embedder = load(&small()).expect("loads");
    assert_eq!(embedder.tokens_max(), 48, "less than the package lets pass");
    let longest = "heart ".repeat(46);
    embedder.embed(&[longest]).expect("fits");
    let refused = embedder.embed(&["heart ".repeat(47)]).err();
    let Some(ChatRefusal::TextTooLong { tokens, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(tokens, 49);
}

/// Older files do not say how texts are prepared; a vocabulary that tells cases or accents apart does.
#[test]
fn texts_are_prepared_as_the_vocabulary_was() {
    const HEART: u32 = 55;
    const NODULE: u32 = 64;
    let ids = |file: &Gguf, text: &str| {
        let embedder = load(file).expect("loads");
        embedder.tokens(0, text).expect("short")
    };
    assert_eq!(ids(&small(), "HEART nodüle"), [2, HEART, NODULE, 3]);
    let mut named = small();
    entry(&mut named, "tokenizer.ggml.token_type").value[12] = 1; // [PAD], as a word
    assert_eq!(ids(&named, "HEART"), [2, HEART, 3]);

    let cased = respelled(&small(), "heart", "Heart");
    assert_eq!(ids(&cased, "Heart"), [2, HEART, 3]);
    assert!(!ids(&cased, "heart").contains(&HEART));
    let lowercase = "tokenizer.ggml.normalizer.lowercase";
    let told = with(&cased, lowercase, BOOL, &[1]);
    assert!(!ids(&told, "Heart").contains(&HEART));

    let accented = respelled(&small(), "nodule", "nodül");
    assert_eq!(ids(&accented, "NODÜL"), [2, NODULE, 3]);
    assert!(!ids(&accented, "nodul").contains(&NODULE));
    let strip = "tokenizer.ggml.normalizer.strip_accents";
    let told = with(&accented, strip, BOOL, &[1]);
    assert!(!ids(&told, "NODÜL").contains(&NODULE));

    for key in [lowercase, strip] {
        refused(&with(&small(), key, U32, &[1, 0, 0, 0]), METADATA, key);
    }
}

#[test]
fn the_real_encoder_says_as_gguf_what_it_says_as_safetensors() {
    #[derive(Deserialize)]
    struct Text {
        text: String,
    }
    let Some(dir) = package::dir_of("all-minilm-l6-v2") else {
        return;
    };
    let own = Embedder::load(&by_parts(&dir)).expect("loads");
    let kept = load(&converted(&dir, AS_F32)).expect("loads");
    let rounded = load(&converted(&dir, AS_Q8_0)).expect("loads");
    assert_eq!(kept.tokens_max(), own.tokens_max());

    let texts: Vec<Text> = json(&golden("tokens.json"));
    assert!(texts.len() >= 200, "a corpus of 200 texts");
    for Text { text } in &texts {
        let ids = own.tokens(0, text).expect("short");
        assert_eq!(kept.tokens(0, text).expect("short"), ids, "{text:?}");
        assert_eq!(kept.text(&ids), own.text(&ids), "{text:?}");
    }
    for text in [
        "",
        "No pneumothorax.",
        "Größe der Läsion: 12 × 8 mm, Äußeres unauffällig.",
        "CT thorax with contrast. No pulmonary embolism. A 6 mm nodule in the right upper lobe, unchanged since 2024.",
        &"effusion ".repeat(100),
    ] {
        let theirs = vector(&own, text);
        let same = cosine(&vector(&kept, text), &theirs);
        assert!(same >= COSINE_MIN, "{text:?}: {same}");
        let near = cosine(&vector(&rounded, text), &theirs);
        let expected = ROUNDED_COSINE_MIN..ROUNDED_COSINE_MAX;
        assert!(expected.contains(&near), "{text:?}: {near}");
    }
}

#[test]
fn the_first_token_is_taken_where_either_form_says_so() {
    let Some(dir) = package::dir_of("all-minilm-l6-v2") else {
        return;
    };
    let copy = tempfile::tempdir().expect("a directory");
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::os::unix::fs::symlink(dir.join(file), copy.path().join(file)).expect("a link");
    }
    let own = |pooling: &str| {
        std::fs::write(copy.path().join("pooling.json"), pooling).expect("writes");
        Embedder::load(&by_parts(copy.path()))
    };
    let first = r#"{"pooling_mode_mean_tokens": false, "pooling_mode_cls_token": true}"#;
    let both = r#"{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}"#;
    let refused = own(both).err();
    assert!(matches!(refused, Some(LoadError::Architecture(_))));
    let text = "No pneumothorax.";
    let theirs = vector(&own(first).expect("loads"), text);
    let mean = converted(&dir, AS_F32);
    let first = with(&mean, "bert.pooling_type", U32, &2_u32.to_le_bytes());
    let same = cosine(&vector(&load(&first).expect("loads"), text), &theirs);
    assert!(same >= COSINE_MIN, "{same}");
    let other = cosine(&vector(&load(&mean).expect("loads"), text), &theirs);
    assert!(other < 0.99, "the mean is another vector: {other}");
}

#[test]
fn hostile_claims_are_refused_for_what_is_wrong_with_them() {
    let honest = small();
    for key in [
        "general.architecture",
        "bert.context_length",
        "bert.embedding_length",
        "bert.feed_forward_length",
        "bert.block_count",
        "bert.attention.head_count",
        "bert.attention.layer_norm_epsilon",
        "bert.attention.causal",
        "bert.pooling_type",
        "tokenizer.ggml.model",
        "tokenizer.ggml.tokens",
        "tokenizer.ggml.token_type",
        "tokenizer.ggml.token_type_count",
        "tokenizer.ggml.bos_token_id",
        "tokenizer.ggml.seperator_token_id",
        "tokenizer.ggml.unknown_token_id",
    ] {
        refused(&without(&honest, key), METADATA, key);
    }
    for (key, claims, refusal) in [
        ("bert.context_length", &[0, 1 << 21, u32::MAX][..], METADATA),
        ("bert.context_length", &[47, 49], TENSOR),
        ("bert.embedding_length", &[0, 1 << 17, u32::MAX], METADATA),
        ("bert.embedding_length", &[31], WIDTHS),
        ("bert.embedding_length", &[64, 1 << 16], TENSOR),
        ("bert.feed_forward_length", &[0, u32::MAX], METADATA),
        ("bert.feed_forward_length", &[32, 1 << 16], TENSOR),
        ("bert.block_count", &[0, 257, u32::MAX], METADATA),
        ("bert.block_count", &[3, 256], TENSOR),
        ("bert.attention.head_count", &[0, u32::MAX], METADATA),
        ("bert.attention.head_count", &[3, 5, 64], WIDTHS),
        ("bert.pooling_type", &[0], "bert with pooling type 0"),
        ("bert.pooling_type", &[3], "bert with pooling type 3"),
        ("bert.pooling_type", &[4], "bert with pooling type 4"),
        ("tokenizer.ggml.token_type_count", &[0, 1, u32::MAX], TENSOR),
        (
            "tokenizer.ggml.bos_token_id",
            &[1 << 20, u32::MAX],
            METADATA,
        ),
        ("tokenizer.ggml.seperator_token_id", &[1 << 20], METADATA),
        ("tokenizer.ggml.unknown_token_id", &[1 << 20], METADATA),
    ] {
        for claim in claims {
            let bent = with(&honest, key, U32, &claim.to_le_bytes());
            refused(&bent, refusal, &format!("{key} of {claim}"));
        }
    }
    let epsilon = "bert.attention.layer_norm_epsilon";
    for value in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let bent = with(&honest, epsilon, F32, &value.to_le_bytes());
        refused(&bent, WIDTHS, &format!("{epsilon} of {value}"));
    }
    for (key, value, refusal) in [
        (
            "general.architecture",
            "qwen3",
            "qwen3 as a model of embeddings",
        ),
        (
            "general.architecture",
            "nomic-bert",
            "nomic-bert as a model",
        ),
        ("tokenizer.ggml.model", "gpt2", "only WordPiece"),
    ] {
        let bent = with(&honest, key, STRING, &text(value.as_bytes()));
        refused(&bent, refusal, value);
    }
    let causal = with(&honest, "bert.attention.causal", BOOL, &[1]);
    refused(&causal, "bert with attention.causal", "a causal one");
}

#[test]
fn a_vocabulary_that_is_not_the_weights_is_refused() {
    const TOKENS: &str = "tokenizer.ggml.tokens";
    const KINDS: &str = "tokenizer.ggml.token_type";
    let honest = small();
    // The last token is the text "us": its length and itself.
    let fewer = shortened(&honest, TOKENS, 8 + 2);
    refused(&fewer, METADATA, "a token less than kinds");
    let fewer = shortened(&fewer, KINDS, 4);
    refused(&fewer, TENSOR, "a token less than rows");
    let twice = respelled(&honest, "lobe", "lung");
    refused(&twice, "holds \"lung\" twice", "a word twice");
    for (kind, named) in [(4, "UserDefined"), (6, "Byte")] {
        let mut bent = honest.clone();
        let value = &mut entry(&mut bent, KINDS).value;
        let last = value.len() - 4;
        value[last..].copy_from_slice(&i32::to_le_bytes(kind));
        refused(&bent, named, named);
    }
}

#[test]
fn a_tensor_that_is_missing_or_misshapen_is_refused_by_name() {
    let honest = small();
    assert_eq!(honest.tensors.len(), 5 + 2 * 16);
    for at in 0..honest.tensors.len() {
        let name = String::from_utf8_lossy(&honest.tensors[at].name[8..]).into_owned();
        let mut missing = honest.clone();
        missing.tensors.remove(at);
        let mut longer = honest.clone();
        longer.tensors[at].dims.push(1);
        for bent in [missing, longer] {
            refused(&bent, TENSOR, &name);
            refused(&bent, &format!("{name:?}"), &name);
        }
        let mut other = honest.clone();
        other.tensors[at].kind = 20;
        refused(&other, "which is not supported", &name);
    }
    let file = honest.bytes();
    let cut = load_bytes(&file[..file.len() - 1]).err().expect("refused");
    assert!(cut.to_string().contains("lies outside the file"), "{cut}");
}

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(file)
}

fn json<T: DeserializeOwned>(path: &Path) -> T {
    let bytes = std::fs::read(path).expect("the file");
    serde_json::from_slice(&bytes).expect("its form")
}

fn small() -> Gguf {
    Gguf::read(&golden("encoder.gguf"))
}

/// A package as the repository describes one, whose weights are a GGUF.
fn package_in(dir: &Path) -> Package {
    let manifest = "../../models/all-minilm-l6-v2/pericard-model.toml";
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join(manifest);
    let mut package = package::described(&manifest, dir);
    package.manifest.parts = BTreeMap::from([("weights".to_owned(), PathBuf::from("model.gguf"))]);
    package
}

/// As it is fetched: safetensors, and what describes them beside them.
fn by_parts(dir: &Path) -> Package {
    let mut package = package_in(dir);
    let files = [
        ("weights", "model.safetensors"),
        ("tokenizer", "tokenizer.json"),
        ("config", "config.json"),
        ("pooling", "pooling.json"),
    ];
    package.manifest.parts = files
        .map(|(part, file)| (part.to_owned(), PathBuf::from(file)))
        .into();
    package
}

fn load(file: &Gguf) -> Result<Embedder, LoadError> {
    load_bytes(&file.bytes())
}

fn load_bytes(file: &[u8]) -> Result<Embedder, LoadError> {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("model.gguf"), file).expect("writes");
    Embedder::load(&package_in(dir.path()))
}

fn refused(file: &Gguf, refusal: &str, what: &str) {
    let said = load(file).err();
    let said = said.unwrap_or_else(|| panic!("{what} is let pass"));
    assert!(said.to_string().contains(refusal), "{what}: {said}");
}

fn vector(embedder: &Embedder, text: &str) -> Vec<f32> {
    let embedded = embedder.embed(&[text.to_owned()]).expect("embeds");
    embedded.vectors.into_iter().next().expect("one")
}

/// Of vectors of length 1.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.sum()
}

fn entry<'a>(file: &'a mut Gguf, key: &str) -> &'a mut Entry {
    let mut entries = file.entries.iter_mut();
    let found = entries.find(|entry| entry.key == text(key.as_bytes()));
    found.unwrap_or_else(|| panic!("{key} is not there"))
}

fn without(file: &Gguf, key: &str) -> Gguf {
    let mut bent = file.clone();
    bent.entries
        .retain(|entry| entry.key != text(key.as_bytes()));
    assert_eq!(bent.entries.len() + 1, file.entries.len(), "{key}");
    bent
}

/// The file with another value of an entry, or with one more entry.
fn with(file: &Gguf, key: &str, kind: u32, value: &[u8]) -> Gguf {
    let mut bent = file.clone();
    let key = text(key.as_bytes());
    bent.entries.retain(|entry| entry.key != key);
    bent.entries.push(Entry {
        key,
        kind,
        value: value.to_vec(),
    });
    bent
}

/// The file with a token's text replaced by one of as many bytes.
fn respelled(file: &Gguf, from: &str, to: &str) -> Gguf {
    let word = |of: &str| text(format!("\u{2581}{of}").as_bytes());
    let (from, to) = (word(from), word(to));
    let mut bent = file.clone();
    let value = &mut entry(&mut bent, "tokenizer.ggml.tokens").value;
    let at = value.windows(from.len()).position(|at| at == from);
    let at = at.expect("the vocabulary has it");
    value[at..at + from.len()].copy_from_slice(&to);
    bent
}

/// The file with an array's last element, of so many bytes, left out.
fn shortened(file: &Gguf, key: &str, bytes: usize) -> Gguf {
    let mut bent = file.clone();
    let value = &mut entry(&mut bent, key).value;
    let count: [u8; 8] = value[4..12].try_into().expect("eight bytes");
    let fewer = u64::from_le_bytes(count) - 1;
    value[4..12].copy_from_slice(&fewer.to_le_bytes());
    value.truncate(value.len() - bytes);
    bent
}

/// The real encoder as converters write it, its matrices in a form.
fn converted(dir: &Path, form: u32) -> Gguf {
    #[derive(Deserialize)]
    struct Vocabulary {
        model: Model,
    }
    #[derive(Deserialize)]
    struct Model {
        vocab: BTreeMap<String, u32>,
    }
    let Vocabulary { model } = json(&dir.join("tokenizer.json"));
    let mut tokens: Vec<(&String, &u32)> = model.vocab.iter().collect();
    tokens.sort_by_key(|(_, id)| **id);
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let is_special = |token: &str| special.contains(&token);
    let phantom = |token: &str| match token.strip_prefix("##") {
        _ if is_special(token) => token.to_owned(),
        Some(rest) => rest.to_owned(),
        None => format!("\u{2581}{token}"),
    };
    let texts = tokens
        .iter()
        .map(|(token, _)| text(phantom(token).as_bytes()));
    let kinds = tokens.iter().map(|(token, _)| {
        let kind: i32 = if is_special(token) { 3 } else { 1 };
        kind.to_le_bytes().to_vec()
    });
    let mut file = Gguf::empty();
    for (key, value) in [
        ("bert.context_length", 512_u32),
        ("bert.embedding_length", 384),
        ("bert.feed_forward_length", 1536),
        ("bert.block_count", 6),
        ("bert.attention.head_count", 12),
        ("bert.pooling_type", 1),
        ("tokenizer.ggml.token_type_count", 2),
        ("tokenizer.ggml.unknown_token_id", 100),
        ("tokenizer.ggml.cls_token_id", 101),
        ("tokenizer.ggml.seperator_token_id", 102),
    ] {
        file = with(&file, key, U32, &value.to_le_bytes());
    }
    for key in ["general.architecture", "tokenizer.ggml.model"] {
        file = with(&file, key, STRING, &text(b"bert"));
    }
    let epsilon = 1e-12_f32.to_le_bytes();
    file = with(&file, "bert.attention.layer_norm_epsilon", F32, &epsilon);
    file = with(&file, "bert.attention.causal", BOOL, &[0]);
    let texts = array(STRING, texts);
    file = with(&file, "tokenizer.ggml.tokens", ARRAY, &texts);
    let kinds = array(I32, kinds);
    file = with(&file, "tokenizer.ggml.token_type", ARRAY, &kinds);
    let weights = candle_core::safetensors::load(dir.join("model.safetensors"), &Device::Cpu);
    for (name, tensor) in weights.expect("the weights") {
        if let Some(name) = renamed(&name) {
            put(&mut file, &name, &tensor, form);
        }
    }
    file
}

fn array(kind: u32, values: impl ExactSizeIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut value = kind.to_le_bytes().to_vec();
    value.extend((values.len() as u64).to_le_bytes());
    value.extend(values.flatten());
    value
}

/// What converters call a tensor; none for what they leave out.
fn renamed(name: &str) -> Option<String> {
    const PARTS: [(&str, &str); 13] = [
        ("embeddings.word_embeddings", "token_embd"),
        ("embeddings.position_embeddings", "position_embd"),
        ("embeddings.token_type_embeddings", "token_types"),
        ("embeddings.LayerNorm", "token_embd_norm"),
        ("encoder.layer", "blk"),
        ("attention.self.query", "attn_q"),
        ("attention.self.key", "attn_k"),
        ("attention.self.value", "attn_v"),
        ("attention.output.dense", "attn_output"),
        ("attention.output.LayerNorm", "attn_output_norm"),
        ("intermediate.dense", "ffn_up"),
        ("output.dense", "ffn_down"),
        ("output.LayerNorm", "layer_output_norm"),
    ];
    if name == "embeddings.position_ids" || name.starts_with("pooler.") {
        return None;
    }
    let rename = |name: String, (from, to): &(&str, &str)| name.replace(from, to);
    Some(PARTS.iter().fold(name.to_owned(), rename))
}

fn put(file: &mut Gguf, name: &str, tensor: &Tensor, form: u32) {
    let dims: Vec<usize> = tensor.dims().iter().rev().copied().collect();
    if form == AS_Q8_0 && dims.len() == 2 {
        let rounded = QTensor::quantize(tensor, GgmlDType::Q8_0).expect("whole blocks");
        file.put(name, &dims, AS_Q8_0, &rounded.data().expect("its bytes"));
    } else {
        let values = tensor.to_dtype(DType::F32).and_then(|t| t.flatten_all());
        let values: Vec<f32> = values.and_then(|t| t.to_vec1()).expect("floats");
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        file.put(name, &dims, AS_F32, &bytes);
    }
}
