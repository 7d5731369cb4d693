//! An uncompressed data set written in the other of the two little endian syntaxes (PS3.5 annex A.1 and A.2): every value
//! as the bytes that it is, under another element header. It is made of the scanner's own steps, without recursion, and no
//! text is decoded, so that none can come out otherwise than it went in.

use crate::scan::walk::{Token, Walker, is_long};
use crate::scan::{ScanError, ScanLimits, open_file};
use dicom_core::{Tag, VR};
use std::io::{Read, Seek};

const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);
/// An end that a delimiter marks. Sequences are written so, since their lengths change with the headers in them.
const UNDEFINED: u32 = u32::MAX;

/// Why a data set was not written anew.
#[derive(Debug, thiserror::Error)]
pub enum AnewError {
    /// It cannot be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// It is big endian, deflated or encapsulated: then more than its headers would change.
    #[error("only uncompressed little endian data sets are written anew")]
    Encoding,
    /// It is larger than may be written in memory.
    #[error("it is larger than {max_bytes} bytes")]
    TooLarge {
        /// The limit.
        max_bytes: u64,
    },
}

/// The data set of a DICOM file, without its file header, in Explicit VR Little Endian or else in Implicit VR Little Endian.
/// Group lengths are left out: they are retired, and would be wrong.
///
/// # Errors
/// See [`AnewError`].
pub fn written_anew(
    reader: &mut (impl Read + Seek),
    explicit: bool,
    max_bytes: u64,
) -> Result<Vec<u8>, AnewError> {
    let limits = ScanLimits::default();
    let mut opened = open_file(reader, &limits)?;
    if opened.place.deflated || opened.place.encoding.big_endian {
        return Err(AnewError::Encoding);
    }
    let mut walker = opened.walker(&limits);
    let mut out = Out {
        bytes: Vec::new(),
        explicit,
        max_bytes,
    };
    while let Some(token) = walker.next()? {
        out.put(token, &mut walker)?;
    }
    Ok(out.bytes)
}

struct Out {
    bytes: Vec<u8>,
    explicit: bool,
    max_bytes: u64,
}

impl Out {
    fn put(&mut self, token: Token, walker: &mut Walker<'_, '_>) -> Result<(), AnewError> {
        match token {
            Token::Element { tag, .. } if tag.element() == 0 => {}
            Token::Element {
                tag, vr, length, ..
            } => {
                let value = walker.value(self.room(length)?)?;
                self.header(tag, vr, length as u32); // it was read from 32 bits
                self.bytes.extend_from_slice(&value);
            }
            Token::SequenceStart { tag } => self.header(tag, VR::SQ, UNDEFINED),
            Token::SequenceEnd => self.delimiter(SEQUENCE_END, 0),
            Token::ItemStart => self.delimiter(ITEM, UNDEFINED),
            Token::ItemEnd => self.delimiter(ITEM_END, 0),
            Token::FragmentsStart { .. } | Token::Fragment { .. } | Token::FragmentsEnd => {
                return Err(AnewError::Encoding);
            }
        }
        Ok(())
    }

    /// How long the next value may be.
    fn room(&self, length: u64) -> Result<u64, AnewError> {
        let max_bytes = self.max_bytes;
        let left = max_bytes.checked_sub(self.bytes.len() as u64);
        let fits = left.filter(|left| length <= *left);
        fits.ok_or(AnewError::TooLarge { max_bytes })
    }

    fn header(&mut self, tag: Tag, vr: VR, length: u32) {
        self.tag(tag);
        if !self.explicit {
            return self.bytes.extend_from_slice(&length.to_le_bytes());
        }
        // What 16 bits cannot say is written as unknown, which has 32 (PS3.5 section 6.2.2 note 5).
        let short = u16::try_from(length).ok().filter(|_| !is_long(vr));
        let vr = if is_long(vr) || short.is_some() {
            vr
        } else {
            VR::UN
        };
        self.bytes.extend_from_slice(vr.to_string().as_bytes());
        match short {
            Some(length) => self.bytes.extend_from_slice(&length.to_le_bytes()),
            None => {
                self.bytes.extend_from_slice(&[0; 2]);
                self.bytes.extend_from_slice(&length.to_le_bytes());
            }
        }
    }

    fn delimiter(&mut self, tag: Tag, length: u32) {
        self.tag(tag);
        self.bytes.extend_from_slice(&length.to_le_bytes());
    }

    fn tag(&mut self, tag: Tag) {
        self.bytes.extend_from_slice(&tag.group().to_le_bytes());
        self.bytes.extend_from_slice(&tag.element().to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::scan_file;
    use std::io::Cursor;

    const EXPLICIT: &str = "1.2.840.10008.1.2.1";
    const IMPLICIT: &str = "1.2.840.10008.1.2";

    fn element(explicit: bool, (group, number): (u16, u16), vr: &str, value: &[u8]) -> Vec<u8> {
        let mut out = Out {
            bytes: Vec::new(),
            explicit,
            max_bytes: u64::MAX,
        };
        let vr = vr.parse().expect("a representation");
        out.header(Tag(group, number), vr, value.len() as u32);
        out.bytes.extend_from_slice(value);
        out.bytes
    }

    fn file(syntax: &str, data_set: &[u8]) -> Vec<u8> {
        let pad = |text: &str| format!("{text}{}", &"\0"[..text.len() % 2]).into_bytes();
        let mut bytes = vec![0; 128];
        bytes.extend(b"DICM");
        bytes.extend(element(true, (2, 0x10), "UI", &pad(syntax)));
        bytes.extend_from_slice(data_set);
        bytes
    }

    /// An object with a sequence of defined length, a group length, a private element, Latin-1 text and pixels.
    fn object(explicit: bool) -> Vec<u8> {
        let put = |tag, vr, value: &[u8]| element(explicit, tag, vr, value);
        let inner = [
            put((8, 0x1150), "UI", b"1.2.3\0"),
            put((8, 0x1155), "UI", b"1.2.9\0"),
        ]
        .concat();
        let item = [
            &[0xFE, 0xFF, 0, 0xE0][..],
            &(inner.len() as u32).to_le_bytes(),
            &inner,
        ]
        .concat();
        [
            put((8, 0), "UL", &[1, 0, 0, 0]),
            put((8, 5), "CS", b"ISO_IR 100"),
            put((8, 0x16), "UI", b"1.2.840.10008.5.1.4.1.1.7\0"),
            put((8, 0x18), "UI", b"1.2.3\0"),
            put((8, 0x1140), "SQ", &item),
            put((9, 0x10), "LO", b"ACME"),
            put((0x10, 0x10), "PN", b"M\xFCller^A "),
            put((0x20, 0xD), "UI", b"1.2\0"),
            put((0x20, 0xE), "UI", b"1.2.1\0"),
            put((0x28, 0x10), "US", &[2, 0]),
            put((0x7FE0, 0x10), "OW", &[1, 2, 3, 4]),
        ]
        .concat()
    }

    fn anew(bytes: &[u8], explicit: bool) -> Result<Vec<u8>, AnewError> {
        written_anew(&mut Cursor::new(bytes), explicit, 1 << 20)
    }

    #[test]
    fn there_and_back_every_value_is_as_it_was() {
        let original = file(EXPLICIT, &object(true));
        let implicit = anew(&original, false).expect("implicit");
        let explicit = anew(&file(IMPLICIT, &implicit), true).expect("explicit");
        let again = anew(&file(EXPLICIT, &explicit), false).expect("implicit again");
        assert_eq!(implicit, again);
        assert!(implicit.windows(8).any(|w| w == b"M\xFCller^A"));
        let read = |bytes: &[u8]| {
            scan_file(&mut Cursor::new(bytes), &ScanLimits::default()).expect("whole")
        };
        let (a, b) = (read(&original), read(&file(IMPLICIT, &implicit)));
        let c = read(&file(EXPLICIT, &explicit));
        assert_eq!(
            (&a.identity.instance, &a.facts),
            (&b.identity.instance, &b.facts)
        );
        assert_eq!(
            (&a.identity.instance, &a.facts),
            (&c.identity.instance, &c.facts)
        );
        assert_eq!(b.elements, a.elements - 1, "all but the group length");
    }

    /// Contour Data (3006,0050) is a decimal string, and often longer than 64 KiB.
    #[test]
    fn a_value_that_sixteen_bits_cannot_measure_becomes_unknown() {
        let long = vec![b'1'; 70_000];
        let pixels = element(false, (0x7FE0, 0x10), "OW", &[1, 2, 3, 4]).len();
        let mut data_set = object(false);
        data_set.truncate(data_set.len() - pixels);
        data_set.extend(element(false, (0x3006, 0x50), "DS", &long));
        let explicit = anew(&file(IMPLICIT, &data_set), true).expect("explicit");
        let header = [0x06, 0x30, 0x50, 0, b'U', b'N', 0, 0];
        assert!(explicit.windows(8).any(|w| w == header));
    }

    #[test]
    fn what_is_encapsulated_or_too_large_is_not_written() {
        let mut encapsulated = object(true);
        encapsulated.truncate(encapsulated.len() - 16);
        encapsulated.extend([0xE0, 0x7F, 0x10, 0, b'O', b'B', 0, 0, 255, 255, 255, 255]);
        encapsulated.extend([
            0xFE, 0xFF, 0, 0xE0, 0, 0, 0, 0, 0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0,
        ]);
        let refused = anew(&file("1.2.840.10008.1.2.5", &encapsulated), false);
        assert!(matches!(refused, Err(AnewError::Encoding)), "{refused:?}");
        let whole = file(EXPLICIT, &object(true));
        let refused = written_anew(&mut Cursor::new(&whole), false, 100);
        assert!(matches!(
            refused,
            Err(AnewError::TooLarge { max_bytes: 100 })
        ));
    }
}
