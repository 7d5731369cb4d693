//! De-identification of an image for research (PS3.15 annex E): the Basic Application Level Confidentiality Profile, with
//! pixels cleaned and the options of [`Keep`].
//!
//! The standard's table says what becomes of the attributes that it lists. Beyond it, since a rule that forgets an attribute
//! must not let a patient out: private attributes, curves, overlays, and attributes that no dictionary knows are taken out;
//! every UID but those that the standard itself registers is replaced; every name and date that the table does not list goes
//! the same way as those that it lists; and what is left is searched for the patient's own name and numbers.
//!
//! What cannot be cleaned is refused and says why ([`Refusal`]).

mod picture;
mod pseudonym;
mod refusal;
mod table;

pub use pseudonym::Key;
pub use refusal::Refusal;
pub use table::{EDITION, OPTIONS_EDITION};

use crate::pixels::{PixelError, Pixels};
use crate::scan::ScanLimits;
use crate::scan::walk::dictionary_vr;
use crate::write::{DataSet, data_set, empty, part10, sequence, text};
use dicom_core::value::{PrimitiveValue, Value};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::mem::InMemElement;
use pericard_domain::image::TextBox;
use pseudonym::put_back;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::{Read, Seek};
use table::{Action, entry};

/// The options of the standard that there are not, by code of CID 7050. They clean what the Basic Profile takes out or what is
/// refused here, and nobody can ask for them: a declared restriction.
pub const NOT_OFFERED: [(&str, &str); 5] = [
    ("113102", "Clean Recognizable Visual Features Option"),
    ("113103", "Clean Graphics Option"),
    ("113104", "Clean Structured Content Option"),
    ("113105", "Clean Descriptors Option"),
    ("113111", "Retain Safe Private Option"),
];

/// What is kept although the Basic Profile would take it out: the standard's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Keep {
    /// UIDs (Retain UIDs Option).
    Uids,
    /// What tells one device from another (Retain Device Identity Option).
    Device,
    /// Where it was made (Retain Institution Identity Option).
    Institution,
    /// Sex, age, size, weight and the like (Retain Patient Characteristics Option).
    PatientCharacteristics,
    /// Dates and times as they are (Retain Longitudinal Temporal Information With Full Dates Option).
    FullDates,
    /// Dates put back by a number of days that is the same for everything of one patient (... With Modified Dates Option).
    ShiftedDates,
}

impl Keep {
    /// Its letter in the table.
    const fn letter(self) -> char {
        match self {
            Self::Uids => 'U',
            Self::Device => 'V',
            Self::Institution => 'I',
            Self::PatientCharacteristics => 'P',
            Self::FullDates => 'F',
            Self::ShiftedDates => 'M',
        }
    }

    /// Its code (PS3.16 CID 7050).
    const fn code(self) -> (&'static str, &'static str) {
        match self {
            Self::FullDates => (
                "113106",
                "Retain Longitudinal Temporal Information Full Dates Option",
            ),
            Self::ShiftedDates => (
                "113107",
                "Retain Longitudinal Temporal Information Modified Dates Option",
            ),
            Self::PatientCharacteristics => ("113108", "Retain Patient Characteristics Option"),
            Self::Device => ("113109", "Retain Device Identity Option"),
            Self::Uids => ("113110", "Retain UIDs Option"),
            Self::Institution => ("113112", "Retain Institution Identity Option"),
        }
    }
}

/// How a study is de-identified.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Profile {
    /// The site's secret: the same for everything that is to fit together.
    pub key: Key,
    /// What is kept.
    pub keep: BTreeSet<Keep>,
}

/// What is known of text in the pixels.
#[derive(Debug, Clone, Copy)]
pub enum Text<'a> {
    /// Nobody looked. Only cross sections straight from the scanner go out.
    NotLookedFor,
    /// All frames were looked at, and this was found; boxes of other objects are passed over.
    Found(&'a [TextBox]),
}

/// A cleaned image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleaned {
    /// Its new SOP Instance UID.
    pub instance: String,
    /// Its new Study Instance UID.
    pub study: String,
    /// The Part 10 file, Explicit VR Little Endian.
    pub bytes: Vec<u8>,
}

/// De-identifies one image.
///
/// # Errors
/// When it cannot be cleaned; see [`Refusal`].
pub fn deidentify(
    file: impl Read + Seek + Send + 'static,
    limits: &ScanLimits,
    profile: &Profile,
    looked: Text<'_>,
) -> Result<Cleaned, Refusal> {
    let mut pixels = match Pixels::from_reader(file, limits) {
        Err(PixelError::NoPixelData) => return Err(Refusal::NoImage),
        other => other?,
    };
    let source = pixels.object().clone();
    refusal::check(pixels.header(), &source, looked)?;
    let cleaning = Cleaning::new(profile, &source);
    let mut object = cleaning.cleaned(source);
    let boxes: Vec<TextBox> = match looked {
        Text::NotLookedFor => Vec::new(),
        Text::Found(boxes) => {
            let instance = &pixels.header().identity.instance;
            let here = boxes.iter().filter(|b| b.source.instance == *instance);
            here.cloned().collect()
        }
    };
    picture::put(&mut object, &mut pixels, &boxes)?;
    cleaning.put_method(&mut object, matches!(looked, Text::Found(_)));
    let uid = |tag| crate::source::text(&object, tag).unwrap_or_default();
    Ok(Cleaned {
        instance: uid(tags::SOP_INSTANCE_UID),
        study: uid(tags::STUDY_INSTANCE_UID),
        bytes: part10(&object, None)?,
    })
}

/// The shortest word of the patient's name or number that the rest is searched for: shorter ones are in every text.
const IDENTIFIER_CHARS_MIN: usize = 4;

/// UIDs that say what kind of thing something is, of whatever root: never replaced.
const KINDS: [Tag; 5] = [
    tags::SOP_CLASS_UID,
    tags::REFERENCED_SOP_CLASS_UID,
    tags::TRANSFER_SYNTAX_UID,
    tags::CODING_SCHEME_UID,
    tags::CONTEXT_UID,
];

/// The root of the UIDs that the standard itself registers.
const STANDARD_ROOT: &str = "1.2.840.10008.";

struct Cleaning<'p> {
    profile: &'p Profile,
    patient_id: String,
    /// The patient's names and numbers, lower case.
    identifiers: Vec<String>,
}

impl<'p> Cleaning<'p> {
    fn new(profile: &'p Profile, source: &DataSet) -> Self {
        let patient_id = crate::source::text(source, tags::PATIENT_ID).unwrap_or_default();
        Self {
            profile,
            patient_id,
            identifiers: identifiers(source),
        }
    }

    fn keeps(&self, keep: Keep) -> bool {
        self.profile.keep.contains(&keep)
    }

    /// The data set without what identifies, at every depth: as deep as the scan lets objects be.
    fn cleaned(&self, source: DataSet) -> DataSet {
        data_set(
            source
                .into_iter()
                .filter_map(|element| self.element(element)),
        )
    }

    fn element(&self, element: InMemElement) -> Option<InMemElement> {
        let (tag, vr) = (element.header().tag, element.vr());
        if !is_known(tag, vr) {
            return None;
        }
        // The table lets them be empty; but what is of one patient must be seen to be.
        if tag == tags::PATIENT_ID || tag == tags::PATIENT_NAME {
            return Some(text(tag, vr, self.profile.key.patient(&self.patient_id)));
        }
        let listed = entry(tag);
        let kept = listed.is_some_and(|e| {
            let options = self.profile.keep.iter();
            options
                .filter(|keep| **keep != Keep::ShiftedDates)
                .any(|keep| e.kept_by.contains(keep.letter()))
        });
        if self.keeps(Keep::ShiftedDates)
            && listed.is_some_and(|e| e.kept_by.contains(Keep::ShiftedDates.letter()))
        {
            return self.shifted(element);
        }
        if kept {
            return self.swept(element);
        }
        let action = match listed {
            Some(e) => Some(e.action),
            None => self.unlisted(vr),
        };
        match action {
            Some(Action::Remove) => None,
            Some(Action::Empty) => Some(empty_of(tag, vr)),
            Some(Action::Dummy) => self.dummy(tag, vr),
            Some(Action::Uid) | None if vr == VR::UI => Some(self.uids(element)),
            Some(Action::Uid) => None,
            Some(Action::Clean) | None => self.swept(element),
        }
    }

    /// What becomes of what the table does not list: names and dates go, the rest is looked through.
    fn unlisted(&self, vr: VR) -> Option<Action> {
        match vr {
            VR::PN => Some(Action::Empty),
            VR::DA | VR::DT | VR::TM if !self.keeps(Keep::FullDates) => Some(Action::Dummy),
            _ => None,
        }
    }

    fn uids(&self, element: InMemElement) -> InMemElement {
        let tag = element.header().tag;
        if self.keeps(Keep::Uids) || KINDS.contains(&tag) {
            return element;
        }
        let values = element.to_multi_str().map(|v| v.into_owned());
        let replaced = values.unwrap_or_default().into_iter().map(|uid| {
            let uid = uid.trim_matches([' ', '\0']);
            if uid.is_empty() || uid.starts_with(STANDARD_ROOT) {
                uid.to_owned()
            } else {
                self.profile.key.uid(uid)
            }
        });
        crate::write::texts(tag, VR::UI, replaced)
    }

    /// A value that says nothing, in the form that the attribute has.
    fn dummy(&self, tag: Tag, vr: VR) -> Option<InMemElement> {
        const WORD: &str = "DEIDENTIFIED";
        let value = match vr {
            VR::DA => "19000101",
            VR::TM => "000000",
            VR::DT => "19000101000000",
            VR::AS => "000Y",
            VR::IS | VR::DS => "0",
            VR::AE | VR::CS | VR::LO | VR::LT | VR::PN | VR::SH | VR::ST | VR::UC | VR::UT => WORD,
            VR::UI => return Some(text(tag, vr, self.profile.key.uid("none"))),
            // Numbers, bytes and sequences have no value that is right for every attribute.
            _ => return Some(empty_of(tag, vr)),
        };
        Some(text(tag, vr, value))
    }

    fn shifted(&self, element: InMemElement) -> Option<InMemElement> {
        let (tag, vr) = (element.header().tag, element.vr());
        let days = self.profile.key.shift_days(&self.patient_id);
        let shift = |value: &str| {
            let value = value.trim();
            let date = value.get(..8).and_then(|date| put_back(date, days))?;
            Some(format!("{date}{}", &value[8..]))
        };
        match vr {
            // A time alone says nothing without its date.
            VR::TM => Some(element),
            VR::DA | VR::DT => {
                let values = element.to_multi_str().map(|v| v.into_owned());
                let shifted: Option<Vec<String>> =
                    values.ok()?.iter().map(|value| shift(value)).collect();
                Some(match shifted {
                    Some(values) => crate::write::texts(tag, vr, values),
                    None => empty(tag, vr),
                })
            }
            _ => Some(empty_of(tag, vr)),
        }
    }

    /// An element that stays: its items are cleaned, and a text in which the patient is named is left without a value.
    fn swept(&self, element: InMemElement) -> Option<InMemElement> {
        let (tag, vr) = (element.header().tag, element.vr());
        match element.into_value() {
            Value::Sequence(items) => {
                let items = items.into_items().into_iter();
                Some(sequence(
                    tag,
                    items.map(|item| self.cleaned(item)).collect(),
                ))
            }
            Value::Primitive(value) => {
                let is_words = matches!(value, PrimitiveValue::Str(_) | PrimitiveValue::Strs(_));
                if is_words && self.names_patient(&value.to_str()) {
                    return Some(empty(tag, vr));
                }
                Some(InMemElement::new(tag, vr, value))
            }
            Value::PixelSequence(_) => None,
        }
    }

    fn names_patient(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        self.identifiers.iter().any(|word| text.contains(word))
    }

    /// What was done, in the standard's words (PS3.15 section E.1.1), and the character set that everything is written in.
    fn put_method(&self, object: &mut DataSet, looked: bool) {
        let mut codes = vec![("113100", "Basic Application Confidentiality Profile")];
        if looked {
            codes.push(("113101", "Clean Pixel Data Option"));
            object.put(text(tags::BURNED_IN_ANNOTATION, VR::CS, "NO"));
        }
        codes.extend(self.profile.keep.iter().map(|keep| keep.code()));
        let items = codes.into_iter().map(|(value, meaning)| {
            data_set([
                text(tags::CODE_VALUE, VR::SH, value),
                text(tags::CODING_SCHEME_DESIGNATOR, VR::SH, "DCM"),
                text(tags::CODE_MEANING, VR::LO, meaning),
            ])
        });
        let dates = if self.keeps(Keep::FullDates) {
            "UNMODIFIED"
        } else if self.keeps(Keep::ShiftedDates) {
            "MODIFIED"
        } else {
            "REMOVED"
        };
        for element in [
            text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192"),
            text(tags::PATIENT_IDENTITY_REMOVED, VR::CS, "YES"),
            text(
                tags::DEIDENTIFICATION_METHOD,
                VR::LO,
                format!("Pericard, PS3.15 table E.1-1 {EDITION}, options {OPTIONS_EDITION}"),
            ),
            sequence(tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE, items.collect()),
            text(
                tags::LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED,
                VR::CS,
                dates,
            ),
        ] {
            object.put(element);
        }
    }
}

/// Whether an attribute may stay at all: of a group that a data set has, known to the dictionary, and neither private nor
/// a curve, an overlay, a length, a filler or pixels.
fn is_known(tag: Tag, vr: VR) -> bool {
    const FIRST_GROUP: u16 = 0x0008;
    const PIXEL_GROUP: u16 = 0x7fe0;
    let group = tag.group();
    let repeats = matches!(group >> 8, 0x50 | 0x60);
    let is_character_set = tag == tags::SPECIFIC_CHARACTER_SET;
    group.is_multiple_of(2)
        && (FIRST_GROUP..PIXEL_GROUP).contains(&group)
        && tag.element() != 0
        && !repeats
        && !is_character_set // everything is written in one set, which is put at the end
        && vr != VR::UN
        && dictionary_vr(tag) != VR::UN
}

fn empty_of(tag: Tag, vr: VR) -> InMemElement {
    if vr == VR::SQ {
        sequence(tag, Vec::new())
    } else {
        empty(tag, vr)
    }
}

/// The words of the patient's names and numbers that are long enough to be told from others, lower case.
fn identifiers(source: &DataSet) -> Vec<String> {
    const IDENTIFYING: [Tag; 8] = [
        tags::PATIENT_NAME,
        tags::PATIENT_ID,
        tags::OTHER_PATIENT_NAMES,
        tags::PATIENT_BIRTH_NAME,
        tags::PATIENT_MOTHER_BIRTH_NAME,
        tags::ACCESSION_NUMBER,
        tags::PATIENT_TELEPHONE_NUMBERS,
        Tag(0x0010, 0x1000), // Other Patient IDs, retired
    ];
    let mut words: BTreeSet<String> = BTreeSet::new();
    for value in IDENTIFYING
        .iter()
        .filter_map(|tag| source.get(*tag)?.to_multi_str().ok())
        .flat_map(|values| values.into_owned())
    {
        let parts = value.split(['^', '=', ' ', ',']);
        words.extend(parts.map(|part| part.trim_matches('\0').to_lowercase()));
    }
    words.retain(|word| word.chars().count() >= IDENTIFIER_CHARS_MIN);
    words.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CID 7050: each is made, kept by an option, or said not to be offered.
    #[test]
    fn every_option_of_the_standard_is_offered_or_declared_as_not() {
        let kept = [
            Keep::Uids,
            Keep::Device,
            Keep::Institution,
            Keep::PatientCharacteristics,
            Keep::FullDates,
            Keep::ShiftedDates,
        ];
        let mut codes: Vec<&str> = kept.iter().map(|keep| keep.code().0).collect();
        codes.extend(NOT_OFFERED.map(|(code, _)| code));
        codes.extend(["113100", "113101"]);
        codes.sort_unstable();
        let all: Vec<String> = (113_100..=113_112)
            .map(|code: u32| code.to_string())
            .collect();
        assert_eq!(codes, all);
    }
}
