//! What the hospital says will come, before it comes: an order, as a worklist or an order message gives it.

use crate::job::Priority;
use crate::study::InstanceFacts;
use crate::uid::StudyUid;
use serde::{Deserialize, Serialize};

/// Something that is expected. Patient data, as [`InstanceFacts`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// What tells it from the others of the same source: a scheduled step's or a filler's number.
    pub key: String,
    /// Study Instance UID (0020,000D), where it is known beforehand.
    pub study: Option<StudyUid>,
    /// Accession Number (0008,0050).
    pub accession_number: Option<String>,
    /// Patient ID (0010,0020).
    pub patient_id: Option<String>,
    /// Modality (0008,0060) of what will come.
    pub modality: Option<String>,
    /// When, as far as it is said: `YYYYMMDD` or `YYYYMMDDHHMMSS`, in the hospital's time.
    pub scheduled: Option<String>,
    /// How urgent it is; `None` when it does not say.
    pub priority: Option<Priority>,
}

impl Order {
    /// Whether an object of that study, with that header, is what it expects: by the study's UID where both say one,
    /// else by the accession number, of the same patient where both say which.
    #[must_use]
    pub fn is_about(&self, study: &StudyUid, facts: &InstanceFacts) -> bool {
        if let Some(expected) = &self.study {
            return expected == study;
        }
        let said = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let Some(accession) = said(&self.accession_number) else {
            return false;
        };
        let is_same_patient = match (said(&self.patient_id), said(&facts.patient_id)) {
            (Some(expected), Some(found)) => expected == found,
            _ => true,
        };
        facts.accession_number.as_ref() == Some(&accession) && is_same_patient
    }
}

/// An order and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// What is expected.
    #[serde(flatten)]
    pub order: Order,
    /// Who said so: `worklist NAME`, `orders NAME`.
    pub source: String,
    /// Where it stands.
    pub state: Expecting,
}

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expecting {
    /// Nothing of it has come, or not all.
    Expected,
    /// A study that it is about was taken as complete.
    Arrived,
    /// Its source lists it no longer.
    Gone,
}

impl Expecting {
    /// Its name in lists and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expected => "expected",
            Self::Arrived => "arrived",
            Self::Gone => "gone",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Expected, Self::Arrived, Self::Gone];
        all.into_iter().find(|state| state.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_study_an_order_is_about() {
        let order = |study: Option<&str>, accession: &str, patient: &str| Order {
            study: study.map(|uid| StudyUid::new(uid).unwrap()),
            accession_number: Some(accession.to_owned()),
            patient_id: Some(patient.to_owned()),
            ..Order::default()
        };
        let facts = |accession: &str, patient: &str| InstanceFacts {
            accession_number: Some(accession.to_owned()),
            patient_id: Some(patient.to_owned()),
            ..InstanceFacts::default()
        };
        let study = StudyUid::new("1.2").unwrap();
        for (order, facts, expected) in [
            (order(Some("1.2"), "A", "P"), facts("B", "Q"), true),
            (order(Some("1.3"), "A", "P"), facts("A", "P"), false),
            (order(None, "A", "P"), facts("A", "P"), true),
            (order(None, "A", ""), facts("A", "P"), true),
            (order(None, "A", "P"), facts("A", "Q"), false),
            (order(None, "", "P"), facts("", "P"), false),
        ] {
            assert_eq!(
                order.is_about(&study, &facts),
                expected,
                "{order:?} {facts:?}"
            );
        }
    }
}
