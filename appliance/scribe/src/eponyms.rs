//! Names of persons that are names of things in medicine: which of those that a model marks stay in the text.

use serde::Deserialize;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::OnceLock;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    eponyms: Eponyms,
}

/// In lower case.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Eponyms {
    names: BTreeSet<String>,
    things: BTreeSet<String>,
    before: BTreeSet<String>,
    titles: BTreeSet<String>,
}

/// Whether what stands in this range is the name of a thing: the thing stands beside it, and no title does.
pub(crate) fn is_thing(text: &str, name: &Range<usize>) -> bool {
    let eponyms = eponyms();
    let (before, marked, after) = (
        &text[..name.start],
        text[name.clone()].to_lowercase(),
        &text[name.end..],
    );
    let before = last_word(before);
    if eponyms.titles.contains(&before) {
        return false;
    }
    let marked = marked.trim_end_matches("'s").trim_end_matches("’s");
    if eponyms.names.contains(marked) {
        return eponyms.before.contains(&before) || eponyms.things.contains(&next_word(after));
    }
    // One word with its thing: Foley-Katheter.
    marked
        .rsplit_once('-')
        .is_some_and(|(name, thing)| eponyms.names.contains(name) && eponyms.things.contains(thing))
}

fn last_word(text: &str) -> String {
    let text = text.trim_end_matches([' ', '\t', '.']);
    let word = text.rsplit(|c: char| !c.is_alphabetic()).next();
    word.unwrap_or_default().to_lowercase()
}

fn next_word(text: &str) -> String {
    let text = text.strip_prefix("'s").unwrap_or(text);
    let text = text.strip_prefix("’s").unwrap_or(text);
    let text = text.trim_start_matches([' ', '\t', '\n', '\r', '-']);
    let word = text.split(|c: char| !c.is_alphabetic()).next();
    word.unwrap_or_default().to_lowercase()
}

fn eponyms() -> &'static Eponyms {
    static READ: OnceLock<Eponyms> = OnceLock::new();
    READ.get_or_init(|| {
        // A test reads the file that is compiled in.
        let file: File = toml::from_str(include_str!("../packages/deidentify-text/eponyms.toml"))
            .expect("the eponyms are valid");
        file.eponyms
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stays(text: &str, name: &str) -> bool {
        let start = text.find(name).expect("it stands there");
        is_thing(text, &(start..start + name.len()))
    }

    #[test]
    fn an_eponym_stays_beside_its_thing_and_never_after_a_title() {
        for (text, name) in [
            ("A Foley catheter.", "Foley"),
            ("Parkinson's disease", "Parkinson"),
            ("Parkinson’s disease", "Parkinson’s"),
            ("Morbus Crohn.", "Crohn"),
            ("M. Bechterew", "Bechterew"),
            ("Hill-Sachs\nlesion", "Hill-Sachs"),
            ("Ein Foley-Katheter liegt.", "Foley-Katheter"),
            ("Ein Foley-Katheter liegt.", "Foley"),
        ] {
            assert!(stays(text, name), "{text}");
        }
        for (text, name) in [
            ("Parkinson saw the patient.", "Parkinson"),
            ("Dr. Foley catheter", "Foley"),
            ("Frau Baker cyst", "Baker"),
            ("Herr Foley-Katheter", "Foley-Katheter"),
            ("James Parkinson disease", "James Parkinson"),
            ("Miller catheter", "Miller"),
            ("Hodgkin", "Hodgkin"),
        ] {
            assert!(!stays(text, name), "{text}");
        }
    }

    #[test]
    fn the_file_is_in_lower_case() {
        let eponyms = eponyms();
        let all = [
            &eponyms.names,
            &eponyms.things,
            &eponyms.before,
            &eponyms.titles,
        ];
        let mut words = all.into_iter().flatten();
        assert!(words.all(|word| *word == word.to_lowercase()));
    }
}
