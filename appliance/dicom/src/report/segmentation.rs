//! Binary Segmentation (PS3.3 section A.51): which voxels of a volume belong to what.

use super::concept::*;
use super::reference::sop_reference;
use super::{Analysis, Kind, ReportContext, ReportError, ResultObject, Segment, build, header};
use crate::write::{
    DataSet, data_set, decimal, derived_uid, empty, long_string, sequence, short, text, texts,
};
use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use pericard_domain::finding::{Code, Finding, Report};
use pericard_domain::image::{FrameRef, Mask, Volume};
use std::collections::BTreeSet;

/// The most rows or columns that an image can have (US).
const SIDE_PIXELS_MAX: usize = u16::MAX as usize;

/// A finding of the report with the voxels that belong to it.
#[derive(Debug, Clone, Copy)]
pub struct Segmented<'a> {
    /// The finding: its concept is the segment's type, its tracking identifiers are the segment's.
    pub finding: &'a Finding,
    /// What kind of thing it is (PS3.16 CID 7150), as in (123037004, SCT, "Anatomical Structure").
    pub category: &'a Code,
    /// Its voxels.
    pub mask: &'a Mask,
}

/// A binary segmentation of a volume, and where in it each finding is, for [`ReportContext::segments`].
///
/// A frame is written for each slice of a segment that has a voxel in it, at the position of the volume's slice.
/// Segments are numbered from 1 in the order given.
///
/// # Errors
/// When a mask is not of the volume's size, or the volume's images are not in the report's evidence.
pub fn segmentation(
    report: &Report,
    context: &ReportContext<'_>,
    volume: &Volume,
    segments: &[Segmented<'_>],
) -> Result<(ResultObject, Vec<Segment>), ReportError> {
    fits(volume, segments)?;
    let frames = frames(volume, segments);
    let object = build(report, context, |analysis| {
        let own = analysis.own_series(Kind::SEGMENTATION, 1, uids::SEGMENTATION_STORAGE);
        let mut object = header::header(analysis, &own);
        put_image(&mut object, volume, segments, &frames);
        put_segments(&mut object, analysis, segments);
        put_dimensions(&mut object, &own.instance);
        put_sources(&mut object, analysis, volume, &frames)?;
        put_frames(&mut object, analysis, volume, &frames)?;
        Ok(object)
    })?;
    let number = |i: usize| u16::try_from(i + 1).unwrap_or(u16::MAX); // `fits` has counted the segments
    let placed = segments.iter().enumerate().map(|(i, segment)| Segment {
        tracking_uid: segment.finding.tracking_uid.clone(),
        object: object.identity.clone(),
        number: number(i),
        sources: frames
            .iter()
            .filter(|f| f.segment == i)
            .map(|f| volume.slices[f.slice].clone())
            .collect(),
    });
    let placed = placed.collect();
    Ok((object, placed))
}

/// A slice of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    segment: usize,
    slice: usize,
}

fn fits(volume: &Volume, segments: &[Segmented<'_>]) -> Result<(), ReportError> {
    let [columns, rows, slices] = volume.size;
    if volume.slices.len() != slices || slices == 0 {
        return Err(ReportError::Volume("its slices are not those of its size"));
    }
    if !(1..=SIDE_PIXELS_MAX).contains(&columns) || !(1..=SIDE_PIXELS_MAX).contains(&rows) {
        return Err(ReportError::Volume("its slices are empty or too large"));
    }
    if !(1..=usize::from(u16::MAX)).contains(&segments.len()) {
        return Err(ReportError::Volume("it has no segment, or too many"));
    }
    for segment in segments {
        let size = segment.mask.size;
        if size != volume.size || segment.mask.voxels.len() != columns * rows * slices {
            return Err(ReportError::MaskSize {
                mask: size,
                volume: volume.size,
            });
        }
    }
    Ok(())
}

/// The slices in which each segment has voxels; the first slice where no segment has any, as an image has a frame.
fn frames(volume: &Volume, segments: &[Segmented<'_>]) -> Vec<Frame> {
    let per_slice = volume.size[0] * volume.size[1];
    let mut frames = Vec::new();
    for (segment, segmented) in segments.iter().enumerate() {
        for (slice, voxels) in segmented.mask.voxels.chunks_exact(per_slice).enumerate() {
            if voxels.iter().any(|v| *v != 0) {
                frames.push(Frame { segment, slice });
            }
        }
    }
    if frames.is_empty() {
        frames.push(Frame {
            segment: 0,
            slice: 0,
        });
    }
    frames
}

fn put_image(object: &mut DataSet, volume: &Volume, segments: &[Segmented<'_>], frames: &[Frame]) {
    let [columns, rows, _] = volume.size;
    for element in [
        texts(
            tags::IMAGE_TYPE,
            VR::CS,
            ["DERIVED".to_owned(), "PRIMARY".to_owned()],
        ),
        short(tags::SAMPLES_PER_PIXEL, 1),
        text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
        text(tags::NUMBER_OF_FRAMES, VR::IS, frames.len().to_string()),
        short(tags::ROWS, rows),
        short(tags::COLUMNS, columns),
        short(tags::BITS_ALLOCATED, 1),
        short(tags::BITS_STORED, 1),
        short(tags::HIGH_BIT, 0),
        short(tags::PIXEL_REPRESENTATION, 0),
        text(tags::SEGMENTATION_TYPE, VR::CS, "BINARY"),
        text(
            tags::SEGMENTS_OVERLAP,
            VR::CS,
            if overlap(segments) { "YES" } else { "NO" },
        ),
        text(tags::CONTENT_LABEL, VR::CS, "SEGMENTATION"),
        empty(tags::CONTENT_DESCRIPTION, VR::LO),
        empty(tags::CONTENT_CREATOR_NAME, VR::PN),
        DataElement::new(
            tags::PIXEL_DATA,
            VR::OB,
            PrimitiveValue::U8(packed(volume, segments, frames).into()),
        ),
    ] {
        object.put(element);
    }
}

fn overlap(segments: &[Segmented<'_>]) -> bool {
    let Some(first) = segments.first() else {
        return false;
    };
    (0..first.mask.voxels.len())
        .any(|i| segments.iter().filter(|s| s.mask.voxels[i] != 0).count() > 1)
}

/// The frames' pixels, one bit each, the first in the lowest bit; a frame begins where the last one ends, also within
/// a byte (PS3.5 section 8.1.1).
fn packed(volume: &Volume, segments: &[Segmented<'_>], frames: &[Frame]) -> Vec<u8> {
    let per_slice = volume.size[0] * volume.size[1];
    let mut bytes = vec![0_u8; (frames.len() * per_slice).div_ceil(8)];
    for (n, frame) in frames.iter().enumerate() {
        let voxels = &segments[frame.segment].mask.voxels[frame.slice * per_slice..][..per_slice];
        for (i, _) in voxels.iter().enumerate().filter(|(_, voxel)| **voxel != 0) {
            let bit = n * per_slice + i;
            bytes[bit / 8] |= 1 << (bit % 8);
        }
    }
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes
}

fn put_segments(object: &mut DataSet, analysis: &Analysis<'_>, segments: &[Segmented<'_>]) {
    let items = segments
        .iter()
        .enumerate()
        .map(|(i, segment)| described(analysis, i + 1, segment));
    object.put(sequence(tags::SEGMENT_SEQUENCE, items.collect()));
}

fn described(analysis: &Analysis<'_>, number: usize, segment: &Segmented<'_>) -> DataSet {
    let (model, finding) = (&analysis.report.model, segment.finding);
    let algorithm = data_set([
        sequence(
            tags::ALGORITHM_FAMILY_CODE_SEQUENCE,
            vec![ARTIFICIAL_INTELLIGENCE.item()],
        ),
        text(tags::ALGORITHM_NAME, VR::LO, long_string(&model.name)),
        text(tags::ALGORITHM_VERSION, VR::LO, long_string(&model.version)),
        text(
            tags::ALGORITHM_PARAMETERS,
            VR::LT,
            format!("manifest-sha256={}", model.digest),
        ),
    ]);
    data_set([
        short(tags::SEGMENT_NUMBER, number),
        text(
            tags::SEGMENT_LABEL,
            VR::LO,
            long_string(&finding.concept.meaning),
        ),
        text(tags::SEGMENT_ALGORITHM_TYPE, VR::CS, "AUTOMATIC"),
        text(
            tags::SEGMENT_ALGORITHM_NAME,
            VR::LO,
            long_string(&model.name),
        ),
        sequence(
            tags::SEGMENTATION_ALGORITHM_IDENTIFICATION_SEQUENCE,
            vec![algorithm],
        ),
        sequence(
            tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE,
            vec![code_item(segment.category)],
        ),
        sequence(
            tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE,
            vec![code_item(&finding.concept)],
        ),
        text(tags::TRACKING_ID, VR::UT, &*finding.tracking_id),
        text(tags::TRACKING_UID, VR::UI, finding.tracking_uid.as_str()),
    ])
}

/// Frames are ordered by segment, then by position.
fn put_dimensions(object: &mut DataSet, instance: &str) {
    let organization = text(
        tags::DIMENSION_ORGANIZATION_UID,
        VR::UI,
        derived_uid("dimension organization", &[instance.as_bytes()]),
    );
    let index = |pointer: Tag, group: Tag, label: &str| {
        data_set([
            organization.clone(),
            DataElement::new(
                tags::DIMENSION_INDEX_POINTER,
                VR::AT,
                PrimitiveValue::from(pointer),
            ),
            DataElement::new(
                tags::FUNCTIONAL_GROUP_POINTER,
                VR::AT,
                PrimitiveValue::from(group),
            ),
            text(tags::DIMENSION_DESCRIPTION_LABEL, VR::LO, label),
        ])
    };
    let indexes = vec![
        index(
            tags::REFERENCED_SEGMENT_NUMBER,
            tags::SEGMENT_IDENTIFICATION_SEQUENCE,
            "Segment",
        ),
        index(
            tags::IMAGE_POSITION_PATIENT,
            tags::PLANE_POSITION_SEQUENCE,
            "Position",
        ),
    ];
    object.put(sequence(
        tags::DIMENSION_ORGANIZATION_SEQUENCE,
        vec![data_set([organization.clone()])],
    ));
    object.put(sequence(tags::DIMENSION_INDEX_SEQUENCE, indexes));
}

/// What the segmentation was made from, and in which space it lies.
fn put_sources(
    object: &mut DataSet,
    analysis: &Analysis<'_>,
    volume: &Volume,
    frames: &[Frame],
) -> Result<(), ReportError> {
    let first = analysis.source(&volume.slices[0].instance)?;
    let space = first.text(tags::FRAME_OF_REFERENCE_UID);
    let space = space.ok_or(ReportError::Volume("its images have no frame of reference"))?;
    object.put(text(tags::FRAME_OF_REFERENCE_UID, VR::UI, space));
    object.put(empty(tags::POSITION_REFERENCE_INDICATOR, VR::LO));
    header::put_lossy(object, first);
    let used: BTreeSet<usize> = frames.iter().map(|frame| frame.slice).collect();
    let mut named = BTreeSet::new();
    let mut references = Vec::new();
    for slice in used {
        let source = analysis.source(&volume.slices[slice].instance)?;
        if named.insert(source.instance()) {
            references.push(sop_reference(
                source.sop_class().as_str(),
                source.instance().as_str(),
            ));
        }
    }
    let series = data_set([
        sequence(tags::REFERENCED_INSTANCE_SEQUENCE, references),
        text(tags::SERIES_INSTANCE_UID, VR::UI, first.series().as_str()),
    ]);
    object.put(sequence(tags::REFERENCED_SERIES_SEQUENCE, vec![series]));
    Ok(())
}

/// Geometry and origin of the frames (PS3.3 section C.7.6.16).
fn put_frames(
    object: &mut DataSet,
    analysis: &Analysis<'_>,
    volume: &Volume,
    frames: &[Frame],
) -> Result<(), ReportError> {
    let (column_mm, row_mm) = (length(volume.column_step), length(volume.row_step));
    let slice_mm = decimal(length(volume.slice_step));
    let directions = volume
        .column_step
        .map(|v| v / column_mm)
        .into_iter()
        .chain(volume.row_step.map(|v| v / row_mm));
    let measures = data_set([
        texts(
            tags::PIXEL_SPACING,
            VR::DS,
            [decimal(row_mm), decimal(column_mm)],
        ),
        text(tags::SLICE_THICKNESS, VR::DS, &*slice_mm),
        text(tags::SPACING_BETWEEN_SLICES, VR::DS, slice_mm),
    ]);
    let orientation = data_set([texts(
        tags::IMAGE_ORIENTATION_PATIENT,
        VR::DS,
        directions.map(decimal),
    )]);
    let shared = data_set([
        sequence(tags::PIXEL_MEASURES_SEQUENCE, vec![measures]),
        sequence(tags::PLANE_ORIENTATION_SEQUENCE, vec![orientation]),
    ]);
    object.put(sequence(
        tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
        vec![shared],
    ));

    // An index counts the positions that occur, from 1.
    let used: BTreeSet<usize> = frames.iter().map(|frame| frame.slice).collect();
    let positions: std::collections::HashMap<usize, u32> = used.into_iter().zip(1..).collect();
    let mut items = Vec::with_capacity(frames.len());
    for frame in frames {
        let index = PrimitiveValue::U32([frame.segment as u32 + 1, positions[&frame.slice]].into());
        let content = data_set([DataElement::new(
            tags::DIMENSION_INDEX_VALUES,
            VR::UL,
            index,
        )]);
        let place =
            (0..3).map(|axis| volume.origin[axis] + frame.slice as f64 * volume.slice_step[axis]);
        let position = data_set([texts(
            tags::IMAGE_POSITION_PATIENT,
            VR::DS,
            place.map(decimal),
        )]);
        let segment = data_set([short(tags::REFERENCED_SEGMENT_NUMBER, frame.segment + 1)]);
        items.push(data_set([
            sequence(
                tags::DERIVATION_IMAGE_SEQUENCE,
                vec![derivation(analysis, &volume.slices[frame.slice])?],
            ),
            sequence(tags::FRAME_CONTENT_SEQUENCE, vec![content]),
            sequence(tags::PLANE_POSITION_SEQUENCE, vec![position]),
            sequence(tags::SEGMENT_IDENTIFICATION_SEQUENCE, vec![segment]),
        ]));
    }
    object.put(sequence(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, items));
    Ok(())
}

/// Which frame a frame was derived from.
fn derivation(analysis: &Analysis<'_>, slice: &FrameRef) -> Result<DataSet, ReportError> {
    let source = analysis.source(&slice.instance)?;
    let mut reference = sop_reference(source.sop_class().as_str(), source.instance().as_str());
    if source.frames() > 1 {
        reference.put(text(
            tags::REFERENCED_FRAME_NUMBER,
            VR::IS,
            slice.frame.to_string(),
        ));
    }
    reference.put(text(tags::SPATIAL_LOCATIONS_PRESERVED, VR::CS, "YES"));
    reference.put(sequence(
        tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE,
        vec![SOURCE_FOR_PROCESSING.item()],
    ));
    Ok(data_set([
        sequence(tags::SOURCE_IMAGE_SEQUENCE, vec![reference]),
        sequence(tags::DERIVATION_CODE_SEQUENCE, vec![SEGMENTATION.item()]),
    ]))
}

fn length(v: [f64; 3]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}
