//! The findings that a report can be structured into: a coded concept and the words that name it.

use pericard_domain::finding::Code;
use regex::Regex;
use serde::Deserialize;
use std::ops::Range;
use std::sync::OnceLock;

/// A finding of the vocabulary.
#[derive(Debug)]
pub struct Term {
    /// What it is.
    pub code: Code,
    named: Regex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    finding: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    code: String,
    meaning: String,
    words: Vec<String>,
}

/// The vocabulary, in the order of its file.
#[must_use]
pub fn vocabulary() -> &'static [Term] {
    static READ: OnceLock<Vec<Term>> = OnceLock::new();
    READ.get_or_init(|| {
        // A test reads the file that is compiled in.
        let file: File = toml::from_str(include_str!("../packages/structure-report/findings.toml"))
            .expect("the vocabulary is valid");
        file.finding.iter().map(Term::of).collect()
    })
}

/// The finding of that meaning.
#[must_use]
pub fn meaning(meaning: &str) -> Option<&'static Term> {
    vocabulary()
        .iter()
        .find(|term| term.code.meaning == meaning)
}

impl Term {
    fn of(entry: &Entry) -> Self {
        // A report is wrapped within names, too.
        let wrapped = |word: &String| regex::escape(word).replace(' ', r"\s+");
        let words: Vec<String> = entry.words.iter().map(wrapped).collect();
        // Longer names first, so that the whole of a name is found. Endings of plurals belong to it.
        let named = format!(r"(?i)\b(?:{})(?:s|es|e|en|n)?\b", words.join("|"));
        Self {
            code: Code::new(&entry.code, "SCT", &entry.meaning),
            named: Regex::new(&named).expect("escaped words are a pattern"),
        }
    }

    /// Where a text first names it.
    #[must_use]
    pub fn named_in(&self, text: &str) -> Option<Range<usize>> {
        self.named.find(text).map(|found| found.range())
    }

    /// Wherever a text names it: what is said of one mention is not said of the next.
    #[must_use]
    pub fn all_named(&self, text: &str) -> Vec<Range<usize>> {
        let found = self.named.find_iter(text);
        found.map(|found| found.range()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_finding_has_a_code_of_its_own_and_is_named_by_its_words() {
        let all = vocabulary();
        let codes: BTreeSet<&str> = all.iter().map(|term| term.code.value.as_str()).collect();
        let meanings: BTreeSet<&str> = all.iter().map(|t| t.code.meaning.as_str()).collect();
        assert_eq!((codes.len(), meanings.len()), (all.len(), all.len()));
        assert!(codes.iter().all(|code| is_sctid(code)), "{codes:?}");
        let term = meaning("Pleural effusion").expect("known");
        assert_eq!(term.named_in("Bilateral pleural effusions."), Some(10..27));
        assert_eq!(
            term.named_in("Bilateral pleural\r\n  effusions."),
            Some(10..30)
        );
        assert_eq!(term.named_in("Pericardial effusion."), None);
        let twice = "Left pleural effusion, right hydrothorax.";
        assert_eq!(term.all_named(twice), [5..21, 29..40]);
    }

    /// A SNOMED CT identifier ends with a check digit (Verhoeff), so that a slip of a finger is found.
    fn is_sctid(code: &str) -> bool {
        const TURN: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
        let permuted = |at: usize, digit: u8| (0..at % 8).fold(digit, |d, _| TURN[d as usize]);
        // The dihedral group of order ten.
        let times = |a: u8, b: u8| match (a < 5, b < 5) {
            (true, true) => (a + b) % 5,
            (true, false) => (a + b - 5) % 5 + 5,
            (false, true) => (a - 5 + 5 - b) % 5 + 5,
            (false, false) => (a + 5 - b) % 5,
        };
        let digits = code.bytes().rev().map(|digit| digit - b'0').enumerate();
        let check = digits.fold(0, |sum, (at, digit)| times(sum, permuted(at, digit)));
        check == 0 && (6..=18).contains(&code.len())
    }
}
