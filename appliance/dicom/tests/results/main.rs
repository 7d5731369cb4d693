//! Result objects, judged by readers and validators that are not ours.

mod archive;
mod kinds;
mod peers;
mod real;
mod segmentations;
mod sources;

use pericard_dicom::report::{Device, ReportContext, ReportError, ResultObject, structured_report};
use pericard_dicom::source::Source;
use pericard_domain::ae::AeTitle;
use pericard_domain::digest::Digest;
use pericard_domain::finding::{Code, Evidence, Finding, Measurement, Region, Report};
use pericard_domain::image::FrameRef;
use pericard_domain::model::ModelRef;
use pericard_domain::time::Timestamp;
use pericard_domain::uid::{InstanceUid, StudyUid};
use serde_json::{Value, json};
use std::path::PathBuf;

pub(crate) fn device() -> Device {
    Device {
        name: "Appliance in the cellar".into(),
        manufacturer: "Pericard".into(),
        model: "Pericard".into(),
        serial: "0001".into(),
        software_version: "0.1.0".into(),
        ae_title: AeTitle::new("PERICARD").unwrap(),
    }
}

pub(crate) fn context<'a>(sources: &'a [Source], device: &'a Device) -> ReportContext<'a> {
    ReportContext {
        sources,
        device,
        utc_offset_min: 60,
        predecessor: None,
        segments: &[],
    }
}

pub(crate) fn report(sources: &[Source], findings: Vec<Finding>) -> Report {
    let evidence = sources.iter().map(|source| Evidence {
        instance: source.instance().clone(),
        series: source.series().clone(),
        sop_class: source.sop_class().clone(),
    });
    Report {
        study: StudyUid::new(sources::STUDY).unwrap(),
        revision: 1,
        model: ModelRef {
            name: "burned-in-text".into(),
            version: "1.0.0".into(),
            digest: Digest::new([7; 32]),
        },
        clinical_use: false,
        evidence: evidence.collect(),
        findings,
        device: "cpu".into(),
        at: Timestamp::from_millis(1_795_456_800_123), // 2026-11-23T18:00:00.123Z
    }
}

pub(crate) fn finding(name: &str, region: Region) -> Finding {
    Finding {
        tracking_id: name.into(),
        tracking_uid: InstanceUid::new(format!("2.25.{}", name.len() + 1000)).unwrap(),
        concept: Code::new("12738006", "SCT", "Brain"),
        region,
        measurements: vec![],
        text: None,
        score: None,
    }
}

pub(crate) fn frame(source: &Source, frame: u32) -> FrameRef {
    FrameRef {
        instance: source.instance().clone(),
        frame,
    }
}

fn outline(source: &Source, number: u32) -> Region {
    let corners = vec![[1.5, 2.0], [10.0, 2.0], [10.0, 6.25], [1.5, 6.25]];
    Region::Outline {
        source: frame(source, number),
        corners,
    }
}

/// The object in a folder of its own, so that other programs can read it.
pub(crate) struct Written {
    _folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

impl Written {
    pub(crate) fn new(object: &ResultObject) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("object.dcm");
        std::fs::write(&path, &object.bytes).unwrap();
        Self {
            _folder: folder,
            path,
        }
    }
}

/// Writes a report, has it judged, and gives back what highdicom reads in it.
fn judged(report: &Report, context: &ReportContext<'_>, parts: &[&str]) -> Option<Value> {
    let object = structured_report(report, context).unwrap();
    let written = Written::new(&object);
    if let Some(folder) = std::env::var_os("PERICARD_KEEP_RESULTS") {
        let name = format!("{}.dcm", object.identity.instance);
        std::fs::copy(&written.path, PathBuf::from(folder).join(name)).unwrap();
    }
    peers::assert_valid(&written.path);
    peers::assert_dumps(&written.path, parts);
    peers::read(&[&written.path])
}

#[test]
fn text_in_the_frames_of_an_ultrasound() {
    let (sources, device) = (sources::us(), device());
    let mut read = finding("line-1", outline(&sources[0], 2));
    read.concept = Code::new(
        "BURNED-IN-TEXT",
        "99PERICARD",
        "Text burned into the pixels",
    );
    read.text = Some("BAPTIST MED CTR".into());
    read.score = Some(0.984);
    let frames = finding(
        "frames",
        Region::Frames {
            sources: vec![frame(&sources[0], 3), frame(&sources[0], 1)],
        },
    );
    let report = report(&sources, vec![read, frames]);
    let parts = [
        "Comprehensive SR Document",
        "UNVERIFIED",
        "BAPTIST MED CTR",
        "98.4",
    ];
    let Some(said) = judged(&report, &context(&sources, &device), &parts) else {
        return;
    };

    assert_eq!(said["class"], "Comprehensive SR Storage");
    assert_eq!(said["patient"], "Muster^Jörg");
    assert_eq!(said["charset"], "ISO_IR 100");
    assert_eq!(
        said["description"],
        "AI NOT FOR CLINICAL USE: burned-in-text 1.0.0"
    );
    assert_eq!(
        said["flags"],
        json!(["COMPLETE", "UNVERIFIED", "PRELIMINARY"])
    );
    assert_eq!(
        said["content"],
        json!(["20261123", "190000"]),
        "in the hospital's time"
    );
    assert_eq!(said["schemes"], json!(["99PERICARD"]));
    let equipment = json!([
        ["Synthétique", "S-1", ""],
        ["Pericard", "Pericard", "0.1.0"],
        ["Pericard", "burned-in-text", "1.0.0"]
    ]);
    assert_eq!(said["equipment"], equipment);
    let uid = sources[0].instance().as_str();
    let group = &said["groups"][0];
    assert_eq!(group["template"], "1410");
    assert_eq!(group["tracking"], json!(["line-1", "2.25.1006"]));
    assert_eq!(group["finding"], "BURNED-IN-TEXT 99PERICARD");
    assert_eq!(
        group["measurements"],
        json!([["111012 DCM", 98.4, "% UCUM"]])
    );
    assert!(
        group["qualities"]
            .as_array()
            .unwrap()
            .contains(&json!(["RECOGNISED-TEXT 99PERICARD", "BAPTIST MED CTR"]))
    );
    let closed = json!([1.5, 2.0, 10.0, 2.0, 10.0, 6.25, 1.5, 6.25, 1.5, 2.0]);
    assert_eq!(
        group["outlines"],
        json!([{"type": "POLYLINE", "points": closed, "of": [uid, [2]]}])
    );
    assert_eq!(group["algorithm"]["name"], "burned-in-text");
    assert_eq!(group["algorithm"]["version"], "1.0.0");
    assert_eq!(
        group["algorithm"]["parameters"],
        format!("manifest-sha256={}", "07".repeat(32))
    );
    assert_eq!(said["groups"][1]["template"], "1501");
    assert_eq!(said["groups"][1]["images"], json!([[uid, [1, 3]]]));
}

#[test]
fn a_measurement_in_a_series_of_slices() {
    let (sources, device) = (sources::ct(&sources::AXIAL), device());
    let mut brain = finding(
        "brain",
        Region::Frames {
            sources: sources.iter().map(|s| frame(s, 1)).collect(),
        },
    );
    brain.measurements.push(Measurement {
        concept: Code::new("118565006", "SCT", "Volume"),
        value: 1_388.939_857_482_910_2,
        unit: Code::new("mL", "UCUM", "milliliter"),
    });
    let mut report = report(
        &sources,
        vec![brain, finding("box", outline(&sources[2], 1))],
    );
    report.clinical_use = true;
    let Some(said) = judged(
        &report,
        &context(&sources, &device),
        &["Comprehensive 3D SR Document"],
    ) else {
        return;
    };

    assert_eq!(said["class"], "Comprehensive 3D SR Storage");
    assert_eq!(said["description"], "AI: burned-in-text 1.0.0");
    assert_eq!(said["schemes"], json!([]));
    assert_eq!(
        said["evidence"]
            .as_object()
            .unwrap()
            .values()
            .collect::<Vec<_>>(),
        [6]
    );
    let library = &said["library"];
    assert_eq!(library["images"], 6);
    assert_eq!(
        library["own"],
        json!(["Image Position (Patient) Z"]),
        "what differs from slice to slice"
    );
    assert_eq!(
        library["common"][0].as_array().unwrap().len(),
        15,
        "{library}"
    );
    let groups = said["groups"].as_array().unwrap();
    assert_eq!(
        groups[0]["outlines"][0]["of"],
        json!([sources[2].instance().as_str(), []]),
        "one frame needs no number"
    );
    assert_eq!(groups[1]["images"].as_array().unwrap().len(), 6);
    let measured = &groups[1]["measurements"][0];
    assert_eq!(
        (&measured[0], &measured[2]),
        (&json!("118565006 SCT"), &json!("mL UCUM"))
    );
    assert!(
        (measured[1].as_f64().unwrap() - 1_388.939_857_482_91).abs() < 1e-9,
        "{measured}"
    );
}

#[test]
fn nothing_found_is_said() {
    let (sources, device) = (sources::mr(&sources::oblique()), device());
    let parts = ["All algorithms succeeded; without findings", "Comment"];
    let Some(said) = judged(
        &report(&sources, vec![]),
        &context(&sources, &device),
        &parts,
    ) else {
        return;
    };
    assert_eq!(said["patient"], "Yamada^Tarou=山田^太郎");
    assert_eq!(
        said["charset"],
        json!(["", "ISO 2022 IR 87"]),
        "as the source is"
    );
    let group = &said["groups"][0];
    assert_eq!(
        (&group["template"], &group["finding"]),
        (&json!("1501"), &Value::Null)
    );
    let comment = "burned-in-text 1.0.0 analysed 7 images and found nothing of what it looks for.";
    assert_eq!(
        group["qualities"],
        json!([["111017 DCM", "111241 DCM"], ["121106 DCM", comment]])
    );
    assert_eq!(group["images"].as_array().unwrap().len(), 7);
}

#[test]
fn a_projection_and_a_text_beyond_its_character_set() {
    let (sources, device) = (sources::cr(), device());
    let mut read = finding("line", outline(&sources[0], 1));
    read.text = Some("心 \u{7}beyond\nISO_IR 100".into());
    let report = report(&sources, vec![read]);
    let Some(said) = judged(
        &report,
        &context(&sources, &device),
        &["Horizontal Pixel Spacing"],
    ) else {
        return;
    };
    assert_eq!(said["class"], "Comprehensive SR Storage");
    assert_eq!(
        (&said["charset"], &said["patient"]),
        (&json!("ISO_IR 192"), &json!("Muster^Jörg"))
    );
    let qualities = said["groups"][0]["qualities"].as_array().unwrap();
    assert!(
        qualities.contains(&json!([
            "RECOGNISED-TEXT 99PERICARD",
            "心  beyond\nISO_IR 100"
        ])),
        "{qualities:?}"
    );
    assert_eq!(
        said["library"]["common"][0].as_array().unwrap().len(),
        7,
        "{}",
        said["library"]
    );
}

#[test]
fn a_later_revision_refers_to_its_predecessor() {
    let (sources, device) = (sources::enhanced_mr(&sources::AXIAL), device());
    let mut report = report(&sources, vec![finding("x", outline(&sources[0], 6))]);
    let first = structured_report(&report, &context(&sources, &device)).unwrap();
    report.revision = 2;
    let context = ReportContext {
        predecessor: Some(&first.identity),
        ..context(&sources, &device)
    };
    let Some(said) = judged(&report, &context, &["Comprehensive 3D SR Document"]) else {
        return;
    };
    assert_eq!(said["predecessors"], 1);
    let second = structured_report(&report, &context).unwrap();
    assert_ne!(first.identity.instance, second.identity.instance);
    assert_ne!(first.identity.series, second.identity.series);
}

#[test]
fn the_same_work_makes_the_same_bytes() {
    let (sources, device) = (sources::ct(&sources::AXIAL), device());
    let report = report(&sources, vec![finding("x", outline(&sources[0], 1))]);
    let context = context(&sources, &device);
    let first = structured_report(&report, &context).unwrap();
    assert_eq!(first, structured_report(&report, &context).unwrap());
    let mut other = report.clone();
    other.model.digest = Digest::new([8; 32]);
    assert_ne!(
        first.identity.instance,
        structured_report(&other, &context)
            .unwrap()
            .identity
            .instance
    );
}

#[test]
fn the_validator_sees_a_defect() {
    let (sources, device) = (sources::cr(), device());
    let mut object =
        structured_report(&report(&sources, vec![]), &context(&sources, &device)).unwrap();
    let flag = object
        .bytes
        .windows(10)
        .position(|w| w == b"UNVERIFIED")
        .unwrap();
    object.bytes[flag..flag + 10].copy_from_slice(b"UNVARIFIED");
    let Some(verdict) = peers::verdict(&Written::new(&object).path) else {
        return;
    };
    assert!(verdict.contains("Error"), "{verdict}");
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let (sources, device) = (sources::us(), device());
    let context = context(&sources, &device);
    let refused = |report: &Report| structured_report(report, &context).unwrap_err();
    let with = |change: &dyn Fn(&mut Report)| {
        let mut report = report(&sources, vec![finding("x", outline(&sources[0], 1))]);
        change(&mut report);
        refused(&report)
    };
    assert!(matches!(
        with(&|r| r.evidence.clear()),
        ReportError::NoEvidence
    ));
    assert!(matches!(
        with(&|r| r.evidence[0].instance = InstanceUid::new("1.2.3").unwrap()),
        ReportError::NoSource(_)
    ));
    assert!(matches!(
        with(&|r| r.study = StudyUid::new("1.2.3").unwrap()),
        ReportError::WrongStudy { .. }
    ));
    assert!(matches!(
        with(&|r| r.findings[0].score = Some(1.5)),
        ReportError::Score
    ));
    assert!(matches!(
        with(&|r| r.findings[0].score = Some(f32::NAN)),
        ReportError::Score
    ));
    assert!(matches!(
        with(&|r| r.findings[0].concept.meaning = " ".into()),
        ReportError::Code
    ));
    assert!(matches!(
        with(&|r| r.findings[0].region = outline(&sources[0], 5)),
        ReportError::NoSuchFrame(_)
    ));
    assert!(matches!(
        with(&|r| r.findings[0].region = outline(&sources[0], 0)),
        ReportError::NoSuchFrame(_)
    ));
    let flat = Region::Outline {
        source: frame(&sources[0], 1),
        corners: vec![[0.0, 0.0], [1.0, 1.0]],
    };
    assert!(matches!(
        with(&|r| r.findings[0].region = flat.clone()),
        ReportError::Outline
    ));
    let elsewhere = FrameRef {
        instance: InstanceUid::new("1.2.3").unwrap(),
        frame: 1,
    };
    let region = Region::Frames {
        sources: vec![elsewhere],
    };
    assert!(matches!(
        with(&|r| r.findings[0].region = region.clone()),
        ReportError::NoSource(_)
    ));
    let endless = Measurement {
        concept: Code::new("118565006", "SCT", "Volume"),
        value: f64::INFINITY,
        unit: Code::new("mL", "UCUM", "mL"),
    };
    assert!(matches!(
        with(&|r| r.findings[0].measurements.push(endless.clone())),
        ReportError::NotFinite
    ));
}
