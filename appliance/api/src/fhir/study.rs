//! ImagingStudy, and what searches say of studies and findings.

use super::dates::DateRange;
use super::resource::{modality, name_for_people, started, subject, uid_identifier};
use crate::appliance::Api;
use crate::asked::Asked;
use crate::problem::Problem;
use pericard_domain::study::{Instance, Study};
use pericard_domain::uid::StudyUid;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(super) const STUDY_PARAMETERS: &[(&str, &str)] = &[
    ("_id", "the study's UID"),
    (
        "identifier",
        "the study's UID as urn:oid:..., or its accession number",
    ),
    ("patient.identifier", "the patient's id in the hospital"),
    ("patient:identifier", "the same"),
    ("subject:identifier", "the same"),
    ("status", "available, which all of them are"),
    ("started", "when it was made, as in ge2026-01-31"),
    ("modality", "a modality of its series"),
    ("_count", "matches of a page"),
    ("_offset", "matches before this page, as the links have it"),
    ("_format", "json"),
];
pub(super) const FINDING_PARAMETERS: &[(&str, &str)] = &[
    ("_id", "its id"),
    ("identifier", "its UID, or the study's, as urn:oid:..."),
    ("patient.identifier", "the patient's id in the hospital"),
    ("patient:identifier", "the same"),
    ("subject:identifier", "the same"),
    ("status", "preliminary, which all of them are"),
    ("date", "when the study was made, as in ge2026-01-31"),
    ("code", "what was found or done: a code, or system|code"),
    ("imaging-study", "ImagingStudy/ and the study's UID"),
    ("derived-from", "the same"),
    ("_count", "matches of a page"),
    ("_offset", "matches before this page, as the links have it"),
    ("_format", "json"),
];

/// What a search asks for.
#[derive(Debug, Default)]
pub(super) struct Filter {
    patient: Option<String>,
    study: Option<StudyUid>,
    /// Another identifier than a study's: of a resource, or an accession number.
    identifier: Option<String>,
    id: Option<String>,
    status: Option<String>,
    dates: Vec<DateRange>,
    code: Option<String>,
    modality: Option<String>,
    /// What was asked for can be nowhere.
    is_nowhere: bool,
}

impl Filter {
    /// # Errors
    /// 400 for a parameter that is not searched by here: passed over, it would find other patients.
    pub(super) fn read(asked: &Asked, known: &[(&str, &str)]) -> Result<Self, Problem> {
        let mut filter = Self::default();
        for (name, value) in &asked.0 {
            if !known.iter().any(|(n, _)| n == name) {
                let detail =
                    format!("{name:.64} is not searched by here; /fhir/metadata says what is");
                return Err(Problem::parameter(name, detail));
            }
            filter.take(name, value)?;
        }
        Ok(filter)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        // Of `system|value` the value: there is one hospital here.
        let token = value.rsplit('|').next().unwrap_or_default();
        match name {
            "patient.identifier" | "patient:identifier" | "subject:identifier" => {
                self.patient = Some(token.to_owned());
            }
            "status" => self.status = Some(token.to_owned()),
            "started" | "date" => self.dates.push(DateRange::read(name, value)?),
            "code" => self.code = Some(token.to_owned()),
            "modality" => self.modality = Some(token.to_owned()),
            "imaging-study" | "derived-from" => {
                let uid = value.rsplit('/').next().unwrap_or_default();
                match uid.parse() {
                    Ok(uid) => self.study = Some(uid),
                    Err(_) => self.is_nowhere = true,
                }
            }
            "identifier" => self.identifier = Some(token.to_owned()),
            "_id" => self.id = Some(value.to_owned()),
            _ => {}
        }
        Ok(())
    }

    /// For the audit log: the study, when one is named.
    pub(super) fn subject(&self) -> &str {
        self.study.as_ref().map_or("all", StudyUid::as_str)
    }

    pub(super) fn named_study(&self) -> Option<&StudyUid> {
        self.study.as_ref()
    }

    pub(super) fn modality(&self) -> Option<&str> {
        self.modality.as_deref()
    }

    pub(super) fn is_available(&self) -> bool {
        self.status.as_deref().is_none_or(|s| s == "available")
    }

    pub(super) fn accepts_study(&self, study: &Study) -> bool {
        let facts = &study.facts;
        let is_patient = |id: &String| facts.patient_id.as_ref() == Some(id);
        let date = facts.study_date.as_deref();
        !self.is_nowhere
            && self.patient.as_ref().is_none_or(is_patient)
            && self.dates.iter().all(|range| range.accepts(date))
    }

    /// Whether a study is the one of that identifier or id; for a search of studies.
    pub(super) fn names(&self, study: &Study) -> bool {
        let uid = study.study.as_str();
        let is_it = |id: &String| {
            let of_uid = id.strip_prefix("urn:oid:").unwrap_or(id);
            of_uid == uid || study.facts.accession_number.as_ref() == Some(id)
        };
        self.identifier.as_ref().is_none_or(is_it) && self.id.as_deref().is_none_or(|id| id == uid)
    }

    /// Whether a resource that was made of a finding is meant.
    pub(super) fn accepts(&self, resource: &Value) -> bool {
        let is = |wanted: &Option<String>, found: &Value| {
            wanted.as_deref().is_none_or(|w| found.as_str() == Some(w))
        };
        let has_code = |code: &String| {
            let codings = resource["code"]["coding"].as_array();
            codings
                .into_iter()
                .flatten()
                .any(|c| c["code"].as_str() == Some(code))
        };
        let has_identifier = |id: &String| {
            let id = id.strip_prefix("urn:oid:").unwrap_or(id);
            let own = resource["identifier"].as_array().into_iter().flatten();
            let own = own.filter_map(|i| i["value"].as_str());
            let studies =
                ["imagingStudy", "derivedFrom"].map(|list| &resource[list][0]["reference"]);
            let studies = studies
                .into_iter()
                .filter_map(|r| r.as_str()?.rsplit('/').next());
            own.map(|v| v.strip_prefix("urn:oid:").unwrap_or(v))
                .chain(studies)
                .any(|v| v == id)
        };
        is(&self.id, &resource["id"])
            && is(&self.status, &resource["status"])
            && self.code.as_ref().is_none_or(has_code)
            && self.identifier.as_ref().is_none_or(has_identifier)
    }
}

/// A study as FHIR has it.
pub(super) fn resource(api: &Api, study: &Study, instances: &[Instance], base: &str) -> Value {
    let facts = &study.facts;
    let modalities: BTreeSet<&str> = instances
        .iter()
        .filter_map(|i| i.facts.modality.as_deref())
        .collect();
    let series = series(instances);
    let dicomweb = base.strip_suffix("/fhir").unwrap_or(base);
    let mut resource = json!({
        "resourceType": "ImagingStudy",
        "id": study.study.as_str(),
        "contained": [{
            "resourceType": "Endpoint", "id": "wado", "status": "active",
            "connectionType": {
                "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type", "code": "dicom-wado-rs",
            },
            "payloadType": [{"text": "DICOM"}],
            "address": format!("{dicomweb}/dicomweb"),
        }],
        "identifier": [uid_identifier(study.study.as_str())],
        "status": "available",
        "subject": subject(study),
        "endpoint": [{"reference": "#wado"}],
        "numberOfSeries": series.len(),
        "numberOfInstances": instances.len(),
    });
    if let Some(accession) = &facts.accession_number {
        let kind = json!({"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]});
        let identifier = json!({"type": kind, "value": accession});
        resource["identifier"] = json!([uid_identifier(study.study.as_str()), identifier]);
    }
    if let Some(started) = started(api, study) {
        resource["started"] = json!(started);
    }
    if let Some(name) = facts.referring_physician.as_deref().map(name_for_people) {
        resource["referrer"] = json!({"display": name});
    }
    if let Some(description) = &facts.study_description {
        resource["description"] = json!(description);
    }
    // FHIR has no empty lists.
    if !modalities.is_empty() {
        resource["modality"] = modalities.into_iter().map(modality).collect();
    }
    if !series.is_empty() {
        resource["series"] = Value::Array(series);
    }
    resource
}

fn series(instances: &[Instance]) -> Vec<Value> {
    let mut all: Vec<Vec<&Instance>> = Vec::new();
    for instance in instances {
        let same = |s: &&mut Vec<&Instance>| s[0].identity.series == instance.identity.series;
        match all.iter_mut().find(same) {
            Some(series) => series.push(instance),
            None => all.push(vec![instance]),
        }
    }
    all.iter().map(|series| one_series(series)).collect()
}

fn one_series(instances: &[&Instance]) -> Value {
    let (identity, facts) = (&instances[0].identity, &instances[0].facts);
    let number = |text: &Option<String>| text.as_deref().and_then(|n| n.trim().parse::<u32>().ok());
    let each = instances.iter().map(|instance| {
        let class = format!("urn:oid:{}", instance.identity.sop_class);
        let mut item = json!({
            "uid": instance.identity.instance.as_str(),
            "sopClass": {"system": "urn:ietf:rfc:3986", "code": class},
        });
        if let Some(number) = number(&instance.facts.instance_number) {
            item["number"] = json!(number);
        }
        item
    });
    let mut series = json!({
        "uid": identity.series.as_str(),
        // Every series has one in DICOM; "OT" is what it says of what it does not know.
        "modality": modality(facts.modality.as_deref().unwrap_or("OT")),
        "numberOfInstances": instances.len(),
        "instance": each.collect::<Vec<_>>(),
    });
    if let Some(number) = number(&facts.series_number) {
        series["number"] = json!(number);
    }
    if let Some(description) = &facts.series_description {
        series["description"] = json!(description);
    }
    series
}
