//! Pixels as a model measures them and as a person sees them.
//!
//! An object is scanned before anything else looks at it, one frame is read and decoded at a time, and every size is
//! held against [`FRAME_SAMPLES_MAX`] before it is allocated. Frames are counted from 1, as DICOM counts them.

mod codec;
mod color;
mod error;
mod fragments;
mod groups;
mod jpeg;
mod jpeg2000;
mod layout;
mod modality;
mod raw;
mod rle;
mod samples;
mod table;
mod window;

pub use error::PixelError;
pub use layout::FRAME_SAMPLES_MAX;
pub use samples::Samples;

use crate::header::{Extent, Header, PixelBytes};
use crate::object;
use crate::scan::source::ReadSeek;
use crate::scan::syntax::{self, Encoding, encoding_of};
use crate::scan::{ScanLimits, bytes_at};
use codec::Decoded;
use color::{Model, Palette};
use dicom_dictionary_std::tags;
use dicom_encoding::TransferSyntaxIndex;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use error::Fault;
use groups::number;
use layout::{Layout, Photometric};
use modality::Modality;
use pericard_domain::image::{Channels, Frame, FrameRef, GreyCurve, GreyWindow};
use std::fs::File;
use std::io::{Read, Seek};
use std::ops::Range;
use std::path::Path;
use window::Window;

/// Most bytes of one compressed frame. Four times what it may decode to at 8 bits would be no compression.
pub const ENCODED_FRAME_BYTES_MAX: u64 = 4 * FRAME_SAMPLES_MAX;

/// The pixels of one object.
pub struct Pixels {
    reader: Box<dyn Source>,
    limits: ScanLimits,
    header: Header,
    object: InMemDicomObject,
    layout: Layout,
    encoding: Encoding,
    /// The fragments of each frame; empty when the pixel data is not encapsulated.
    frames: Vec<Range<usize>>,
}

/// What pixels are read from.
trait Source: ReadSeek + Send {}
impl<T: ReadSeek + Send> Source for T {}

/// The samples of one frame before any grey-level transformation: as stored, colour as RGB.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Rows.
    pub height: usize,
    /// Pixels a row.
    pub width: usize,
    /// [`Channels::Grey`] also for palette indices.
    pub channels: Channels,
    /// `height * width * channels.count()` samples, row by row, interleaved.
    pub samples: Samples,
}

impl Pixels {
    /// Scans a DICOM file and makes its frames ready to be decoded.
    ///
    /// # Errors
    /// When it does not pass the scan, or its image attributes make no sense; see [`PixelError`].
    pub fn open(path: impl AsRef<Path>, limits: &ScanLimits) -> Result<Self, PixelError> {
        Self::from_reader(File::open(path)?, limits)
    }

    /// The same, from anything that holds a DICOM file.
    ///
    /// # Errors
    /// As [`Pixels::open`].
    pub fn from_reader(
        mut reader: impl Read + Seek + Send + 'static,
        limits: &ScanLimits,
    ) -> Result<Self, PixelError> {
        let (header, object) = object::read_file(&mut reader, limits)?;
        let info = header.pixel.as_ref().ok_or(PixelError::NoPixelData)?;
        let layout = Layout::of(info)?;
        let encoding = encoding_of(header.identity.transfer_syntax.as_str())
            .map_or(Encoding::EXPLICIT_LE, |(encoding, _)| encoding);
        let mut pixels = Self {
            reader: Box::new(reader),
            limits: limits.clone(),
            header,
            object,
            layout,
            encoding,
            frames: Vec::new(),
        };
        pixels.frames = pixels.divide()?;
        Ok(pixels)
    }

    /// How many frames there are.
    #[must_use]
    pub fn frames(&self) -> u32 {
        self.layout.frames
    }

    /// What the scan found.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The data set without its pixels and largest values.
    #[must_use]
    pub fn object(&self) -> &InMemDicomObject {
        &self.object
    }

    /// A frame as a person sees it: windowed as the object asks (first table or window, else its whole range), 0 black.
    ///
    /// # Errors
    /// When there is no such frame or it cannot be decoded; see [`PixelError`].
    pub fn frame(&mut self, frame: u32) -> Result<Frame, PixelError> {
        self.frame_in(frame, None).map(|(frame, _)| frame)
    }

    /// The same in another window, and the window that it is shown in. Colour has none, and a table is none.
    ///
    /// # Errors
    /// As [`Pixels::frame`].
    pub fn frame_in(
        &mut self,
        frame: u32,
        wished: Option<(GreyWindow, GreyCurve)>,
    ) -> Result<(Frame, Option<GreyWindow>), PixelError> {
        let stored = self.stored(frame)?;
        let mut shown_in = None;
        let (channels, samples) = match (&stored.samples, stored.channels) {
            (Samples::Integer(samples), Channels::Rgb) => (Channels::Rgb, self.eight_bits(samples)),
            (Samples::Integer(indices), Channels::Grey)
                if self.layout.photometric == Photometric::Palette =>
            {
                let palette = Palette::of(&self.object, self.layout.signed);
                let palette = palette.map_err(|f| self.fault(frame, f))?;
                (Channels::Rgb, palette.rgb(indices))
            }
            (samples, _) => {
                let (grey, window) = self.grey(frame, samples, wished)?;
                shown_in = window;
                (Channels::Grey, grey)
            }
        };
        let shown = Frame {
            source: FrameRef {
                instance: self.header.identity.instance.clone(),
                frame,
            },
            // Rows and Columns have 16 bits.
            width: stored.width as u32,
            height: stored.height as u32,
            channels,
            samples,
        };
        Ok((shown, shown_in))
    }

    /// What the modality measured at every pixel of a frame, after its own transformation and before any window.
    ///
    /// # Errors
    /// As [`Pixels::frame`], and [`PixelError::NotGrey`].
    pub fn values(&mut self, frame: u32) -> Result<Vec<f32>, PixelError> {
        if !matches!(
            self.layout.photometric,
            Photometric::Monochrome1 | Photometric::Monochrome2
        ) {
            return Err(PixelError::NotGrey);
        }
        let stored = self.stored(frame)?;
        Ok(self.modality(frame)?.apply(&stored.samples))
    }

    /// A frame's samples as they are stored.
    ///
    /// # Errors
    /// As [`Pixels::frame`].
    pub fn stored(&mut self, frame: u32) -> Result<Stored, PixelError> {
        let frames = self.layout.frames;
        if frame == 0 || frame > frames {
            return Err(PixelError::NoSuchFrame { frame, frames });
        }
        let decoded = self.decode(frame)?;
        let mut samples = decoded.samples;
        let channels = if self.layout.channels == 3 {
            let model = decoded.model.unwrap_or_else(|| self.model());
            if let Samples::Integer(samples) = &mut samples {
                color::to_rgb(samples, model, self.layout.stored);
            }
            Channels::Rgb
        } else {
            Channels::Grey
        };
        Ok(Stored {
            height: self.layout.rows,
            width: self.layout.columns,
            channels,
            samples,
        })
    }

    /// Which fragments are which frame.
    fn divide(&mut self) -> Result<Vec<Range<usize>>, PixelError> {
        let Some(PixelBytes::Encapsulated {
            offset_table,
            fragments,
        }) = self.header.pixel.as_ref().map(|p| &p.data)
        else {
            return Ok(Vec::new());
        };
        let (offset_table, fragments) = (*offset_table, fragments.clone());
        let mut offsets: Vec<u64> = self
            .object
            .get(tags::EXTENDED_OFFSET_TABLE)
            .and_then(|e| e.to_multi_int::<u64>().ok())
            .unwrap_or_default();
        // A table that is no longer than its frames need is read; a longer one is no table.
        if offsets.is_empty() && offset_table.length <= 4 * u64::from(self.layout.frames) {
            let bytes = self.bytes(offset_table)?;
            let words = bytes.as_chunks::<4>().0;
            offsets = words
                .iter()
                .map(|w| u64::from(u32::from_le_bytes(*w)))
                .collect();
        }
        fragments::of_frames(self.layout.frames, &fragments, &offsets, |fragment| {
            let length = fragment.length.min(2);
            let first = self.bytes(Extent { length, ..fragment })?;
            Ok(matches!(first[..], [0xFF, 0xD8 | 0x4F]))
        })
    }

    fn decode(&mut self, frame: u32) -> Result<Decoded, PixelError> {
        let decoded = match self.uncompressed() {
            Some(all) => self.native(all, frame)?,
            None => self.compressed(frame)?,
        };
        decoded.map_err(|f| self.fault(frame, f))
    }

    /// Where the pixels are, when they are not compressed.
    fn uncompressed(&self) -> Option<Extent> {
        match self.header.pixel.as_ref().map(|p| &p.data) {
            Some(PixelBytes::Native(all) | PixelBytes::Float(all) | PixelBytes::Double(all)) => {
                Some(*all)
            }
            _ => None,
        }
    }

    fn native(&mut self, all: Extent, frame: u32) -> Result<Result<Decoded, Fault>, PixelError> {
        let (bytes, bit) = self.cells(all, frame)?;
        let samples = samples::unpack(&self.layout, self.encoding, &bytes, bit);
        Ok(samples.map(plain))
    }

    /// The bytes of an uncompressed frame, and the bit of the first of them at which it begins. Bytes of a big endian
    /// word stand in their order; longer numbers stand as in the file.
    fn cells(&mut self, all: Extent, frame: u32) -> Result<(Vec<u8>, u32), PixelError> {
        let bits = self.layout.native_bits();
        // At most 2^32 frames of 2^32 bits.
        let first = bits * u64::from(frame - 1);
        let bit = (first % 8) as u32;
        let wanted = first / 8..first / 8 + (bits + u64::from(bit)).div_ceil(8);
        // Whole words, whose bytes may have to change places.
        let words = wanted.start & !1..wanted.end.next_multiple_of(2);
        let extent = Extent {
            offset: all.offset + words.start.min(all.length),
            length: (words.end - words.start).min(all.length.saturating_sub(words.start)),
        };
        let mut bytes = self.bytes(extent)?;
        if self.encoding.big_endian && self.layout.words && self.layout.allocated <= 8 {
            samples::swap_words(&mut bytes);
        }
        let odd = ((wanted.start - words.start) as usize).min(bytes.len());
        bytes.drain(..odd);
        Ok((bytes, bit))
    }

    fn compressed(&mut self, frame: u32) -> Result<Result<Decoded, Fault>, PixelError> {
        let uid = self.header.identity.transfer_syntax.as_str().to_owned();
        let layout = self.layout.clone();
        let decode: &dyn Fn(&[u8]) -> Result<Decoded, Fault> = match uid.as_str() {
            syntax::RLE => &|b| rle::decode(&layout, b).map(plain),
            syntax::ENCAPSULATED_LE => {
                &|b| samples::unpack(&layout, Encoding::EXPLICIT_LE, b, 0).map(plain)
            }
            syntax::DEFLATED_FRAMES => &|b| samples::inflate(&layout, b).map(plain),
            _ if syntax::is_jpeg(&uid) => &|b| codec::jpeg(&layout, b),
            _ if syntax::is_jpeg_ls(&uid) => &|b| codec::jpeg_ls(&layout, b),
            _ if syntax::is_jpeg_2000(&uid) => &|b| codec::jpeg_2000(&layout, b),
            _ => {
                let syntax = self.syntax_name();
                return Err(PixelError::UnsupportedSyntax { syntax });
            }
        };
        let bytes = self.encoded(frame)?;
        Ok(decode(&bytes))
    }

    /// The compressed bytes of a frame, its fragments joined.
    fn encoded(&mut self, frame: u32) -> Result<Vec<u8>, PixelError> {
        let fragments = match self.header.pixel.as_ref().map(|p| &p.data) {
            Some(PixelBytes::Encapsulated { fragments, .. }) => self
                .frames
                .get(frame as usize - 1)
                .and_then(|range| fragments.get(range.clone()))
                .unwrap_or_default()
                .to_vec(),
            _ => Vec::new(),
        };
        let length: u64 = fragments.iter().map(|f| f.length).sum();
        if length > ENCODED_FRAME_BYTES_MAX {
            return Err(PixelError::Description(
                "a frame is longer compressed than it may be decoded",
            ));
        }
        let mut bytes = Vec::new();
        for fragment in fragments {
            bytes.extend(self.bytes(fragment)?);
        }
        Ok(bytes)
    }

    /// Bytes that the scan has seen to be there.
    fn bytes(&mut self, extent: Extent) -> Result<Vec<u8>, PixelError> {
        // Believable: what asks is bounded by the size of a frame.
        let deflated = self.header.deflated;
        Ok(bytes_at(&mut *self.reader, &self.limits, deflated, extent)?)
    }

    fn modality(&self, frame: u32) -> Result<Modality, PixelError> {
        Modality::of(&self.object, frame - 1, self.layout.signed).map_err(|f| self.fault(frame, f))
    }

    fn grey(
        &self,
        frame: u32,
        samples: &Samples,
        wished: Option<(GreyWindow, GreyCurve)>,
    ) -> Result<(Vec<u8>, Option<GreyWindow>), PixelError> {
        let modality = self.modality(frame)?;
        let values = modality.apply(samples);
        let asked = Window::of(&self.object, frame - 1, self.layout.signed)
            .map_err(|f| self.fault(frame, f))?;
        let window = match wished {
            Some((wished, curve)) => Window::wished(wished, curve, asked.as_ref()),
            None => asked.unwrap_or_else(|| self.whole_range(samples, &values)),
        };
        let mut grey = window.apply(&values);
        if self.layout.photometric == Photometric::Monochrome1 {
            grey.iter_mut().for_each(|g| *g = 255 - *g);
        }
        Ok((grey, window.in_numbers()))
    }

    /// From the least to the greatest value, without the pixels that only pad the frame to its size.
    fn whole_range(&self, samples: &Samples, values: &[f32]) -> Window {
        if self.layout.stored == 1 {
            return Window::range([0.0, 1.0].into_iter());
        }
        let padding = self.padding();
        match samples {
            Samples::Integer(samples) => {
                let measured = |s: &i32| !padding.contains(&i64::from(*s));
                let pairs = samples.iter().zip(values);
                Window::range(pairs.filter(|(s, _)| measured(s)).map(|(_, v)| *v))
            }
            Samples::Real(_) => Window::range(values.iter().copied()),
        }
    }

    /// The stored values that are padding (PS3.3 section C.7.5.1.1.2); an empty range when none is.
    fn padding(&self) -> std::ops::RangeInclusive<i64> {
        let stored = |tag| {
            // Whole numbers of 16 bits, whose sign implicit encoding may have lost.
            let value = number(&self.object, tag)? as i64;
            Some(if self.layout.signed && self.layout.stored <= 16 {
                i64::from(value as u16 as i16)
            } else {
                value
            })
        };
        let Some(value) = stored(tags::PIXEL_PADDING_VALUE) else {
            return std::ops::RangeInclusive::new(1, 0);
        };
        let limit = stored(tags::PIXEL_PADDING_RANGE_LIMIT).unwrap_or(value);
        value.min(limit)..=value.max(limit)
    }

    /// The highest 8 of the stored bits.
    fn eight_bits(&self, samples: &[i32]) -> Vec<u8> {
        let shift = self.layout.stored.saturating_sub(8);
        samples
            .iter()
            .map(|s| (s >> shift).clamp(0, 255) as u8)
            .collect()
    }

    fn model(&self) -> Model {
        match self.layout.photometric {
            Photometric::YbrFull | Photometric::YbrFull422 => Model::Ybr,
            Photometric::YbrPartial => Model::YbrPartial,
            _ => Model::Rgb,
        }
    }

    fn syntax_name(&self) -> &'static str {
        TransferSyntaxRegistry
            .get(self.header.identity.transfer_syntax.as_str())
            .map_or("an unknown transfer syntax", |s| s.name())
    }

    fn fault(&self, frame: u32, fault: Fault) -> PixelError {
        PixelError::Decode {
            frame,
            syntax: self.syntax_name(),
            step: fault.step,
            why: fault.why,
        }
    }
}

fn plain(samples: Samples) -> Decoded {
    Decoded {
        samples,
        model: None,
    }
}

impl From<&'static str> for PixelError {
    fn from(why: &'static str) -> Self {
        Self::Description(why)
    }
}
