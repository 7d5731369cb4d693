//! What is held, as queries see it: one record for each patient, study, series or object.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use pericard_dicom::identifier::Identifier;
use pericard_domain::study::{Instance, InstanceFacts};
use std::collections::{BTreeMap, BTreeSet};

/// Query/Retrieve Level (0008,0052).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Patient,
    Study,
    Series,
    Image,
}

impl Level {
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name.trim() {
            "PATIENT" => Some(Self::Patient),
            "STUDY" => Some(Self::Study),
            "SERIES" => Some(Self::Series),
            "IMAGE" => Some(Self::Image),
            _ => None,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Patient => "PATIENT",
            Self::Study => "STUDY",
            Self::Series => "SERIES",
            Self::Image => "IMAGE",
        }
    }

    /// The attribute that tells one from another at this level.
    pub(crate) const fn unique_key(self) -> Tag {
        match self {
            Self::Patient => tags::PATIENT_ID,
            Self::Study => tags::STUDY_INSTANCE_UID,
            Self::Series => tags::SERIES_INSTANCE_UID,
            Self::Image => tags::SOP_INSTANCE_UID,
        }
    }
}

/// One answer to a query.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// What the store knows; empty attributes are known to be empty.
    pub(crate) attributes: Identifier,
    /// The object whose file says the rest.
    pub(crate) example: Instance,
}

/// What there is at that level of a study's objects.
pub(crate) fn records(level: Level, instances: &[Instance]) -> Vec<Record> {
    let Some(first) = example(instances.iter()) else {
        return Vec::new();
    };
    match level {
        Level::Patient => vec![record(patient(&first.facts), first)],
        Level::Study => {
            let lower = [tags::SERIES_INSTANCE_UID, tags::SOP_INSTANCE_UID];
            let whole = study(first, instances);
            vec![record(
                lower
                    .into_iter()
                    .fold(whole, |all, tag| all.with(tag, None)),
                first,
            )]
        }
        Level::Series => {
            let mut of_series: BTreeMap<_, Vec<&Instance>> = BTreeMap::new();
            for instance in instances {
                of_series
                    .entry(&instance.identity.series)
                    .or_default()
                    .push(instance);
            }
            let whole = study(first, instances).with(tags::SOP_INSTANCE_UID, None);
            let record_of = |of: Vec<&Instance>| {
                let example = example(of.iter().copied())?;
                Some(record(series(whole.clone(), example, of.len()), example))
            };
            of_series.into_values().filter_map(record_of).collect()
        }
        Level::Image => {
            let mut counts: BTreeMap<_, usize> = BTreeMap::new();
            for instance in instances {
                *counts.entry(&instance.identity.series).or_default() += 1;
            }
            let whole = study(first, instances);
            let record_of = |i: &Instance| {
                let count = counts.get(&i.identity.series).copied().unwrap_or_default();
                record(image(series(whole.clone(), i, count), i), i)
            };
            instances.iter().map(record_of).collect()
        }
    }
}

fn record(attributes: Identifier, example: &Instance) -> Record {
    Record {
        attributes,
        example: example.clone(),
    }
}

/// What was received says more about a study than what was made here of it.
fn example<'a>(mut of: impl Iterator<Item = &'a Instance> + Clone) -> Option<&'a Instance> {
    of.clone().find(|i| !i.is_result).or_else(|| of.next())
}

fn patient(facts: &InstanceFacts) -> Identifier {
    Identifier::default()
        .with(tags::PATIENT_NAME, facts.patient_name.as_deref())
        .with(tags::PATIENT_ID, facts.patient_id.as_deref())
        .with(
            tags::PATIENT_BIRTH_DATE,
            facts.patient_birth_date.as_deref(),
        )
        .with(tags::PATIENT_SEX, facts.patient_sex.as_deref())
}

fn study(first: &Instance, instances: &[Instance]) -> Identifier {
    let facts = &first.facts;
    let modalities = distinct(instances.iter().filter_map(|i| i.facts.modality.as_deref()));
    let classes = distinct(instances.iter().map(|i| i.identity.sop_class.as_str()));
    let series: BTreeSet<_> = instances.iter().map(|i| &i.identity.series).collect();
    patient(facts)
        .with(
            tags::STUDY_INSTANCE_UID,
            Some(first.identity.study.as_str()),
        )
        .with(tags::STUDY_DATE, facts.study_date.as_deref())
        .with(tags::STUDY_TIME, facts.study_time.as_deref())
        .with(tags::ACCESSION_NUMBER, facts.accession_number.as_deref())
        .with(tags::STUDY_ID, facts.study_id.as_deref())
        .with(tags::STUDY_DESCRIPTION, facts.study_description.as_deref())
        .with(
            tags::REFERRING_PHYSICIAN_NAME,
            facts.referring_physician.as_deref(),
        )
        .with(tags::PATIENT_AGE, facts.patient_age.as_deref())
        .with(tags::MODALITIES_IN_STUDY, Some(&modalities))
        // Not an attribute of a study, but asked for by those who mean the one above.
        .with(tags::MODALITY, Some(&modalities))
        .with(tags::SOP_CLASSES_IN_STUDY, Some(&classes))
        .with(
            tags::NUMBER_OF_STUDY_RELATED_SERIES,
            Some(&series.len().to_string()),
        )
        .with(
            tags::NUMBER_OF_STUDY_RELATED_INSTANCES,
            Some(&instances.len().to_string()),
        )
        .with(tags::INSTANCE_AVAILABILITY, Some("ONLINE"))
}

fn series(study: Identifier, of: &Instance, count: usize) -> Identifier {
    let facts = &of.facts;
    study
        .with(tags::SERIES_INSTANCE_UID, Some(of.identity.series.as_str()))
        .with(tags::MODALITY, facts.modality.as_deref())
        .with(tags::SERIES_NUMBER, facts.series_number.as_deref())
        .with(
            tags::SERIES_DESCRIPTION,
            facts.series_description.as_deref(),
        )
        .with(tags::BODY_PART_EXAMINED, facts.body_part.as_deref())
        .with(tags::MANUFACTURER, facts.manufacturer.as_deref())
        .with(
            tags::NUMBER_OF_SERIES_RELATED_INSTANCES,
            Some(&count.to_string()),
        )
}

fn image(series: Identifier, of: &Instance) -> Identifier {
    let (identity, facts) = (&of.identity, &of.facts);
    let number = |n: Option<u32>| n.map(|n| n.to_string());
    series
        .with(tags::SOP_INSTANCE_UID, Some(identity.instance.as_str()))
        .with(tags::SOP_CLASS_UID, Some(identity.sop_class.as_str()))
        .with(
            tags::AVAILABLE_TRANSFER_SYNTAX_UID,
            Some(identity.transfer_syntax.as_str()),
        )
        .with(tags::INSTANCE_NUMBER, facts.instance_number.as_deref())
        .with(tags::IMAGE_TYPE, facts.image_type.as_deref())
        .with(tags::ROWS, number(facts.rows).as_deref())
        .with(tags::COLUMNS, number(facts.columns).as_deref())
        .with(tags::NUMBER_OF_FRAMES, number(facts.frames).as_deref())
}

fn distinct<'a>(values: impl Iterator<Item = &'a str>) -> String {
    let values: BTreeSet<&str> = values.collect();
    values.into_iter().collect::<Vec<_>>().join("\\")
}
