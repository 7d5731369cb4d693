//! A source on its way from the process that read it: a list of typed values, in which nothing nests by itself.

use super::{PIXEL_GROUP, Source};
use crate::scan::{ELEMENTS_MAX, ITEMS_MAX, NESTING_MAX};
use crate::write::DataSet;
use dicom_core::header::Length;
use dicom_core::value::{C, PrimitiveValue, Value};
use dicom_core::{DataElement, Tag, VR};
use dicom_object::mem::InMemElement;
use serde::{Deserialize, Serialize};

/// The most bytes that a source may cross in. An enhanced object of ten thousand frames has some 8 MiB.
pub const CROSSING_BYTES_MAX: usize = 32 << 20;

/// What came is no source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CrossingError {
    /// It has more bytes, elements or depth than may be.
    #[error("its header is larger than may be handed on")]
    TooLarge,
    /// It is not what a reader writes.
    #[error("its header was not handed on whole")]
    Malformed,
}

/// Group and element number.
type TagNumber = (u16, u16);

/// One step of a data set.
#[derive(Debug, Serialize, Deserialize)]
enum Piece {
    Element(TagNumber, [u8; 2], Bare),
    Sequence(TagNumber),
    Item,
    ItemEnd,
    SequenceEnd,
}

/// A value of an element, in the kinds that a scan makes.
#[derive(Debug, Serialize, Deserialize)]
enum Bare {
    Empty,
    Text(String),
    Texts(Vec<String>),
    Tags(Vec<TagNumber>),
    U8(Vec<u8>),
    I16(Vec<i16>),
    U16(Vec<u16>),
    I32(Vec<i32>),
    U32(Vec<u32>),
    I64(Vec<i64>),
    U64(Vec<u64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Source {
    /// The source as bytes for [`Source::from_bytes`].
    ///
    /// # Errors
    /// [`CrossingError::TooLarge`] beyond [`CROSSING_BYTES_MAX`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, CrossingError> {
        let mut bytes = Vec::new();
        written(&self.data_set, &mut bytes)?;
        Ok(bytes)
    }

    /// The source that these bytes are.
    ///
    /// # Errors
    /// When they are none. They may come from a process that a stranger has taken over: nothing in them is believed, and no
    /// more memory is taken than a source may have.
    pub fn from_bytes(mut bytes: &[u8]) -> Result<Self, CrossingError> {
        if bytes.len() > CROSSING_BYTES_MAX {
            return Err(CrossingError::TooLarge);
        }
        let mut rebuilt = Rebuilt {
            root: Elements::new(),
            open: Vec::new(),
            elements: 0,
            items: 0,
        };
        while !bytes.is_empty() {
            let taken = postcard::take_from_bytes(bytes);
            let (piece, rest) = taken.map_err(|_| CrossingError::Malformed)?;
            rebuilt.put(piece)?;
            bytes = rest;
        }
        let data_set = rebuilt.whole()?;
        Self::identified(data_set).map_err(|_| CrossingError::Malformed)
    }
}

fn written(data_set: &DataSet, to: &mut Vec<u8>) -> Result<(), CrossingError> {
    for element in data_set {
        let header = element.header();
        let tag = (header.tag.group(), header.tag.element());
        match element.value() {
            Value::Primitive(value) => {
                put(&Piece::Element(tag, header.vr.to_bytes(), bare(value)), to)?;
            }
            Value::Sequence(items) => {
                put(&Piece::Sequence(tag), to)?;
                for item in items.items() {
                    put(&Piece::Item, to)?;
                    written(item, to)?;
                    put(&Piece::ItemEnd, to)?;
                }
                put(&Piece::SequenceEnd, to)?;
            }
            // A source has no pixels.
            Value::PixelSequence(_) => {}
        }
    }
    Ok(())
}

fn put(piece: &Piece, to: &mut Vec<u8>) -> Result<(), CrossingError> {
    let bytes = postcard::to_extend(piece, std::mem::take(to));
    *to = bytes.map_err(|_| CrossingError::Malformed)?;
    if to.len() > CROSSING_BYTES_MAX {
        return Err(CrossingError::TooLarge);
    }
    Ok(())
}

fn bare(value: &PrimitiveValue) -> Bare {
    match value {
        PrimitiveValue::Empty => Bare::Empty,
        PrimitiveValue::Str(text) => Bare::Text(text.clone()),
        PrimitiveValue::Strs(texts) => Bare::Texts(texts.to_vec()),
        PrimitiveValue::Tags(tags) => {
            Bare::Tags(tags.iter().map(|t| (t.group(), t.element())).collect())
        }
        PrimitiveValue::U8(all) => Bare::U8(all.to_vec()),
        PrimitiveValue::I16(all) => Bare::I16(all.to_vec()),
        PrimitiveValue::U16(all) => Bare::U16(all.to_vec()),
        PrimitiveValue::I32(all) => Bare::I32(all.to_vec()),
        PrimitiveValue::U32(all) => Bare::U32(all.to_vec()),
        PrimitiveValue::I64(all) => Bare::I64(all.to_vec()),
        PrimitiveValue::U64(all) => Bare::U64(all.to_vec()),
        PrimitiveValue::F32(all) => Bare::F32(all.to_vec()),
        PrimitiveValue::F64(all) => Bare::F64(all.to_vec()),
        // A scan keeps dates and times as the texts that they are in the file.
        dates => Bare::Texts(dates.to_multi_str().to_vec()),
    }
}

fn primitive(bare: Bare) -> PrimitiveValue {
    match bare {
        Bare::Empty => PrimitiveValue::Empty,
        Bare::Text(text) => PrimitiveValue::Str(text),
        Bare::Texts(texts) => PrimitiveValue::Strs(C::from_vec(texts)),
        Bare::Tags(tags) => {
            PrimitiveValue::Tags(tags.into_iter().map(|(g, e)| Tag(g, e)).collect())
        }
        Bare::U8(all) => PrimitiveValue::U8(C::from_vec(all)),
        Bare::I16(all) => PrimitiveValue::I16(C::from_vec(all)),
        Bare::U16(all) => PrimitiveValue::U16(C::from_vec(all)),
        Bare::I32(all) => PrimitiveValue::I32(C::from_vec(all)),
        Bare::U32(all) => PrimitiveValue::U32(C::from_vec(all)),
        Bare::I64(all) => PrimitiveValue::I64(C::from_vec(all)),
        Bare::U64(all) => PrimitiveValue::U64(C::from_vec(all)),
        Bare::F32(all) => PrimitiveValue::F32(C::from_vec(all)),
        Bare::F64(all) => PrimitiveValue::F64(C::from_vec(all)),
    }
}

/// What becomes a data set in one go, as a reader makes one: an element that is put into a data set that is there counts as a
/// change to it, a character set above all.
type Elements = Vec<InMemElement>;

/// A data set that is being put together again.
struct Rebuilt {
    root: Elements,
    /// The sequences around the next element, the innermost last.
    open: Vec<Open>,
    elements: u32,
    items: u32,
}

struct Open {
    tag: Tag,
    items: Vec<DataSet>,
    item: Option<Elements>,
}

impl Rebuilt {
    fn put(&mut self, piece: Piece) -> Result<(), CrossingError> {
        match piece {
            Piece::Element((group, element), vr, value) => {
                counted(&mut self.elements, ELEMENTS_MAX)?;
                let tag = allowed(Tag(group, element))?;
                let vr = VR::from_binary(vr).filter(|vr| *vr != VR::SQ);
                let vr = vr.ok_or(CrossingError::Malformed)?;
                let element = DataElement::new(tag, vr, primitive(value));
                self.elements()?.push(element);
            }
            Piece::Sequence((group, element)) => {
                counted(&mut self.elements, ELEMENTS_MAX)?;
                self.elements()?;
                if self.open.len() >= NESTING_MAX {
                    return Err(CrossingError::TooLarge);
                }
                self.open.push(Open {
                    tag: allowed(Tag(group, element))?,
                    items: Vec::new(),
                    item: None,
                });
            }
            Piece::Item => {
                counted(&mut self.items, ITEMS_MAX)?;
                let open = self.open.last_mut().filter(|open| open.item.is_none());
                open.ok_or(CrossingError::Malformed)?.item = Some(Elements::new());
            }
            Piece::ItemEnd => {
                let open = self.open.last_mut().ok_or(CrossingError::Malformed)?;
                let item = open.item.take().ok_or(CrossingError::Malformed)?;
                open.items.push(DataSet::from_element_iter(item));
            }
            Piece::SequenceEnd => {
                let open = self.open.pop().filter(|open| open.item.is_none());
                let open = open.ok_or(CrossingError::Malformed)?;
                let sequence = Value::new_sequence(open.items, Length::UNDEFINED);
                self.elements()?
                    .push(DataElement::new(open.tag, VR::SQ, sequence));
            }
        }
        Ok(())
    }

    /// Where the next element goes: the innermost item. Between two items there is no place for one.
    fn elements(&mut self) -> Result<&mut Elements, CrossingError> {
        match self.open.last_mut() {
            Some(open) => open.item.as_mut().ok_or(CrossingError::Malformed),
            None => Ok(&mut self.root),
        }
    }

    fn whole(self) -> Result<DataSet, CrossingError> {
        match self.open.is_empty() {
            true => Ok(DataSet::from_element_iter(self.root)),
            false => Err(CrossingError::Malformed),
        }
    }
}

/// What a source never has: pixels.
fn allowed(tag: Tag) -> Result<Tag, CrossingError> {
    match tag < PIXEL_GROUP {
        true => Ok(tag),
        false => Err(CrossingError::Malformed),
    }
}

fn counted(count: &mut u32, max: u32) -> Result<(), CrossingError> {
    *count += 1;
    match *count <= max {
        true => Ok(()),
        false => Err(CrossingError::TooLarge),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tests::source_named;
    use crate::write::{sequence, text};
    use dicom_dictionary_std::tags;

    fn element(tag: Tag, vr: VR, value: PrimitiveValue) -> InMemElement {
        DataElement::new(tag, vr, value)
    }

    #[test]
    fn a_source_crosses_with_every_kind_of_value_at_every_depth() {
        let mut source = source_named(b"ISO_IR 100", b"M\xfcller^A\\B");
        let mut inner = DataSet::new_empty();
        for value in [
            element(
                tags::ROWS,
                VR::US,
                PrimitiveValue::U16(C::from_vec(vec![3, 4])),
            ),
            element(
                tags::TAG_ANGLE_SECOND_AXIS,
                VR::SS,
                PrimitiveValue::I16(C::from_vec(vec![-3])),
            ),
            element(
                tags::SIMPLE_FRAME_LIST,
                VR::UL,
                PrimitiveValue::U32(C::from_vec(vec![70_000])),
            ),
            element(
                tags::REFERENCE_PIXEL_X0,
                VR::SL,
                PrimitiveValue::I32(C::from_vec(vec![-70_000])),
            ),
            element(
                tags::SELECTOR_UV_VALUE,
                VR::UV,
                PrimitiveValue::U64(C::from_vec(vec![1 << 40])),
            ),
            element(
                tags::SELECTOR_SV_VALUE,
                VR::SV,
                PrimitiveValue::I64(C::from_vec(vec![-(1 << 40)])),
            ),
            element(
                tags::SELECTOR_FL_VALUE,
                VR::FL,
                PrimitiveValue::F32(C::from_vec(vec![0.5])),
            ),
            element(
                tags::SELECTOR_FD_VALUE,
                VR::FD,
                PrimitiveValue::F64(C::from_vec(vec![0.25])),
            ),
            element(
                tags::SELECTOR_AT_VALUE,
                VR::AT,
                PrimitiveValue::Tags(C::from_vec(vec![tags::ROWS])),
            ),
            element(
                tags::ICC_PROFILE,
                VR::OB,
                PrimitiveValue::U8(C::from_vec(vec![1, 2, 3])),
            ),
            element(
                tags::PATIENT_COMMENTS,
                VR::LT,
                PrimitiveValue::Str("a\\b".into()),
            ),
            element(tags::PATIENT_ID, VR::LO, PrimitiveValue::Empty),
        ] {
            inner.put(value);
        }
        let outer = sequence(
            tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
            vec![inner.clone(), DataSet::new_empty()],
        );
        let middle = DataSet::from_element_iter([outer, text(tags::STUDY_ID, VR::SH, "7")]);
        source.data_set.put(sequence(
            tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
            vec![middle],
        ));
        source
            .data_set
            .put(sequence(tags::REQUEST_ATTRIBUTES_SEQUENCE, vec![]));
        let crossed = Source::from_bytes(&source.to_bytes().unwrap()).unwrap();
        // Two lengths that are undefined are never equal; what is printed has every field.
        let whole = |source: &Source| format!("{:?}", source.data_set);
        assert_eq!(whole(&crossed), whole(&source));
        assert_eq!(
            (
                crossed.study(),
                crossed.series(),
                crossed.instance(),
                crossed.sop_class(),
                crossed.frames()
            ),
            (
                source.study(),
                source.series(),
                source.instance(),
                source.sop_class(),
                source.frames()
            )
        );
    }

    fn bytes_of(pieces: &[Piece]) -> Vec<u8> {
        let mut bytes = Vec::new();
        pieces
            .iter()
            .for_each(|piece| put(piece, &mut bytes).unwrap());
        bytes
    }

    #[test]
    fn what_no_reader_writes_is_no_source() {
        let begun = || source_named(b"", b"A").to_bytes().unwrap();
        assert!(Source::from_bytes(&begun()).is_ok());
        let sequence = || Piece::Sequence((0x0040, 0x0275));
        let value = |tag, vr: &[u8; 2]| Piece::Element(tag, *vr, Bare::Empty);
        for (pieces, due) in [
            (vec![sequence()], CrossingError::Malformed),
            (
                vec![sequence(), Piece::Item, Piece::SequenceEnd],
                CrossingError::Malformed,
            ),
            (
                vec![sequence(), value((0x0010, 0x0020), b"LO")],
                CrossingError::Malformed,
            ),
            (vec![sequence(), sequence()], CrossingError::Malformed),
            (
                vec![sequence(), Piece::Item, Piece::Item],
                CrossingError::Malformed,
            ),
            (vec![Piece::Item], CrossingError::Malformed),
            (vec![Piece::ItemEnd], CrossingError::Malformed),
            (vec![Piece::SequenceEnd], CrossingError::Malformed),
            (
                vec![value((0x7fe0, 0x0010), b"OB")],
                CrossingError::Malformed,
            ),
            (
                vec![value((0x0010, 0x0020), b"SQ")],
                CrossingError::Malformed,
            ),
            (
                vec![value((0x0010, 0x0020), b"??")],
                CrossingError::Malformed,
            ),
            (
                (0..=NESTING_MAX)
                    .flat_map(|_| [sequence(), Piece::Item])
                    .collect(),
                CrossingError::TooLarge,
            ),
        ] {
            let bytes = [begun(), bytes_of(&pieces)].concat();
            assert_eq!(Source::from_bytes(&bytes).unwrap_err(), due, "{pieces:?}");
        }
        let cut = &begun()[..begun().len() - 1];
        assert_eq!(
            Source::from_bytes(cut).unwrap_err(),
            CrossingError::Malformed
        );
        assert_eq!(
            Source::from_bytes(b"").unwrap_err(),
            CrossingError::Malformed,
            "it says not what it is"
        );
        let long = vec![0; CROSSING_BYTES_MAX + 1];
        assert_eq!(
            Source::from_bytes(&long).unwrap_err(),
            CrossingError::TooLarge
        );
        let mut many = begun();
        let (item, end) = (bytes_of(&[Piece::Item]), bytes_of(&[Piece::ItemEnd]));
        many.extend(bytes_of(&[sequence()]));
        (0..=ITEMS_MAX).for_each(|_| many.extend(item.iter().chain(&end)));
        assert_eq!(
            Source::from_bytes(&many).unwrap_err(),
            CrossingError::TooLarge
        );
    }
}
