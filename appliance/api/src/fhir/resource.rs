//! Pieces that several resources have.

use crate::appliance::Api;
use pericard_domain::finding::Code;
use pericard_domain::study::Study;
use serde_json::{Value, json};

/// What names DICOM's own UIDs.
pub(super) const DICOM_UID: &str = "urn:dicom:uid";
const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";

/// A UID as an identifier.
pub(super) fn uid_identifier(uid: &str) -> Value {
    json!({"use": "official", "system": DICOM_UID, "value": format!("urn:oid:{uid}")})
}

/// The patient, as far as the study says who it is.
pub(super) fn subject(study: &Study) -> Value {
    let facts = &study.facts;
    let mut subject = json!({"type": "Patient"});
    if let Some(id) = &facts.patient_id {
        let kind = json!({"coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR", "display": "Medical record number",
        }]});
        subject["identifier"] = json!({"type": kind, "value": id});
    }
    subject["display"] = match facts.patient_name.as_deref().map(name_for_people) {
        Some(name) if !name.is_empty() => json!(name),
        _ => json!("unnamed"),
    };
    subject
}

/// The alphabetic group of a DICOM name, in the order in which people read it.
pub(super) fn name_for_people(name: &str) -> String {
    let group = name.split('=').next().unwrap_or_default();
    let mut parts = group.split('^').map(str::trim);
    let mut part = || parts.next().unwrap_or_default();
    let (family, given, middle, prefix, suffix) = (part(), part(), part(), part(), part());
    let words = [prefix, given, middle, family, suffix];
    let words: Vec<_> = words.into_iter().filter(|w| !w.is_empty()).collect();
    words.join(" ")
}

/// When the images were made.
pub(super) fn started(api: &Api, study: &Study) -> Option<String> {
    let clock = &api.rooms.clock;
    let facts = &study.facts;
    let offset_min = clock.utc_offset_min(study.first_received_at);
    super::dates::date_time(
        facts.study_date.as_deref(),
        facts.study_time.as_deref(),
        offset_min,
    )
}

/// A coded concept.
pub(super) fn concept(code: &Code) -> Value {
    let coding =
        json!({"system": system(&code.scheme), "code": code.value, "display": code.meaning});
    json!({"coding": [coding], "text": code.meaning})
}

pub(super) fn modality(modality: &str) -> Value {
    json!({"system": DCM, "code": modality})
}

/// FHIR's name for a coding scheme of DICOM (PS3.16 table 8-1).
pub(super) fn system(scheme: &str) -> String {
    let known = match scheme {
        "SCT" => "http://snomed.info/sct",
        "LN" => "http://loinc.org",
        "DCM" => DCM,
        "UCUM" => "http://unitsofmeasure.org",
        "RADLEX" => "http://radlex.org",
        other => return format!("urn:pericard:coding-scheme:{other}"),
    };
    known.to_owned()
}

/// What marks a resource as a model's word.
pub(super) fn made_by_ai() -> Value {
    json!({"security": [{
        "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
        "code": "AIAST",
        "display": "Artificial Intelligence asserted",
    }]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_people_read_them() {
        for (name, expected) in [
            ("DOE^JANE", "JANE DOE"),
            (
                "Adams^John Robert^Quincy^Rev.^B.A.",
                "Rev. John Robert Quincy Adams B.A.",
            ),
            ("Yamada^Tarou=山田^太郎", "Tarou Yamada"),
            ("", ""),
        ] {
            assert_eq!(name_for_people(name), expected);
        }
    }
}
