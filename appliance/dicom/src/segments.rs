//! Segmentations read back: in which images something is marked, and its outline in one of them.
//!
//! Read are binary segmentations whose frames say which image they were derived from and lie on its pixels, as
//! [`crate::report::segmentation`] writes them.

use crate::pixels::{PixelError, Pixels, Samples};
use crate::report::shape::borders;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use pericard_domain::image::FrameRef;
use pericard_domain::uid::InstanceUid;
use serde::{Deserialize, Serialize};

/// The most corners that are given for one image: a mask of noise would have one for every pixel.
pub const CORNERS_MAX: usize = 200_000;

/// A frame of a segmentation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marked {
    /// The image that it lies on.
    pub source: FrameRef,
    /// Which segment it is of, counted from 1.
    pub segment: u16,
    /// Its own number in the segmentation, counted from 1.
    pub frame: u32,
}

/// The border of what is marked in one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outline {
    /// Which segment it is of, counted from 1.
    pub segment: u16,
    /// Its corners in pixels, (column, row), 0 at the top left corner of the top left pixel; not repeated at the end. A
    /// hole has an outline of its own.
    pub corners: Vec<[f32; 2]>,
}

/// The images in which something is marked, in the segmentation's order. Frames that do not name their image are passed over.
#[must_use]
pub fn marked(segmentation: &Pixels) -> Vec<Marked> {
    let frames = segmentation
        .object()
        .get(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE)
        .and_then(|element| element.items())
        .unwrap_or_default();
    let known = frames.iter().take(segmentation.frames() as usize).zip(1..);
    known
        .filter_map(|(item, frame)| marked_in(item, frame))
        .collect()
}

/// The outlines of what is marked in one image.
///
/// # Errors
/// When a frame cannot be decoded, or the outlines have more than [`CORNERS_MAX`] corners.
pub fn outlines(segmentation: &mut Pixels, source: &FrameRef) -> Result<Vec<Outline>, PixelError> {
    let mut outlines = Vec::new();
    let mut left = CORNERS_MAX;
    for Marked { segment, frame, .. } in marked(segmentation)
        .into_iter()
        .filter(|marked| marked.source == *source)
    {
        let stored = segmentation.stored(frame)?;
        let voxels: Vec<u8> = match &stored.samples {
            Samples::Integer(samples) => samples.iter().map(|s| u8::from(*s != 0)).collect(),
            Samples::Real(_) => return Err("a segmentation has real numbers".into()),
        };
        for corners in borders(&voxels, stored.width.max(1)) {
            left = left
                .checked_sub(corners.len())
                .ok_or("a segmentation has too many corners")?;
            outlines.push(Outline { segment, corners });
        }
    }
    Ok(outlines)
}

fn marked_in(frame: &InMemDicomObject, number: u32) -> Option<Marked> {
    let derivation = item(frame, tags::DERIVATION_IMAGE_SEQUENCE)?;
    let source = item(derivation, tags::SOURCE_IMAGE_SEQUENCE)?;
    let instance = word(source, tags::REFERENCED_SOP_INSTANCE_UID)?;
    let of_source = word(source, tags::REFERENCED_FRAME_NUMBER);
    let segment = item(frame, tags::SEGMENT_IDENTIFICATION_SEQUENCE)?;
    let segment = segment.get(tags::REFERENCED_SEGMENT_NUMBER)?;
    Some(Marked {
        source: FrameRef {
            instance: InstanceUid::new(instance).ok()?,
            frame: of_source.and_then(|n| n.parse().ok()).unwrap_or(1),
        },
        segment: segment.to_int().ok()?,
        frame: number,
    })
}

fn item(object: &InMemDicomObject, sequence: Tag) -> Option<&InMemDicomObject> {
    object.get(sequence)?.items()?.first()
}

fn word(object: &InMemDicomObject, tag: Tag) -> Option<String> {
    let text = object.get(tag)?.to_str().ok()?;
    Some(text.trim_matches([' ', '\0']).to_owned())
}
