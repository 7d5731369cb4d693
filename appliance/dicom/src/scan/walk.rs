//! One step after another through a data set (PS3.5 section 7), without recursion and without believing a length.

use super::error::ScanError;
use super::limits::ScanLimits;
use super::source::Source;
use super::syntax::Encoding;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;

/// What a length field says when the end is marked by a delimiter.
const UNDEFINED: u32 = 0xFFFF_FFFF;
const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);
/// Pixel Data, at whatever depth: an icon has one too.
pub(crate) const PIXEL_DATA: Tag = Tag(0x7FE0, 0x0010);
/// Most padding after the data set. More is not padding.
const PADDING_BYTES_MAX: u64 = 64 * 1024;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// An element with a value, which [`Walker::value`] reads if it is wanted.
    Element {
        tag: Tag,
        vr: VR,
        length: u64,
        offset: u64,
    },
    SequenceStart {
        tag: Tag,
    },
    SequenceEnd,
    ItemStart,
    ItemEnd,
    /// Encapsulated pixel data begins; fragments follow.
    FragmentsStart {
        tag: Tag,
    },
    /// A fragment, the first being the basic offset table.
    Fragment {
        offset: u64,
        length: u64,
    },
    FragmentsEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    DataSet,
    Item,
    Sequence,
    Fragments,
}

struct Level {
    within: Within,
    /// Position of its end; `None` until a delimiter says so.
    end: Option<u64>,
    encoding: Encoding,
    /// The sequence that it is, or is an item of.
    tag: Tag,
}

/// Walks one data set from where the source stands.
pub(crate) struct Walker<'s, 'r> {
    source: &'s mut Source<'r>,
    limits: &'s ScanLimits,
    levels: Vec<Level>,
    /// Sequences among the levels.
    depth: usize,
    elements: u32,
    items: u32,
    fragments: usize,
    /// Bytes of the current value that nobody asked for.
    unread: u64,
    last: Tag,
}

struct ElementHeader {
    tag: Tag,
    vr: VR,
    length: u32,
}

impl<'s, 'r> Walker<'s, 'r> {
    pub(crate) fn new(
        source: &'s mut Source<'r>,
        encoding: Encoding,
        limits: &'s ScanLimits,
    ) -> Self {
        let root = Level {
            within: Within::DataSet,
            end: source.end(),
            encoding,
            tag: Tag(0, 0),
        };
        Self {
            source,
            limits,
            levels: vec![root],
            depth: 0,
            elements: 0,
            items: 0,
            fragments: 0,
            unread: 0,
            last: Tag(0, 0),
        }
    }

    /// Nesting of sequences around the next token: 0 is the data set itself.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// Elements seen so far, at every depth.
    pub(crate) fn elements(&self) -> u32 {
        self.elements
    }

    /// The encoding of what is around the next token.
    pub(crate) fn encoding(&self) -> Encoding {
        self.levels
            .last()
            .map_or(Encoding::EXPLICIT_LE, |l| l.encoding)
    }

    /// The group of the next element of the data set, without taking it; `None` at the end.
    pub(crate) fn next_group(&mut self) -> Result<Option<u16>, ScanError> {
        self.pass_value()?;
        let encoding = self.encoding();
        let bytes = self.source.peek(2)?;
        Ok(<[u8; 2]>::try_from(bytes).ok().map(|b| encoding.u16(b)))
    }

    /// The next step, or `None` at the end of the data set.
    pub(crate) fn next(&mut self) -> Result<Option<Token>, ScanError> {
        self.pass_value()?;
        // The root level is only left by returning `None`.
        let Some(level) = self.levels.last() else {
            return Ok(None);
        };
        let (within, position) = (level.within, self.source.position());
        match (within, level.end == Some(position)) {
            (Within::DataSet, true) => Ok(None),
            (_, true) => Ok(self.leave()),
            (Within::DataSet, false) if self.at_the_end()? => Ok(None),
            (Within::DataSet | Within::Item, false) => self.element(within),
            (Within::Sequence | Within::Fragments, false) => self.item(within),
        }
    }

    /// The value of the element just met, which is at most `max` bytes.
    pub(crate) fn value(&mut self, max: u64) -> Result<Vec<u8>, ScanError> {
        let length = self.unread;
        if length > max {
            let tag = self.last;
            return Err(ScanError::ValueTooLong { tag, max });
        }
        // Believable: at most `max`, and the file has been seen to have it where that can be seen.
        let mut value = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.unread = 0;
        self.take(&mut value)?;
        Ok(value)
    }

    fn pass_value(&mut self) -> Result<(), ScanError> {
        let claimed = std::mem::take(&mut self.unread);
        let present = self.source.skip(claimed)?;
        if present < claimed {
            let tag = self.last;
            return Err(ScanError::Truncated {
                tag,
                claimed,
                present,
            });
        }
        Ok(())
    }

    /// Whether only padding is left, or nothing at all. Some writers fill the last block with zeros.
    fn at_the_end(&mut self) -> Result<bool, ScanError> {
        let next = self.source.peek(8)?;
        if next.len() == 8 && next.iter().any(|b| *b != 0) {
            return Ok(false);
        }
        let padding = next.iter().all(|b| *b == 0);
        let mut rest = [0; 1024];
        let mut length = 0;
        while padding && length <= PADDING_BYTES_MAX {
            let got = self.source.read(&mut rest)?;
            if got == 0 {
                return Ok(true);
            }
            if rest[..got].iter().any(|b| *b != 0) {
                break;
            }
            length += got as u64;
        }
        Err(ScanError::TrailingBytes { tag: self.last })
    }

    fn element(&mut self, within: Within) -> Result<Option<Token>, ScanError> {
        let header = self.element_header()?;
        let (tag, encoding) = (header.tag, self.encoding());
        if tag == ITEM_END && within == Within::Item && self.ends_by_delimiter() {
            return Ok(self.leave());
        }
        if tag.group() == 0xFFFE {
            return Err(ScanError::Misplaced { tag });
        }
        self.elements += 1;
        if self.elements > self.limits.elements_max {
            let max = self.limits.elements_max;
            return Err(ScanError::TooManyElements { max });
        }
        match (header.vr, header.length) {
            (_, UNDEFINED) if tag == PIXEL_DATA => {
                self.enter(Within::Fragments, tag, None, encoding)?;
                Ok(Some(Token::FragmentsStart { tag }))
            }
            // PS3.5 section 6.2.2 note 4: unknown with undefined length is a sequence in implicit VR little endian.
            (VR::UN, UNDEFINED) => self.sequence(tag, None, Encoding::IMPLICIT_LE),
            (VR::SQ, UNDEFINED) => self.sequence(tag, None, encoding),
            (VR::SQ, length) => self.sequence(tag, Some(length), encoding),
            (_, UNDEFINED) => Err(ScanError::UndefinedLength { tag }),
            (vr, length) => {
                let length = self.claim(tag, length)?;
                self.unread = length;
                let offset = self.source.position();
                Ok(Some(Token::Element {
                    tag,
                    vr,
                    length,
                    offset,
                }))
            }
        }
    }

    fn sequence(
        &mut self,
        tag: Tag,
        length: Option<u32>,
        encoding: Encoding,
    ) -> Result<Option<Token>, ScanError> {
        self.enter(Within::Sequence, tag, length, encoding)?;
        Ok(Some(Token::SequenceStart { tag }))
    }

    fn item(&mut self, within: Within) -> Result<Option<Token>, ScanError> {
        let mut bytes = [0; 8];
        self.take(&mut bytes)?;
        let encoding = self.encoding();
        let (tag, length) = tag_and_length(bytes, encoding);
        if tag == SEQUENCE_END && self.ends_by_delimiter() {
            return Ok(self.leave());
        }
        if tag != ITEM {
            return Err(ScanError::Misplaced { tag });
        }
        if within == Within::Fragments {
            self.fragments += 1;
            if self.fragments > self.limits.fragments_max {
                let max = self.limits.fragments_max;
                return Err(ScanError::TooManyFragments { max });
            }
            let length = self.claim(PIXEL_DATA, length)?;
            self.unread = length;
            let offset = self.source.position();
            return Ok(Some(Token::Fragment { offset, length }));
        }
        self.items += 1;
        if self.items > self.limits.items_max {
            let max = self.limits.items_max;
            return Err(ScanError::TooManyItems { max });
        }
        let length = (length != UNDEFINED).then_some(length);
        let sequence = self.levels.last().map_or(ITEM, |l| l.tag);
        self.enter(Within::Item, sequence, length, encoding)?;
        Ok(Some(Token::ItemStart))
    }

    fn ends_by_delimiter(&self) -> bool {
        self.levels.last().is_some_and(|l| l.end.is_none())
    }

    /// Goes one level down. A length is a promise about what is there, so it must fit into what holds it.
    fn enter(
        &mut self,
        within: Within,
        tag: Tag,
        length: Option<u32>,
        encoding: Encoding,
    ) -> Result<(), ScanError> {
        let end = match length {
            Some(length) => Some(self.source.position() + self.claim(tag, length)?),
            None => None,
        };
        if within == Within::Sequence {
            self.depth += 1;
        }
        if self.depth > self.limits.nesting_max {
            let max = self.limits.nesting_max;
            return Err(ScanError::TooDeep { tag, max });
        }
        self.levels.push(Level {
            within,
            end,
            encoding,
            tag,
        });
        Ok(())
    }

    fn leave(&mut self) -> Option<Token> {
        let level = self.levels.pop()?;
        match level.within {
            Within::DataSet => None,
            Within::Item => Some(Token::ItemEnd),
            Within::Fragments => Some(Token::FragmentsEnd),
            Within::Sequence => {
                self.depth -= 1;
                Some(Token::SequenceEnd)
            }
        }
    }

    /// A claimed length, once it is seen to fit into what holds it.
    fn claim(&self, tag: Tag, length: u32) -> Result<u64, ScanError> {
        let claimed = u64::from(length);
        let position = self.source.position();
        match self.bound() {
            Some(end) if claimed > end.saturating_sub(position) => Err(ScanError::Truncated {
                tag,
                claimed,
                present: end.saturating_sub(position),
            }),
            _ => Ok(claimed),
        }
    }

    /// The nearest known end around the source's position.
    fn bound(&self) -> Option<u64> {
        // Every known end was checked against the ones around it, so the innermost is the least.
        self.levels.iter().rev().find_map(|l| l.end)
    }

    fn take(&mut self, into: &mut [u8]) -> Result<(), ScanError> {
        let (tag, claimed) = (self.last, into.len() as u64);
        let left = self
            .bound()
            .map_or(u64::MAX, |end| end.saturating_sub(self.source.position()));
        let present = if left < claimed {
            left
        } else {
            self.source.read(into)? as u64
        };
        if present == claimed {
            return Ok(());
        }
        let unended = self
            .levels
            .last()
            .filter(|l| present == 0 && l.end.is_none());
        match unended {
            Some(level) if level.within != Within::DataSet => {
                Err(ScanError::Unended { tag: level.tag })
            }
            _ => Err(ScanError::Truncated {
                tag,
                claimed,
                present,
            }),
        }
    }

    fn element_header(&mut self) -> Result<ElementHeader, ScanError> {
        let encoding = self.encoding();
        let mut bytes = [0; 8];
        self.take(&mut bytes)?;
        let (tag, length) = tag_and_length(bytes, encoding);
        self.last = tag;
        let [_, _, _, _, v0, v1, l0, l1] = bytes;
        // Delimiters have no representation. Neither have elements of writers that slip into implicit encoding within an
        // explicit data set, as some old ones do: their first length bytes are no capital letters.
        if tag.group() == 0xFFFE
            || !encoding.explicit
            || !(v0.is_ascii_uppercase() && v1.is_ascii_uppercase())
        {
            let vr = dictionary_vr(tag);
            return Ok(ElementHeader { tag, vr, length });
        }
        // PS3.5 section 6.2: a representation that is not known has the form of UN.
        let vr = VR::from_binary([v0, v1]).unwrap_or(VR::UN);
        if !is_long(vr) {
            let length = u32::from(encoding.u16([l0, l1]));
            return Ok(ElementHeader { tag, vr, length });
        }
        let mut bytes = [0; 4];
        self.take(&mut bytes)?;
        let length = encoding.u32(bytes);
        Ok(ElementHeader { tag, vr, length })
    }
}

fn tag_and_length(bytes: [u8; 8], encoding: Encoding) -> (Tag, u32) {
    let [g0, g1, e0, e1, l @ ..] = bytes;
    let tag = Tag(encoding.u16([g0, g1]), encoding.u16([e0, e1]));
    (tag, encoding.u32(l))
}

/// Whether a value representation has two reserved bytes and a 32-bit length in explicit encoding (PS3.5 section 7.1.2).
pub(crate) fn is_long(vr: VR) -> bool {
    use VR::{OB, OD, OF, OL, OV, OW, SQ, SV, UC, UN, UR, UT, UV};
    matches!(
        vr,
        OB | OD | OF | OL | OV | OW | SQ | SV | UC | UN | UR | UT | UV
    )
}

/// Whether the dictionary leaves it to Pixel Representation (0028,0103) whether an element is US or SS (PS3.5 section A.1).
pub(crate) fn is_of_either_sign(tag: Tag) -> bool {
    StandardDataDictionary
        .by_tag(tag)
        .is_some_and(|entry| entry.vr() == VirtualVr::Xs)
}

/// The representation that the dictionary has for an element, UN when it has none; US for those of either sign.
pub(crate) fn dictionary_vr(tag: Tag) -> VR {
    // Group lengths are in no dictionary, and always UL.
    if tag.element() == 0 {
        return VR::UL;
    }
    StandardDataDictionary
        .by_tag(tag)
        .map_or(VR::UN, |entry| entry.vr().relaxed())
}
