//! The report and the images that it rests on into the result objects that the rule asks for.

use crate::failure::GiveUp;
use crate::prepare::{self, Held};
use pericard_dicom::report::{
    Device, ReportContext, ReportError, ResultObject, Segmented, Shape, document, key_objects,
    mask_shapes, outline_shapes, presentation_states, rejection_uid, report_uid, secondary_capture,
    segmentation, structured_report,
};
use pericard_dicom::scan::ScanLimits;
use pericard_domain::finding::{Code, Report};
use pericard_domain::image::{FrameRef, Mask, Volume};
use pericard_domain::job::{FailureClass, RULES_JOINED_BY, Work};
use pericard_domain::rule::{ResultKind, ResultTerms, Rule};
use pericard_domain::study::{InstanceFacts, ObjectIdentity};
use pericard_domain::uid::InstanceUid;
use pericard_runner::Reader;
use pericard_store::queue::{LeasedJob, ResultFile};
use pericard_store::{Store, StoreError};
use std::collections::BTreeSet;

/// The most pictures of one report. Of more frames with findings, so many are taken, evenly spread.
const PICTURES_MAX: usize = 32;
/// How many attempts of a job may have left a report of their failure, at most as far as is looked for.
const ATTEMPTS_LOOKED_FOR_MAX: u32 = 16;

/// What the result objects are made from.
pub(crate) struct Making {
    pub(crate) report: Report,
    pub(crate) evidence: Vec<Held>,
    pub(crate) mask: Option<(Volume, Mask)>,
    pub(crate) offset_min: i32,
}

/// What becomes of the job's result: as it was planned. A job that an older version planned asks the rules that asked for it,
/// as far as they are still in the configuration.
pub(crate) fn terms(rules: &[Rule], job: &LeasedJob) -> ResultTerms {
    if let Some(terms) = &job.terms {
        return terms.clone();
    }
    let names = match &job.job.work {
        Work::Infer { rule, .. } => rule.as_str(),
        Work::Assemble { .. } => "",
    };
    let asked = |rule: &&Rule| names.split(RULES_JOINED_BY).any(|name| name == rule.name);
    let all = rules.iter().filter(asked).map(Rule::terms);
    let joined = all.reduce(|mut terms, more| {
        terms.join(&more);
        terms
    });
    joined.unwrap_or_else(ResultTerms::ordered)
}

/// The latest earlier word of the same model on the study: of this revision that it failed, else of an earlier one
/// what it found, or that it failed.
pub(crate) async fn predecessor(
    store: &Store,
    report: &Report,
) -> Result<Option<ObjectIdentity>, StoreError> {
    let failed = |revision| {
        (1..=ATTEMPTS_LOOKED_FOR_MAX)
            .rev()
            .map(move |attempts| rejection_uid(&report.study, revision, &report.model, attempts))
    };
    for uid in failed(report.revision) {
        if let Some(found) = kept(store, &uid).await? {
            return Ok(Some(found));
        }
    }
    // Another version of the model may have made the earlier one, with a digest of its own.
    let mut earlier: Vec<(u32, InstanceUid)> = store
        .reports(&report.study)
        .await?
        .into_iter()
        .map(|kept| kept.report)
        .filter(|r| r.model.name == report.model.name && r.revision < report.revision)
        .map(|r| (r.revision, report_uid(&r.study, r.revision, &r.model)))
        .collect();
    earlier.sort();
    let found = earlier.last().map_or(0, |(revision, _)| *revision);
    for revision in (found.max(1)..report.revision).rev() {
        for uid in failed(revision) {
            if let Some(found) = kept(store, &uid).await? {
                return Ok(Some(found));
            }
        }
    }
    match earlier.last() {
        Some((_, uid)) => kept(store, uid).await,
        None => Ok(None),
    }
}

async fn kept(store: &Store, uid: &InstanceUid) -> Result<Option<ObjectIdentity>, StoreError> {
    match store.instance(uid).await {
        Ok(instance) => Ok(Some(instance.identity)),
        Err(StoreError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The objects of those kinds. The segmentation comes first, when there is a mask: the structured report refers to it.
pub(crate) fn made(
    making: &Making,
    device: &Device,
    kinds: &[ResultKind],
    predecessor: Option<&ObjectIdentity>,
    reader: &mut Reader,
) -> Result<Vec<ResultObject>, GiveUp> {
    let sources = prepare::sources(reader, &making.evidence)?;
    let context = ReportContext {
        sources: &sources,
        device,
        utc_offset_min: making.offset_min,
        predecessor,
        segments: &[],
    };
    let report = &making.report;
    let wanted = |kind| kinds.contains(&kind);
    let category = Code::new("123037004", "SCT", "Anatomical Structure");
    let segmented = segmented(making, &category);
    let (mut objects, mut segments) = (Vec::new(), Vec::new());
    if wanted(ResultKind::Seg)
        && let Some((volume, segment)) = segmented
    {
        let (object, placed) =
            segmentation(report, &context, volume, &[segment]).map_err(unmade)?;
        objects.push(object);
        segments = placed;
    }
    let context = ReportContext {
        segments: &segments,
        ..context
    };
    if wanted(ResultKind::Sr) {
        objects.push(structured_report(report, &context).map_err(unmade)?);
    }
    if wanted(ResultKind::Pdf) {
        objects.push(document(report, &context).map_err(unmade)?);
    }
    let mut shapes = outline_shapes(report).map_err(unmade)?;
    if let Some((volume, segment)) = segmented {
        shapes.extend(mask_shapes(volume, &segment).map_err(unmade)?);
    }
    if !shapes.is_empty() {
        objects.extend(shown(making, &context, kinds, &shapes, reader)?);
    }
    Ok(objects)
}

/// The objects that show places in images.
fn shown(
    making: &Making,
    context: &ReportContext<'_>,
    kinds: &[ResultKind],
    shapes: &[Shape<'_>],
    reader: &mut Reader,
) -> Result<Vec<ResultObject>, GiveUp> {
    let report = &making.report;
    let mut objects = Vec::new();
    if kinds.contains(&ResultKind::Gsps) {
        objects.extend(presentation_states(report, context, shapes).map_err(unmade)?);
    }
    if kinds.contains(&ResultKind::Kos) {
        objects.push(key_objects(report, context, shapes).map_err(unmade)?);
    }
    if kinds.contains(&ResultKind::Sc) {
        for (part, source) in (1..).zip(pictured(shapes)) {
            let held = evidence(making, &source.instance)?;
            let frame = reader.frame(&source.instance, &held.path, source.frame)?;
            let object = secondary_capture(report, context, (&frame, part), shapes);
            objects.push(object.map_err(unmade)?);
        }
    }
    Ok(objects)
}

/// The volume and the segment, when the mask has a voxel in it.
fn segmented<'m>(making: &'m Making, category: &'m Code) -> Option<(&'m Volume, Segmented<'m>)> {
    let (volume, mask) = making.mask.as_ref()?;
    let finding = making.report.findings.first()?;
    let segment = Segmented {
        finding,
        category,
        mask,
    };
    (mask.count() > 0).then_some((volume, segment))
}

/// The frames with outlines, or as many of them, evenly spread, as pictures are made of.
fn pictured<'s>(shapes: &'s [Shape<'_>]) -> Vec<&'s FrameRef> {
    let mut seen = BTreeSet::new();
    let frames: Vec<&FrameRef> = shapes
        .iter()
        .map(|shape| &shape.source)
        .filter(|source| seen.insert((source.instance.as_str(), source.frame)))
        .collect();
    let count = frames.len().min(PICTURES_MAX);
    // The middle of each of so many equal parts.
    let middle = |part: usize| frames[(2 * part + 1) * frames.len() / (2 * count)];
    (0..count).map(middle).collect()
}

fn evidence<'m>(making: &'m Making, instance: &InstanceUid) -> Result<&'m Held, GiveUp> {
    making
        .evidence
        .iter()
        .find(|held| held.instance.identity.instance == *instance)
        .ok_or_else(|| unmade(ReportError::NoSource(instance.clone())))
}

/// The objects as sealed files, which the conclusion puts on disk.
pub(crate) fn sealed(
    store: &Store,
    objects: Vec<ResultObject>,
) -> Result<Vec<ResultFile>, StoreError> {
    let mut files = Vec::with_capacity(objects.len());
    for object in objects {
        let mut incoming = store.incoming()?;
        incoming.write(&object.bytes)?;
        let facts = facts_of(&object);
        files.push(ResultFile {
            sealed: incoming.seal()?,
            identity: object.identity,
            facts,
        });
    }
    Ok(files)
}

/// What lists say of a result object, read from the object itself as for any other.
fn facts_of(object: &ResultObject) -> InstanceFacts {
    let mut bytes = std::io::Cursor::new(&object.bytes);
    let scanned = pericard_dicom::scan::scan_file(&mut bytes, &ScanLimits::default());
    scanned.map(|header| header.facts).unwrap_or_default()
}

pub(crate) fn unmade(error: ReportError) -> GiveUp {
    GiveUp::failed(FailureClass::UnsuitableInput, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pericard_domain::digest::Digest;
    use pericard_domain::finding::{Finding, Region};
    use pericard_domain::job::{Job, JobId, JobState, Priority};
    use pericard_domain::model::ModelRef;
    use pericard_domain::rule::Match;
    use pericard_domain::time::Timestamp;
    use pericard_domain::uid::StudyUid;

    fn leased(rule: &str) -> LeasedJob {
        let at = Timestamp::from_millis(0);
        let model = ModelRef {
            name: "m".into(),
            version: "1.0.0".into(),
            digest: Digest::new([7; 32]),
        };
        let job = Job {
            id: JobId(1),
            work: Work::Infer {
                study: StudyUid::new("1.2").unwrap(),
                revision: 1,
                model,
                rule: rule.into(),
            },
            priority: Priority::Routine,
            state: JobState::Leased { until: at },
            attempts: 1,
            last_failure: None,
            created_at: at,
            ended_at: None,
        };
        LeasedJob {
            job,
            lease_id: 1,
            until: at,
            terms: None,
        }
    }

    #[test]
    fn every_rule_that_asked_has_its_kinds() {
        use ResultKind::{Pdf, Sc, Sr};
        let rule = |name: &str, results: &[ResultKind]| Rule {
            name: name.into(),
            when: Match::default(),
            models: vec!["m".into()],
            priority: Priority::Routine,
            idle_timeout_s: 1,
            requires: Vec::new(),
            wait_max_s: 1,
            priors: None,
            messages: Vec::new(),
            destinations: Vec::new(),
            results: results.to_vec(),
            report_failures: true,
        };
        let rules = [
            rule("first", &[Sr]),
            rule("other", &[Pdf]),
            rule("second", &[Sr, Sc]),
        ];
        let kinds = |job: &LeasedJob| terms(&rules, job).results;
        assert_eq!(kinds(&leased("first, second")), [Sr, Sc]);
        assert_eq!(kinds(&leased("other")), [Sr, Pdf], "the report in any case");
        assert_eq!(kinds(&leased("gone")), ResultKind::usual());
        let mut planned = leased("other");
        planned.terms = Some(rules[0].terms());
        assert_eq!(kinds(&planned), [Sr], "as planned, not as it is now");
    }

    #[test]
    fn pictures_are_spread_evenly() {
        let finding = Finding {
            tracking_id: "x".into(),
            tracking_uid: InstanceUid::new("1.2").unwrap(),
            concept: Code::new("1", "SCT", "X"),
            region: Region::Frames { sources: vec![] },
            measurements: vec![],
            text: None,
            score: None,
        };
        let shapes = |frames: u32| -> Vec<Shape<'_>> {
            let shape = |frame| Shape {
                finding: &finding,
                source: FrameRef {
                    instance: InstanceUid::new("1.3").unwrap(),
                    frame,
                },
                corners: vec![[0.0; 2]; 3],
            };
            (1..=frames).flat_map(|f| [shape(f), shape(f)]).collect()
        };
        let numbers = |frames: u32| -> Vec<u32> {
            let shapes = shapes(frames);
            pictured(&shapes)
                .iter()
                .map(|source| source.frame)
                .collect()
        };
        assert_eq!(numbers(3), [1, 2, 3]);
        let many = numbers(320);
        assert_eq!(many.len(), PICTURES_MAX);
        assert!(many.windows(2).all(|pair| pair[1] - pair[0] == 10));
        assert_eq!(many[0], 6, "the middle of the first ten");
    }
}
