//! Result objects: what goes back into the study that was analysed.
//!
//! A result is built from a [`Report`] and from the headers of the images that it rests on. It is a new series of the
//! same study, with patient and study exactly as the source has them. Its UIDs are derived from study, revision, model
//! digest and kind, so that work done twice makes one object; given the same report, also the same bytes.
//!
//! - [`structured_report`]: TID 1500, as Comprehensive 3D SR, or Comprehensive SR where no image lies in space.
//! - [`segmentation`]: binary Segmentation, to which the structured report's volume groups then refer.
//! - [`presentation_states`]: outlines over the images themselves, for viewers that draw them.
//! - [`secondary_capture`]: a picture with the outlines in it, for viewers that show nothing else.
//! - [`key_objects`]: which images to look at first.
//! - [`document`]: the report as a PDF.
//! - [`rejection`]: that an analysis could not be done, and why.

mod canvas;
mod capture;
mod charset;
mod concept;
mod content;
mod document;
mod font;
mod group;
mod header;
mod icc;
mod key_objects;
mod library;
mod pdf;
mod presentation;
mod reference;
mod rejection;
mod segmentation;
pub(crate) mod shape;

pub use capture::secondary_capture;
pub use document::document;
pub use key_objects::key_objects;
pub use presentation::presentation_states;
pub use rejection::{rejection, rejection_uid};
pub use segmentation::{Segmented, segmentation};
pub use shape::{Shape, mask_shapes, outline_shapes};

use crate::source::Source;
use crate::write::{DataSet, WriteError, data_set, derived_uid, part10, sequence, text};
use concept::*;
use content::{Relation, code, container, put_container, uid, words};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
use header::{LocalTime, OwnSeries};
use pericard_domain::ae::AeTitle;
use pericard_domain::finding::{Code, Report};
use pericard_domain::image::FrameRef;
use pericard_domain::model::ModelRef;
use pericard_domain::study::ObjectIdentity;
use pericard_domain::uid::{InstanceUid, SeriesUid, SopClassUid, StudyUid, TransferSyntaxUid};
use reference::Referenced;
use std::collections::HashMap;

/// A kind of result: each has a series of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Modality (0008,0060) of the series.
    modality: &'static str,
    /// What its UIDs are derived from. Never changed, since the UIDs of results that are out would change with it.
    word: &'static str,
    /// The series' number, above those that scanners give.
    number: u32,
}

impl Kind {
    const STRUCTURED_REPORT: Self = Self::new("SR", "SR", 9001);
    const SEGMENTATION: Self = Self::new("SEG", "SEG", 9002);
    const PRESENTATION: Self = Self::new("PR", "PR", 9003);
    const CAPTURE: Self = Self::new("OT", "SC", 9004);
    const KEY_OBJECTS: Self = Self::new("KO", "KO", 9005);
    const DOCUMENT: Self = Self::new("DOC", "DOC", 9006);
    const REJECTION: Self = Self::new("SR", "REJECTION", 9007);

    const fn new(modality: &'static str, word: &'static str, number: u32) -> Self {
        Self {
            modality,
            word,
            number,
        }
    }
}

/// The appliance, as its results name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// What people call it.
    pub name: String,
    /// Who makes it.
    pub manufacturer: String,
    /// What it is.
    pub model: String,
    /// Which one it is.
    pub serial: String,
    /// Its version.
    pub software_version: String,
    /// Its application entity title.
    pub ae_title: AeTitle,
}

/// A segment of a segmentation in which a finding's region lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The finding's tracking UID.
    pub tracking_uid: InstanceUid,
    /// The segmentation.
    pub object: ObjectIdentity,
    /// The segment's number in it, from 1.
    pub number: u16,
    /// The frames that it was made of.
    pub sources: Vec<FrameRef>,
}

/// What a result is made from besides the report.
#[derive(Debug, Clone, Copy)]
pub struct ReportContext<'a> {
    /// The headers of every image of the report's evidence, in any order; others are passed over.
    pub sources: &'a [Source],
    /// The appliance.
    pub device: &'a Device,
    /// The offset of the hospital's time zone from UTC, minutes, at the report's time.
    pub utc_offset_min: i32,
    /// The result of an earlier revision that this one takes the place of.
    pub predecessor: Option<&'a ObjectIdentity>,
    /// Where the regions of findings are, when they are in a segmentation.
    pub segments: &'a [Segment],
}

/// A DICOM object, ready to be kept and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultObject {
    /// Which object it is.
    pub identity: ObjectIdentity,
    /// The Part 10 file.
    pub bytes: Vec<u8>,
}

/// Why a result could not be made. UIDs at most, no patient data.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// There is no evidence.
    #[error("the report names no image that it rests on: a result without evidence is not sent")]
    NoEvidence,
    /// An image's header was not given.
    #[error(
        "the report refers to image {0}, of which no header was given or which is not in its evidence"
    )]
    NoSource(InstanceUid),
    /// An image is of another study.
    #[error(
        "image {instance} is of study {found}, not of the report's: a result never goes into another study"
    )]
    WrongStudy {
        /// Which image.
        instance: InstanceUid,
        /// The study that it is of.
        found: StudyUid,
    },
    /// The images are of more than one patient.
    #[error(
        "the images of study {0} do not all have one Patient ID: have it corrected at the sender"
    )]
    PatientsDiffer(StudyUid),
    /// A frame that the image does not have.
    #[error("the report refers to a frame that image {0} does not have")]
    NoSuchFrame(InstanceUid),
    /// An outline that is none.
    #[error("an outline has fewer than three corners, or a corner that is not a number")]
    Outline,
    /// A number that cannot be written.
    #[error("a measurement is not a finite number")]
    NotFinite,
    /// A score that is none.
    #[error("a score is not between 0 and 1")]
    Score,
    /// A code without value, scheme or meaning.
    #[error(
        "a code of the report has no value, scheme or meaning: have the model's manifest corrected"
    )]
    Code,
    /// A mask that does not fit the volume, or a volume that does not fit its slices.
    #[error("the mask's size {mask:?} is not the volume's {volume:?} (columns, rows, slices)")]
    MaskSize {
        /// Size of the mask.
        mask: [usize; 3],
        /// Size of the volume.
        volume: [usize; 3],
    },
    /// A volume that a segmentation cannot describe.
    #[error("the volume cannot be described in a segmentation: {0}")]
    Volume(&'static str),
    /// A result that would need a picture of a frame that was not given, or one of another size.
    #[error("the picture given is not one of the frame that the outlines are in")]
    Picture,
    /// Nothing to point at.
    #[error("the report has no place in an image to show")]
    NoPlace,
    /// The finished object could not be encoded.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// The report as a DICOM structured report (PS3.16 TID 1500).
///
/// # Errors
/// When report and images do not fit together; see [`ReportError`].
pub fn structured_report(
    report: &Report,
    context: &ReportContext<'_>,
) -> Result<ResultObject, ReportError> {
    build(report, context, |analysis| {
        let groups = group::measurement_groups(analysis)?;
        let private = uses_private_scheme(analysis.report);
        Ok(imaging_report(
            analysis,
            Kind::STRUCTURED_REPORT,
            1,
            groups,
            private,
        ))
    })
}

/// The instance that [`structured_report`] makes of a report on that revision by that model.
#[must_use]
pub fn report_uid(study: &StudyUid, revision: u32, model: &ModelRef) -> InstanceUid {
    instance_uid(instance_of(
        study,
        revision,
        model,
        Kind::STRUCTURED_REPORT,
        1,
    ))
}

/// The tracking UID of what a model finds: the same for the same thing in every revision of the study.
///
/// `what` tells it from everything else that the model may find there.
#[must_use]
pub fn tracking_uid(study: &StudyUid, model: &str, what: &str) -> InstanceUid {
    let uid = derived_uid(
        "tracking",
        &[study.as_str().as_bytes(), model.as_bytes(), what.as_bytes()],
    );
    instance_uid(uid)
}

fn instance_uid(derived: String) -> InstanceUid {
    // `2.25.` and at most 39 digits are a UID.
    InstanceUid::new(derived).unwrap_or_else(|error| unreachable!("{error}"))
}

fn instance_of(study: &StudyUid, revision: u32, model: &ModelRef, kind: Kind, part: u32) -> String {
    let (revision, number) = (revision.to_le_bytes(), part.to_le_bytes());
    let mut fields: Vec<&[u8]> = vec![
        study.as_str().as_bytes(),
        &revision,
        model.digest.as_bytes(),
        kind.word.as_bytes(),
    ];
    // The first has no number in it: results that are out were made before there were others.
    if part > 1 {
        fields.push(&number);
    }
    derived_uid("result instance", &fields)
}

/// A report with everything that a result is made from, looked up and checked.
#[derive(Debug)]
pub(crate) struct Analysis<'a> {
    pub(crate) report: &'a Report,
    pub(crate) device: &'a Device,
    pub(crate) moment: LocalTime,
    /// The evidence, each image once, in the report's order; never empty.
    pub(crate) sources: Vec<&'a Source>,
    pub(crate) segments: &'a [Segment],
    predecessor: Option<&'a ObjectIdentity>,
    by_instance: HashMap<&'a InstanceUid, &'a Source>,
}

impl<'a> Analysis<'a> {
    fn new(report: &'a Report, context: &ReportContext<'a>) -> Result<Self, ReportError> {
        let given: HashMap<_, _> = context
            .sources
            .iter()
            .map(|source| (source.instance(), source))
            .collect();
        let mut sources = Vec::new();
        let mut by_instance = HashMap::new();
        for evidence in &report.evidence {
            let instance = &evidence.instance;
            let source = *given
                .get(instance)
                .ok_or_else(|| ReportError::NoSource(instance.clone()))?;
            if source.study() != &report.study {
                let found = source.study().clone();
                return Err(ReportError::WrongStudy {
                    instance: instance.clone(),
                    found,
                });
            }
            if by_instance.insert(source.instance(), source).is_none() {
                sources.push(source);
            }
        }
        let first = *sources.first().ok_or(ReportError::NoEvidence)?;
        let patient = first.text(tags::PATIENT_ID);
        if sources
            .iter()
            .any(|source| source.text(tags::PATIENT_ID) != patient)
        {
            return Err(ReportError::PatientsDiffer(report.study.clone()));
        }
        let moment = LocalTime::new(report.at, first, context.utc_offset_min);
        let ReportContext {
            device,
            segments,
            predecessor,
            ..
        } = *context;
        Ok(Self {
            report,
            device,
            moment,
            sources,
            segments,
            predecessor,
            by_instance,
        })
    }

    /// The image that patient and study are copied from.
    pub(crate) fn first_source(&self) -> &'a Source {
        self.sources[0] // never empty: `new` refuses it
    }

    /// An image of the evidence.
    pub(crate) fn source(&self, instance: &InstanceUid) -> Result<&'a Source, ReportError> {
        let source = self.by_instance.get(instance).copied();
        source.ok_or_else(|| ReportError::NoSource(instance.clone()))
    }

    /// Derived, so that the same work makes the same object. `part` counts the objects of the series from 1.
    fn own_series(&self, kind: Kind, part: u32, sop_class: &'static str) -> OwnSeries {
        let report = self.report;
        let revision = report.revision.to_le_bytes();
        let fields: [&[u8]; 4] = [
            report.study.as_str().as_bytes(),
            &revision,
            report.model.digest.as_bytes(),
            kind.word.as_bytes(),
        ];
        OwnSeries {
            modality: kind.modality,
            number: kind.number,
            series: derived_uid("result series", &fields),
            instance: instance_of(&report.study, report.revision, &report.model, kind, part),
            instance_number: part,
            sop_class,
        }
    }
}

/// Checks report and images, lets `make` build the object, and writes it in a character set that holds it.
fn build(
    report: &Report,
    context: &ReportContext<'_>,
    make: impl Fn(&Analysis<'_>) -> Result<DataSet, ReportError>,
) -> Result<ResultObject, ReportError> {
    codes_are_whole(report)?;
    let analysis = Analysis::new(report, context)?;
    let object = make(&analysis)?;
    let identity = identity(&object)?;
    let object = charset::encoded(object, analysis.first_source());
    let bytes = part10(&object, Some(&context.device.ae_title))?;
    Ok(ResultObject { identity, bytes })
}

/// Who the finished object is.
fn identity(object: &DataSet) -> Result<ObjectIdentity, ReportError> {
    let uid = |tag: Tag| crate::source::text(object, tag).unwrap_or_default();
    let malformed = |_| ReportError::Write(WriteError::Meta);
    Ok(ObjectIdentity {
        study: StudyUid::new(uid(tags::STUDY_INSTANCE_UID)).map_err(malformed)?,
        series: SeriesUid::new(uid(tags::SERIES_INSTANCE_UID)).map_err(malformed)?,
        instance: InstanceUid::new(uid(tags::SOP_INSTANCE_UID)).map_err(malformed)?,
        sop_class: SopClassUid::new(uid(tags::SOP_CLASS_UID)).map_err(malformed)?,
        transfer_syntax: TransferSyntaxUid::new(uids::EXPLICIT_VR_LITTLE_ENDIAN)
            .map_err(malformed)?,
    })
}

fn codes_are_whole(report: &Report) -> Result<(), ReportError> {
    let whole = |code: &Code| {
        [&code.value, &code.scheme, &code.meaning]
            .iter()
            .all(|text| !text.trim().is_empty())
    };
    let of_finding = |finding: &pericard_domain::finding::Finding| {
        whole(&finding.concept)
            && finding
                .measurements
                .iter()
                .all(|m| whole(&m.concept) && whole(&m.unit))
    };
    if report.findings.iter().all(of_finding) {
        Ok(())
    } else {
        Err(ReportError::Code)
    }
}

/// A report of TID 1500 with these measurement groups.
fn imaging_report(
    analysis: &Analysis<'_>,
    kind: Kind,
    part: u32,
    groups: Vec<DataSet>,
    private_scheme: bool,
) -> DataSet {
    let in_space = analysis
        .sources
        .iter()
        .any(|source| library::is_in_space(source));
    let own = analysis.own_series(
        kind,
        part,
        if in_space {
            uids::COMPREHENSIVE3_DSR_STORAGE
        } else {
            uids::COMPREHENSIVE_SR_STORAGE
        },
    );
    let mut object = header::header(analysis, &own);
    put_document(&mut object, analysis);
    if private_scheme {
        let item = private_scheme_item(&analysis.device.manufacturer);
        object.put(sequence(
            tags::CODING_SCHEME_IDENTIFICATION_SEQUENCE,
            vec![item],
        ));
    }
    put_container(&mut object, Some("1500"), content(analysis, groups));
    object
}

/// What a structured report says of itself (PS3.3 section C.17.2).
fn put_document(object: &mut DataSet, analysis: &Analysis<'_>) {
    for element in [
        empty_sequence(tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE),
        empty_sequence(tags::PERFORMED_PROCEDURE_CODE_SEQUENCE),
        text(tags::COMPLETION_FLAG, VR::CS, "COMPLETE"),
        text(tags::VERIFICATION_FLAG, VR::CS, "UNVERIFIED"),
        text(tags::PRELIMINARY_FLAG, VR::CS, "PRELIMINARY"),
        text(tags::VALUE_TYPE, VR::CS, "CONTAINER"),
        sequence(
            tags::CONCEPT_NAME_CODE_SEQUENCE,
            vec![IMAGING_MEASUREMENT_REPORT.item()],
        ),
        sequence(
            tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE,
            evidence(analysis),
        ),
    ] {
        object.put(element);
    }
    if let Some(predecessor) = analysis.predecessor {
        let items = reference::by_study(&[referenced(predecessor)]);
        object.put(sequence(tags::PREDECESSOR_DOCUMENTS_SEQUENCE, items));
    }
}

fn empty_sequence(tag: Tag) -> dicom_object::mem::InMemElement {
    sequence(tag, Vec::new())
}

/// Every object that the report refers to.
fn evidence(analysis: &Analysis<'_>) -> Vec<DataSet> {
    let images = analysis.sources.iter().map(|source| Referenced {
        study: source.study().as_str(),
        series: source.series().as_str(),
        instance: source.instance().as_str(),
        sop_class: source.sop_class().as_str(),
    });
    let segmentations = analysis
        .segments
        .iter()
        .map(|segment| referenced(&segment.object));
    reference::by_study(&images.chain(segmentations).collect::<Vec<_>>())
}

fn referenced(object: &ObjectIdentity) -> Referenced<'_> {
    Referenced {
        study: object.study.as_str(),
        series: object.series.as_str(),
        instance: object.instance.as_str(),
        sop_class: object.sop_class.as_str(),
    }
}

fn uses_private_scheme(report: &Report) -> bool {
    let private = |code: &Code| code.scheme == PRIVATE_SCHEME;
    report.findings.iter().any(|finding| {
        let measured = finding
            .measurements
            .iter()
            .any(|m| private(&m.concept) || private(&m.unit));
        finding.text.is_some() || private(&finding.concept) || measured
    })
}

/// The content of the report, in the order of TID 1500.
fn content(analysis: &Analysis<'_>, groups: Vec<DataSet>) -> Vec<DataSet> {
    let mut items = vec![code(Relation::Modifier, LANGUAGE, ENGLISH.item())];
    items.extend(observer(analysis.device));
    items.extend(procedures(analysis.first_source()));
    items.push(library::image_library(&analysis.sources));
    items.push(container(IMAGING_MEASUREMENTS, None, groups));
    items
}

/// Who observed: a device (TID 1002 and 1004).
fn observer(device: &Device) -> Vec<DataSet> {
    const CONTEXT: Relation = Relation::Context;
    vec![
        code(CONTEXT, OBSERVER_TYPE, DEVICE.item()),
        uid(CONTEXT, DEVICE_OBSERVER_UID, &header::device_uid(device)),
        words(CONTEXT, DEVICE_OBSERVER_NAME, &device.name),
        words(CONTEXT, DEVICE_OBSERVER_MANUFACTURER, &device.manufacturer),
        words(CONTEXT, DEVICE_OBSERVER_MODEL, &device.model),
        words(CONTEXT, DEVICE_OBSERVER_SERIAL, &device.serial),
    ]
}

/// The procedures reported: those that the source codes, or what its modality stands for.
fn procedures(source: &Source) -> Vec<DataSet> {
    let coded = source
        .data_set()
        .get(tags::PROCEDURE_CODE_SEQUENCE)
        .and_then(|e| e.items())
        .unwrap_or_default();
    let mut procedures: Vec<DataSet> = coded.iter().filter_map(whole_code).collect();
    if procedures.is_empty() {
        let modality = source.text(tags::MODALITY).unwrap_or_default();
        procedures.push(concept::modality(&modality).1.item());
    }
    procedures
        .into_iter()
        .map(|item| code(Relation::Modifier, PROCEDURE_REPORTED, item))
        .collect()
}

/// A code of the source, when it is a valid one.
fn whole_code(item: &DataSet) -> Option<DataSet> {
    const BASIC: [Tag; 4] = [
        tags::CODE_VALUE,
        tags::CODING_SCHEME_DESIGNATOR,
        tags::CODING_SCHEME_VERSION,
        tags::CODE_MEANING,
    ];
    for tag in [
        tags::CODE_VALUE,
        tags::CODING_SCHEME_DESIGNATOR,
        tags::CODE_MEANING,
    ] {
        crate::source::text(item, tag)?;
    }
    Some(data_set(
        BASIC.iter().filter_map(|tag| item.get(*tag).cloned()),
    ))
}
