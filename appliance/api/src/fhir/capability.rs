//! What this FHIR service can do (FHIR R4 CapabilityStatement).

use super::study::{FINDING_PARAMETERS, STUDY_PARAMETERS};
use crate::appliance::Api;
use serde_json::{Value, json};

pub(super) fn statement(api: &Api, base: &str) -> Value {
    let findings = "Preliminary: made by models and verified by nobody.";
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": api.started_at.rfc3339(),
        "kind": "instance",
        "software": {"name": "Pericard", "version": api.rooms.version},
        "implementation": {"description": "A sovereign AI appliance for hospitals", "url": base},
        "fhirVersion": "4.0.1",
        "format": ["json"],
        "rest": [{
            "mode": "server",
            "security": {"description": "A bearer token of the role clinician, over TLS 1.3."},
            "resource": [
                resource("ImagingStudy", STUDY_PARAMETERS, "The studies that are held."),
                resource("DiagnosticReport", FINDING_PARAMETERS, findings),
                resource("Observation", FINDING_PARAMETERS, findings),
            ],
        }],
    })
}

fn resource(kind: &str, parameters: &[(&str, &str)], documentation: &str) -> Value {
    let searched = parameters
        .iter()
        .filter(|(name, _)| !name.starts_with('_') && !name.contains([':', '.']));
    let searched = searched.map(|(name, meaning)| {
        let kind = match *name {
            "started" | "date" => "date",
            "imaging-study" | "derived-from" => "reference",
            _ => "token",
        };
        json!({"name": name, "type": kind, "documentation": meaning})
    });
    let patient = json!({"name": "patient", "type": "reference", "documentation": "by patient.identifier only"});
    let all: Vec<Value> = searched.chain([patient]).collect();
    json!({
        "type": kind,
        "documentation": documentation,
        "interaction": [{"code": "read"}, {"code": "search-type"}],
        "searchParam": all,
    })
}
