//! The single character sets that code extensions are made of: those of the library, and two that it lacks.

use dicom_encoding::text::{SpecificCharacterSet, TextCodec};
use encoding_rs::EUC_JP;
use std::collections::HashMap;
use std::sync::LazyLock;

/// ISO 8859-15: where it is not ISO 8859-1, and what it has there.
const LATIN_9: [(u8, char); 8] = [
    (0xA4, '€'),
    (0xA6, 'Š'),
    (0xA8, 'š'),
    (0xB4, 'Ž'),
    (0xB8, 'ž'),
    (0xBC, 'Œ'),
    (0xBD, 'œ'),
    (0xBE, 'Ÿ'),
];
/// ISO 8859-9: where it is not ISO 8859-1, and what it has there.
const LATIN_5: [(u8, char); 6] = [
    (0xD0, 'Ğ'),
    (0xDD, 'İ'),
    (0xDE, 'Ş'),
    (0xF0, 'ğ'),
    (0xFD, 'ı'),
    (0xFE, 'ş'),
];
/// EUC-JP's prefix of a character of JIS X 0212.
const SINGLE_SHIFT_3: u8 = 0x8F;
/// The first and the last byte of a character in a set of 94 by 94.
const GRAPHIC: std::ops::RangeInclusive<u8> = 0x21..=0x7E;

/// One character set.
#[derive(Debug, Clone)]
pub(crate) enum Codec {
    /// One of the library's.
    Standard(SpecificCharacterSet),
    /// ISO 8859-1 but for these: ISO-IR 148 (ISO 8859-9) and ISO-IR 203 (ISO 8859-15).
    LatinBut(&'static [(u8, char)]),
    /// ISO-IR 159: JIS X 0212, two bytes a character.
    JisX0212,
}

impl Default for Codec {
    fn default() -> Self {
        Self::Standard(SpecificCharacterSet::default())
    }
}

impl Codec {
    /// By its defined term, with or without code extensions.
    pub(crate) fn named(term: &str) -> Option<Self> {
        match term {
            "ISO_IR 148" | "ISO 2022 IR 148" => Some(Self::LatinBut(&LATIN_5)),
            "ISO_IR 203" | "ISO 2022 IR 203" => Some(Self::LatinBut(&LATIN_9)),
            "ISO_IR 159" | "ISO 2022 IR 159" => Some(Self::JisX0212),
            term => SpecificCharacterSet::from_code(term).map(Self::Standard),
        }
    }

    /// Text; `None` for bytes that the set does not have.
    pub(crate) fn decode(&self, bytes: &[u8]) -> Option<String> {
        match self {
            Self::Standard(set) => set.decode(bytes).ok(),
            Self::LatinBut(own) => Some(bytes.iter().map(|b| latin(own, *b)).collect()),
            Self::JisX0212 => {
                let pairs = bytes.chunks(2).map(|pair| match pair {
                    [a, b] => jis_x_0212(*a, *b),
                    _ => None,
                });
                pairs.collect()
            }
        }
    }

    /// Bytes; `None` for text that the set does not hold.
    pub(crate) fn encode(&self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Standard(set) => set.encode(text).ok(),
            Self::LatinBut(own) => text.chars().map(|c| of_latin(own, c)).collect(),
            Self::JisX0212 => {
                let pairs: Option<Vec<[u8; 2]>> =
                    text.chars().map(|c| PAIRS.get(&c).copied()).collect();
                Some(pairs?.concat())
            }
        }
    }
}

fn latin(own: &[(u8, char)], byte: u8) -> char {
    let own = own.iter().find(|(at, _)| *at == byte);
    own.map_or(char::from(byte), |(_, c)| *c)
}

fn of_latin(own: &[(u8, char)], c: char) -> Option<u8> {
    let at = own.iter().find(|(_, own)| *own == c).map(|(at, _)| *at);
    at.or_else(|| u8::try_from(c).ok().filter(|byte| latin(own, *byte) == c))
}

fn jis_x_0212(a: u8, b: u8) -> Option<char> {
    if !GRAPHIC.contains(&a) || !GRAPHIC.contains(&b) {
        return None;
    }
    let euc = [SINGLE_SHIFT_3, a | 0x80, b | 0x80];
    let text = EUC_JP.decode_without_bom_handling_and_without_replacement(&euc)?;
    text.chars().next()
}

/// JIS X 0212 the other way round, which no encoder of the web writes.
static PAIRS: LazyLock<HashMap<char, [u8; 2]>> = LazyLock::new(|| {
    let all = GRAPHIC.flat_map(|a| GRAPHIC.map(move |b| [a, b]));
    let known = all.filter_map(|[a, b]| Some((jis_x_0212(a, b)?, [a, b])));
    known.collect()
});
