//! What a sentence says of something that it names: that it is there, that it is not, or that it may be.
//!
//! After NegEx: words before or after what is named deny it or leave it open, as far as a word that turns the sentence. It
//! errs towards "uncertain" where both are said.

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What a sentence says of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// It is there.
    Present,
    /// It is not there.
    Absent,
    /// It is left open.
    Uncertain,
}

/// Before what is named, they deny it.
const DENY_BEFORE: [&str; 22] = [
    "no",
    "not",
    "without",
    "denies",
    "negative for",
    "free of",
    "absence of",
    "absent",
    "lack of",
    "rule out",
    "ruled out",
    "rules out",
    "excludes",
    "excluded",
    "neither",
    "nor",
    "never",
    "resolved",
    "kein",
    "keine",
    "keinen",
    "ohne",
];
/// After what is named, they deny it.
const DENY_AFTER: [&str; 16] = [
    "is absent",
    "are absent",
    "not seen",
    "not identified",
    "not present",
    "not demonstrated",
    "not evident",
    "not appreciated",
    "not visualized",
    "is excluded",
    "are excluded",
    "was ruled out",
    "is ruled out",
    "has resolved",
    "have resolved",
    "ausgeschlossen",
];
/// Before or after, they leave it open.
const OPEN: [&str; 30] = [
    "possible",
    "possibly",
    "probable",
    "probably",
    "likely",
    "may",
    "might",
    "could",
    "suspicious for",
    "suspicion of",
    "suspected",
    "suspect",
    "questionable",
    "question of",
    "cannot exclude",
    "cannot be excluded",
    "can not be excluded",
    "not excluded",
    "cannot rule out",
    "cannot be ruled out",
    "concerning for",
    "consider",
    "versus",
    "vs",
    "differential",
    "to rule out",
    "evaluate for",
    "verdacht",
    "möglich",
    "fraglich",
];
/// They turn a sentence: what is said before them does not reach beyond.
const TURNS: [&str; 9] = [
    "but",
    "however",
    "although",
    "though",
    "except",
    "aside from",
    "apart from",
    "yet",
    "aber",
];

/// What a sentence says of what stands in it at these bytes.
#[must_use]
pub fn presence(sentence: &str, named: &Range<usize>) -> Presence {
    let before = words(&sentence[..named.start]);
    let after = words(&sentence[named.end..]);
    let before = before.get(last_turn(&before)..).unwrap_or_default();
    let after = &after[..first_turn(&after)];
    if OPEN
        .iter()
        .any(|cue| holds(before, cue) || holds(after, cue))
        || sentence.trim_end().ends_with('?')
    {
        return Presence::Uncertain;
    }
    let denied = DENY_BEFORE.iter().any(|cue| holds(before, cue))
        || DENY_AFTER.iter().any(|cue| holds(after, cue));
    if denied {
        Presence::Absent
    } else {
        Presence::Present
    }
}

/// The words of a text, small.
pub(crate) fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '’')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

fn holds(words: &[String], cue: &str) -> bool {
    place(words, cue).is_some()
}

/// Where a cue of one or more words stands.
fn place(words: &[String], cue: &str) -> Option<usize> {
    let cue: Vec<&str> = cue.split(' ').collect();
    words.windows(cue.len()).position(|window| window == cue)
}

fn last_turn(words: &[String]) -> usize {
    let ends = TURNS.iter().filter_map(|turn| {
        let length = turn.split(' ').count();
        let mut at = (0..words.len()).rev();
        let found = at.find(|at| words.get(*at..at + length).is_some_and(|w| holds(w, turn)))?;
        Some(found + length)
    });
    ends.max().unwrap_or(0)
}

fn first_turn(words: &[String]) -> usize {
    let starts = TURNS.iter().filter_map(|turn| place(words, turn));
    starts.min().unwrap_or(words.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cues_reach_as_far_as_a_turn() {
        for (sentence, expected) in [
            ("There is a small pneumothorax.", Presence::Present),
            ("No pneumothorax.", Presence::Absent),
            (
                "There is no evidence of pleural effusion or pneumothorax.",
                Presence::Absent,
            ),
            ("Pneumothorax is not seen.", Presence::Absent),
            (
                "The previously seen pneumothorax has resolved.",
                Presence::Absent,
            ),
            (
                "No effusion, but there is a pneumothorax.",
                Presence::Present,
            ),
            (
                "Pneumothorax on the right, but no effusion.",
                Presence::Present,
            ),
            ("Possible small pneumothorax.", Presence::Uncertain),
            ("A pneumothorax cannot be excluded.", Presence::Uncertain),
            (
                "No definite pneumothorax, although it may be hidden.",
                Presence::Absent,
            ),
            ("Pneumothorax?", Presence::Uncertain),
            ("Kein Pneumothorax.", Presence::Absent),
            ("Verdacht auf Pneumothorax.", Presence::Uncertain),
            ("Notable pneumothorax in November.", Presence::Present),
        ] {
            let at = sentence.to_lowercase().find("pneumothorax").expect("named");
            let said = presence(sentence, &(at..at + "pneumothorax".len()));
            assert_eq!(said, expected, "{sentence}");
        }
    }
}
