//! Slices on top of each other.

use super::place::{dot, length, minus, places, scaled, turned};
use super::{
    DOUBLED_FRACTION, GAP_FRACTION, GeometryError, LEAN_DEGREES_MAX, OFFSET_TOLERANCE_MM, Place,
    SLICES_MIN, SPACING_TOLERANCE_MM, STEP_TOLERANCE_FRACTION, Step,
};
use crate::source::Source;
use dicom_dictionary_std::tags;
use pericard_domain::image::Volume;
use pericard_domain::uid::SeriesUid;
use std::collections::BTreeMap;

/// One frame with its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// Where it lies.
    pub place: Place,
    /// `rows * columns` values after the modality transformation, row by row from the top left.
    pub values: Vec<f32>,
}

/// The frames of the series that a volume is to be made of, in the order of the volume's slices.
///
/// The choice is by what a series is, before anything is known of its faults: acquired in three dimensions, not a
/// localiser, not derived, the most frames. So a fault of the right series is an error, and never a reason to take
/// another. Series of which no frame has a place in space are passed over.
///
/// # Errors
/// When no series has a place in space, or the chosen one is not a stack of at least `slices_min` slices.
pub fn suitable_series(sources: &[Source], slices_min: usize) -> Result<Vec<Place>, GeometryError> {
    let mut series: BTreeMap<&SeriesUid, Vec<&Source>> = BTreeMap::new();
    for source in sources.iter().filter(|s| is_placed(s)) {
        series.entry(source.series()).or_default().push(source);
    }
    let best = series.into_values().max_by_key(|sources| rank(sources));
    let best = best.ok_or(GeometryError::NoSpatialSeries)?;

    let mut frames = Vec::new();
    for source in best {
        frames.extend(places(source)?);
    }
    let (order, _) = stacked(&frames, slices_min)?;
    Ok(order.into_iter().map(|i| frames[i].clone()).collect())
}

/// Makes one volume of slices in any order.
///
/// # Errors
/// When they are not one regular stack of at least `slices_min` slices; see [`GeometryError`].
pub fn assemble(slices: Vec<Slice>, slices_min: usize) -> Result<Volume, GeometryError> {
    let frames: Vec<Place> = slices.iter().map(|s| s.place.clone()).collect();
    let (order, slice_step) = stacked(&frames, slices_min)?;
    let first = &frames[order[0]];
    let size = [first.columns, first.rows, order.len()];
    let mut voxels = Vec::with_capacity(size.iter().product());
    for &i in &order {
        let (found, needed) = (slices[i].values.len(), first.rows * first.columns);
        if found != needed {
            return Err(GeometryError::ValueCount { found, needed });
        }
        voxels.extend_from_slice(&slices[i].values);
    }
    Ok(Volume {
        size,
        origin: first.position,
        column_step: scaled(first.row_direction, first.spacing[1]),
        row_step: scaled(first.column_direction, first.spacing[0]),
        slice_step,
        voxels,
        slices: order.iter().map(|&i| frames[i].source.clone()).collect(),
    })
}

/// Whether it is an image of which the first frame says where it lies.
fn is_placed(source: &Source) -> bool {
    /// Objects that are placed in space, and are not what a scanner saw.
    const NOT_ACQUIRED: [&str; 4] = ["SEG", "RTDOSE", "RTSTRUCT", "REG"];
    let modality = source.text(tags::MODALITY);
    let position = source.numbers(
        tags::IMAGE_POSITION_PATIENT,
        tags::PLANE_POSITION_SEQUENCE,
        1,
    );
    position.is_some() && !modality.is_some_and(|m| NOT_ACQUIRED.contains(&m.as_str()))
}

/// What makes a series the one that a volume is made of; larger is better.
fn rank(sources: &[&Source]) -> (bool, bool, u32) {
    let says = |tag, value: &str| {
        sources
            .iter()
            .any(|s| s.texts(tag).iter().any(|v| v == value))
    };
    let secondary = says(tags::IMAGE_TYPE, "LOCALIZER") || says(tags::IMAGE_TYPE, "DERIVED");
    let frames = sources
        .iter()
        .map(|s| s.frames())
        .fold(0, u32::saturating_add);
    (!secondary, says(tags::MR_ACQUISITION_TYPE, "3D"), frames)
}

/// The order of the slices along their normal, and the step from one to the next, mm.
fn stacked(frames: &[Place], slices_min: usize) -> Result<(Vec<usize>, [f64; 3]), GeometryError> {
    let needed = slices_min.max(SLICES_MIN);
    if frames.len() < needed {
        return Err(GeometryError::TooFew {
            found: frames.len(),
            needed,
        });
    }
    for frame in &frames[1..] {
        comparable(&frames[0], frame)?;
    }
    let normal = frames[0].normal();
    let along = |i: usize| dot(frames[i].position, normal);
    let mut order: Vec<usize> = (0..frames.len()).collect();
    order.sort_by(|&a, &b| along(a).total_cmp(&along(b)));

    let heights: Vec<f64> = order.iter().map(|&i| along(i)).collect();
    evenly_spaced(&heights)?;
    let positions: Vec<[f64; 3]> = order.iter().map(|&i| frames[i].position).collect();
    Ok((order, upright(&positions, normal)?))
}

/// Whether two frames can be slices of one volume.
fn comparable(a: &Place, b: &Place) -> Result<(), GeometryError> {
    if a.series != b.series {
        return Err(GeometryError::MixedSeries(
            a.series.clone(),
            b.series.clone(),
        ));
    }
    if a.frame_of_reference != b.frame_of_reference {
        return Err(GeometryError::MixedFrameOfReference);
    }
    if (a.rows, a.columns) != (b.rows, b.columns) {
        let (one, other) = ([a.columns, a.rows], [b.columns, b.rows]);
        return Err(GeometryError::MixedSize { one, other });
    }
    if let Some(degrees) = turned(a, b) {
        return Err(GeometryError::MixedOrientation { degrees });
    }
    let difference_mm = (a.spacing[0] - b.spacing[0])
        .abs()
        .max((a.spacing[1] - b.spacing[1]).abs());
    if difference_mm > SPACING_TOLERANCE_MM {
        return Err(GeometryError::MixedSpacing { difference_mm });
    }
    Ok(())
}

/// Whether heights in ascending order have one step.
fn evenly_spaced(heights: &[f64]) -> Result<(), GeometryError> {
    let steps: Vec<f64> = heights.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mut sorted = steps.clone();
    sorted.sort_by(f64::total_cmp);
    let (smallest, median) = (sorted[0], sorted[sorted.len() / 2]);
    let odd = |usual_mm: f64, is_odd: &dyn Fn(f64) -> bool| {
        let i = steps.iter().position(|step| is_odd(*step))?;
        Some(Step {
            before: i + 1,
            found_mm: steps[i],
            usual_mm,
        })
    };
    // Not "less than": when every slice is doubled, the median itself is nothing.
    if let Some(step) = odd(median, &|step| step <= DOUBLED_FRACTION * median) {
        return Err(GeometryError::Doubled(step));
    }
    // A missing slice only makes steps larger: the smallest is the usual one as long as two neighbours are left.
    if let Some(step) = odd(smallest, &|step| step > GAP_FRACTION * smallest) {
        return Err(GeometryError::Gap(step));
    }
    let tolerance = STEP_TOLERANCE_FRACTION * median;
    match odd(median, &|step| (step - median).abs() > tolerance) {
        Some(step) => Err(GeometryError::Uneven(step)),
        None => Ok(()),
    }
}

/// The step between slices at these positions, when they stand upright on each other.
fn upright(positions: &[[f64; 3]], normal: [f64; 3]) -> Result<[f64; 3], GeometryError> {
    let (first, last) = (positions[0], positions[positions.len() - 1]);
    let whole = minus(last, first);
    let height = dot(whole, normal);
    let offset_mm = length(minus(whole, scaled(normal, height)));
    let degrees = offset_mm.atan2(height).to_degrees();
    if degrees > LEAN_DEGREES_MAX {
        return Err(GeometryError::Leaning { degrees, offset_mm });
    }
    let step = scaled(whole, 1.0 / (positions.len() - 1) as f64);
    for (k, position) in positions.iter().enumerate() {
        let beside = minus(minus(*position, first), scaled(step, k as f64));
        let offset_mm = length(minus(beside, scaled(normal, dot(beside, normal))));
        if offset_mm > OFFSET_TOLERANCE_MM {
            return Err(GeometryError::Displaced {
                slice: k + 1,
                offset_mm,
            });
        }
    }
    Ok(step)
}
