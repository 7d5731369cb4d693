//! In which character set a result is written.
//!
//! Patient and study are copied from the source byte by byte, since archives compare them and some understand no other
//! set than their own. So the source's Specific Character Set is kept wherever it can hold what we add to it. Where it
//! cannot, the whole result is written in UTF-8.
//!
//! Until then the two kinds of text live side by side in the data set: our own is Unicode, and what was copied is
//! [`crate::source`]'s bytes. Afterwards both are bytes, one character for each, which the writer puts down as they are.

use crate::charset::Charset;
use crate::source::{Source, byte_of, is_copied, values_mapped};
use crate::write::DataSet;
use dicom_core::value::{PrimitiveValue, Value};
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::tags;
use dicom_encoding::text::{SpecificCharacterSet, TextCodec};

const UTF_8: &str = "ISO_IR 192";

/// The result with all its texts encoded and its Specific Character Set in place.
pub(super) fn encoded(object: DataSet, source: &Source) -> DataSet {
    let declared = source.texts(tags::SPECIFIC_CHARACTER_SET).join("\\");
    if let Some(own) = Own::held_by(&object, &declared) {
        let mut object = values_mapped(object, &|text| own.bytes(text));
        if let Some(element) = source.data_set().get(tags::SPECIFIC_CHARACTER_SET) {
            object.put(unread(element.to_str().unwrap_or_default().as_bytes()));
        }
        return object;
    }
    let set = Charset::declared(declared.as_bytes());
    let mut object = values_mapped(object, &|text| utf_8(text, &set));
    object.put(unread(UTF_8.as_bytes()));
    object
}

/// How our own texts are encoded in the source's character set.
enum Own {
    /// All of them are ASCII, which every character set holds.
    Ascii,
    /// By this codec.
    Codec(SpecificCharacterSet),
}

impl Own {
    /// `None` when the character set, as declared, does not hold all of them.
    fn held_by(object: &DataSet, declared: &str) -> Option<Self> {
        let mut own = Vec::new();
        own_texts(object, &mut own);
        if own.is_empty() {
            return Some(Self::Ascii);
        }
        // With more than one term, code extensions are in play: those we copy, but do not write.
        let codec = SpecificCharacterSet::from_code(declared)?;
        let extended = declared.starts_with("ISO 2022");
        (!extended && own.iter().all(|text| holds(&codec, text))).then_some(Self::Codec(codec))
    }

    /// A text as bytes, one character for each.
    fn bytes(&self, text: &str) -> String {
        let mut bytes = Vec::with_capacity(text.len());
        for run in runs(text) {
            match self {
                _ if run.starts_with(is_copied) => bytes.extend(run.chars().filter_map(byte_of)),
                Self::Codec(codec) if !run.is_ascii() => {
                    bytes.extend(codec.encode(run).unwrap_or_default())
                }
                _ => bytes.extend_from_slice(run.as_bytes()),
            }
        }
        one_character_each(&bytes)
    }
}

/// A text as the bytes of UTF-8, one character for each; what was copied is read as `set` says.
fn utf_8(text: &str, set: &Charset) -> String {
    // A text is either copied or ours, and only what was copied is in the source's set.
    if !text.contains(is_copied) && !text.contains('\u{1b}') {
        return one_character_each(text.as_bytes());
    }
    let bytes: Vec<u8> = text.chars().filter_map(byte_of).collect();
    one_character_each(set.decode(&bytes).as_bytes())
}

/// Our own texts that are more than ASCII.
fn own_texts(object: &DataSet, found: &mut Vec<String>) {
    for element in object.iter() {
        match element.value() {
            Value::Sequence(items) => items.items().iter().for_each(|item| own_texts(item, found)),
            Value::Primitive(PrimitiveValue::Str(text)) if is_own(text) => found.push(text.clone()),
            Value::Primitive(PrimitiveValue::Strs(texts)) => {
                found.extend(texts.iter().filter(|text| is_own(text)).cloned());
            }
            _ => {}
        }
    }
}

fn is_own(text: &str) -> bool {
    text.chars().any(|c| !c.is_ascii() && !is_copied(c))
}

/// Whether a codec holds a text without loss.
fn holds(codec: &SpecificCharacterSet, text: &str) -> bool {
    let read_back = codec
        .encode(text)
        .ok()
        .and_then(|bytes| codec.decode(&bytes).ok());
    read_back.as_deref() == Some(text)
}

/// A text in stretches that are either copied throughout or not at all.
fn runs(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let copied = is_copied(rest.chars().next()?);
        let end = rest.find(|c| is_copied(c) != copied).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        rest = after;
        Some(run)
    })
}

fn one_character_each(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The Specific Character Set as bytes, so that the writer does not act on it: every text is encoded already.
fn unread(value: &[u8]) -> dicom_object::mem::InMemElement {
    let mut value = value.to_vec();
    if value.len() % 2 == 1 {
        value.push(b' ');
    }
    DataElement::new(
        tags::SPECIFIC_CHARACTER_SET,
        VR::CS,
        PrimitiveValue::U8(value.into()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tests::source_named;
    use crate::write::text;

    /// What the patient's name and our own text are in the file, and the character set.
    fn written(charset: &[u8], name: &[u8], own: &str) -> (String, Vec<u8>, Vec<u8>) {
        let source = source_named(charset, name);
        let mut object = crate::report::header::copied(source.data_set());
        object.put(text(tags::SERIES_DESCRIPTION, VR::LO, own));
        let object = encoded(object, &source);
        let bytes = |tag| -> Vec<u8> {
            let text = object.get(tag).unwrap().to_str().unwrap().into_owned();
            text.chars()
                .map(|c| u8::try_from(u32::from(c)).unwrap())
                .collect()
        };
        let set = object.get(tags::SPECIFIC_CHARACTER_SET);
        let set = set.map(|e| String::from_utf8(e.to_bytes().unwrap().into_owned()).unwrap());
        (
            set.unwrap_or_default().trim().to_owned(),
            bytes(tags::PATIENT_NAME),
            bytes(tags::SERIES_DESCRIPTION),
        )
    }

    #[test]
    fn the_source_is_copied_byte_by_byte_in_its_own_character_set() {
        let names: [(&[u8], &[u8]); 6] = [
            (b"", b"Plain^Name"),
            (b"ISO_IR 100", b"Buc^J\xe9r\xf4me"),
            (
                b"\\ISO 2022 IR 87",
                b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
            ),
            (
                b"ISO 2022 IR 13\\ISO 2022 IR 87",
                b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J",
            ),
            (
                b"\\ISO 2022 IR 149",
                b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7",
            ),
            (b"GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab"),
        ];
        for (set, name) in names {
            let expected = (
                String::from_utf8(set.to_vec()).unwrap(),
                name.to_vec(),
                b"AI: model".to_vec(),
            );
            assert_eq!(written(set, name, "AI: model"), expected);
        }
    }

    #[test]
    fn what_we_add_is_written_in_the_sources_set_where_it_fits() {
        let (set, name, own) = written(b"ISO_IR 100", b"Buc^J\xe9r\xf4me", "größer");
        assert_eq!(
            (set.as_str(), &name[..], &own[..]),
            ("ISO_IR 100", &b"Buc^J\xe9r\xf4me"[..], &b"gr\xf6\xdfer"[..])
        );
    }

    #[test]
    fn where_it_does_not_fit_everything_is_written_in_utf_8() {
        for (declared, bytes, read) in [
            (&b"ISO_IR 100"[..], &b"Buc^J\xe9r\xf4me"[..], "Buc^Jérôme"),
            (
                b"\\ISO 2022 IR 87",
                b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
                "Yamada^Tarou=山田^太郎",
            ),
            (b"", b"Plain", "Plain"),
        ] {
            let (set, name, own) = written(declared, bytes, "心 ö");
            assert_eq!(
                (set.as_str(), &name[..], &own[..]),
                (UTF_8, read.as_bytes(), "心 ö".as_bytes())
            );
        }
    }
}
