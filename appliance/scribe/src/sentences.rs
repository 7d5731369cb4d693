//! A text, cut into its sentences.

mod lines;

use lines::Break;
use std::ops::Range;

/// What a dot does not end: titles and abbreviations of reports.
const ABBREVIATIONS: [&str; 23] = [
    "dr", "prof", "mr", "mrs", "ms", "st", "vs", "ca", "approx", "cf", "fig", "incl", "resp",
    "bzw", "z.b", "d.h", "e.g", "i.e", "evtl", "li", "re", "max", "min",
];

/// A sentence of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// Where it stands, in bytes, without the space around it. There may be line breaks in it.
    pub bytes: Range<usize>,
    /// Which sentence of the list it may go on from: an earlier one, as the lines can be read in both ways. That is the one before it,
    /// or for an item of a list what introduces the list.
    pub follows: Option<usize>,
}

/// A text's sentences. A line break ends one too, unless the text runs on over it; `names` are never taken apart by a line break that
/// can be read in both ways.
#[must_use]
pub fn sentences(text: &str, names: &[Range<usize>]) -> Vec<Sentence> {
    let width = lines::width(text);
    let mut found: Vec<Sentence> = Vec::new();
    let (mut from, mut follows, mut heads_list) = (0, None, None);
    for (at, letter) in text.char_indices() {
        let after = at + letter.len_utf8();
        let is_break = match letter {
            '\r' if text[after..].starts_with('\n') => continue,
            '\n' | '\r' => true,
            '!' | '?' | ';' => false,
            '.' if ends_at(&text[from..at], &text[after..]) => false,
            _ => continue,
        };
        let within = |name: &Range<usize>| name.start < at && after < name.end;
        let ends = match is_break {
            true => match lines::between(&text[from..at], line(text, at), next(text, after), width)
            {
                Break::Unclear if names.iter().any(within) => Break::RunsOn,
                ends => ends,
            },
            false => Break::Ends,
        };
        if ends == Break::RunsOn {
            continue;
        }
        let is_kept = keep(&mut found, text, from..after, &mut follows);
        from = after;
        if !is_break {
            continue;
        }
        let is_unclear = ends == Break::Unclear;
        let last = found.len().checked_sub(1).filter(|_| is_kept && is_unclear);
        if !lines::is_item(next(text, after)) {
            follows = last;
            heads_list = heads_list.filter(|_| is_unclear);
            continue;
        }
        if last.is_some() && !lines::is_item(line(text, at)) {
            heads_list = last;
        }
        follows = heads_list;
    }
    keep(&mut found, text, from..text.len(), &mut follows);
    found
}

/// The line of a text that ends at this place.
fn line(text: &str, at: usize) -> &str {
    let before = text[..at].strip_suffix('\r').unwrap_or(&text[..at]);
    before.rsplit(['\n', '\r']).next().unwrap_or_default()
}

/// The line that begins there.
fn next(text: &str, from: usize) -> &str {
    let mut lines = text[from..].split(['\n', '\r']);
    lines.next().unwrap_or_default()
}

/// Keeps what stands there, if it says anything. The number of a list's item is not what goes on from another sentence: that comes after.
fn keep(
    found: &mut Vec<Sentence>,
    text: &str,
    range: Range<usize>,
    follows: &mut Option<usize>,
) -> bool {
    let Some(bytes) = trimmed(text, range) else {
        return false;
    };
    let is_number = !text[bytes.clone()].contains(char::is_alphabetic);
    let follows = if is_number { None } else { follows.take() };
    found.push(Sentence { bytes, follows });
    true
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
        let all = sentences(text, &[]).into_iter();
        all.map(|sentence| &text[sentence.bytes]).collect()
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

    #[test]
    fn a_line_ends_a_sentence_unless_the_text_runs_on() {
        let text = "FINDINGS:\r\nNo effusion or\r\npneumothorax. Heart normal\r\nLungs clear, as seen by Dr.\r\nGray\n\n- no mass in the\n  liver\n- 3 cysts";
        let expected = [
            "FINDINGS:",
            "No effusion or\r\npneumothorax.",
            "Heart normal",
            "Lungs clear, as seen by Dr.",
            "Gray",
            "- no mass in the\n  liver",
            "- 3 cysts",
        ];
        assert_eq!(cut(text), expected);
        assert_eq!(
            cut("no mass\rof the liver\rheart normal"),
            ["no mass\rof the liver", "heart normal"]
        );
    }

    #[test]
    fn what_may_go_on_says_from_where() {
        let follows = |text| -> Vec<Option<usize>> {
            let all = sentences(text, &[]).into_iter();
            all.map(|sentence| sentence.follows).collect()
        };
        assert_eq!(
            follows("no mass\nheart normal. clear\nx"),
            [None, Some(0), None, Some(2)]
        );
        assert_eq!(
            follows("No:\n1. mass\n2. cyst\nHeart"),
            [None, None, Some(0), None, Some(0), None]
        );
        let text = "no pleural\neffusion";
        assert_eq!(follows(text), [None, Some(0)]);
        let name = 3..text.len();
        assert_eq!(
            sentences(text, &[name]).len(),
            1,
            "a name is not taken apart"
        );
    }

    proptest! {
        #[test]
        fn nothing_but_space_and_signs_is_lost(text in "\\PC{0,200}") {
            let kept: usize = sentences(&text, &[]).iter().map(|s| text[s.bytes.clone()].chars().filter(|c| c.is_alphanumeric()).count()).sum();
            prop_assert_eq!(kept, text.chars().filter(|c| c.is_alphanumeric()).count());
        }

        #[test]
        fn lines_are_in_order_and_nothing_of_them_is_lost(text in "([a-zA-Z0-9äß,.:;()* -]|no |or |\r\n|\n|\r){0,200}") {
            let all = sentences(&text, &[]);
            let kept: usize = all.iter().map(|s| text[s.bytes.clone()].chars().filter(|c| c.is_alphanumeric()).count()).sum();
            prop_assert_eq!(kept, text.chars().filter(|c| c.is_alphanumeric()).count());
            for (at, sentence) in all.iter().enumerate() {
                prop_assert!(sentence.follows.is_none_or(|before| before < at));
                prop_assert!(at == 0 || all[at - 1].bytes.end <= sentence.bytes.start);
            }
        }
    }
}
