//! What a radiologist says of a result in an object of their own: a structured report or a key object selection (PS3.3
//! section A.35) that refers to one of our objects and says in a code whether it is right.
//!
//! The code is the document's title, its title modifier (113011, DCM), or the value of a content item whose concept is
//! (AGREEMENT, 99PERICARD):
//!
//! | code | says |
//! |---|---|
//! | (AGREE, 99PERICARD) | that the result is right |
//! | (DISAGREE, 99PERICARD) | that it is wrong |
//! | (373066001, SCT) "Yes" | in an item of that concept: that it is right |
//! | (373067005, SCT) "No" | in an item of that concept: that it is wrong |
//! | (113001, DCM) "Rejected for Quality Reasons" | as a title or modifier: that it is wrong |
//! | (113037, DCM) "Rejected for Patient Safety Reasons" | as a title or modifier: that it is wrong |
//!
//! An object that says both says nothing: it is for people to read.

use crate::object::read_file;
use crate::scan::{ScanError, ScanLimits};
use crate::source::{first_item, text};
use crate::write::DataSet;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use pericard_domain::uid::{InstanceUid, SopClassUid};
use serde::{Deserialize, Serialize};
use std::io::{Read, Seek};

/// Key Object Selection Document Storage (PS3.4 section B.5).
const KEY_OBJECTS: &str = "1.2.840.10008.5.1.4.1.1.88.59";
/// What the UIDs of structured reports begin with; key object selections are among them.
const REPORTS: &str = "1.2.840.10008.5.1.4.1.1.88.";
/// A code: its value, its scheme, and whether it agrees.
type Code = (&'static str, &'static str, bool);
const TITLES: [Code; 4] = [
    ("AGREE", "99PERICARD", true),
    ("DISAGREE", "99PERICARD", false),
    ("113001", "DCM", false),
    ("113037", "DCM", false),
];
const VALUES: [Code; 4] = [
    ("AGREE", "99PERICARD", true),
    ("DISAGREE", "99PERICARD", false),
    ("373066001", "SCT", true),
    ("373067005", "SCT", false),
];
/// The concepts whose values are looked at.
const MODIFIER: (&str, &str) = ("113011", "DCM");
const AGREEMENT: (&str, &str) = ("AGREEMENT", "99PERICARD");
/// How deep content items may lie in each other. The scan's own limit is far above what any report has.
const DEPTH_MAX: usize = 16;

/// Whether somebody agrees, and with which objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// Whether they are right.
    pub agrees: bool,
    /// The objects that its content refers to.
    pub objects: Vec<InstanceUid>,
}

/// Whether an object of this class can hold an agreement.
#[must_use]
pub fn may_hold_one(class: &SopClassUid) -> bool {
    class.as_str().starts_with(REPORTS) || class.as_str() == KEY_OBJECTS
}

/// What a file says; `None` when it agrees or disagrees with nothing, or says both.
///
/// # Errors
/// When it cannot be scanned.
pub fn read(
    file: &mut (impl Read + Seek),
    limits: &ScanLimits,
) -> Result<Option<Agreement>, ScanError> {
    let (_, data_set) = read_file(file, limits)?;
    Ok(said(&data_set))
}

fn said(document: &DataSet) -> Option<Agreement> {
    let mut found = Found::default();
    found
        .said
        .extend(code_in(document, tags::CONCEPT_NAME_CODE_SEQUENCE, &TITLES));
    found.item(document, DEPTH_MAX);
    let agrees = *found.said.first()?;
    let is_one = found.said.iter().all(|said| *said == agrees) && !found.objects.is_empty();
    is_one.then_some(Agreement {
        agrees,
        objects: found.objects,
    })
}

/// What was found in content items so far.
#[derive(Default)]
struct Found {
    said: Vec<bool>,
    objects: Vec<InstanceUid>,
}

impl Found {
    fn item(&mut self, item: &DataSet, depth: usize) {
        let concept = first_item(item, tags::CONCEPT_NAME_CODE_SEQUENCE).and_then(code);
        let is = |(value, scheme): (&str, &str)| {
            concept
                .as_ref()
                .is_some_and(|(v, s)| v == value && s == scheme)
        };
        if is(MODIFIER) {
            self.said
                .extend(code_in(item, tags::CONCEPT_CODE_SEQUENCE, &TITLES));
        }
        if is(AGREEMENT) {
            self.said
                .extend(code_in(item, tags::CONCEPT_CODE_SEQUENCE, &VALUES));
        }
        for reference in items(item, tags::REFERENCED_SOP_SEQUENCE) {
            let uid = text(reference, tags::REFERENCED_SOP_INSTANCE_UID);
            self.objects.extend(uid.and_then(|uid| uid.parse().ok()));
        }
        if let Some(depth) = depth.checked_sub(1) {
            for inner in items(item, tags::CONTENT_SEQUENCE) {
                self.item(inner, depth);
            }
        }
    }
}

fn items(data_set: &DataSet, tag: Tag) -> &[DataSet] {
    let items = data_set.get(tag).and_then(|element| element.items());
    items.unwrap_or_default()
}

fn code(item: &DataSet) -> Option<(String, String)> {
    let value = text(item, tags::CODE_VALUE)?;
    Some((value, text(item, tags::CODING_SCHEME_DESIGNATOR)?))
}

/// What the code of this sequence says, if it is one of these.
fn code_in(item: &DataSet, sequence: Tag, codes: &[Code]) -> Option<bool> {
    let (value, scheme) = first_item(item, sequence).and_then(code)?;
    let known = codes.iter().find(|(v, s, _)| *v == value && *s == scheme);
    known.map(|(.., agrees)| *agrees)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::{data_set, sequence, text};
    use dicom_core::VR;

    fn coded(tag: Tag, (value, scheme): (&str, &str)) -> dicom_object::mem::InMemElement {
        let code = [
            text(tags::CODE_VALUE, VR::SH, value),
            text(tags::CODING_SCHEME_DESIGNATOR, VR::SH, scheme),
        ];
        sequence(tag, vec![data_set(code)])
    }

    fn reference(uid: &str) -> DataSet {
        let object = data_set([text(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, uid)]);
        data_set([sequence(tags::REFERENCED_SOP_SEQUENCE, vec![object])])
    }

    fn answer(concept: (&str, &str), value: (&str, &str)) -> DataSet {
        data_set([
            coded(tags::CONCEPT_NAME_CODE_SEQUENCE, concept),
            coded(tags::CONCEPT_CODE_SEQUENCE, value),
        ])
    }

    fn document(title: (&str, &str), content: Vec<DataSet>) -> DataSet {
        data_set([
            coded(tags::CONCEPT_NAME_CODE_SEQUENCE, title),
            sequence(tags::CONTENT_SEQUENCE, content),
        ])
    }

    #[test]
    fn titles_modifiers_and_answers_say_whether_what_is_referred_to_is_right() {
        let (plain, ours) = (("113000", "DCM"), "99PERICARD");
        let nested = |inner| data_set([sequence(tags::CONTENT_SEQUENCE, vec![inner])]);
        for (document, agrees) in [
            (
                document(("AGREE", ours), vec![reference("1.2.3")]),
                Some(true),
            ),
            (
                document(("113001", "DCM"), vec![reference("1.2.3")]),
                Some(false),
            ),
            (
                document(
                    plain,
                    vec![answer(MODIFIER, ("113037", "DCM")), reference("1.2.3")],
                ),
                Some(false),
            ),
            (
                document(
                    plain,
                    vec![
                        reference("1.2.3"),
                        nested(answer(AGREEMENT, ("373066001", "SCT"))),
                    ],
                ),
                Some(true),
            ),
            (
                document(
                    plain,
                    vec![
                        nested(reference("1.2.3")),
                        answer(AGREEMENT, ("DISAGREE", ours)),
                    ],
                ),
                Some(false),
            ),
            // Nothing that is referred to, another concept, another scheme, both at once.
            (document(("AGREE", ours), vec![]), None),
            (
                document(
                    plain,
                    vec![reference("1.2.3"), answer(plain, ("373066001", "SCT"))],
                ),
                None,
            ),
            (document(("AGREE", "DCM"), vec![reference("1.2.3")]), None),
            (
                document(
                    ("AGREE", ours),
                    vec![reference("1.2.3"), answer(AGREEMENT, ("DISAGREE", ours))],
                ),
                None,
            ),
        ] {
            let said = said(&document);
            assert_eq!(
                said.as_ref().map(|said| said.agrees),
                agrees,
                "{document:?}"
            );
            if let Some(said) = said {
                assert_eq!(said.objects, ["1.2.3".parse().expect("a UID")]);
            }
        }
    }

    #[test]
    fn content_that_is_too_deep_is_not_followed() {
        let mut item = answer(AGREEMENT, ("AGREE", "99PERICARD"));
        for _ in 0..DEPTH_MAX + 1 {
            item = data_set([sequence(tags::CONTENT_SEQUENCE, vec![item])]);
        }
        assert_eq!(
            said(&document(("113000", "DCM"), vec![reference("1.2.3"), item])),
            None
        );
    }
}
