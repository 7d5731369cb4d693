//! Encapsulated PDF (PS3.3 section A.45.1): the report as a page for people.

use super::capture::mark;
use super::concept::IMAGING_REPORT;
use super::pdf::{Style, written};
use super::reference::sop_reference;
use super::{Analysis, Kind, ReportContext, ReportError, ResultObject, build, header};
use crate::charset::Charset;
use crate::source::{Source, byte_of, is_copied};
use crate::write::{long_string, sequence, text};
use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use pericard_domain::finding::{Finding, Report};

/// The report as an Encapsulated PDF. It names the patient, as a page that may be printed must.
///
/// # Errors
/// As [`super::structured_report`].
pub fn document(report: &Report, context: &ReportContext<'_>) -> Result<ResultObject, ReportError> {
    build(report, context, |analysis| {
        let own = analysis.own_series(Kind::DOCUMENT, 1, uids::ENCAPSULATED_PDF_STORAGE);
        let mut object = header::header(analysis, &own);
        let title = mark(report.clinical_use);
        let mut bytes = written(title, &lines(analysis));
        let length = bytes.len() as u32; // a page for each few dozen findings: far below 4 GiB
        if bytes.len() % 2 == 1 {
            bytes.push(0);
        }
        let sources = analysis
            .sources
            .iter()
            .map(|source| sop_reference(source.sop_class().as_str(), source.instance().as_str()));
        for element in [
            text(tags::CONVERSION_TYPE, VR::CS, "WSD"),
            text(tags::ACQUISITION_DATE_TIME, VR::DT, ""),
            text(tags::BURNED_IN_ANNOTATION, VR::CS, "YES"),
            text(tags::DOCUMENT_TITLE, VR::ST, title),
            sequence(
                tags::CONCEPT_NAME_CODE_SEQUENCE,
                vec![IMAGING_REPORT.item()],
            ),
            text(tags::VERIFICATION_FLAG, VR::CS, "UNVERIFIED"),
            sequence(tags::SOURCE_INSTANCE_SEQUENCE, sources.collect()),
            text(
                tags::MIME_TYPE_OF_ENCAPSULATED_DOCUMENT,
                VR::LO,
                "application/pdf",
            ),
            DataElement::new(
                tags::ENCAPSULATED_DOCUMENT_LENGTH,
                VR::UL,
                PrimitiveValue::from(length),
            ),
            DataElement::new(
                tags::ENCAPSULATED_DOCUMENT,
                VR::OB,
                PrimitiveValue::U8(bytes.into()),
            ),
        ] {
            object.put(element);
        }
        Ok(object)
    })
}

fn lines(analysis: &Analysis<'_>) -> Vec<(Style, String)> {
    let report = analysis.report;
    let model = &report.model;
    let source = analysis.first_source();
    let mut lines = vec![
        (Style::Title, "Result of an AI analysis".to_owned()),
        (Style::Mark, mark(report.clinical_use).to_owned()),
        (Style::Plain, String::new()),
    ];
    for (name, tag) in [
        ("Patient", tags::PATIENT_NAME),
        ("Patient ID", tags::PATIENT_ID),
        ("Born", tags::PATIENT_BIRTH_DATE),
        ("Accession number", tags::ACCESSION_NUMBER),
        ("Study date", tags::STUDY_DATE),
        ("Study", tags::STUDY_DESCRIPTION),
    ] {
        if let Some(value) = shown(source, tag) {
            lines.push((Style::Plain, format!("{name}: {value}")));
        }
    }
    let images = analysis.sources.len();
    lines.extend([
        (Style::Plain, format!("Study UID: {}", report.study)),
        (Style::Plain, format!("Revision: {}", report.revision)),
        (Style::Plain, String::new()),
        (
            Style::Plain,
            format!("Model: {} {}", model.name, model.version),
        ),
        (Style::Plain, format!("Manifest SHA-256: {}", model.digest)),
        (
            Style::Plain,
            format!(
                "Computed: {} {} on {}, from {images} {}",
                analysis.moment.date(),
                analysis.moment.time(),
                report.device,
                if images == 1 { "image" } else { "images" }
            ),
        ),
        (
            Style::Plain,
            format!(
                "Appliance: {}, {}",
                analysis.device.name, analysis.device.software_version
            ),
        ),
        (Style::Plain, String::new()),
        (Style::Heading, "Findings".to_owned()),
    ]);
    if report.findings.is_empty() {
        let nothing = "The model found nothing of what it looks for.";
        lines.push((Style::Plain, nothing.to_owned()));
    }
    for (number, finding) in (1..).zip(&report.findings) {
        let number: usize = number;
        lines.push((Style::Plain, described(number, finding)));
    }
    lines
}

/// A finding in one line. What it reads in the pixels is left to the structured report.
fn described(number: usize, finding: &Finding) -> String {
    let measured = finding.measurements.iter().map(|measured| {
        let (value, unit) = (measured.value, &measured.unit.value);
        format!("{}: {value:.3} {unit}", measured.concept.meaning)
    });
    let sure = finding
        .score
        .map(|score| format!("certainty {:.1} %", score * 100.0));
    let said: Vec<String> = measured.chain(sure).collect();
    let name = format!(
        "{number}. {} ({})",
        finding.concept.meaning, finding.tracking_id
    );
    if said.is_empty() {
        name
    } else {
        format!("{name}: {}", said.join(", "))
    }
}

/// A text of the source as people read it; of a name the alphabetic form, which the page's letters hold.
fn shown(source: &Source, tag: Tag) -> Option<String> {
    let copied = source.text(tag)?;
    let declared = source.texts(tags::SPECIFIC_CHARACTER_SET).join("\\");
    let decoded = if copied.contains(is_copied) || copied.contains('\u{1b}') {
        let bytes: Vec<u8> = copied.chars().filter_map(byte_of).collect();
        Charset::declared(declared.as_bytes()).decode(&bytes)
    } else {
        copied
    };
    let value = if tag == tags::PATIENT_NAME {
        let alphabetic = decoded.split('=').next().unwrap_or_default();
        alphabetic.replace('^', " ").trim().to_owned()
    } else {
        long_string(&decoded)
    };
    (!value.is_empty()).then_some(value)
}
