//! The functional groups of enhanced multi-frame objects (PS3.3 section C.7.6.16).

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

/// The first item of a sequence.
pub(crate) fn first_item(object: &InMemDicomObject, sequence: Tag) -> Option<&InMemDicomObject> {
    object.get(sequence)?.items()?.first()
}

/// The data set that a functional group of a frame is in: the frame's own, or the one that all frames share, or, for
/// objects without functional groups, the object itself. `frame` counts from 0.
pub(crate) fn of_frame(object: &InMemDicomObject, frame: u32, group: Tag) -> &InMemDicomObject {
    let own = object
        .get(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE)
        .and_then(|e| e.items())
        .and_then(|items| items.get(frame as usize))
        .and_then(|item| first_item(item, group));
    let shared = || {
        first_item(object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE)
            .and_then(|item| first_item(item, group))
    };
    own.or_else(shared).unwrap_or(object)
}

/// The first number of an element; `None` when it is absent or not a finite number.
pub(crate) fn number(object: &InMemDicomObject, tag: Tag) -> Option<f64> {
    let values = object.get(tag)?.to_multi_float64().ok()?;
    values.first().copied().filter(|v| v.is_finite())
}
