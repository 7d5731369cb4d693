//! A received object as `dicom-object` holds it, without its pixels and its largest values.
//!
//! Built from the scanner's own steps: what one reader takes for a length, the other cannot take for something else.

use crate::charset::Charset;
use crate::header::{Collector, Extent, Header};
use crate::scan::syntax::Encoding;
use crate::scan::walk::{Token, Walker, dictionary_vr, is_of_either_sign};
use crate::scan::{Opened, ScanError, ScanLimits, open_data_set, open_file};
use dicom_core::header::Length;
use dicom_core::value::{C, DataSetSequence, PrimitiveValue, Value};
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use pericard_domain::uid::TransferSyntaxUid;
use std::io::{Read, Seek};

/// What an element costs in memory beside its value, roughly: so that a million empty ones count too.
const ELEMENT_BYTES: u64 = 128;

/// Scans a DICOM file and keeps its data set. Pixel data, and any value above
/// [`ScanLimits::object_value_bytes_max`], are left out.
///
/// # Errors
/// As [`crate::scan::scan_file`], and [`ScanError::ObjectTooLarge`].
pub fn read_file(
    reader: &mut (impl Read + Seek),
    limits: &ScanLimits,
) -> Result<(Header, InMemDicomObject), ScanError> {
    read(open_file(reader, limits)?, limits)
}

/// Scans a DICOM file and keeps its data set, as [`read_file`] does, but with every text as the bytes that it has in the
/// file, one character for each: what is copied into a result must be the same bytes, whatever its character set.
///
/// # Errors
/// As [`read_file`].
pub(crate) fn read_file_undecoded(
    reader: &mut (impl Read + Seek),
    limits: &ScanLimits,
) -> Result<(Header, InMemDicomObject), ScanError> {
    read_with(
        open_file(reader, limits)?,
        limits,
        Builder {
            undecoded: true,
            ..Builder::new(limits)
        },
    )
}

/// Scans a DICOM file and keeps its data set, as [`read_file`] does, without binary values above `binary_bytes_max`; what
/// is left out is listed.
///
/// # Errors
/// As [`read_file`].
pub(crate) fn read_file_by_reference(
    reader: &mut (impl Read + Seek),
    limits: &ScanLimits,
    binary_bytes_max: u64,
) -> Result<(Header, InMemDicomObject, Vec<Bulk>), ScanError> {
    let mut builder = Builder {
        binary_bytes_max,
        ..Builder::new(limits)
    };
    let header = walk(open_file(reader, limits)?, limits, &mut builder)?;
    Ok((header, builder.root, builder.bulk))
}

/// Scans a bare data set and keeps it, as [`read_file`] does.
///
/// # Errors
/// As [`crate::scan::scan_data_set`], and [`ScanError::ObjectTooLarge`].
pub fn read_data_set(
    reader: &mut (impl Read + Seek),
    syntax: &TransferSyntaxUid,
    limits: &ScanLimits,
) -> Result<(Header, InMemDicomObject), ScanError> {
    read(open_data_set(reader, syntax, limits)?, limits)
}

fn read(opened: Opened<'_>, limits: &ScanLimits) -> Result<(Header, InMemDicomObject), ScanError> {
    read_with(opened, limits, Builder::new(limits))
}

fn read_with(
    opened: Opened<'_>,
    limits: &ScanLimits,
    mut builder: Builder<'_>,
) -> Result<(Header, InMemDicomObject), ScanError> {
    let header = walk(opened, limits, &mut builder)?;
    Ok((header, builder.root))
}

fn walk(
    mut opened: Opened<'_>,
    limits: &ScanLimits,
    builder: &mut Builder<'_>,
) -> Result<Header, ScanError> {
    let mut collector = Collector::new(limits);
    let mut walker = opened.walker(limits);
    while let Some(token) = walker.next()? {
        let depth = walker.depth();
        let value = match token {
            Token::Element {
                tag, vr, length, ..
            } if !builder.is_bulk(tag, vr, length) => Some(builder.value(&mut walker, length)?),
            _ => None,
        };
        collector.take_read(token, depth, walker.encoding(), value.as_deref())?;
        builder.take(token, walker.encoding(), value);
    }
    let elements = walker.elements();
    collector.header(opened.place, elements)
}

/// A value that was left in the file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bulk {
    /// The sequences around it from the outside in, each with the item, counted from 1.
    pub(crate) items: Vec<(Tag, usize)>,
    pub(crate) tag: Tag,
    pub(crate) vr: VR,
    pub(crate) encoding: Encoding,
    /// Where its bytes are: one stretch, or the fragments of encapsulated pixels without their offset table.
    pub(crate) extents: Vec<Extent>,
}

/// Binary values in the sense of the DICOM JSON model (PS3.18 section F.2.7).
fn is_binary(vr: VR) -> bool {
    matches!(
        vr,
        VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW | VR::UN
    )
}

/// A sequence that is still open, and the item that is being filled.
struct Open {
    tag: Tag,
    items: Vec<InMemDicomObject>,
    item: InMemDicomObject,
    charset: Charset,
}

struct Builder<'l> {
    limits: &'l ScanLimits,
    root: InMemDicomObject,
    charset: Charset,
    /// Whether texts are kept as bytes, one character for each.
    undecoded: bool,
    /// Sequences around the next element, the innermost last. As deep as the walker lets it become.
    open: Vec<Open>,
    bytes: u64,
    /// Longer binary values are left in the file.
    binary_bytes_max: u64,
    bulk: Vec<Bulk>,
    /// Fragments that belong to the latest bulk; the first of them is an offset table.
    fragments: Option<usize>,
}

impl<'l> Builder<'l> {
    fn new(limits: &'l ScanLimits) -> Self {
        Self {
            limits,
            root: InMemDicomObject::new_empty(),
            charset: Charset::declared(b""),
            undecoded: false,
            open: Vec::new(),
            bytes: 0,
            binary_bytes_max: u64::MAX,
            bulk: Vec::new(),
            fragments: None,
        }
    }

    /// Pixels of every kind (group 7FE0) and whatever is too long.
    fn is_bulk(&self, tag: Tag, vr: VR, length: u64) -> bool {
        let is_pixels = matches!(
            tag,
            tags::PIXEL_DATA | tags::FLOAT_PIXEL_DATA | tags::DOUBLE_FLOAT_PIXEL_DATA
        );
        let is_long_binary = length > self.binary_bytes_max && is_binary(known(tag, vr));
        is_pixels || is_long_binary || length > self.limits.object_value_bytes_max
    }

    fn leave_out(&mut self, tag: Tag, vr: VR, encoding: Encoding, extents: Vec<Extent>) {
        let items = self.open.iter().map(|o| (o.tag, o.items.len() + 1));
        let known = known(tag, vr);
        self.bulk.push(Bulk {
            items: items.collect(),
            tag,
            vr: known,
            encoding: if known == vr {
                encoding
            } else {
                Encoding::IMPLICIT_LE
            },
            extents,
        });
    }

    fn fragment(&mut self, extent: Extent) {
        let Some(count) = &mut self.fragments else {
            return;
        };
        *count += 1;
        if let (true, Some(bulk)) = (*count > 1, self.bulk.last_mut()) {
            bulk.extents.push(extent);
        }
    }

    fn value(&mut self, walker: &mut Walker<'_, '_>, length: u64) -> Result<Vec<u8>, ScanError> {
        self.bytes += length + ELEMENT_BYTES;
        if self.bytes > self.limits.object_bytes_max {
            let max = self.limits.object_bytes_max;
            return Err(ScanError::ObjectTooLarge { max });
        }
        walker.value(length)
    }

    fn take(&mut self, token: Token, encoding: Encoding, value: Option<Vec<u8>>) {
        match token {
            Token::Element {
                tag,
                vr,
                length,
                offset,
            } => match value {
                Some(value) => self.element(tag, vr, encoding, &value),
                None => self.leave_out(tag, vr, encoding, vec![Extent { offset, length }]),
            },
            Token::SequenceStart { tag } => self.open.push(Open {
                tag,
                items: Vec::new(),
                item: InMemDicomObject::new_empty(),
                charset: self.charset().clone(),
            }),
            Token::ItemStart => {
                let charset = self.outer_charset().clone();
                if let Some(open) = self.open.last_mut() {
                    open.charset = charset;
                }
            }
            Token::ItemEnd => {
                if let Some(open) = self.open.last_mut() {
                    let empty = InMemDicomObject::new_empty();
                    open.items.push(std::mem::replace(&mut open.item, empty));
                }
            }
            Token::SequenceEnd => self.close(),
            Token::FragmentsStart { tag } => {
                self.leave_out(tag, VR::OB, encoding, Vec::new());
                self.fragments = Some(0);
            }
            Token::Fragment { offset, length } => self.fragment(Extent { offset, length }),
            Token::FragmentsEnd => self.fragments = None,
        }
    }

    fn element(&mut self, tag: Tag, vr: VR, encoding: Encoding, bytes: &[u8]) {
        if tag == tags::SPECIFIC_CHARACTER_SET && !self.undecoded {
            let charset = Charset::declared(bytes);
            match self.open.last_mut() {
                Some(open) => open.charset = charset,
                None => self.charset = charset,
            }
        }
        // What a router wrote as UN is in implicit little endian.
        let (vr, encoding) = match known(tag, vr) {
            known if known != vr => (known, Encoding::IMPLICIT_LE),
            _ => (vr, encoding),
        };
        // In implicit encoding nothing says the sign but the pixels'.
        let vr = match vr {
            VR::US if !encoding.explicit && is_of_either_sign(tag) && self.is_signed() => VR::SS,
            _ => vr,
        };
        let value = if self.undecoded {
            primitive(vr, bytes, encoding, &Charset::undecoded())
        } else {
            primitive(vr, bytes, encoding, self.charset())
        };
        self.data_set().put(DataElement::new(tag, vr, value));
    }

    /// Whether pixels are signed numbers, by the innermost data set that says so.
    fn is_signed(&self) -> bool {
        let inner = self.open.iter().rev().map(|open| &open.item);
        let mut all = inner.chain([&self.root]);
        let said = all.find_map(|of| of.get(tags::PIXEL_REPRESENTATION));
        said.and_then(|element| element.to_int::<u16>().ok()) == Some(1)
    }

    fn close(&mut self) {
        let Some(open) = self.open.pop() else {
            return;
        };
        let sequence = DataSetSequence::new(open.items, Length::UNDEFINED);
        let element = DataElement::new(open.tag, VR::SQ, Value::from(sequence));
        self.data_set().put(element);
    }

    fn data_set(&mut self) -> &mut InMemDicomObject {
        match self.open.last_mut() {
            Some(open) => &mut open.item,
            None => &mut self.root,
        }
    }

    fn charset(&self) -> &Charset {
        self.open.last().map_or(&self.charset, |o| &o.charset)
    }

    /// What an item inherits: the set of the data set that its sequence is in.
    fn outer_charset(&self) -> &Charset {
        match self
            .open
            .len()
            .checked_sub(2)
            .and_then(|i| self.open.get(i))
        {
            Some(outer) => &outer.charset,
            None => &self.charset,
        }
    }
}

/// A router that did not know an element wrote it as UN; the dictionary knows it (PS3.5 section 6.2.2 note 2).
fn known(tag: Tag, vr: VR) -> VR {
    match (vr, dictionary_vr(tag)) {
        (VR::UN, known) if known != VR::SQ => known,
        _ => vr,
    }
}

/// A value in the form that `dicom-object` would have read it in.
fn primitive(vr: VR, bytes: &[u8], encoding: Encoding, charset: &Charset) -> PrimitiveValue {
    if bytes.is_empty() {
        return PrimitiveValue::Empty;
    }
    let e = encoding;
    match vr {
        VR::LT | VR::ST | VR::UT | VR::UR => {
            PrimitiveValue::Str(trimmed(&charset.decode(bytes)).to_owned())
        }
        VR::AE | VR::AS | VR::CS | VR::DA | VR::DS | VR::DT | VR::IS | VR::TM | VR::UI => {
            strings(&Charset::declared(b"").decode(bytes))
        }
        VR::LO | VR::PN | VR::SH | VR::UC => strings(&charset.decode(bytes)),
        VR::US | VR::OW => PrimitiveValue::U16(numbers(bytes, |b| e.u16(b))),
        VR::SS => PrimitiveValue::I16(numbers(bytes, |b| e.u16(b).cast_signed())),
        VR::UL | VR::OL => PrimitiveValue::U32(numbers(bytes, |b| e.u32(b))),
        VR::SL => PrimitiveValue::I32(numbers(bytes, |b| e.u32(b).cast_signed())),
        VR::FL | VR::OF => PrimitiveValue::F32(numbers(bytes, |b| f32::from_bits(e.u32(b)))),
        VR::FD | VR::OD => PrimitiveValue::F64(numbers(bytes, |b| f64::from_bits(e.u64(b)))),
        VR::UV | VR::OV => PrimitiveValue::U64(numbers(bytes, |b| e.u64(b))),
        VR::SV => PrimitiveValue::I64(numbers(bytes, |b| e.u64(b).cast_signed())),
        VR::AT => PrimitiveValue::Tags(numbers(bytes, |[a, b, c, d]: [u8; 4]| {
            Tag(e.u16([a, b]), e.u16([c, d]))
        })),
        _ => PrimitiveValue::U8(C::from_slice(bytes)),
    }
}

fn trimmed(text: &str) -> &str {
    text.trim_end_matches(['\0', ' '])
}

fn strings(text: &str) -> PrimitiveValue {
    PrimitiveValue::Strs(text.split('\\').map(|t| trimmed(t).to_owned()).collect())
}

fn numbers<const N: usize, T>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> C<T> {
    // What is left over of a length that does not divide is dropped, as every reader does.
    bytes
        .as_chunks::<N>()
        .0
        .iter()
        .map(|b| number(*b))
        .collect()
}
