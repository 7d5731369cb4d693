//! Writing DICOM objects: elements, derived UIDs, decimal strings, and the Part 10 file around a data set.

use crate::source::is_copied;
use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Length, Tag, VR, value::Value};
use dicom_dictionary_std::uids;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject, mem::InMemElement};
use dicom_transfer_syntax_registry::entries::EXPLICIT_VR_LITTLE_ENDIAN;
use pericard_domain::ae::AeTitle;
use sha2::{Digest as _, Sha256};

/// The most characters of a decimal string (PS3.5 section 6.2, DS).
const DECIMAL_CHARS_MAX: usize = 16;
/// The most characters of a long string (PS3.5 section 6.2, LO).
pub(crate) const LONG_STRING_CHARS_MAX: usize = 64;
/// Implementation Version Name (0002,0013): at most 16 characters.
const IMPLEMENTATION_VERSION_NAME: &str = concat!("PERICARD_", env!("CARGO_PKG_VERSION"));
/// Length of the preamble of a Part 10 file, bytes (PS3.10 section 7.1).
const PREAMBLE_BYTES: usize = 128;

/// Why an object could not be written. The appliance is at fault, never the sender.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file meta information could not be put together or written.
    #[error(
        "the file meta information could not be written: report this as a fault of the appliance"
    )]
    Meta,
    /// The data set could not be encoded.
    #[error("the data set could not be encoded: report this as a fault of the appliance")]
    DataSet,
}

/// One data set, or one item of a sequence.
pub(crate) type DataSet = InMemDicomObject;

/// Encodes a data set as a Part 10 file in Explicit VR Little Endian.
///
/// SOP Class and SOP Instance UID of the file meta information are those of the data set. `ae` becomes the Source
/// Application Entity Title.
///
/// # Errors
/// When the data set lacks its UIDs, or has a text that its Specific Character Set cannot hold.
pub(crate) fn part10(data_set: &DataSet, ae: Option<&AeTitle>) -> Result<Vec<u8>, WriteError> {
    let uid = |tag| {
        let element = data_set.get(tag).ok_or(WriteError::Meta)?;
        element.to_str().map_err(|_| WriteError::Meta)
    };
    let mut meta = FileMetaTableBuilder::new()
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
        .media_storage_sop_class_uid(uid(Tag(0x0008, 0x0016))?.as_ref())
        .media_storage_sop_instance_uid(uid(Tag(0x0008, 0x0018))?.as_ref())
        .implementation_class_uid(implementation_class_uid())
        .implementation_version_name(IMPLEMENTATION_VERSION_NAME);
    if let Some(ae) = ae {
        meta = meta.source_application_entity_title(ae.as_str());
    }
    let meta = meta.build().map_err(|_| WriteError::Meta)?;

    let mut bytes = vec![0; PREAMBLE_BYTES];
    bytes.extend_from_slice(b"DICM");
    meta.write(&mut bytes).map_err(|_| WriteError::Meta)?;
    data_set
        .write_dataset_with_ts(&mut bytes, &EXPLICIT_VR_LITTLE_ENDIAN.erased())
        .map_err(|_| WriteError::DataSet)?;
    Ok(bytes)
}

/// Implementation Class UID (0002,0012): the same for every version.
pub(crate) fn implementation_class_uid() -> String {
    derived_uid("implementation class", &[])
}

/// A UID that is always the same for the same kind and fields, and differs from every other.
///
/// It is `2.25.` and a UUID of version 8 (RFC 9562) as a decimal number (PS3.5 section B.2), made from the SHA-256 of
/// kind and fields, each with its length before it so that no two lists of fields run together.
pub(crate) fn derived_uid(kind: &str, fields: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for field in std::iter::once(&kind.as_bytes()).chain(fields) {
        hash.update((field.len() as u64).to_le_bytes());
        hash.update(field);
    }
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&hash.finalize()[..16]);
    uuid[6] = uuid[6] & 0x0f | 0x80; // version 8: the maker's own scheme
    uuid[8] = uuid[8] & 0x3f | 0x80; // the RFC's variant
    format!("2.25.{}", u128::from_be_bytes(uuid))
}

/// An element with one text of our own as its value.
pub(crate) fn text(tag: Tag, vr: VR, value: impl Into<String>) -> InMemElement {
    let mut value = value.into();
    if value.contains(is_copied) {
        // A private use character that means a copied byte elsewhere in the data set means nothing here.
        value = value.replace(is_copied, "\u{fffd}");
    }
    DataElement::new(tag, vr, PrimitiveValue::from(value))
}

/// An element with several texts as its value.
pub(crate) fn texts(tag: Tag, vr: VR, values: impl IntoIterator<Item = String>) -> InMemElement {
    DataElement::new(tag, vr, PrimitiveValue::Strs(values.into_iter().collect()))
}

/// An element of which the value is not known.
pub(crate) fn empty(tag: Tag, vr: VR) -> InMemElement {
    DataElement::new(tag, vr, PrimitiveValue::Empty)
}

/// An unsigned short, of a number that has been checked to fit.
pub(crate) fn short(tag: Tag, value: usize) -> InMemElement {
    let value = u16::try_from(value).unwrap_or(u16::MAX);
    DataElement::new(tag, VR::US, PrimitiveValue::from(value))
}

/// A sequence of items. No item is a sequence of which the content is not known.
pub(crate) fn sequence(tag: Tag, items: Vec<DataSet>) -> InMemElement {
    DataElement::new(tag, VR::SQ, Value::new_sequence(items, Length::UNDEFINED))
}

/// A data set of these elements.
pub(crate) fn data_set(elements: impl IntoIterator<Item = InMemElement>) -> DataSet {
    InMemDicomObject::from_element_iter(elements)
}

/// A text cut to what a long string (LO) holds, without what a long string may not have.
pub(crate) fn long_string(value: &str) -> String {
    value
        .chars()
        .map(|c| if c == '\\' || c.is_control() { '/' } else { c })
        .take(LONG_STRING_CHARS_MAX)
        .collect()
}

/// The decimal string (DS) that is nearest to a finite number.
pub(crate) fn decimal(value: f64) -> String {
    let value = if value == 0.0 { 0.0 } else { value }; // no "-0"
    let shortest = format!("{value}");
    if shortest.len() <= DECIMAL_CHARS_MAX {
        return shortest;
    }
    let written = (0..DECIMAL_CHARS_MAX)
        .flat_map(|digits| [format!("{value:.digits$}"), format!("{value:.digits$e}")])
        .filter(|text| text.len() <= DECIMAL_CHARS_MAX);
    let distance = |text: &String| {
        text.parse()
            .map_or(f64::INFINITY, |v: f64| (v - value).abs())
    };
    written
        .min_by(|a, b| distance(a).total_cmp(&distance(b)))
        .unwrap_or_else(|| format!("{value:e}")) // not reached: one digit and an exponent fit for every finite number
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_derived_uid_is_a_uid_of_its_fields() {
        let uid = derived_uid("kind", &[b"a", b"bc"]);
        assert!(uid.starts_with("2.25.") && uid.len() <= 44, "{uid}");
        assert_eq!(uid, derived_uid("kind", &[b"a", b"bc"]));
        assert_ne!(uid, derived_uid("kind", &[b"ab", b"c"]));
        assert_ne!(uid, derived_uid("other", &[b"a", b"bc"]));
        let number: u128 = uid["2.25.".len()..].parse().unwrap();
        assert_eq!((number >> 76) & 0xf, 8, "version");
        assert_eq!((number >> 62) & 0b11, 0b10, "variant");
    }

    #[test]
    fn decimals_as_people_write_them() {
        for (value, written) in [
            (0.0, "0"),
            (-0.0, "0"),
            (12.5, "12.5"),
            (-179.0, "-179"),
            (0.976_562_5, "0.9765625"),
        ] {
            assert_eq!(decimal(value), written);
        }
    }

    proptest! {
        #[test]
        fn a_decimal_fits_and_is_near(value in proptest::num::f64::NORMAL) {
            let written = decimal(value);
            prop_assert!(written.len() <= DECIMAL_CHARS_MAX, "{written}");
            let read: f64 = written.parse().unwrap();
            // Sixteen characters hold at least eight digits, even with a sign and a three-digit exponent.
            prop_assert!(((read - value) / value).abs() < 1e-8, "{value} {written}");
        }
    }
}
