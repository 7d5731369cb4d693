//! From numbers for each token to what stands where.

use super::unfit;
use crate::ImagingError;
use crate::parameters::Parameters;
use pericard_domain::entity::Entity;
use pericard_domain::model::Output;
use std::collections::BTreeMap;
use std::ops::Range;

/// The label of a token that is nothing of all this.
const OUTSIDE: &str = "O";
/// A label says whether its thing begins here (`B-`) or goes on (`I-`).
const PREFIXES: [&str; 2] = ["B-", "I-"];
/// How far a word is followed, in letters to each side of a token.
const WORD_LETTERS_MAX: usize = 80;

/// What the labels of a network mean.
pub(super) struct Labels {
    concepts: Vec<Concept>,
    /// For each label its concept; nothing for [`OUTSIDE`].
    of: Vec<Option<usize>>,
}

/// What several labels mean together, in the word of the manifest.
struct Concept {
    word: String,
    /// A token counts from this on.
    score_min: f32,
}

impl Labels {
    /// The labels `names`, as `outputs` translates them. For each concept there is a parameter `CONCEPT_score_min`.
    pub(super) fn new(
        names: &[String],
        outputs: &BTreeMap<String, Output>,
        parameters: &mut Parameters,
    ) -> Result<Self, ImagingError> {
        let mut labels = Self {
            concepts: Vec::new(),
            of: Vec::new(),
        };
        for name in names {
            if name == OUTSIDE {
                labels.of.push(None);
                continue;
            }
            let what = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix));
            let what = what.ok_or_else(|| {
                unfit(format!("its label {name:?} begins with neither B- nor I-"))
            })?;
            let output = outputs.get(what);
            let output = output.ok_or_else(|| {
                unfit(format!(
                    "[outputs] does not say what its label {what:?} means"
                ))
            })?;
            let word = &output.concept.value;
            let known = labels.concepts.iter().position(|c| c.word == *word);
            let concept = match known {
                Some(concept) => concept,
                None => {
                    let score_min =
                        parameters.number(&format!("{word}_score_min"), 0.01..=1.0)? as f32;
                    labels.concepts.push(Concept {
                        word: word.clone(),
                        score_min,
                    });
                    labels.concepts.len() - 1
                }
            };
            labels.of.push(Some(concept));
        }
        Ok(labels)
    }

    /// How many labels there are.
    pub(super) const fn count(&self) -> usize {
        self.of.len()
    }

    /// The scores of a token of which nothing is known.
    pub(super) fn none(&self) -> Vec<f32> {
        vec![0.0; self.concepts.len()]
    }

    /// How likely a token is of each concept, of what the network gave for each label.
    pub(super) fn scores(&self, row: &[f32]) -> Vec<f32> {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f32> = row.iter().map(|value| (value - most).exp()).collect();
        let all: f32 = weights.iter().sum();
        let mut scores = self.none();
        for (weight, concept) in weights.iter().zip(&self.of) {
            if let Some(concept) = concept {
                scores[*concept] += weight / all;
            }
        }
        scores
    }

    /// What stands where: words of which a token is surely enough of a concept, joined where they follow each other. Whether a
    /// label begins a thing or goes on with one is not asked: a given name and a surname are one name.
    pub(super) fn entities(&self, text: &str, tokens: &[(Range<usize>, Vec<f32>)]) -> Vec<Entity> {
        let mut found: Vec<(Range<usize>, usize, f32)> = Vec::new();
        for (piece, scores) in tokens {
            let Some((concept, score)) = self.surest(scores) else {
                continue;
            };
            if !text[piece.clone()].contains(char::is_alphanumeric) {
                continue;
            }
            let word = word_at(text, piece);
            match found.last_mut() {
                Some((last, of, sure)) if *of == concept && follows(text, last, &word) => {
                    last.end = last.end.max(word.end);
                    *sure = sure.max(score);
                }
                // Two concepts in one word: the surer one has it.
                Some((last, of, sure)) if word.start < last.end => {
                    last.end = last.end.max(word.end);
                    if score > *sure {
                        (*of, *sure) = (concept, score);
                    }
                }
                _ => found.push((word, concept, score)),
            }
        }
        let entity = |(place, concept, score): (Range<usize>, usize, f32)| Entity {
            concept: self.concepts[concept].word.clone(),
            start: place.start,
            end: place.end,
            score,
        };
        found.into_iter().map(entity).collect()
    }

    /// The likeliest concept, when it is likely enough.
    fn surest(&self, scores: &[f32]) -> Option<(usize, f32)> {
        let each = scores.iter().copied().enumerate();
        let (concept, score) = each.max_by(|(_, a), (_, b)| a.total_cmp(b))?;
        (score >= self.concepts[concept].score_min).then_some((concept, score))
    }
}

/// The word that a token is a part of: nobody's name is left half.
fn word_at(text: &str, piece: &Range<usize>) -> Range<usize> {
    let bytes = |letters: &mut dyn Iterator<Item = char>| -> usize {
        letters
            .take(WORD_LETTERS_MAX)
            .take_while(|letter| letter.is_alphanumeric())
            .map(char::len_utf8)
            .sum()
    };
    let before = bytes(&mut text[..piece.start].chars().rev());
    let after = bytes(&mut text[piece.end..].chars());
    piece.start - before..piece.end + after
}

/// Whether nothing but what stands within a name stands between two words of one line. A full stop does after an initial only.
fn follows(text: &str, last: &Range<usize>, word: &Range<usize>) -> bool {
    let between = text.get(last.end..word.start).unwrap_or_default();
    let stands_within = |c: char| match c {
        '.' => is_initial(&text[..last.end]),
        other => matches!(other, ' ' | '\t' | '\u{a0}' | '-' | '\'' | '’'),
    };
    between.chars().all(stands_within)
}

/// Whether a text ends with a word of one letter.
fn is_initial(text: &str) -> bool {
    let mut letters = text.chars().rev();
    letters.next().is_some_and(char::is_alphabetic)
        && !letters.next().is_some_and(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pericard_domain::finding::Code;

    fn labels() -> Labels {
        let output = |word: &str| Output {
            concept: Code::new(word, "99PERICARD", word),
            unit: None,
        };
        let outputs = BTreeMap::from([
            ("GIVEN".to_owned(), output("name")),
            ("SURNAME".to_owned(), output("name")),
            ("CITY".to_owned(), output("address")),
        ]);
        let given = BTreeMap::from([
            ("name_score_min".to_owned(), 0.25),
            ("address_score_min".to_owned(), 0.75),
        ]);
        let names = ["O", "B-GIVEN", "I-SURNAME", "B-CITY"].map(str::to_owned);
        Labels::new(&names, &outputs, &mut Parameters::new(&given)).unwrap()
    }

    /// Tokens of a text, given by their words in order, with the scores of name and address.
    fn found(text: &str, tokens: &[(&str, [f32; 2])]) -> Vec<(String, String)> {
        let mut from = 0;
        let place = |(word, scores): &(&str, [f32; 2])| {
            let start = from + text[from..].find(word).unwrap();
            from = start + word.len();
            (start..from, scores.to_vec())
        };
        let tokens: Vec<_> = tokens.iter().map(place).collect();
        let entities = labels().entities(text, &tokens);
        let shown = |e: &Entity| (e.concept.clone(), text[e.start..e.end].to_owned());
        entities.iter().map(shown).collect()
    }

    fn named(text: &str) -> (String, String) {
        ("name".to_owned(), text.to_owned())
    }

    #[test]
    fn labels_of_one_concept_are_counted_together() {
        let labels = labels();
        assert_eq!((labels.count(), labels.none().len()), (4, 2));
        // Half a given name and half a surname is a name for sure.
        let scores = labels.scores(&[-50.0, 3.0, 3.0, -50.0]);
        assert!(
            (scores[0] - 1.0).abs() < 1e-6 && scores[1] < 1e-6,
            "{scores:?}"
        );
        let even = labels.scores(&[1.0; 4]);
        assert!((even[0] - 0.5).abs() < 1e-6 && (even[1] - 0.25).abs() < 1e-6);
    }

    #[test]
    fn whole_words_are_found_and_joined_within_a_line() {
        let text = "Seen: Anna-Lena Müller. Leeds";
        let tokens = [
            ("Seen", [0.1, 0.1]),
            ("Anna", [0.3, 0.0]),
            ("-", [0.9, 0.0]),
            ("Le", [0.1, 0.0]),
            ("na", [0.26, 0.0]),
            ("ller", [0.9, 0.0]),
            ("Leeds", [0.1, 0.7]),
        ];
        assert_eq!(found(text, &tokens), [named("Anna-Lena Müller")]);
        let apart = [("Anna", [0.9, 0.0]), ("Peter", [0.9, 0.0])];
        for text in [
            "Anna, Peter",
            "Anna\nPeter",
            "Anna and Peter",
            "Anna. Peter",
        ] {
            assert_eq!(found(text, &apart), [named("Anna"), named("Peter")]);
        }
        let text = "Anna F. Peter";
        let with_initial = [apart[0], ("F", [0.9, 0.0]), apart[1]];
        assert_eq!(found(text, &with_initial), [named(text)]);
    }

    #[test]
    fn in_one_word_the_surer_concept_counts() {
        let text = "Jena";
        let address = ("address".to_owned(), text.to_owned());
        for (scores, due) in [([0.3, 0.8], address), ([0.9, 0.8], named(text))] {
            let tokens = [("Je", [scores[0], 0.0]), ("na", [0.0, scores[1]])];
            assert_eq!(found(text, &tokens), [due]);
        }
    }

    #[test]
    fn a_label_that_nobody_explains_is_refused() {
        for name in ["B-PASSPORT", "CITY"] {
            let names = [name.to_owned()];
            let mut none = Parameters::new(&BTreeMap::new());
            let refused = Labels::new(&names, &BTreeMap::new(), &mut none).err();
            assert!(
                matches!(refused, Some(ImagingError::Unfit { .. })),
                "{name}"
            );
        }
    }
}
