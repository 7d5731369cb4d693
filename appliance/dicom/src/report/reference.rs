//! References from one object to others (PS3.3 sections 10.8 and C.17.2.1).

use crate::write::{DataSet, data_set, sequence, text};
use dicom_core::VR;
use dicom_dictionary_std::tags;

/// An object that another refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Referenced<'a> {
    pub(crate) study: &'a str,
    pub(crate) series: &'a str,
    pub(crate) instance: &'a str,
    pub(crate) sop_class: &'a str,
}

/// The item that refers to one object.
pub(crate) fn sop_reference(sop_class: &str, instance: &str) -> DataSet {
    data_set([
        text(tags::REFERENCED_SOP_CLASS_UID, VR::UI, sop_class),
        text(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, instance),
    ])
}

/// The items that refer to objects by study and series (Hierarchical SOP Instance Reference Macro), each object once,
/// in the order in which studies and series first appear.
pub(crate) fn by_study(objects: &[Referenced<'_>]) -> Vec<DataSet> {
    let studies = grouped(objects, |object| object.study);
    let item = |(study, objects): (&str, Vec<Referenced<'_>>)| {
        data_set([
            sequence(tags::REFERENCED_SERIES_SEQUENCE, by_series(&objects)),
            text(tags::STUDY_INSTANCE_UID, VR::UI, study),
        ])
    };
    studies.into_iter().map(item).collect()
}

fn by_series(objects: &[Referenced<'_>]) -> Vec<DataSet> {
    let series = grouped(objects, |object| object.series);
    let item = |(series, objects): (&str, Vec<Referenced<'_>>)| {
        let instances = grouped(&objects, |object| object.instance);
        let instances = instances
            .into_iter()
            .map(|(instance, of)| sop_reference(of[0].sop_class, instance));
        data_set([
            sequence(tags::REFERENCED_SOP_SEQUENCE, instances.collect()),
            text(tags::SERIES_INSTANCE_UID, VR::UI, series),
        ])
    };
    series.into_iter().map(item).collect()
}

/// Objects grouped by a key, in the order in which keys first appear.
fn grouped<'a>(
    objects: &[Referenced<'a>],
    key: impl Fn(&Referenced<'a>) -> &'a str,
) -> Vec<(&'a str, Vec<Referenced<'a>>)> {
    let mut places = std::collections::HashMap::new();
    let mut groups: Vec<(&str, Vec<Referenced<'a>>)> = Vec::new();
    for object in objects {
        let place = *places.entry(key(object)).or_insert_with(|| {
            groups.push((key(object), Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(*object);
    }
    groups
}
