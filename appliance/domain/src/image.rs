//! Decoded pixels, volumes and masks: plain vectors, so that any engine can take them.

use crate::uid::InstanceUid;
use serde::{Deserialize, Serialize};

/// Which frame of which object a picture came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FrameRef {
    /// The object.
    pub instance: InstanceUid,
    /// The frame, counted from 1 as DICOM counts.
    pub frame: u32,
}

/// How a picture's samples are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// One sample a pixel, 0 is black.
    Grey,
    /// Three samples a pixel, interleaved: red, green, blue.
    Rgb,
}

impl Channels {
    /// Samples per pixel.
    #[must_use]
    pub const fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
        }
    }
}

/// One frame as a person would see it: windowed, photometrically upright (0 is black), 8 bits a sample.
///
/// `samples` has `height * width * channels.count()` bytes, row by row from the top left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Where it came from.
    pub source: FrameRef,
    /// Pixels a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// How the samples are to be read.
    pub channels: Channels,
    /// The samples.
    pub samples: Vec<u8>,
}

/// Which of the modality's values a person sees between black and white (PS3.3 section C.11.2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GreyWindow {
    /// What is shown half bright.
    pub center: f64,
    /// From black to white; above 0.
    pub width: f64,
}

/// How the values in a window that somebody wishes lie between black and white.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GreyCurve {
    /// As in the object's own window.
    OfObject,
    /// In a straight line (PS3.3 section C.11.2.1.2.1), whatever the object's own window says.
    Linear,
}

/// A regular grid of values in the patient's space (PS3.3 section C.7.6.2).
///
/// `voxels[(k * rows + j) * columns + i]` is the value at column `i`, row `j`, slice `k`. Its centre is, in mm in the
/// patient's coordinate system (LPS: left, posterior, superior),
/// `origin + i * column_step + j * row_step + k * slice_step`.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    /// Columns (i), rows (j) and slices (k).
    pub size: [usize; 3],
    /// Centre of voxel (0,0,0), mm, LPS.
    pub origin: [f64; 3],
    /// From one column to the next, mm, LPS.
    pub column_step: [f64; 3],
    /// From one row to the next, mm, LPS.
    pub row_step: [f64; 3],
    /// From one slice to the next, mm, LPS.
    pub slice_step: [f64; 3],
    /// Values after the modality transformation (rescale slope and intercept).
    pub voxels: Vec<f32>,
    /// Where each slice came from, in the order of `k`.
    pub slices: Vec<FrameRef>,
}

impl Volume {
    /// The volume of one voxel, mm³: the determinant of the three steps.
    #[must_use]
    pub fn voxel_mm3(&self) -> f64 {
        let ([a, b, c], [d, e, f], [g, h, i]) = (self.column_step, self.row_step, self.slice_step);
        (a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)).abs()
    }
}

/// Which voxels of a volume belong to something: same order as [`Volume::voxels`], 0 or 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// Columns (i), rows (j) and slices (k), as in the volume.
    pub size: [usize; 3],
    /// 1 inside, 0 outside.
    pub voxels: Vec<u8>,
}

impl Mask {
    /// How many voxels are inside.
    #[must_use]
    pub fn count(&self) -> usize {
        self.voxels.iter().filter(|v| **v != 0).count()
    }
}

/// A stretch of text found in a frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextBox {
    /// Which frame.
    pub source: FrameRef,
    /// The four corners, clockwise from the top left of the text, in pixels: (column, row) from the top left of the frame.
    pub corners: [[f32; 2]; 4],
    /// What it reads.
    pub text: String,
    /// How sure the recogniser is, 0 to 1.
    pub score: f32,
}

/// What an imaging model is given.
#[derive(Debug, Clone, PartialEq)]
pub enum ImagingInput {
    /// Frames, in order.
    Frames(Vec<Frame>),
    /// One volume.
    Volume(Volume),
}

/// What an imaging model gives back.
#[derive(Debug, Clone, PartialEq)]
pub enum ImagingOutput {
    /// Text found in the frames.
    Text(Vec<TextBox>),
    /// What is inside.
    Mask(Mask),
}
