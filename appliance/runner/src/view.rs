//! Pictures for people: one frame of a held object as PNG or JPEG. Decoded, windowed, scaled and encoded in the reader's
//! process; what comes out is bytes that nobody here looks into. Bytes for programs: a frame as it is stored or decoded.

use pericard_domain::image::{GreyCurve, GreyWindow};
use serde::{Deserialize, Serialize};

/// How a frame is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// Which, counted from 1.
    pub frame: u32,
    /// In which window; `None` for the object's own. Colour has none.
    pub window: Option<GreyWindow>,
    /// How that window is meant; nothing where it is the object's own.
    pub curve: GreyCurve,
    /// Made smaller, in its proportions, until it fits into so many columns and rows; never larger.
    pub fit: Option<[u32; 2]>,
    /// What it becomes.
    pub form: Form,
}

/// A picture's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// Without loss.
    Png,
    /// With loss.
    Jpeg {
        /// 1 to 100.
        quality: u8,
    },
}

/// What the bytes of a frame are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Raw {
    /// As they are stored, compressed or not; numbers of uncompressed ones in little endian.
    Stored,
    /// Uncompressed, in little endian; what has to be decoded comes pixel by pixel, colour as RGB.
    Native,
}

impl View {
    /// A frame as its object wants it shown, whole, without loss.
    #[must_use]
    pub const fn of(frame: u32) -> Self {
        Self {
            frame,
            window: None,
            curve: GreyCurve::OfObject,
            fit: None,
            form: Form::Png,
        }
    }
}

/// A frame as a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// What they are of.
    pub facts: ShownFacts,
}

/// What a picture shows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ShownFacts {
    /// The picture's columns.
    pub width: u32,
    /// The picture's rows.
    pub height: u32,
    /// The window that it is shown in, when numbers can say it.
    pub window: Option<GreyWindow>,
}
