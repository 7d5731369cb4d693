//! What results are made from: the data set of a received object, without its pixels.
//!
//! It is read behind walls, and crosses as typed values ([`Source::to_bytes`]): what makes results parses no stranger's bytes.

mod crossing;

pub use crossing::{CROSSING_BYTES_MAX, CrossingError};

use crate::object::read_file_undecoded;
use crate::scan::{ScanError, ScanLimits};
use crate::write::DataSet;
use dicom_core::header::Length;
use dicom_core::value::{PrimitiveValue, Value};
use dicom_core::{DataElement, Tag};
use dicom_dictionary_std::tags;
use pericard_domain::uid::{InstanceUid, SeriesUid, SopClassUid, StudyUid};
use std::io::{Read, Seek};

/// The first group that holds pixels: nothing from here on is kept.
const PIXEL_GROUP: Tag = Tag(0x7fe0, 0x0000);
/// Where the bytes 0x80 to 0xFF of copied texts are kept in strings: in Unicode's private use area, so that they are
/// never taken for characters of our own.
const COPIED_BASE: u32 = 0xf700;

/// Why an object cannot be used to make results from.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It does not pass the scan.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// An attribute that identifies it is absent or malformed.
    #[error("the object has no valid {0}: send it again, or have its sender checked")]
    Unidentified(&'static str),
}

/// A received object's data set without its pixels and its private attributes.
#[derive(Debug, Clone)]
pub struct Source {
    study: StudyUid,
    series: SeriesUid,
    instance: InstanceUid,
    sop_class: SopClassUid,
    frames: u32,
    data_set: DataSet,
}

impl Source {
    /// Scans a Part 10 file and keeps what it says, without its pixels.
    ///
    /// # Errors
    /// When it does not pass the scan, or does not say which object it is.
    pub fn read(file: &mut (impl Read + Seek), limits: &ScanLimits) -> Result<Self, SourceError> {
        let (_, data_set) = read_file_undecoded(file, limits)?;
        Self::undecoded(data_set)
    }

    /// Takes a data set of which the texts are bytes, one character for each.
    pub(crate) fn undecoded(mut data_set: DataSet) -> Result<Self, SourceError> {
        // Private attributes go into no result, and some makers put megabytes into them.
        data_set.retain(|element| {
            let tag = element.header().tag;
            tag.group() % 2 == 0 && tag < PIXEL_GROUP
        });
        let data_set = values_mapped(data_set, &|text| text.chars().map(copied_char).collect());
        Self::identified(data_set)
    }

    fn identified(data_set: DataSet) -> Result<Self, SourceError> {
        let uid = |tag, name| text(&data_set, tag).ok_or(SourceError::Unidentified(name));
        let study = uid(tags::STUDY_INSTANCE_UID, "Study Instance UID")?;
        let series = uid(tags::SERIES_INSTANCE_UID, "Series Instance UID")?;
        let instance = uid(tags::SOP_INSTANCE_UID, "SOP Instance UID")?;
        let sop_class = uid(tags::SOP_CLASS_UID, "SOP Class UID")?;
        let frames = numbers(&data_set, tags::NUMBER_OF_FRAMES).and_then(|n| n.first().copied());
        Ok(Self {
            study: StudyUid::new(study)
                .map_err(|_| SourceError::Unidentified("Study Instance UID"))?,
            series: SeriesUid::new(series)
                .map_err(|_| SourceError::Unidentified("Series Instance UID"))?,
            instance: InstanceUid::new(instance)
                .map_err(|_| SourceError::Unidentified("SOP Instance UID"))?,
            sop_class: SopClassUid::new(sop_class)
                .map_err(|_| SourceError::Unidentified("SOP Class UID"))?,
            // A count that is no count is an image of one frame; whoever decodes it will find out.
            frames: frames.map_or(1, |n| n.clamp(1.0, f64::from(u32::MAX)) as u32),
            data_set,
        })
    }

    /// Its study.
    #[must_use]
    pub const fn study(&self) -> &StudyUid {
        &self.study
    }

    /// Its series.
    #[must_use]
    pub const fn series(&self) -> &SeriesUid {
        &self.series
    }

    /// Which object it is.
    #[must_use]
    pub const fn instance(&self) -> &InstanceUid {
        &self.instance
    }

    /// What kind of object it is.
    #[must_use]
    pub const fn sop_class(&self) -> &SopClassUid {
        &self.sop_class
    }

    /// How many frames it has.
    #[must_use]
    pub const fn frames(&self) -> u32 {
        self.frames
    }

    /// What its header says.
    pub(crate) const fn data_set(&self) -> &DataSet {
        &self.data_set
    }

    /// The first value of an attribute as text, without padding; `None` when absent or empty.
    pub(crate) fn text(&self, tag: Tag) -> Option<String> {
        text(&self.data_set, tag)
    }

    /// The values of an attribute as text, without padding.
    pub(crate) fn texts(&self, tag: Tag) -> Vec<String> {
        let Some(Ok(values)) = self.data_set.get(tag).map(|e| e.to_multi_str()) else {
            return Vec::new();
        };
        let values = values
            .iter()
            .map(|v| v.trim_matches([' ', '\0']).to_owned());
        values.collect()
    }

    /// The values of an attribute as finite numbers, also where an enhanced object keeps it for this `frame`
    /// (counted from 1) in the functional group `group`; `None` when absent or not all are finite numbers.
    pub(crate) fn numbers(&self, tag: Tag, group: Tag, frame: u32) -> Option<Vec<f64>> {
        let functional = || {
            self.functional_group(group, frame)
                .and_then(|g| numbers(g, tag))
        };
        functional().or_else(|| numbers(&self.data_set, tag))
    }

    /// The functional group of a frame (counted from 1): its own, or the one that all frames share (PS3.3 section
    /// C.7.6.16).
    fn functional_group(&self, group: Tag, frame: u32) -> Option<&DataSet> {
        let own = self.item(
            tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
            frame.checked_sub(1)? as usize,
        );
        let shared = self.item(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, 0);
        own.and_then(|g| first_item(g, group))
            .or_else(|| shared.and_then(|g| first_item(g, group)))
    }

    /// Item `index` of a sequence.
    pub(crate) fn item(&self, tag: Tag, index: usize) -> Option<&DataSet> {
        self.data_set.get(tag)?.items()?.get(index)
    }
}

/// Whether a character stands for a byte of a copied text.
pub(crate) fn is_copied(c: char) -> bool {
    (COPIED_BASE + 0x80..=COPIED_BASE + 0xff).contains(&u32::from(c))
}

/// The byte that a character of a copied text stands for.
pub(crate) fn byte_of(c: char) -> Option<u8> {
    let number = u32::from(c);
    u8::try_from(if is_copied(c) {
        number - COPIED_BASE
    } else {
        number
    })
    .ok()
}

/// The character that stands for a byte of a copied text.
fn copied_char(byte: char) -> char {
    match u32::from(byte) {
        number @ 0x80..=0xff => char::from_u32(COPIED_BASE + number).unwrap_or(byte),
        _ => byte,
    }
}

/// A data set with every text in it mapped, at any depth: as deep as the scan lets objects be.
pub(crate) fn values_mapped(data_set: DataSet, map: &impl Fn(&str) -> String) -> DataSet {
    let mapped = data_set.into_iter().map(|element| {
        let (tag, vr) = (element.header().tag, element.header().vr);
        let value = match element.into_value() {
            Value::Primitive(PrimitiveValue::Str(text)) => PrimitiveValue::Str(map(&text)).into(),
            Value::Primitive(PrimitiveValue::Strs(texts)) => {
                PrimitiveValue::Strs(texts.iter().map(|text| map(text)).collect()).into()
            }
            Value::Sequence(items) => {
                let items = items
                    .into_items()
                    .into_iter()
                    .map(|item| values_mapped(item, map));
                Value::new_sequence(items.collect::<Vec<_>>(), Length::UNDEFINED)
            }
            other => other,
        };
        DataElement::new(tag, vr, value)
    });
    DataSet::from_element_iter(mapped)
}

/// The first item of a sequence.
pub(crate) fn first_item(data_set: &DataSet, tag: Tag) -> Option<&DataSet> {
    data_set.get(tag)?.items()?.first()
}

/// The first value of an attribute as text, without padding; `None` when absent or empty.
pub(crate) fn text(data_set: &DataSet, tag: Tag) -> Option<String> {
    let values = data_set.get(tag)?.to_multi_str().ok()?;
    let value = values.first()?.trim_matches([' ', '\0']);
    (!value.is_empty()).then(|| value.to_owned())
}

/// The values of an attribute as numbers; `None` when absent, empty or not all finite.
pub(crate) fn numbers(data_set: &DataSet, tag: Tag) -> Option<Vec<f64>> {
    let values = data_set.get(tag)?.to_multi_float64().ok()?;
    (!values.is_empty() && values.iter().all(|v| v.is_finite())).then_some(values)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::write::{data_set, text};
    use dicom_core::VR;

    /// A source of a patient of that name, as bytes in that character set.
    pub(crate) fn source_named(charset: &[u8], name: &[u8]) -> Source {
        let characters = |bytes: &[u8]| bytes.iter().copied().map(char::from).collect::<String>();
        let strings = |bytes| {
            PrimitiveValue::Strs(characters(bytes).split('\\').map(str::to_owned).collect())
        };
        let mut object = data_set([
            text(tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3"),
            text(tags::SERIES_INSTANCE_UID, VR::UI, "1.2.3.4"),
            text(tags::SOP_INSTANCE_UID, VR::UI, "1.2.3.4.5"),
            text(tags::SOP_CLASS_UID, VR::UI, "1.2.840.10008.5.1.4.1.1.2"),
            DataElement::new(tags::PATIENT_NAME, VR::PN, strings(name)),
        ]);
        if !charset.is_empty() {
            object.put(DataElement::new(
                tags::SPECIFIC_CHARACTER_SET,
                VR::CS,
                strings(charset),
            ));
        }
        Source::undecoded(object).unwrap()
    }

    #[test]
    fn private_attributes_and_pixels_are_left_behind() {
        let mut object = source_named(b"", b"A").data_set;
        object.put(text(Tag(0x0009, 0x1001), VR::LO, "x"));
        object.put(DataElement::new(
            tags::PIXEL_DATA,
            VR::OB,
            PrimitiveValue::from(1_u8),
        ));
        let source = Source::undecoded(object).unwrap();
        assert!(
            source
                .data_set
                .tags()
                .all(|tag| tag.group() % 2 == 0 && tag < PIXEL_GROUP)
        );
    }

    #[test]
    fn what_does_not_say_which_object_it_is_is_no_source() {
        let mut object = source_named(b"", b"A").data_set;
        object.remove_element(tags::SERIES_INSTANCE_UID);
        let error = Source::undecoded(object).unwrap_err();
        assert!(error.to_string().contains("Series Instance UID"), "{error}");
    }
}
