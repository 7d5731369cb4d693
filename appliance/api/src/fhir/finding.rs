//! DiagnosticReport and Observation: what a model found, in the coded words of its manifest. Preliminary, always.

use super::resource::{concept, made_by_ai, started, subject, system, uid_identifier};
use crate::appliance::Api;
use pericard_dicom::report::report_uid;
use pericard_domain::finding::{Finding, Measurement};
use pericard_domain::study::Study;
use pericard_store::KeptReport;
use serde_json::{Value, json};

/// What is said of every result.
const UNVERIFIED: &str = "Made by an AI model and verified by nobody.";
const NOT_CLINICAL: &str = "Not for clinical use.";

/// A report.
pub(super) fn report(api: &Api, study: &Study, kept: &KeptReport) -> Value {
    let report = &kept.report;
    let uid = report_uid(&report.study, report.revision, &report.model);
    let found = match report.findings.len() {
        0 => "It found nothing.".to_owned(),
        1 => "It found one thing.".to_owned(),
        n => format!("It found {n} things."),
    };
    let mut resource = json!({
        "resourceType": "DiagnosticReport",
        "id": format!("report-{}", kept.job),
        "meta": made_by_ai(),
        "identifier": [uid_identifier(uid.as_str())],
        "status": status(kept),
        "category": [{"coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD", "display": "Radiology",
        }]}],
        "code": {
            "coding": [{"system": "http://loinc.org", "code": "18748-4", "display": "Diagnostic imaging study"}],
            "text": format!("Analysis by {}", report.model),
        },
        "subject": subject(study),
        "issued": report.at.rfc3339(),
        "imagingStudy": [{"reference": format!("ImagingStudy/{}", study.study)}],
        "conclusion": format!("{} {found} Computed on {}.", said(kept), report.device),
    });
    if let Some(started) = started(api, study) {
        resource["effectiveDateTime"] = json!(started);
    }
    let results = (1..=report.findings.len()).map(|n| {
        let reference = format!("Observation/{}", observation_id(kept, n));
        json!({"reference": reference})
    });
    let results: Vec<Value> = results.collect();
    // FHIR has no empty lists.
    if !results.is_empty() {
        resource["result"] = Value::Array(results);
    }
    resource
}

/// One observation for each finding.
pub(super) fn observations(api: &Api, study: &Study, kept: &KeptReport) -> Vec<Value> {
    let findings = (1..).zip(&kept.report.findings);
    findings
        .map(|(n, finding)| observation(api, (study, kept), n, finding))
        .collect()
}

fn observation(
    api: &Api,
    (study, kept): (&Study, &KeptReport),
    n: usize,
    finding: &Finding,
) -> Value {
    let report = &kept.report;
    let mut resource = json!({
        "resourceType": "Observation",
        "id": observation_id(kept, n),
        "meta": made_by_ai(),
        "contained": [device(kept)],
        "identifier": [uid_identifier(finding.tracking_uid.as_str())],
        "status": status(kept),
        "category": [{"coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "imaging", "display": "Imaging",
        }]}],
        "code": concept(&finding.concept),
        "subject": subject(study),
        "issued": report.at.rfc3339(),
        "device": {"reference": "#model"},
        "note": [{"text": said(kept)}],
        "derivedFrom": [{"reference": format!("ImagingStudy/{}", study.study)}],
    });
    if let Some(started) = started(api, study) {
        resource["effectiveDateTime"] = json!(started);
    }
    match &finding.text {
        Some(text) => resource["valueString"] = json!(text),
        None => {
            let present = json!({"system": "http://snomed.info/sct", "code": "52101004", "display": "Present"});
            resource["valueCodeableConcept"] = json!({"coding": [present]});
        }
    }
    let mut components: Vec<Value> = finding.measurements.iter().map(component).collect();
    components.extend(finding.score.map(score));
    if !components.is_empty() {
        resource["component"] = Value::Array(components);
    }
    resource
}

fn observation_id(kept: &KeptReport, n: usize) -> String {
    format!("finding-{}-{n}", kept.job)
}

/// A later revision's report takes an earlier one's place.
const fn status(kept: &KeptReport) -> &'static str {
    if kept.superseded {
        "cancelled"
    } else {
        "preliminary"
    }
}

fn said(kept: &KeptReport) -> String {
    let mut said = vec![UNVERIFIED];
    if !kept.report.clinical_use {
        said.push(NOT_CLINICAL);
    }
    if kept.superseded {
        said.push("A later revision of the study has another report.");
    }
    said.join(" ")
}

/// The model, and what it ran on.
fn device(kept: &KeptReport) -> Value {
    let (model, ran_on) = (&kept.report.model, &kept.report.device);
    json!({
        "resourceType": "Device",
        "id": "model",
        "deviceName": [{"name": model.name, "type": "model-name"}],
        "version": [{"value": model.version}],
        "property": [{"type": {"text": "What the model ran on"}, "valueCode": [{"text": ran_on}]}],
        "identifier": [{"system": "urn:pericard:model-sha256", "value": model.digest.to_string()}],
    })
}

fn component(measurement: &Measurement) -> Value {
    let unit = &measurement.unit;
    json!({
        "code": concept(&measurement.concept),
        "valueQuantity": {
            "value": measurement.value, "unit": unit.meaning, "system": system(&unit.scheme), "code": unit.value,
        },
    })
}

fn score(score: f32) -> Value {
    json!({
        "code": {"text": "How sure the model is, 0 to 1"},
        "valueQuantity": {
            "value": (f64::from(score) * 1e4).round() / 1e4, "system": "http://unitsofmeasure.org", "code": "1",
        },
    })
}
