//! Key Object Selection (PS3.3 section A.35.4, PS3.16 TID 2010): which images to look at first.

use super::concept::*;
use super::content::{Relation, image, put_container, words};
use super::group::{frame_numbers, reference};
use super::shape::{Shape, key_frames};
use super::{
    Analysis, Kind, ReportContext, ReportError, ResultObject, build, empty_sequence, header,
    observer, reference as references,
};
use crate::write::{DataSet, sequence, text};
use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use pericard_domain::finding::Report;
use pericard_domain::image::FrameRef;
use std::collections::BTreeSet;

/// A selection of the frames in which each finding is largest.
///
/// # Errors
/// [`ReportError::NoPlace`] without an outline; see [`ReportError`] for the others.
pub fn key_objects(
    report: &Report,
    context: &ReportContext<'_>,
    shapes: &[Shape<'_>],
) -> Result<ResultObject, ReportError> {
    let chosen = key_frames(shapes);
    if chosen.is_empty() {
        return Err(ReportError::NoPlace);
    }
    build(report, context, |analysis| {
        let own = analysis.own_series(
            Kind::KEY_OBJECTS,
            1,
            uids::KEY_OBJECT_SELECTION_DOCUMENT_STORAGE,
        );
        let mut object = header::header(analysis, &own);
        let mut frames: Vec<&FrameRef> = Vec::new();
        for (_, frame) in &chosen {
            if !frames.contains(frame) {
                frames.push(frame);
            }
        }
        let mut items = observer(analysis.device);
        items.push(words(
            Relation::Contains,
            KEY_OBJECT_DESCRIPTION,
            &description(analysis, chosen.len()),
        ));
        let mut named = Vec::new();
        for frame in frames {
            let source = analysis.source(&frame.instance)?;
            let numbers = frame_numbers(source, &[frame.frame])?;
            items.push(image(Relation::Contains, None, reference(source, &numbers)));
            named.push(references::Referenced {
                study: source.study().as_str(),
                series: source.series().as_str(),
                instance: source.instance().as_str(),
                sop_class: source.sop_class().as_str(),
            });
        }
        put_document(&mut object, references::by_study(&named));
        put_container(&mut object, Some("2010"), items);
        Ok(object)
    })
}

fn put_document(object: &mut DataSet, evidence: Vec<DataSet>) {
    for element in [
        empty_sequence(tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE),
        text(tags::VALUE_TYPE, VR::CS, "CONTAINER"),
        sequence(tags::CONCEPT_NAME_CODE_SEQUENCE, vec![OF_INTEREST.item()]),
        sequence(
            tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE,
            evidence,
        ),
    ] {
        object.put(element);
    }
}

/// What was selected and by whom. Concepts only: a text that was read in the pixels may be the patient's name.
fn description(analysis: &Analysis<'_>, findings: usize) -> String {
    let report = analysis.report;
    let kinds: BTreeSet<&str> = report
        .findings
        .iter()
        .map(|finding| finding.concept.meaning.as_str())
        .collect();
    let mark = super::capture::mark(report.clinical_use);
    format!(
        "{mark}. {} {}: {findings} shown ({}).",
        report.model.name,
        report.model.version,
        kinds.into_iter().collect::<Vec<_>>().join(", ")
    )
}
