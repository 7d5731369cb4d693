//! Measurement groups: one for each finding (PS3.16 TID 1410, 1411 and 1501), and the one that says that nothing
//! was found.

use super::concept::*;
use super::content::{
    ImageReference, Relation, code, container, image, number, outline, uid, words,
};
use super::{Analysis, ReportError, Segment};
use crate::source::Source;
use crate::write::{DataSet, derived_uid};
use pericard_domain::finding::{Code, Finding, Region};
use pericard_domain::image::FrameRef;
use pericard_domain::uid::InstanceUid;

/// The fewest corners of an outline.
const CORNERS_MIN: usize = 3;

/// The groups of a report: one for each finding, or one that says that there is none.
pub(super) fn measurement_groups(analysis: &Analysis<'_>) -> Result<Vec<DataSet>, ReportError> {
    if analysis.report.findings.is_empty() {
        return Ok(vec![without_findings(analysis)]);
    }
    analysis
        .report
        .findings
        .iter()
        .map(|finding| group(analysis, finding))
        .collect()
}

fn group(analysis: &Analysis<'_>, finding: &Finding) -> Result<DataSet, ReportError> {
    let mut items = vec![
        words(Relation::Context, TRACKING_ID, &finding.tracking_id),
        uid(
            Relation::Context,
            TRACKING_UID,
            finding.tracking_uid.as_str(),
        ),
        code(Relation::Contains, FINDING, code_item(&finding.concept)),
    ];
    items.extend(algorithm(analysis));
    for measurement in &finding.measurements {
        if !measurement.value.is_finite() {
            return Err(ReportError::NotFinite);
        }
        items.push(number(
            Relation::Contains,
            &measurement.concept,
            measurement.value,
            &measurement.unit,
        ));
    }
    if let Some(score) = finding.score {
        items.push(certainty(score)?);
    }
    if let Some(text) = finding.text.as_deref().filter(|text| !text.is_empty()) {
        items.push(words(Relation::Contains, RECOGNISED_TEXT, text));
    }
    let segment = analysis
        .segments
        .iter()
        .find(|segment| segment.tracking_uid == finding.tracking_uid);
    let template = match (&finding.region, segment) {
        (_, Some(segment)) => {
            items.extend(volume_region(analysis, segment)?);
            "1411"
        }
        (Region::Outline { source, corners }, None) => {
            items.push(planar_region(analysis, source, corners)?);
            "1410"
        }
        (Region::Frames { sources }, None) => {
            items.extend(frames(analysis, sources)?);
            "1501"
        }
    };
    Ok(container(MEASUREMENT_GROUP, Some(template), items))
}

/// Which algorithm it was (TID 4019). Its digest stands among its parameters, where a reader of the standard looks.
pub(super) fn algorithm(analysis: &Analysis<'_>) -> Vec<DataSet> {
    let model = &analysis.report.model;
    vec![
        words(Relation::Modifier, ALGORITHM_NAME, &model.name),
        words(Relation::Modifier, ALGORITHM_VERSION, &model.version),
        words(
            Relation::Modifier,
            ALGORITHM_PARAMETERS,
            &format!("manifest-sha256={}", model.digest),
        ),
    ]
}

/// How sure the model is, in percent as the concept is defined.
fn certainty(score: f32) -> Result<DataSet, ReportError> {
    /// A single-precision score has no more digits than this.
    const DIGITS: f64 = 1e5;
    if !(0.0..=1.0).contains(&score) {
        return Err(ReportError::Score);
    }
    let percent = (f64::from(score) * 100.0 * DIGITS).round() / DIGITS;
    Ok(number(
        Relation::Contains,
        &Code::from(CERTAINTY_OF_FINDING),
        percent,
        &Code::from(PERCENT),
    ))
}

/// An outline in one frame (TID 1410).
fn planar_region(
    analysis: &Analysis<'_>,
    source: &FrameRef,
    corners: &[[f32; 2]],
) -> Result<DataSet, ReportError> {
    if corners.len() < CORNERS_MIN || corners.iter().flatten().any(|v| !v.is_finite()) {
        return Err(ReportError::Outline);
    }
    let object = analysis.source(&source.instance)?;
    let frames = frame_numbers(object, &[source.frame])?;
    Ok(outline(IMAGE_REGION, corners, reference(object, &frames)))
}

/// A segment of a segmentation with the images that it was made of (TID 1411).
fn volume_region(analysis: &Analysis<'_>, segment: &Segment) -> Result<Vec<DataSet>, ReportError> {
    let of = ImageReference {
        sop_class: segment.object.sop_class.as_str(),
        instance: segment.object.instance.as_str(),
        frames: &[],
        segment: Some(segment.number),
    };
    let mut items = vec![image(Relation::Contains, Some(REFERENCED_SEGMENT), of)];
    for (object, _) in by_object(&segment.sources) {
        let object = analysis.source(object)?;
        items.push(image(
            Relation::Contains,
            Some(SOURCE_FOR_SEGMENTATION),
            reference(object, &[]),
        ));
    }
    Ok(items)
}

/// Whole frames (TID 1501): one reference for each object, with the frames where not all are meant.
fn frames(analysis: &Analysis<'_>, sources: &[FrameRef]) -> Result<Vec<DataSet>, ReportError> {
    let item = |(instance, numbers): (&InstanceUid, Vec<u32>)| {
        let object = analysis.source(instance)?;
        let frames = frame_numbers(object, &numbers)?;
        Ok(image(
            Relation::Contains,
            Some(SOURCE_OF_MEASUREMENT),
            reference(object, &frames),
        ))
    };
    by_object(sources).into_iter().map(item).collect()
}

/// The group of a report without findings: what looked, at what, and that it found nothing. That is a result too,
/// and not the same as no report.
fn without_findings(analysis: &Analysis<'_>) -> DataSet {
    let report = analysis.report;
    let model = &report.model;
    let tracked = derived_uid(
        "summary",
        &[report.study.as_str().as_bytes(), model.digest.as_bytes()],
    );
    let count = analysis.sources.len();
    let comment = format!(
        "{} {} analysed {count} {} and found nothing of what it looks for.",
        model.name,
        model.version,
        if count == 1 { "image" } else { "images" }
    );
    let mut items = vec![
        words(
            Relation::Context,
            TRACKING_ID,
            &format!("{} {}", model.name, model.version),
        ),
        uid(Relation::Context, TRACKING_UID, &tracked),
    ];
    items.extend(algorithm(analysis));
    items.push(code(Relation::Contains, SUMMARY, WITHOUT_FINDINGS.item()));
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

pub(super) fn reference<'a>(object: &'a Source, frames: &'a [u32]) -> ImageReference<'a> {
    ImageReference {
        sop_class: object.sop_class().as_str(),
        instance: object.instance().as_str(),
        frames,
        segment: None,
    }
}

/// The frames to name in a reference: none for an object of one frame, where they must not be named, nor when all are
/// meant.
pub(super) fn frame_numbers(object: &Source, frames: &[u32]) -> Result<Vec<u32>, ReportError> {
    let mut frames = frames.to_vec();
    frames.sort_unstable();
    frames.dedup();
    if frames
        .iter()
        .any(|frame| !(1..=object.frames()).contains(frame))
    {
        return Err(ReportError::NoSuchFrame(object.instance().clone()));
    }
    let all = frames.len() == object.frames() as usize;
    Ok(if all { Vec::new() } else { frames })
}

/// Frames by their object, in the order in which objects first appear.
fn by_object(frames: &[FrameRef]) -> Vec<(&InstanceUid, Vec<u32>)> {
    let mut places = std::collections::HashMap::new();
    let mut objects: Vec<(&InstanceUid, Vec<u32>)> = Vec::new();
    for frame in frames {
        let place = *places.entry(&frame.instance).or_insert_with(|| {
            objects.push((&frame.instance, Vec::new()));
            objects.len() - 1
        });
        objects[place].1.push(frame.frame);
    }
    objects
}
