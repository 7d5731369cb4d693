//! What a scan keeps of an object: its identity, the facts that lists and rules ask for, and where its pixels lie.

use crate::charset::Charset;
use crate::scan::syntax::Encoding;
use crate::scan::walk::{PIXEL_DATA, Token, Walker};
use crate::scan::{Place, ScanError, ScanLimits};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use pericard_domain::study::{InstanceFacts, ObjectIdentity, RequestFacts};
use pericard_domain::uid::UidError;
use std::collections::BTreeMap;

/// What a scan found. Everything in it was seen in the file: no length or count is only a claim.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// What the object is. Read from the data set; the file meta information gives only the transfer syntax.
    pub identity: ObjectIdentity,
    /// What lists and rules ask for.
    pub facts: InstanceFacts,
    /// The pixel data of the object itself, without icons; `None` when there is none.
    pub pixel: Option<PixelInfo>,
    /// Where the data set begins, bytes from the beginning of what was scanned.
    pub data_set_offset: u64,
    /// Whether the data set is deflated. Then the offsets in `pixel` count in the inflated data set.
    pub deflated: bool,
    /// Data elements, at every depth.
    pub elements: u32,
}

/// How the pixel data describes itself (PS3.3 section C.7.6.3). A number that is absent or unreadable is 0, a text empty;
/// whether the description makes sense is for the decoder to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PixelInfo {
    /// Rows (0028,0010).
    pub rows: u16,
    /// Columns (0028,0011).
    pub columns: u16,
    /// Samples per Pixel (0028,0002).
    pub samples: u16,
    /// Bits Allocated (0028,0100).
    pub bits_allocated: u16,
    /// Bits Stored (0028,0101).
    pub bits_stored: u16,
    /// High Bit (0028,0102).
    pub high_bit: u16,
    /// Pixel Representation (0028,0103): 0 unsigned, 1 two's complement.
    pub pixel_representation: u16,
    /// Photometric Interpretation (0028,0004).
    pub photometric: String,
    /// Number of Frames (0028,0008); 1 when the attribute is absent.
    pub frames: u32,
    /// Planar Configuration (0028,0006): 0 by pixel, 1 by plane.
    pub planar: u16,
    /// Whether Pixel Data has representation OW: in big endian, bytes then stand in pairs the other way round.
    pub words: bool,
    /// Where the bytes are.
    pub data: PixelBytes,
}

/// Where the bytes of the pixel data are. Offsets count from the beginning of what was scanned, or of the inflated data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PixelBytes {
    /// Uncompressed integers in one piece: Pixel Data (7FE0,0010).
    Native(Extent),
    /// 32-bit floating point: Float Pixel Data (7FE0,0008).
    Float(Extent),
    /// 64-bit floating point: Double Float Pixel Data (7FE0,0009).
    Double(Extent),
    /// A stream of fragments (PS3.5 section A.4).
    Encapsulated {
        /// The basic offset table, which may be empty.
        offset_table: Extent,
        /// The fragments after it.
        fragments: Vec<Extent>,
    },
}

impl Default for PixelBytes {
    fn default() -> Self {
        Self::Native(Extent::default())
    }
}

/// A stretch of bytes that is known to be there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// Its first byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// The elements of the data set itself that a header keeps.
const KEPT: &[Tag] = &[
    tags::SPECIFIC_CHARACTER_SET,
    tags::IMAGE_TYPE,
    tags::SOP_CLASS_UID,
    tags::SOP_INSTANCE_UID,
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::ACCESSION_NUMBER,
    tags::MODALITY,
    tags::MANUFACTURER,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::STUDY_DESCRIPTION,
    tags::SERIES_DESCRIPTION,
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::PATIENT_AGE,
    tags::BODY_PART_EXAMINED,
    tags::STUDY_INSTANCE_UID,
    tags::SERIES_INSTANCE_UID,
    tags::STUDY_ID,
    tags::PERFORMED_PROCEDURE_STEP_START_DATE,
    tags::PERFORMED_PROCEDURE_STEP_START_TIME,
    tags::SERIES_NUMBER,
    tags::INSTANCE_NUMBER,
    tags::SAMPLES_PER_PIXEL,
    tags::PHOTOMETRIC_INTERPRETATION,
    tags::PLANAR_CONFIGURATION,
    tags::NUMBER_OF_FRAMES,
    tags::ROWS,
    tags::COLUMNS,
    tags::BITS_ALLOCATED,
    tags::BITS_STORED,
    tags::HIGH_BIT,
    tags::PIXEL_REPRESENTATION,
];

/// The elements of an item of the Request Attributes Sequence that a header keeps.
const KEPT_OF_REQUEST: [Tag; 2] = [
    tags::SCHEDULED_PROCEDURE_STEP_ID,
    tags::REQUESTED_PROCEDURE_ID,
];
/// Items of the Request Attributes Sequence that are kept: a series is made for one or two orders.
const REQUESTS_MAX: usize = 16;

/// Two of these would leave it open which object it is, and another reader might take the other one.
const IDENTIFYING: [Tag; 4] = [
    tags::SOP_CLASS_UID,
    tags::SOP_INSTANCE_UID,
    tags::STUDY_INSTANCE_UID,
    tags::SERIES_INSTANCE_UID,
];

/// Collects a header while a walker walks.
pub(crate) struct Collector<'l> {
    limits: &'l ScanLimits,
    values: BTreeMap<Tag, Vec<u8>>,
    bytes: Option<PixelBytes>,
    fragments: Option<Vec<Extent>>,
    /// The items of the Request Attributes Sequence.
    requests: Vec<BTreeMap<Tag, Vec<u8>>>,
    /// Whether the walk is within that sequence.
    in_requests: bool,
    big_endian: bool,
    words: bool,
}

impl<'l> Collector<'l> {
    pub(crate) fn new(limits: &'l ScanLimits) -> Self {
        Self {
            limits,
            values: BTreeMap::new(),
            bytes: None,
            fragments: None,
            requests: Vec::new(),
            in_requests: false,
            big_endian: false,
            words: false,
        }
    }

    fn keeps(&self, tag: Tag, depth: usize) -> bool {
        match depth {
            0 => KEPT.contains(&tag),
            1 => self.in_requests && KEPT_OF_REQUEST.contains(&tag),
            _ => false,
        }
    }

    /// Takes what it keeps of one step, reading the value of the step's element from the walker if it is kept.
    pub(crate) fn take(
        &mut self,
        token: Token,
        walker: &mut Walker<'_, '_>,
    ) -> Result<(), ScanError> {
        let (depth, encoding) = (walker.depth(), walker.encoding());
        let value = match token {
            Token::Element { tag, .. } if self.keeps(tag, depth) => {
                Some(walker.value(self.limits.fact_bytes_max)?)
            }
            _ => None,
        };
        self.take_read(token, depth, encoding, value.as_deref())
    }

    /// Takes what it keeps of one step whose value has been read.
    pub(crate) fn take_read(
        &mut self,
        token: Token,
        depth: usize,
        encoding: Encoding,
        value: Option<&[u8]>,
    ) -> Result<(), ScanError> {
        if depth > 0 {
            self.take_of_request(token, depth, value);
            return Ok(());
        }
        match token {
            Token::SequenceEnd => self.in_requests = false,
            Token::Element {
                tag,
                vr,
                length,
                offset,
            } => {
                self.element(tag, vr, Extent { offset, length });
                if KEPT.contains(&tag) {
                    self.big_endian = encoding.big_endian;
                    self.keep(tag, value.unwrap_or_default())?;
                }
            }
            Token::FragmentsStart { tag: PIXEL_DATA } => self.fragments = Some(Vec::new()),
            Token::Fragment { offset, length } => {
                if let Some(fragments) = &mut self.fragments {
                    fragments.push(Extent { offset, length });
                }
            }
            Token::FragmentsEnd => {
                let mut all = self.fragments.take().unwrap_or_default().into_iter();
                self.bytes = Some(PixelBytes::Encapsulated {
                    offset_table: all.next().unwrap_or_default(),
                    fragments: all.collect(),
                });
            }
            _ => {}
        }
        Ok(())
    }

    fn take_of_request(&mut self, token: Token, depth: usize, value: Option<&[u8]>) {
        match token {
            Token::SequenceStart { tag } if depth == 1 => {
                self.in_requests = tag == tags::REQUEST_ATTRIBUTES_SEQUENCE;
            }
            Token::ItemStart
                if depth == 1 && self.in_requests && self.requests.len() < REQUESTS_MAX =>
            {
                self.requests.push(BTreeMap::new());
            }
            Token::Element { tag, .. } if self.keeps(tag, depth) => {
                let is_short = |v: &&[u8]| v.len() as u64 <= self.limits.fact_bytes_max;
                if let (Some(value), Some(item)) =
                    (value.filter(is_short), self.requests.last_mut())
                {
                    item.insert(tag, value.to_owned());
                }
            }
            _ => {}
        }
    }

    /// The header, once the walk is over.
    pub(crate) fn header(mut self, place: Place, elements: u32) -> Result<Header, ScanError> {
        let identity = ObjectIdentity {
            study: self.uid(tags::STUDY_INSTANCE_UID)?,
            series: self.uid(tags::SERIES_INSTANCE_UID)?,
            instance: self.uid(tags::SOP_INSTANCE_UID)?,
            sop_class: self.uid(tags::SOP_CLASS_UID)?,
            transfer_syntax: place.syntax,
        };
        Ok(Header {
            identity,
            facts: self.facts(),
            pixel: self.bytes.take().map(|data| self.pixel(data)),
            data_set_offset: place.offset,
            deflated: place.deflated,
            elements,
        })
    }

    fn element(&mut self, tag: Tag, vr: VR, extent: Extent) {
        let bytes = match tag {
            PIXEL_DATA if vr != VR::SQ => PixelBytes::Native(extent),
            tags::FLOAT_PIXEL_DATA => PixelBytes::Float(extent),
            tags::DOUBLE_FLOAT_PIXEL_DATA => PixelBytes::Double(extent),
            _ => return,
        };
        self.words = vr == VR::OW;
        self.bytes = Some(bytes);
    }

    fn keep(&mut self, tag: Tag, value: &[u8]) -> Result<(), ScanError> {
        let max = self.limits.fact_bytes_max;
        if value.len() as u64 > max {
            return Err(ScanError::ValueTooLong { tag, max });
        }
        let before = self.values.insert(tag, value.to_owned());
        if before.is_some() && IDENTIFYING.contains(&tag) {
            return Err(ScanError::AmbiguousIdentity(tag));
        }
        Ok(())
    }

    fn uid<T: TryFrom<String, Error = UidError>>(&self, tag: Tag) -> Result<T, ScanError> {
        let value = self.values.get(&tag).map_or(&[][..], Vec::as_slice);
        match T::try_from(String::from_utf8_lossy(value).into_owned()) {
            Ok(uid) => Ok(uid),
            Err(UidError::Empty) => Err(ScanError::MissingIdentity(tag)),
            Err(why) => Err(ScanError::InvalidUid { tag, why }),
        }
    }

    fn facts(&self) -> InstanceFacts {
        let empty = Vec::new();
        let declared = self
            .values
            .get(&tags::SPECIFIC_CHARACTER_SET)
            .unwrap_or(&empty);
        let charset = Charset::declared(declared);
        let text_of = |values: &BTreeMap<Tag, Vec<u8>>, tag| {
            let text = charset.decode(values.get(&tag)?);
            let text = text.trim_matches([' ', '\0', '\t', '\r', '\n']);
            (!text.is_empty()).then(|| text.to_owned())
        };
        let text = |tag| text_of(&self.values, tag);
        let requests = self.requests.iter().map(|item| RequestFacts {
            step_id: text_of(item, tags::SCHEDULED_PROCEDURE_STEP_ID),
            procedure_id: text_of(item, tags::REQUESTED_PROCEDURE_ID),
        });
        let count = |tag| Some(u32::from(self.number(tag)?));
        InstanceFacts {
            modality: text(tags::MODALITY),
            body_part: text(tags::BODY_PART_EXAMINED),
            study_description: text(tags::STUDY_DESCRIPTION),
            series_description: text(tags::SERIES_DESCRIPTION),
            study_date: text(tags::STUDY_DATE),
            study_time: text(tags::STUDY_TIME),
            accession_number: text(tags::ACCESSION_NUMBER),
            study_id: text(tags::STUDY_ID),
            referring_physician: text(tags::REFERRING_PHYSICIAN_NAME),
            patient_id: text(tags::PATIENT_ID),
            patient_name: text(tags::PATIENT_NAME),
            patient_birth_date: text(tags::PATIENT_BIRTH_DATE),
            patient_sex: text(tags::PATIENT_SEX),
            patient_age: text(tags::PATIENT_AGE),
            series_number: text(tags::SERIES_NUMBER),
            instance_number: text(tags::INSTANCE_NUMBER),
            manufacturer: text(tags::MANUFACTURER),
            image_type: text(tags::IMAGE_TYPE),
            rows: count(tags::ROWS),
            columns: count(tags::COLUMNS),
            frames: self.frames(),
            performed_date: text(tags::PERFORMED_PROCEDURE_STEP_START_DATE),
            performed_time: text(tags::PERFORMED_PROCEDURE_STEP_START_TIME),
            requests: requests.filter(|r| *r != RequestFacts::default()).collect(),
        }
    }

    fn pixel(&self, data: PixelBytes) -> PixelInfo {
        let number = |tag| self.number(tag).unwrap_or(0);
        let photometric = self.ascii(tags::PHOTOMETRIC_INTERPRETATION);
        PixelInfo {
            rows: number(tags::ROWS),
            columns: number(tags::COLUMNS),
            samples: number(tags::SAMPLES_PER_PIXEL),
            bits_allocated: number(tags::BITS_ALLOCATED),
            bits_stored: number(tags::BITS_STORED),
            high_bit: number(tags::HIGH_BIT),
            pixel_representation: number(tags::PIXEL_REPRESENTATION),
            photometric: photometric.unwrap_or_default(),
            frames: match self.ascii(tags::NUMBER_OF_FRAMES) {
                None => 1,
                Some(_) => self.frames().unwrap_or(0),
            },
            planar: number(tags::PLANAR_CONFIGURATION),
            words: self.words,
            data,
        }
    }

    /// The first value of an element of representation US.
    fn number(&self, tag: Tag) -> Option<u16> {
        let bytes = *self.values.get(&tag)?.first_chunk::<2>()?;
        Some(if self.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    }

    fn frames(&self) -> Option<u32> {
        self.ascii(tags::NUMBER_OF_FRAMES)?.parse().ok()
    }

    /// The first value of a text in the default repertoire; `None` when absent or empty.
    fn ascii(&self, tag: Tag) -> Option<String> {
        let text = String::from_utf8_lossy(self.values.get(&tag)?);
        let first = text.split('\\').next().unwrap_or_default();
        let first = first.trim_matches([' ', '\0']);
        (!first.is_empty()).then(|| first.to_owned())
    }
}
