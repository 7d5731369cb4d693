//! `pericard deidentify`, read by pydicom and by DCMTK.

use crate::support::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;

/// By modality, and the one that came as JPEG.
const IMAGES: [&str; 6] = ["CR", "CT", "MR", "OT", "US", "US JPEG"];

fn exported(appliance: &Appliance, from: &Path, out: &Path, more: &[&str]) -> Output {
    let path = |path: &Path| path.to_str().expect("a path").to_owned();
    let (from, out) = (path(from), path(out));
    let args = [&["deidentify", &from, "--out", &out], more].concat();
    ended(&mut appliance.command(&args))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn planted(folder: &Path) -> Option<()> {
    let table = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("appliance/dicom/src/deidentify/table_e_1_1.txt");
    let path = |path: &Path| path.to_str().expect("a path").to_owned();
    for tool in ["dcmcjpeg", "dcmj2pnm", "dcmdump"] {
        program(tool)?;
    }
    python("deidentified.py", &["plant", &path(&table), &path(folder)]).map(|_| ())
}

#[test]
fn a_patient_in_words_and_pixels_stays_in_the_house() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (from, out) = (folder.path().join("from"), folder.path().join("out"));
    fs::create_dir(&from).expect("a folder");
    if planted(&from).is_none() {
        return;
    }
    let Some(appliance) = Appliance::start(Given {
        toml: "",
        models: &["burned-in-text"],
    }) else {
        return;
    };
    fs::write(from.join("notes.txt"), "Zugzwang").expect("a file that is no image");
    let output = exported(&appliance, &from, &out, &[]);
    let report = said(&output);
    assert_eq!(
        output.status.code(),
        Some(1),
        "one file is refused: {report}"
    );
    assert!(report.contains("6 of 7 images exported"), "{report}");
    assert!(report.contains("not exported: notes.txt: "), "{report}");
    assert!(!report.contains("Zugzwang"), "{report}");

    let path = |path: &Path| path.to_str().expect("a path").to_owned();
    let found = python("deidentified.py", &["read", &path(&from), &path(&out)]).expect("python");
    let found: Value = serde_json::from_str(&found).expect("JSON");
    assert_eq!(found.as_object().map(serde_json::Map::len), Some(6));
    for modality in IMAGES {
        let image = &found[modality];
        assert_eq!(image["left"], serde_json::json!([]), "{modality}");
        assert_eq!(
            image["letters"], 0,
            "{modality}: pixels of letters are left"
        );
        assert_eq!(
            image["body"], true,
            "{modality}: and what is no text is as it was"
        );
        assert_eq!(image["dumped"], true, "{modality}: dcmdump reads it");
        assert_eq!(image["drawn"], true, "{modality}: dcmj2pnm draws it");
        assert_eq!(image["study"], found["CT"]["study"], "{modality}");
        assert_eq!(
            image["codes"],
            serde_json::json!(["113100", "113101"]),
            "{modality}"
        );
    }
    assert_eq!(found["US"]["frames"], 3);
    assert_eq!(found["US JPEG"]["frames"], 3);

    // The same secret makes the same pseudonyms; a folder that is not empty is not written to.
    let (one, again) = (folder.path().join("one"), folder.path().join("again"));
    fs::create_dir(&one).expect("a folder");
    fs::copy(from.join("CT.dcm"), one.join("CT.dcm")).expect("a copy");
    assert!(exported(&appliance, &one, &again, &[]).status.success());
    assert!(files_in(&again).is_subset(&files_in(&out)));
    let output = exported(&appliance, &from, &out, &[]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}

/// The names of an export's files, which lie in folders of studies.
fn files_in(out: &Path) -> BTreeSet<String> {
    let entries = |dir: &Path| fs::read_dir(dir).expect("a folder");
    entries(out)
        .flat_map(|study| entries(&study.expect("a study").path()))
        .map(|file| {
            file.expect("a file")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

#[test]
fn without_a_model_only_cross_sections_leave() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (from, out) = (folder.path().join("from"), folder.path().join("out"));
    fs::create_dir(&from).expect("a folder");
    if planted(&from).is_none() {
        return;
    }
    let Some(appliance) = Appliance::start(Given::default()) else {
        return;
    };
    let output = exported(&appliance, &from, &out, &["--keep", "uids,shifted-dates"]);
    let report = said(&output);
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.contains("2 of 6 images exported"), "{report}");
    assert!(
        report.contains("no text spotting model is live"),
        "{report}"
    );
    for modality in ["CR", "OT", "US", "US-JPEG"] {
        assert!(
            report.contains(&format!("not exported: {modality}.dcm: text may be")),
            "{report}"
        );
    }
    assert_eq!(files_in(&out).len(), 2);
    assert!(out.join("1.2.3.999.2").is_dir(), "UIDs are kept: {report}");
}
