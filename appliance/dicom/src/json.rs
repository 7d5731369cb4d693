//! A received object in the DICOM JSON model (PS3.18 annex F), its large binary values by reference.

use crate::object::{Bulk, read_file_by_reference};
use crate::scan::{ScanError, ScanLimits, bytes_at};
use dicom_core::{Tag, VR};
use serde_json::{Map, Value, json};
use std::fmt;
use std::io::{Read, Seek};
use std::str::FromStr;

/// Longer binary values are not written into the JSON but named by a URI. Pixels always are.
pub const INLINE_BYTES_MAX: u64 = 1024;
/// The most bytes of one value that are handed out by reference.
pub const BULK_BYTES_MAX: u64 = 256 << 20;

/// Why an object is not described.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It does not pass the scan.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A value has no form in JSON.
    #[error("a value cannot be written as JSON")]
    Unwritable,
    /// A value is too large to be handed out.
    #[error("the value has {bytes} bytes, and {BULK_BYTES_MAX} are handed out at most")]
    TooLarge {
        /// How many it has.
        bytes: u64,
    },
    /// There is no such value, or it stands in the JSON itself.
    #[error("the object has no such bulk data")]
    NoSuchBulk,
}

/// Where a value stands that is given by reference: as in `7FE00010` or `54000100/1/54001010`, with the items of the
/// sequences around it counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkPath {
    items: Vec<(Tag, usize)>,
    tag: Tag,
}

impl BulkPath {
    /// Whether it is the object's own Pixel Data.
    #[must_use]
    pub fn is_pixel_data(&self) -> bool {
        self.items.is_empty() && self.tag == Tag(0x7FE0, 0x0010)
    }

    fn is_of(&self, bulk: &Bulk) -> bool {
        self.tag == bulk.tag && self.items == bulk.items
    }
}

impl fmt::Display for BulkPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (tag, item) in &self.items {
            write!(f, "{}/{item}/", hex(*tag))?;
        }
        f.write_str(&hex(self.tag))
    }
}

impl FromStr for BulkPath {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('/');
        let tag = |part: &str| match (part.len(), u32::from_str_radix(part, 16)) {
            (8, Ok(number)) => Ok(Tag((number >> 16) as u16, number as u16)),
            _ => Err(()),
        };
        let (mut items, mut last) = (Vec::new(), tag(parts.next().ok_or(())?)?);
        while let Some(item) = parts.next() {
            let item = item.parse().map_err(|_| ())?;
            items.push((last, item));
            last = tag(parts.next().ok_or(())?)?;
        }
        Ok(Self { items, tag: last })
    }
}

/// The object's attributes as JSON. What is not in it is named by a `BulkDataURI` that begins with `base`, the object's own
/// URL.
///
/// # Errors
/// See [`JsonError`].
pub fn describe(
    reader: &mut (impl Read + Seek),
    limits: &ScanLimits,
    base: &str,
) -> Result<Value, JsonError> {
    let (_, object, bulk) = read_file_by_reference(reader, limits, INLINE_BYTES_MAX)?;
    let mut value = dicom_json::to_value(&object).map_err(|_| JsonError::Unwritable)?;
    drop(object);
    let root = value.as_object_mut().ok_or(JsonError::Unwritable)?;
    tidy(root);
    for bulk in &bulk {
        refer(root, bulk, base);
    }
    Ok(value)
}

/// The bytes of a value that [`describe`] names by reference, numbers in little endian; compressed pixels as their
/// fragments joined.
///
/// # Errors
/// See [`JsonError`].
pub fn bulk(
    reader: &mut (impl Read + Seek),
    limits: &ScanLimits,
    path: &BulkPath,
) -> Result<Vec<u8>, JsonError> {
    let (header, _, bulk) = read_file_by_reference(reader, limits, INLINE_BYTES_MAX)?;
    let found = bulk.iter().find(|b| path.is_of(b));
    let found = found.ok_or(JsonError::NoSuchBulk)?;
    let length = found.extents.iter().map(|e| e.length).sum();
    if length > BULK_BYTES_MAX {
        return Err(JsonError::TooLarge { bytes: length });
    }
    let mut bytes = Vec::new();
    for extent in &found.extents {
        bytes.extend(bytes_at(reader, limits, header.deflated, *extent)?);
    }
    if found.encoding.big_endian {
        bytes
            .chunks_mut(word_bytes(found.vr))
            .for_each(<[u8]>::reverse);
    }
    Ok(bytes)
}

/// Bytes of one number of a binary value.
const fn word_bytes(vr: VR) -> usize {
    match vr {
        VR::OW | VR::US | VR::SS => 2,
        VR::OF | VR::OL | VR::FL | VR::UL | VR::SL | VR::AT => 4,
        VR::OD | VR::OV | VR::FD | VR::UV | VR::SV => 8,
        _ => 1,
    }
}

/// Puts the reference where the value would stand.
fn refer(root: &mut Map<String, Value>, bulk: &Bulk, base: &str) {
    let path = BulkPath {
        items: bulk.items.clone(),
        tag: bulk.tag,
    };
    let mut at = Some(root);
    for (sequence, item) in &bulk.items {
        at = at.and_then(|item_of| {
            let items = item_of.get_mut(&hex(*sequence))?.get_mut("Value")?;
            items.get_mut(item - 1)?.as_object_mut()
        });
    }
    if let Some(at) = at {
        let reference =
            json!({"vr": bulk.vr.to_string(), "BulkDataURI": format!("{base}/bulkdata/{path}")});
        at.insert(hex(bulk.tag), reference);
    }
}

/// As clients expect it: no group lengths, decimal and integer strings as numbers, empty values as null, and a
/// Specific Character Set that is the one of JSON. As deep as the scanner lets sequences become.
fn tidy(item: &mut Map<String, Value>) {
    item.retain(|tag, _| !tag.ends_with("0000"));
    for (tag, attribute) in item {
        let Some(attribute) = attribute.as_object_mut() else {
            continue;
        };
        if tag == "00080005" {
            *attribute = Map::from_iter([
                ("vr".to_owned(), json!("CS")),
                ("Value".to_owned(), json!(["ISO_IR 192"])),
            ]);
            continue;
        }
        let vr = attribute.get("vr").and_then(Value::as_str);
        let vr = vr.unwrap_or_default().to_owned();
        let Some(values) = attribute.get_mut("Value").and_then(Value::as_array_mut) else {
            continue;
        };
        match vr.as_str() {
            "SQ" => values
                .iter_mut()
                .filter_map(Value::as_object_mut)
                .for_each(tidy),
            _ => values.iter_mut().for_each(|value| tidy_value(value, &vr)),
        }
        if vr != "SQ" && values.iter().all(Value::is_null) {
            attribute.remove("Value");
        }
    }
}

fn tidy_value(value: &mut Value, vr: &str) {
    let is_empty = match value {
        Value::String(text) => text.trim().is_empty(),
        Value::Object(name) => name.is_empty(),
        _ => false,
    };
    let number = match (vr, value.as_str().map(str::trim)) {
        ("IS", Some(text)) => text.parse::<i64>().ok().map(Value::from),
        // What is no number stays the text that it is; so do infinities, which JSON has none of.
        ("DS", Some(text)) => text.parse::<f64>().ok().map(Value::from),
        _ => None,
    };
    match number {
        _ if is_empty => *value = Value::Null,
        Some(number) if !number.is_null() => *value = number,
        _ => {}
    }
}

fn hex(tag: Tag) -> String {
    format!("{:04X}{:04X}", tag.group(), tag.element())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_core::value::DataSetSequence;
    use dicom_core::{DataElement, PrimitiveValue, dicom_value};
    use dicom_dictionary_std::{tags, uids};
    use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
    use std::io::Cursor;

    fn file(syntax: &str) -> Cursor<Vec<u8>> {
        let long = PrimitiveValue::U16((0..1000_u16).collect());
        let item = InMemDicomObject::from_element_iter([
            DataElement::new(tags::WAVEFORM_DATA, VR::OW, long.clone()),
            DataElement::new(tags::CODE_MEANING, VR::LO, PrimitiveValue::from("")),
        ]);
        let text = |tag, vr, value: &str| DataElement::new(tag, vr, PrimitiveValue::from(value));
        let object = InMemDicomObject::from_element_iter([
            text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100"),
            text(tags::SOP_CLASS_UID, VR::UI, uids::CT_IMAGE_STORAGE),
            text(tags::SOP_INSTANCE_UID, VR::UI, "1.2.3"),
            text(tags::STUDY_INSTANCE_UID, VR::UI, "1.2"),
            text(tags::SERIES_INSTANCE_UID, VR::UI, "1.2.1"),
            text(tags::INSTANCE_NUMBER, VR::IS, "7 "),
            DataElement::new(
                tags::PIXEL_SPACING,
                VR::DS,
                dicom_value!(Strs, ["0.50", "wide"]),
            ),
            DataElement::new(
                tags::WAVEFORM_SEQUENCE,
                VR::SQ,
                DataSetSequence::from(vec![InMemDicomObject::new_empty(), item]),
            ),
            DataElement::new(tags::PIXEL_DATA, VR::OW, long),
        ]);
        let meta = FileMetaTableBuilder::new().transfer_syntax(syntax);
        let mut bytes = Vec::new();
        let file = object.with_meta(meta).expect("a file meta table");
        file.write_all(&mut bytes).expect("a file");
        Cursor::new(bytes)
    }

    #[test]
    fn everything_is_there_or_named() {
        for syntax in [
            uids::EXPLICIT_VR_LITTLE_ENDIAN,
            uids::IMPLICIT_VR_LITTLE_ENDIAN,
            "1.2.840.10008.1.2.2", // big endian, retired but in archives
            uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
        ] {
            let limits = ScanLimits::default();
            let value = describe(&mut file(syntax), &limits, "https://x/i").expect("JSON");
            assert_eq!(value["00080005"]["Value"], json!(["ISO_IR 192"]));
            assert_eq!(value["00200013"]["Value"], json!([7]));
            assert_eq!(value["00280030"]["Value"], json!([0.5, "wide"]));
            let of_item = &value["54000100"]["Value"][1];
            assert_eq!(of_item["00080104"], json!({"vr": "LO"}));
            for (found, path) in [
                (&of_item["54001010"], "54000100/2/54001010"),
                (&value["7FE00010"], "7FE00010"),
            ] {
                let uri = format!("https://x/i/bulkdata/{path}");
                assert_eq!(*found, json!({"vr": "OW", "BulkDataURI": uri}), "{syntax}");
                let path: BulkPath = path.parse().expect("a path");
                let bytes = bulk(&mut file(syntax), &limits, &path).expect("its bytes");
                let expected = (0..1000_u16).flat_map(u16::to_le_bytes);
                assert!(bytes.into_iter().eq(expected), "{syntax} {path}");
            }
            let none = "00080005".parse().expect("a path");
            let error = bulk(&mut file(syntax), &limits, &none).expect_err("no bulk");
            assert!(matches!(error, JsonError::NoSuchBulk));
        }
    }

    /// In implicit encoding, what may be US or SS is as Pixel Representation says, in an item that of the item or else of the object
    /// (PS3.5 section A.1); in explicit encoding it is as it says itself.
    #[test]
    fn the_sign_of_pixels_is_that_of_what_is_said_of_them() {
        let smallest = |vr, number: u16| {
            DataElement::new(
                tags::SMALLEST_IMAGE_PIXEL_VALUE,
                vr,
                PrimitiveValue::from(number),
            )
        };
        let said = |sign: u16| {
            DataElement::new(
                tags::PIXEL_REPRESENTATION,
                VR::US,
                PrimitiveValue::from(sign),
            )
        };
        for (syntax, sign, vr, expected) in [
            (uids::IMPLICIT_VR_LITTLE_ENDIAN, 1, "SS", json!([-2])),
            (uids::IMPLICIT_VR_LITTLE_ENDIAN, 0, "US", json!([65534])),
            (uids::EXPLICIT_VR_LITTLE_ENDIAN, 1, "US", json!([65534])),
        ] {
            let items = vec![
                InMemDicomObject::from_element_iter([smallest(VR::US, 0xFFFE)]),
                InMemDicomObject::from_element_iter([said(0), smallest(VR::US, 0xFFFE)]),
            ];
            let text =
                |tag, value: &str| DataElement::new(tag, VR::UI, PrimitiveValue::from(value));
            let object = InMemDicomObject::from_element_iter([
                text(tags::SOP_CLASS_UID, uids::CT_IMAGE_STORAGE),
                text(tags::SOP_INSTANCE_UID, "1.2.3"),
                text(tags::STUDY_INSTANCE_UID, "1.2"),
                text(tags::SERIES_INSTANCE_UID, "1.2.1"),
                said(sign),
                smallest(VR::US, 0xFFFE),
                DataElement::new(
                    tags::ICON_IMAGE_SEQUENCE,
                    VR::SQ,
                    DataSetSequence::from(items),
                ),
            ]);
            let meta = FileMetaTableBuilder::new().transfer_syntax(syntax);
            let mut bytes = Vec::new();
            let file = object.with_meta(meta).expect("a file meta table");
            file.write_all(&mut bytes).expect("a file");
            let limits = ScanLimits::default();
            let value = describe(&mut Cursor::new(bytes), &limits, "https://x/i").expect("JSON");
            let of_object = json!({"vr": vr, "Value": expected});
            assert_eq!(value["00280106"], of_object, "{syntax} {sign}");
            let items = &value["00880200"]["Value"];
            assert_eq!(items[0]["00280106"], of_object, "{syntax} {sign}");
            let unsigned = json!({"vr": "US", "Value": [65534]});
            assert_eq!(items[1]["00280106"], unsigned, "{syntax} {sign}");
        }
    }

    #[test]
    fn paths_are_tags_and_items() {
        for good in ["7FE00010", "54000100/1/54001010"] {
            assert_eq!(
                good.parse::<BulkPath>().map(|p| p.to_string()),
                Ok(good.into())
            );
        }
        for bad in [
            "",
            "7FE0001",
            "PixelData",
            "54000100/1",
            "54000100/x/54001010",
            "../../etc",
            "7FE00010/",
        ] {
            assert!(bad.parse::<BulkPath>().is_err(), "{bad}");
        }
    }
}
