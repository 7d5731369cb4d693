//! Pixels decoded, blackened where text is, and written again without compression: nothing that a codec's stream could
//! carry beside the picture comes along, nor what hid in unused bits or behind the last frame.

use super::Refusal;
use crate::pixels::{Pixels, Samples, Stored};
use crate::write::short;
use crate::write::{DataSet, text};
use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::tags;
use pericard_domain::image::{Channels, TextBox};

/// The most bytes of one object's pixels without compression.
const PIXEL_BYTES_MAX: u64 = 1 << 30;
/// How far beyond a box of text is blackened, as a share of its height, and at least so many pixels: letters' ends.
const MARGIN_SHARE: f32 = 0.2;
const MARGIN_PIXELS_MIN: f32 = 3.0;

/// A rectangle of pixels: columns and rows, the ends not included.
type Rectangle = [std::ops::Range<usize>; 2];

/// Writes the pixels into the cleaned object. Boxes of text are blackened in every frame, whatever frame they were found
/// in: text that stands still is not found in all of them.
pub(super) fn put(
    object: &mut DataSet,
    pixels: &mut Pixels,
    boxes: &[TextBox],
) -> Result<(), Refusal> {
    let Some(info) = pixels.header().pixel.clone() else {
        return Err(Refusal::NoImage);
    };
    let (rows, columns) = (usize::from(info.rows), usize::from(info.columns));
    let cells = u64::from(info.frames) * rows as u64 * columns as u64 * u64::from(info.samples);
    let bits = u64::from(info.bits_allocated.max(1));
    if cells.saturating_mul(bits) / 8 > PIXEL_BYTES_MAX {
        return Err(Refusal::TooLarge {
            max_bytes: PIXEL_BYTES_MAX,
        });
    }
    let rectangles = boxes
        .iter()
        .map(|b| rectangle(b, columns, rows))
        .collect::<Result<Vec<_>, _>>()?;
    let is_inverse = info.photometric == "MONOCHROME1";
    let mut written = Written::new(&info);
    let mut is_color = false;
    for frame in 1..=pixels.frames() {
        let mut stored = pixels.stored(frame)?;
        is_color = stored.channels == Channels::Rgb;
        for rectangle in &rectangles {
            blacken(&mut stored, rectangle, is_inverse);
        }
        written.add(&stored.samples);
    }
    let lossy = is_lossy(pixels.header().identity.transfer_syntax.as_str());
    describe(object, &info, is_color, lossy);
    object.put(written.element());
    Ok(())
}

/// Whether a transfer syntax loses something: that stays true of the pixels.
fn is_lossy(transfer_syntax: &str) -> bool {
    const LOSSY: [&str; 6] = [
        "1.2.840.10008.1.2.4.50",
        "1.2.840.10008.1.2.4.51",
        "1.2.840.10008.1.2.4.81",
        "1.2.840.10008.1.2.4.91",
        "1.2.840.10008.1.2.4.93",
        "1.2.840.10008.1.2.4.203",
    ];
    LOSSY.contains(&transfer_syntax)
}

fn describe(object: &mut DataSet, info: &crate::header::PixelInfo, is_color: bool, lossy: bool) {
    if is_color {
        object.put(text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "RGB"));
        object.put(short(tags::PLANAR_CONFIGURATION, 0));
    }
    if info.bits_stored > 0 && info.bits_allocated > 1 {
        // Whatever the source's high bit was, the samples are written from the lowest bit.
        object.put(short(tags::HIGH_BIT, usize::from(info.bits_stored) - 1));
    }
    if lossy {
        object.put(text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "01"));
    }
}

fn rectangle(found: &TextBox, columns: usize, rows: usize) -> Result<Rectangle, Refusal> {
    if found.corners.iter().flatten().any(|v| !v.is_finite()) {
        return Err(Refusal::Box);
    }
    let bounds = |axis: usize| {
        let along = found.corners.iter().map(|corner| corner[axis]);
        along.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), v| {
            (low.min(v), high.max(v))
        })
    };
    let ((left, right), (top, bottom)) = (bounds(0), bounds(1));
    let margin = ((bottom - top) * MARGIN_SHARE).max(MARGIN_PIXELS_MIN);
    let range = |from: f32, to: f32, end: usize| {
        let from = ((from - margin).floor().max(0.0) as usize).min(end);
        from..((to + margin).ceil().max(0.0) as usize).min(end)
    };
    let rectangle = [range(left, right, columns), range(top, bottom, rows)];
    if rectangle.iter().any(std::ops::Range::is_empty) {
        return Err(Refusal::Box);
    }
    Ok(rectangle)
}

/// Gives the pixels of a rectangle the frame's darkest value, which says nothing and is shown black.
fn blacken(stored: &mut Stored, [columns, rows]: &Rectangle, is_inverse: bool) {
    let (width, channels) = (stored.width, stored.channels.count());
    let places = || {
        rows.clone().flat_map(move |row| {
            let start = (row * width + columns.start) * channels;
            start..start + columns.len() * channels
        })
    };
    match &mut stored.samples {
        Samples::Integer(samples) => {
            let darkest = match (channels, is_inverse) {
                (3, _) => Some(0),
                (_, true) => samples.iter().max().copied(),
                _ => samples.iter().min().copied(),
            };
            places().for_each(|at| samples[at] = darkest.unwrap_or(0));
        }
        Samples::Real(samples) => {
            let darkest = samples.iter().copied().fold(f64::INFINITY, f64::min);
            places().for_each(|at| samples[at] = darkest);
        }
    }
}

/// The bytes of frames, one after another.
struct Written {
    allocated: u16,
    is_float: bool,
    is_double: bool,
    bytes: Vec<u8>,
    /// Bits written, where a sample is one bit.
    bits: usize,
}

impl Written {
    fn new(info: &crate::header::PixelInfo) -> Self {
        use crate::header::PixelBytes;
        Self {
            allocated: info.bits_allocated,
            is_float: matches!(info.data, PixelBytes::Float(_)),
            is_double: matches!(info.data, PixelBytes::Double(_)),
            bytes: Vec::new(),
            bits: 0,
        }
    }

    fn add(&mut self, samples: &Samples) {
        match samples {
            Samples::Integer(samples) => samples.iter().for_each(|s| self.integer(*s)),
            Samples::Real(samples) => samples.iter().for_each(|s| self.real(*s)),
        }
    }

    fn integer(&mut self, sample: i32) {
        match self.allocated {
            1 => {
                if self.bits.is_multiple_of(8) {
                    self.bytes.push(0);
                }
                if sample != 0
                    && let Some(last) = self.bytes.last_mut()
                {
                    *last |= 1 << (self.bits % 8);
                }
                self.bits += 1;
            }
            8 => self.bytes.push(sample as u8),
            16 => self.bytes.extend_from_slice(&(sample as u16).to_le_bytes()),
            _ => self.bytes.extend_from_slice(&sample.to_le_bytes()),
        }
    }

    fn real(&mut self, sample: f64) {
        if self.is_double {
            self.bytes.extend_from_slice(&sample.to_le_bytes());
        } else if self.is_float {
            self.bytes.extend_from_slice(&(sample as f32).to_le_bytes());
        } else {
            self.bytes.extend_from_slice(&(sample as u32).to_le_bytes());
        }
    }

    fn element(mut self) -> dicom_object::mem::InMemElement {
        let (tag, vr) = match (self.is_double, self.is_float, self.allocated) {
            (true, ..) => (tags::DOUBLE_FLOAT_PIXEL_DATA, VR::OD),
            (_, true, _) => (tags::FLOAT_PIXEL_DATA, VR::OF),
            (.., 1 | 8) => (tags::PIXEL_DATA, VR::OB),
            _ => (tags::PIXEL_DATA, VR::OW),
        };
        if self.bytes.len() % 2 == 1 {
            self.bytes.push(0);
        }
        // Bytes are written as they are, whatever the representation: they are little endian already.
        DataElement::new(tag, vr, PrimitiveValue::U8(self.bytes.into()))
    }
}
