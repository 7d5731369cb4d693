//! Text to token ids and back, as the model was trained: built from the vocabulary in the GGUF.
//!
//! Two kinds are built, by `tokenizer.ggml.model`: byte-level BPE (`gpt2`) from merges and a `pre` name, and SentencePiece's BPE
//! (`llama`) from scores. A `pre` name that is not in the table is refused: a default split gives other ids, and a model fed with
//! those answers a little worse without anyone noticing.

use crate::error::LoadError;
use crate::file::ModelFile;
use crate::merges::Merges;
use crate::pieces::{Pieces, Role, SPACE};
use std::collections::HashMap;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::{
    OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper,
    SplitDelimiterBehavior,
};

/// Stands inside a special token's text that a person wrote, so that it is not taken for the token itself: a message
/// must not be able to end its own turn. A code point that Unicode keeps for such internal use.
const GUARD: char = '\u{FDD0}';

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Mistral's Tekken and OpenAI's o200k: words begin at a capital letter. The expressions of the models' own tokenizers, which
/// llama.cpp replaces by others that part words with accented capitals differently.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Texts of tokens that end a turn whatever the metadata says of the end of text.
const TURN_ENDS: [&str; 6] = [
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<end_of_turn>",
];

/// A model's tokenizer.
pub(crate) struct Tokenizer {
    vocabulary: Vocabulary,
    bytes: TokenBytes,
    /// Special tokens, the longest first.
    specials: Vec<Special>,
    ends: Vec<u32>,
    begin: Option<u32>,
    begins_with: bool,
    special_names: HashMap<&'static str, String>,
}

/// How text becomes ids between the special tokens.
enum Vocabulary {
    /// Words, and merges of their letters.
    Merged {
        splitter: PreTokenizerWrapper,
        merges: Merges,
    },
    /// Pieces by their scores.
    Scored {
        pieces: Pieces,
        /// Whether a space goes before the text, and before what follows a special token.
        puts_space: bool,
    },
}

/// A special token.
struct Special {
    text: String,
    id: u32,
    /// Whether it is more than a text: those of white space only are nothing else, and a message may hold them.
    is_guarded: bool,
}

impl Tokenizer {
    pub(crate) fn new(file: &ModelFile) -> Result<Self, LoadError> {
        let texts = file.texts("tokenizer.ggml.tokens")?;
        let kinds = kinds(file, texts.len())?;
        let (vocabulary, begins_by_itself) = match file.text("tokenizer.ggml.model")? {
            "gpt2" => merged(file, &texts)?,
            "llama" => (scored(file, &texts, &kinds)?, true),
            model => {
                return Err(LoadError::Tokenizer(format!(
                    "tokenizer.ggml.model is {model:?}; byte-level BPE (\"gpt2\") and SentencePiece's BPE (\"llama\") are supported"
                )));
            }
        };
        let is_scored = matches!(vocabulary, Vocabulary::Scored { .. });
        let id_of = |key: &str| file.u32(key).ok().filter(|id| (*id as usize) < texts.len());
        let begin = id_of("tokenizer.ggml.bos_token_id");
        let end = id_of("tokenizer.ggml.eos_token_id");
        let name = |id: Option<u32>| id.map_or(String::new(), |id| texts[id as usize].to_owned());
        Ok(Self {
            vocabulary,
            bytes: TokenBytes::new(&texts, &kinds, is_scored),
            specials: specials(&texts, &kinds),
            ends: ends(&texts, &kinds, end, id_of("tokenizer.ggml.eot_token_id")),
            begin,
            begins_with: file
                .flag("tokenizer.ggml.add_bos_token")
                .unwrap_or(begins_by_itself),
            special_names: HashMap::from([("bos_token", name(begin)), ("eos_token", name(end))]),
        })
    }

    /// The number of tokens.
    pub(crate) fn size(&self) -> usize {
        self.bytes.tokens()
    }

    /// The ids of `text`; the texts of special tokens become those tokens unless guarded.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        let mut ids = Vec::new();
        let mut is_first = true;
        self.encode_fragment(text, 0, (&mut ids, &mut is_first))?;
        Ok(ids)
    }

    /// As [`Self::encode`], with the token that begins a text where the model wants it.
    pub(crate) fn encode_whole(&self, text: &str) -> Result<Vec<u32>, String> {
        let mut ids = self.encode(text)?;
        if let (true, Some(begin)) = (self.begins_with, self.begin)
            && ids.first() != Some(&begin)
        {
            ids.insert(0, begin);
        }
        Ok(ids)
    }

    /// The tokens in which a model would most likely say `text`, which holds no special token.
    pub(crate) fn encode_said(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        // Without them there is no guess, and nothing else is lost.
        if self.encode_words(text, (&mut ids, &mut false)).is_err() {
            ids.clear();
        }
        ids
    }

    /// `text` with the texts of special tokens made harmless.
    pub(crate) fn guarded(&self, text: &str) -> Result<String, String> {
        if text.contains(GUARD) {
            return Err(
                "a message holds the code point U+FDD0, which is not a character; remove it"
                    .to_owned(),
            );
        }
        let mut guarded = text.to_owned();
        for Special { text, .. } in self.specials.iter().filter(|s| s.is_guarded) {
            if guarded.contains(text.as_str()) {
                let mut letters = text.chars();
                let first = letters.next().map(String::from).unwrap_or_default();
                guarded = guarded.replace(
                    text.as_str(),
                    &format!("{first}{GUARD}{}", letters.as_str()),
                );
            }
        }
        Ok(guarded)
    }

    /// The bytes that a token stands for; none when it is not text.
    pub(crate) fn bytes(&self, id: u32) -> &[u8] {
        self.bytes.of(id)
    }

    /// Whether the model ends its turn with this token.
    pub(crate) fn is_end(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }

    /// A token that ends the model's turn.
    pub(crate) fn first_end(&self) -> Option<u32> {
        self.ends.first().copied()
    }

    /// Makes it impossible to end the model's turn.
    pub(crate) fn forbid_end(&self, logits: &mut [f32]) {
        for end in &self.ends {
            if let Some(logit) = logits.get_mut(*end as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    /// The texts of the tokens that chat templates name.
    pub(crate) fn special_names(&self) -> &HashMap<&'static str, String> {
        &self.special_names
    }

    /// Splits at the longest special token first, as llama.cpp does, so that overlapping ones resolve alike. `is_first` is
    /// whether a special token, or nothing, is before the text.
    fn encode_fragment(
        &self,
        text: &str,
        from: usize,
        (ids, is_first): (&mut Vec<u32>, &mut bool),
    ) -> Result<(), String> {
        for (number, special) in self.specials.iter().enumerate().skip(from) {
            if !text.contains(special.text.as_str()) {
                continue;
            }
            // Recursion only goes to shorter tokens, so its depth is bounded by their number.
            let mut rest = text;
            while let Some((before, after)) = rest.split_once(special.text.as_str()) {
                self.encode_fragment(before, number + 1, (ids, is_first))?;
                ids.push(special.id);
                *is_first = true;
                rest = after;
            }
            return self.encode_fragment(rest, number + 1, (ids, is_first));
        }
        self.encode_words(text, (ids, is_first))
    }

    fn encode_words(
        &self,
        text: &str,
        (ids, is_first): (&mut Vec<u32>, &mut bool),
    ) -> Result<(), String> {
        if text.is_empty() {
            return Ok(());
        }
        let text = text.replace(GUARD, "");
        match &self.vocabulary {
            Vocabulary::Merged { splitter, merges } => {
                let mut words = PreTokenizedString::from(text);
                let split = splitter.pre_tokenize(&mut words);
                split.map_err(|error| error.to_string())?;
                let words = words.get_splits(OffsetReferential::Normalized, OffsetType::None);
                for (word, _, _) in words {
                    merges.encode(word, ids);
                }
            }
            Vocabulary::Scored { pieces, puts_space } => {
                let before = if *puts_space && *is_first { " " } else { "" };
                let text = format!("{before}{text}").replace(' ', SPACE.encode_utf8(&mut [0; 4]));
                pieces.encode(&text, ids);
            }
        }
        *is_first = false;
        Ok(())
    }
}

/// Words and merges, and whether a text begins with the token for that where the file does not say.
fn merged(file: &ModelFile, texts: &[&str]) -> Result<(Vocabulary, bool), LoadError> {
    let pre = file.text("tokenizer.ggml.pre")?;
    let merges = file.texts("tokenizer.ggml.merges")?;
    let merges = Merges::new(texts, &merges, takes_wholes(pre)).map_err(LoadError::Tokenizer)?;
    let splitter = splitter(pre)?;
    Ok((
        Vocabulary::Merged { splitter, merges },
        begins_by_itself(pre),
    ))
}

/// Pieces and their scores.
fn scored(file: &ModelFile, texts: &[&str], kinds: &[Kind]) -> Result<Vocabulary, LoadError> {
    const SCORES: &str = "tokenizer.ggml.scores";
    let scores = file.floats(SCORES).filter(|s| s.len() == texts.len());
    let scores = scores.ok_or_else(|| LoadError::Metadata(SCORES.to_owned()))?;
    let role = |(text, kind): (&&str, &Kind)| match kind {
        Kind::Word | Kind::UserDefined => Role::Piece,
        Kind::Byte => byte_named(text).map_or(Role::None, Role::Byte),
        Kind::Unknown | Kind::Control | Kind::Unused => Role::None,
    };
    let roles: Vec<Role> = texts.iter().zip(kinds).map(role).collect();
    let unknown = (0..).zip(kinds).find(|(_, kind)| **kind == Kind::Unknown);
    Ok(Vocabulary::Scored {
        pieces: Pieces::new(texts, &roles, scores, unknown.map(|(id, _)| id)),
        puts_space: file.flag("tokenizer.ggml.add_space_prefix").unwrap_or(true),
    })
}

/// The byte that a token of the form `<0x41>` stands for.
fn byte_named(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok()
}

/// The bytes of each token, end to end; none for those that are never text.
struct TokenBytes {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl TokenBytes {
    fn new(texts: &[&str], kinds: &[Kind], is_scored: bool) -> Self {
        let mut bytes = Vec::new();
        let ends = texts.iter().zip(kinds).map(|(text, kind)| {
            match is_scored {
                true => put_bytes_of_piece(text, *kind, &mut bytes),
                false => put_bytes_of(text, *kind, &mut bytes),
            }
            bytes.len()
        });
        let ends = ends.collect();
        bytes.shrink_to_fit();
        Self { bytes, ends }
    }

    fn tokens(&self) -> usize {
        self.ends.len()
    }

    fn of(&self, id: u32) -> &[u8] {
        let Some(end) = self.ends.get(id as usize) else {
            return &[];
        };
        let before = (id as usize).checked_sub(1);
        let start = before.map_or(0, |before| self.ends[before]);
        &self.bytes[start..*end]
    }
}

/// What a token is, by the numbers of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Word,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

pub(crate) fn kinds(file: &ModelFile, count: usize) -> Result<Vec<Kind>, LoadError> {
    let Some(numbers) = file.integers("tokenizer.ggml.token_type") else {
        return Ok(vec![Kind::Word; count]);
    };
    if numbers.len() != count {
        return Err(LoadError::Metadata("tokenizer.ggml.token_type".to_owned()));
    }
    let kinds = numbers.into_iter().map(|number| match number {
        2 => Kind::Unknown,
        3 => Kind::Control,
        4 => Kind::UserDefined,
        5 => Kind::Unused,
        6 => Kind::Byte,
        _ => Kind::Word,
    });
    Ok(kinds.collect())
}

/// How text is split before merging, by the `pre` name; the expressions are those of the models' own tokenizers.
fn splitter(pre: &str) -> Result<PreTokenizerWrapper, LoadError> {
    let expressions: &[&str] = match pre {
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" => {
            &[r"\p{N}", GPT2]
        }
        "gpt-2" | "mpt" | "olmo" | "phi-2" => &[GPT2],
        "qwen2" | "deepseek-r1-qwen" | "stablelm2" => &[QWEN2],
        "default" => &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
        // They split as Llama 3 does, and do nothing else of what it does.
        "smaug-bpe" | "dbrx" => &[LLAMA3],
        "tekken" => &[TEKKEN],
        "gpt-4o" => &[GPT4O],
        _ if is_llama3(pre) => &[LLAMA3],
        _ => {
            return Err(LoadError::Tokenizer(format!(
                "tokenizer.ggml.pre is {pre:?}, which is not known; supported are smollm, llama-bpe, qwen2, deepseek-r1-qwen, tekken, gpt-4o, gpt-2 and default"
            )));
        }
    };
    let mut steps = Vec::new();
    for expression in expressions {
        let pattern = SplitPattern::Regex((*expression).to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
        steps.push(
            split
                .map_err(|error| LoadError::Tokenizer(error.to_string()))?
                .into(),
        );
    }
    // Neither a space before the text nor a second split: the trap of the usual defaults.
    steps.push(ByteLevel::new(false, false, false).into());
    Ok(Sequence::new(steps).into())
}

fn is_llama3(pre: &str) -> bool {
    matches!(
        pre,
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "pixtral" | "lfm2"
    )
}

/// Whether a word that is a token is taken whole, even where its merges lead elsewhere.
fn takes_wholes(pre: &str) -> bool {
    is_llama3(pre) || pre == "tekken"
}

/// Whether a text begins with the token for that where the file does not say.
fn begins_by_itself(pre: &str) -> bool {
    is_llama3(pre) || pre == "tekken"
}

fn specials(texts: &[&str], kinds: &[Kind]) -> Vec<Special> {
    let mut specials: Vec<Special> = texts
        .iter()
        .zip(kinds)
        .zip(0..)
        .filter(|((text, kind), _)| {
            matches!(kind, Kind::Control | Kind::UserDefined | Kind::Unknown) && !text.is_empty()
        })
        .map(|((text, kind), id)| Special {
            text: (*text).to_owned(),
            id,
            is_guarded: *kind != Kind::UserDefined || !text.trim().is_empty(),
        })
        .collect();
    specials.sort_by_key(|special| std::cmp::Reverse(special.text.len()));
    specials
}

fn ends(texts: &[&str], kinds: &[Kind], end: Option<u32>, turn_end: Option<u32>) -> Vec<u32> {
    let by_name = texts
        .iter()
        .zip(kinds)
        .zip(0..)
        .filter(|((text, kind), _)| **kind == Kind::Control && TURN_ENDS.contains(text))
        .map(|(_, id)| id);
    let mut ends: Vec<u32> = by_name.chain(end).chain(turn_end).collect();
    ends.sort_unstable();
    ends.dedup();
    ends
}

fn put_bytes_of(text: &str, kind: Kind, bytes: &mut Vec<u8>) {
    match kind {
        Kind::Control | Kind::Unknown | Kind::Unused => {}
        Kind::UserDefined => bytes.extend(text.as_bytes()),
        Kind::Word | Kind::Byte => {
            for letter in text.chars() {
                match byte_of(letter) {
                    Some(byte) => bytes.push(byte),
                    None => bytes.extend(letter.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
        }
    }
}

/// As [`put_bytes_of`], of a SentencePiece vocabulary.
fn put_bytes_of_piece(text: &str, kind: Kind, bytes: &mut Vec<u8>) {
    match kind {
        Kind::Control | Kind::Unknown | Kind::Unused => {}
        Kind::UserDefined => bytes.extend(text.as_bytes()),
        Kind::Byte => bytes.extend(byte_named(text)),
        Kind::Word => bytes.extend(text.replace(SPACE, " ").as_bytes()),
    }
}

/// The byte that a letter of the byte-level alphabet stands for: printable Latin-1 for itself, the 68 others from
/// U+0100 on in order.
fn byte_of(letter: char) -> Option<u8> {
    let code = u32::from(letter);
    match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => u8::try_from(code).ok(),
        0x100..=0x143 => {
            let unprintable = (0..=0x20).chain(0x7F..=0xA0).chain([0xAD]);
            unprintable.clone().nth(code as usize - 0x100)
        }
        _ => None,
    }
}

/// Bytes of tokens as they come, to whole characters.
#[derive(Debug, Default)]
pub(crate) struct Characters {
    pending: Vec<u8>,
}

impl Characters {
    /// Takes a token's bytes and adds the characters that are now whole to `text`. Bytes that can be no character become
    /// U+FFFD.
    pub(crate) fn push(&mut self, bytes: &[u8], text: &mut String) {
        self.pending.extend_from_slice(bytes);
        loop {
            match std::str::from_utf8(&self.pending) {
                Ok(whole) => {
                    text.push_str(whole);
                    self.pending.clear();
                    return;
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    text.push_str(&String::from_utf8_lossy(&self.pending[..valid]));
                    let Some(wrong) = error.error_len() else {
                        self.pending.drain(..valid);
                        return; // the rest may yet become a character
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.pending.drain(..valid + wrong);
                }
            }
        }
    }

    /// What is left at the end: an unfinished character becomes U+FFFD.
    pub(crate) fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_alphabet_covers_every_byte_once() {
        let mut seen = [false; 256];
        for code in 0..0x200 {
            if let Some(byte) = char::from_u32(code).and_then(byte_of) {
                assert!(
                    !std::mem::replace(&mut seen[byte as usize], true),
                    "byte {byte} twice"
                );
            }
        }
        assert!(seen.into_iter().all(|seen| seen));
        assert_eq!(byte_of('Ġ'), Some(b' '));
        assert_eq!(byte_of('Ċ'), Some(b'\n'));
    }

    /// The words of a text, in letters of the byte-level alphabet.
    fn split(pre: &str, text: &str) -> Vec<String> {
        let mut words = PreTokenizedString::from(text);
        let splitter = splitter(pre).expect("known");
        splitter.pre_tokenize(&mut words).expect("splits");
        let splits = words.get_splits(OffsetReferential::Normalized, OffsetType::None);
        splits
            .into_iter()
            .map(|(word, _, _)| word.to_owned())
            .collect()
    }

    #[test]
    fn texts_are_split_as_each_model_was_trained() {
        let text = "camelCaseHTTP's 1234 a/b!/\n/";
        for (pre, words) in [
            (
                "llama-bpe",
                &[
                    "camelCaseHTTP",
                    "'s",
                    "Ġ",
                    "123",
                    "4",
                    "Ġa",
                    "/b",
                    "!/Ċ",
                    "/",
                ][..],
            ),
            (
                "tekken",
                &[
                    "camel", "Case", "HTTP", "'s", "Ġ", "1", "2", "3", "4", "Ġa", "/b", "!/Ċ/",
                ],
            ),
            (
                "gpt-4o",
                &[
                    "camel", "Case", "HTTP's", "Ġ", "123", "4", "Ġa", "/b", "!/Ċ/",
                ],
            ),
        ] {
            assert_eq!(split(pre, text), words, "{pre}");
        }
        assert_eq!(split("smaug-bpe", text), split("llama-bpe", text));
        assert_eq!(split("dbrx", text), split("llama-bpe", text));
        // An accented capital is a capital: É is C3 89, whose second byte is the letter ī.
        for pre in ["tekken", "gpt-4o"] {
            assert_eq!(split(pre, "ÉCOLE Été"), ["ÃīCOLE", "ĠÃītÃ©"], "{pre}");
        }
    }

    #[test]
    fn only_llama_3_and_tekken_take_words_whole_and_begin_by_themselves() {
        for (pre, does) in [
            ("llama-bpe", true),
            ("lfm2", true),
            ("tekken", true),
            ("smaug-bpe", false),
            ("dbrx", false),
            ("gpt-4o", false),
            ("qwen2", false),
        ] {
            assert_eq!(
                (takes_wholes(pre), begins_by_itself(pre)),
                (does, does),
                "{pre}"
            );
        }
    }

    #[test]
    fn characters_come_whole() {
        let mut characters = Characters::default();
        let heart = "❤️🫀";
        let push = |characters: &mut Characters, bytes: &[u8]| {
            let mut piece = String::new();
            characters.push(bytes, &mut piece);
            piece
        };
        let mut text = String::new();
        for byte in heart.bytes() {
            let piece = push(&mut characters, &[byte]);
            assert!(!piece.contains(char::REPLACEMENT_CHARACTER));
            text.push_str(&piece);
        }
        assert_eq!(text, heart);
        assert_eq!(push(&mut characters, b"a\xF0\x9F"), "a");
        assert_eq!(push(&mut characters, b"b"), "\u{FFFD}b");
        assert_eq!(push(&mut characters, b"\xC3"), "");
        assert_eq!(characters.finish(), "\u{FFFD}");
        assert_eq!(characters.finish(), "");
    }
}
