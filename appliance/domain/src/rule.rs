//! Rules: which studies go to which models, how urgently, and where the results go.

use crate::job::Priority;
use crate::study::{Instance, InstanceFacts};
use crate::uid::SopClassUid;
use serde::{Deserialize, Serialize};

/// One `[[rules]]` of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A name for the journal and the audit log.
    pub name: String,
    /// Which objects it is about. A study matches when at least one of its objects does.
    #[serde(default)]
    pub when: Match,
    /// The models to run, by name; the live version of each is taken.
    pub models: Vec<String>,
    /// How urgently.
    #[serde(default)]
    pub priority: Priority,
    /// After how long without a new object a study that it matches is taken as complete, seconds.
    pub idle_timeout_s: u32,
    /// The peers that get the results, by name.
    #[serde(default)]
    pub destinations: Vec<String>,
    /// As which kinds of object the results are kept and sent.
    #[serde(default = "ResultKind::usual")]
    pub results: Vec<ResultKind>,
    /// Whether an analysis that could not be done says so in the study, as a structured report of its own.
    #[serde(default = "says_so")]
    pub report_failures: bool,
}

/// A kind of DICOM object that a result is written as. What a study gives no reason for is not written: no
/// segmentation without a mask, no picture without a place to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResultKind {
    /// Structured report.
    Sr,
    /// Segmentation.
    Seg,
    /// Softcopy presentation state: grayscale, or colour for images in colour.
    Gsps,
    /// Secondary capture: pictures with the findings drawn in.
    Sc,
    /// Key object selection.
    Kos,
    /// Encapsulated PDF.
    Pdf,
}

impl ResultKind {
    /// What a rule that does not say gets.
    #[must_use]
    pub fn usual() -> Vec<Self> {
        vec![Self::Sr, Self::Seg]
    }
}

/// Silence would be taken for "nothing found".
const fn says_so() -> bool {
    true
}

/// What an object must be like. An empty list asks for nothing; every list that is not empty must match.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// Any of these values of Modality (0008,0060).
    pub modalities: Vec<String>,
    /// Any of these SOP Class UIDs.
    pub sop_classes: Vec<String>,
    /// Any of these values of Body Part Examined (0018,0015), in any case.
    pub body_parts: Vec<String>,
    /// Any of these patterns in Study or Series Description, in any case; `*` stands for any text.
    pub descriptions: Vec<String>,
}

impl Match {
    /// Whether an object is what this asks for. The appliance's own results never are.
    #[must_use]
    pub fn matches(&self, instance: &Instance) -> bool {
        !instance.is_result && self.fits(&instance.identity.sop_class, &instance.facts)
    }

    /// Whether an object of that class, with that header, is what this asks for.
    #[must_use]
    pub fn fits(&self, sop_class: &SopClassUid, facts: &InstanceFacts) -> bool {
        any_or_empty(&self.sop_classes, |c| c == sop_class.as_str()) && self.matches_facts(facts)
    }

    fn matches_facts(&self, facts: &InstanceFacts) -> bool {
        let is = |value: &Option<String>, wanted: &str| {
            value
                .as_deref()
                .is_some_and(|v| v.eq_ignore_ascii_case(wanted))
        };
        let like = |value: &Option<String>, pattern: &str| {
            value.as_deref().is_some_and(|v| is_like(v, pattern))
        };
        any_or_empty(&self.modalities, |m| is(&facts.modality, m))
            && any_or_empty(&self.body_parts, |b| is(&facts.body_part, b))
            && any_or_empty(&self.descriptions, |d| {
                like(&facts.study_description, d) || like(&facts.series_description, d)
            })
    }
}

fn any_or_empty(wanted: &[String], is: impl Fn(&str) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(|w| is(w))
}

/// Whether `text` is like `pattern`, where `*` stands for any text, in any case.
fn is_like(text: &str, pattern: &str) -> bool {
    let (text, pattern) = (text.to_lowercase(), pattern.to_lowercase());
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        if let Some(between) = last.replace(part) {
            let Some(at) = rest.find(between) else {
                return false;
            };
            rest = &rest[at + between.len()..];
        }
    }
    last.map_or(rest.is_empty(), |end| rest.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (text, pattern, expected) in [
            ("T1 MPRAGE sag", "*mprage*", true),
            ("T1 MPRAGE sag", "t1*", true),
            ("T1 MPRAGE sag", "t1", false),
            ("T1", "t1", true),
            ("head", "*a*d", true),
            ("head", "*a*da", false),
            ("aba", "ab*ba", false),
            ("anything", "*", true),
            ("", "*", true),
        ] {
            assert_eq!(
                is_like(text, pattern),
                expected,
                "{text:?} like {pattern:?}"
            );
        }
    }
}
