//! In which character set an identifier is written: the peer's own where it holds every text.

use super::{Content, Identifier, is_extended};
use crate::charset::{Charset, ESCAPES};
use crate::codec::Codec;
use std::borrow::Cow;

const LATIN_1: &str = "ISO_IR 100";
const UTF_8: &str = "ISO_IR 192";
const ESCAPE: u8 = 0x1B;
/// Invokes ASCII.
const TO_ASCII: &[u8] = b"\x1b(B";

/// A character set that holds every text of an identifier.
pub(super) struct Repertoire {
    declared: String,
    terms: Vec<Term>,
}

/// One of the terms of Specific Character Set.
struct Term {
    codec: Codec,
    /// The default repertoire, which its codec reads as more than it is.
    is_ascii: bool,
    /// While it is invoked, two bytes are a character and nothing is ASCII.
    replaces_ascii: bool,
    /// What invokes it when it is not the first; empty for those whose codec writes its own escapes.
    escape: Option<&'static [u8]>,
}

impl Repertoire {
    /// The wanted one where it holds every text, and else the first of ASCII, Latin-1 and Unicode that does.
    pub(super) fn holding(data_set: &Identifier, wanted: &str) -> Self {
        let mut texts = Vec::new();
        gather(data_set, &mut texts);
        let candidates = [wanted.trim(), "", LATIN_1];
        candidates
            .into_iter()
            .filter_map(Self::declaring)
            .find(|repertoire| texts.iter().all(|text| repertoire.encode(text).is_some()))
            .unwrap_or_else(|| Self {
                declared: UTF_8.to_owned(),
                terms: Vec::new(),
            })
    }

    pub(super) fn declared(&self) -> &str {
        &self.declared
    }

    pub(super) fn bytes(&self, text: &str) -> Vec<u8> {
        // Every text was tried before this set was taken.
        self.encode(text)
            .unwrap_or_else(|| text.as_bytes().to_vec())
    }

    /// `None` for terms that nobody knows.
    fn declaring(declared: &str) -> Option<Self> {
        let terms = declared.split('\\').enumerate().map(|(at, term)| {
            let term = term.trim();
            let codec = match term {
                "" if at == 0 => Codec::default(),
                term => Codec::named(term)?,
            };
            let name = match term {
                "ISO 2022 IR 58" => Cow::Borrowed("GB2312"),
                term => Cow::Owned(term.replace("ISO 2022 ", "ISO_")),
            };
            let escape = ESCAPES.iter().find(|(_, of)| *of == name).map(|(e, _)| *e);
            let is_ascii = matches!(term, "" | "ISO_IR 6" | "ISO 2022 IR 6");
            Some(Term {
                replaces_ascii: matches!(codec, Codec::JisX0212),
                codec,
                is_ascii,
                escape,
            })
        });
        Some(Self {
            declared: declared.to_owned(),
            terms: terms.collect::<Option<_>>()?,
        })
    }

    /// The text's bytes, when reading them gives the text again.
    fn encode(&self, text: &str) -> Option<Vec<u8>> {
        if self.declared == UTF_8 {
            return Some(text.as_bytes().to_vec());
        }
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text;
        // Code extensions end at every delimiter (PS3.5 section 6.1.2.5.3).
        while !rest.is_empty() {
            let end = rest
                .find(['^', '=', '\\', '\r', '\n'])
                .unwrap_or(rest.len());
            self.component(&rest[..end], &mut bytes)?;
            let after = (end + 1).min(rest.len());
            bytes.extend_from_slice(&rest.as_bytes()[end..after]);
            rest = &rest[after..];
        }
        let read = Charset::declared(self.declared.as_bytes()).decode(&bytes);
        (read == text).then_some(bytes)
    }

    /// One stretch between delimiters, in as few invocations of a set as there must be.
    fn component(&self, text: &str, out: &mut Vec<u8>) -> Option<()> {
        let mut rest = text;
        let mut invoked = 0;
        while !rest.is_empty() {
            let (term, length) = self.longest(rest)?;
            let own = self.terms.get(term)?;
            let bytes = own.codec.encode(&rest[..length])?;
            if term != invoked && !bytes.contains(&ESCAPE) {
                out.push(ESCAPE);
                out.extend_from_slice(own.escape?);
            }
            out.extend_from_slice(&bytes);
            if own.replaces_ascii {
                out.extend_from_slice(TO_ASCII);
            }
            // A codec that shifts into two bytes does not shift back at the end.
            if bytes.contains(&ESCAPE) && !bytes.ends_with(TO_ASCII) {
                out.extend_from_slice(TO_ASCII);
            }
            // Shifted back, it is as at the beginning.
            let is_back = out.ends_with(TO_ASCII) && term != 0;
            (rest, invoked) = (&rest[length..], if is_back { 0 } else { term });
        }
        Some(())
    }

    /// Which term holds most of the beginning of a text, and how much of it, bytes.
    fn longest(&self, text: &str) -> Option<(usize, usize)> {
        let held = |term: &Term| {
            let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
            ends.take_while(|end| term.holds(&text[..*end])).last()
        };
        let all = self.terms.iter().enumerate();
        let held = all.filter_map(|(at, term)| held(term).map(|length| (at, length)));
        // The first of the longest: a later term costs an escape.
        held.min_by_key(|(at, length)| (std::cmp::Reverse(*length), *at))
    }
}

impl Term {
    fn holds(&self, text: &str) -> bool {
        if self.is_ascii {
            return text.is_ascii();
        }
        let bytes = self.codec.encode(text);
        bytes.and_then(|bytes| self.codec.decode(&bytes)).as_deref() == Some(text)
    }
}

fn gather<'a>(data_set: &'a Identifier, texts: &mut Vec<&'a str>) {
    for (_, element) in data_set.iter() {
        match &element.value {
            Content::Items(items) => items.iter().for_each(|item| gather(item, texts)),
            Content::Text(text) if is_extended(element.vr) && !text.is_ascii() => texts.push(text),
            Content::Text(_) => {}
        }
    }
}
