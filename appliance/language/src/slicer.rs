//! Texts cut into tokens, each with the place where it stands.

use crate::embedder::tokenizer;
use crate::error::LoadError;
use pericard_domain::entity::{Piece, Pieces};
use std::path::Path;
use tokenizers::Tokenizer;

/// The tokenizer of a model that is run elsewhere.
pub struct Slicer {
    tokenizer: Tokenizer,
    begin: u32,
    end: u32,
}

impl Slicer {
    /// Loads the tokenizer in `path`, a `tokenizer.json` that puts one token before a text and one after it.
    ///
    /// # Errors
    /// [`LoadError::Tokenizer`] says what is wrong with the file.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let tokenizer = tokenizer(path)?;
        let nothing = tokenizer.encode("", true);
        let nothing = nothing.map_err(|error| LoadError::Tokenizer(error.to_string()))?;
        let &[begin, end] = nothing.get_ids() else {
            let why = "a text does not get one token before it and one after it";
            return Err(LoadError::Tokenizer(why.to_owned()));
        };
        Ok(Self {
            tokenizer,
            begin,
            end,
        })
    }

    /// The tokens of a text.
    ///
    /// # Errors
    /// A sentence without the text, when it cannot be cut.
    pub fn slice(&self, text: &str) -> Result<Pieces, String> {
        let encoding = self.tokenizer.encode(text, false);
        let encoding = encoding.map_err(|_| "the text cannot be tokenised".to_owned())?;
        let each = encoding.get_ids().iter().zip(encoding.get_offsets());
        let pieces = each.map(|(id, (start, end))| {
            text.get(*start..*end).map(|_| Piece {
                id: *id,
                bytes: *start..*end,
            })
        });
        let pieces: Option<Vec<Piece>> = pieces.collect();
        Ok(Pieces {
            begin: self.begin,
            end: self.end,
            pieces: pieces.ok_or("the tokenizer cuts within characters")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of two pieces at most, letters of either case, as BERT's are.
    const TOKENIZER: &str = r###"{
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "frau": 4, "mu": 5, "##ller": 6, ".": 7}}
    }"###;

    fn slicer(text: &str) -> Result<Slicer, LoadError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokenizer.json");
        std::fs::write(&path, text).expect("written");
        Slicer::load(&path)
    }

    #[test]
    fn every_token_has_its_place_in_the_text_as_it_was_given() {
        let slicer = slicer(TOKENIZER).expect("a tokenizer");
        let text = "Frau  Müller.";
        let read = slicer.slice(text).expect("tokens");
        assert_eq!((read.begin, read.end), (2, 3));
        let shown: Vec<_> = read
            .pieces
            .iter()
            .map(|piece| (piece.id, &text[piece.bytes.clone()]))
            .collect();
        assert_eq!(shown, [(4, "Frau"), (5, "Mü"), (6, "ller"), (7, ".")]);
        assert!(slicer.slice("").expect("none").pieces.is_empty());
    }

    #[test]
    fn a_tokenizer_that_does_not_begin_and_end_a_text_is_refused() {
        let bare = TOKENIZER.replace(
            r#"{"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}"#,
            "null",
        );
        assert!(matches!(slicer(&bare), Err(LoadError::Tokenizer(_))));
        assert!(matches!(slicer("{}"), Err(LoadError::Tokenizer(_))));
    }
}
