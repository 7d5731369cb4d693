//! What identifies somebody in a clinical text, found by rules, by what the caller knows, and by a model when one is asked.
//!
//! A model trained to find names marks places of the text; a language model says words of it. Either may only add: what a rule or the
//! caller found is taken out whatever a model says. What it adds must stand in the text and look like a name or a number, so that it
//! cannot take out the medicine.
//!
//! Deliberately absent: a promise. Rules and models miss what they do not know; the answer says so, and a person looks.

use crate::eponyms;
use crate::package::Package;
use crate::terms::vocabulary;
use crate::{Refusal, Span};
use pericard_domain::chat::{Message, Prompt, Sampling, Shape};
use pericard_domain::entity::Entity;
use pericard_domain::model::ModelRef;
use regex::{Regex, RegexBuilder};
use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::ops::Range;
use std::sync::OnceLock;

/// What every answer says of how much it finds.
const LIMITS: &str = "Found by rules, by what the caller knows, and by a language model only where one was named. Rules find a name by \
     the title, label or signature beside it, and no other name.";
/// And at its end.
const NO_PROMISE: &str =
    "Nobody promises that everything was found: a person must read the text before it is given on.";
/// The longest text, bytes.
const TEXT_BYTES_MAX: usize = 256 << 10;
/// What a caller may name as known.
const KNOWN_MAX: usize = 64;
/// What a model may add.
const ADDED_MAX: usize = 64;
/// The shortest and the longest that is taken for an identifier, characters.
const LETTERS_MIN: usize = 2;
/// See above.
const LETTERS_MAX: usize = 80;

/// What kind of identifier it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Of a person.
    Name,
    /// Of an event; a year alone is none.
    Date,
    /// Of ninety years and more.
    Age,
    /// Telephone, mail, address in a network.
    Contact,
    /// Where somebody lives.
    Address,
    /// A hospital, a university.
    Institution,
    /// A number of a record, a person, a device or an insurance.
    Identifier,
}

/// Who found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The caller named it.
    Caller,
    /// A rule.
    Rule,
    /// A model.
    Model,
}

/// Something that identifies somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// What kind.
    pub kind: Kind,
    /// Who found it.
    pub by: By,
    /// Where it stands in the text that was given.
    pub span: Span,
    #[serde(skip)]
    bytes: Range<usize>,
}

/// A text without what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cleaned {
    /// The text, with the kind in brackets for each identifier.
    pub text: String,
    /// What was found, in order.
    pub found: Vec<Found>,
    /// How many of a model's suggestions were not followed.
    pub rejected: usize,
}

struct Rule {
    kind: Kind,
    pattern: Regex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rule: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    kind: Kind,
    pattern: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    identifiers: Vec<Added>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Added {
    text: String,
    kind: Kind,
}

/// What a model is asked about a text.
#[must_use]
pub fn question(text: &str) -> (Prompt, Sampling) {
    let package = Package::deidentify_text();
    let message = |role: &str, content: &str| Message {
        role: role.to_owned(),
        content: content.to_owned(),
    };
    let kinds = [
        "name",
        "date",
        "age",
        "contact",
        "address",
        "institution",
        "identifier",
    ];
    let schema = json!({
        "type": "object",
        "properties": {"identifiers": {"type": "array", "maxItems": ADDED_MAX, "items": {
            "type": "object",
            "properties": {
                "text": {"type": "string", "minLength": LETTERS_MIN, "maxLength": LETTERS_MAX},
                "kind": {"enum": kinds},
            },
            "required": ["text", "kind"],
            "additionalProperties": false,
        }}},
        "required": ["identifiers"],
        "additionalProperties": false,
    });
    let sampling = Sampling {
        temperature: 0.0,
        max_tokens: Some(package.answer_tokens_max),
        shape: Shape::Schema(schema.to_string()),
        ..Sampling::default()
    };
    let messages = vec![message("system", &package.system), message("user", text)];
    (Prompt::Messages(messages), sampling)
}

/// What an answer says of how much it finds, where these models trained to find names took part.
#[must_use]
pub fn limits(markers: &[&ModelRef]) -> String {
    let part = match markers {
        [] => "No model trained to find names is active: none took part.".to_owned(),
        some => {
            let names: Vec<String> = some.iter().map(ToString::to_string).collect();
            format!(
                "Of models trained to find names took part: {}. They miss names, too.",
                names.join(", ")
            )
        }
    };
    format!("{LIMITS} {part} {NO_PROMISE}")
}

/// Checks that a text and what is known can be worked on.
///
/// # Errors
/// [`Refusal::Unsuitable`] when there is too much of it, or a known word is too short to be one.
pub fn check(text: &str, known: &[String]) -> Result<(), Refusal> {
    let refuse = |why: String| Err(Refusal::Unsuitable(why));
    if text.len() > TEXT_BYTES_MAX {
        let bytes = text.len();
        return refuse(format!(
            "the text has {bytes} bytes; at most {TEXT_BYTES_MAX} are read"
        ));
    }
    let fits = |word: &String| is_between(word.trim().chars().count());
    if known.len() > KNOWN_MAX || !known.iter().all(fits) {
        return refuse(format!(
            "at most {KNOWN_MAX} known identifiers of {LETTERS_MIN} to {LETTERS_MAX} characters each are taken"
        ));
    }
    Ok(())
}

/// Takes out what identifies somebody: what the caller knows, what the rules find, what models that find names marked, and what a
/// language model said, if one was asked.
///
/// # Errors
/// See [`check`]; and [`Refusal::NotWhole`] when the model's words are no answer.
pub fn clean(
    text: &str,
    known: &[String],
    marked: &[Entity],
    said: Option<&str>,
) -> Result<Cleaned, Refusal> {
    check(text, known)?;
    let mut found = by_caller(text, known);
    found.extend(by_rules(text));
    let mut added: Vec<Found> = marked
        .iter()
        .filter_map(|one| marked_in(text, one))
        .collect();
    let mut rejected = marked.len() - added.len();
    if let Some(said) = said {
        let said: Said = serde_json::from_str(said).map_err(|_| Refusal::NotWhole)?;
        for one in &said.identifiers {
            let places = by_model(text, one);
            rejected += usize::from(places.is_empty());
            added.extend(places);
        }
    }
    found.extend(added);
    let found = apart(found, text);
    Ok(Cleaned {
        text: without(text, &found),
        found,
        rejected,
    })
}

fn is_between(letters: usize) -> bool {
    (LETTERS_MIN..=LETTERS_MAX).contains(&letters)
}

fn by_caller(text: &str, known: &[String]) -> Vec<Found> {
    let each = known.iter().filter_map(|word| {
        // Spaces, commas and carets are one: "DOE^JANE" is known as "Doe, Jane".
        let parts: Vec<String> = word
            .split(|c: char| c.is_whitespace() || c == ',' || c == '^')
            .filter(|part| !part.is_empty())
            .map(regex::escape)
            .collect();
        let pattern = parts.join(r"[\s,^]+");
        RegexBuilder::new(&pattern)
            .case_insensitive(true)
            .build()
            .ok()
    });
    let each = each.flat_map(|pattern| {
        let places: Vec<_> = pattern.find_iter(text).map(|m| m.range()).collect();
        places
    });
    each.map(|bytes| Found::new(text, Kind::Identifier, By::Caller, bytes))
        .collect()
}

fn by_rules(text: &str) -> Vec<Found> {
    let each = rules().iter().flat_map(|rule| {
        let places = rule.pattern.captures_iter(text).filter_map(|captures| {
            let whole = captures.name("it").or_else(|| captures.get(0))?;
            Some(Found::new(text, rule.kind, By::Rule, whole.range()))
        });
        places.collect::<Vec<_>>()
    });
    each.collect()
}

/// What a model marks, unless it is no identifier by its looks, or the name of a thing in medicine.
fn marked_in(text: &str, marked: &Entity) -> Option<Found> {
    let what = text.get(marked.start..marked.end)?;
    let kind: Result<Kind, serde::de::value::Error> =
        Kind::deserialize(marked.concept.as_str().into_deserializer());
    let kind = kind.ok()?;
    let bytes = marked.start..marked.end;
    let is_one = looks_like_one(what) && !eponyms::is_thing(text, &bytes);
    is_one.then(|| Found::new(text, kind, By::Model, bytes))
}

/// Whether a text could identify somebody: it has a capital or a digit, and names no finding.
fn looks_like_one(what: &str) -> bool {
    let looks = what.chars().any(|c| c.is_uppercase() || c.is_ascii_digit());
    let is_medicine = vocabulary()
        .iter()
        .any(|term| term.named_in(what).is_some());
    is_between(what.chars().count()) && looks && !is_medicine
}

/// Where a text has what a model points at; nowhere when that is no identifier by its looks, or a finding's name.
fn by_model(text: &str, added: &Added) -> Vec<Found> {
    let what = added.text.trim();
    if !looks_like_one(what) {
        return Vec::new();
    }
    let places = text
        .match_indices(what)
        .filter(|(at, _)| stands_alone(text, *at, what.len()));
    places
        .map(|(at, _)| Found::new(text, added.kind, By::Model, at..at + what.len()))
        .collect()
}

fn stands_alone(text: &str, at: usize, length: usize) -> bool {
    let before = text[..at].chars().next_back();
    let after = text[at + length..].chars().next();
    ![before, after]
        .into_iter()
        .flatten()
        .any(char::is_alphanumeric)
}

/// In order and not overlapping: where two meet, both go, under the kind of the one that is longer.
fn apart(mut found: Vec<Found>, text: &str) -> Vec<Found> {
    found.sort_by_key(|one| (one.bytes.start, std::cmp::Reverse(one.bytes.end), one.by));
    let mut apart: Vec<Found> = Vec::new();
    for one in found {
        match apart
            .last_mut()
            .filter(|last| one.bytes.start < last.bytes.end)
        {
            Some(last) => {
                let longer = one.bytes.len() > last.bytes.len();
                let bytes = last.bytes.start..last.bytes.end.max(one.bytes.end);
                let kind = if longer { one.kind } else { last.kind };
                *last = Found::new(text, kind, last.by.min(one.by), bytes);
            }
            None => apart.push(one),
        }
    }
    apart
}

fn without(text: &str, found: &[Found]) -> String {
    let (mut cleaned, mut from) = (String::with_capacity(text.len()), 0);
    for one in found {
        cleaned.push_str(&text[from..one.bytes.start]);
        cleaned.push_str(one.kind.mark());
        from = one.bytes.end;
    }
    cleaned.push_str(&text[from..]);
    cleaned
}

impl Found {
    fn new(text: &str, kind: Kind, by: By, bytes: Range<usize>) -> Self {
        let span = Span::of(text, bytes.clone());
        Self {
            kind,
            by,
            span,
            bytes,
        }
    }
}

impl Kind {
    /// What stands in its place.
    const fn mark(self) -> &'static str {
        match self {
            Self::Name => "[NAME]",
            Self::Date => "[DATE]",
            Self::Age => "[AGE]",
            Self::Contact => "[CONTACT]",
            Self::Address => "[ADDRESS]",
            Self::Institution => "[INSTITUTION]",
            Self::Identifier => "[IDENTIFIER]",
        }
    }
}

fn rules() -> &'static [Rule] {
    static READ: OnceLock<Vec<Rule>> = OnceLock::new();
    READ.get_or_init(|| {
        // A test reads the file that is compiled in.
        let file: File = toml::from_str(include_str!("../packages/deidentify-text/rules.toml"))
            .expect("the rules are valid");
        let rule = |entry: Entry| Rule {
            kind: entry.kind,
            pattern: Regex::new(&entry.pattern).expect("a rule is a pattern"),
        };
        file.rule.into_iter().map(rule).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cleaned(text: &str) -> String {
        clean(text, &[], &[], None).expect("clean").text
    }

    #[test]
    fn what_identifies_somebody_goes() {
        for (text, expected) in [
            (
                "Seen by Dr. Maria Gray on 2026-03-04.",
                "Seen by Dr. [NAME] on [DATE].",
            ),
            (
                "Patient: Doe, Jane\nMRN: 00482913",
                "Patient: [NAME]\nMRN: [IDENTIFIER]",
            ),
            ("DOE^JANE^A, born 12.03.1954", "[NAME], born [DATE]"),
            (
                "DOB 3/12/54. Call (555) 123-4567.",
                "DOB [DATE]. Call [CONTACT].",
            ),
            (
                "Mail j.doe@example.org, Tel: +49 30 1234567",
                "Mail [CONTACT], Tel: [CONTACT]",
            ),
            (
                "A 93-year-old woman; her son is 60 years old.",
                "A [AGE]-year-old woman; her son is 60 years old.",
            ),
            (
                "Transferred from St. Mary Hospital in March 2025.",
                "Transferred from [INSTITUTION] in [DATE].",
            ),
            (
                "Herr von Braun, Lindenstraße 12, 10115 Berlin",
                "Herr [NAME], [ADDRESS], [ADDRESS]",
            ),
            ("Lives at 12 Oak Tree Lane.", "Lives at [ADDRESS]"),
            (
                "Accession number A-778123, study 1.2.840.113619.2.55.3",
                "Accession number [IDENTIFIER], study [IDENTIFIER]",
            ),
            (
                "Discussed with Peter Quill, MD at 10:15.",
                "Discussed with [NAME], MD at 10:15.",
            ),
            ("SSN 123-45-6789", "SSN [IDENTIFIER]"),
            (
                "On 4 March 2026 and on May 5, 2026",
                "On [DATE] and on [DATE]",
            ),
        ] {
            assert_eq!(cleaned(text), expected, "{text}");
        }
    }

    #[test]
    fn the_medicine_stays() {
        for text in [
            "No pneumothorax. Heart size is normal. A nodule of 3.5 mm in the right upper lobe (series 2, image 14).",
            "Parkinson disease, Foley catheter, T2-weighted images, L4/L5, C7, Grade 2/3, 120 kV, 1.5 T.",
            "Findings may be related to the prior study. Volume 1369.6 mL, 12 x 14 mm.",
            "BI-RADS 4. Compared with the examination of the year before.",
        ] {
            assert_eq!(cleaned(text), text);
        }
    }

    #[test]
    fn what_the_caller_knows_goes_however_it_is_written() {
        let known = ["Doe, Jane".to_owned(), "PID 7".to_owned()];
        let text = "DOE^JANE came. doe jane, pid 7. Janet Doe.";
        let cleaned = clean(text, &known, &[], None).expect("clean");
        assert_eq!(
            cleaned.text,
            "[IDENTIFIER] came. [IDENTIFIER], [IDENTIFIER]. Janet Doe."
        );
        assert_eq!(cleaned.found[1].by, By::Caller);
        assert!(clean("x", &["a".to_owned()], &[], None).is_err());
    }

    #[test]
    fn a_model_adds_and_never_takes_away() {
        let text = "Zaphod was seen by Dr. Gray for pneumothorax. Zaphods too.";
        let said = json!({"identifiers": [
            {"text": "Zaphod", "kind": "name"}, {"text": "pneumothorax", "kind": "name"},
            {"text": "was seen", "kind": "name"}, {"text": "Trillian", "kind": "name"},
        ]});
        let cleaned = clean(text, &[], &[], Some(&said.to_string())).expect("clean");
        assert_eq!(
            cleaned.text,
            "[NAME] was seen by Dr. [NAME] for pneumothorax. Zaphods too."
        );
        assert_eq!(cleaned.rejected, 3);
        let letters: Vec<char> = text.chars().collect();
        let span = cleaned.found[0].span;
        assert_eq!(
            letters[span.start..span.end].iter().collect::<String>(),
            "Zaphod"
        );
        let nothing = clean(text, &[], &[], Some("{\"identifiers\": []}")).expect("clean");
        assert!(!nothing.text.contains("Gray"));
        assert_eq!(clean(text, &[], &[], Some("{")), Err(Refusal::NotWhole));
    }

    /// What a model marks: each text once, where it first stands.
    fn marks(text: &str, each: &[(&str, &str)]) -> Vec<Entity> {
        let mark = |(what, concept): &(&str, &str)| {
            let start = text.find(what).expect("it stands there");
            Entity {
                concept: (*concept).to_owned(),
                start,
                end: start + what.len(),
                score: 0.9,
            }
        };
        each.iter().map(mark).collect()
    }

    #[test]
    fn a_model_that_finds_names_adds_places_and_never_takes_away() {
        let text = "Zoë Ünal saw Dr. Gray: Foley catheter, no pneumothorax. Lives in Leeds.";
        let each = [
            ("Zoë Ünal", "name"),
            ("saw", "name"),
            ("Foley", "name"),
            ("pneumothorax. Lives", "name"),
            ("Leeds", "address"),
            ("Lives", "hobby"),
        ];
        let marked = marks(text, &each);
        let cleaned = clean(text, &[], &marked, None).expect("clean");
        assert_eq!(
            cleaned.text,
            "[NAME] saw Dr. [NAME]: Foley catheter, no pneumothorax. Lives in [ADDRESS]."
        );
        let by: Vec<By> = cleaned.found.iter().map(|found| found.by).collect();
        assert_eq!(by, [By::Model, By::Rule, By::Model]);
        assert_eq!(cleaned.rejected, 4);
        // What a rule found goes, though the model marks an eponym in the same place.
        let text = "Seen by Dr. Foley catheter team.";
        let cleaned = clean(text, &[], &marks(text, &[("Foley", "name")]), None).expect("clean");
        assert_eq!(cleaned.text, "Seen by Dr. [NAME] catheter team.");
    }

    #[test]
    fn a_place_that_is_not_in_the_text_is_not_followed() {
        let text = "Zoë";
        for (start, end) in [(0, 9), (9, 12), (3, 2), (0, 3)] {
            let mut marked = marks(text, &[(text, "name")]);
            (marked[0].start, marked[0].end) = (start, end);
            let cleaned = clean(text, &[], &marked, None).expect("clean");
            assert_eq!(
                (cleaned.text.as_str(), cleaned.rejected),
                (text, 1),
                "{start} to {end}"
            );
        }
    }

    #[test]
    fn the_limits_say_which_models_took_part() {
        let none = limits(&[]);
        assert!(none.contains("none took part") && none.ends_with(NO_PROMISE));
        let model = ModelRef {
            name: "herald".to_owned(),
            version: "1.2.3".to_owned(),
            digest: pericard_domain::digest::Digest::new([1; 32]),
        };
        let one = limits(&[&model]);
        assert!(one.contains("took part: herald 1.2.3.") && one.ends_with(NO_PROMISE));
    }

    proptest! {
        #[test]
        fn whatever_is_given_only_what_was_found_changes(text in "\\PC{0,120}", name in "[A-Z][a-z]{3,9}") {
            let text = format!("{text} Dr. {name}: {text}");
            let cleaned = clean(&text, std::slice::from_ref(&name), &[], None).expect("clean");
            let within = format!(" {} ", name.to_lowercase());
            let left = cleaned.text.to_lowercase().contains(&within);
            prop_assert!(!left);
            let mut rest = cleaned.text.as_str();
            let mut from = 0;
            for found in &cleaned.found {
                let kept = &text[from..found.bytes.start];
                rest = rest.strip_prefix(kept).and_then(|r| r.strip_prefix(found.kind.mark())).expect("kept");
                from = found.bytes.end;
            }
            prop_assert_eq!(rest, &text[from..]);
        }
    }
}
