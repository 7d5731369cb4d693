//! Where findings are, as outlines that can be drawn: those that a model gave, and the borders of its masks.

use super::{ReportError, Segmented};
use pericard_domain::finding::{Finding, Region, Report};
use pericard_domain::image::{FrameRef, Volume};
use pericard_domain::uid::InstanceUid;
use std::collections::HashMap;

/// The fewest corners of an outline.
const CORNERS_MIN: usize = 3;

/// A closed outline of a finding in one frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape<'a> {
    /// What it is the outline of.
    pub finding: &'a Finding,
    /// In which frame.
    pub source: FrameRef,
    /// Its corners in pixels, (column, row), 0 at the top left corner of the top left pixel; not repeated at the end.
    pub corners: Vec<[f32; 2]>,
}

/// The outlines that the findings of a report give themselves.
///
/// # Errors
/// When an outline is none.
pub fn outline_shapes(report: &Report) -> Result<Vec<Shape<'_>>, ReportError> {
    let mut shapes = Vec::new();
    for finding in &report.findings {
        let Region::Outline { source, corners } = &finding.region else {
            continue;
        };
        if corners.len() < CORNERS_MIN || corners.iter().flatten().any(|v| !v.is_finite()) {
            return Err(ReportError::Outline);
        }
        shapes.push(Shape {
            finding,
            source: source.clone(),
            corners: corners.clone(),
        });
    }
    Ok(shapes)
}

/// The borders of a mask, slice by slice, along the edges of its pixels: what is inside is inside the outline. A hole
/// has an outline of its own.
///
/// # Errors
/// When the mask is not of the volume's size.
pub fn mask_shapes<'a>(
    volume: &Volume,
    segment: &Segmented<'a>,
) -> Result<Vec<Shape<'a>>, ReportError> {
    let [columns, rows, slices] = volume.size;
    let mask = segment.mask;
    if mask.size != volume.size
        || mask.voxels.len() != columns * rows * slices
        || volume.slices.len() != slices
    {
        return Err(ReportError::MaskSize {
            mask: mask.size,
            volume: volume.size,
        });
    }
    if columns * rows == 0 {
        return Ok(Vec::new());
    }
    let mut shapes = Vec::new();
    for (slice, voxels) in mask.voxels.chunks_exact(columns * rows).enumerate() {
        let borders = borders(voxels, columns);
        shapes.extend(borders.into_iter().map(|corners| Shape {
            finding: segment.finding,
            source: volume.slices[slice].clone(),
            corners,
        }));
    }
    Ok(shapes)
}

/// Of each finding the frame in which its outline is largest: the one to look at first. In the findings' order.
pub(super) fn key_frames<'s>(shapes: &'s [Shape<'_>]) -> Vec<(&'s Finding, &'s FrameRef)> {
    let mut places: HashMap<&InstanceUid, usize> = HashMap::new();
    let mut largest: Vec<(&Shape<'_>, f64)> = Vec::new();
    for shape in shapes {
        let area = area(&shape.corners);
        match places.get(&shape.finding.tracking_uid) {
            Some(&at) if largest[at].1 < area => largest[at] = (shape, area),
            Some(_) => {}
            None => {
                places.insert(&shape.finding.tracking_uid, largest.len());
                largest.push((shape, area));
            }
        }
    }
    let frames = largest.into_iter();
    frames
        .map(|(shape, _)| (shape.finding, &shape.source))
        .collect()
}

fn area(corners: &[[f32; 2]]) -> f64 {
    let next = corners.iter().cycle().skip(1);
    let twice = corners.iter().zip(next).map(|([x, y], [u, v])| {
        let [x, y, u, v] = [x, y, u, v].map(|n| f64::from(*n));
        x * v - u * y
    });
    twice.sum::<f64>().abs() / 2.0
}

/// A step along a pixel's edge: right, down, left, up.
const STEPS: [(isize, isize); 4] = [(1, 0), (0, 1), (-1, 0), (0, -1)];

/// The closed borders of one slice, each walked with the inside on its right hand, only its corners kept.
pub(crate) fn borders(voxels: &[u8], columns: usize) -> Vec<Vec<[f32; 2]>> {
    let rows = voxels.len() / columns;
    let inside = |x: isize, y: isize| {
        let within = (0..columns as isize).contains(&x) && (0..rows as isize).contains(&y);
        within && voxels[y as usize * columns + x as usize] != 0
    };
    // The upper edges are walked to the right; every border has one.
    let mut walked = vec![false; voxels.len()];
    let mut found = Vec::new();
    for y in 0..rows as isize {
        for x in 0..columns as isize {
            let at = y as usize * columns + x as usize;
            if inside(x, y) && !inside(x, y - 1) && !walked[at] {
                found.push(walk((x, y), columns, &inside, &mut walked));
            }
        }
    }
    found
}

/// Walks one border from the top left corner of the pixel `start` until it is back there.
fn walk(
    start: (isize, isize),
    columns: usize,
    inside: &impl Fn(isize, isize) -> bool,
    walked: &mut [bool],
) -> Vec<[f32; 2]> {
    let (mut x, mut y) = start;
    let (mut heading, mut corners) = (0, vec![[x as f32, y as f32]]);
    loop {
        if heading == 0 {
            // The pixel below an edge that is walked to the right: inside, so within the slice.
            walked[y as usize * columns + x as usize] = true;
        }
        let (dx, dy) = STEPS[heading];
        (x, y) = (x + dx, y + dy);
        // The pixels ahead, on the left hand and on the right, as seen from the corner that was reached.
        let (left, right) = match heading {
            0 => (inside(x, y - 1), inside(x, y)),
            1 => (inside(x, y), inside(x - 1, y)),
            2 => (inside(x - 1, y), inside(x - 1, y - 1)),
            _ => (inside(x - 1, y - 1), inside(x, y - 1)),
        };
        // Pixels that only touch at a corner are apart: to the right before anything else.
        let turned = match (left, right) {
            (_, false) => (heading + 1) % 4,
            (true, true) => (heading + 3) % 4,
            (false, true) => heading,
        };
        if (x, y) == start && turned == 0 {
            return corners;
        }
        if turned != heading {
            corners.push([x as f32, y as f32]);
            heading = turned;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whether the middle of a pixel is inside an odd number of borders.
    fn is_inside(borders: &[Vec<[f32; 2]>], x: usize, y: usize) -> bool {
        let (x, y) = (x as f32 + 0.5, y as f32 + 0.5);
        let mut crossings = 0;
        for border in borders {
            for (i, [ax, ay]) in border.iter().enumerate() {
                let [_, by] = border[(i + 1) % border.len()];
                // Only upright edges are crossed by a level ray.
                crossings += usize::from((*ay > y) != (by > y) && *ax > x);
            }
        }
        crossings % 2 == 1
    }

    #[test]
    fn a_pixel_and_a_ring() {
        assert_eq!(
            borders(&[0, 0, 0, 0, 1, 0, 0, 0, 0], 3),
            [[[1.0, 1.0], [2.0, 1.0], [2.0, 2.0], [1.0, 2.0]]]
        );
        let ring = borders(&[1, 1, 1, 1, 0, 1, 1, 1, 1], 3);
        assert_eq!(ring.len(), 2, "{ring:?}");
        assert_eq!(area(&ring[0]), 9.0);
        assert_eq!(area(&ring[1]), 1.0);
        assert!(borders(&[0; 9], 3).is_empty());
    }

    proptest! {
        #[test]
        fn borders_enclose_what_is_inside(voxels in proptest::collection::vec(0_u8..2, 7 * 6)) {
            let borders = borders(&voxels, 7);
            for y in 0..6 {
                for x in 0..7 {
                    prop_assert_eq!(is_inside(&borders, x, y), voxels[y * 7 + x] != 0);
                }
            }
        }
    }
}
