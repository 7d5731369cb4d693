//! Every kind of result but segmentations, which have tests of their own, for each kind of source.

use crate::sources::{self, SIDE};
use crate::{Written, context, device, finding, frame, outline, peers, report};
use pericard_dicom::report::{
    ReportContext, ReportError, ResultObject, Segmented, Shape, document, key_objects, mask_shapes,
    outline_shapes, presentation_states, rejection, rejection_uid, report_uid, secondary_capture,
    structured_report,
};
use pericard_dicom::source::Source;
use pericard_domain::finding::{Code, Finding, Region, Report};
use pericard_domain::image::{Channels, Frame, FrameRef, Mask, Volume};
use pericard_domain::job::{Failure, FailureClass};
use serde_json::{Value, json};
use std::path::Path;

/// Text that must be in no picture: it may be the patient's name.
const READ: &str = "SECRETNAME";

fn all_sources() -> [(&'static str, Vec<Source>); 7] {
    sources::every().map(|(name, files)| (name, sources::all(&files)))
}

/// A report with an outline in the last frame of the last image.
pub(crate) fn outlined(sources: &[Source]) -> Report {
    let last = sources.last().unwrap();
    let mut line = finding("line-1", outline(last, last.frames()));
    line.text = Some(READ.into());
    line.score = Some(0.75);
    report(sources, vec![line])
}

pub(crate) fn picture(source: &FrameRef, channels: Channels) -> Frame {
    let samples = (0..SIDE * SIDE).flat_map(|i| vec![(i % 200) as u8; channels.count()]);
    Frame {
        source: source.clone(),
        width: SIDE as u32,
        height: SIDE as u32,
        channels,
        samples: samples.collect(),
    }
}

fn kept(object: &ResultObject) -> Written {
    let written = Written::new(object);
    if let Some(folder) = std::env::var_os("PERICARD_KEEP_RESULTS") {
        let name = format!("{}.dcm", object.identity.instance);
        std::fs::copy(&written.path, std::path::PathBuf::from(folder).join(name)).unwrap();
    }
    written
}

/// What `kinds.py` reads in an object that `dciodvfy` finds no error in.
fn judged(name: &str, object: &ResultObject) -> (Written, Option<Value>) {
    let written = kept(object);
    peers::assert_valid(&written.path);
    let bytes = object.bytes.as_slice();
    let has = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    assert!(!has(READ.as_bytes()), "{name}: the text that was read");
    let said = peers::read_by("kinds.py", &[&written.path]);
    if let Some(said) = &said {
        assert_eq!(said["study"], sources::STUDY, "{name}");
        assert_eq!(said["marked"], true, "{name}: {said}");
    }
    (written, said)
}

/// The report itself, with an outline and with whole frames.
#[test]
fn reports_of_every_source() {
    let device = device();
    for (name, sources) in &all_sources() {
        let mut report = outlined(sources);
        let first = Region::Frames {
            sources: vec![frame(&sources[0], 1)],
        };
        report.findings.push(finding("whole frames", first));
        let context = context(sources, &device);
        let Some(said) = crate::judged(&report, &context, &["UNVERIFIED", READ]) else {
            return;
        };
        let lies_in_space = name.starts_with("CT") || name.starts_with("MR");
        let class = match lies_in_space {
            true => "Comprehensive 3D SR Storage",
            false => "Comprehensive SR Storage",
        };
        assert_eq!(said["class"], class, "{name}");
        assert_eq!(said["library"]["images"], sources.len(), "{name}");
        let groups = said["groups"].as_array().unwrap();
        let tracked = [("1410", "line-1"), ("1501", "whole frames")];
        assert_eq!(groups.len(), tracked.len(), "{name}: {said}");
        for ((template, tracking), group) in tracked.iter().zip(groups) {
            assert_eq!(group["template"], *template, "{name}");
            assert_eq!(group["tracking"][0], *tracking, "{name}");
            assert_eq!(group["algorithm"]["name"], "burned-in-text", "{name}");
        }
        let last = sources.last().unwrap();
        let numbers = |source: &Source, frame: u32| match source.frames() {
            1 => json!([]),
            _ => json!([frame]),
        };
        let closed = json!([1.5, 2.0, 10.0, 2.0, 10.0, 6.25, 1.5, 6.25, 1.5, 2.0]);
        let of = json!([last.instance().as_str(), numbers(last, last.frames())]);
        assert_eq!(
            groups[0]["outlines"],
            json!([{"type": "POLYLINE", "points": closed, "of": of}]),
            "{name}"
        );
        let first = json!([sources[0].instance().as_str(), numbers(&sources[0], 1)]);
        assert_eq!(groups[1]["images"], json!([first]), "{name}");
    }
}

#[test]
fn presentation_states_of_every_source() {
    let device = device();
    for (name, sources) in &all_sources() {
        let report = outlined(sources);
        let shapes = outline_shapes(&report).unwrap();
        let made = presentation_states(&report, &context(sources, &device), &shapes).unwrap();
        assert_eq!(made.len(), 1, "{name}");
        let (written, said) = judged(name, &made[0]);
        let is_color = *name == "US in colour";
        if !is_color {
            peers::assert_presents(&written.path); // which knows grey ones only
        }
        let Some(said) = said else { return };
        let closed = json!([1.5, 2.0, 10.0, 2.0, 10.0, 6.25, 1.5, 6.25, 1.5, 2.0]);
        let last = sources.last().unwrap();
        let frames = if last.frames() == 1 {
            json!([])
        } else {
            json!([last.frames()])
        };
        assert_eq!(said["color"], is_color, "{name}");
        assert_eq!(
            said["graphics"],
            json!([[last.instance().as_str(), frames, closed, "line-1"]]),
            "{name}"
        );
        assert_eq!(said["area"], json!([[1, 1], [SIDE, SIDE]]), "{name}");
        let shape = if *name == "CR" { "INVERSE" } else { "IDENTITY" };
        assert_eq!(said["shape"], if is_color { "" } else { shape }, "{name}");
        let pixels = match *name {
            "CT axial" | "MR enhanced" => json!([0.7, 0.7]),
            "CT oblique" | "MR oblique" => json!([0.976_562_5, 2.0]),
            "CR" => json!([0.14, 0.14]),
            _ => json!([1.0, 1.0]),
        };
        assert_eq!(said["pixels"], pixels, "{name}");
        if name.starts_with("CT") {
            assert_eq!(said["window"], json!([[40.0, 400.0]]), "{name}");
            assert_eq!(said["rescale"], json!([-1024.0, 1.0]), "{name}");
        }
    }
}

#[test]
fn images_shown_in_different_ways_have_a_presentation_state_each() {
    let device = device();
    let mut sources = sources::ct(&sources::AXIAL);
    sources.extend(sources::cr());
    let places = [&sources[0], &sources[1], &sources[6]];
    let findings: Vec<Finding> = places
        .iter()
        .enumerate()
        .map(|(n, source)| finding(&"x".repeat(n + 1), outline(source, 1)))
        .collect();
    let report = report(&sources, findings);
    let shapes = outline_shapes(&report).unwrap();
    let context = context(&sources, &device);
    let made = presentation_states(&report, &context, &shapes).unwrap();
    assert_eq!(made.len(), 2);
    assert_eq!(made[0].identity.series, made[1].identity.series);
    assert_ne!(made[0].identity.instance, made[1].identity.instance);
    for state in &made {
        let (written, _) = judged("mixed", state);
        peers::assert_presents(&written.path);
    }
}

#[test]
fn pictures_of_every_source() {
    let device = device();
    for (name, sources) in &all_sources() {
        let report = outlined(sources);
        let shapes = outline_shapes(&report).unwrap();
        let context = context(sources, &device);
        for channels in [Channels::Grey, Channels::Rgb] {
            let frame = picture(&shapes[0].source, channels);
            let object = secondary_capture(&report, &context, (&frame, 1), &shapes).unwrap();
            let (_, said) = judged(name, &object);
            let Some(said) = said else { return };
            assert_eq!(said["burned_in"], "YES", "{name}: the source does not say");
            assert_eq!(said["image_type"], json!(["DERIVED", "SECONDARY"]));
            let (side, scale) = (SIDE as u64 * 32, 32);
            assert_eq!(said["size"], json!([side, side + 18]), "{name}");
            assert_eq!(
                said["source"][0],
                shapes[0].source.instance.as_str(),
                "{name}"
            );
            // The outline's upper edge, the picture's last pixel untouched, and red letters in the strip.
            let row = 18 + 2 * scale;
            assert_eq!(
                said["pixels"]["yellow_rows"][row.to_string()].as_u64(),
                Some(u64::from((10.0_f32 - 1.5) as u32) * scale + 17),
                "{name}: {}",
                said["pixels"]["yellow_rows"]
            );
            assert_eq!(said["pixels"]["last"], json!([55, 55, 55]), "{name}");
            assert_eq!(said["pixels"]["red_only_above"], 18, "{name}");
        }
    }
}

#[test]
fn a_picture_of_a_frame_without_an_outline_is_refused() {
    let (sources, device) = (sources::us(), device());
    let report = outlined(&sources);
    let shapes = outline_shapes(&report).unwrap();
    let context = context(&sources, &device);
    let other = picture(&frame(&sources[0], 1), Channels::Grey);
    let error = secondary_capture(&report, &context, (&other, 1), &shapes).unwrap_err();
    assert!(matches!(error, ReportError::NoPlace), "{error}");
    let mut short = picture(&shapes[0].source, Channels::Grey);
    short.samples.pop();
    let error = secondary_capture(&report, &context, (&short, 1), &shapes).unwrap_err();
    assert!(matches!(error, ReportError::Picture), "{error}");
    assert!(matches!(
        key_objects(&report, &context, &[]).unwrap_err(),
        ReportError::NoPlace
    ));
}

#[test]
fn key_objects_of_every_source() {
    let device = device();
    for (name, sources) in &all_sources() {
        let report = outlined(sources);
        let shapes = outline_shapes(&report).unwrap();
        let object = key_objects(&report, &context(sources, &device), &shapes).unwrap();
        let (written, said) = judged(name, &object);
        peers::assert_dumps(&written.path, &["Of Interest", "not verified"]);
        let Some(said) = said else { return };
        let last = sources.last().unwrap();
        let frames = if last.frames() == 1 {
            json!([])
        } else {
            json!([last.frames()])
        };
        assert_eq!(
            said["key"],
            json!([[last.instance().as_str(), frames]]),
            "{name}"
        );
        assert_eq!(said["title"], "113000 DCM");
    }
}

#[test]
fn documents_of_every_source() {
    let device = device();
    for (name, sources) in &all_sources() {
        let report = outlined(sources);
        let object = document(&report, &context(sources, &device)).unwrap();
        let (written, said) = judged(name, &object);
        let Some(said) = said else { return };
        assert_eq!(said["mime"], "application/pdf", "{name}");
        assert_eq!(said["sources"], sources.len(), "{name}");
        let pdf = written.path.with_extension("pdf");
        let bytes: Vec<u8> = serde_json::from_value(said["document"].clone()).unwrap();
        std::fs::write(&pdf, bytes).unwrap();
        let Some(words) = peers::pdf_words(&pdf) else {
            continue;
        };
        let patient = if name.starts_with("MR oblique") {
            "Patient: Yamada Tarou"
        } else {
            "Patient: Muster Jörg"
        };
        for part in [
            patient,
            "Patient ID: P-42",
            "not verified",
            "1. Brain (line-1): certainty 75.0 %",
            "Model: burned-in-text 1.0.0",
        ] {
            assert!(words.contains(part), "{name}: {part:?} is not in\n{words}");
        }
    }
}

#[test]
fn a_long_document_has_several_pages() {
    let (sources, device) = (sources::cr(), device());
    let findings = (0..200).map(|n| finding(&"n".repeat(n + 1), outline(&sources[0], 1)));
    let report = report(&sources, findings.collect());
    let object = document(&report, &context(&sources, &device)).unwrap();
    let written = kept(&object);
    let Some(said) = peers::read_by("kinds.py", &[&written.path]) else {
        return;
    };
    let pdf = written.path.with_extension("pdf");
    let bytes: Vec<u8> = serde_json::from_value(said["document"].clone()).unwrap();
    std::fs::write(&pdf, bytes).unwrap();
    if let Some(words) = peers::pdf_words(&pdf) {
        assert!(words.matches('\u{c}').count() >= 4, "{words}");
        assert!(words.contains("200. Brain"), "{words}");
    }
}

#[test]
fn an_analysis_that_failed_says_so() {
    let device = device();
    for (name, sources) in &all_sources() {
        let report = report(sources, vec![]);
        let failure = Failure {
            class: FailureClass::UnsuitableInput,
            reason: "3.000 mm between slices 2 and 3; send the missing slice".into(),
        };
        let context = context(sources, &device);
        let object = rejection(&report, &context, &failure, 1).unwrap();
        let written = kept(&object);
        peers::assert_valid(&written.path);
        let parts = [
            "No algorithms succeeded; without findings",
            "UNSUITABLE-INPUT",
        ];
        peers::assert_dumps(&written.path, &parts);
        assert_eq!(
            object.identity.instance,
            rejection_uid(&report.study, 1, &report.model, 1)
        );
        let sound = structured_report(&report, &context).unwrap();
        assert_eq!(
            sound.identity.instance,
            report_uid(&report.study, 1, &report.model)
        );
        assert_ne!(object.identity.series, sound.identity.series);
        let Some(said) = peers::read(&[&written.path]) else {
            return;
        };
        assert_eq!(said["schemes"], json!(["99PERICARD"]), "{name}");
        let qualities = said["groups"][0]["qualities"].as_array().unwrap();
        assert_eq!(qualities[0], json!(["111017 DCM", "111245 DCM"]), "{name}");
        assert_eq!(
            qualities[1],
            json!(["NOT-DONE-BECAUSE 99PERICARD", "UNSUITABLE-INPUT 99PERICARD"])
        );
        let comment = qualities[2][1].as_str().unwrap();
        assert!(comment.contains("It says nothing about what is or is not in the images"));
        assert!(comment.contains("3.000 mm between slices 2 and 3"));
        let again = rejection(&report, &context, &failure, 2).unwrap();
        assert_ne!(again.identity.instance, object.identity.instance);
    }
}

/// The border of a mask, through every kind that shows one.
#[test]
fn the_border_of_a_mask() {
    let device = device();
    let stack = sources::oblique();
    let sources = sources::ct(&stack);
    let slices: Vec<FrameRef> = sources.iter().map(|source| frame(source, 1)).collect();
    let size = [SIDE, SIDE, stack.slices];
    let volume = Volume {
        size,
        origin: [0.0; 3],
        column_step: [1.0, 0.0, 0.0],
        row_step: [0.0, 1.0, 0.0],
        slice_step: [0.0, 0.0, 1.0],
        voxels: vec![0.0; size.iter().product()],
        slices: slices.clone(),
    };
    // A square in slice 2, and a larger one with a hole in slice 3.
    let inside = |i: usize| {
        let (x, y, z) = (i % SIDE, i / SIDE % SIDE, i / SIDE / SIDE);
        match z {
            2 => (4..6).contains(&x) && (5..9).contains(&y),
            3 => (2..9).contains(&x) && (2..9).contains(&y) && (x, y) != (5, 5),
            _ => false,
        }
    };
    let mask = Mask {
        size,
        voxels: (0..volume.voxels.len())
            .map(|i| u8::from(inside(i)))
            .collect(),
    };
    let report = report(
        &sources,
        vec![finding("brain", Region::Frames { sources: slices })],
    );
    let category = Code::new("123037004", "SCT", "Anatomical Structure");
    let segment = Segmented {
        finding: &report.findings[0],
        category: &category,
        mask: &mask,
    };
    let shapes = mask_shapes(&volume, &segment).unwrap();
    let corners: Vec<usize> = shapes
        .iter()
        .map(|shape: &Shape<'_>| shape.corners.len())
        .collect();
    assert_eq!(corners, [4, 4, 4], "a square, a square, its hole");
    let context: ReportContext<'_> = context(&sources, &device);
    let states = presentation_states(&report, &context, &shapes).unwrap();
    let (written, said) = judged("mask", &states[0]);
    peers::assert_presents(&written.path);
    if let Some(said) = said {
        let square = json!([4.0, 5.0, 6.0, 5.0, 6.0, 9.0, 4.0, 9.0, 4.0, 5.0]);
        assert_eq!(said["graphics"][0][2], square);
        assert_eq!(said["graphics"].as_array().unwrap().len(), 3);
    }
    let key = key_objects(&report, &context, &shapes).unwrap();
    if let (_, Some(said)) = judged("mask", &key) {
        let largest = json!([[sources[3].instance().as_str(), []]]);
        assert_eq!(said["key"], largest, "where it is largest");
    }
    let wrong = Mask {
        size: [1, 1, 1],
        voxels: vec![1],
    };
    let wrong = Segmented {
        mask: &wrong,
        ..segment
    };
    assert!(matches!(
        mask_shapes(&volume, &wrong).unwrap_err(),
        ReportError::MaskSize { .. }
    ));
}

/// What PixelMed's validator of 2022 says of sound reports, by whole lines: errors about codes that its list of procedures
/// does not have yet, and that a group of TID 1501 is no group of TID 1410; warnings that what the templates leave open to
/// extension is not in them. Anything else is new, and ours.
#[rustfmt::skip] // whole lines
const PIXELMED_KNOWS_NO_BETTER: &[&str] = &[
    r#"Error: Template 1410 PlanarROIMeasurements/[Row 1] CONTAINER (125007,DCM,"Measurement Group")/[Row 5] SCOORD (111030,DCM,"Image Region"): within 1.10.2: /CONTAINER (126000,DCM,"Imaging Measurement Report")/CONTAINER (126010,DCM,"Imaging Measurements")/CONTAINER (125007,DCM,"Measurement Group"): Missing conditional content item"#,
    r#"Error: Template 1410 PlanarROIMeasurements/[Row 1] CONTAINER (125007,DCM,"Measurement Group")/[Row 7] IMAGE (121214,DCM,"Referenced Segmentation Frame"): within 1.10.2: /CONTAINER (126000,DCM,"Imaging Measurement Report")/CONTAINER (126010,DCM,"Imaging Measurements")/CONTAINER (125007,DCM,"Measurement Group"): Missing conditional content item"#,
    r#"Error: Template 1500 MeasurementReport/[Row 1] CONTAINER CID 7021/[Row 4] CODE (121058,DCM,"Procedure reported"): 1.8: /CONTAINER (126000,DCM,"Imaging Measurement Report")/CODE (121058,DCM,"Procedure reported"): Code (25061-3,LN,"US Unspecified body region") not found in context group 100"#,
    r#"Error: Template 1500 MeasurementReport/[Row 1] CONTAINER CID 7021/[Row 4] CODE (121058,DCM,"Procedure reported"): 1.8: /CONTAINER (126000,DCM,"Imaging Measurement Report")/CODE (121058,DCM,"Procedure reported"): Code (43468-8,LN,"XR Unspecified body region") not found in context group 100"#,
    r#"Warning: 1.10.1.6: /CONTAINER (126000,DCM,"Imaging Measurement Report")/CONTAINER (126010,DCM,"Imaging Measurements")/CONTAINER (125007,DCM,"Measurement Group")/CODE (111017,DCM,"CAD Processing and Findings Summary"): Content Item not in template"#,
    r#"Warning: 1.10.1.7: /CONTAINER (126000,DCM,"Imaging Measurement Report")/CONTAINER (126010,DCM,"Imaging Measurements")/CONTAINER (125007,DCM,"Measurement Group")/CODE (NOT-DONE-BECAUSE,99PERICARD,"Why the analysis could not be done"): Content Item not in template"#,
    r#"Warning: 1.10.1.8: /CONTAINER (126000,DCM,"Imaging Measurement Report")/CONTAINER (126010,DCM,"Imaging Measurements")/CONTAINER (125007,DCM,"Measurement Group")/TEXT (121106,DCM,"Comment"): Content Item not in template"#,
    r#"Warning: 1.10.1.8: /CONTAINER (126000,DCM,"Imaging Measurement Report")/CONTAINER (126010,DCM,"Imaging Measurements")/CONTAINER (125007,DCM,"Measurement Group")/TEXT (RECOGNISED-TEXT,99PERICARD,"Text recognised in the pixels"): Content Item not in template"#,
    r#"Warning: Template 1500 MeasurementReport/[Row 1] CONTAINER CID 7021/[Row 4] CODE (121058,DCM,"Procedure reported"): 1.8: /CONTAINER (126000,DCM,"Imaging Measurement Report")/CODE (121058,DCM,"Procedure reported"): Code (25045-6,LN,"CT Unspecified body region") has different code meaning ("CT Unspecified body region") than code meaning in context group 100 ("CT unspecified body region")"#,
    r#"Warning: Template 1500 MeasurementReport/[Row 1] CONTAINER CID 7021/[Row 4] CODE (121058,DCM,"Procedure reported"): 1.8: /CONTAINER (126000,DCM,"Imaging Measurement Report")/CODE (121058,DCM,"Procedure reported"): Code (25056-3,LN,"MR Unspecified body region") has different code meaning ("MR Unspecified body region") than code meaning in context group 100 ("MRI unspecified body region")"#,
];

#[test]
fn pixelmed_finds_nothing_new() {
    let device = device();
    // One of each modality, and CT in both ways: the validator takes seconds.
    let seen = ["CT axial", "CT oblique", "MR oblique", "CR", "US"];
    let once = |(name, _): &(&str, _)| seen.contains(name);
    for (name, sources) in all_sources().into_iter().filter(once) {
        let mut report = outlined(&sources);
        report.findings.push(finding(
            "frames",
            Region::Frames {
                sources: vec![frame(&sources[0], 1)],
            },
        ));
        let context = context(&sources, &device);
        let shapes = outline_shapes(&report).unwrap();
        let failure = Failure {
            class: FailureClass::Undecodable,
            reason: "broken".into(),
        };
        let selected = "TID_2010 (KeyObjectSelection)";
        for (object, template) in [
            (structured_report(&report, &context).unwrap(), MEASURED),
            (key_objects(&report, &context, &shapes).unwrap(), selected),
            (rejection(&report, &context, &failure, 1).unwrap(), MEASURED),
        ] {
            assert_nothing_new(name, &Written::new(&object).path, template, &[]);
        }
    }
}

pub(crate) const MEASURED: &str = "TID_1500 (MeasurementReport)";

/// And of two volumetric groups: TID 1411 has the algorithm (TID 4019) below each measurement only, by way of TID 1419. But a group
/// may be without a measurement, the template is open to extension, and highdicom writes and reads it where we have it, as
/// TID 1501 does.
#[rustfmt::skip] // whole lines
pub(crate) const PIXELMED_KNOWS_NO_ALGORITHM_OF_A_VOLUME: &[&str] = &[
    r#"Warning: 1.10.1.4: /CONTAINER (126000,DCM,"Imaging Measurement Report")/CONTAINER (126010,DCM,"Imaging Measurements")/CONTAINER (125007,DCM,"Measurement Group")/TEXT (111001,DCM,"Algorithm Name"): Content Item not in template"#,
    r#"Warning: 1.10.1.5: /CONTAINER (126000,DCM,"Imaging Measurement Report")/CONTAINER (126010,DCM,"Imaging Measurements")/CONTAINER (125007,DCM,"Measurement Group")/TEXT (111003,DCM,"Algorithm Version"): Content Item not in template"#,
    r#"Warning: 1.10.1.6: /CONTAINER (126000,DCM,"Imaging Measurement Report")/CONTAINER (126010,DCM,"Imaging Measurements")/CONTAINER (125007,DCM,"Measurement Group")/TEXT (111002,DCM,"Algorithm Parameters"): Content Item not in template"#,
    r#"Warning: 1.10.2.4: /CONTAINER (126000,DCM,"Imaging Measurement Report")/CONTAINER (126010,DCM,"Imaging Measurements")/CONTAINER (125007,DCM,"Measurement Group")/TEXT (111001,DCM,"Algorithm Name"): Content Item not in template"#,
    r#"Warning: 1.10.2.5: /CONTAINER (126000,DCM,"Imaging Measurement Report")/CONTAINER (126010,DCM,"Imaging Measurements")/CONTAINER (125007,DCM,"Measurement Group")/TEXT (111003,DCM,"Algorithm Version"): Content Item not in template"#,
    r#"Warning: 1.10.2.6: /CONTAINER (126000,DCM,"Imaging Measurement Report")/CONTAINER (126010,DCM,"Imaging Measurements")/CONTAINER (125007,DCM,"Measurement Group")/TEXT (111002,DCM,"Algorithm Parameters"): Content Item not in template"#,
];

/// PixelMed's validator says of it what is pinned above, or among the `further` lines, and no more.
pub(crate) fn assert_nothing_new(name: &str, path: &Path, template: &str, further: &[&str]) {
    let Some(said) = peers::pixelmed(path, template) else {
        return;
    };
    let is_known = |line: &str| !is_new(line) || further.contains(&line);
    let new: Vec<&String> = said.iter().filter(|line| !is_known(line)).collect();
    assert!(new.is_empty(), "{name}: {new:#?}");
}

fn is_new(line: &str) -> bool {
    !PIXELMED_KNOWS_NO_BETTER.contains(&line)
}

#[test]
fn pixelmed_sees_a_defect() {
    let (sources, device) = (sources::cr(), device());
    let report = outlined(&sources);
    let mut object = structured_report(&report, &context(&sources, &device)).unwrap();
    // The measurements under a code that the template does not have there.
    let measurements = b"126010";
    let places: Vec<usize> = (0..object.bytes.len() - measurements.len())
        .filter(|at| object.bytes[*at..].starts_with(measurements))
        .collect();
    assert_eq!(places.len(), 1, "the code of the measurements");
    object.bytes[places[0]..places[0] + measurements.len()].copy_from_slice(b"126019");
    let Some(said) = peers::pixelmed(&Written::new(&object).path, MEASURED) else {
        return;
    };
    let errors: Vec<_> = said
        .iter()
        .filter(|line| line.starts_with("Error: ") && is_new(line))
        .collect();
    assert!(!errors.is_empty(), "{said:#?}");
}
