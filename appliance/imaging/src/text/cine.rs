//! Many frames of one object: which are looked at, and what of a frame must be looked at again.
//!
//! The overlay of an ultrasound clip stands still while the picture moves. Looking at every frame as a whole would cost
//! seconds a frame for the same answer, so a frame is compared with what was last seen at each place, and only what
//! changed is looked at.

use super::area::{Area, Quad};
use super::picture::Picture;

/// Frames are compared in squares of this side.
const CELL_PX: usize = 16;
/// A sample that differs by more than this has changed: above the noise of lossy compression, below any letter.
const CHANGE_LEVELS: u8 = 24;
/// What is looked at again is wider than what changed by this, so that a word is never seen without its surroundings.
const MARGIN_PX: usize = 32;
/// Above this share of the frame, looking at the whole costs no more than looking at the parts.
const WHOLE_FROM_PERCENT: usize = 70;
/// Text is still there when its pixels differ by no more than this on average.
const STANDING_LEVELS: f64 = 12.0;

/// Which frames of an object are looked at: at most `limit`, evenly spread, the first and the last among them.
pub(crate) fn looked_at(count: usize, limit: usize) -> Vec<bool> {
    if count <= limit {
        return vec![true; count];
    }
    let mut looked = vec![false; count];
    for n in 0..limit {
        looked[n * (count - 1) / (limit - 1).max(1)] = true;
    }
    looked
}

/// The areas of `now` that must be looked at again, given what was last seen. They do not meet one another, and none
/// cuts through one of `boxes`.
pub(crate) fn changed_areas(seen: &Picture<'_>, now: &Picture<'_>, boxes: &[Quad]) -> Vec<Area> {
    let (width, height) = (now.width, now.height);
    let mut areas: Vec<Area> = Vec::new();
    for top in (0..height).step_by(CELL_PX) {
        for left in (0..width).step_by(CELL_PX) {
            let cell = Area {
                left,
                top,
                right: (left + CELL_PX).min(width),
                bottom: (top + CELL_PX).min(height),
            };
            if has_changed(seen, now, cell) {
                insert(&mut areas, cell.grown(MARGIN_PX, width, height));
            }
        }
    }
    // A box that an area touches is taken in whole, which may make it touch others.
    loop {
        let before = areas.clone();
        for quad in boxes {
            let around = Area::around(quad, width, height);
            if areas.iter().any(|area| area.meets(around)) {
                insert(&mut areas, around);
            }
        }
        if areas == before {
            break;
        }
    }
    let total: usize = areas.iter().map(|area| area.pixels()).sum();
    if total * 100 > width * height * WHOLE_FROM_PERCENT {
        vec![now.area()]
    } else {
        areas
    }
}

/// Adds an area, joining it with all that it meets.
fn insert(areas: &mut Vec<Area>, mut area: Area) {
    while let Some(at) = areas.iter().position(|other| other.meets(area)) {
        let other = areas.swap_remove(at);
        area = area.joined(other);
    }
    areas.push(area);
    areas.sort_unstable_by_key(|a| (a.top, a.left));
}

fn has_changed(seen: &Picture<'_>, now: &Picture<'_>, cell: Area) -> bool {
    let (from, to) = (cell.left * now.channels, cell.right * now.channels);
    (cell.top..cell.bottom).any(|row| {
        let start = row * now.width * now.channels;
        let line = start + from..start + to;
        let pairs = seen.samples[line.clone()].iter().zip(&now.samples[line]);
        pairs
            .into_iter()
            .any(|(a, b)| a.abs_diff(*b) > CHANGE_LEVELS)
    })
}

/// Whether what was seen in a box still stands there.
pub(crate) fn still_stands(seen: &Picture<'_>, now: &Picture<'_>, quad: &Quad) -> bool {
    let area = Area::around(quad, now.width, now.height);
    let (a, b) = (seen.cut(area), now.cut(area));
    let total: f64 = a
        .samples
        .iter()
        .zip(&*b.samples)
        .map(|(a, b)| f64::from(a.abs_diff(*b)))
        .sum();
    total <= STANDING_LEVELS * a.samples.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_frame_are_looked_at() {
        let at = |count, limit| -> Vec<usize> {
            let looked = looked_at(count, limit);
            (0..count).filter(|n| looked[*n]).collect()
        };
        assert_eq!(at(10, 4), [0, 3, 6, 9]);
        assert_eq!(at(3, 4), [0, 1, 2]);
        assert_eq!(at(5, 1), [0]);
        assert!(at(0, 4).is_empty());
    }

    #[test]
    fn what_changed_is_found_with_the_boxes_it_touches() {
        let seen = Picture {
            width: 640,
            height: 480,
            channels: 1,
            samples: vec![10; 640 * 480].into(),
        };
        assert!(changed_areas(&seen, &seen, &[]).is_empty());
        let mut samples = vec![10_u8; 640 * 480];
        samples[100 * 640 + 300] = 200;
        let now = Picture {
            width: 640,
            height: 480,
            channels: 1,
            samples: samples.into(),
        };
        // Cell (288..304, 96..112), grown by the margin.
        let around = Area {
            left: 256,
            top: 64,
            right: 336,
            bottom: 144,
        };
        assert_eq!(changed_areas(&seen, &now, &[]), [around]);
        let touching = [[330.0, 70.0], [500.0, 70.0], [500.0, 90.0], [330.0, 90.0]];
        let apart = [[10.0, 10.0], [50.0, 10.0], [50.0, 20.0], [10.0, 20.0]];
        let areas = changed_areas(&seen, &now, &[touching, apart]);
        assert_eq!(
            areas,
            [Area {
                right: 500,
                ..around
            }]
        );
        assert!(still_stands(&seen, &now, &apart));
    }
}
