//! Where one frame lies in the patient.

use super::{DIRECTION_TOLERANCE, GeometryError};
use crate::source::Source;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use pericard_domain::image::FrameRef;
use pericard_domain::uid::SeriesUid;

/// Where one frame lies (PS3.3 sections C.7.6.2 and C.7.6.16.2.1 to 4), and how large it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Which frame.
    pub source: FrameRef,
    /// Its series.
    pub series: SeriesUid,
    /// Its frame of reference; positions of two different ones cannot be compared.
    pub frame_of_reference: Option<String>,
    /// Centre of its top left pixel, mm, LPS.
    pub position: [f64; 3],
    /// Along a row, from one column to the next: a unit vector.
    pub row_direction: [f64; 3],
    /// Along a column, from one row to the next: a unit vector.
    pub column_direction: [f64; 3],
    /// Pixel Spacing: from one row to the next, and from one column to the next, mm.
    pub spacing: [f64; 2],
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

impl Place {
    /// The direction that the slice faces: a unit vector.
    #[must_use]
    pub fn normal(&self) -> [f64; 3] {
        cross(self.row_direction, self.column_direction)
    }
}

/// The place of every frame of an object, in its order.
///
/// # Errors
/// [`GeometryError::Unplaced`] when one lacks a position, an orientation or a spacing.
pub fn places(source: &Source) -> Result<Vec<Place>, GeometryError> {
    (1..=source.frames())
        .map(|frame| place(source, frame))
        .collect()
}

fn place(source: &Source, frame: u32) -> Result<Place, GeometryError> {
    let position = values::<3>(
        source,
        tags::IMAGE_POSITION_PATIENT,
        tags::PLANE_POSITION_SEQUENCE,
        frame,
    )
    .ok_or(GeometryError::Unplaced {
        attribute: "Image Position (Patient)",
    })?;
    let orientation = values::<6>(
        source,
        tags::IMAGE_ORIENTATION_PATIENT,
        tags::PLANE_ORIENTATION_SEQUENCE,
        frame,
    );
    let [row_direction, column_direction] =
        orientation
            .and_then(directions)
            .ok_or(GeometryError::Unplaced {
                attribute: "Image Orientation (Patient)",
            })?;
    let spacing = values::<2>(
        source,
        tags::PIXEL_SPACING,
        tags::PIXEL_MEASURES_SEQUENCE,
        frame,
    )
    .filter(|spacing| spacing.iter().all(|mm| *mm > 0.0))
    .ok_or(GeometryError::Unplaced {
        attribute: "Pixel Spacing",
    })?;
    let size = |tag, attribute| {
        let pixels = values::<1>(source, tag, tags::PIXEL_MEASURES_SEQUENCE, frame);
        let pixels = pixels.filter(|[n]| *n >= 1.0 && *n <= f64::from(u16::MAX));
        pixels
            .map(|[n]| n as usize)
            .ok_or(GeometryError::Unplaced { attribute })
    };
    Ok(Place {
        source: FrameRef {
            instance: source.instance().clone(),
            frame,
        },
        series: source.series().clone(),
        frame_of_reference: source.text(tags::FRAME_OF_REFERENCE_UID),
        position,
        row_direction,
        column_direction,
        spacing,
        rows: size(tags::ROWS, "Rows")?,
        columns: size(tags::COLUMNS, "Columns")?,
    })
}

/// Exactly `N` numbers of an attribute.
fn values<const N: usize>(source: &Source, tag: Tag, group: Tag, frame: u32) -> Option<[f64; N]> {
    source.numbers(tag, group, frame)?.try_into().ok()
}

/// The two directions of an orientation, made exactly perpendicular unit vectors; `None` when they are not nearly so.
fn directions([a, b, c, d, e, f]: [f64; 6]) -> Option<[[f64; 3]; 2]> {
    /// Written with few digits they are a little off; more than this is an error of the sender.
    const UNIT_TOLERANCE: f64 = 1e-2;
    let (row, column) = ([a, b, c], [d, e, f]);
    let unit = |v| (length(v) - 1.0).abs() <= UNIT_TOLERANCE;
    if !unit(row) || !unit(column) || dot(row, column).abs() > UNIT_TOLERANCE {
        return None;
    }
    let row = scaled(row, 1.0 / length(row));
    let column = minus(column, scaled(row, dot(row, column)));
    Some([row, scaled(column, 1.0 / length(column))])
}

/// The largest angle between two frames' directions, degrees, when they are not one orientation.
pub(super) fn turned(a: &Place, b: &Place) -> Option<f64> {
    let pairs = [
        (a.row_direction, b.row_direction),
        (a.column_direction, b.column_direction),
    ];
    let one = |(u, v): &([f64; 3], [f64; 3])| {
        u.iter()
            .zip(v)
            .all(|(x, y)| (x - y).abs() <= DIRECTION_TOLERANCE)
    };
    if pairs.iter().all(one) {
        return None;
    }
    let angles = pairs.map(|(u, v)| dot(u, v).clamp(-1.0, 1.0).acos().to_degrees());
    Some(angles[0].max(angles[1]))
}

pub(super) fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}

pub(super) fn minus(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(super) fn scaled(a: [f64; 3], by: f64) -> [f64; 3] {
    a.map(|v| v * by)
}

pub(super) fn length(a: [f64; 3]) -> f64 {
    dot(a, a).sqrt()
}
