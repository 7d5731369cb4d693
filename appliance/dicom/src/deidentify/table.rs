//! PS3.15 table E.1-1: what the Basic Profile does to each attribute, and which options keep it. Written by `table.py`.

use dicom_core::Tag;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The edition of the standard that the table is of.
pub const EDITION: &str = "2026c";
/// The day of the edition that says which options keep an attribute; `table.py` says where both are from.
pub const OPTIONS_EDITION: &str = "2025-01-28";

/// What is done to an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// X: taken out.
    Remove,
    /// Z: left without a value.
    Empty,
    /// D: given a value that says nothing.
    Dummy,
    /// U: given another UID, always the same one for the same UID.
    Uid,
    /// X/Z/U*: kept, its items cleaned.
    Clean,
}

/// An attribute's line in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) action: Action,
    /// The letters of the options that keep it; see [`super::Keep`].
    pub(super) kept_by: &'static str,
}

/// The table's line for an attribute, when it has one.
pub(super) fn entry(tag: Tag) -> Option<Entry> {
    TABLE.get(&tag).copied()
}

static TABLE: LazyLock<HashMap<Tag, Entry>> = LazyLock::new(|| {
    include_str!("table_e_1_1.txt")
        .lines()
        .filter_map(line)
        .collect()
});

fn line(line: &'static str) -> Option<(Tag, Entry)> {
    let mut words = line.split(' ');
    let (tag, action) = (words.next()?, words.next()?);
    let number = u32::from_str_radix(tag, 16).ok()?; // the heading has none
    // Where the standard leaves a choice by the kind of object, the one that leaves every kind of object valid is taken: a
    // dummy before nothing, nothing before absence.
    let action = match action {
        "X" => Action::Remove,
        "Z" | "X/Z" => Action::Empty,
        "U" => Action::Uid,
        "X/Z/U*" => Action::Clean,
        _ => Action::Dummy,
    };
    let kept_by = words.next().unwrap_or_default();
    let tag = Tag((number >> 16) as u16, number as u16);
    Some((tag, Entry { action, kept_by }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_dictionary_std::tags;

    #[test]
    fn every_line_is_read() {
        let lines = include_str!("table_e_1_1.txt").lines();
        assert_eq!(lines.filter(|l| !l.starts_with('#')).count(), TABLE.len());
        assert_eq!(TABLE.len(), 652);
        let action = |tag| entry(tag).map(|e| e.action);
        assert_eq!(action(tags::STUDY_ID), Some(Action::Empty));
        assert_eq!(action(tags::CONTENT_CREATOR_NAME), Some(Action::Dummy));
        assert_eq!(action(tags::ACCESSION_NUMBER), Some(Action::Empty));
        assert_eq!(action(tags::SOP_INSTANCE_UID), Some(Action::Uid));
        assert_eq!(action(tags::PATIENT_COMMENTS), Some(Action::Remove));
        assert_eq!(action(tags::SOURCE_IMAGE_SEQUENCE), Some(Action::Clean));
        assert_eq!(action(tags::ROWS), None);
        assert_eq!(entry(tags::STUDY_DATE).map(|e| e.kept_by), Some("FM"));
    }
}
