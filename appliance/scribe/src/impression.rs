//! A draft of an impression from the findings of a study's structured reports.
//!
//! The model is given numbered facts and may use their words, their numbers and a short list of words that neither deny nor
//! judge. Each sentence names the one fact that it rests on: of two, it could give the one's value to the other. A sentence with a
//! word or a number from anywhere else is dropped, and so is one that does not name what was found and what was measured of it.

use crate::package::Package;
use crate::{Refusal, commonest};
use pericard_domain::chat::{Message, Prompt, Sampling, Shape};
use pericard_domain::finding::{Finding, Report};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;

/// Facts that an impression may rest on.
const FACTS_MAX: usize = 60;
/// Sentences of an impression.
const SENTENCES_MAX: usize = 12;
/// Words of a sentence.
const WORDS_MAX: usize = 40;

/// One fact of a structured report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// Its number, from 1.
    pub number: usize,
    /// What the report says, in words.
    pub text: String,
    /// The finding of the report that says it.
    pub tracking_uid: String,
    /// The model whose report it is.
    pub model: String,
    /// What a sentence about it must name: what was found, and what was measured of it.
    #[serde(skip)]
    names: Vec<String>,
}

/// The facts of a study.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts(Vec<Fact>);

/// A sentence that passed the checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sentence {
    /// What it says.
    pub text: String,
    /// The facts that it rests on: one.
    pub facts: Vec<usize>,
}

/// A draft of an impression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Impression {
    /// What holds, in order.
    pub sentences: Vec<Sentence>,
    /// Why others were dropped. What they said is not passed on.
    pub rejected: Vec<&'static str>,
    /// Facts that no sentence speaks of: nothing is left out silently.
    pub unmentioned: Vec<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    sentences: Vec<SaidSentence>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SaidSentence {
    facts: Vec<usize>,
    text: String,
}

impl Facts {
    /// The facts of structured reports. What text was read in images is not among them: it may identify somebody.
    ///
    /// # Errors
    /// [`Refusal::Unsuitable`] when there are none, or too many.
    pub fn of<'a>(reports: impl IntoIterator<Item = &'a Report>) -> Result<Self, Refusal> {
        let mut facts = Vec::new();
        for report in reports {
            for finding in &report.findings {
                for (names, text) in said(finding) {
                    facts.push(Fact {
                        number: facts.len() + 1,
                        text,
                        tracking_uid: finding.tracking_uid.to_string(),
                        model: report.model.to_string(),
                        names,
                    });
                }
            }
        }
        if facts.is_empty() {
            let why = "the study's structured reports hold no finding: there is nothing to draw an impression from";
            return Err(Refusal::Unsuitable(why.to_owned()));
        }
        if facts.len() > FACTS_MAX {
            let count = facts.len();
            return Err(Refusal::Unsuitable(format!(
                "the study's structured reports hold {count} facts; an impression is drafted from at most {FACTS_MAX}"
            )));
        }
        Ok(Self(facts))
    }

    /// The facts, in order.
    #[must_use]
    pub fn list(&self) -> &[Fact] {
        &self.0
    }

    /// What a model is asked.
    #[must_use]
    pub fn question(&self) -> (Prompt, Sampling) {
        let package = Package::draft_impression();
        let lines: Vec<String> = self
            .0
            .iter()
            .map(|f| format!("{}. {}", f.number, f.text))
            .collect();
        let message = |role: &str, content: String| Message {
            role: role.to_owned(),
            content,
        };
        let messages = vec![
            message("system", package.system),
            message("user", format!("Facts:\n{}", lines.join("\n"))),
        ];
        let sampling = Sampling {
            temperature: 0.0,
            max_tokens: Some(package.answer_tokens_max),
            shape: Shape::Schema(self.schema()),
            ..Sampling::default()
        };
        (Prompt::Messages(messages), sampling)
    }

    fn schema(&self) -> String {
        let numbers: Vec<usize> = self.0.iter().map(|fact| fact.number).collect();
        let mut known: BTreeSet<String> =
            self.0.iter().flat_map(|fact| written(&fact.text)).collect();
        known.extend(filler().iter().map(|word| (*word).to_owned()));
        let word = known
            .iter()
            .map(|word| regex::escape(word))
            .collect::<Vec<_>>()
            .join("|");
        json!({
            "type": "object",
            "properties": {"sentences": {"type": "array", "minItems": 1, "maxItems": SENTENCES_MAX, "items": {
                "type": "object",
                "properties": {
                    "facts": {"type": "array", "minItems": 1, "maxItems": 1, "items": {"enum": numbers}},
                    "text": {"type": "string", "pattern": format!("^({word})( ({word})){{1,{WORDS_MAX}}}\\.$")},
                },
                "required": ["facts", "text"],
                "additionalProperties": false,
            }}},
            "required": ["sentences"],
            "additionalProperties": false,
        })
        .to_string()
    }

    /// Checks what a model said.
    ///
    /// # Errors
    /// [`Refusal`] when it is not whole, or when nothing of it holds.
    pub fn check(&self, said: &str) -> Result<Impression, Refusal> {
        let said: Said = serde_json::from_str(said).map_err(|_| Refusal::NotWhole)?;
        let (mut sentences, mut rejected) = (Vec::<Sentence>::new(), Vec::new());
        for sentence in &said.sentences {
            match self.sentence(sentence) {
                Ok(sentence) if sentences.iter().any(|s| s.text == sentence.text) => {}
                Ok(sentence) => sentences.push(sentence),
                Err(reason) => rejected.push(reason),
            }
        }
        if sentences.is_empty() {
            return Err(Refusal::NothingHolds {
                said: rejected.len(),
                why: commonest(&rejected),
            });
        }
        let mentioned: BTreeSet<usize> = sentences.iter().flat_map(|s| s.facts.clone()).collect();
        let numbers = self.0.iter().map(|fact| fact.number);
        Ok(Impression {
            unmentioned: numbers
                .filter(|number| !mentioned.contains(number))
                .collect(),
            sentences,
            rejected,
        })
    }

    fn sentence(&self, said: &SaidSentence) -> Result<Sentence, &'static str> {
        let mut numbers = said.facts.clone();
        numbers.dedup();
        let number = match numbers[..] {
            [number] => number,
            [] => return Err("a sentence cites a fact that is not there"),
            // "Left ventricle volume 80 mL and right ventricle volume 120 mL": whose is which, no check of words can tell.
            _ => return Err("a sentence rests on more than one fact"),
        };
        let cited = self.0.iter().find(|fact| fact.number == number);
        let fact = cited.ok_or("a sentence cites a fact that is not there")?;
        let known: BTreeSet<String> = lower(&fact.text).into_iter().collect();
        let used = lower(&said.text);
        if used.len() > WORDS_MAX + 1 {
            return Err("a sentence is too long");
        }
        for word in &used {
            if word.chars().any(|c| c.is_ascii_digit()) {
                if !known.contains(word) {
                    return Err("a sentence has a number that its facts do not have");
                }
            } else if !known.contains(word) && !filler().contains(word.as_str()) {
                return Err("a sentence has a word that its facts do not have");
            }
        }
        if !fact.names.iter().all(|name| names(&used, name)) {
            return Err("a sentence does not name what its fact is about");
        }
        if !keeps_values(&used, fact) {
            return Err("a sentence gives a value without its unit, or beside another fact's name");
        }
        Ok(Sentence {
            text: said.text.clone(),
            facts: numbers,
        })
    }
}

/// Whether words hold a concept's name, in order and without anything between.
fn names(used: &[String], concept: &str) -> bool {
    let concept = lower(concept);
    !concept.is_empty() && used.windows(concept.len()).any(|window| window == concept)
}

/// Whether the number of a fact has its unit behind it, as in the fact. A number within a name is none.
fn keeps_values(used: &[String], fact: &Fact) -> bool {
    let told = lower(&fact.text);
    let of_names: usize = fact.names.iter().map(|name| lower(name).len()).sum();
    let (of_names, of_value) = told.split_at(of_names.min(told.len()));
    let is_number = |word: &str| word.chars().any(|c| c.is_ascii_digit());
    let Some(at) = of_value.iter().position(|word| is_number(word)) else {
        return true;
    };
    let (number, Some(unit)) = (&of_value[at], of_value.get(at + 1)) else {
        return true;
    };
    let has_unit = |place: usize| used.get(place + 1) == Some(unit);
    let mut places = (0..used.len()).filter(|place| used[*place] == *number);
    if of_names.contains(number) {
        return places.any(has_unit);
    }
    places.all(has_unit)
}

/// What a finding says, in words, each with what must be named.
fn said(finding: &Finding) -> Vec<(Vec<String>, String)> {
    let what = &finding.concept.meaning;
    if finding.measurements.is_empty() {
        return vec![(vec![what.clone()], format!("{what} was found"))];
    }
    let measured = finding.measurements.iter().map(|measurement| {
        let (of, unit) = (&measurement.concept.meaning, &measurement.unit.value);
        let value = shortest(measurement.value);
        let names = vec![what.clone(), of.clone()];
        (names, format!("{what}: {of} {value} {unit}"))
    });
    measured.collect()
}

/// As many digits as reports show, and none that say nothing.
fn shortest(value: f64) -> String {
    let written = format!("{value:.3}");
    written
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

/// The words of a text as they are written, numbers whole.
fn written(text: &str) -> Vec<String> {
    text.split_whitespace()
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn lower(text: &str) -> Vec<String> {
    written(text)
        .iter()
        .map(|word| word.to_lowercase())
        .collect()
}

/// Words that an impression may use beside those of its facts.
fn filler() -> &'static BTreeSet<&'static str> {
    static READ: std::sync::OnceLock<BTreeSet<&'static str>> = std::sync::OnceLock::new();
    READ.get_or_init(|| {
        let lines = include_str!("../packages/draft-impression/words.txt").lines();
        let lines = lines.filter(|line| !line.starts_with('#'));
        lines.flat_map(str::split_whitespace).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::negation::words;
    use pericard_domain::digest::Digest;
    use pericard_domain::finding::{Code, Measurement, Region};
    use pericard_domain::model::ModelRef;
    use pericard_domain::time::Timestamp;
    use pericard_domain::uid::{InstanceUid, StudyUid};
    use proptest::prelude::*;

    fn finding(meaning: &str, measured: &[(&str, f64, &str)]) -> Finding {
        let code = |meaning: &str| Code::new("1", "99TEST", meaning);
        Finding {
            tracking_id: "one".into(),
            tracking_uid: "1.2.3".parse::<InstanceUid>().expect("a UID"),
            concept: code(meaning),
            region: Region::Frames {
                sources: Vec::new(),
            },
            measurements: measured
                .iter()
                .map(|(of, value, unit)| Measurement {
                    concept: code(of),
                    value: *value,
                    unit: Code::new(unit, "UCUM", unit),
                })
                .collect(),
            text: Some("JANE DOE".into()),
            score: None,
        }
    }

    fn report(findings: Vec<Finding>) -> Report {
        Report {
            study: "1.2".parse::<StudyUid>().expect("a UID"),
            revision: 1,
            model: ModelRef {
                name: "m".into(),
                version: "1.0.0".into(),
                digest: Digest::new([0; 32]),
            },
            clinical_use: false,
            evidence: Vec::new(),
            findings,
            device: "cpu".into(),
            at: Timestamp::from_millis(0),
        }
    }

    fn facts() -> Facts {
        let brain = finding("Brain", &[("Volume", 1369.6, "mL"), ("Length", 17.0, "cm")]);
        Facts::of(&[report(vec![brain, finding("Burned-in text", &[])])]).expect("facts")
    }

    fn ventricles() -> Facts {
        let left = finding("Left ventricle", &[("Volume", 120.0, "mL")]);
        let right = finding("Right ventricle", &[("Volume", 80.0, "mL")]);
        Facts::of(&[report(vec![left, right])]).expect("facts")
    }

    fn said(sentences: &[(&[usize], &str)]) -> String {
        let sentences: Vec<_> = sentences
            .iter()
            .map(|(facts, text)| json!({"facts": facts, "text": text}))
            .collect();
        json!({"sentences": sentences}).to_string()
    }

    #[test]
    fn facts_are_what_the_reports_say_and_no_text_of_an_image() {
        let facts = facts();
        let texts: Vec<&str> = facts.list().iter().map(|fact| fact.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "Brain: Volume 1369.6 mL",
                "Brain: Length 17 cm",
                "Burned-in text was found"
            ]
        );
        assert!(!format!("{facts:?}").contains("DOE"));
        let none = Facts::of(&[report(Vec::new())]);
        assert!(matches!(none, Err(Refusal::Unsuitable(_))));
    }

    #[test]
    fn what_rests_on_its_facts_holds() {
        let impression = facts()
            .check(&said(&[
                (&[1], "The volume of the brain is 1369.6 mL."),
                (&[1], "The volume of the brain is 1369.6 mL."),
                (&[3], "Burned-in text was seen in the images."),
            ]))
            .expect("holds");
        assert_eq!(impression.sentences.len(), 2);
        assert_eq!(impression.unmentioned, [2]);
    }

    #[test]
    fn what_does_not_is_dropped() {
        let swapped = "Left ventricle volume 80 mL and right ventricle volume 120 mL.";
        let kept = "Left ventricle volume 120 mL and right ventricle volume 80 mL.";
        for (sentence, reason) in [
            (
                (vec![1, 2], swapped),
                "a sentence rests on more than one fact",
            ),
            ((vec![1, 2], kept), "a sentence rests on more than one fact"),
            (
                (vec![1], swapped),
                "a sentence has a number that its facts do not have",
            ),
            (
                (vec![1], "Left ventricle volume 80 mL."),
                "a sentence has a number that its facts do not have",
            ),
            (
                (vec![1], "Right ventricle volume 120 mL."),
                "a sentence has a word that its facts do not have",
            ),
            (
                (vec![1], "The volume is 120 mL."),
                "a sentence does not name what its fact is about",
            ),
            (
                (vec![1], "The ventricle volume is 120 mL."),
                "a sentence does not name what its fact is about",
            ),
            (
                (vec![1], "The left ventricle is 120 mL."),
                "a sentence does not name what its fact is about",
            ),
            (
                (vec![1], "The left ventricle volume is 120."),
                "a sentence gives a value without its unit, or beside another fact's name",
            ),
        ] {
            is_dropped(&ventricles(), sentence, reason);
        }
        for (sentence, reason) in [
            (
                (vec![1], "The volume of the brain is 1469.6 mL."),
                "a sentence has a number that its facts do not have",
            ),
            (
                (vec![1], "The volume of the brain is 17 cm."),
                "a sentence has a number that its facts do not have",
            ),
            (
                (vec![1], "The volume of the brain is normal."),
                "a sentence has a word that its facts do not have",
            ),
            (
                (vec![1], "No volume of the brain."),
                "a sentence has a word that its facts do not have",
            ),
            (
                (vec![1], "Brain atrophy, volume 1369.6 mL."),
                "a sentence has a word that its facts do not have",
            ),
            (
                (vec![1], "The brain was seen."),
                "a sentence does not name what its fact is about",
            ),
            (
                (vec![1], "The volume is 1369.6 of the brain."),
                "a sentence gives a value without its unit, or beside another fact's name",
            ),
            (
                (vec![9], "The volume of the brain is 1369.6 mL."),
                "a sentence cites a fact that is not there",
            ),
            (
                (vec![], "The volume of the brain is 1369.6 mL."),
                "a sentence cites a fact that is not there",
            ),
        ] {
            is_dropped(&facts(), sentence, reason);
        }
        assert_eq!(facts().check("{\"sentences\": ["), Err(Refusal::NotWhole));
    }

    fn is_dropped(facts: &Facts, (cites, text): (Vec<usize>, &str), reason: &'static str) {
        let refused = facts.check(&said(&[(&cites, text)])).expect_err(text);
        assert_eq!(
            refused,
            Refusal::NothingHolds {
                said: 1,
                why: reason
            },
            "{text}"
        );
    }

    #[test]
    fn a_name_with_a_number_in_it_keeps_its_value() {
        let fact = finding("Chamber 2", &[("Length", 2.0, "cm")]);
        let facts = Facts::of(&[report(vec![fact])]).expect("facts");
        let told = "The length of the chamber 2 is 2 cm.";
        let impression = facts.check(&said(&[(&[1, 1], told)])).expect("holds");
        assert_eq!(impression.sentences[0].facts, [1]);
        is_dropped(
            &facts,
            (vec![1], "The length of the chamber 2 is 2."),
            "a sentence gives a value without its unit, or beside another fact's name",
        );
    }

    #[test]
    fn the_words_that_may_be_added_deny_and_judge_nothing() {
        for word in [
            "no",
            "not",
            "without",
            "normal",
            "abnormal",
            "likely",
            "suggests",
            "diagnosis",
            "consistent",
            "left",
            "right",
        ] {
            assert!(!filler().contains(word), "{word}");
        }
        assert!(filler().len() > 40 && filler().iter().all(|w| words(w) == [*w]));
    }

    proptest! {
        #[test]
        fn whatever_a_model_says_no_other_number_comes_out(text in "(The |volume |brain |is |of |no |[0-9]{1,4} |mL |cm |1369\\.6 ){1,12}", fact in 0_usize..5) {
            if let Ok(impression) = facts().check(&said(&[(&[fact], &text)])) {
                for sentence in impression.sentences {
                    for word in lower(&sentence.text) {
                        let number = word.chars().any(|c| c.is_ascii_digit());
                        prop_assert!(!number || ["1369.6", "17"].contains(&word.as_str()), "{}", sentence.text);
                        prop_assert!(word != "no");
                    }
                }
            }
        }
    }
}
