//! The words of work that others order.

use pericard_domain::job::JobId;
use pericard_domain::settling::SeriesCounts;
use pericard_domain::time::Timestamp;
use pericard_domain::uid::{InstanceUid, StudyUid};
use pericard_domain::workitem::WorkitemState;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A workitem.
#[derive(Debug, Clone, PartialEq)]
pub struct Workitem {
    /// Its place in the order in which they were created.
    pub place: i64,
    /// Which.
    pub uid: InstanceUid,
    /// Where it stands.
    pub state: WorkitemState,
    /// Counts its changes.
    pub version: u32,
    /// What it was claimed with.
    pub transaction: Option<String>,
    /// Whether this appliance claimed it.
    pub claimed_here: bool,
    /// The study whose analysis by this appliance it orders, when it does.
    pub study: Option<StudyUid>,
    /// The inferences that it gave rise to: one for each model that it asks for.
    pub jobs: Vec<JobId>,
    /// Whether somebody asked for its cancellation.
    pub cancel_asked: bool,
    /// All else that is known of it, in the DICOM JSON model, without its transaction UID. Patient data.
    pub dataset: Value,
    /// When it was changed last.
    pub changed_at: Timestamp,
}

/// A workitem to keep.
#[derive(Debug, Clone, PartialEq)]
pub struct NewWorkitem {
    /// Which.
    pub uid: InstanceUid,
    /// The study whose analysis by this appliance it orders, when it does.
    pub study: Option<StudyUid>,
    /// What is known of it.
    pub dataset: Value,
    /// Who is subscribed to it from the beginning, and whether with a lock.
    pub subscribers: Vec<(String, bool)>,
}

/// What is told to those who subscribed to a workitem.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The report as it is sent.
    pub report: Value,
    /// Told to this one only; to every subscriber when it is nobody.
    pub only: Option<String>,
}

/// A change to a workitem: what it is afterwards.
#[derive(Debug, Clone)]
pub struct Altered {
    /// The workitem as it shall be. Its version is the one that it was read at.
    pub workitem: Workitem,
    /// What is told of it.
    pub told: Vec<Told>,
    /// What it is called in the audit log.
    pub verb: &'static str,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Whose.
    pub ae_title: String,
    /// To which workitem, or one of the well-known UIDs.
    pub workitem: InstanceUid,
    /// Whether the workitem must be kept until this one is given up.
    pub deletion_lock: bool,
    /// The query that workitems must match, when there is one.
    pub filter: Option<String>,
}

/// A report to a subscriber.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// Its place among all reports.
    pub place: i64,
    /// What is sent.
    pub report: Value,
}

/// The SOP class that reports about workitems are of: UPS Event.
const UPS_EVENT: &str = "1.2.840.10008.5.1.4.34.6.4";

/// How many objects of a study each series has that a workitem names as its inputs (Input Information Sequence
/// (0040,4021), its Referenced SOP Sequence (0008,1199)). Nothing when it names no objects.
pub(crate) fn inputs_of(dataset: &Value, study: &StudyUid) -> SeriesCounts {
    let items = |dataset: &Value, tag: &str| -> Vec<Value> {
        let items = dataset[tag]["Value"].as_array();
        items.cloned().unwrap_or_default()
    };
    let uid = |item: &Value, tag: &str| {
        let value = item[tag]["Value"][0].as_str()?;
        Some(value.trim().to_owned())
    };
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for input in items(dataset, "00404021") {
        let Some(series) = uid(&input, "0020000E") else {
            continue;
        };
        if uid(&input, "0020000D").as_deref() != Some(study.as_str()) {
            continue;
        }
        let objects = items(&input, "00081199");
        let objects = objects.iter().filter_map(|item| uid(item, "00081155"));
        named.entry(series).or_default().extend(objects);
    }
    named.retain(|_, objects| !objects.is_empty());
    let count = |objects: BTreeSet<String>| u32::try_from(objects.len()).unwrap_or(u32::MAX);
    let counts = named
        .into_iter()
        .map(|(series, objects)| (series, count(objects)));
    counts.collect()
}

impl Workitem {
    /// That it stands where it stands (event type 1, PS3.4 table CC.2.4-1).
    #[must_use]
    pub fn state_report(&self) -> Told {
        let mut report = self.report(1);
        report["00741000"] = json!({"vr": "CS", "Value": [self.state.name()]});
        for tag in ["00404041", "00741238"] {
            if let Some(attribute) = self.dataset.get(tag) {
                report[tag] = attribute.clone();
            }
        }
        Told::all(report)
    }

    /// That somebody asks for its cancellation (event type 2): with what was said.
    #[must_use]
    pub fn cancel_report(&self, said: &Map<String, Value>) -> Told {
        let mut report = self.report(2);
        for (tag, attribute) in said {
            report[tag] = attribute.clone();
        }
        Told::all(report)
    }

    /// How far it is (event type 3).
    #[must_use]
    pub fn progress_report(&self) -> Told {
        let mut report = self.report(3);
        if let Some(progress) = self.dataset.get("00741002") {
            report["00741002"] = progress.clone();
        }
        Told::all(report)
    }

    /// Who is to do it (event type 5).
    #[must_use]
    pub fn assigned_report(&self) -> Told {
        let mut report = self.report(5);
        for tag in ["00404025", "00404026", "00404027", "00404034"] {
            if let Some(attribute) = self.dataset.get(tag) {
                report[tag] = attribute.clone();
            }
        }
        Told::all(report)
    }

    fn report(&self, event: u16) -> Value {
        json!({
            "00000002": {"vr": "UI", "Value": [UPS_EVENT]},
            "00001000": {"vr": "UI", "Value": [self.uid.as_str()]},
            "00001002": {"vr": "US", "Value": [event]},
        })
    }
}

impl Told {
    const fn all(report: Value) -> Self {
        Self { report, only: None }
    }

    /// The same, for one subscriber.
    #[must_use]
    pub fn to(self, ae_title: &str) -> Self {
        let only = Some(ae_title.to_owned());
        Self { only, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(study: &str, series: &str, objects: &[&str]) -> Value {
        let reference = |uid: &&str| json!({"00081155": {"vr": "UI", "Value": [uid]}});
        json!({
            "0020000D": {"vr": "UI", "Value": [study]},
            "0020000E": {"vr": "UI", "Value": [series]},
            "00081199": {"vr": "SQ", "Value": objects.iter().map(reference).collect::<Vec<_>>()},
        })
    }

    #[test]
    fn named_inputs_are_counted_by_series_each_once() {
        let inputs = [
            input("1.2", "1.2.1", &["1.2.1.1", "1.2.1.2"]),
            input("1.2", "1.2.2", &["1.2.2.1"]),
            input("1.2", "1.2.1", &["1.2.1.2", "1.2.1.3"]),
            input("1.2", "1.2.3", &[]),
            input("1.9", "1.9.1", &["1.9.1.1"]),
        ];
        let dataset = json!({"00404021": {"vr": "SQ", "Value": inputs}});
        let study = StudyUid::new("1.2").unwrap();
        let counted = inputs_of(&dataset, &study);
        let expected = [("1.2.1".to_owned(), 3), ("1.2.2".to_owned(), 1)];
        assert_eq!(counted, SeriesCounts::from(expected));
        let whole = json!({"00404021": {"vr": "SQ", "Value": [{"0020000D": {"vr": "UI", "Value": ["1.2"]}}]}});
        assert!(inputs_of(&whole, &study).is_empty(), "it names no objects");
        assert!(inputs_of(&json!({"00404021": 7}), &study).is_empty());
    }
}
