//! What the imaging models must show, on real studies, through the whole appliance.

use crate::network::validate;
use crate::support::*;
use serde_json::Value;
use std::path::Path;

/// How much of a line that a person reads must lie in boxes that the model gave.
const COVERED_MIN: f64 = 0.5;
/// How far the segmentation may differ from the reference pipeline's.
const DICE_MIN: f64 = 0.995;
/// How far the volume may differ from the reference pipeline's, as a part of it.
const VOLUME_OFF_MAX: f64 = 0.005;

/// A study of its own for every file, so that each has its own report.
fn send(appliance: &Appliance, file: &Path) -> String {
    // Ours, because DCMTK's sender does not offer a file's own compressed transfer syntax by itself.
    appliance.pericard(&["submit", file.to_str().expect("a path")]);
    study_of(file)
}

/// The one report of this model that rests on this image.
fn report_on(appliance: &Appliance, study: &str, file: &Path) -> Value {
    let jobs = appliance.jobs_ended(study);
    for job in &jobs {
        assert_eq!(job["state"], "done", "{}: {job}", file.display());
    }
    appliance
        .reports(study)
        .into_iter()
        .find(|report| report["superseded"] == false)
        .expect("a report")
}

#[test]
fn every_line_that_a_person_reads_is_found_and_nothing_on_clean_images() {
    if sample("us1").is_none() {
        return;
    }
    let toml = "[[rules]]\nname = 'text'\nmodels = ['burned-in-text']\nidle_timeout_s = 1\n";
    let Some(appliance) = Appliance::start(Given {
        toml,
        models: &["burned-in-text"],
    }) else {
        return;
    };
    let truth: Value = serde_json::from_str(include_str!("../fixtures/burned_in_text.json"))
        .expect("the ground truth");
    let mut missed = Vec::new();
    for study in truth["with_text"].as_array().expect("studies") {
        let file = cache()
            .join("samples")
            .join(study["sample"].as_str().expect("a sample"));
        let report = report_on(&appliance, &send(&appliance, &file), &file);
        let boxes: Vec<[f64; 4]> = report["findings"]
            .as_array()
            .expect("findings")
            .iter()
            .map(bounds)
            .collect();
        for line in study["lines"]
            .as_array()
            .expect("lines")
            .iter()
            .filter(|line| line["kind"] == "line")
        {
            if covered(&line["box"], &boxes) < COVERED_MIN {
                missed.push(format!("{}: {}", study["sample"], line["text"]));
            }
        }
    }
    assert!(
        missed.is_empty(),
        "lines that a person reads and the model does not find: {missed:#?}"
    );
    for study in truth["clean"].as_array().expect("studies") {
        let file = cache()
            .join("samples")
            .join(study["sample"].as_str().expect("a sample"));
        let report = report_on(&appliance, &send(&appliance, &file), &file);
        let mine = |finding: &&Value| {
            finding["region"]["source"]["instance"] == report["evidence"][0]["instance"]
        };
        let found: Vec<_> = report["findings"]
            .as_array()
            .expect("findings")
            .iter()
            .filter(mine)
            .collect();
        assert!(
            found.is_empty(),
            "{}: text where there is none: {found:?}",
            file.display()
        );
    }
}

/// Left, top, right, bottom of a finding's outline.
fn bounds(finding: &Value) -> [f64; 4] {
    let corners = finding["region"]["corners"].as_array().expect("corners");
    let along = |axis: usize| {
        corners
            .iter()
            .map(move |corner| corner[axis].as_f64().expect("a number"))
    };
    let (least, most) = (f64::min, f64::max);
    [
        along(0).fold(f64::MAX, least),
        along(1).fold(f64::MAX, least),
        along(0).fold(f64::MIN, most),
        along(1).fold(f64::MIN, most),
    ]
}

/// Which part of a line's box lies in the boxes. Boxes of text hardly overlap, so their parts are added.
fn covered(line: &Value, boxes: &[[f64; 4]]) -> f64 {
    let side = |i: usize| line[i].as_f64().expect("a number");
    let overlap = |a0: f64, a1: f64, b0: f64, b1: f64| (a1.min(b1) - a0.max(b0)).max(0.0);
    let inside: f64 = boxes
        .iter()
        .map(|b| overlap(side(0), side(2), b[0], b[2]) * overlap(side(1), side(3), b[1], b[3]))
        .sum();
    inside / ((side(2) - side(0)) * (side(3) - side(1)))
}

#[test]
fn the_brain_agrees_with_the_reference_pipeline() {
    let (Some(head), Some(_)) = (sample("t1-head"), program("storescu")) else {
        return;
    };
    let toml = "[[rules]]\nname = 'brain'\nmodels = ['brain-extraction']\nidle_timeout_s = 3\n";
    let Some(appliance) = Appliance::start(Given {
        toml,
        models: &["brain-extraction"],
    }) else {
        return;
    };
    let sent = appliance.storescu(&["-R", "+sd", "+r"], &[&head]);
    assert!(
        sent.status.success(),
        "{}",
        String::from_utf8_lossy(&sent.stderr)
    );
    let studies = appliance.json("/api/v1/studies");
    let study = studies["studies"][0]["study"]
        .as_str()
        .expect("a study")
        .to_owned();
    let report = report_on(&appliance, &study, &head);
    let measured = report["findings"][0]["measurements"][0]["value"]
        .as_f64()
        .expect("a volume");
    let objects = report["objects"].as_array().expect("objects");
    assert_eq!(objects.len(), 2, "a segmentation and a structured report");
    let file = appliance.dir.path().join("seg.dcm");
    let url = objects
        .iter()
        .filter_map(|o| o["wado_url"].as_str())
        .next()
        .expect("a URL");
    let path = &url[url.find("/dicomweb").expect("a DICOMweb path")..];
    let (ca, out) = (appliance.ca(), file.to_str().expect("a path").to_owned());
    let url = format!("https://{}{path}", appliance.https);
    if python(
        "wado.py",
        &[&url, &appliance.token, ca.to_str().expect("a path"), &out],
    )
    .is_none()
    {
        return;
    }
    validate(&file);
    let volume = cache().join("samples/source/t1.nii.gz");
    let printed = python("brain.py", &[&out, volume.to_str().expect("a path")]).expect("python");
    let compared: Value = serde_json::from_str(&printed).expect("JSON");
    let (dice, reference) = (
        compared["dice"].as_f64().expect("Dice"),
        compared["reference_ml"].as_f64().expect("mL"),
    );
    eprintln!("brain: Dice {dice:.4}, {measured:.1} mL, reference {reference:.1} mL");
    assert!(dice >= DICE_MIN, "{compared}");
    assert!(
        (measured - reference).abs() <= VOLUME_OFF_MAX * reference,
        "{measured} mL, reference {reference} mL"
    );
}
