//! A radiology report into coded claims, each with the sentence that says it.

use crate::negation::{Presence, presence};
use crate::package::Package;
use crate::sentences::sentences;
use crate::terms::{Term, meaning, vocabulary};
use crate::{Refusal, Span, commonest};
use pericard_domain::chat::{Message, Prompt, Sampling, Shape};
use pericard_domain::finding::Code;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The longest report, bytes.
const REPORT_BYTES_MAX: usize = 64 << 10;
/// Sentences of a report: each is one of the quotes that a model may choose from.
const SENTENCES_MAX: usize = 300;
/// The longest sentence, characters.
const SENTENCE_LETTERS_MAX: usize = 600;
/// Claims that a model may make.
const CLAIMS_MAX: usize = 64;

/// A report that can be asked about.
#[derive(Debug)]
pub struct Report<'a> {
    text: &'a str,
    sentences: Vec<Range<usize>>,
}

/// A claim that passed the checks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Claim {
    /// What it is.
    pub finding: Code,
    /// What the report says of it.
    pub presence: Presence,
    /// The sentence that says it, as it stands in the report.
    pub quote: String,
    /// Where that is.
    pub span: Span,
    /// Where in the report the finding is named.
    pub named: Span,
}

/// A claim that did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// What was claimed.
    pub finding: String,
    /// What was claimed of it.
    pub presence: Presence,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// What the report names and no claim speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unclaimed {
    /// What is named.
    pub finding: Code,
    /// Where.
    pub named: Span,
    /// The sentence around it.
    pub span: Span,
}

/// A structured report: a draft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Structured {
    /// What holds.
    pub claims: Vec<Claim>,
    /// What the model said and the report does not.
    pub rejected: Vec<Rejected>,
    /// What the report names and the model passed over: nothing is left out silently.
    pub unclaimed: Vec<Unclaimed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    claims: Vec<SaidClaim>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SaidClaim {
    quote: String,
    finding: String,
    presence: Presence,
}

impl<'a> Report<'a> {
    /// A report of sentences.
    ///
    /// # Errors
    /// [`Refusal::Unsuitable`] when it is empty or too long. Nothing is cut.
    pub fn read(text: &'a str) -> Result<Self, Refusal> {
        let refuse = |why: String| Err(Refusal::Unsuitable(why));
        if text.len() > REPORT_BYTES_MAX {
            let bytes = text.len();
            return refuse(format!(
                "the report has {bytes} bytes; at most {REPORT_BYTES_MAX} are read"
            ));
        }
        let sentences = sentences(text);
        if sentences.is_empty() || sentences.len() > SENTENCES_MAX {
            let count = sentences.len();
            return refuse(format!(
                "the report has {count} sentences; 1 to {SENTENCES_MAX} are read"
            ));
        }
        let longest = sentences
            .iter()
            .map(|range| text[range.clone()].chars().count())
            .max();
        if longest.is_some_and(|letters| letters > SENTENCE_LETTERS_MAX) {
            return refuse(format!(
                "the report has a sentence of more than {SENTENCE_LETTERS_MAX} characters; put its sentences on lines of their own"
            ));
        }
        Ok(Self { text, sentences })
    }

    /// What a model is asked.
    #[must_use]
    pub fn question(&self) -> (Prompt, Sampling) {
        let package = Package::structure_report();
        let message = |role: &str, content: &str| Message {
            role: role.to_owned(),
            content: content.to_owned(),
        };
        let messages = vec![
            message("system", &package.system),
            message("user", self.text),
        ];
        let sampling = Sampling {
            temperature: 0.0,
            max_tokens: Some(package.answer_tokens_max),
            shape: Shape::Schema(self.schema()),
            ..Sampling::default()
        };
        (Prompt::Messages(messages), sampling)
    }

    /// A model can choose among the report's sentences and the vocabulary's findings, and nothing else.
    fn schema(&self) -> String {
        let quotes: BTreeSet<&str> = self
            .sentences
            .iter()
            .map(|r| &self.text[r.clone()])
            .collect();
        let findings: Vec<&str> = vocabulary()
            .iter()
            .map(|term| term.code.meaning.as_str())
            .collect();
        json!({
            "type": "object",
            "properties": {"claims": {"type": "array", "maxItems": CLAIMS_MAX, "items": {
                "type": "object",
                "properties": {
                    "quote": {"enum": quotes},
                    "finding": {"enum": findings},
                    "presence": {"enum": ["present", "absent", "uncertain"]},
                },
                "required": ["quote", "finding", "presence"],
                "additionalProperties": false,
            }}},
            "required": ["claims"],
            "additionalProperties": false,
        })
        .to_string()
    }

    /// Checks what a model said.
    ///
    /// # Errors
    /// [`Refusal`] when it is not whole, or when it made claims and none holds.
    pub fn check(&self, said: &str) -> Result<Structured, Refusal> {
        let said: Said = serde_json::from_str(said).map_err(|_| Refusal::NotWhole)?;
        let (mut claims, mut rejected) = (Vec::new(), Vec::new());
        for claim in &said.claims {
            match self.claim(claim) {
                // A model says things twice.
                Ok(claim) if claims.contains(&claim) => {}
                Ok(claim) => claims.push(claim),
                Err(reason) => rejected.push(Rejected {
                    // A name that is not of the vocabulary may be anything: it is not passed on.
                    finding: meaning(&claim.finding)
                        .map_or_else(String::new, |t| t.code.meaning.clone()),
                    presence: claim.presence,
                    reason,
                }),
            }
        }
        if claims.is_empty() && !rejected.is_empty() {
            let reasons: Vec<&'static str> = rejected.iter().map(|r| r.reason).collect();
            return Err(Refusal::NothingHolds {
                said: reasons.len(),
                why: commonest(&reasons),
            });
        }
        claims.sort_by_key(|claim| (claim.named, claim.finding.value.clone()));
        let unclaimed = self.unclaimed(&claims);
        Ok(Structured {
            claims,
            rejected,
            unclaimed,
        })
    }

    fn claim(&self, said: &SaidClaim) -> Result<Claim, &'static str> {
        let term = meaning(&said.finding).ok_or("the finding is not of the vocabulary")?;
        // The same sentence may stand twice; what it says is the same.
        let mut sentences = self.sentences.iter();
        let range = sentences
            .find(|range| self.text[(*range).clone()] == said.quote)
            .ok_or("the quote is no sentence of the report")?;
        let sentence = &self.text[range.clone()];
        let mentions = term.all_named(sentence);
        if mentions.is_empty() {
            return Err("the quoted sentence does not name the finding");
        }
        // "No left pneumothorax, but a small right pneumothorax": each mention says its own.
        let named = mentions
            .into_iter()
            .find(|named| presence(sentence, named) == said.presence)
            .ok_or("the quoted sentence says something else of the finding")?;
        Ok(Claim {
            finding: term.code.clone(),
            presence: said.presence,
            quote: sentence.to_owned(),
            span: Span::of(self.text, range.clone()),
            named: Span::of(
                self.text,
                range.start + named.start..range.start + named.end,
            ),
        })
    }

    /// What is named in sentences of which no claim says what they say of that finding there. A finding that is named within a longer
    /// one's name (a fracture within a rib fracture) goes with it.
    fn unclaimed(&self, claims: &[Claim]) -> Vec<Unclaimed> {
        let mut open: BTreeMap<Span, Unclaimed> = BTreeMap::new();
        for range in &self.sentences {
            let span = Span::of(self.text, range.clone());
            let sentence = &self.text[range.clone()];
            for (term, at) in named(sentence) {
                let named = Span::of(self.text, range.start + at.start..range.start + at.end);
                let said = presence(sentence, &at);
                let claimed =
                    |c: &Claim| c.finding == term.code && c.quote == sentence && c.presence == said;
                if !claims.iter().any(claimed) {
                    let finding = term.code.clone();
                    open.insert(
                        named,
                        Unclaimed {
                            finding,
                            named,
                            span,
                        },
                    );
                }
            }
        }
        open.into_values().collect()
    }
}

/// What a sentence names, without what is named only within a longer name.
fn named(sentence: &str) -> Vec<(&'static Term, Range<usize>)> {
    let each = vocabulary().iter().flat_map(|term| {
        let mentions = term.all_named(sentence).into_iter();
        mentions.map(move |at| (term, at))
    });
    let all: Vec<_> = each.collect();
    let within = |at: &Range<usize>, other: &Range<usize>| {
        at != other && other.start <= at.start && at.end <= other.end
    };
    let whole = all
        .iter()
        .filter(|(_, at)| !all.iter().any(|(_, other)| within(at, other)));
    whole.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REPORT: &str = "FINDINGS: Süß.\nThere is a small left pleural effusion. No pneumothorax. Possible consolidation at the left base. \
         Fracture of the rib.";

    fn said(claims: &[(&str, &str, &str)]) -> String {
        let claims: Vec<_> = claims
            .iter()
            .map(|(quote, finding, presence)| json!({"quote": quote, "finding": finding, "presence": presence}))
            .collect();
        json!({"claims": claims}).to_string()
    }

    #[test]
    fn what_the_report_says_holds_with_its_place() {
        let report = Report::read(REPORT).expect("a report");
        let structured = report
            .check(&said(&[
                ("No pneumothorax.", "Pneumothorax", "absent"),
                ("No pneumothorax.", "Pneumothorax", "absent"),
                (
                    "There is a small left pleural effusion.",
                    "Pleural effusion",
                    "present",
                ),
            ]))
            .expect("holds");
        assert_eq!(structured.claims.len(), 2, "{structured:?}");
        let letters: Vec<char> = REPORT.chars().collect();
        for claim in &structured.claims {
            let quoted: String = letters[claim.span.start..claim.span.end].iter().collect();
            assert_eq!(quoted, claim.quote);
            let named: String = letters[claim.named.start..claim.named.end].iter().collect();
            assert_eq!(named.to_lowercase(), claim.finding.meaning.to_lowercase());
        }
        let passed_over: Vec<&str> = structured
            .unclaimed
            .iter()
            .map(|u| u.finding.meaning.as_str())
            .collect();
        assert_eq!(passed_over, ["Lung consolidation", "Fracture of rib"]);
    }

    #[test]
    fn what_it_does_not_say_does_not_hold() {
        let report = Report::read(REPORT).expect("a report");
        let effusion = "There is a small left pleural effusion.";
        for (claim, reason) in [
            (
                ("No pneumothorax", "Pneumothorax", "absent"),
                "the quote is no sentence of the report",
            ),
            (
                ("A mass.", "Lung mass", "present"),
                "the quote is no sentence of the report",
            ),
            (
                (effusion, "Pneumonia", "present"),
                "the quoted sentence does not name the finding",
            ),
            (
                (effusion, "Sorrow", "present"),
                "the finding is not of the vocabulary",
            ),
            (
                (effusion, "Pleural effusion", "absent"),
                "the quoted sentence says something else of the finding",
            ),
            (
                ("No pneumothorax.", "Pneumothorax", "present"),
                "the quoted sentence says something else of the finding",
            ),
        ] {
            let refused = report.check(&said(&[claim])).expect_err("nothing holds");
            assert_eq!(
                refused,
                Refusal::NothingHolds {
                    said: 1,
                    why: reason
                }
            );
            let both = said(&[claim, (effusion, "Pleural effusion", "present")]);
            let structured = report.check(&both).expect("one holds");
            assert_eq!(
                (structured.claims.len(), structured.rejected[0].reason),
                (1, reason)
            );
        }
        assert_eq!(report.check("{\"claims\": [{\"quo"), Err(Refusal::NotWhole));
        let none = report
            .check("{\"claims\": []}")
            .expect("nothing said, nothing wrong");
        assert_eq!((none.claims.len(), none.unclaimed.len()), (0, 4));
    }

    #[test]
    fn a_second_mention_is_claimed_or_told_as_unclaimed() {
        let sentence = "No left pneumothorax, but a small right pneumothorax.";
        let report = Report::read(sentence).expect("a report");
        let claim = |presence| (sentence, "Pneumothorax", presence);
        let of = |claims: &[(&str, &str, &str)]| {
            let structured = report.check(&said(claims)).expect("holds");
            let claims = structured.claims.iter().map(|c| (c.presence, c.named));
            let unclaimed = structured.unclaimed.iter().map(|u| u.named);
            (claims.collect::<Vec<_>>(), unclaimed.collect::<Vec<_>>())
        };
        let [left, right] = [Span { start: 8, end: 20 }, Span { start: 40, end: 52 }];
        let absent = (Presence::Absent, left);
        let present = (Presence::Present, right);
        assert_eq!(of(&[claim("absent")]), (vec![absent], vec![right]));
        assert_eq!(of(&[claim("present")]), (vec![present], vec![left]));
        let both = [claim("present"), claim("absent")];
        assert_eq!(of(&both), (vec![absent, present], vec![]));
        let refused = report.check(&said(&[claim("uncertain")]));
        assert!(matches!(refused, Err(Refusal::NothingHolds { .. })));
        // One claim speaks for every mention that it holds of.
        let sentence = "Left pneumothorax and right pneumothorax.";
        let report = Report::read(sentence).expect("a report");
        let structured = report
            .check(&said(&[(sentence, "Pneumothorax", "present")]))
            .expect("holds");
        assert!(structured.unclaimed.is_empty(), "{structured:?}");
    }

    #[test]
    fn what_cannot_be_read_is_refused_and_not_cut() {
        let long = "word ".repeat(SENTENCE_LETTERS_MAX);
        let many = "No effusion. ".repeat(SENTENCES_MAX + 1);
        let huge = "No effusion. ".repeat(REPORT_BYTES_MAX);
        for text in ["", " \n", &long, &many, &huge] {
            assert!(matches!(Report::read(text), Err(Refusal::Unsuitable(_))));
        }
    }

    proptest! {
        #[test]
        fn whatever_a_model_says_a_claim_stands_in_the_report(words in "\\PC{0,60}", pick in 0_usize..42, sentence in 0_usize..6) {
            let report = Report::read(REPORT).expect("a report");
            let quotes: Vec<&str> = report.sentences.iter().map(|r| &REPORT[r.clone()]).collect();
            let quote = quotes.get(sentence).copied().unwrap_or(&words);
            for presence in ["present", "absent", "uncertain"] {
                let finding = vocabulary()[pick % vocabulary().len()].code.meaning.as_str();
                if let Ok(structured) = report.check(&said(&[(quote, finding, presence)])) {
                    for claim in structured.claims {
                        prop_assert!(REPORT.contains(&claim.quote) && meaning(finding).expect("known").named_in(&claim.quote).is_some());
                    }
                }
            }
            let _ = report.check(&words);
        }
    }
}
