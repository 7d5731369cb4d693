//! A text, cut into its sentences.

use std::ops::Range;

/// What a dot does not end: titles and abbreviations of reports.
const ABBREVIATIONS: [&str; 23] = [
    "dr", "prof", "mr", "mrs", "ms", "st", "vs", "ca", "approx", "cf", "fig", "incl", "resp",
    "bzw", "z.b", "d.h", "e.g", "i.e", "evtl", "li", "re", "max", "min",
];

/// The ranges of bytes of a text's sentences, without the space around them. A line ends a sentence too.
#[must_use]
pub fn sentences(text: &str) -> Vec<Range<usize>> {
    let (mut found, mut from) = (Vec::new(), 0);
    for (at, letter) in text.char_indices() {
        let after = at + letter.len_utf8();
        let ends = match letter {
            '\n' | '\r' => true,
            '!' | '?' | ';' => true,
            '.' => ends_at(&text[from..at], &text[after..]),
            _ => false,
        };
        if ends {
            found.extend(trimmed(text, from..after));
            from = after;
        }
    }
    found.extend(trimmed(text, from..text.len()));
    found
}

/// Whether a dot between these ends a sentence: not within a number, a word or an abbreviation.
fn ends_at(before: &str, after: &str) -> bool {
    if after
        .chars()
        .next()
        .is_some_and(|next| !next.is_whitespace())
    {
        return false;
    }
    let word = before
        .rsplit(char::is_whitespace)
        .next()
        .unwrap_or_default();
    let word = word.trim_start_matches('(').to_lowercase();
    // "No. 5" goes on; "Effusion: no. Pneumothorax: yes." does not.
    if word == "no" {
        return !after.trim_start().starts_with(|c: char| c.is_ascii_digit());
    }
    let is_initial = word.chars().count() == 1 && word.chars().all(char::is_alphabetic);
    !is_initial && !ABBREVIATIONS.contains(&word.as_str())
}

fn trimmed(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let part = &text[range.clone()];
    let start = range.start + (part.len() - part.trim_start().len());
    let end = start + part.trim().len();
    text[start..end]
        .chars()
        .any(char::is_alphanumeric)
        .then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(text: &str) -> Vec<&str> {
        sentences(text)
            .into_iter()
            .map(|range| &text[range])
            .collect()
    }

    #[test]
    fn dots_within_numbers_and_after_titles_end_nothing() {
        let text = "FINDINGS:\nA nodule of 3.5 mm, seen by Dr. Gray. No effusion!  Heart normal; lungs clear";
        let expected = [
            "FINDINGS:",
            "A nodule of 3.5 mm, seen by Dr. Gray.",
            "No effusion!",
            "Heart normal;",
            "lungs clear",
        ];
        assert_eq!(cut(text), expected);
        assert!(cut(" \n . ; ").is_empty());
        let answers = "Image no. 5. Effusion: no. Pneumothorax: yes.";
        let expected = ["Image no. 5.", "Effusion: no.", "Pneumothorax: yes."];
        assert_eq!(cut(answers), expected);
    }

    proptest! {
        #[test]
        fn nothing_but_space_and_signs_is_lost(text in "\\PC{0,200}") {
            let kept: usize = sentences(&text).iter().map(|r| text[r.clone()].chars().filter(|c| c.is_alphanumeric()).count()).sum();
            prop_assert_eq!(kept, text.chars().filter(|c| c.is_alphanumeric()).count());
        }
    }
}
