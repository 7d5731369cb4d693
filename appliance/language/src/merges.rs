//! Byte-pair merges: the letters of a word to the ids of its tokens.
//!
//! As the `tokenizers` crate's own model does it, whose splitting of text into words is still taken. That model keeps the text
//! of every token twice, each an allocation of its own; here tokens are numbers, and a vocabulary of 49,000 takes 2 MB, not 11.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// The merges of a vocabulary.
pub(crate) struct Merges {
    /// The tokens of a single letter.
    letters: HashMap<char, u32>,
    /// Which pairs become one, the lowest rank first.
    pairs: HashMap<(u32, u32), Merge>,
    /// Words that are taken whole, even where their merges lead elsewhere.
    wholes: HashMap<Box<str>, u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Merge {
    rank: u32,
    into: u32,
}

/// A part of a word, between its neighbours.
struct Part {
    id: u32,
    before: Option<usize>,
    after: Option<usize>,
    /// Whether the part before it has taken it in.
    gone: bool,
}

impl Merges {
    /// From the texts of all tokens by id, and merges by rank, each two texts with a space between them.
    ///
    /// # Errors
    /// A sentence about the merge that cannot be.
    pub(crate) fn new(texts: &[&str], merges: &[&str], takes_wholes: bool) -> Result<Self, String> {
        // Of equal texts the last counts.
        let ids: HashMap<&str, u32> = texts.iter().copied().zip(0..).collect();
        let id = |text: &str| {
            let id = ids.get(text).copied();
            id.ok_or_else(|| format!("the merges name {text:?}, which is no token"))
        };
        let mut joined = String::new();
        let pairs = merges.iter().zip(0..).map(|(merge, rank)| {
            let (left, right) = merge
                .split_once(' ')
                .ok_or_else(|| format!("the merge {merge:?} has no space"))?;
            joined.clear();
            joined.extend([left, right]);
            let into = id(&joined)?;
            Ok(((id(left)?, id(right)?), Merge { rank, into }))
        });
        let pairs = pairs.collect::<Result<_, String>>()?;
        let letters = ids.iter().filter_map(|(text, id)| {
            let mut letters = text.chars();
            let letter = letters.next()?;
            letters.next().is_none().then_some((letter, *id))
        });
        let wholes = ids.iter().filter(|_| takes_wholes);
        Ok(Self {
            letters: letters.collect(),
            wholes: wholes.map(|(text, id)| (Box::from(*text), *id)).collect(),
            pairs,
        })
    }

    /// Appends the ids of a word. Letters that are no token are left out.
    pub(crate) fn encode(&self, word: &str, ids: &mut Vec<u32>) {
        if let Some(id) = self.wholes.get(word) {
            return ids.push(*id);
        }
        let mut parts = self.parts(word);
        // Pairs by rank, and of the same rank the foremost. Some are no longer there when their turn comes.
        let mut queue: BinaryHeap<Reverse<(u32, usize)>> = (0..parts.len())
            .filter_map(|at| Some(Reverse((self.merge(&parts, at)?.rank, at))))
            .collect();
        while let Some(Reverse((rank, at))) = queue.pop() {
            let Some(merge) = self.merge(&parts, at).filter(|merge| merge.rank == rank) else {
                continue;
            };
            join(&mut parts, at, merge.into);
            for at in parts[at].before.into_iter().chain([at]) {
                queue.extend(
                    self.merge(&parts, at)
                        .map(|merge| Reverse((merge.rank, at))),
                );
            }
        }
        ids.extend(parts.iter().filter(|part| !part.gone).map(|part| part.id));
    }

    fn parts(&self, word: &str) -> Vec<Part> {
        let letters = word.chars().filter_map(|letter| self.letters.get(&letter));
        let mut parts: Vec<Part> = letters
            .enumerate()
            .map(|(at, id)| Part {
                id: *id,
                before: at.checked_sub(1),
                after: Some(at + 1),
                gone: false,
            })
            .collect();
        if let Some(last) = parts.last_mut() {
            last.after = None;
        }
        parts
    }

    /// What the part at a place and the one after it become.
    fn merge(&self, parts: &[Part], at: usize) -> Option<Merge> {
        let part = Some(&parts[at]).filter(|part| !part.gone)?;
        let pair = (part.id, parts[part.after?].id);
        self.pairs.get(&pair).copied()
    }
}

/// Takes the part after the one at a place into it.
fn join(parts: &mut [Part], at: usize, into: u32) {
    let Some(taken) = parts[at].after else { return };
    parts[taken].gone = true;
    let after = parts[taken].after;
    (parts[at].id, parts[at].after) = (into, after);
    if let Some(after) = after {
        parts[after].before = Some(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::Model;
    use tokenizers::models::bpe::{BPE, Vocab};

    /// A vocabulary of a few letters, so that merges overlap: each merge joins two tokens that are there.
    fn vocabulary(choices: &[(usize, usize)]) -> (Vec<String>, Vec<String>) {
        let mut texts: Vec<String> = ["a", "b", "c", "é"].map(String::from).to_vec();
        let mut merges = Vec::new();
        for (left, right) in choices {
            let (left, right) = (&texts[left % texts.len()], &texts[right % texts.len()]);
            let (joined, merge) = (format!("{left}{right}"), format!("{left} {right}"));
            if joined.chars().count() < 9 && !merges.contains(&merge) {
                if !texts.contains(&joined) {
                    texts.push(joined);
                }
                merges.push(merge);
            }
        }
        (texts, merges)
    }

    proptest! {
        #[test]
        fn ids_are_those_of_the_library(
            choices in prop::collection::vec((0..40_usize, 0..40_usize), 0..40), word in "[abcéx]{0,40}", takes_wholes: bool,
        ) {
            let (texts, merges) = vocabulary(&choices);
            let pairs = merges.iter().map(|merge| merge.split_once(' ').expect("a space"));
            let theirs = BPE::builder()
                .vocab_and_merges::<Vocab>(
                    texts.iter().cloned().zip(0..).collect(),
                    pairs.map(|(left, right)| (left.to_owned(), right.to_owned())).collect(),
                )
                .ignore_merges(takes_wholes)
                .build()
                .expect("every merge is of tokens");
            let theirs: Vec<u32> = theirs.tokenize(&word).expect("ids").iter().map(|token| token.id).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let merges: Vec<&str> = merges.iter().map(String::as_str).collect();
            let mut ours = Vec::new();
            let made = Merges::new(&texts, &merges, takes_wholes).expect("the same");
            made.encode(&word, &mut ours);
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn a_merge_of_what_is_no_token_is_refused() {
        for merge in ["a b", "a x", "ab"] {
            assert!(
                Merges::new(&["a", "b"], &[merge], false).is_err(),
                "{merge}"
            );
        }
    }

    /// A word may be as long as a prompt: its cost must not grow with the square of that.
    #[test]
    fn a_long_word_ends() {
        let merges = Merges::new(&["a", "aa", "aaaa"], &["a a", "aa aa"], false).expect("merges");
        let mut ids = Vec::new();
        merges.encode(&"a".repeat(1_000_003), &mut ids);
        assert_eq!(ids.len(), 250_002);
        assert_eq!(ids[249_998..], [2, 2, 1, 0]);
    }
}
