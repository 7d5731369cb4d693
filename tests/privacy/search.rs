//! Looks for marked texts in bytes, however they are written there: plain, in other alphabets, reversed, shifted by bits,
//! combined with a key of one byte, compressed, in fragments. What it cannot see (a hash, a bit in a counter, a moment) the
//! comparison of two lives sees.

use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};
use std::collections::{HashMap, HashSet};
use std::io::Read as _;

/// The most that a compressed stream is unpacked to.
const UNPACKED_MAX_BYTES: u64 = 1 << 20;
/// How deep streams in streams are unpacked.
const DEPTH_MAX: usize = 2;
/// In longer texts compressed streams without a head are not looked for: each byte could begin one.
const HEADLESS_MAX_BYTES: usize = 64 << 10;
/// A fragment of a mark, and how many different ones are no accident.
const FRAGMENT_BYTES: usize = 4;
const FRAGMENTS_MIN: usize = 3;

/// A mark that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) mark: String,
    /// How it was written.
    pub(crate) written: &'static str,
}

/// A mark for this place: twelve characters that are nowhere by accident.
pub(crate) fn mark(place: u64) -> String {
    let drawn = crate::patients::drawn(&[0xCA4A41, place]);
    let letters = b"BCDFGHJKLMNPQRSTVWXZ";
    let text = drawn
        .iter()
        .take(11)
        .map(|byte| char::from(letters[usize::from(*byte) % letters.len()]));
    format!("Q{}", text.collect::<String>())
}

/// Looks for any of many marks at once.
pub(crate) struct Search {
    marks: Vec<String>,
    /// As it is, in capitals, for most views.
    itself: Texts<usize>,
    /// In other alphabets, by how it is written there.
    plainly: Texts<(usize, &'static str)>,
    by_xor: Texts<usize>,
    by_sum: Texts<usize>,
    fragments: Texts<(usize, usize)>,
}

impl Search {
    pub(crate) fn of(marks: &[String]) -> Self {
        let mut search = Self {
            marks: marks.to_vec(),
            itself: Texts::default(),
            plainly: Texts::default(),
            by_xor: Texts::default(),
            by_sum: Texts::default(),
            fragments: Texts::default(),
        };
        for (at, mark) in marks.iter().enumerate() {
            let bytes = mark.as_bytes();
            search.itself.put(bytes, at);
            for (how, text) in written_plainly(mark) {
                search.plainly.put(&text, (at, how));
            }
            search.by_xor.put(&pairs(bytes, |a, b| a ^ b), at);
            search.by_sum.put(&pairs(bytes, u8::wrapping_sub), at);
            let fragments = bytes.chunks_exact(FRAGMENT_BYTES).enumerate();
            fragments.for_each(|(part, fragment)| search.fragments.put(fragment, (at, part)));
        }
        search
    }

    /// Each mark in these bytes, once, in the order in which they are found.
    pub(crate) fn all(&self, bytes: &[u8]) -> Vec<Found> {
        let mut found = Vec::new();
        self.look(bytes, DEPTH_MAX, &mut found);
        let mut seen = HashSet::new();
        found.retain(|(at, _)| seen.insert(*at));
        let found = found.into_iter().map(|(at, written)| Found {
            mark: self.marks[at].clone(),
            written,
        });
        found.collect()
    }

    /// Any mark in these bytes.
    pub(crate) fn any(&self, bytes: &[u8]) -> Option<Found> {
        self.all(bytes).into_iter().next()
    }

    fn look(&self, bytes: &[u8], depth: usize, found: &mut Vec<(usize, &'static str)>) {
        for (view, seen) in views(bytes) {
            match view {
                "plain" => self.plainly.each(&seen, |told| found.push(told)),
                "differences by XOR" => self.by_xor.each(&seen, |at| {
                    found.push((at, "combined with one byte by XOR"));
                }),
                "differences by sum" => self.by_sum.each(&seen, |at| {
                    found.push((at, "combined with one byte by addition"));
                }),
                view => self.itself.each(&seen, |at| found.push((at, view))),
            }
        }
        self.in_fragments(bytes, found);
        if let Some(deeper) = depth.checked_sub(1) {
            for inner in unpacked(bytes) {
                self.look(&inner, deeper, found);
            }
        }
    }

    /// Fragments of a mark that lie about: too many different ones for an accident.
    fn in_fragments(&self, bytes: &[u8], found: &mut Vec<(usize, &'static str)>) {
        let mut parts: HashMap<usize, HashSet<usize>> = HashMap::new();
        self.fragments.each(bytes, |(at, part)| {
            parts.entry(at).or_default().insert(part);
        });
        let enough = parts
            .iter()
            .filter(|(_, parts)| parts.len() >= FRAGMENTS_MIN);
        found.extend(enough.map(|(at, _)| (*at, "in fragments")));
    }
}

/// Texts to look for, by their first bytes: one walk through what is seen looks for all of them.
struct Texts<T> {
    /// Which first two bytes begin any text.
    begin: Vec<bool>,
    by_head: HashMap<[u8; HEAD_BYTES], Vec<(Vec<u8>, T)>>,
}

/// No text that is looked for is shorter.
const HEAD_BYTES: usize = 4;

impl<T> Default for Texts<T> {
    fn default() -> Self {
        Self {
            begin: vec![false; 1 << 16],
            by_head: HashMap::new(),
        }
    }
}

impl<T: Copy> Texts<T> {
    fn put(&mut self, text: &[u8], stands_for: T) {
        let head = *text.first_chunk().expect("long enough");
        self.begin[usize::from(u16::from_le_bytes([head[0], head[1]]))] = true;
        let with_head = self.by_head.entry(head).or_default();
        with_head.push((text.to_vec(), stands_for));
    }

    fn each(&self, seen: &[u8], mut told: impl FnMut(T)) {
        for (at, head) in seen.windows(HEAD_BYTES).enumerate() {
            if !self.begin[usize::from(u16::from_le_bytes([head[0], head[1]]))] {
                continue;
            }
            let texts = self.by_head.get(head).into_iter().flatten();
            let here = texts.filter(|(text, _)| seen[at..].starts_with(text));
            here.for_each(|(_, stands_for)| told(*stands_for));
        }
    }
}

fn pairs(bytes: &[u8], join: fn(u8, u8) -> u8) -> Vec<u8> {
    bytes.windows(2).map(|two| join(two[0], two[1])).collect()
}

/// The same bytes, looked at in other ways.
fn views(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut views = vec![
        ("plain", bytes.to_ascii_uppercase()),
        (
            "reversed",
            bytes.iter().rev().map(u8::to_ascii_uppercase).collect(),
        ),
        // What is combined with one byte has the same differences, whichever byte it is.
        ("differences by XOR", pairs(bytes, |one, other| one ^ other)),
        ("differences by sum", pairs(bytes, u8::wrapping_sub)),
        (
            "every second byte",
            bytes
                .iter()
                .step_by(2)
                .map(u8::to_ascii_uppercase)
                .collect(),
        ),
        (
            "every other byte",
            bytes
                .iter()
                .skip(1)
                .step_by(2)
                .map(u8::to_ascii_uppercase)
                .collect(),
        ),
        (
            "every fourth byte",
            bytes
                .iter()
                .step_by(4)
                .map(u8::to_ascii_uppercase)
                .collect(),
        ),
    ];
    for bits in 1..8 {
        let shifted = bytes
            .windows(2)
            .map(|two| two[0] << bits | two[1] >> (8 - bits));
        views.push((
            "shifted by bits",
            shifted.map(|byte| byte.to_ascii_uppercase()).collect(),
        ));
    }
    let low = bytes.iter().map(|byte| byte & 1).collect::<Vec<_>>();
    for skip in 0..8 {
        let of = low.get(skip..).unwrap_or_default();
        let first = of
            .chunks_exact(8)
            .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | bit));
        views.push(("lowest bits", first.collect()));
        let last = of
            .chunks_exact(8)
            .map(|bits| bits.iter().rev().fold(0, |byte, bit| byte << 1 | bit));
        views.push(("lowest bits, the other way round", last.collect()));
    }
    views
}

/// The mark in other alphabets, in upper case as the view is.
fn written_plainly(mark: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = mark.as_bytes();
    let upper = |text: String| text.to_ascii_uppercase().into_bytes();
    let mut ways = vec![
        ("plain", bytes.to_vec()),
        ("hexadecimal", upper(hex::encode(bytes))),
        (
            "percent",
            upper(bytes.iter().map(|b| format!("%{b:02x}")).collect()),
        ),
        (
            "JSON escapes",
            upper(bytes.iter().map(|b| format!("\\u{b:04x}")).collect()),
        ),
        (
            "UTF-16, little-endian",
            bytes.iter().flat_map(|b| [*b, 0]).collect(),
        ),
        (
            "UTF-16, big-endian",
            bytes.iter().flat_map(|b| [0, *b]).collect(),
        ),
        (
            "decimal",
            upper(bytes.iter().map(|b| format!("{b},")).collect()),
        ),
        (
            "bits",
            upper(bytes.iter().map(|b| format!("{b:08b}")).collect()),
        ),
    ];
    for skipped in 0..3 {
        // Base64 of a longer text: three alignments, without the digits that its neighbours share.
        let inner = based(64, &[&vec![b'?'; skipped], bytes].concat());
        let from = [0, 2, 3][skipped];
        ways.push(("base64", upper(inner[from..inner.len() - 2].to_owned())));
    }
    for skipped in 0..5 {
        let inner = based(32, &[&vec![b'?'; skipped], bytes].concat());
        let from = [0, 2, 4, 5, 7][skipped];
        ways.push(("base32", upper(inner[from..inner.len() - 2].to_owned())));
    }
    ways
}

/// Digits of five or six bits each, without padding (RFC 4648).
pub(crate) fn based(base: usize, bytes: &[u8]) -> String {
    let (width, digits): (usize, &[u8]) = match base {
        64 => (
            6,
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        ),
        _ => (5, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
    };
    let bits: Vec<u8> = bytes
        .iter()
        .flat_map(|b| (0..8).rev().map(move |at| b >> at & 1))
        .collect();
    let digit = |bits: &[u8]| {
        let value = bits
            .iter()
            .fold(0, |value, bit| value << 1 | usize::from(*bit));
        char::from(digits[value << (width - bits.len())])
    };
    bits.chunks(width).map(digit).collect()
}

/// What compressed streams in these bytes hold.
fn unpacked(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut streams = Vec::new();
    for at in 0..bytes.len().saturating_sub(2) {
        let rest = &bytes[at..];
        let unpacked = match rest {
            [0x1F, 0x8B, 8, ..] => whole(GzDecoder::new(rest)),
            [0x78, 0x01 | 0x5E | 0x9C | 0xDA, ..] => whole(ZlibDecoder::new(rest)),
            // Without a head: text in fixed codes begins so more often than not.
            [first, ..] if first & 0b110 == 0b010 && bytes.len() <= HEADLESS_MAX_BYTES => {
                whole(DeflateDecoder::new(rest))
            }
            _ => continue,
        };
        streams.extend(Some(unpacked).filter(|unpacked| unpacked.len() >= FRAGMENT_BYTES));
    }
    streams
}

fn whole(stream: impl std::io::Read) -> Vec<u8> {
    let mut unpacked = Vec::new();
    // As far as it goes: what comes after the stream is no stream.
    let _ = stream.take(UNPACKED_MAX_BYTES).read_to_end(&mut unpacked);
    unpacked
}
