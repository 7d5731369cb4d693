//! From single slices to one regular volume, by where the slices lie and never by their numbers.
//!
//! A volume is made of the frames of one series. Whatever would make it a guess is a stated error: a missing slice, a
//! doubled one, slices of different size, spacing, orientation or frame of reference, a stack that leans over.
//! What cannot be seen from positions alone is a slice missing at either end.

mod place;
mod stack;
#[cfg(test)]
mod tests;

pub use place::{Place, places};
pub use stack::{Slice, assemble, suitable_series};

use pericard_domain::uid::SeriesUid;
use std::fmt;

/// How far the components of two unit vectors may differ and still be one direction (about 0.03 degrees).
pub const DIRECTION_TOLERANCE: f64 = 5e-4;
/// How far two pixel spacings may differ and still be one, mm.
pub const SPACING_TOLERANCE_MM: f64 = 1e-3;
/// How far the distance between two neighbouring slices may differ from the usual one, as a part of it.
pub const STEP_TOLERANCE_FRACTION: f64 = 0.05;
/// Two slices nearer to each other than this part of the usual distance are one position twice.
pub const DOUBLED_FRACTION: f64 = 0.25;
/// A distance larger than the usual one by this factor is a missing slice; less than that is an uneven stack.
pub const GAP_FRACTION: f64 = 1.5;
/// How far the line through the slices' positions may lean from their normal, degrees: a tilted gantry leans more.
pub const LEAN_DEGREES_MAX: f64 = 0.2;
/// How far a slice may lie beside the line through the first and the last, mm.
pub const OFFSET_TOLERANCE_MM: f64 = 0.1;
/// A volume has at least this many slices, whatever its model would accept.
pub const SLICES_MIN: usize = 3;

/// A distance between two neighbouring slices that is not the usual one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The first of the two, counted from 1 along the normal.
    pub before: usize,
    /// The distance, mm.
    pub found_mm: f64,
    /// The usual distance, mm.
    pub usual_mm: f64,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = (self.before, self.before + 1);
        write!(
            f,
            "{:.3} mm between slices {before} and {after} (counted along the normal) where {:.3} mm is usual",
            self.found_mm, self.usual_mm
        )
    }
}

/// Why slices are not a volume. Numbers of millimetres and counts, no patient data.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GeometryError {
    /// No series has frames with a position in space.
    #[error(
        "no series of the study has slices with a position in space: send a cross-sectional series"
    )]
    NoSpatialSeries,
    /// An attribute that places a frame in space is absent or malformed.
    #[error("a slice has no valid {attribute}: have the sender checked")]
    Unplaced {
        /// The attribute's name in the standard.
        attribute: &'static str,
    },
    /// The slices are of more than one series.
    #[error("the slices are of two series, {0} and {1}: a volume is made of one")]
    MixedSeries(SeriesUid, SeriesUid),
    /// Not enough slices.
    #[error("there are {found} slices where at least {needed} are needed: send the whole series")]
    TooFew {
        /// How many there are.
        found: usize,
        /// How many are needed.
        needed: usize,
    },
    /// Slices of different orientation.
    #[error("the slices do not all have one orientation: they differ by {degrees:.2} degrees")]
    MixedOrientation {
        /// The largest angle between the row or column directions of two slices.
        degrees: f64,
    },
    /// Slices of different size.
    #[error(
        "the slices do not all have one size: {}x{} and {}x{} pixels (columns x rows)",
        one[0], one[1], other[0], other[1]
    )]
    MixedSize {
        /// Columns and rows of one slice.
        one: [usize; 2],
        /// Columns and rows of another.
        other: [usize; 2],
    },
    /// Slices of different pixel spacing.
    #[error("the slices do not all have one pixel spacing: it differs by {difference_mm:.4} mm")]
    MixedSpacing {
        /// The largest difference, mm.
        difference_mm: f64,
    },
    /// Slices of different frames of reference.
    #[error(
        "the slices do not all have one frame of reference: their positions cannot be compared"
    )]
    MixedFrameOfReference,
    /// Slices are missing between two others.
    #[error("slices are missing: there are {0}: send the whole series")]
    Gap(Step),
    /// The distances between slices differ.
    #[error("the slices are not evenly spaced: there are {0}: send it resampled")]
    Uneven(Step),
    /// Two slices at one position.
    #[error("a slice is doubled: there are {0}: have the sender checked")]
    Doubled(Step),
    /// The stack leans over, as with a tilted gantry.
    #[error(
        "the stack leans {degrees:.2} degrees from its normal ({offset_mm:.2} mm from the first slice to the last), as \
         with a tilted gantry; up to {LEAN_DEGREES_MAX} degrees are accepted: send it resampled"
    )]
    Leaning {
        /// The angle between the line through the slices and their normal.
        degrees: f64,
        /// How far the last slice lies beside the first, mm.
        offset_mm: f64,
    },
    /// A slice lies beside the line through the others.
    #[error(
        "slice {slice} (counted along the normal) lies {offset_mm:.2} mm beside the line through the others"
    )]
    Displaced {
        /// Which slice, counted from 1 along the normal.
        slice: usize,
        /// How far beside, mm.
        offset_mm: f64,
    },
    /// The values do not fill the slice.
    #[error("a slice has {found} values where its size needs {needed}")]
    ValueCount {
        /// How many there are.
        found: usize,
        /// How many its size needs.
        needed: usize,
    },
}
