//! What a JPEG or JPEG-LS stream says of itself, read before any codec sees it (ISO/IEC 10918-1 annex B, 14495-1 annex C).

mod bits;
mod cosine;
mod sequential;

pub(crate) use sequential::decode as decode_sequential;

use super::error::Fault;
use super::layout::Layout;

pub(crate) const STEP: &str = "JPEG header";

const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
const APP0: u8 = 0xE0;
const APP14: u8 = 0xEE;
const SOF_JPEG_LS: u8 = 0xF7;
const LSE: u8 = 0xF8;

/// Baseline and extended sequential: the processes that this room decodes itself.
const SOF_SEQUENTIAL: [u8; 2] = [0xC0, 0xC1];

/// A frame header and what stands before the first scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JpegHeader {
    /// The code of the SOF marker.
    pub(crate) process: u8,
    /// Bits a sample.
    pub(crate) precision: u32,
    rows: usize,
    columns: usize,
    components: Vec<Component>,
    /// The transform of an Adobe APP14 segment: 0 none, 1 YCbCr.
    adobe: Option<u8>,
    jfif: bool,
    /// JPEG-LS: whether the components come plane by plane.
    pub(crate) planes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Component {
    id: u8,
    /// Horizontal and vertical sampling, 1 to 4 each.
    across: usize,
    down: usize,
    quantization: usize,
}

impl JpegHeader {
    /// Reads the header and holds it against the image attributes: a codec allocates what the header says.
    pub(crate) fn of(stream: &[u8], layout: &Layout) -> Result<Self, Fault> {
        let header = Self::read(stream)?;
        if header.rows != layout.rows || header.columns != layout.columns {
            return Err(Fault::new(STEP, "its size is not Rows by Columns"));
        }
        if header.components.len() != layout.channels {
            return Err(Fault::new(STEP, "its components are not Samples per Pixel"));
        }
        if header.precision > layout.allocated {
            return Err(Fault::new(
                STEP,
                "it has more bits a sample than Bits Allocated",
            ));
        }
        Ok(header)
    }

    /// Whether this is baseline or extended sequential DCT with Huffman coding.
    pub(crate) fn is_sequential(&self) -> bool {
        SOF_SEQUENTIAL.contains(&self.process)
    }

    /// Whether three components of lossy JPEG are luminance and chrominance; `None` when only the image attributes can say.
    /// Component ids `RGB` win over markers, and markers over attributes, because that is the order in which they are true.
    pub(crate) fn is_ybr(&self) -> Option<bool> {
        let ids = self.components.iter().map(|c| c.id.to_ascii_uppercase());
        if ids.eq(*b"RGB") {
            return Some(false);
        }
        match self.adobe {
            Some(transform) => Some(transform != 0),
            None => self.jfif.then_some(true),
        }
    }

    fn read(stream: &[u8]) -> Result<Self, Fault> {
        let mut header = None;
        let (mut adobe, mut jfif, mut planes) = (None, false, false);
        let mut segments = Segments::of(stream)?;
        while let Some((marker, body)) = segments.next()? {
            match marker {
                APP0 => jfif |= body.starts_with(b"JFIF"),
                APP14 if body.starts_with(b"Adobe") => adobe = body.get(11).copied(),
                // Four stands for the size of oversize images, which would replace the one checked here.
                LSE if body.first() == Some(&4) => {
                    return Err(Fault::new(STEP, "an oversize image"));
                }
                SOS => {
                    planes = is_planes(body);
                    break;
                }
                _ if is_sof(marker) => {
                    let frame = Self::frame(marker, body)?;
                    if header.replace(frame).is_some() {
                        return Err(Fault::new(STEP, "more than one frame header"));
                    }
                }
                _ => {}
            }
        }
        let header =
            header.ok_or_else(|| Fault::new(STEP, "no frame header before the first scan"))?;
        Ok(Self {
            adobe,
            jfif,
            planes,
            ..header
        })
    }

    fn frame(process: u8, body: &[u8]) -> Result<Self, Fault> {
        let broken = || Fault::new(STEP, "a broken frame header");
        let ([precision, r1, r0, c1, c0, count], rest) =
            body.split_first_chunk().ok_or_else(broken)?;
        let specifications = rest.as_chunks::<3>().0;
        let components = specifications
            .iter()
            .take(usize::from(*count))
            .map(|[id, sampling, quantization]| Component {
                id: *id,
                across: usize::from(sampling >> 4),
                down: usize::from(sampling & 15),
                quantization: usize::from(*quantization),
            })
            .collect::<Vec<_>>();
        let sane = |c: &Component| (1..=4).contains(&c.across) && (1..=4).contains(&c.down);
        if components.len() != usize::from(*count) || !components.iter().all(sane) {
            return Err(broken());
        }
        if !(2..=16).contains(precision) {
            return Err(broken());
        }
        Ok(Self {
            process,
            precision: u32::from(*precision),
            rows: usize::from(u16::from_be_bytes([*r1, *r0])),
            columns: usize::from(u16::from_be_bytes([*c1, *c0])),
            components,
            adobe: None,
            jfif: false,
            planes: false,
        })
    }
}

/// Every start of frame, JPEG-LS included; C4, C8 and CC are tables and an extension.
fn is_sof(marker: u8) -> bool {
    matches!(marker, 0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF) || marker == SOF_JPEG_LS
}

/// The interleave mode of a JPEG-LS scan header, its last byte but one.
fn is_planes(scan: &[u8]) -> bool {
    let components = scan.first().map_or(0, |n| usize::from(*n));
    scan.get(2 + 2 * components) == Some(&0)
}

/// The marker segments of a stream, up to the entropy-coded data of a scan.
struct Segments<'b> {
    stream: &'b [u8],
    at: usize,
}

impl<'b> Segments<'b> {
    fn of(stream: &'b [u8]) -> Result<Self, Fault> {
        if stream.starts_with(&[0xFF, SOI]) {
            return Ok(Self { stream, at: 2 });
        }
        Err(Fault::new(
            STEP,
            "the stream does not begin with a start of image",
        ))
    }

    /// What comes after the segment just given.
    fn rest(&self) -> &'b [u8] {
        self.stream.get(self.at..).unwrap_or_default()
    }

    /// Goes on after entropy-coded data.
    fn resume(&mut self, rest: &[u8]) {
        self.at = self.stream.len() - rest.len();
    }

    /// The next marker and its body; `None` at the end of the image.
    fn next(&mut self) -> Result<Option<(u8, &'b [u8])>, Fault> {
        let broken = || Fault::new(STEP, "a marker segment is cut off");
        let rest = self.rest();
        if rest.first() != Some(&0xFF) {
            return Err(broken());
        }
        // Any number of fill bytes may precede a marker.
        let fill = rest.iter().take_while(|b| **b == 0xFF).count();
        let marker = *rest.get(fill).ok_or_else(broken)?;
        if marker == EOI {
            return Ok(None);
        }
        let segment = &rest[fill + 1..];
        let length = segment.first_chunk::<2>().ok_or_else(broken)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let body = segment.get(2..length).ok_or_else(broken)?;
        self.at += fill + 1 + length;
        Ok(Some((marker, body)))
    }
}
