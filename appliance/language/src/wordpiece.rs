//! WordPiece vocabularies (Schuster and Nakajima 2012) as a GGUF has them: what begins a word has [`SPACE`] before it, and what
//! continues one stands as it is.
//!
//! What is built is what a `tokenizer.json` with that vocabulary describes, so that both forms of a model give the same ids.

use crate::error::LoadError;
use crate::file::ModelFile;
use crate::pieces::SPACE;
use crate::tokenizer::{Kind, kinds};
use serde_json::{Map, Value, json};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::{NormalizedString, Normalizer, Tokenizer};

/// What goes before a piece that continues a word in a `tokenizer.json`.
const CONTINUES: &str = "##";
const KINDS: &str = "tokenizer.ggml.token_type";
/// A longer word is unknown, characters.
const WORD_CHARACTERS_MAX: u32 = 100;

/// The tokenizer of a file's vocabulary, and the number of its tokens.
///
/// # Errors
/// [`LoadError`] says what in the file does not describe one.
pub(crate) fn tokenizer(file: &ModelFile) -> Result<(Tokenizer, usize), LoadError> {
    let model = file.text("tokenizer.ggml.model")?;
    if model != "bert" {
        return Err(LoadError::Tokenizer(format!(
            "tokenizer.ggml.model is {model:?}; of an encoder only WordPiece (\"bert\") is supported"
        )));
    }
    let texts = file.texts("tokenizer.ggml.tokens")?;
    // Without kinds, specials would be taken for words.
    if file.integers(KINDS).is_none() {
        return Err(LoadError::Metadata(KINDS.to_owned()));
    }
    let kinds = kinds(file, texts.len())?;
    let preparation = preparation(file, &texts, &kinds)?;
    let begin = named(file, ["cls_token_id", "bos_token_id"], texts.len())?;
    let end = named(file, ["seperator_token_id", "eos_token_id"], texts.len())?; // the format's spelling
    let unknown = named(file, ["unknown_token_id"], texts.len())?;
    let mut vocabulary = Map::with_capacity(texts.len());
    let mut names = Vec::with_capacity(texts.len());
    let mut specials = Vec::new();
    for (id, (text, kind)) in (0_u32..).zip(texts.iter().zip(&kinds)) {
        let is_special =
            matches!(kind, Kind::Control | Kind::Unknown) || [begin, end, unknown].contains(&id);
        let name = name(text, *kind, is_special)?;
        if vocabulary.insert(name.clone(), Value::from(id)).is_some() {
            return Err(LoadError::Tokenizer(format!(
                "the vocabulary holds {name:?} twice"
            )));
        }
        if is_special {
            specials.push(json!({
                "id": id, "content": name, "special": true, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false,
            }));
        }
        names.push(name);
    }
    let with_name = |id: u32| json!([names[id as usize], id]);
    let (first, last) = (with_name(begin), with_name(end));
    let unknown = &names[unknown as usize];
    let described = json!({
        "version": "1.0",
        "added_tokens": specials,
        "normalizer": preparation,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "cls": first, "sep": last},
        "decoder": {"type": "WordPiece", "prefix": CONTINUES, "cleanup": true},
        "model": {
            "type": "WordPiece",
            "unk_token": unknown,
            "continuing_subword_prefix": CONTINUES,
            "max_input_chars_per_word": WORD_CHARACTERS_MAX,
            "vocab": vocabulary,
        },
    });
    let tokenizer = Tokenizer::from_bytes(described.to_string()).map_err(wrong)?;
    Ok((tokenizer, texts.len()))
}

/// What a token is called in a `tokenizer.json`.
fn name(text: &str, kind: Kind, is_special: bool) -> Result<String, LoadError> {
    if matches!(kind, Kind::UserDefined | Kind::Byte) {
        return Err(LoadError::Tokenizer(format!(
            "the token {text:?} is {kind:?}, which no WordPiece vocabulary has"
        )));
    }
    Ok(match text.strip_prefix(SPACE) {
        Some(word) => word.to_owned(),
        None if is_special => text.to_owned(),
        None => format!("{CONTINUES}{text}"),
    })
}

/// The token that one of these entries names, the first that is there.
fn named<const N: usize>(
    file: &ModelFile,
    entries: [&str; N],
    tokens: usize,
) -> Result<u32, LoadError> {
    let keys = entries.map(|entry| format!("tokenizer.ggml.{entry}"));
    let key = keys.iter().find(|key| file.has(key)).unwrap_or(&keys[0]);
    let id = file.u32(key)?;
    if id as usize >= tokens {
        return Err(LoadError::Metadata(key.clone()));
    }
    Ok(id)
}

/// How texts are prepared. Older files do not say it; then it is what leaves the vocabulary as it is, which holds nothing that
/// its own preparation would have changed. A name in brackets is no word: nothing that a person writes becomes it.
fn preparation(file: &ModelFile, texts: &[&str], kinds: &[Kind]) -> Result<Value, LoadError> {
    let words = texts.iter().zip(kinds);
    let words = words.filter(|(text, kind)| **kind == Kind::Word && !text.ends_with(']'));
    let words = words.map(|(text, _)| *text);
    let keeps = |lowercase: bool, strip_accents: bool| {
        let step = BertNormalizer::new(false, false, Some(strip_accents), lowercase);
        words.clone().all(|word| is_kept(word, &step))
    };
    let lowercase = match said(file, "tokenizer.ggml.normalizer.lowercase")? {
        Some(said) => said,
        None => keeps(true, false),
    };
    let strip_accents = match said(file, "tokenizer.ggml.normalizer.strip_accents")? {
        Some(said) => said,
        None => lowercase && keeps(false, true),
    };
    Ok(json!({
        "type": "BertNormalizer",
        "clean_text": true,
        "handle_chinese_chars": true,
        "strip_accents": strip_accents,
        "lowercase": lowercase,
    }))
}

fn is_kept(word: &str, step: &BertNormalizer) -> bool {
    let mut prepared = NormalizedString::from(word);
    step.normalize(&mut prepared).is_ok() && prepared.get() == word
}

/// An entry that may be absent, but not of another type.
fn said(file: &ModelFile, key: &str) -> Result<Option<bool>, LoadError> {
    let flag = file.flag(key);
    if flag.is_none() && file.has(key) {
        return Err(LoadError::Metadata(key.to_owned()));
    }
    Ok(flag)
}

fn wrong(error: tokenizers::Error) -> LoadError {
    LoadError::Tokenizer(error.to_string())
}
