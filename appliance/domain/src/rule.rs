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
    /// What a study must hold before it is taken as complete: each of these is met by at least one object.
    #[serde(default)]
    pub requires: Vec<Match>,
    /// How long after its latest object a study is waited for that lacks something: what a source, an order or `requires`
    /// says, seconds. Then it is taken as it is.
    #[serde(default = "Rule::usual_wait_s")]
    pub wait_max_s: u32,
    /// The earlier studies of the patient to fetch before the models run.
    #[serde(default)]
    pub priors: Option<Priors>,
    /// The peers that get the results, by name.
    #[serde(default)]
    pub destinations: Vec<String>,
    /// The HL7 peers that are told of the results, by name.
    #[serde(default)]
    pub messages: Vec<String>,
    /// As which kinds of object the results are kept and sent; as a structured report in any case.
    #[serde(default = "ResultKind::usual")]
    pub results: Vec<ResultKind>,
    /// Whether an analysis that could not be done says so in the study, as a structured report of its own.
    #[serde(default = "says_so")]
    pub report_failures: bool,
}

impl Rule {
    /// How long a study is waited for that lacks something, where nothing else is said, seconds. A modality that stores its
    /// last series after a break is waited for; a series that never comes is not.
    #[must_use]
    pub const fn usual_wait_s() -> u32 {
        900
    }

    /// What it asks of the results of its models. The structured report is always among them: it alone refers to what it
    /// supersedes, so without it a later revision's results would stand beside the earlier ones.
    #[must_use]
    pub fn terms(&self) -> ResultTerms {
        let mut results = self.results.clone();
        if !results.contains(&ResultKind::Sr) {
            results.insert(0, ResultKind::Sr);
        }
        ResultTerms {
            results,
            report_failures: self.report_failures,
        }
    }
}

/// What becomes of the result of an analysis. Kept with the analysis when it is planned: rules that change meanwhile change
/// nothing about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultTerms {
    /// As which kinds of object it is kept and sent.
    pub results: Vec<ResultKind>,
    /// Whether an analysis that could not be done says so in the study.
    pub report_failures: bool,
}

impl ResultTerms {
    /// What nobody but an order asked for: the usual objects, and its order is told when there are none.
    #[must_use]
    pub fn ordered() -> Self {
        Self {
            results: ResultKind::usual(),
            report_failures: false,
        }
    }

    /// As much as either asks for.
    pub fn join(&mut self, other: &Self) {
        for kind in &other.results {
            if !self.results.contains(kind) {
                self.results.push(*kind);
            }
        }
        self.report_failures |= other.report_failures;
    }
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
    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sr => "sr",
            Self::Seg => "seg",
            Self::Gsps => "gsps",
            Self::Sc => "sc",
            Self::Kos => "kos",
            Self::Pdf => "pdf",
        }
    }

    /// What a rule that does not say gets.
    #[must_use]
    pub fn usual() -> Vec<Self> {
        vec![Self::Sr, Self::Seg]
    }
}

/// Which earlier studies to fetch, from where, and how much of them at most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Priors {
    /// The peer that has them, by name.
    pub from: String,
    /// Any of these values of Modalities in Study (0008,0061); empty: those of the study itself.
    #[serde(default)]
    pub modalities: Vec<String>,
    /// How much earlier than the study they may be, days.
    #[serde(default = "Priors::usual_age_days")]
    pub age_max_days: u32,
    /// How many studies, the latest first.
    #[serde(default = "Priors::usual_studies")]
    pub studies_max: u32,
    /// How many objects in all.
    #[serde(default = "Priors::usual_objects")]
    pub objects_max: u32,
    /// How much in all, MiB.
    #[serde(default = "Priors::usual_size_mib")]
    pub size_max_mib: u32,
    /// How long the models wait for them, seconds. Then they run without.
    #[serde(default = "Priors::usual_wait_s")]
    pub wait_max_s: u32,
}

impl Priors {
    /// What serves both: of each limit the more generous, of modalities all that either asks for.
    #[must_use]
    pub fn joined(mut self, other: &Self) -> Self {
        if self.modalities.is_empty() || other.modalities.is_empty() {
            self.modalities.clear();
        } else {
            self.modalities.extend(other.modalities.clone());
        }
        self.age_max_days = self.age_max_days.max(other.age_max_days);
        self.studies_max = self.studies_max.max(other.studies_max);
        self.objects_max = self.objects_max.max(other.objects_max);
        self.size_max_mib = self.size_max_mib.max(other.size_max_mib);
        self.wait_max_s = self.wait_max_s.max(other.wait_max_s);
        self
    }

    const fn usual_age_days() -> u32 {
        5 * 365
    }

    const fn usual_studies() -> u32 {
        2
    }

    const fn usual_objects() -> u32 {
        2000
    }

    const fn usual_size_mib() -> u32 {
        2048
    }

    const fn usual_wait_s() -> u32 {
        300
    }
}

/// Silence would be taken for "nothing found".
const fn says_so() -> bool {
    true
}

/// What an object must be like. An empty list asks for nothing; every one that is not empty must match.
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
    /// How old the patient was, years. An object that does not say how old does not match.
    pub age_years: Range,
    /// Further attributes: every one of these must match.
    pub attributes: Vec<Condition>,
}

/// From one number to another, both included. One that is absent asks for nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Range {
    /// At least this.
    pub from: Option<f64>,
    /// At most this.
    pub to: Option<f64>,
}

impl Range {
    /// Whether it asks for anything.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.from.is_none() && self.to.is_none()
    }

    /// Whether that number is in it.
    #[must_use]
    pub fn holds(&self, number: f64) -> bool {
        self.from.is_none_or(|from| number >= from) && self.to.is_none_or(|to| number <= to)
    }
}

/// What one attribute must be: one of these texts, a number in this range, or both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Which attribute, by its keyword.
    pub name: Attribute,
    /// Any of these patterns, in any case; `*` stands for any text. Values of one attribute are joined by a backslash.
    #[serde(default)]
    pub any_of: Vec<String>,
    /// At least this number.
    #[serde(default)]
    pub from: Option<f64>,
    /// At most this number.
    #[serde(default)]
    pub to: Option<f64>,
}

/// The attributes that are kept of every object, by the standard's keywords.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the keywords are the standard's
pub enum Attribute {
    AccessionNumber,
    BodyPartExamined,
    Columns,
    ImageType,
    InstanceNumber,
    Manufacturer,
    Modality,
    NumberOfFrames,
    PatientID,
    PatientSex,
    ReferringPhysicianName,
    Rows,
    SeriesDescription,
    SeriesNumber,
    StudyDate,
    StudyDescription,
    StudyID,
}

impl Attribute {
    /// What an object's header says of it.
    fn of(self, facts: &InstanceFacts) -> Option<String> {
        let number = |number: Option<u32>| number.map(|n| n.to_string());
        match self {
            Self::AccessionNumber => facts.accession_number.clone(),
            Self::BodyPartExamined => facts.body_part.clone(),
            Self::Columns => number(facts.columns),
            Self::ImageType => facts.image_type.clone(),
            Self::InstanceNumber => facts.instance_number.clone(),
            Self::Manufacturer => facts.manufacturer.clone(),
            Self::Modality => facts.modality.clone(),
            Self::NumberOfFrames => number(facts.frames),
            Self::PatientID => facts.patient_id.clone(),
            Self::PatientSex => facts.patient_sex.clone(),
            Self::ReferringPhysicianName => facts.referring_physician.clone(),
            Self::Rows => number(facts.rows),
            Self::SeriesDescription => facts.series_description.clone(),
            Self::SeriesNumber => facts.series_number.clone(),
            Self::StudyDate => facts.study_date.clone(),
            Self::StudyDescription => facts.study_description.clone(),
            Self::StudyID => facts.study_id.clone(),
        }
    }
}

impl Condition {
    fn is_met(&self, facts: &InstanceFacts) -> bool {
        let range = Range {
            from: self.from,
            to: self.to,
        };
        let Some(text) = self.name.of(facts) else {
            return false;
        };
        let number = || text.trim().parse().ok();
        any_or_empty(&self.any_of, |pattern| is_like(&text, pattern))
            && (range.is_open() || number().is_some_and(|n| range.holds(n)))
    }
}

/// Which key of a match an object does not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unmet {
    /// The key of that name.
    Key(&'static str),
    /// The condition on that attribute, by its number under `attributes`, from 1.
    Attribute(usize),
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
        self.unmet(sop_class, facts).is_none()
    }

    /// The first key that an object of that class, with that header, does not meet.
    #[must_use]
    pub fn unmet(&self, sop_class: &SopClassUid, facts: &InstanceFacts) -> Option<Unmet> {
        let is = |value: &Option<String>, wanted: &str| {
            value
                .as_deref()
                .is_some_and(|v| v.eq_ignore_ascii_case(wanted))
        };
        let like = |value: &Option<String>, pattern: &str| {
            value.as_deref().is_some_and(|v| is_like(v, pattern))
        };
        let described =
            |d: &str| like(&facts.study_description, d) || like(&facts.series_description, d);
        let is_of_age = || age_years(facts).is_some_and(|age| self.age_years.holds(age));
        if !any_or_empty(&self.sop_classes, |c| c == sop_class.as_str()) {
            return Some(Unmet::Key("sop_classes"));
        }
        if !any_or_empty(&self.modalities, |m| is(&facts.modality, m)) {
            return Some(Unmet::Key("modalities"));
        }
        if !any_or_empty(&self.body_parts, |b| is(&facts.body_part, b)) {
            return Some(Unmet::Key("body_parts"));
        }
        if !any_or_empty(&self.descriptions, described) {
            return Some(Unmet::Key("descriptions"));
        }
        if !self.age_years.is_open() && !is_of_age() {
            return Some(Unmet::Key("age_years"));
        }
        let unmet = self.attributes.iter().position(|c| !c.is_met(facts));
        unmet.map(|at| Unmet::Attribute(at + 1))
    }
}

/// How old the patient was: as the object says (Patient's Age), else from the day of birth to the day of the study.
fn age_years(facts: &InstanceFacts) -> Option<f64> {
    const DAYS_A_YEAR: f64 = 365.25;
    let said = facts.patient_age.as_deref().and_then(|age| {
        let (number, unit) = age.split_at_checked(age.len().checked_sub(1)?)?;
        let number: f64 = number.parse().ok()?;
        match unit {
            "Y" => Some(number),
            "M" => Some(number / 12.0),
            "W" => Some(number * 7.0 / DAYS_A_YEAR),
            "D" => Some(number / DAYS_A_YEAR),
            _ => None,
        }
    });
    let counted = || {
        let day = |date: &Option<String>| -> Option<(i32, i32)> {
            let date = date.as_deref().filter(|d| d.len() == 8)?;
            Some((date.get(..4)?.parse().ok()?, date.get(4..)?.parse().ok()?))
        };
        let (born, then) = (day(&facts.patient_birth_date)?, day(&facts.study_date)?);
        // Whole years: the birthday of that year may still be to come.
        Some(f64::from(then.0 - born.0 - i32::from(then.1 < born.1)))
    };
    said.or_else(counted)
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

    fn facts(sex: &str, rows: u32) -> InstanceFacts {
        InstanceFacts {
            modality: Some("CT".into()),
            patient_sex: Some(sex.into()),
            rows: Some(rows),
            ..InstanceFacts::default()
        }
    }

    #[test]
    fn what_a_match_asks_for_and_what_is_not_met() {
        let class = SopClassUid::new("1.2.840.10008.5.1.4.1.1.2").unwrap();
        let wanted = Match {
            modalities: vec!["ct".into()],
            age_years: Range {
                from: Some(18.0),
                to: None,
            },
            attributes: vec![
                Condition {
                    name: Attribute::PatientSex,
                    any_of: vec!["F".into(), "O*".into()],
                    from: None,
                    to: None,
                },
                Condition {
                    name: Attribute::Rows,
                    any_of: vec![],
                    from: Some(256.0),
                    to: Some(512.0),
                },
            ],
            ..Match::default()
        };
        let aged = |age: &str, facts: InstanceFacts| InstanceFacts {
            patient_age: Some(age.into()),
            ..facts
        };
        for (facts, unmet) in [
            (aged("018Y", facts("F", 256)), None),
            (aged("240M", facts("OTHER", 512)), None),
            (aged("017Y", facts("F", 512)), Some(Unmet::Key("age_years"))),
            (aged("900D", facts("F", 512)), Some(Unmet::Key("age_years"))),
            (facts("F", 512), Some(Unmet::Key("age_years"))),
            (aged("018Y", facts("M", 512)), Some(Unmet::Attribute(1))),
            (aged("018Y", facts("F", 513)), Some(Unmet::Attribute(2))),
            (aged("018Y", facts("F", 255)), Some(Unmet::Attribute(2))),
            (InstanceFacts::default(), Some(Unmet::Key("modalities"))),
        ] {
            assert_eq!(wanted.unmet(&class, &facts), unmet, "{facts:?}");
        }
    }

    #[test]
    fn an_age_that_is_not_said_is_counted() {
        let of = |born: &str, then: &str| {
            age_years(&InstanceFacts {
                patient_birth_date: Some(born.into()),
                study_date: Some(then.into()),
                ..InstanceFacts::default()
            })
        };
        assert_eq!(of("20000615", "20180614"), Some(17.0));
        assert_eq!(of("20000615", "20180615"), Some(18.0));
        assert_eq!(of("2000", "20180615"), None);
    }

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
