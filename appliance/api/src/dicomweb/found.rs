//! What searches match and answer: the store's words for studies, series and instances, as attributes.

use super::attributes::Attributes;
use pericard_domain::study::{Instance, InstanceFacts, RequestFacts, Study};
use std::collections::BTreeSet;

/// Scheduled Procedure Step ID, where series have it.
pub(super) const STEP_ID: &str = "RequestAttributesSequence.ScheduledProcedureStepID";
/// Requested Procedure ID, where series have it.
pub(super) const PROCEDURE_ID: &str = "RequestAttributesSequence.RequestedProcedureID";

pub(super) fn request_value<'a>(request: &'a RequestFacts, keyword: &str) -> Option<&'a str> {
    match keyword {
        STEP_ID => request.step_id.as_deref(),
        _ => request.procedure_id.as_deref(),
    }
}

pub(super) fn study_value<'a>(study: &'a Study, keyword: &str) -> Option<&'a str> {
    let facts = &study.facts;
    match keyword {
        "StudyDate" => facts.study_date.as_deref(),
        "StudyTime" => facts.study_time.as_deref(),
        "AccessionNumber" => facts.accession_number.as_deref(),
        "ReferringPhysicianName" => facts.referring_physician.as_deref(),
        "StudyDescription" => facts.study_description.as_deref(),
        "PatientName" => facts.patient_name.as_deref(),
        "PatientID" => facts.patient_id.as_deref(),
        "PatientBirthDate" => facts.patient_birth_date.as_deref(),
        "PatientSex" => facts.patient_sex.as_deref(),
        "StudyInstanceUID" => Some(study.study.as_str()),
        "StudyID" => facts.study_id.as_deref(),
        _ => None,
    }
}

pub(super) fn series_value<'a>(instance: &'a Instance, keyword: &str) -> Option<&'a str> {
    match keyword {
        "Modality" => instance.facts.modality.as_deref(),
        "SeriesDescription" => instance.facts.series_description.as_deref(),
        "BodyPartExamined" => instance.facts.body_part.as_deref(),
        "SeriesInstanceUID" => Some(instance.identity.series.as_str()),
        "SeriesNumber" => instance.facts.series_number.as_deref(),
        "PerformedProcedureStepStartDate" => instance.facts.performed_date.as_deref(),
        "PerformedProcedureStepStartTime" => instance.facts.performed_time.as_deref(),
        _ => None,
    }
}

pub(super) fn instance_value<'a>(instance: &'a Instance, keyword: &str) -> Option<&'a str> {
    match keyword {
        "SOPClassUID" => Some(instance.identity.sop_class.as_str()),
        "SOPInstanceUID" => Some(instance.identity.instance.as_str()),
        "InstanceNumber" => instance.facts.instance_number.as_deref(),
        _ => None,
    }
}

pub(super) fn modalities(instances: &[Instance]) -> BTreeSet<&str> {
    instances
        .iter()
        .filter_map(|i| i.facts.modality.as_deref())
        .collect()
}

/// The instances by series, in the store's order.
pub(super) fn series_of<'a>(instances: &[&'a Instance]) -> Vec<Vec<&'a Instance>> {
    let mut all: Vec<Vec<&Instance>> = Vec::new();
    for &instance in instances {
        let same = |s: &&mut Vec<&Instance>| s[0].identity.series == instance.identity.series;
        match all.iter_mut().find(same) {
            Some(series) => series.push(instance),
            None => all.push(vec![instance]),
        }
    }
    all
}

pub(super) fn study_attributes(study: &Study, instances: &[Instance], base: &str) -> Attributes {
    let facts: &InstanceFacts = &study.facts;
    let series: BTreeSet<_> = instances.iter().map(|i| &i.identity.series).collect();
    Attributes::default()
        .text("00080020", "DA", facts.study_date.as_deref())
        .text("00080030", "TM", facts.study_time.as_deref())
        .text("00080050", "SH", facts.accession_number.as_deref())
        .text("00080056", "CS", Some("ONLINE"))
        .texts("00080061", "CS", modalities(instances))
        .text("00080090", "PN", facts.referring_physician.as_deref())
        .text("00081030", "LO", facts.study_description.as_deref())
        .text(
            "00081190",
            "UR",
            Some(&format!("{base}/dicomweb/studies/{}", study.study)),
        )
        .text("00100010", "PN", facts.patient_name.as_deref())
        .text("00100020", "LO", facts.patient_id.as_deref())
        .text("00100030", "DA", facts.patient_birth_date.as_deref())
        .text("00100040", "CS", facts.patient_sex.as_deref())
        .text("0020000D", "UI", Some(study.study.as_str()))
        .text("00200010", "SH", facts.study_id.as_deref())
        .number(
            "00201206",
            "IS",
            i64::try_from(series.len()).unwrap_or(i64::MAX),
        )
        .number(
            "00201208",
            "IS",
            i64::try_from(instances.len()).unwrap_or(i64::MAX),
        )
}

pub(super) fn series_attributes(series: &[&Instance], base: &str) -> Attributes {
    let (identity, facts) = (&series[0].identity, &series[0].facts);
    let url = format!(
        "{base}/dicomweb/studies/{}/series/{}",
        identity.study, identity.series
    );
    of_series(series[0])
        .text("00081190", "UR", Some(&url))
        .text("00180015", "CS", facts.body_part.as_deref())
        .number(
            "00201209",
            "IS",
            i64::try_from(series.len()).unwrap_or(i64::MAX),
        )
}

fn of_series(instance: &Instance) -> Attributes {
    let facts = &instance.facts;
    let mut attributes = Attributes::default();
    for (tag, vr, value) in [
        ("00400244", "DA", &facts.performed_date),
        ("00400245", "TM", &facts.performed_time),
    ] {
        if value.is_some() {
            attributes = attributes.text(tag, vr, value.as_deref());
        }
    }
    if !facts.requests.is_empty() {
        let items = facts.requests.iter().map(|request| {
            Attributes::default()
                .text("00400009", "SH", request.step_id.as_deref())
                .text("00401001", "SH", request.procedure_id.as_deref())
        });
        attributes = attributes.sequence("00400275", items.collect());
    }
    attributes
        .text("00080060", "CS", instance.facts.modality.as_deref())
        .text(
            "0008103E",
            "LO",
            instance.facts.series_description.as_deref(),
        )
        .text("0020000E", "UI", Some(instance.identity.series.as_str()))
        .text("00200011", "IS", instance.facts.series_number.as_deref())
}

pub(super) fn instance_attributes(instance: &Instance, base: &str) -> Attributes {
    let (identity, facts) = (&instance.identity, &instance.facts);
    let url = format!(
        "{base}/dicomweb/studies/{}/series/{}/instances/{}",
        identity.study, identity.series, identity.instance
    );
    let mut attributes = of_series(instance)
        .text("00080016", "UI", Some(identity.sop_class.as_str()))
        .text("00080018", "UI", Some(identity.instance.as_str()))
        .text("00081190", "UR", Some(&url))
        .text("00083002", "UI", Some(identity.transfer_syntax.as_str()))
        .text("00200013", "IS", facts.instance_number.as_deref());
    for (tag, vr, value) in [
        ("00280008", "IS", facts.frames),
        ("00280010", "US", facts.rows),
        ("00280011", "US", facts.columns),
    ] {
        if let Some(value) = value {
            attributes = attributes.number(tag, vr, value);
        }
    }
    attributes
}
