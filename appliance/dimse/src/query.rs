//! What a C-FIND asks for (PS3.4 sections C.2.2 and C.4.1).

use crate::matching::{is_universal, matches};
use crate::record::{Level, Record};
use crate::service::Root;
use crate::status::Status;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use pericard_dicom::identifier::{Content, Identifier};
use pericard_domain::uid::{InstanceUid, SeriesUid, StudyUid};
use pericard_store::find::InstanceFilter;

/// Attributes of an identifier that are about the query and not about what is searched.
const ABOUT_THE_QUERY: [Tag; 4] = [
    tags::SPECIFIC_CHARACTER_SET,
    tags::QUERY_RETRIEVE_LEVEL,
    tags::RETRIEVE_AE_TITLE,
    tags::TIMEZONE_OFFSET_FROM_UTC,
];

/// What a C-FIND asks for.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) level: Level,
    /// Specific Character Set of the identifier: the answers are in the same where it holds them.
    pub(crate) charset: String,
    keys: Identifier,
}

impl Query {
    /// Reads an identifier.
    pub(crate) fn read(root: Root, identifier: &Identifier) -> Result<Self, Status> {
        let level = level(root, identifier)?;
        let mut keys = Identifier::default();
        for (tag, element) in identifier.iter() {
            if !ABOUT_THE_QUERY.contains(&tag) {
                keys.put(tag, element.vr, element.value.clone());
            }
        }
        let charset = identifier
            .text(tags::SPECIFIC_CHARACTER_SET)
            .unwrap_or_default();
        Ok(Self {
            level,
            charset: charset.to_owned(),
            keys,
        })
    }

    /// The studies that are named; none when the query is not about named ones.
    pub(crate) fn studies(&self) -> Vec<StudyUid> {
        let named = self.keys.text(tags::STUDY_INSTANCE_UID).unwrap_or_default();
        named
            .split('\\')
            .filter_map(|uid| StudyUid::new(uid).ok())
            .collect()
    }

    /// What narrows the search in the database. Whatever matches is found by it, but not only that.
    pub(crate) fn narrowing(&self) -> InstanceFilter {
        let exactly = |tag| {
            let text = self.keys.text(tag)?;
            (!text.contains(['*', '?', '\\', '"'])).then(|| text.to_owned())
        };
        let modality = match self.level {
            Level::Patient => None,
            Level::Study => exactly(tags::MODALITIES_IN_STUDY).or_else(|| exactly(tags::MODALITY)),
            _ => exactly(tags::MODALITY),
        };
        let dates = self.keys.text(tags::STUDY_DATE).unwrap_or_default();
        let (from, to) = dates.split_once('-').unwrap_or((dates, dates));
        let day = |text: &str| {
            let is_day = text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit());
            is_day.then(|| text.to_owned())
        };
        InstanceFilter {
            series: exactly(tags::SERIES_INSTANCE_UID).and_then(|uid| SeriesUid::new(uid).ok()),
            instance: exactly(tags::SOP_INSTANCE_UID).and_then(|uid| InstanceUid::new(uid).ok()),
            patient_id: exactly(tags::PATIENT_ID),
            patient_name: self.keys.text(tags::PATIENT_NAME).and_then(literal),
            modality,
            accession_number: exactly(tags::ACCESSION_NUMBER),
            study_date_from: day(from.trim()),
            study_date_to: day(to.trim()),
            ..InstanceFilter::default()
        }
    }

    /// Whether the record matches as far as it goes: keys that it knows nothing of are passed over.
    pub(crate) fn may_match(&self, record: &Identifier) -> bool {
        self.keys.iter().all(|(tag, key)| {
            let mut one = Identifier::default();
            one.put(tag, key.vr, key.value.clone());
            is_universal(key) || record.get(tag).is_none() || matches(&one, record)
        })
    }

    /// Whether there is a key that the record knows nothing of, so that its object's file is to be asked.
    pub(crate) fn asks_beyond(&self, record: &Identifier) -> bool {
        self.keys.iter().any(|(tag, _)| record.get(tag).is_none())
    }

    pub(crate) fn matches(&self, record: &Identifier) -> bool {
        matches(&self.keys, record)
    }

    /// The answer: every key that was asked for, empty where nothing is known.
    pub(crate) fn answer(&self, record: &Record, our_title: &str) -> Identifier {
        chosen(&self.keys, &record.attributes)
            .with(tags::QUERY_RETRIEVE_LEVEL, Some(self.level.name()))
            .with(tags::RETRIEVE_AE_TITLE, Some(our_title))
    }
}

/// The level of an identifier, when the information model has it.
pub(crate) fn level(root: Root, identifier: &Identifier) -> Result<Level, Status> {
    let named = identifier
        .text(tags::QUERY_RETRIEVE_LEVEL)
        .and_then(Level::named);
    named
        .filter(|level| root == Root::Patient || *level != Level::Patient)
        .ok_or(Status::BAD_LEVEL)
}

fn chosen(keys: &Identifier, from: &Identifier) -> Identifier {
    let mut answer = Identifier::default();
    for (tag, key) in keys.iter() {
        let (vr, value) = match (&key.value, from.get(tag)) {
            (Content::Items(asked), Some(found)) => {
                let items = from.items(tag).iter();
                let items = match asked.first() {
                    Some(keys) if !keys.is_empty() => {
                        items.map(|item| chosen(keys, item)).collect()
                    }
                    _ => items.cloned().collect(),
                };
                (found.vr, Content::Items(items))
            }
            (Content::Items(_), None) => (key.vr, Content::Items(Vec::new())),
            (Content::Text(_), Some(found)) => (found.vr, found.value.clone()),
            (Content::Text(_), None) => (key.vr, Content::Text(String::new())),
        };
        answer.put(tag, vr, value);
    }
    answer
}

/// The longest part of a name's pattern that the database compares as we do: ASCII, without wildcards.
fn literal(pattern: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '\'' | ',' | '.');
    let longest = pattern
        .split(|c| !is_plain(c))
        .max_by_key(|part| part.len())?;
    // A name in several writings may match by any of them, and then a backslash parts alternatives.
    (!longest.is_empty() && !pattern.contains('\\')).then(|| format!("*{longest}*"))
}
