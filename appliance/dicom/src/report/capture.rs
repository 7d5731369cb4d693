//! Secondary Capture (PS3.3 section A.8.1): a picture of a frame with the outlines in it, for viewers that show
//! nothing else. Its mark stands above the picture, so that it hides nothing.

use super::canvas::{Canvas, Color, text_size};
use super::reference::sop_reference;
use super::shape::Shape;
use super::{Analysis, Kind, ReportContext, ReportError, ResultObject, build, header};
use crate::write::{DataSet, long_string, sequence, short, text, texts};
use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::{tags, uids};
use pericard_domain::finding::Report;
use pericard_domain::image::Frame;
use pericard_domain::uid::InstanceUid;
use std::collections::HashMap;

/// A picture is enlarged until it is so wide: below, its mark could not be read.
const WIDTH_PIXELS_MIN: usize = 512;
/// The most rows or columns that an image can have (US).
const SIDE_PIXELS_MAX: usize = u16::MAX as usize;
/// A letter's point is one pixel for so many of the picture's width.
const PIXELS_PER_POINT: usize = 400;
/// The longest name of a finding in the picture, letters.
const NAME_LETTERS_MAX: usize = 40;

const OUTLINE: Color = [255, 200, 0];
const MARK: Color = [255, 80, 80];
const MODEL: Color = [200, 200, 200];

/// The words that every picture and page carries.
pub(super) const fn mark(clinical_use: bool) -> &'static str {
    if clinical_use {
        "AI result - not verified"
    } else {
        "AI result - not verified - not for clinical use"
    }
}

/// A picture of one frame with the outlines that lie in it. `part` counts the pictures of the report from 1.
///
/// The findings are numbered and named by their concepts. A text that was read in the pixels is not written: it may be
/// the patient's name.
///
/// # Errors
/// [`ReportError::NoPlace`] when no outline is of this frame; [`ReportError::Picture`] when the frame cannot be drawn
/// on; see [`ReportError`] for the others.
pub fn secondary_capture(
    report: &Report,
    context: &ReportContext<'_>,
    (frame, part): (&Frame, u32),
    shapes: &[Shape<'_>],
) -> Result<ResultObject, ReportError> {
    let shapes: Vec<&Shape<'_>> = shapes.iter().filter(|s| s.source == frame.source).collect();
    if shapes.is_empty() {
        return Err(ReportError::NoPlace);
    }
    let picture = drawn(report, frame, &shapes)?;
    build(report, context, |analysis| {
        let own = analysis.own_series(Kind::CAPTURE, part, uids::SECONDARY_CAPTURE_IMAGE_STORAGE);
        let mut object = header::header(analysis, &own);
        put_origin(&mut object, analysis, frame)?;
        put_pixels(&mut object, &picture);
        Ok(object)
    })
}

/// The frame, enlarged where it is small, with its outlines, under the strip with the mark.
fn drawn(report: &Report, frame: &Frame, shapes: &[&Shape<'_>]) -> Result<Canvas, ReportError> {
    let width = frame.width as usize;
    let scale = WIDTH_PIXELS_MIN.div_ceil(width.max(1)).max(1);
    let point = (width * scale / PIXELS_PER_POINT).max(1);
    let (mark, model) = (mark(report.clinical_use), &report.model);
    let (_, line) = text_size(mark, point);
    let strip = 2 * line;
    let fits = width * scale <= SIDE_PIXELS_MAX
        && frame.height as usize * scale + strip <= SIDE_PIXELS_MAX;
    let canvas = fits.then(|| Canvas::of(frame, scale, strip)).flatten();
    let mut canvas = canvas.ok_or(ReportError::Picture)?;

    let mut numbers: HashMap<&InstanceUid, usize> = HashMap::new();
    for finding in &report.findings {
        let next = numbers.len() + 1;
        numbers.entry(&finding.tracking_uid).or_insert(next);
    }
    for shape in shapes {
        let place = |[x, y]: &[f32; 2]| {
            [
                f64::from(*x) * scale as f64,
                f64::from(*y) * scale as f64 + strip as f64,
            ]
        };
        let corners: Vec<[f64; 2]> = shape.corners.iter().map(place).collect();
        canvas.outline(&corners, point, OUTLINE);
        let number = numbers.get(&shape.finding.tracking_uid).copied();
        let name = name(number, &shape.finding.concept.meaning);
        let at = beside(&corners, &canvas, strip, text_size(&name, point));
        canvas.write(&name, at, point, OUTLINE);
    }
    canvas.write(mark, [point, 0], point, MARK);
    let model = format!("{} {}", model.name, model.version);
    canvas.write(&model, [point, line], point, MODEL);
    Ok(canvas)
}

fn name(number: Option<usize>, meaning: &str) -> String {
    let number = number.map_or_else(String::new, |number| format!("{number} "));
    let meaning: String = meaning.chars().take(NAME_LETTERS_MAX).collect();
    format!("{number}{meaning}")
}

/// Where a name of that size stands: above its outline, or below where there is no room, inside the picture.
fn beside(
    corners: &[[f64; 2]],
    canvas: &Canvas,
    strip: usize,
    (wide, high): (usize, usize),
) -> [usize; 2] {
    let bound = |axis: usize, from: f64, pick: fn(f64, f64) -> f64| {
        corners.iter().map(|corner| corner[axis]).fold(from, pick)
    };
    let (left, top) = (
        bound(0, f64::INFINITY, f64::min).max(0.0) as usize,
        bound(1, f64::INFINITY, f64::min).max(0.0) as usize,
    );
    let bottom = bound(1, 0.0, f64::max).max(0.0) as usize;
    let left = left.min(canvas.width.saturating_sub(wide));
    let room_above = top >= strip + high;
    let top = if room_above { top - high } else { bottom + 1 };
    [left, top.min(canvas.height.saturating_sub(high)).max(strip)]
}

/// What the picture is of.
fn put_origin(
    object: &mut DataSet,
    analysis: &Analysis<'_>,
    frame: &Frame,
) -> Result<(), ReportError> {
    let source = analysis.source(&frame.source.instance)?;
    if !(1..=source.frames()).contains(&frame.source.frame) {
        return Err(ReportError::NoSuchFrame(source.instance().clone()));
    }
    let mut reference = sop_reference(source.sop_class().as_str(), source.instance().as_str());
    if source.frames() > 1 {
        let number = frame.source.frame.to_string();
        reference.put(text(tags::REFERENCED_FRAME_NUMBER, VR::IS, number));
    }
    // What the source does not say for sure is not said here either: its own pixels are in this picture.
    let burned_in = match source.text(tags::BURNED_IN_ANNOTATION).as_deref() {
        Some("NO") => "NO",
        _ => "YES",
    };
    let mark = mark(analysis.report.clinical_use);
    let model = &analysis.report.model;
    let label = format!("{mark}: {} {}", model.name, model.version);
    for element in [
        text(tags::CONVERSION_TYPE, VR::CS, "WSD"),
        texts(
            tags::IMAGE_TYPE,
            VR::CS,
            ["DERIVED".to_owned(), "SECONDARY".to_owned()],
        ),
        text(tags::BURNED_IN_ANNOTATION, VR::CS, burned_in),
        text(tags::DERIVATION_DESCRIPTION, VR::ST, &*label),
        text(tags::IMAGE_COMMENTS, VR::LT, long_string(&label)),
        text(tags::PATIENT_ORIENTATION, VR::CS, ""),
        sequence(tags::SOURCE_IMAGE_SEQUENCE, vec![reference]),
    ] {
        object.put(element);
    }
    for tag in [
        tags::PATIENT_ORIENTATION,
        tags::RECOGNIZABLE_VISUAL_FEATURES,
    ] {
        if let Some(element) = source.data_set().get(tag) {
            object.put(element.clone());
        }
    }
    header::put_body_part(object, source);
    header::put_lossy(object, source);
    Ok(())
}

fn put_pixels(object: &mut DataSet, picture: &Canvas) {
    let mut samples = picture.samples.clone();
    if samples.len() % 2 == 1 {
        samples.push(0);
    }
    for element in [
        short(tags::SAMPLES_PER_PIXEL, 3),
        text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "RGB"),
        short(tags::PLANAR_CONFIGURATION, 0),
        short(tags::ROWS, picture.height),
        short(tags::COLUMNS, picture.width),
        short(tags::BITS_ALLOCATED, 8),
        short(tags::BITS_STORED, 8),
        short(tags::HIGH_BIT, 7),
        short(tags::PIXEL_REPRESENTATION, 0),
        DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::U8(samples.into())),
    ] {
        object.put(element);
    }
}
