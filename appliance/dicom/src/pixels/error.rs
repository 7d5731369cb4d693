//! Why a picture cannot be shown.

use crate::scan::ScanError;
use std::borrow::Cow;

/// Why pixels could not be decoded. No value of the data set is repeated.
#[derive(Debug, thiserror::Error)]
pub enum PixelError {
    /// The file could not be opened or read.
    #[error("the object could not be read: {0}")]
    Io(#[from] std::io::Error),
    /// The object did not pass the scan.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// There are no pixels in the object.
    #[error("the object has no pixel data")]
    NoPixelData,
    /// The image attributes contradict each other or PS3.3 section C.7.6.3.
    #[error("the image attributes make no sense: {0}")]
    Description(&'static str),
    /// A frame is larger than the appliance decodes.
    #[error("one frame has {samples} samples and at most {max} are decoded")]
    TooLarge {
        /// Samples of one frame.
        samples: u64,
        /// The limit.
        max: u64,
    },
    /// The object does not have that frame.
    #[error("frame {frame} was asked for and there are {frames}, counted from 1")]
    NoSuchFrame {
        /// The frame asked for.
        frame: u32,
        /// Frames there are.
        frames: u32,
    },
    /// The transfer syntax has no decoder here.
    #[error("pixel data in {syntax} cannot be decoded; send it in another transfer syntax")]
    UnsupportedSyntax {
        /// The transfer syntax by name.
        syntax: &'static str,
    },
    /// One step of decoding failed.
    #[error("frame {frame} in {syntax} cannot be decoded: {step}: {why}")]
    Decode {
        /// The frame, counted from 1.
        frame: u32,
        /// The transfer syntax by name.
        syntax: &'static str,
        /// Which step.
        step: &'static str,
        /// What was wrong.
        why: Cow<'static, str>,
    },
    /// Modality values of a picture that has none.
    #[error("a colour picture has no modality values")]
    NotGrey,
}

/// One step of decoding failed; [`PixelError::Decode`] says where.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) step: &'static str,
    pub(crate) why: Cow<'static, str>,
}

impl Fault {
    pub(crate) fn new(step: &'static str, why: impl Into<Cow<'static, str>>) -> Self {
        Self {
            step,
            why: why.into(),
        }
    }
}
