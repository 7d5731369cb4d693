//! A model's output as findings, in the coded words of its manifest.

use crate::failure::GiveUp;
use pericard_dicom::report::tracking_uid;
use pericard_domain::finding::{Code, Finding, Measurement, Region};
use pericard_domain::image::{Mask, TextBox, Volume};
use pericard_domain::job::FailureClass;
use pericard_domain::model::{Output, Package};
use pericard_domain::uid::{InstanceUid, StudyUid};

/// mm³ in a mL.
const MM3_PER_ML: f64 = 1000.0;
/// How many of the tracking UID's digits are a finding's name for people.
const NAME_DIGITS: usize = 6;

/// Every stretch of text is a finding. Named after its place; what was there before keeps the name that it had
/// ([`crate::tracking`]).
pub(crate) fn of_text(
    package: &Package,
    study: &StudyUid,
    boxes: Vec<TextBox>,
) -> Result<Vec<Finding>, GiveUp> {
    let concept = output(package, "text")?.concept.clone();
    let finding = |found: TextBox| {
        let corners: Vec<String> = found
            .corners
            .iter()
            .flatten()
            .map(|c| format!("{}", c.round() as i64))
            .collect();
        let frame = found.source.frame.to_string();
        let place = [found.source.instance.as_str(), &frame, &corners.join(",")].join("/");
        let tracking_uid = tracking_uid(study, &package.model.name, &place);
        Finding {
            tracking_id: text_name(&tracking_uid),
            tracking_uid,
            concept: concept.clone(),
            region: Region::Outline {
                source: found.source,
                corners: found.corners.to_vec(),
            },
            measurements: Vec::new(),
            text: Some(found.text),
            score: Some(found.score.clamp(0.0, 1.0)),
        }
    };
    Ok(boxes.into_iter().map(finding).collect())
}

/// What people call a stretch of text of that UID. Not counted: what is added before it in a later revision must not rename
/// it.
pub(crate) fn text_name(uid: &InstanceUid) -> String {
    let digits = uid.as_str();
    let last = &digits[digits.len().saturating_sub(NAME_DIGITS)..];
    format!("Text {last}")
}

/// The segmented structure is one finding, with its volume.
pub(crate) fn of_mask(
    package: &Package,
    study: &StudyUid,
    volume: &Volume,
    mask: &Mask,
) -> Result<Vec<Finding>, GiveUp> {
    let structure = output(package, "structure")?.concept.clone();
    let measured = output(package, "volume")?;
    let unit = measured
        .unit
        .clone()
        .unwrap_or_else(|| Code::new("mL", "UCUM", "milliliter"));
    let value = mask.count() as f64 * volume.voxel_mm3() / MM3_PER_ML;
    Ok(vec![Finding {
        tracking_id: structure.meaning.clone(),
        tracking_uid: tracking_uid(study, &package.model.name, &structure.value),
        concept: structure,
        region: Region::Frames {
            sources: volume.slices.clone(),
        },
        measurements: vec![Measurement {
            concept: measured.concept.clone(),
            value,
            unit,
        }],
        text: None,
        score: None,
    }])
}

fn output<'p>(package: &'p Package, name: &str) -> Result<&'p Output, GiveUp> {
    package.manifest.outputs.get(name).ok_or_else(|| {
        let reason = format!(
            "the manifest of {} does not say what its output `{name}` means",
            package.model
        );
        GiveUp::failed(FailureClass::ModelUnavailable, reason)
    })
}
