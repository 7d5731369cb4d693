//! Lookup tables (PS3.3 sections C.7.6.3.1.5, C.7.9 and C.11): modality, VOI and palette alike.

use super::error::Fault;
use dicom_core::value::PrimitiveValue;
use dicom_core::{DicomValue, Tag};
use dicom_object::InMemDicomObject;

/// Most entries that a descriptor can name.
const ENTRIES_MAX: usize = 65_536;
const STEP: &str = "lookup table";

/// A table from stored values to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    /// The stored value of the first entry; below it the first entry counts, above the last entry the last one.
    first: i64,
    entries: Vec<u16>,
    /// Bits of an entry, 8 to 16.
    pub(crate) bits: u32,
}

impl Table {
    /// From a descriptor and its data, where both are there.
    pub(crate) fn of(
        object: &InMemDicomObject,
        descriptor: Tag,
        data: Tag,
        signed: bool,
    ) -> Result<Option<Self>, Fault> {
        let (Some(shape), Some(data)) =
            (Shape::of(object, descriptor, signed)?, words(object, data))
        else {
            return Ok(None);
        };
        let entries = shape.entries(data)?;
        Ok(Some(shape.table(entries)))
    }

    /// From a descriptor and segmented data (section C.7.9.2), where both are there.
    pub(crate) fn of_segments(
        object: &InMemDicomObject,
        descriptor: Tag,
        data: Tag,
        signed: bool,
    ) -> Result<Option<Self>, Fault> {
        let (Some(shape), Some(data)) =
            (Shape::of(object, descriptor, signed)?, words(object, data))
        else {
            return Ok(None);
        };
        let mut segments = Segments {
            data: shape.cells(data),
            entries: Vec::new(),
        };
        segments.expand()?;
        if segments.entries.len() < shape.count {
            return Err(Fault::new(
                STEP,
                "the segments have fewer entries than the descriptor says",
            ));
        }
        segments.entries.truncate(shape.count);
        let entries = segments.entries;
        Ok(Some(shape.table(entries)))
    }

    /// The entry for a stored value.
    pub(crate) fn at(&self, stored: i64) -> u16 {
        let last = self.entries.len() as i64 - 1;
        // Between 0 and the last index.
        let index = (stored - self.first).clamp(0, last.max(0)) as usize;
        self.entries.get(index).copied().unwrap_or(0)
    }
}

struct Shape {
    count: usize,
    first: i64,
    bits: u32,
}

impl Shape {
    fn of(object: &InMemDicomObject, tag: Tag, signed: bool) -> Result<Option<Self>, Fault> {
        let Some(element) = object.get(tag) else {
            return Ok(None);
        };
        let wrong = || Fault::new(STEP, "the descriptor is not three numbers");
        let values = element.to_multi_int::<i32>().map_err(|_| wrong())?;
        let [count, first, bits] = values[..] else {
            return Err(wrong());
        };
        // The first value is unsigned whatever the descriptor's own representation; 0 stands for 65,536.
        let count = match usize::from(count as u16) {
            0 => ENTRIES_MAX,
            count => count,
        };
        // The second has the sign of the pixels, even where implicit encoding lost it.
        let first = if signed {
            i64::from(first as u16 as i16)
        } else {
            i64::from(first)
        };
        match u32::try_from(bits) {
            Ok(bits @ 8..=16) => Ok(Some(Self { count, first, bits })),
            _ => Err(Fault::new(
                STEP,
                "the descriptor asks for other than 8 to 16 bits",
            )),
        }
    }

    /// Data cell by cell. 8-bit entries may stand two in a word.
    fn cells(&self, data: Words) -> Vec<u16> {
        match data {
            Words::Two(words) => words,
            Words::One(bytes) if self.bits == 8 => bytes.into_iter().map(u16::from).collect(),
            Words::One(bytes) => pairs(&bytes),
        }
    }

    fn entries(&self, data: Words) -> Result<Vec<u16>, Fault> {
        let mut entries = match data {
            Words::Two(words) if words.len() < self.count && self.bits == 8 => words
                .iter()
                .flat_map(|w| w.to_le_bytes())
                .map(u16::from)
                .collect(),
            Words::One(bytes) if bytes.len() >= 2 * self.count => pairs(&bytes),
            other => self.cells(other),
        };
        if entries.len() < self.count {
            return Err(Fault::new(
                STEP,
                "there are fewer entries than the descriptor says",
            ));
        }
        entries.truncate(self.count);
        Ok(entries)
    }

    fn table(&self, entries: Vec<u16>) -> Table {
        Table {
            first: self.first,
            entries,
            bits: self.bits,
        }
    }
}

enum Words {
    One(Vec<u8>),
    Two(Vec<u16>),
}

fn words(object: &InMemDicomObject, tag: Tag) -> Option<Words> {
    match object.get(tag)?.value() {
        DicomValue::Primitive(PrimitiveValue::U16(words)) => Some(Words::Two(words.to_vec())),
        DicomValue::Primitive(PrimitiveValue::I16(words)) => Some(Words::Two(
            words.iter().map(|w| w.cast_unsigned()).collect(),
        )),
        DicomValue::Primitive(PrimitiveValue::U8(bytes)) => Some(Words::One(bytes.to_vec())),
        _ => None,
    }
}

fn pairs(bytes: &[u8]) -> Vec<u16> {
    bytes
        .as_chunks::<2>()
        .0
        .iter()
        .map(|p| u16::from_le_bytes(*p))
        .collect()
}

/// Segmented data being expanded.
struct Segments {
    data: Vec<u16>,
    entries: Vec<u16>,
}

impl Segments {
    fn expand(&mut self) -> Result<(), Fault> {
        let mut at = 0;
        while self.data.len() - at >= 2 && self.entries.len() < ENTRIES_MAX {
            at = if self.data[at] == 2 {
                self.repeat(at)?
            } else {
                self.segment(at)?
            };
        }
        Ok(())
    }

    /// A discrete or a linear segment at `at`; where the next one begins.
    fn segment(&mut self, at: usize) -> Result<usize, Fault> {
        let broken = || Fault::new(STEP, "a segment is not one of section C.7.9.2");
        let [kind, length] = *self
            .data
            .get(at..)
            .and_then(|d| d.first_chunk())
            .ok_or_else(broken)?;
        let (at, length) = (at + 2, usize::from(length));
        match kind {
            0 => {
                let values = self.data.get(at..at + length).ok_or_else(broken)?;
                self.entries.extend_from_slice(values);
                Ok(at + length)
            }
            1 => {
                let end = f64::from(*self.data.get(at).ok_or_else(broken)?);
                let start = f64::from(*self.entries.last().ok_or_else(broken)?);
                let step = (end - start) / length as f64;
                // Between two entries, so it is one.
                let value = |i: usize| (start + step * i as f64).round() as u16;
                self.entries.extend((1..=length).map(value));
                Ok(at + 1)
            }
            _ => Err(broken()),
        }
    }

    /// An indirect segment: earlier segments again, which may not be indirect themselves.
    fn repeat(&mut self, at: usize) -> Result<usize, Fault> {
        let broken = || Fault::new(STEP, "an indirect segment leads nowhere");
        let [_, count, low, high] = *self
            .data
            .get(at..)
            .and_then(|d| d.first_chunk())
            .ok_or_else(broken)?;
        let mut from = usize::from(low) | usize::from(high) << 16;
        for _ in 0..count {
            if self.entries.len() >= ENTRIES_MAX {
                break;
            }
            if from >= at {
                return Err(broken());
            }
            from = self.segment(from)?;
        }
        Ok(at + 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_expand() {
        let mut segments = Segments {
            data: vec![0, 1, 0, 1, 4, 8, 0, 2, 1, 1, 2, 2, 0, 0],
            entries: Vec::new(),
        };
        segments.expand().expect("expands");
        assert_eq!(segments.entries, [0, 2, 4, 6, 8, 1, 1, 0, 2, 4, 6, 8]);
        for data in [
            vec![3, 1],
            vec![1, 1, 1],
            vec![0, 9, 1],
            vec![2, 1, 0, 0],
            vec![2, 1, 0],
        ] {
            let mut segments = Segments {
                data,
                entries: Vec::new(),
            };
            assert!(segments.expand().is_err());
        }
    }
}
