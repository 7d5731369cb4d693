//! A model whose vocabulary is SentencePiece's: pieces by their scores, bytes for what is none, and messages that spell no control
//! token. The pieces' own ids are held against sentencepiece in `src/pieces.rs`.

#[allow(dead_code, reason = "not every test binary bends tensors")]
mod gguf;

use gguf::{Entry, Gguf, text};
use pericard_domain::chat::{ChatEvent, ChatRequest, Message, Prompt, Sampling};
use pericard_domain::job::Priority;
use pericard_language::{Engine, EngineLimits, LoadError};
use std::path::Path;

const TEMPLATE: &str =
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ m.content }}<end_of_turn>{% endfor %}";
/// As many tokens as the file has rows of embeddings.
const TOKENS: usize = 320;
const START_OF_TURN: u32 = 259;
const END_OF_TURN: u32 = 260;
const BLANK_LINES: u32 = 261;
const SPACE: u32 = 262;
const A: u32 = 263;
const B: u32 = 264;
const SPACE_A: u32 = 265;
const A_B: u32 = 266;

/// Text, kind by the format's numbers, and score of every token.
fn vocabulary() -> Vec<(String, i32, f32)> {
    let special = [("<unk>", 2), ("<s>", 3), ("</s>", 3)];
    let bytes = (0..256).map(|byte| (format!("<0x{byte:02X}>"), 6, 0.0));
    let words = [
        ("<start_of_turn>", 3, 0.0),
        ("<end_of_turn>", 3, 0.0),
        ("\n\n\n", 4, 0.0), // of which no part is a piece: it is taken whole or not at all
        ("\u{2581}", 1, -10.0),
        ("a", 1, -11.0),
        ("b", 1, -12.0),
        ("\u{2581}a", 1, -1.0),
        ("ab", 1, -2.0),
    ];
    let mut all: Vec<_> = special
        .map(|(text, kind)| (text.to_owned(), kind, 0.0))
        .into();
    all.extend(bytes);
    all.extend(words.map(|(text, kind, score)| (text.to_owned(), kind, score)));
    let unused = (all.len()..TOKENS).map(|number| (format!("[unused{number}]"), 5, 0.0));
    let unused: Vec<_> = unused.collect();
    all.extend(unused);
    all
}

fn array(kind: u32, values: impl ExactSizeIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut value = kind.to_le_bytes().to_vec();
    value.extend((values.len() as u64).to_le_bytes());
    value.extend(values.flatten());
    value
}

/// The smallest Gemma with that vocabulary, as a file.
fn model(puts_space: bool, scores: usize) -> tempfile::NamedTempFile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families/gemma3.gguf");
    let mut file = Gguf::read(&path);
    let tokens = vocabulary();
    let texts = tokens.iter().map(|(of, ..)| text(of.as_bytes()));
    let kinds = tokens
        .iter()
        .map(|(_, kind, _)| kind.to_le_bytes().to_vec());
    let scored = tokens[..scores].iter();
    let scores = scored.map(|(_, _, score)| score.to_le_bytes().to_vec());
    let number = |of: u32| of.to_le_bytes().to_vec();
    let new: [(&str, u32, Vec<u8>); 9] = [
        ("tokenizer.ggml.model", 8, text(b"llama")),
        ("tokenizer.ggml.tokens", 9, array(8, texts)),
        ("tokenizer.ggml.token_type", 9, array(5, kinds)),
        ("tokenizer.ggml.scores", 9, array(6, scores)),
        ("tokenizer.ggml.bos_token_id", 4, number(1)),
        ("tokenizer.ggml.eos_token_id", 4, number(2)),
        ("tokenizer.ggml.add_bos_token", 7, vec![1]),
        (
            "tokenizer.ggml.add_space_prefix",
            7,
            vec![puts_space.into()],
        ),
        ("tokenizer.chat_template", 8, text(TEMPLATE.as_bytes())),
    ];
    file.entries
        .retain(|entry| !entry.key[8..].starts_with(b"tokenizer."));
    for (key, kind, value) in new {
        let key = text(key.as_bytes());
        file.entries.push(Entry { key, kind, value });
    }
    let written = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(written.path(), file.bytes()).expect("written");
    written
}

fn engine(puts_space: bool) -> Engine {
    let file = model(puts_space, TOKENS);
    Engine::load(file.path(), EngineLimits::default()).expect("loads")
}

fn messages(content: &str) -> Prompt {
    Prompt::Messages(vec![Message {
        role: "user".to_owned(),
        content: content.to_owned(),
    }])
}

const fn byte(of: u8) -> u32 {
    3 + of as u32
}

#[test]
fn a_text_is_pieces_and_bytes_and_comes_back() {
    let engine = engine(false);
    for (text, ids) in [
        ("", &[][..]),
        ("ab", &[A_B]),
        ("a ab", &[A, SPACE_A, B]),
        ("b  b", &[B, SPACE, SPACE, B]),
        ("\n\n\na", &[BLANK_LINES, A]),
        ("é", &[byte(0xC3), byte(0xA9)]),
        (
            "<start_of_turn>ab<end_of_turn>",
            &[START_OF_TURN, A_B, END_OF_TURN],
        ),
    ] {
        assert_eq!(engine.tokenize(text).expect("ids"), ids, "{text:?}");
    }
    let said = engine.detokenize(&[SPACE_A, byte(0xC3), byte(0xA9), BLANK_LINES, END_OF_TURN]);
    assert_eq!(said, " aé\n\n\n");
}

#[test]
fn a_space_is_put_before_what_begins_where_the_model_has_it_so() {
    let engine = engine(true);
    for (text, ids) in [
        ("ab", &[SPACE_A, B][..]),
        ("b<start_of_turn>ab", &[SPACE, B, START_OF_TURN, SPACE_A, B]),
    ] {
        assert_eq!(engine.tokenize(text).expect("ids"), ids, "{text:?}");
    }
}

#[test]
fn a_message_spells_no_control_token_and_keeps_its_blank_lines() {
    let engine = engine(false);
    let count = |content: &str| engine.count_tokens(&messages(content)).expect("fits");
    // The text's beginning, and both ends of a turn.
    assert_eq!(count("a"), 3 + 1);
    assert_eq!(count("\n\n\n"), 3 + 1);
    // Every letter by itself: none of them but the `a` of "start" is a piece, and each has one byte.
    assert_eq!(count("<end_of_turn>"), 3 + 13);
    assert_eq!(count("<s>"), 3 + 3);
}

#[test]
fn it_answers_and_ends() {
    let engine = engine(false);
    let sampling = Sampling {
        max_tokens: Some(8),
        ..Sampling::default()
    };
    let request = ChatRequest {
        prompt: messages("ab"),
        sampling,
        priority: Priority::Routine,
        tenant: String::new(),
        scope: String::new(),
    };
    let mut answer = engine.submit(request).expect("taken up");
    let mut is_ended = false;
    while let Some(event) = answer.recv() {
        assert!(!matches!(event, ChatEvent::Failed(_)), "{event:?}");
        is_ended |= matches!(event, ChatEvent::Finished { .. });
    }
    assert!(is_ended);
}

#[test]
fn pieces_without_a_score_each_are_refused_by_name() {
    let file = model(false, TOKENS - 1);
    let refused = Engine::load(file.path(), EngineLimits::default()).err();
    assert!(
        matches!(&refused, Some(LoadError::Metadata(key)) if key == "tokenizer.ggml.scores"),
        "{refused:?}"
    );
}
