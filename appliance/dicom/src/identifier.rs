//! Small data sets that are exchanged about objects rather than being one: identifiers of queries (PS3.4 annex C),
//! the action and event information of storage commitment (annex J), worklist items (annex K).
//!
//! Texts are Unicode inside and in the peer's own Specific Character Set outside. What comes in was walked by the scanner,
//! so a length, a nesting or a count is only believed as far as the limits go.

mod repertoire;

use crate::charset::Charset;
use crate::scan::syntax::{EXPLICIT_BE, Encoding, encoding_of};
use crate::scan::walk::{PIXEL_DATA, Token, Walker, dictionary_vr};
use crate::scan::{Opened, ScanError, ScanLimits, open_data_set, open_file};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use pericard_domain::uid::TransferSyntaxUid;
use repertoire::Repertoire;
use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek};

/// The longest value that is kept of an object; what is longer is no key of any query.
const VALUE_BYTES_MAX: u64 = 64 * 1024;
/// Limits for what a peer says: a commitment may name some ten thousand objects, a query nests two or three deep.
const LIMITS: ScanLimits = ScanLimits {
    nesting_max: 8,
    elements_max: 250_000,
    items_max: 65_536,
    fragments_max: 1,
    inflated_bytes_max: 0,
    fact_bytes_max: 4096,
    object_value_bytes_max: VALUE_BYTES_MAX,
    object_bytes_max: 64 * 1024 * 1024,
};

/// A small data set, by tag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identifier {
    elements: BTreeMap<Tag, Element>,
}

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Its value representation.
    pub vr: VR,
    /// Its value.
    pub value: Content,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Text, its values parted by backslashes, without the padding at the end. Numbers are written out in decimal.
    /// Empty for whatever has no text: bytes, and values that are too long.
    Text(String),
    /// A sequence.
    Items(Vec<Identifier>),
}

impl Identifier {
    /// Reads what a peer sent in that transfer syntax.
    ///
    /// # Errors
    /// When its structure breaks a promise or a limit.
    pub fn read(bytes: &[u8], syntax: &TransferSyntaxUid) -> Result<Self, ScanError> {
        let mut reader = Cursor::new(bytes);
        collected(open_data_set(&mut reader, syntax, &LIMITS)?, &LIMITS)
    }

    /// Reads a DICOM file's attributes, without pixels and long values. Blocking.
    ///
    /// # Errors
    /// When it is no such file, or its structure breaks a promise or a limit.
    pub fn read_file(reader: &mut (impl Read + Seek)) -> Result<Self, ScanError> {
        let limits = ScanLimits::default();
        collected(open_file(reader, &limits)?, &limits)
    }

    /// The bytes in an uncompressed transfer syntax, and in the first character set that holds every text: the one that
    /// is `wanted`, as in Specific Character Set (0008,0005); plain ASCII; Latin-1; Unicode.
    #[must_use]
    pub fn encoded(&self, syntax: &TransferSyntaxUid, wanted: &str) -> Vec<u8> {
        let repertoire = Repertoire::holding(self, wanted);
        let mut whole = self.clone();
        match repertoire.declared() {
            "" => whole.elements.remove(&tags::SPECIFIC_CHARACTER_SET),
            declared => whole.elements.insert(
                tags::SPECIFIC_CHARACTER_SET,
                Element {
                    vr: VR::CS,
                    value: Content::Text(declared.to_owned()),
                },
            ),
        };
        let encoding = match syntax.as_str() {
            EXPLICIT_BE => Encoding::EXPLICIT_BE,
            other => encoding_of(other).map_or(Encoding::IMPLICIT_LE, |(encoding, _)| encoding),
        };
        let mut out = Vec::new();
        write(&whole, encoding, &repertoire, &mut out);
        out
    }

    /// The attribute with that tag.
    #[must_use]
    pub fn get(&self, tag: Tag) -> Option<&Element> {
        self.elements.get(&tag)
    }

    /// The attribute's text; `None` when it is absent, empty or a sequence.
    #[must_use]
    pub fn text(&self, tag: Tag) -> Option<&str> {
        match &self.elements.get(&tag)?.value {
            Content::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// The items of a sequence; none when it is absent.
    #[must_use]
    pub fn items(&self, tag: Tag) -> &[Self] {
        match self.elements.get(&tag).map(|element| &element.value) {
            Some(Content::Items(items)) => items,
            _ => &[],
        }
    }

    /// With this text, in the value representation of the standard's dictionary; `None` is an empty attribute.
    #[must_use]
    pub fn with(mut self, tag: Tag, text: Option<&str>) -> Self {
        self.put(
            tag,
            dictionary_vr(tag),
            Content::Text(text.unwrap_or_default().to_owned()),
        );
        self
    }

    /// With this sequence.
    #[must_use]
    pub fn with_items(mut self, tag: Tag, items: Vec<Self>) -> Self {
        self.put(tag, VR::SQ, Content::Items(items));
        self
    }

    /// Puts an attribute in its place.
    pub fn put(&mut self, tag: Tag, vr: VR, value: Content) {
        self.elements.insert(tag, Element { vr, value });
    }

    /// Every attribute, in the order of their tags.
    pub fn iter(&self) -> impl Iterator<Item = (Tag, &Element)> {
        self.elements.iter().map(|(tag, element)| (*tag, element))
    }

    /// Whether there is no attribute.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }
}

/// A data set or item that is being read, and the character set that it declares or inherits.
struct Open {
    tag: Tag,
    items: Vec<Identifier>,
    item: Identifier,
    charset: Charset,
}

fn collected(mut opened: Opened<'_>, limits: &ScanLimits) -> Result<Identifier, ScanError> {
    let mut walker = opened.walker(limits);
    let root = Open {
        tag: Tag(0, 0),
        items: Vec::new(),
        item: Identifier::default(),
        charset: Charset::declared(b""),
    };
    let mut open = vec![root];
    while let Some(token) = walker.next()? {
        let inherited = open
            .len()
            .checked_sub(2)
            .map(|outer| open[outer].charset.clone());
        let Some(inner) = open.last_mut() else { break };
        match token {
            Token::Element {
                tag, vr, length, ..
            } => element(inner, &mut walker, (tag, vr, length))?,
            Token::SequenceStart { tag } => {
                let charset = inner.charset.clone();
                open.push(Open {
                    tag,
                    items: Vec::new(),
                    item: Identifier::default(),
                    charset,
                });
            }
            Token::ItemStart => {
                if let Some(charset) = inherited {
                    inner.charset = charset;
                }
            }
            Token::ItemEnd => inner.items.push(std::mem::take(&mut inner.item)),
            Token::SequenceEnd if open.len() > 1 => {
                let ended = open.pop();
                if let (Some(ended), Some(outer)) = (ended, open.last_mut()) {
                    outer
                        .item
                        .put(ended.tag, VR::SQ, Content::Items(ended.items));
                }
            }
            Token::SequenceEnd
            | Token::FragmentsStart { .. }
            | Token::Fragment { .. }
            | Token::FragmentsEnd => {}
        }
    }
    Ok(open
        .into_iter()
        .next()
        .map(|root| root.item)
        .unwrap_or_default())
}

fn element(
    inner: &mut Open,
    walker: &mut Walker<'_, '_>,
    (tag, vr, length): (Tag, VR, u64),
) -> Result<(), ScanError> {
    // Group lengths are retired and say nothing; pixels are no key.
    if tag == PIXEL_DATA || tag.element() == 0 {
        return Ok(());
    }
    // A router that did not know an element wrote it as UN, in implicit little endian (PS3.5 section 6.2.2 note 2).
    let (vr, encoding) = match (vr, dictionary_vr(tag)) {
        (VR::UN, known) if known != VR::SQ => (known, Encoding::IMPLICIT_LE),
        _ => (vr, walker.encoding()),
    };
    let text = if length <= VALUE_BYTES_MAX && is_text_or_number(vr) {
        let bytes = walker.value(VALUE_BYTES_MAX)?;
        if tag == tags::SPECIFIC_CHARACTER_SET {
            inner.charset = Charset::declared(&bytes);
        }
        text_of(vr, &bytes, encoding, &inner.charset)
    } else {
        String::new()
    };
    inner.item.put(tag, vr, Content::Text(text));
    Ok(())
}

fn is_text_or_number(vr: VR) -> bool {
    is_text(vr) || number_bytes(vr).is_some()
}

/// Whether the value is text that Specific Character Set is about.
pub(crate) fn is_extended(vr: VR) -> bool {
    matches!(
        vr,
        VR::LO | VR::LT | VR::PN | VR::SH | VR::ST | VR::UC | VR::UT
    )
}

fn is_text(vr: VR) -> bool {
    is_extended(vr)
        || matches!(
            vr,
            VR::AE | VR::AS | VR::CS | VR::DA | VR::DS | VR::DT | VR::IS | VR::TM | VR::UI | VR::UR
        )
}

/// How long one number of that representation is.
fn number_bytes(vr: VR) -> Option<usize> {
    match vr {
        VR::US | VR::SS => Some(2),
        VR::UL | VR::SL | VR::FL | VR::AT => Some(4),
        VR::FD => Some(8),
        _ => None,
    }
}

fn text_of(vr: VR, bytes: &[u8], encoding: Encoding, charset: &Charset) -> String {
    if let Some(size) = number_bytes(vr) {
        let numbers: Vec<String> = bytes
            .chunks_exact(size)
            .map(|number| number_text(vr, number, encoding))
            .collect();
        return numbers.join("\\");
    }
    let text = if is_extended(vr) {
        charset.decode(bytes)
    } else {
        Charset::declared(b"").decode(bytes)
    };
    text.trim_end_matches(['\0', ' ']).to_owned()
}

fn number_text(vr: VR, bytes: &[u8], e: Encoding) -> String {
    let u16_at = |at: usize| e.u16([bytes[at], bytes[at + 1]]);
    // `bytes` has the length that `number_bytes` says.
    let u32_at = || e.u32([bytes[0], bytes[1], bytes[2], bytes[3]]);
    match vr {
        VR::US => u16_at(0).to_string(),
        VR::SS => u16_at(0).cast_signed().to_string(),
        VR::UL => u32_at().to_string(),
        VR::SL => u32_at().cast_signed().to_string(),
        VR::FL => f32::from_bits(u32_at()).to_string(),
        VR::AT => format!("{:04X}{:04X}", u16_at(0), u16_at(2)),
        _ => <[u8; 8]>::try_from(bytes)
            .map_or_else(|_| String::new(), |b| f64::from_bits(e.u64(b)).to_string()),
    }
}

fn write(data_set: &Identifier, encoding: Encoding, repertoire: &Repertoire, out: &mut Vec<u8>) {
    for (tag, element) in data_set.iter() {
        let value = match &element.value {
            Content::Items(items) => {
                let mut value = Vec::new();
                for item in items {
                    let mut inner = Vec::new();
                    write(item, encoding, repertoire, &mut inner);
                    tag_bytes(Tag(0xFFFE, 0xE000), encoding, &mut value);
                    value.extend_from_slice(&u32_bytes(inner.len(), encoding));
                    value.extend_from_slice(&inner);
                }
                value
            }
            Content::Text(text) => value_of(element.vr, text, encoding, repertoire),
        };
        // A length of 16 bits cannot say more; no legal value of such a representation is near it.
        let most = if is_long(element.vr) {
            usize::MAX
        } else {
            usize::from(u16::MAX - 1)
        };
        let value = &value[..value.len().min(most)];
        tag_bytes(tag, encoding, out);
        length_bytes(element.vr, value.len(), encoding, out);
        out.extend_from_slice(value);
    }
}

fn value_of(vr: VR, text: &str, e: Encoding, repertoire: &Repertoire) -> Vec<u8> {
    if number_bytes(vr).is_some() {
        let mut bytes = Vec::new();
        for number in text.split('\\').filter(|n| !n.is_empty()) {
            put_number(vr, number, e, &mut bytes);
        }
        return bytes;
    }
    let mut bytes = if is_extended(vr) {
        repertoire.bytes(text)
    } else {
        text.bytes().filter(u8::is_ascii).collect()
    };
    if bytes.len() % 2 == 1 {
        bytes.push(if vr == VR::UI { 0 } else { b' ' });
    }
    bytes
}

/// A text that is no such number is left out: what was read was one, and what is made here is too.
fn put_number(vr: VR, text: &str, e: Encoding, out: &mut Vec<u8>) {
    let mut put = |little: &[u8]| {
        let mut bytes = little.to_vec();
        if e.big_endian {
            bytes.reverse();
        }
        out.extend_from_slice(&bytes);
    };
    match vr {
        VR::US => put(&text.parse().unwrap_or(0_u16).to_le_bytes()),
        VR::SS => put(&text.parse().unwrap_or(0_i16).to_le_bytes()),
        VR::UL => put(&text.parse().unwrap_or(0_u32).to_le_bytes()),
        VR::SL => put(&text.parse().unwrap_or(0_i32).to_le_bytes()),
        VR::FL => put(&text.parse().unwrap_or(0_f32).to_le_bytes()),
        VR::FD => put(&text.parse().unwrap_or(0_f64).to_le_bytes()),
        _ => {
            let number = u32::from_str_radix(text, 16).unwrap_or(0);
            put(&((number >> 16) as u16).to_le_bytes()); // a tag's two halves, each in its own right
            put(&(number as u16).to_le_bytes());
        }
    }
}

fn tag_bytes(tag: Tag, encoding: Encoding, out: &mut Vec<u8>) {
    for half in [tag.group(), tag.element()] {
        out.extend_from_slice(&u16_bytes(half, encoding));
    }
}

/// Value representation, where it is said, and length (PS3.5 section 7.1).
fn length_bytes(vr: VR, length: usize, encoding: Encoding, out: &mut Vec<u8>) {
    if !encoding.explicit {
        out.extend_from_slice(&u32_bytes(length, encoding));
        return;
    }
    out.extend_from_slice(vr.to_string().as_bytes());
    if is_long(vr) {
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&u32_bytes(length, encoding));
    } else {
        out.extend_from_slice(&u16_bytes(length as u16, encoding)); // cut to fit
    }
}

/// Whether an explicit length has 32 bits.
fn is_long(vr: VR) -> bool {
    !(number_bytes(vr).is_some()
        || matches!(
            vr,
            VR::UI | VR::AE | VR::AS | VR::CS | VR::DA | VR::DS | VR::DT | VR::IS | VR::TM
        )
        || matches!(vr, VR::LO | VR::LT | VR::PN | VR::SH | VR::ST))
}

fn u16_bytes(number: u16, encoding: Encoding) -> [u8; 2] {
    if encoding.big_endian {
        number.to_be_bytes()
    } else {
        number.to_le_bytes()
    }
}

fn u32_bytes(number: usize, encoding: Encoding) -> [u8; 4] {
    let number = u32::try_from(number).unwrap_or(u32::MAX); // far below: identifiers are small
    if encoding.big_endian {
        number.to_be_bytes()
    } else {
        number.to_le_bytes()
    }
}

#[cfg(test)]
mod tests;
