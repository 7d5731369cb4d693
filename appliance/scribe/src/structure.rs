//! A radiology report into coded claims, each with the sentence that says it.

use crate::negation::{Presence, presence};
use crate::package::Package;
use crate::sentences::{Sentence, sentences};
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
    sentences: Vec<Sentence>,
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
        let names = vocabulary().iter().flat_map(|term| term.all_named(text));
        let names: Vec<Range<usize>> = names.collect();
        let sentences = sentences(text, &names);
        if sentences.is_empty() || sentences.len() > SENTENCES_MAX {
            let count = sentences.len();
            return refuse(format!(
                "the report has {count} sentences; 1 to {SENTENCES_MAX} are read"
            ));
        }
        let longest = sentences
            .iter()
            .map(|sentence| text[sentence.bytes.clone()].chars().count())
            .max();
        if longest.is_some_and(|letters| letters > SENTENCE_LETTERS_MAX) {
            return refuse(format!(
                "the report has a sentence of more than {SENTENCE_LETTERS_MAX} characters; end its sentences with full stops"
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
        let quotes: BTreeSet<&str> = (0..self.sentences.len()).map(|at| self.quote(at)).collect();
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
        let mut places = (0..self.sentences.len()).filter(|at| self.quote(*at) == said.quote);
        let Some(first) = places.next() else {
            return Err("the quote is no sentence of the report");
        };
        let mentions = term.all_named(&said.quote);
        if mentions.is_empty() {
            return Err("the quoted sentence does not name the finding");
        }
        // "No left pneumothorax, but a small right pneumothorax": each mention says its own. The same words may stand twice, and what
        // the lines around them say is another thing.
        let (at, named) = [first]
            .into_iter()
            .chain(places)
            .flat_map(|at| mentions.iter().map(move |named| (at, named)))
            .find(|(at, named)| self.presence(*at, named) == said.presence)
            .ok_or("the quoted sentence says something else of the finding")?;
        let bytes = &self.sentences[at].bytes;
        Ok(Claim {
            finding: term.code.clone(),
            presence: said.presence,
            quote: said.quote.clone(),
            span: Span::of(self.text, bytes.clone()),
            named: Span::of(
                self.text,
                bytes.start + named.start..bytes.start + named.end,
            ),
        })
    }

    /// A sentence's words, as they stand in the report.
    fn quote(&self, at: usize) -> &str {
        &self.text[self.sentences[at].bytes.clone()]
    }

    /// What the report says of what a sentence names. Where its lines can be read in two ways, and these say two things, it is left
    /// open.
    fn presence(&self, at: usize, named: &Range<usize>) -> Presence {
        let alone = presence(self.quote(at), named);
        let before = self.sentences[at].follows.map(|before| self.quote(before));
        let goes_on = |next: &&Sentence| next.follows == Some(at);
        let after = self.sentences.get(at + 1).filter(goes_on);
        let after = after.map(|_| self.quote(at + 1));
        if before.is_none() && after.is_none() {
            return alone;
        }
        let readings = [(before, None), (None, after), (before, after)];
        let differs = readings.into_iter().any(|(before, after)| {
            let before = before.map_or_else(String::new, |before| format!("{before}\n"));
            let after = after.map_or_else(String::new, |after| format!("\n{after}"));
            let named = before.len() + named.start..before.len() + named.end;
            presence(&(before + self.quote(at) + &after), &named) != alone
        });
        if differs { Presence::Uncertain } else { alone }
    }

    /// What is named in sentences of which no claim says what they say of that finding there. A finding that is named within a longer
    /// one's name (a fracture within a rib fracture) goes with it.
    fn unclaimed(&self, claims: &[Claim]) -> Vec<Unclaimed> {
        let mut open: BTreeMap<Span, Unclaimed> = BTreeMap::new();
        for (place, Sentence { bytes, .. }) in self.sentences.iter().enumerate() {
            let span = Span::of(self.text, bytes.clone());
            let sentence = self.quote(place);
            for (term, at) in named(sentence) {
                let named = Span::of(self.text, bytes.start + at.start..bytes.start + at.end);
                let said = self.presence(place, &at);
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

    const PRESENT: &[&str] = &[
        "No effusion\nRight pneumothorax",
        "No effusion\r\nRight pneumothorax",
        "No effusion\n\npneumothorax on the right",
        "No effusion.\nRight pneumothorax.",
        "No effusion;\nright pneumothorax",
        "No fracture\n- pneumothorax on the right",
        "No fracture\n2. Pneumothorax on the right",
        "No fracture\n* pneumothorax",
        "No fracture\nFINDINGS: pneumothorax",
        "Effusion: no\nPneumothorax: yes",
        "Effusion no\nPneumothorax on the right",
        "No change in the small\nright pneumothorax.",
        "No significant interval change in the right apical\npneumothorax.",
        "The right lung is clear. There is a small left apical hydropneumothorax and\na right pneumothorax.",
        "Kein Erguss\nPneumothorax rechts",
        "CT without\ncontrast shows a pneumothorax.",
        "No fracture (see below)\nPneumothorax on the right",
        "The heart is not enlarged\nSmall right pneumothorax",
        "IMPRESSION:\n1. Pneumothorax\n2. No effusion",
        "No effusion, but\nthere is a pneumothorax.",
    ];
    const ABSENT: &[&str] = &[
        "No effusion or\npneumothorax.",
        "No effusion or\r\npneumothorax.",
        "No effusion\nor pneumothorax.",
        "There is no\npneumothorax.",
        "No\npneumothorax.",
        "There is no evidence of\n   pneumothorax.",
        "The lungs are clear without\npneumothorax.",
        "Negative for\npneumothorax.",
        "No pleural effusion,\npneumothorax or consolidation.",
        "The lungs are clear, without focal consolidation, pleural effusion, or large\npneumothorax.",
        "There is no focal consolidation, no large pleural effusion and no visible apical\npneumothorax on either side.",
        "Pneumothorax is not\nseen.",
        "The pneumothorax in the right apex\nhas resolved.",
        "NO EFFUSION OR\nPNEUMOTHORAX.",
        "Kein Erguss oder\nPneumothorax.",
        "Kein\nPneumothorax.",
        "Ohne\nPneumothorax.",
        "Kein Erguss und kein\nPneumothorax.",
        "Pneumothorax wurde\nausgeschlossen.",
        "FINDINGS:\nNo pneumothorax.",
        "No pneumothorax\nLeft effusion",
        "1. No pneumothorax\n2. Left effusion",
        "Pneumothorax: no\nEffusion: yes",
        "Effusion: yes\nPneumothorax: none",
        "No acute disease, no pneu\nNo pneumothorax",
    ];
    const UNCERTAIN: &[&str] = &[
        "no fracture\nright pneumothorax",
        "NO FRACTURE\nRIGHT PNEUMOTHORAX",
        "There is no acute\npneumothorax.",
        "No evidence of the following:\n- pneumothorax",
        "Negative for:\n- effusion\n- pneumothorax",
        "Pneumothorax:\nnone",
        "Kein Nachweis eines akuten\nPneumothorax.",
        "pneumothorax\nnot seen",
        "Rule out:\n1. Effusion\n2. Pneumothorax",
        "Findings are suspicious for\npneumothorax.",
        "Pneumothorax cannot be\nexcluded.",
        "Effusion vs.\npneumothorax.",
        "Verdacht auf\nPneumothorax.",
        "no fracture\n3 mm pneumothorax",
        "No fracture,\nPneumothorax on the right",
    ];

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
    fn wrapped_lines_and_lines_that_are_statements_are_read_as_they_are_meant() {
        let pneumothorax = meaning("Pneumothorax").expect("known");
        for (texts, expected) in [
            (PRESENT, Presence::Present),
            (ABSENT, Presence::Absent),
            (UNCERTAIN, Presence::Uncertain),
        ] {
            for text in texts {
                let report = Report::read(text).expect("a report");
                let places = 0..report.sentences.len();
                let each = places.flat_map(|at| {
                    let mentions = pneumothorax.all_named(report.quote(at)).into_iter();
                    let said = mentions.map(|named| report.presence(at, &named));
                    said.collect::<Vec<_>>()
                });
                assert_eq!(each.collect::<Vec<_>>(), [expected], "{text:?}");
            }
        }
    }

    /// Wherever a sentence is wrapped, it never says the opposite of what it says on one line.
    #[test]
    fn a_sentence_wrapped_at_any_blank_is_read_as_on_one_line_or_left_open() {
        use crate::negation::tests as on_one_line;
        let pneumothorax = meaning("Pneumothorax").expect("known");
        let (mut all, mut open) = (0, 0);
        for (sentences, expected) in [
            (on_one_line::PRESENT, Presence::Present),
            (on_one_line::ABSENT, Presence::Absent),
            (on_one_line::UNCERTAIN, Presence::Uncertain),
        ] {
            for sentence in sentences {
                for (blank, _) in sentence.match_indices(' ') {
                    let text = format!("{}\r\n  {}", &sentence[..blank], &sentence[blank + 1..]);
                    let report = Report::read(&text).expect("a report");
                    let mut places = 0..report.sentences.len();
                    let first = places.find_map(|at| {
                        let named = pneumothorax.named_in(report.quote(at))?;
                        Some(report.presence(at, &named))
                    });
                    let said = first.expect("named");
                    assert!(
                        [expected, Presence::Uncertain].contains(&said),
                        "{text:?}: {said:?}"
                    );
                    all += 1;
                    open += usize::from(said != expected);
                }
            }
        }
        assert!(open * 10 < all, "{open} of {all} are left open");
    }

    #[test]
    fn a_claim_across_a_line_break_points_at_the_bytes_of_the_report() {
        let text = "HEART: normal.\r\nSüß: no fracture or left pleural\r\n  effusion.\r\nThe end";
        let quote = "Süß: no fracture or left pleural\r\n  effusion.";
        let report = Report::read(text).expect("a report");
        let claims = said(&[(quote, "Pleural effusion", "absent")]);
        let structured = report.check(&claims).expect("holds");
        let letters: Vec<char> = text.chars().collect();
        let at = |span: Span| letters[span.start..span.end].iter().collect::<String>();
        let claim = &structured.claims[0];
        assert_eq!(
            (at(claim.span), at(claim.named)),
            (quote.to_owned(), "pleural\r\n  effusion".to_owned())
        );
        let passed_over: Vec<&str> = structured
            .unclaimed
            .iter()
            .map(|u| u.finding.meaning.as_str())
            .collect();
        assert_eq!(passed_over, ["Fracture of bone"]);
    }

    #[test]
    fn the_same_words_say_another_thing_between_other_lines() {
        let text = "no fracture\npneumothorax\n\npneumothorax";
        let report = Report::read(text).expect("a report");
        let spans = |presence| {
            let claims = said(&[("pneumothorax", "Pneumothorax", presence)]);
            let structured = report.check(&claims).expect("holds");
            let unclaimed = structured.unclaimed.iter().map(|u| u.named.start);
            (
                structured.claims[0].span.start,
                unclaimed.collect::<Vec<_>>(),
            )
        };
        assert_eq!(spans("present"), (26, vec![3, 12]));
        assert_eq!(spans("uncertain"), (12, vec![3, 26]));
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
            let quotes: Vec<&str> = (0..report.sentences.len()).map(|at| report.quote(at)).collect();
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
