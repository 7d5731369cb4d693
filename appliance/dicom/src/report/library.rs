//! The image library: what was looked at, with its descriptors (PS3.16 TID 1600 to 1604).

use super::concept::*;
use super::content::{ImageReference, Relation, code, container, image, number, uid, words};
use crate::source::Source;
use crate::write::DataSet;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use pericard_domain::finding::Code;

/// What is said of an image.
#[derive(Debug, Clone, PartialEq)]
enum Descriptor {
    Coded(Concept, Concept),
    Uid(Concept, String),
    Words(Concept, String),
    Number(Concept, f64, Concept),
}

impl Descriptor {
    fn item(&self) -> DataSet {
        const RELATION: Relation = Relation::AcquisitionContext;
        match self {
            Self::Coded(concept, value) => code(RELATION, *concept, value.item()),
            Self::Uid(concept, value) => uid(RELATION, *concept, value),
            Self::Words(concept, value) => words(RELATION, *concept, value),
            Self::Number(concept, value, unit) => {
                number(RELATION, &Code::from(*concept), *value, &Code::from(*unit))
            }
        }
    }
}

/// The library of these images: one group for each series, what is common to its images said once.
pub(super) fn image_library(images: &[&Source]) -> DataSet {
    let mut series: Vec<Vec<&Source>> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for image in images {
        let place = *places.entry(image.series()).or_insert_with(|| {
            series.push(Vec::new());
            series.len() - 1
        });
        series[place].push(image);
    }
    container(
        IMAGE_LIBRARY,
        Some("1600"),
        series.iter().map(|images| group(images)).collect(),
    )
}

fn group(images: &[&Source]) -> DataSet {
    let described: Vec<Vec<Descriptor>> = images.iter().map(|image| descriptors(image)).collect();
    let mut common = described.first().cloned().unwrap_or_default();
    for said in &described[1..] {
        common.retain(|descriptor| said.contains(descriptor));
    }
    let mut items: Vec<DataSet> = common.iter().map(Descriptor::item).collect();
    for (source, said) in images.iter().zip(&described) {
        let own = said
            .iter()
            .filter(|descriptor| !common.contains(descriptor))
            .map(Descriptor::item)
            .collect();
        items.push(entry(source, own));
    }
    container(IMAGE_LIBRARY_GROUP, None, items)
}

/// One image with what is said of it alone.
fn entry(source: &Source, own: Vec<DataSet>) -> DataSet {
    let reference = ImageReference {
        sop_class: source.sop_class().as_str(),
        instance: source.instance().as_str(),
        frames: &[],
        segment: None,
    };
    let mut item = image(Relation::Contains, None, reference);
    if !own.is_empty() {
        item.put(crate::write::sequence(tags::CONTENT_SEQUENCE, own));
    }
    item
}

/// What is said of one image: TID 1602, and TID 1604 for one in space or TID 1603 for a projection.
fn descriptors(source: &Source) -> Vec<Descriptor> {
    let modality = source.text(tags::MODALITY).unwrap_or_default();
    let mut said = vec![Descriptor::Coded(MODALITY, modality_concept(&modality))];
    let mut add = |descriptor: Option<Descriptor>| said.extend(descriptor);

    add(source
        .text(tags::FRAME_OF_REFERENCE_UID)
        .map(|value| Descriptor::Uid(FRAME_OF_REFERENCE, value)));
    for (concept, tag) in [(PIXEL_ROWS, tags::ROWS), (PIXEL_COLUMNS, tags::COLUMNS)] {
        add(first(source, tag, tags::PIXEL_MEASURES_SEQUENCE)
            .map(|n| Descriptor::Number(concept, n, PIXELS)));
    }
    if is_in_space(source) {
        cross_section(source, &mut add);
    } else {
        projection(source, &mut add);
    }
    said
}

/// Whether an image, or its first frame, lies in the patient's space.
pub(super) fn is_in_space(source: &Source) -> bool {
    let position = source.numbers(
        tags::IMAGE_POSITION_PATIENT,
        tags::PLANE_POSITION_SEQUENCE,
        1,
    );
    position.is_some_and(|p| p.len() == 3)
}

/// TID 1603, as far as any projection or ultrasound image has it.
fn projection(source: &Source, add: &mut impl FnMut(Option<Descriptor>)) {
    let orientation = source.texts(tags::PATIENT_ORIENTATION);
    if let [row, column] = &orientation[..]
        && !row.is_empty()
        && !column.is_empty()
    {
        add(Some(Descriptor::Words(ORIENTATION_ROW, row.clone())));
        add(Some(Descriptor::Words(ORIENTATION_COLUMN, column.clone())));
    }
    for tag in [tags::PIXEL_SPACING, tags::IMAGER_PIXEL_SPACING] {
        if spacing(source, tag, add) {
            break;
        }
    }
}

/// TID 1604. What differs from frame to frame of one object is left to the object.
fn cross_section(source: &Source, add: &mut impl FnMut(Option<Descriptor>)) {
    spacing(source, tags::PIXEL_SPACING, add);
    let lengths = [
        (SLICE_SPACING, tags::SPACING_BETWEEN_SLICES),
        (SLICE_THICKNESS, tags::SLICE_THICKNESS),
    ];
    for (concept, tag) in lengths {
        add(first(source, tag, tags::PIXEL_MEASURES_SEQUENCE)
            .map(|mm| Descriptor::Number(concept, mm, MILLIMETRE)));
    }
    if source.frames() > 1 {
        return;
    }
    let position = source.numbers(
        tags::IMAGE_POSITION_PATIENT,
        tags::PLANE_POSITION_SEQUENCE,
        1,
    );
    for (concept, mm) in [POSITION_X, POSITION_Y, POSITION_Z]
        .into_iter()
        .zip(position.unwrap_or_default())
    {
        add(Some(Descriptor::Number(concept, mm, MILLIMETRE)));
    }
    let orientation = source.numbers(
        tags::IMAGE_ORIENTATION_PATIENT,
        tags::PLANE_ORIENTATION_SEQUENCE,
        1,
    );
    let concepts = [ROW_X, ROW_Y, ROW_Z, COLUMN_X, COLUMN_Y, COLUMN_Z];
    for (concept, cosine) in concepts.into_iter().zip(orientation.unwrap_or_default()) {
        add(Some(Descriptor::Number(concept, cosine, COSINE)));
    }
}

/// The pixel spacing, where the source has it: from row to row (vertical) first, as the standard writes it.
fn spacing(source: &Source, tag: Tag, add: &mut impl FnMut(Option<Descriptor>)) -> bool {
    let Some(values) = source.numbers(tag, tags::PIXEL_MEASURES_SEQUENCE, 1) else {
        return false;
    };
    let [vertical, horizontal] = values[..] else {
        return false;
    };
    add(Some(Descriptor::Number(
        HORIZONTAL_SPACING,
        horizontal,
        MILLIMETRE,
    )));
    add(Some(Descriptor::Number(
        VERTICAL_SPACING,
        vertical,
        MILLIMETRE,
    )));
    true
}

fn first(source: &Source, tag: Tag, group: Tag) -> Option<f64> {
    source.numbers(tag, group, 1)?.first().copied()
}

fn modality_concept(name: &str) -> Concept {
    modality(name).0
}
