//! The golden cases of every prompt package: what was given, what a model said, and what comes out of it. No model is asked.

use pericard_domain::digest::Digest;
use pericard_domain::finding::{Code, Finding, Measurement, Region, Report};
use pericard_domain::model::ModelRef;
use pericard_domain::time::Timestamp;
use pericard_scribe::impression::Facts;
use pericard_scribe::package::Package;
use pericard_scribe::{Refusal, deidentify, structure};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Each package has at least so many.
const CASES_MIN: usize = 5;

/// One case.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What the task is given, when that is a text.
    #[serde(default)]
    text: String,
    /// What the caller knows of it.
    #[serde(default)]
    known: Vec<String>,
    /// What the task is given, when that is a study's findings.
    #[serde(default)]
    findings: Vec<Found>,
    /// The model's words: JSON, or a text that is none; nothing when no model is asked.
    said: Value,
    /// What comes out, or why nothing does.
    expected: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    finding: String,
    measurements: Vec<Measured>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Measured {
    of: String,
    value: f64,
    unit: String,
}

#[test]
fn every_package_keeps_its_golden_cases() {
    for package in Package::all() {
        let cases = cases_of(&package.name);
        assert!(cases.len() >= CASES_MIN, "{} has too few", package.name);
        for (name, case) in cases {
            let came = match outcome(&package.name, &case) {
                Ok(came) => came,
                Err(refusal) => json!({"refused": refusal.to_string()}),
            };
            let expected = &case.expected;
            assert_eq!(
                &came, expected,
                "{}, {name}: came {came:#}\nexpected {expected:#}",
                package.name
            );
        }
    }
}

fn cases_of(package: &str) -> Vec<(String, Case)> {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("packages");
    let folder = packages.join(package).join("golden");
    let entries = fs::read_dir(&folder).expect("every package has golden cases");
    let files = entries.map(|entry| entry.expect("a file").path());
    let cases = files.map(|file| {
        let text = fs::read_to_string(&file).expect("a case is text");
        let name = file.display().to_string();
        let case: Case = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        (name, case)
    });
    cases.collect()
}

fn outcome(package: &str, case: &Case) -> Result<Value, Refusal> {
    let said = match &case.said {
        Value::Null => None,
        Value::String(words) => Some(words.clone()),
        form => Some(form.to_string()),
    };
    let words = || said.clone().expect("this task asks a model");
    match package {
        "structure-report" => {
            let report = structure::Report::read(&case.text)?;
            report.check(&words()).map(|found| json!(found))
        }
        "deidentify-text" => {
            let cleaned = deidentify::clean(&case.text, &case.known, &[], said.as_deref());
            cleaned.map(|cleaned| json!(cleaned))
        }
        "draft-impression" => {
            let facts = Facts::of(&[report(&case.findings)])?;
            facts.check(&words()).map(|drafted| json!(drafted))
        }
        other => panic!("{other} is a package whose cases nothing runs: say how, here"),
    }
}

fn report(findings: &[Found]) -> Report {
    Report {
        study: "1.2".parse().expect("a UID"),
        revision: 1,
        model: ModelRef {
            name: "m".into(),
            version: "1.0.0".into(),
            digest: Digest::new([0; 32]),
        },
        clinical_use: false,
        evidence: Vec::new(),
        findings: findings.iter().map(finding).collect(),
        device: "cpu".into(),
        at: Timestamp::from_millis(0),
    }
}

fn finding(found: &Found) -> Finding {
    let code = |meaning: &str| Code::new("1", "99TEST", meaning);
    let measurements = found.measurements.iter().map(|measured| Measurement {
        concept: code(&measured.of),
        value: measured.value,
        unit: Code::new(&measured.unit, "UCUM", &measured.unit),
    });
    Finding {
        tracking_id: "one".into(),
        tracking_uid: "1.2.3".parse().expect("a UID"),
        concept: code(&found.finding),
        region: Region::Frames {
            sources: Vec::new(),
        },
        measurements: measurements.collect(),
        text: None,
        score: None,
    }
}
