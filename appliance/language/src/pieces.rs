//! SentencePiece vocabularies (Kudo and Richardson 2018) in their BPE form, as Llama 2, Mistral, Gemma and Phi-3 have them: a
//! text's characters are joined into pieces, the pair whose joined piece has the highest score first.
//!
//! The ids are those of `sentencepiece` itself and of llama.cpp, which reads the same pieces and scores from a GGUF. Nothing is
//! split into words before: a space is a letter of its own, [`SPACE`].

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// What a space is in a piece: "lower one eighth block".
pub(crate) const SPACE: char = '\u{2581}';

/// The pieces of a vocabulary.
pub(crate) struct Pieces {
    /// The texts of all tokens, end to end.
    texts: String,
    ends: Vec<usize>,
    /// The ids of those that text may become, by their texts; of equal texts the last counts.
    order: Vec<u32>,
    scores: Vec<f32>,
    /// The tokens of single bytes, for characters that are no piece.
    bytes: Vec<Option<u32>>,
    /// For bytes that are no token either.
    unknown: Option<u32>,
}

/// A stretch of the text, between its neighbours.
struct Part {
    start: usize,
    /// Bytes; none once the part before it has taken it in.
    length: usize,
    before: Option<usize>,
    after: Option<usize>,
}

/// Two neighbours that may be joined, the better pair the greater: of the same score the foremost.
struct Pair {
    score: f32,
    left: usize,
    /// Bytes of both when it was put here: another length means that one of them has grown since.
    length: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        let score = self.score.total_cmp(&other.score);
        score.then_with(|| Reverse(self.left).cmp(&Reverse(other.left)))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

/// What a token of such a vocabulary is to a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A text may become it.
    Piece,
    /// It stands for this byte of a character that is no piece.
    Byte(u8),
    /// No text becomes it, whatever it is called: a message must not be able to spell a control token.
    None,
}

impl Pieces {
    /// From the texts, roles and scores of all tokens by id, and the token for what is none.
    pub(crate) fn new(
        texts: &[&str],
        roles: &[Role],
        scores: Vec<f32>,
        unknown: Option<u32>,
    ) -> Self {
        let mut all = String::new();
        let ends = texts.iter().map(|text| {
            all.push_str(text);
            all.len()
        });
        let ends = ends.collect();
        let mut bytes = vec![None; 256];
        let mut order = Vec::new();
        for (id, role) in (0..).zip(roles) {
            match role {
                Role::Piece => order.push(id),
                Role::Byte(byte) => bytes[usize::from(*byte)] = Some(id),
                Role::None => {}
            }
        }
        order.sort_by_key(|id| (texts[*id as usize], *id));
        Self {
            texts: all,
            ends,
            order,
            scores,
            bytes,
            unknown,
        }
    }

    /// Appends the ids of a text, whose spaces are [`SPACE`] already.
    pub(crate) fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        let mut parts = parts(text);
        let mut queue: BinaryHeap<Pair> = (0..parts.len())
            .filter_map(|left| self.pair(text, &parts, left))
            .collect();
        while let Some(pair) = queue.pop() {
            let Some(right) = parts[pair.left].after else {
                continue;
            };
            if parts[pair.left].length == 0
                || parts[pair.left].length + parts[right].length != pair.length
            {
                continue;
            }
            join(&mut parts, pair.left, right);
            for left in parts[pair.left].before.into_iter().chain([pair.left]) {
                queue.extend(self.pair(text, &parts, left));
            }
        }
        for part in parts.iter().filter(|part| part.length > 0) {
            let part = &text[part.start..part.start + part.length];
            match self.id(part) {
                Some(id) => ids.push(id),
                None => ids.extend(part.bytes().filter_map(|byte| self.of_byte(byte))),
            }
        }
    }

    fn of_byte(&self, byte: u8) -> Option<u32> {
        self.bytes[usize::from(byte)].or(self.unknown)
    }

    /// What the part at a place and the one after it are as one, if that is a piece.
    fn pair(&self, text: &str, parts: &[Part], left: usize) -> Option<Pair> {
        let right = &parts[parts[left].after?];
        let length = parts[left].length + right.length;
        let start = parts[left].start;
        let id = self.id(&text[start..start + length])?;
        Some(Pair {
            score: self.scores[id as usize],
            left,
            length,
        })
    }

    /// The piece of this text.
    fn id(&self, text: &str) -> Option<u32> {
        let upto = self.order.partition_point(|id| self.text(*id) <= text);
        let id = *self.order.get(upto.checked_sub(1)?)?;
        (self.text(id) == text).then_some(id)
    }

    fn text(&self, id: u32) -> &str {
        let id = id as usize;
        let start = id.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.texts[start..self.ends[id]]
    }
}

/// Its characters.
fn parts(text: &str) -> Vec<Part> {
    let characters = text.char_indices().enumerate();
    let mut parts: Vec<Part> = characters
        .map(|(at, (start, character))| Part {
            start,
            length: character.len_utf8(),
            before: at.checked_sub(1),
            after: Some(at + 1),
        })
        .collect();
    if let Some(last) = parts.last_mut() {
        last.after = None;
    }
    parts
}

/// Takes the part on the right into the one on the left.
fn join(parts: &mut [Part], left: usize, right: usize) {
    let (length, after) = (parts[right].length, parts[right].after);
    parts[right].length = 0;
    parts[left].length += length;
    parts[left].after = after;
    if let Some(after) = after {
        parts[after].before = Some(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    /// A vocabulary that `sentencepiece` learned, and what it makes of texts; tests/golden/make_pieces.py writes it.
    #[derive(Deserialize)]
    struct Golden {
        pieces: Vec<(String, f32, String)>,
        cases: Vec<(String, Vec<u32>)>,
    }

    fn golden() -> Golden {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pieces.json");
        let text = std::fs::read(path).expect("the golden file");
        serde_json::from_slice(&text).expect("its form")
    }

    fn pieces(golden: &Golden) -> Pieces {
        let texts: Vec<&str> = golden
            .pieces
            .iter()
            .map(|(text, ..)| text.as_str())
            .collect();
        let role = |(text, _, kind): &(String, f32, String)| match kind.as_str() {
            "piece" => Role::Piece,
            "byte" => Role::Byte(u8::from_str_radix(&text[3..5], 16).expect("a byte")),
            _ => Role::None,
        };
        let roles: Vec<Role> = golden.pieces.iter().map(role).collect();
        let scores = golden.pieces.iter().map(|(_, score, _)| *score).collect();
        Pieces::new(&texts, &roles, scores, Some(0))
    }

    #[test]
    fn ids_are_those_of_sentencepiece() {
        let golden = golden();
        let pieces = pieces(&golden);
        assert!(golden.cases.len() >= 200, "a corpus of 200 texts");
        for (text, theirs) in &golden.cases {
            let mut ours = Vec::new();
            pieces.encode(&text.replace(' ', &SPACE.to_string()), &mut ours);
            assert_eq!(&ours, theirs, "{text:?}");
        }
    }

    #[test]
    fn no_text_becomes_a_token_that_is_not_for_texts() {
        let texts = ["<unk>", "<s>", "<s", ">", "<", "s", "<0x41>", "<0x", "41>"];
        let mut roles = [Role::Piece; 9];
        (roles[0], roles[1], roles[6]) = (Role::None, Role::None, Role::Byte(0x41));
        let pieces = Pieces::new(&texts, &roles, vec![0.0; 9], Some(0));
        let mut ids = Vec::new();
        pieces.encode("<s>", &mut ids);
        assert_eq!(ids, [2, 3]);
        ids.clear();
        pieces.encode("A", &mut ids);
        assert_eq!(ids, [6], "by its byte");
        ids.clear();
        pieces.encode("é", &mut ids);
        assert_eq!(ids, [0, 0], "neither of its bytes is a token");
    }

    #[test]
    fn of_pairs_of_one_score_the_foremost_is_joined_and_of_equal_texts_the_last_counts() {
        let roles = [Role::Piece; 4];
        let pieces = Pieces::new(
            &["a", "aa", "b", "aa"],
            &roles,
            vec![0.0, -1.0, 0.0, -1.0],
            None,
        );
        let mut ids = Vec::new();
        pieces.encode("aaab", &mut ids);
        assert_eq!(ids, [3, 0, 2]);
    }

    /// Nothing is split into words: its cost must not grow with the square of a prompt.
    #[test]
    fn a_long_text_ends() {
        let roles = [Role::Piece; 3];
        let pieces = Pieces::new(&["a", "aa", "aaaa"], &roles, vec![0.0, -1.0, -2.0], None);
        let mut ids = Vec::new();
        pieces.encode(&"a".repeat(1_000_003), &mut ids);
        assert_eq!(ids.len(), 250_002);
        assert_eq!(ids[249_998..], [2, 2, 1, 0]);
    }
}
