//! Content items of a structured report (PS3.3 section C.17.3).

use super::concept::{Concept, code_item};
use super::reference::sop_reference;
use crate::write::{DataSet, data_set, decimal, sequence, text};
use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::tags;
use pericard_domain::finding::Code;

/// How an item stands to the one that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Contains,
    Context,
    AcquisitionContext,
    Modifier,
    SelectedFrom,
}

impl Relation {
    const fn value(self) -> &'static str {
        match self {
            Self::Contains => "CONTAINS",
            Self::Context => "HAS OBS CONTEXT",
            Self::AcquisitionContext => "HAS ACQ CONTEXT",
            Self::Modifier => "HAS CONCEPT MOD",
            Self::SelectedFrom => "SELECTED FROM",
        }
    }
}

/// What an image item refers to: the frames of an object, or a segment of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ImageReference<'a> {
    pub(crate) sop_class: &'a str,
    pub(crate) instance: &'a str,
    /// Counted from 1. None means the whole object, and must be none where the object has one frame.
    pub(crate) frames: &'a [u32],
    pub(crate) segment: Option<u16>,
}

/// A heading with what stands under it. `template` is its number in PS3.16.
pub(crate) fn container(
    concept: Concept,
    template: Option<&str>,
    children: Vec<DataSet>,
) -> DataSet {
    let mut item = item(Relation::Contains, "CONTAINER", Some(concept.item()));
    put_container(&mut item, template, children);
    item
}

/// Makes a container of an item or of the root of a report.
pub(crate) fn put_container(item: &mut DataSet, template: Option<&str>, children: Vec<DataSet>) {
    item.put(text(tags::CONTINUITY_OF_CONTENT, VR::CS, "SEPARATE"));
    if let Some(template) = template {
        let template = data_set([
            text(tags::MAPPING_RESOURCE, VR::CS, "DCMR"),
            text(tags::TEMPLATE_IDENTIFIER, VR::CS, template),
        ]);
        item.put(sequence(tags::CONTENT_TEMPLATE_SEQUENCE, vec![template]));
    }
    // An empty Content Sequence is not allowed where there is no content.
    if !children.is_empty() {
        item.put(sequence(tags::CONTENT_SEQUENCE, children));
    }
}

/// A coded value. `value` is the item of a code sequence.
pub(crate) fn code(relation: Relation, concept: Concept, value: DataSet) -> DataSet {
    let mut item = item(relation, "CODE", Some(concept.item()));
    item.put(sequence(tags::CONCEPT_CODE_SEQUENCE, vec![value]));
    item
}

/// A text.
pub(crate) fn words(relation: Relation, concept: Concept, value: &str) -> DataSet {
    let mut item = item(relation, "TEXT", Some(concept.item()));
    item.put(text(tags::TEXT_VALUE, VR::UT, printable(value)));
    item
}

/// A UID.
pub(crate) fn uid(relation: Relation, concept: Concept, value: &str) -> DataSet {
    let mut item = item(relation, "UIDREF", Some(concept.item()));
    item.put(text(tags::UID, VR::UI, value));
    item
}

/// A finite number with its unit.
pub(crate) fn number(relation: Relation, concept: &Code, value: f64, unit: &Code) -> DataSet {
    let written = decimal(value);
    let mut measured = data_set([
        sequence(tags::MEASUREMENT_UNITS_CODE_SEQUENCE, vec![code_item(unit)]),
        text(tags::NUMERIC_VALUE, VR::DS, &*written),
    ]);
    if written.parse() != Ok(value) {
        measured.put(DataElement::new(
            tags::FLOATING_POINT_VALUE,
            VR::FD,
            PrimitiveValue::from(value),
        ));
    }
    let mut item = item(relation, "NUM", Some(code_item(concept)));
    item.put(sequence(tags::MEASURED_VALUE_SEQUENCE, vec![measured]));
    item
}

/// An image, or some of its frames, or a segment.
pub(crate) fn image(
    relation: Relation,
    concept: Option<Concept>,
    reference: ImageReference<'_>,
) -> DataSet {
    let mut item = item(relation, "IMAGE", concept.map(Concept::item));
    let mut of = sop_reference(reference.sop_class, reference.instance);
    if !reference.frames.is_empty() {
        let frames = reference.frames.iter().map(u32::to_string);
        of.put(DataElement::new(
            tags::REFERENCED_FRAME_NUMBER,
            VR::IS,
            PrimitiveValue::Strs(frames.collect()),
        ));
    }
    if let Some(segment) = reference.segment {
        of.put(DataElement::new(
            tags::REFERENCED_SEGMENT_NUMBER,
            VR::US,
            PrimitiveValue::from(segment),
        ));
    }
    item.put(sequence(tags::REFERENCED_SOP_SEQUENCE, vec![of]));
    item
}

/// A closed outline in an image, its corners in pixels from the top left corner of the top left pixel.
pub(crate) fn outline(concept: Concept, corners: &[[f32; 2]], of: ImageReference<'_>) -> DataSet {
    let mut item = item(Relation::Contains, "SCOORD", Some(concept.item()));
    item.put(text(tags::GRAPHIC_TYPE, VR::CS, "POLYLINE"));
    // Closed: the last vertex is the first one again (PS3.3 section C.18.6.1.2).
    let vertices = corners.iter().chain(corners.first()).flatten().copied();
    item.put(DataElement::new(
        tags::GRAPHIC_DATA,
        VR::FL,
        PrimitiveValue::F32(vertices.collect()),
    ));
    item.put(sequence(
        tags::CONTENT_SEQUENCE,
        vec![image(Relation::SelectedFrom, None, of)],
    ));
    item
}

fn item(relation: Relation, value_type: &str, concept: Option<DataSet>) -> DataSet {
    let mut item = data_set([
        text(tags::RELATIONSHIP_TYPE, VR::CS, relation.value()),
        text(tags::VALUE_TYPE, VR::CS, value_type),
    ]);
    if let Some(concept) = concept {
        item.put(sequence(tags::CONCEPT_NAME_CODE_SEQUENCE, vec![concept]));
    }
    item
}

/// A text as an unlimited text (UT) may hold it: no control characters but those that break lines.
fn printable(value: &str) -> String {
    let allowed = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r');
    value
        .chars()
        .map(|c| if allowed(c) { c } else { ' ' })
        .collect()
}
