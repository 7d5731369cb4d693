//! What C-MOVE and C-GET have in common (PS3.4 sections C.4.2 and C.4.3): which objects are meant, and how it went.

use crate::command::{CommandSet, tag};
use crate::query::level;
use crate::record::Level;
use crate::service::Root;
use crate::status::Status;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use pericard_dicom::identifier::Identifier;
use pericard_domain::study::Instance;
use pericard_domain::uid::{InstanceUid, SeriesUid, StudyUid};
use pericard_store::find::InstanceFilter;
use pericard_store::{Store, StoreError};

/// The most UIDs that one retrieval may name.
const NAMED_MAX: usize = 10_000;
/// The most objects that are looked up of a series whose study was not said.
const OF_SERIES_MAX: u32 = 100_000;

/// What a retrieval means, as it was asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    level: Level,
    patient: Option<String>,
    studies: Vec<StudyUid>,
    series: Vec<SeriesUid>,
    instances: Vec<InstanceUid>,
}

impl Wanted {
    /// Reads an identifier; it names at least one thing at its level.
    pub(crate) fn read(root: Root, identifier: &Identifier) -> Result<Self, Status> {
        let level = level(root, identifier)?;
        let wanted = Self {
            level,
            patient: identifier
                .text(tags::PATIENT_ID)
                .filter(|_| root == Root::Patient)
                .map(str::to_owned),
            studies: uids(identifier, tags::STUDY_INSTANCE_UID, |uid| {
                StudyUid::new(uid).ok()
            })?,
            series: uids(identifier, tags::SERIES_INSTANCE_UID, |uid| {
                SeriesUid::new(uid).ok()
            })?,
            instances: uids(identifier, tags::SOP_INSTANCE_UID, |uid| {
                InstanceUid::new(uid).ok()
            })?,
        };
        match identifier.text(level.unique_key()) {
            // A wildcard would be everybody's everything.
            Some(key) if !key.contains(['*', '?']) => Ok(wanted),
            _ => Err(Status::NO_UNIQUE_KEY),
        }
    }

    /// For the audit log: ids only.
    pub(crate) fn subject(&self) -> String {
        let count = match self.level {
            Level::Patient => return "patient level".to_owned(),
            Level::Study => self.studies.len(),
            Level::Series => self.series.len(),
            Level::Image => self.instances.len(),
        };
        let study = match self.studies.as_slice() {
            [study] => format!(", study {study}"),
            _ => String::new(),
        };
        format!(
            "{} level, {count} named{study}",
            self.level.name().to_lowercase()
        )
    }

    /// The objects, at their latest revision: received ones and results.
    pub(crate) async fn instances(&self, store: &Store) -> Result<Vec<Instance>, StoreError> {
        let mut found = Vec::new();
        match self.level {
            Level::Patient => {
                let narrowing = InstanceFilter {
                    patient_id: self.patient.clone(),
                    ..InstanceFilter::default()
                };
                for study in store.find_studies(narrowing).await? {
                    found.extend(store.instances(&study).await?);
                }
            }
            Level::Study => {
                for study in &self.studies {
                    found.extend(store.instances(study).await?);
                }
            }
            Level::Series => {
                for series in &self.series {
                    let filter = InstanceFilter {
                        series: Some(series.clone()),
                        limit: OF_SERIES_MAX,
                        ..InstanceFilter::default()
                    };
                    found.extend(store.find_instances(filter).await?);
                }
            }
            Level::Image => {
                for instance in &self.instances {
                    match store.instance(instance).await {
                        Ok(instance) => found.push(instance),
                        Err(StoreError::NotFound(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        // Keys above the level narrow what is below them.
        found.retain(|i| self.patient.is_none() || i.facts.patient_id == self.patient);
        found.retain(|i| self.studies.is_empty() || self.studies.contains(&i.identity.study));
        found.retain(|i| {
            self.level < Level::Image
                || self.series.is_empty()
                || self.series.contains(&i.identity.series)
        });
        Ok(found)
    }
}

fn uids<T>(
    identifier: &Identifier,
    tag: Tag,
    uid: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, Status> {
    let text = identifier.text(tag).unwrap_or_default();
    let named = text
        .split('\\')
        .map(str::trim)
        .filter(|text| !text.is_empty());
    let all: Vec<T> = named
        .take(NAMED_MAX + 1)
        .map(|text| uid(text).ok_or(Status::NO_UNIQUE_KEY))
        .collect::<Result<_, _>>()?;
    if all.len() > NAMED_MAX {
        return Err(Status::BAD_IDENTIFIER);
    }
    Ok(all)
}

/// How a retrieval goes: its sub-operations, one C-STORE each.
#[derive(Debug, Default)]
pub(crate) struct SubOperations {
    pub(crate) remaining: usize,
    completed: usize,
    warning: usize,
    failed: Vec<InstanceUid>,
}

impl SubOperations {
    pub(crate) fn new(remaining: usize) -> Self {
        Self {
            remaining,
            ..Self::default()
        }
    }

    /// One more has its answer; `None` when the object could not even be sent.
    pub(crate) fn count(&mut self, instance: &InstanceUid, status: Option<u16>) {
        self.remaining = self.remaining.saturating_sub(1);
        match status {
            Some(0) => self.completed += 1,
            Some(status) if Status::is_done(status) => self.warning += 1,
            _ => self.failed.push(instance.clone()),
        }
    }

    /// How it ended.
    pub(crate) fn outcome(&self) -> Status {
        match (self.completed + self.warning, self.failed.len()) {
            (_, 0) if self.warning == 0 => Status::SUCCESS,
            (0, failed) if failed > 0 => Status::NOTHING_RETRIEVED,
            _ => Status::SOME_NOT_RETRIEVED,
        }
    }

    /// A response with the counts. What remains is said only while something may (PS3.7 sections 9.1.3 and 9.1.4).
    pub(crate) fn response(&self, request: &CommandSet, status: &Status) -> CommandSet {
        // The counts have 16 bits; nobody moves more than that at once, and if so, many is what they say.
        let number = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        let response = CommandSet::response(request, status)
            .with_number(tag::COMPLETED_SUB_OPERATIONS, number(self.completed))
            .with_number(tag::FAILED_SUB_OPERATIONS, number(self.failed.len()))
            .with_number(tag::WARNING_SUB_OPERATIONS, number(self.warning));
        if [Status::PENDING.code, Status::CANCELLED.code].contains(&status.code) {
            return response.with_number(tag::REMAINING_SUB_OPERATIONS, number(self.remaining));
        }
        response
    }

    /// Failed SOP Instance UID List (0008,0058), when there is one.
    pub(crate) fn failed_list(&self) -> Option<Identifier> {
        if self.failed.is_empty() {
            return None;
        }
        let uids: Vec<&str> = self.failed.iter().map(InstanceUid::as_str).collect();
        // An explicit length has 16 bits: a list of some thousand UIDs, and then it ends.
        let fitting = uids.iter().scan(0, |sum, uid| {
            *sum += uid.len() + 1;
            (*sum < usize::from(u16::MAX) - 1).then_some(*uid)
        });
        let list = fitting.collect::<Vec<_>>().join("\\");
        Some(Identifier::default().with(tags::FAILED_SOP_INSTANCE_UID_LIST, Some(&list)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes() {
        let uid = InstanceUid::new("1.2").unwrap();
        for (statuses, expected) in [
            (vec![], 0x0000),
            (vec![Some(0)], 0x0000),
            (vec![Some(0xB000)], 0xB000),
            (vec![Some(0), Some(0xA700)], 0xB000),
            (vec![None, Some(0xC000)], 0xA702),
        ] {
            let mut counts = SubOperations::new(statuses.len());
            statuses
                .iter()
                .for_each(|status| counts.count(&uid, *status));
            assert_eq!(counts.outcome().code, expected, "{statuses:?}");
            assert_eq!(counts.remaining, 0);
        }
    }

    #[test]
    fn nobody_retrieves_everything_by_a_wildcard() {
        for (level, tag, value) in [
            ("STUDY", tags::STUDY_INSTANCE_UID, "*"),
            ("STUDY", tags::STUDY_INSTANCE_UID, ""),
            ("PATIENT", tags::PATIENT_ID, "*"),
            ("IMAGE", tags::STUDY_INSTANCE_UID, "1.2"),
            ("IMAGE", tags::SOP_INSTANCE_UID, "../1"),
            ("FRAME", tags::SOP_INSTANCE_UID, "1.2"),
        ] {
            let asked = Identifier::default()
                .with(tags::QUERY_RETRIEVE_LEVEL, Some(level))
                .with(tag, Some(value));
            assert!(
                Wanted::read(Root::Patient, &asked).is_err(),
                "{level} {value}"
            );
        }
    }
}
