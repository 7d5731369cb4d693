//! De-identification, judged by readers that are not ours.

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use pericard_dicom::deidentify::{
    Cleaned, EDITION, Keep, Key, OPTIONS_EDITION, Profile, Refusal, Text, deidentify,
};
use pericard_dicom::scan::ScanLimits;
use pericard_domain::image::{FrameRef, TextBox};
use pericard_domain::uid::InstanceUid;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

const CASES: [&str; 6] = ["ct", "mr", "cr", "us", "sc", "rle"];

fn profile(keep: &[Keep]) -> Profile {
    Profile {
        key: Key::new([7; 32]),
        keep: keep.iter().copied().collect(),
    }
}

#[test]
fn nothing_that_was_planted_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let Some(boxes) = planted(folder.path()) else {
        return;
    };
    let boxes: Vec<TextBox> = CASES.iter().map(|name| text_box(&boxes[*name])).collect();
    let mut studies = BTreeSet::new();
    let mut referred = BTreeSet::new();
    for name in CASES {
        let cleaned = clean(folder.path(), name, &profile(&[]), Text::Found(&boxes)).unwrap();
        let said = walked(folder.path(), name, &cleaned);
        assert_eq!(said["left"], json!([]), "{name}");
        assert_eq!(said["bytes"], json!([]), "{name}");
        assert_eq!(said["preamble"], true, "{name}");
        assert_eq!(
            (&said["removed"], &said["dates"], &said["burned_in"]),
            (&json!("YES"), &json!("REMOVED"), &json!("NO"))
        );
        assert_eq!(said["codes"], json!(["113100", "113101"]), "{name}");
        let method = format!("Pericard, PS3.15 table E.1-1 {EDITION}, options {OPTIONS_EDITION}");
        assert_eq!(said["method"], method, "{name}: both editions");
        assert!(method.len() <= 64, "as long as an LO may be");
        assert_eq!(said["text"], 1, "{name}: the text is one even area");
        assert_eq!(said["bright"], 0, "{name}: and not what it was");
        assert_eq!(said["outside"], true, "{name}: all else is as it was");
        assert_eq!(said["unused_bits"], 0, "{name}");
        let uids = &said["uids"];
        assert_eq!(uids["instance"], uids["meta"], "{name}");
        assert_eq!(uids["instance"], cleaned.instance.as_str(), "{name}");
        assert_eq!(uids["source"], uids["deep"], "{name}");
        studies.insert(uids["study"].to_string());
        referred.insert(uids["source"].to_string());
        if name == "ct" {
            // It is the object that all of them refer to.
            referred.insert(uids["instance"].to_string());
        }
        assert_eq!(said["patient"][0], said["patient"][1], "{name}");
    }
    assert_eq!((studies.len(), referred.len()), (1, 1), "UIDs go together");
}

#[test]
fn what_options_keep_is_kept_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let Some(boxes) = planted(folder.path()) else {
        return;
    };
    let boxes = [text_box(&boxes["ct"])];
    let clean_with = |keep: &[Keep]| {
        let cleaned = clean(folder.path(), "ct", &profile(keep), Text::Found(&boxes));
        walked(folder.path(), "ct", &cleaned.unwrap())
    };
    let full = clean_with(&[Keep::FullDates]);
    assert_eq!(
        (&full["study_date"], &full["dates"]),
        (&json!("19431217"), &json!("UNMODIFIED"))
    );
    assert_eq!(full["codes"], json!(["113100", "113101", "113106"]));
    let left = left_of(&full);
    let (listed, count) = (kept_by('F'), left.len());
    assert!(left.iter().all(|tag| listed.contains(tag)), "{left:#?}");
    assert!(count > 100, "{count}");

    let shifted = clean_with(&[Keep::ShiftedDates]);
    let date = shifted["study_date"].as_str().unwrap();
    assert!(date < "19431217" && date > "19331201", "{date}");
    assert_eq!(shifted["dates"], "MODIFIED");
    assert!(
        shifted["left"]
            .as_array()
            .unwrap()
            .iter()
            .all(|left| left.as_str().unwrap().contains("031517")),
        "times of day only: {}",
        shifted["left"]
    );

    let uids = clean_with(&[Keep::Uids]);
    assert_eq!(uids["uids"]["study"], "1.2.3.999.2");
    for (keep, letter) in [
        (Keep::PatientCharacteristics, 'P'),
        (Keep::Device, 'V'),
        (Keep::Institution, 'I'),
    ] {
        let said = clean_with(&[keep]);
        let (left, listed) = (left_of(&said), kept_by(letter));
        assert!(
            left.iter().all(|tag| listed.contains(tag)),
            "{keep:?} {left:#?}"
        );
        assert!(left.len() > 3, "{keep:?} {left:#?}");
        assert!(!said["left"].to_string().contains("Zugzwang"), "{said}");
    }
}

#[test]
fn without_a_look_only_cross_sections_go_out() {
    let folder = tempfile::tempdir().unwrap();
    if planted(folder.path()).is_none() {
        return;
    }
    for (name, goes) in [("ct", true), ("mr", true), ("cr", false), ("us", false)] {
        let cleaned = clean(folder.path(), name, &profile(&[]), Text::NotLookedFor);
        match cleaned {
            Ok(_) => assert!(goes, "{name}"),
            Err(refusal) => assert!(!goes && matches!(refusal, Refusal::NotLookedAt), "{name}"),
        }
    }
}

#[test]
fn what_cannot_be_cleaned_is_refused() {
    let refusal = |change: &dyn Fn(&mut InMemDicomObject), looked: Text<'_>| {
        let mut object = image();
        change(&mut object);
        deidentify(
            Cursor::new(bytes(object)),
            &ScanLimits::default(),
            &profile(&[]),
            looked,
        )
    };
    let found = Text::Found(&[]);
    assert!(refusal(&|_| {}, found).is_ok());
    assert!(refusal(&|_| {}, Text::NotLookedFor).is_ok());
    let said = |tag, value: &'static str| {
        move |object: &mut InMemDicomObject| {
            object.put(DataElement::new(tag, VR::CS, PrimitiveValue::from(value)));
        }
    };
    let burned_in = said(tags::BURNED_IN_ANNOTATION, "YES");
    assert!(matches!(refusal(&burned_in, found), Err(Refusal::NotFound)));
    assert!(matches!(
        refusal(&burned_in, Text::NotLookedFor),
        Err(Refusal::NotLookedAt)
    ));
    let face = said(tags::RECOGNIZABLE_VISUAL_FEATURES, "YES");
    assert!(matches!(refusal(&face, found), Err(Refusal::Recognizable)));
    let label = |object: &mut InMemDicomObject| {
        let values = ["ORIGINAL", "PRIMARY", "LABEL"].map(str::to_owned);
        let values = PrimitiveValue::Strs(values.into_iter().collect());
        object.put(DataElement::new(tags::IMAGE_TYPE, VR::CS, values));
    };
    assert!(matches!(refusal(&label, found), Err(Refusal::Label)));
    let document = |object: &mut InMemDicomObject| {
        object.remove_element(tags::PIXEL_DATA);
        let pdf = PrimitiveValue::from(b"%PDF".to_vec());
        object.put(DataElement::new(tags::ENCAPSULATED_DOCUMENT, VR::OB, pdf));
    };
    assert!(matches!(refusal(&document, found), Err(Refusal::NoImage)));
    let short = |object: &mut InMemDicomObject| {
        let pixels = PrimitiveValue::from(vec![0_u8; 2]);
        object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, pixels));
    };
    assert!(matches!(
        refusal(&short, found),
        Err(Refusal::Undecodable(_))
    ));
    for corner in [f32::NAN, 5000.0] {
        let here = TextBox {
            source: FrameRef {
                instance: InstanceUid::new("1.2.3.4").unwrap(),
                frame: 1,
            },
            corners: [[corner, 1.0]; 4],
            text: String::new(),
            score: 1.0,
        };
        let boxes = [here];
        assert!(matches!(
            refusal(&|_| {}, Text::Found(&boxes)),
            Err(Refusal::Box)
        ));
    }
}

/// The attributes in which something was left, the innermost of nested ones, as eight digits.
fn left_of(said: &Value) -> BTreeSet<String> {
    let left = said["left"].as_array().unwrap().iter();
    left.map(|line| {
        let line = line.as_str().unwrap();
        let place = line.split(") ").next().unwrap();
        let tag = &place[place.rfind('(').unwrap() + 1..];
        tag.replace(',', "")
    })
    .collect()
}

/// The attributes that the table lets an option keep, by the option's letter.
fn kept_by(letter: char) -> BTreeSet<String> {
    let table = include_str!("../../src/deidentify/table_e_1_1.txt");
    let lines = table
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    lines
        .filter(|words| words.len() == 3 && words[2].contains(letter))
        .map(|words| words[0].to_owned())
        .collect()
}

/// A small CT image.
fn image() -> InMemDicomObject {
    let mut object = InMemDicomObject::new_empty();
    for (tag, vr, value) in [
        (tags::SOP_CLASS_UID, VR::UI, "1.2.840.10008.5.1.4.1.1.2"),
        (tags::SOP_INSTANCE_UID, VR::UI, "1.2.3.4"),
        (tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3"),
        (tags::SERIES_INSTANCE_UID, VR::UI, "1.2.3.1"),
        (tags::PATIENT_NAME, VR::PN, "A^B"),
        (tags::PATIENT_ID, VR::LO, "1"),
        (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
    ] {
        object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
    }
    let shorts: [(Tag, u16); 7] = [
        (tags::ROWS, 4),
        (tags::COLUMNS, 4),
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, 12),
        (tags::HIGH_BIT, 11),
        (tags::PIXEL_REPRESENTATION, 0),
    ];
    for (tag, value) in shorts {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    }
    let pixels = PrimitiveValue::from(vec![1_u8; 32]);
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, pixels));
    object
}

fn bytes(object: InMemDicomObject) -> Vec<u8> {
    let meta = FileMetaTableBuilder::new().transfer_syntax("1.2.840.10008.1.2.1");
    let mut bytes = Vec::new();
    let file = object.with_meta(meta).unwrap();
    file.write_all(&mut bytes).unwrap();
    bytes
}

fn clean(
    folder: &Path,
    name: &str,
    profile: &Profile,
    looked: Text<'_>,
) -> Result<Cleaned, Refusal> {
    let file = File::open(folder.join(name).with_extension("dcm")).unwrap();
    deidentify(file, &ScanLimits::default(), profile, looked)
}

fn text_box(said: &Value) -> TextBox {
    TextBox {
        source: FrameRef {
            instance: InstanceUid::new(said["instance"].as_str().unwrap()).unwrap(),
            frame: 1,
        },
        corners: serde_json::from_value(said["corners"].clone()).unwrap(),
        text: "PHI".into(),
        score: 0.9,
    }
}

/// Attributes of the table that no file has: command elements (PS3.7 E.1), which go over the network only.
const NOT_PLANTED: [&str; 2] = ["00001000", "00001001"];

/// The files of `plant.py`, and where their text is; `None` when Python is not there.
fn planted(folder: &Path) -> Option<Value> {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/deidentify/table_e_1_1.txt");
    let said = python("plant.py", &[&table, folder])?;
    for name in CASES {
        assert_eq!(said[name]["not_planted"], json!(NOT_PLANTED), "{name}");
        // All of the table's 652 but those two; in items, all but its sequences and the file's header too.
        assert_eq!(said[name]["planted"], json!([650, 574]), "{name}");
    }
    Some(said)
}

/// What `walk.py` and `dcmdump` find in a cleaned object.
fn walked(folder: &Path, name: &str, cleaned: &Cleaned) -> Value {
    let path = folder.join(format!("{name}.clean.dcm"));
    std::fs::write(&path, &cleaned.bytes).unwrap();
    match Command::new("dcmdump").arg(&path).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{name}: {said}");
            assert!(!said.contains("Zugzwang"), "{name}: {said}");
        }
        Err(error) => passed_over(Path::new("dcmdump"), &error),
    }
    python("walk.py", &[&path, &folder.join(format!("{name}.npy"))]).unwrap()
}

fn python(script: &str, arguments: &[&Path]) -> Option<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/deidentify")
        .join(script);
    let set = std::env::var_os("PERICARD_PEERS_VENV").map(PathBuf::from);
    let home =
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/pericard/venv");
    let program = set.unwrap_or_else(home).join("bin/python");
    let output = match Command::new(&program).arg(script).args(arguments).output() {
        Ok(output) => output,
        Err(error) => {
            passed_over(&program, &error);
            return None;
        }
    };
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complained}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Says that a program is not there, and fails where `CI` is `true`.
fn passed_over(program: &Path, error: &std::io::Error) {
    let reason = format!(
        "{}: {error}; `cargo xtask test` installs it",
        program.display()
    );
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{reason}"
    );
    eprintln!("skipped: {reason}");
}
