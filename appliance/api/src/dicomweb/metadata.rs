//! An object's attributes as DICOM JSON, without its pixels.

use dicom_dictionary_std::tags;
use dicom_object::OpenFileOptions;
use serde_json::Value;
use std::path::Path;

/// Attributes that are bulk data and stand last in every object: reading ends before the first of them.
const BULK_FROM: dicom_object::Tag = tags::FLOAT_PIXEL_DATA;

/// Reads an object's attributes. Blocking. The file has passed the scanner when it was admitted, so what it claims about
/// its lengths and depth is true.
///
/// # Errors
/// When the file cannot be read; in words for the journal.
pub(super) fn read(path: &Path) -> Result<Value, String> {
    let opened = OpenFileOptions::new().read_until(BULK_FROM).open_file(path);
    let object = opened.map_err(|error| error.to_string())?;
    // Without the file meta information, which is not metadata of the object (PS3.18 section F.2).
    dicom_json::to_value(&*object).map_err(|error| error.to_string())
}
