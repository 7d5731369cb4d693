//! That an analysis could not be done: a report of TID 1500 that says so in codes, so that nobody takes silence for
//! "nothing found".

use super::concept::*;
use super::content::{Relation, code, container, image, uid, words};
use super::group::{algorithm, reference};
use super::{
    Analysis, Kind, ReportContext, ReportError, ResultObject, build, imaging_report, instance_of,
    instance_uid,
};
use crate::write::{DataSet, derived_uid};
use pericard_domain::finding::Report;
use pericard_domain::job::{Failure, FailureClass};
use pericard_domain::model::ModelRef;
use pericard_domain::uid::{InstanceUid, StudyUid};

/// A report that the analysis was tried `attempts` times and failed. The evidence of `report` is what was to be
/// analysed; its findings are passed over.
///
/// # Errors
/// As [`super::structured_report`].
pub fn rejection(
    report: &Report,
    context: &ReportContext<'_>,
    failure: &Failure,
    attempts: u32,
) -> Result<ResultObject, ReportError> {
    let part = attempts.max(1);
    build(report, context, |analysis| {
        let group = group(analysis, failure);
        Ok(imaging_report(
            analysis,
            Kind::REJECTION,
            part,
            vec![group],
            true,
        ))
    })
}

/// The instance that [`rejection`] makes for that revision, model and number of attempts.
#[must_use]
pub fn rejection_uid(
    study: &StudyUid,
    revision: u32,
    model: &ModelRef,
    attempts: u32,
) -> InstanceUid {
    let kind = Kind::REJECTION;
    instance_uid(instance_of(study, revision, model, kind, attempts.max(1)))
}

fn group(analysis: &Analysis<'_>, failure: &Failure) -> DataSet {
    let report = analysis.report;
    let model = &report.model;
    let tracked = derived_uid(
        "summary",
        &[report.study.as_str().as_bytes(), model.digest.as_bytes()],
    );
    let name = format!("{} {}", model.name, model.version);
    let comment = format!(
        "{name} could not analyse this study. It says nothing about what is or is not in the images. Reason: {}",
        failure.reason
    );
    let mut items = vec![
        words(Relation::Context, TRACKING_ID, &name),
        uid(Relation::Context, TRACKING_UID, &tracked),
    ];
    items.extend(algorithm(analysis));
    items.push(code(
        Relation::Contains,
        SUMMARY,
        NO_ALGORITHM_SUCCEEDED.item(),
    ));
    items.push(code(
        Relation::Contains,
        NOT_DONE_BECAUSE,
        because(failure.class).item(),
    ));
    items.push(words(Relation::Contains, COMMENT, &comment));
    for object in &analysis.sources {
        items.push(image(
            Relation::Contains,
            Some(SOURCE_OF_MEASUREMENT),
            reference(object, &[]),
        ));
    }
    container(MEASUREMENT_GROUP, Some("1501"), items)
}

/// The class of a failure in our own scheme; no standard scheme has codes for them.
const fn because(class: FailureClass) -> Concept {
    let (value, meaning) = match class {
        FailureClass::UnsuitableInput => (
            "UNSUITABLE-INPUT",
            "The study does not hold what the model needs",
        ),
        FailureClass::Undecodable => ("UNDECODABLE", "The pixels cannot be decoded"),
        FailureClass::ModelUnavailable => ("NO-MODEL", "The model is not available"),
        FailureClass::ModelFailed => ("MODEL-FAILED", "The model failed"),
        FailureClass::WorkerLost => ("WORKER-LOST", "The analysis was cut off"),
        FailureClass::Internal => ("INTERNAL", "The appliance is at fault"),
    };
    Concept(value, PRIVATE_SCHEME, meaning)
}
