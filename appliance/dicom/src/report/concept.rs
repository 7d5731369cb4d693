//! The coded concepts that results are written with (PS3.16), and how a code is encoded.

use crate::write::{DataSet, data_set, derived_uid, long_string, text};
use dicom_core::VR;
use dicom_dictionary_std::tags;
use pericard_domain::finding::Code;

/// The designator of our own coding scheme, for what no standard scheme has a code for.
pub(crate) const PRIVATE_SCHEME: &str = "99PERICARD";
/// The most characters of a Code Value (0008,0100); a longer one is a Long Code Value.
const CODE_VALUE_CHARS_MAX: usize = 16;

/// A concept: value, scheme, meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Concept(
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) &'static str,
);

macro_rules! concepts {
    ($($name:ident = $value:literal, $scheme:literal, $meaning:literal;)+) => {
        $(pub(crate) const $name: Concept = Concept($value, $scheme, $meaning);)+
    };
}

concepts! {
    ACQUISITION_EQUIPMENT = "109101", "DCM", "Acquisition Equipment";
    ALGORITHM_NAME = "111001", "DCM", "Algorithm Name";
    ALGORITHM_PARAMETERS = "111002", "DCM", "Algorithm Parameters";
    ALGORITHM_VERSION = "111003", "DCM", "Algorithm Version";
    ARTIFICIAL_INTELLIGENCE = "123110", "DCM", "Artificial Intelligence";
    CERTAINTY_OF_FINDING = "111012", "DCM", "Certainty of Finding";
    COLUMN_X = "110907", "DCM", "Image Orientation (Patient) Column X";
    COLUMN_Y = "110908", "DCM", "Image Orientation (Patient) Column Y";
    COLUMN_Z = "110909", "DCM", "Image Orientation (Patient) Column Z";
    COMMENT = "121106", "DCM", "Comment";
    COSINE = "{-1:1}", "UCUM", "{-1:1}";
    DEVICE = "121007", "DCM", "Device";
    DEVICE_OBSERVER_MANUFACTURER = "121014", "DCM", "Device Observer Manufacturer";
    DEVICE_OBSERVER_MODEL = "121015", "DCM", "Device Observer Model Name";
    DEVICE_OBSERVER_NAME = "121013", "DCM", "Device Observer Name";
    DEVICE_OBSERVER_SERIAL = "121016", "DCM", "Device Observer Serial Number";
    DEVICE_OBSERVER_UID = "121012", "DCM", "Device Observer UID";
    ENGLISH = "en", "RFC5646", "English";
    FINDING = "121071", "DCM", "Finding";
    FRAME_OF_REFERENCE = "112227", "DCM", "Frame of Reference UID";
    HORIZONTAL_SPACING = "111026", "DCM", "Horizontal Pixel Spacing";
    IMAGE_LIBRARY = "111028", "DCM", "Image Library";
    IMAGE_LIBRARY_GROUP = "126200", "DCM", "Image Library Group";
    IMAGE_REGION = "111030", "DCM", "Image Region";
    IMAGING_MEASUREMENTS = "126010", "DCM", "Imaging Measurements";
    IMAGING_MEASUREMENT_REPORT = "126000", "DCM", "Imaging Measurement Report";
    IMAGING_PROCEDURE = "363679005", "SCT", "Imaging procedure";
    KEY_OBJECT_DESCRIPTION = "113012", "DCM", "Key Object Description";
    LANGUAGE = "121049", "DCM", "Language of Content Item and Descendants";
    MEASUREMENT_GROUP = "125007", "DCM", "Measurement Group";
    MILLIMETRE = "mm", "UCUM", "mm";
    MODALITY = "121139", "DCM", "Modality";
    NOT_DONE_BECAUSE = "NOT-DONE-BECAUSE", "99PERICARD", "Why the analysis could not be done";
    NO_ALGORITHM_SUCCEEDED = "111245", "DCM", "No algorithms succeeded; without findings";
    OBSERVER_TYPE = "121005", "DCM", "Observer Type";
    OF_INTEREST = "113000", "DCM", "Of Interest";
    ORIENTATION_COLUMN = "111043", "DCM", "Patient Orientation Column";
    ORIENTATION_ROW = "111044", "DCM", "Patient Orientation Row";
    PERCENT = "%", "UCUM", "Percent";
    PIXELS = "{pixels}", "UCUM", "Pixels";
    PIXEL_COLUMNS = "110911", "DCM", "Pixel Data Columns";
    PIXEL_ROWS = "110910", "DCM", "Pixel Data Rows";
    POSITION_X = "110901", "DCM", "Image Position (Patient) X";
    POSITION_Y = "110902", "DCM", "Image Position (Patient) Y";
    POSITION_Z = "110903", "DCM", "Image Position (Patient) Z";
    PROCEDURE_REPORTED = "121058", "DCM", "Procedure reported";
    PROCESSING_EQUIPMENT = "109102", "DCM", "Processing Equipment";
    RECOGNISED_TEXT = "RECOGNISED-TEXT", "99PERICARD", "Text recognised in the pixels";
    IMAGING_REPORT = "18748-4", "LN", "Diagnostic imaging study";
    REFERENCED_SEGMENT = "121191", "DCM", "Referenced Segment";
    ROW_X = "110904", "DCM", "Image Orientation (Patient) Row X";
    ROW_Y = "110905", "DCM", "Image Orientation (Patient) Row Y";
    ROW_Z = "110906", "DCM", "Image Orientation (Patient) Row Z";
    SEGMENTATION = "113076", "DCM", "Segmentation";
    SLICE_SPACING = "112226", "DCM", "Spacing between slices";
    SLICE_THICKNESS = "112225", "DCM", "Slice Thickness";
    SOURCE_FOR_PROCESSING = "121322", "DCM", "Source image for image processing operation";
    SOURCE_FOR_SEGMENTATION = "121233", "DCM", "Source image for segmentation";
    SOURCE_OF_MEASUREMENT = "121112", "DCM", "Source of Measurement";
    SUMMARY = "111017", "DCM", "CAD Processing and Findings Summary";
    TRACKING_ID = "112039", "DCM", "Tracking Identifier";
    TRACKING_UID = "112040", "DCM", "Tracking Unique Identifier";
    VERTICAL_SPACING = "111066", "DCM", "Vertical Pixel Spacing";
    WITHOUT_FINDINGS = "111241", "DCM", "All algorithms succeeded; without findings";
}

/// What a modality is called (PS3.16 CID 29), and the procedure when the source does not code its own (LOINC).
const MODALITIES: [(&str, Concept, Concept); 14] = [
    (
        "CR",
        Concept("CR", "DCM", "Computed Radiography"),
        Concept("43468-8", "LN", "XR Unspecified body region"),
    ),
    (
        "CT",
        Concept("CT", "DCM", "Computed Tomography"),
        Concept("25045-6", "LN", "CT Unspecified body region"),
    ),
    (
        "DX",
        Concept("DX", "DCM", "Digital Radiography"),
        Concept("43468-8", "LN", "XR Unspecified body region"),
    ),
    ("ES", Concept("ES", "DCM", "Endoscopy"), IMAGING_PROCEDURE),
    (
        "IVUS",
        Concept("IVUS", "DCM", "Intravascular Ultrasound"),
        IMAGING_PROCEDURE,
    ),
    ("MG", Concept("MG", "DCM", "Mammography"), IMAGING_PROCEDURE),
    (
        "MR",
        Concept("MR", "DCM", "Magnetic Resonance"),
        Concept("25056-3", "LN", "MR Unspecified body region"),
    ),
    (
        "NM",
        Concept("NM", "DCM", "Nuclear Medicine"),
        IMAGING_PROCEDURE,
    ),
    (
        "OP",
        Concept("OP", "DCM", "Ophthalmic Photography"),
        IMAGING_PROCEDURE,
    ),
    (
        "PT",
        Concept("PT", "DCM", "Positron emission tomography"),
        Concept("44139-4", "LN", "PT Unspecified body region"),
    ),
    (
        "RF",
        Concept("RF", "DCM", "Radiofluoroscopy"),
        IMAGING_PROCEDURE,
    ),
    (
        "US",
        Concept("US", "DCM", "Ultrasound"),
        Concept("25061-3", "LN", "US Unspecified body region"),
    ),
    (
        "XA",
        Concept("XA", "DCM", "X-Ray Angiography"),
        IMAGING_PROCEDURE,
    ),
    (
        "XC",
        Concept("XC", "DCM", "External-camera Photography"),
        IMAGING_PROCEDURE,
    ),
];

/// What a modality of which the standard's list has no name is called.
const OTHER_MODALITY: Concept = Concept("OT", "DCM", "Other Modality");

/// The modality of that value of Modality (0008,0060), and the procedure that it stands for.
pub(crate) fn modality(name: &str) -> (Concept, Concept) {
    let known = MODALITIES.iter().find(|(value, ..)| *value == name);
    known.map_or(
        (OTHER_MODALITY, IMAGING_PROCEDURE),
        |(_, modality, procedure)| (*modality, *procedure),
    )
}

impl Concept {
    /// The item of a code sequence (PS3.3 section 8).
    pub(crate) fn item(self) -> DataSet {
        code_item(&self.into())
    }
}

impl From<Concept> for Code {
    fn from(Concept(value, scheme, meaning): Concept) -> Self {
        Self::new(value, scheme, meaning)
    }
}

/// The item of a code sequence (PS3.3 section 8).
pub(crate) fn code_item(code: &Code) -> DataSet {
    let value = if code.value.chars().count() <= CODE_VALUE_CHARS_MAX {
        text(tags::CODE_VALUE, VR::SH, &*code.value)
    } else {
        text(tags::LONG_CODE_VALUE, VR::UC, &*code.value)
    };
    data_set([
        value,
        text(tags::CODING_SCHEME_DESIGNATOR, VR::SH, &*code.scheme),
        text(tags::CODE_MEANING, VR::LO, long_string(&code.meaning)),
    ])
}

/// The item that says whose scheme [`PRIVATE_SCHEME`] is (PS3.3 section C.12.1.1.1, Coding Scheme Identification).
pub(crate) fn private_scheme_item(manufacturer: &str) -> DataSet {
    data_set([
        text(tags::CODING_SCHEME_DESIGNATOR, VR::SH, PRIVATE_SCHEME),
        text(
            tags::CODING_SCHEME_UID,
            VR::UI,
            derived_uid("coding scheme", &[PRIVATE_SCHEME.as_bytes()]),
        ),
        text(
            tags::CODING_SCHEME_NAME,
            VR::ST,
            "Pericard concepts that no standard scheme has a code for",
        ),
        text(tags::CODING_SCHEME_VERSION, VR::SH, "1"),
        text(
            tags::CODING_SCHEME_RESPONSIBLE_ORGANIZATION,
            VR::ST,
            manufacturer,
        ),
    ])
}
