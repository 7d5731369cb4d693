//! Objects as scanners make them, with little to see in them: enough to build results from.

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Length, Tag, VR, value::Value};
use dicom_dictionary_std::tags;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use pericard_dicom::scan::ScanLimits;
use pericard_dicom::source::Source;
use std::io::Cursor;

pub(crate) const SIDE: usize = 16;
pub(crate) const STUDY: &str = "1.2.826.0.1.3680043.9999.1";
pub(crate) const ENHANCED_MR: &str = "1.2.840.10008.5.1.4.1.1.4.1";
const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";

/// Where a stack of slices lies: position of the first, directions of rows and columns, spacing and step, mm.
#[derive(Clone, Copy)]
pub(crate) struct Stack {
    pub(crate) origin: [f64; 3],
    pub(crate) row: [f64; 3],
    pub(crate) column: [f64; 3],
    /// From row to row, and from column to column.
    pub(crate) spacing: [f64; 2],
    pub(crate) step: f64,
    pub(crate) slices: usize,
}

impl Stack {
    pub(crate) fn normal(&self) -> [f64; 3] {
        let (a, b) = (self.row, self.column);
        [
            a[1] * b[2] - a[2] * b[1],
            a[2] * b[0] - a[0] * b[2],
            a[0] * b[1] - a[1] * b[0],
        ]
    }

    pub(crate) fn position(&self, slice: usize) -> [f64; 3] {
        std::array::from_fn(|n| self.origin[n] + slice as f64 * self.step * self.normal()[n])
    }
}

pub(crate) const AXIAL: Stack = Stack {
    origin: [-120.0, -100.5, 31.25],
    row: [1.0, 0.0, 0.0],
    column: [0.0, 1.0, 0.0],
    spacing: [0.7, 0.7],
    step: 1.5,
    slices: 6,
};

/// Turned about two axes, all three spacings different.
pub(crate) fn oblique() -> Stack {
    let (a, b) = (0.35_f64, 0.2_f64);
    Stack {
        origin: [10.0, -87.123_456, 44.0],
        row: [b.cos(), b.sin(), 0.0],
        column: [-b.sin() * a.cos(), b.cos() * a.cos(), a.sin()],
        spacing: [0.976_562_5, 2.0],
        step: 2.929_687_5,
        slices: 7,
    }
}

/// An object as a file.
pub(crate) type File = Vec<u8>;

/// One of every kind, by name.
pub(crate) fn every() -> [(&'static str, Vec<File>); 7] {
    [
        ("CT axial", ct_files(&AXIAL)),
        ("CT oblique", ct_files(&oblique())),
        ("MR oblique", mr_files(&oblique())),
        ("MR enhanced", vec![enhanced_mr_file(&AXIAL)]),
        ("CR", vec![cr_file()]),
        ("US", vec![us_file("MONOCHROME2")]),
        ("US in colour", vec![us_file("YBR_FULL_422")]),
    ]
}

/// Through the scanner, as received objects come.
pub(crate) fn all(files: &[File]) -> Vec<Source> {
    let read = |file| Source::read(&mut Cursor::new(file), &ScanLimits::default()).unwrap();
    files.iter().map(read).collect()
}

pub(crate) fn ct(stack: &Stack) -> Vec<Source> {
    all(&ct_files(stack))
}

fn ct_files(stack: &Stack) -> Vec<File> {
    slices("CT", "1.2.840.10008.5.1.4.1.1.2", stack, |object| {
        put(object, tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\AXIAL");
        put(object, tags::RESCALE_INTERCEPT, VR::DS, "-1024");
        put(object, tags::RESCALE_SLOPE, VR::DS, "1");
        put(object, tags::WINDOW_CENTER, VR::DS, "40\\300");
        put(object, tags::WINDOW_WIDTH, VR::DS, "400\\1500");
    })
}

pub(crate) fn mr(stack: &Stack) -> Vec<Source> {
    all(&mr_files(stack))
}

fn mr_files(stack: &Stack) -> Vec<File> {
    slices("MR", "1.2.840.10008.5.1.4.1.1.4", stack, |object| {
        put(object, tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\OTHER");
        put(object, tags::MR_ACQUISITION_TYPE, VR::CS, "3D");
        put(
            object,
            tags::SPECIFIC_CHARACTER_SET,
            VR::CS,
            "\\ISO 2022 IR 87",
        );
        let name = "Yamada^Tarou=\u{1b}$B;3ED\u{1b}(B^\u{1b}$BB@O:\u{1b}(B";
        put(object, tags::PATIENT_NAME, VR::PN, name);
    })
}

/// A projection, without a place in space.
pub(crate) fn cr() -> Vec<Source> {
    all(&[cr_file()])
}

fn cr_file() -> File {
    let mut object = image("CR", "1.2.840.10008.5.1.4.1.1.1", 1);
    put(&mut object, tags::PATIENT_ORIENTATION, VR::CS, "L\\F");
    put(
        &mut object,
        tags::IMAGER_PIXEL_SPACING,
        VR::DS,
        "0.14\\0.14",
    );
    put(
        &mut object,
        tags::PHOTOMETRIC_INTERPRETATION,
        VR::CS,
        "MONOCHROME1",
    );
    file(object)
}

/// Ultrasound of four frames.
pub(crate) fn us() -> Vec<Source> {
    all(&[us_file("MONOCHROME2")])
}

/// Ultrasound of four frames, grey or in colour.
fn us_file(photometric: &str) -> File {
    let mut object = image("US", "1.2.840.10008.5.1.4.1.1.3.1", 1);
    put(&mut object, tags::NUMBER_OF_FRAMES, VR::IS, "4");
    put(
        &mut object,
        tags::PHOTOMETRIC_INTERPRETATION,
        VR::CS,
        photometric,
    );
    file(object)
}

/// One enhanced MR object with a frame for each slice, in falling order.
pub(crate) fn enhanced_mr(stack: &Stack) -> Vec<Source> {
    all(&[enhanced_mr_file(stack)])
}

fn enhanced_mr_file(stack: &Stack) -> File {
    let mut object = image("MR", ENHANCED_MR, 1);
    put(
        &mut object,
        tags::NUMBER_OF_FRAMES,
        VR::IS,
        &stack.slices.to_string(),
    );
    put(
        &mut object,
        tags::FRAME_OF_REFERENCE_UID,
        VR::UI,
        &uid("space", 0),
    );
    let place = |slice| {
        let position = item(&[(
            tags::IMAGE_POSITION_PATIENT,
            decimals(&stack.position(slice)),
        )]);
        items(&[(tags::PLANE_POSITION_SEQUENCE, position)])
    };
    let orientation: Vec<f64> = stack.row.into_iter().chain(stack.column).collect();
    let shared = items(&[
        (
            tags::PLANE_ORIENTATION_SEQUENCE,
            item(&[(tags::IMAGE_ORIENTATION_PATIENT, decimals(&orientation))]),
        ),
        (
            tags::PIXEL_MEASURES_SEQUENCE,
            item(&[(tags::PIXEL_SPACING, decimals(&stack.spacing))]),
        ),
    ]);
    object.put(sequence(
        tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
        vec![shared],
    ));
    object.put(sequence(
        tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
        (0..stack.slices).rev().map(place).collect(),
    ));
    file(object)
}

/// A slice for each position of the stack, numbered against their order.
fn slices(
    modality: &str,
    sop_class: &str,
    stack: &Stack,
    more: impl Fn(&mut InMemDicomObject),
) -> Vec<File> {
    let orientation: Vec<f64> = stack.row.into_iter().chain(stack.column).collect();
    let slice = |k: usize| {
        let mut object = image(modality, sop_class, stack.slices - k);
        put(
            &mut object,
            tags::FRAME_OF_REFERENCE_UID,
            VR::UI,
            &uid("space", 0),
        );
        put(
            &mut object,
            tags::IMAGE_POSITION_PATIENT,
            VR::DS,
            &decimals(&stack.position(k)),
        );
        put(
            &mut object,
            tags::IMAGE_ORIENTATION_PATIENT,
            VR::DS,
            &decimals(&orientation),
        );
        put(
            &mut object,
            tags::PIXEL_SPACING,
            VR::DS,
            &decimals(&stack.spacing),
        );
        put(
            &mut object,
            tags::SLICE_THICKNESS,
            VR::DS,
            &decimals(&[stack.step]),
        );
        more(&mut object);
        file(object)
    };
    (0..stack.slices).map(slice).collect()
}

fn image(modality: &str, sop_class: &str, number: usize) -> InMemDicomObject {
    let mut object = InMemDicomObject::new_empty();
    for (tag, vr, value) in [
        (tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100"),
        (tags::SOP_CLASS_UID, VR::UI, sop_class),
        (tags::SOP_INSTANCE_UID, VR::UI, &uid(modality, number)),
        (tags::STUDY_DATE, VR::DA, "20260102"),
        (tags::STUDY_TIME, VR::TM, "103000.5"),
        (tags::ACCESSION_NUMBER, VR::SH, "A-17"),
        (tags::MODALITY, VR::CS, modality),
        (tags::MANUFACTURER, VR::LO, "Synth\u{e9}tique"),
        (tags::MANUFACTURER_MODEL_NAME, VR::LO, "S-1"),
        (tags::REFERRING_PHYSICIAN_NAME, VR::PN, "Roth^Ren\u{e9}"),
        (tags::STUDY_DESCRIPTION, VR::LO, "Sch\u{e4}del"),
        (tags::PATIENT_NAME, VR::PN, "Muster^J\u{f6}rg"),
        (tags::PATIENT_ID, VR::LO, "P-42"),
        (tags::PATIENT_BIRTH_DATE, VR::DA, "19500101"),
        (tags::PATIENT_SEX, VR::CS, "O"),
        (tags::PATIENT_AGE, VR::AS, "075Y"),
        (tags::STUDY_INSTANCE_UID, VR::UI, STUDY),
        (tags::SERIES_INSTANCE_UID, VR::UI, &uid(modality, 0)),
        (tags::STUDY_ID, VR::SH, "7"),
        (tags::SERIES_NUMBER, VR::IS, "1"),
        (tags::INSTANCE_NUMBER, VR::IS, &number.to_string()),
        (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
    ] {
        put(&mut object, tag, vr, value);
    }
    for (tag, value) in [
        (tags::ROWS, SIDE),
        (tags::COLUMNS, SIDE),
        (tags::SAMPLES_PER_PIXEL, 1),
    ] {
        object.put(DataElement::new(
            tag,
            VR::US,
            PrimitiveValue::from(value as u16),
        ));
    }
    object
}

fn file(object: InMemDicomObject) -> File {
    let meta = FileMetaTableBuilder::new().transfer_syntax(EXPLICIT_LE);
    let mut bytes = Vec::new();
    object
        .with_meta(meta)
        .unwrap()
        .write_all(&mut bytes)
        .unwrap();
    bytes
}

/// Texts here are Latin-1 characters: in the other character set of these objects they are bytes.
fn put(object: &mut InMemDicomObject, tag: Tag, vr: VR, value: &str) {
    object.put(DataElement::new(
        tag,
        vr,
        PrimitiveValue::Strs(value.split('\\').map(str::to_owned).collect()),
    ));
}

fn item(texts: &[(Tag, String)]) -> Vec<InMemDicomObject> {
    let mut object = InMemDicomObject::new_empty();
    for (tag, value) in texts {
        put(&mut object, *tag, VR::DS, value);
    }
    vec![object]
}

fn items(sequences: &[(Tag, Vec<InMemDicomObject>)]) -> InMemDicomObject {
    InMemDicomObject::from_element_iter(
        sequences
            .iter()
            .map(|(tag, items)| sequence(*tag, items.clone())),
    )
}

fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::SQ, Value::new_sequence(items, Length::UNDEFINED))
}

fn decimals(values: &[f64]) -> String {
    let short = |v: &f64| {
        let text = format!("{v:.10}");
        text[..text.len().min(16)].to_owned()
    };
    values.iter().map(short).collect::<Vec<_>>().join("\\")
}

fn uid(kind: &str, number: usize) -> String {
    let kind: u32 = kind.bytes().fold(1, |n, b| n * 31 % 65_521 + u32::from(b));
    format!("{STUDY}.{kind}.{}", number + 1)
}
