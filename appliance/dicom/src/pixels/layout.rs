//! How a frame's samples lie, once the image attributes are seen to make sense.

use super::error::PixelError;
use crate::header::{PixelBytes, PixelInfo};

/// Most samples of one frame that are decoded: a mammogram has 27 million, and 64 Mi take 256 MiB while decoding.
pub const FRAME_SAMPLES_MAX: u64 = 64 * 1024 * 1024;

/// Photometric Interpretation (PS3.3 section C.7.6.3.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Photometric {
    Monochrome1,
    Monochrome2,
    Palette,
    Rgb,
    YbrFull,
    YbrFull422,
    YbrPartial,
    /// YBR_ICT and YBR_RCT: a JPEG 2000 decoder gives RGB.
    YbrTransformed,
}

/// What the bytes of a sample are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Integer,
    Float,
    Double,
}

/// A layout that makes sense. One frame has at most [`FRAME_SAMPLES_MAX`] samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// 1 or 3.
    pub(crate) channels: usize,
    /// 1, 8, 16, 32 or 64.
    pub(crate) allocated: u32,
    pub(crate) stored: u32,
    pub(crate) high_bit: u32,
    pub(crate) signed: bool,
    pub(crate) planar: bool,
    pub(crate) words: bool,
    pub(crate) photometric: Photometric,
    pub(crate) kind: Kind,
    pub(crate) frames: u32,
}

impl Layout {
    pub(crate) fn of(info: &PixelInfo) -> Result<Self, PixelError> {
        let kind = match info.data {
            PixelBytes::Float(_) => Kind::Float,
            PixelBytes::Double(_) => Kind::Double,
            PixelBytes::Native(_) | PixelBytes::Encapsulated { .. } => Kind::Integer,
        };
        let photometric = photometric(info)?;
        let layout = Self {
            rows: usize::from(info.rows),
            columns: usize::from(info.columns),
            channels: usize::from(info.samples),
            allocated: u32::from(info.bits_allocated),
            stored: u32::from(info.bits_stored),
            high_bit: u32::from(info.high_bit),
            signed: info.pixel_representation == 1,
            planar: info.planar == 1 && info.samples > 1,
            words: info.words,
            photometric,
            kind,
            frames: info.frames,
        };
        layout.checked()
    }

    /// Pixels of one frame.
    pub(crate) fn pixels(&self) -> usize {
        self.rows * self.columns
    }

    /// Samples of one frame.
    pub(crate) fn samples(&self) -> usize {
        self.pixels() * self.channels
    }

    /// Bits of one uncompressed frame. Chrominance at half the width takes two thirds of the room.
    pub(crate) fn native_bits(&self) -> u64 {
        let samples = if self.is_subsampled() {
            self.pixels() * 2
        } else {
            self.samples()
        };
        samples as u64 * u64::from(self.allocated)
    }

    /// Whether uncompressed chrominance has half the width.
    pub(crate) fn is_subsampled(&self) -> bool {
        self.photometric == Photometric::YbrFull422 && self.channels == 3
    }

    fn checked(self) -> Result<Self, PixelError> {
        let samples = self.rows as u64 * self.columns as u64 * self.channels as u64;
        let wrong = PixelError::Description;
        if self.rows == 0 || self.columns == 0 {
            return Err(wrong("Rows or Columns is absent or 0"));
        }
        if self.frames == 0 {
            return Err(wrong("Number of Frames is 0 or not a number"));
        }
        if samples > FRAME_SAMPLES_MAX {
            let max = FRAME_SAMPLES_MAX;
            return Err(PixelError::TooLarge { samples, max });
        }
        let wanted_channels = match self.photometric {
            Photometric::Monochrome1 | Photometric::Monochrome2 | Photometric::Palette => 1,
            _ => 3,
        };
        if self.channels != wanted_channels {
            return Err(wrong(
                "Samples per Pixel does not go with Photometric Interpretation",
            ));
        }
        match (self.kind, self.allocated) {
            (Kind::Integer, 1 | 8 | 16 | 32) if self.has_sane_bits() => Ok(self),
            (Kind::Integer, 1 | 8 | 16 | 32) => Err(wrong(
                "Bits Stored and High Bit do not go with Bits Allocated",
            )),
            (Kind::Float, 32) | (Kind::Double, 64) => Ok(self),
            _ => Err(wrong("Bits Allocated is not 1, 8, 16 or 32")),
        }
    }

    fn has_sane_bits(&self) -> bool {
        self.stored > 0
            && self.stored <= self.allocated
            && self.high_bit < self.allocated
            && self.high_bit + 1 >= self.stored
    }
}

fn photometric(info: &PixelInfo) -> Result<Photometric, PixelError> {
    Ok(match info.photometric.as_str() {
        "MONOCHROME1" => Photometric::Monochrome1,
        "MONOCHROME2" => Photometric::Monochrome2,
        "PALETTE COLOR" => Photometric::Palette,
        "RGB" => Photometric::Rgb,
        "YBR_FULL" => Photometric::YbrFull,
        "YBR_FULL_422" => Photometric::YbrFull422,
        "YBR_PARTIAL_422" | "YBR_PARTIAL_420" => Photometric::YbrPartial,
        "YBR_ICT" | "YBR_RCT" => Photometric::YbrTransformed,
        _ => {
            return Err(PixelError::Description(
                "Photometric Interpretation is absent or not one of PS3.3 section C.7.6.3.1.2",
            ));
        }
    })
}
