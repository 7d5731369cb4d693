//! Softcopy Presentation States (PS3.3 sections A.33.1 and A.33.2): outlines and names over the images themselves.
//!
//! A presentation state says how its images are to be shown in full, and with one transformation of their values for all
//! of them; so images that are shown in different ways have one each.

use super::capture::mark;
use super::group::frame_numbers;
use super::icc::srgb;
use super::reference::sop_reference;
use super::shape::Shape;
use super::{Analysis, Kind, ReportContext, ReportError, ResultObject, build, header};
use crate::source::Source;
use crate::write::{DataSet, data_set, empty, long_string, sequence, short, text, texts};
use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::mem::InMemElement;
use pericard_domain::finding::Report;
use pericard_domain::image::FrameRef;

/// The one layer that everything is drawn in.
const LAYER: &str = "AI";
/// The layer's colour in CIELab as the standard scales it (PS3.3 section C.10.7.1.1): a warm yellow, L 84, a 6, b 82.
const LAYER_LAB: [u16; 3] = [0xD70A, 0x8686, 0xD2D2];
/// The most corners of an outline. Its numbers' length has 16 bits (PS3.5 section 7.1.2); what has more is thinned out.
const CORNERS_MAX: usize = 8000;
/// The fewest corners of an outline.
const CORNERS_MIN: usize = 3;

/// A presentation state for every way in which the images with outlines are shown: grey or colour, of one size, spacing
/// and transformation of their values.
///
/// # Errors
/// [`ReportError::NoPlace`] without an outline; see [`ReportError`] for the others.
pub fn presentation_states(
    report: &Report,
    context: &ReportContext<'_>,
    shapes: &[Shape<'_>],
) -> Result<Vec<ResultObject>, ReportError> {
    let analysis = Analysis::new(report, context)?;
    let groups = grouped(&analysis, shapes)?;
    if groups.is_empty() {
        return Err(ReportError::NoPlace);
    }
    let state = |(part, (look, frames)): (u32, &(Look, Vec<OnFrame<'_, '_>>))| {
        build(report, context, |analysis| {
            Ok(presentation_state(analysis, part, look, frames))
        })
    };
    (1..).zip(&groups).map(state).collect()
}

/// How images are shown, as far as it must be the same in one presentation state.
#[derive(Debug, Clone, PartialEq)]
struct Look {
    is_color: bool,
    is_inverse: bool,
    size: [i32; 2],
    /// Presentation Pixel Spacing or Pixel Aspect Ratio.
    pixels: InMemElement,
    /// The modality's transformation.
    values: Vec<InMemElement>,
}

/// A frame with its outlines.
struct OnFrame<'s, 'f> {
    source: &'s Source,
    frame: u32,
    reference: DataSet,
    shapes: Vec<&'s Shape<'f>>,
}

/// Outlines by frame, frames by how they are shown, in the order in which they first appear.
fn grouped<'s, 'f>(
    analysis: &Analysis<'s>,
    shapes: &'s [Shape<'f>],
) -> Result<Vec<(Look, Vec<OnFrame<'s, 'f>>)>, ReportError> {
    let mut by_frame: Vec<(&FrameRef, Vec<&Shape<'_>>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for shape in shapes {
        if shape.corners.len() < CORNERS_MIN
            || shape.corners.iter().flatten().any(|v| !v.is_finite())
        {
            return Err(ReportError::Outline);
        }
        let place = *places.entry(&shape.source).or_insert_with(|| {
            by_frame.push((&shape.source, Vec::new()));
            by_frame.len() - 1
        });
        by_frame[place].1.push(shape);
    }
    let mut groups: Vec<(Look, Vec<OnFrame<'s, 'f>>)> = Vec::new();
    for (frame, shapes) in by_frame {
        let source = analysis.source(&frame.instance)?;
        let mut reference = sop_reference(source.sop_class().as_str(), source.instance().as_str());
        let numbers = frame_numbers(source, &[frame.frame])?;
        if !numbers.is_empty() {
            let numbers = numbers.iter().map(u32::to_string);
            reference.put(texts(tags::REFERENCED_FRAME_NUMBER, VR::IS, numbers));
        }
        let look = Look::of(source, frame.frame);
        let on_frame = OnFrame {
            source,
            frame: frame.frame,
            reference,
            shapes,
        };
        match groups.iter_mut().find(|(other, _)| *other == look) {
            Some((_, frames)) => frames.push(on_frame),
            None => groups.push((look, vec![on_frame])),
        }
    }
    Ok(groups)
}

impl Look {
    fn of(source: &Source, frame: u32) -> Self {
        let photometric = source
            .text(tags::PHOTOMETRIC_INTERPRETATION)
            .unwrap_or_default();
        let is_color = !photometric.starts_with("MONOCHROME");
        let side = |tag| {
            let side = source.numbers(tag, tags::PIXEL_MEASURES_SEQUENCE, 1);
            side.and_then(|s| s.first().copied()).unwrap_or(1.0) as i32
        };
        Self {
            is_color,
            is_inverse: photometric == "MONOCHROME1",
            size: [side(tags::COLUMNS), side(tags::ROWS)],
            pixels: pixels(source, frame),
            values: if is_color {
                Vec::new()
            } else {
                modality_values(source, frame)
            },
        }
    }
}

/// How far apart the pixels are to be shown, so that a circle is shown as one.
fn pixels(source: &Source, frame: u32) -> InMemElement {
    for tag in [tags::PIXEL_SPACING, tags::IMAGER_PIXEL_SPACING] {
        let spacing = source.numbers(tag, tags::PIXEL_MEASURES_SEQUENCE, frame);
        if let Some([vertical, horizontal]) = spacing.as_deref()
            && *vertical > 0.0
            && *horizontal > 0.0
        {
            let spacing = [*vertical, *horizontal].map(crate::write::decimal);
            return texts(tags::PRESENTATION_PIXEL_SPACING, VR::DS, spacing);
        }
    }
    let ratio = source.texts(tags::PIXEL_ASPECT_RATIO);
    let is_ratio = ratio.len() == 2
        && ratio
            .iter()
            .all(|side| side.parse::<i32>().is_ok_and(|side| side > 0));
    let ratio = if is_ratio {
        ratio
    } else {
        vec!["1".to_owned(), "1".to_owned()]
    };
    texts(tags::PRESENTATION_PIXEL_ASPECT_RATIO, VR::IS, ratio)
}

/// The modality's table, or slope and intercept, as the source has it.
fn modality_values(source: &Source, frame: u32) -> Vec<InMemElement> {
    if let Some(table) = source.data_set().get(tags::MODALITY_LUT_SEQUENCE) {
        return vec![table.clone()];
    }
    let number = |tag| {
        let values = source.numbers(tag, tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE, frame);
        values.and_then(|v| v.first().copied())
    };
    let (Some(slope), Some(intercept)) =
        (number(tags::RESCALE_SLOPE), number(tags::RESCALE_INTERCEPT))
    else {
        return Vec::new();
    };
    let kind = source
        .text(tags::RESCALE_TYPE)
        .unwrap_or_else(|| "US".to_owned()); // unspecified
    vec![
        text(
            tags::RESCALE_INTERCEPT,
            VR::DS,
            crate::write::decimal(intercept),
        ),
        text(tags::RESCALE_SLOPE, VR::DS, crate::write::decimal(slope)),
        text(tags::RESCALE_TYPE, VR::LO, kind),
    ]
}

fn presentation_state(
    analysis: &Analysis<'_>,
    part: u32,
    look: &Look,
    frames: &[OnFrame<'_, '_>],
) -> DataSet {
    let sop_class = if look.is_color {
        uids::COLOR_SOFTCOPY_PRESENTATION_STATE_STORAGE
    } else {
        uids::GRAYSCALE_SOFTCOPY_PRESENTATION_STATE_STORAGE
    };
    let own = analysis.own_series(Kind::PRESENTATION, part, sop_class);
    let mut object = header::header(analysis, &own);
    // A presentation state has no content date; it has one of its own.
    object.remove_element(tags::CONTENT_DATE);
    object.remove_element(tags::CONTENT_TIME);
    put_identity(&mut object, analysis);
    header::put_body_part(
        &mut object,
        frames.first().map_or(analysis.first_source(), |f| f.source),
    );
    put_relations(&mut object, frames);
    for element in &look.values {
        object.put(element.clone());
    }
    if look.is_color {
        object.put(DataElement::new(
            tags::ICC_PROFILE,
            VR::OB,
            PrimitiveValue::U8(even(srgb()).into()),
        ));
    } else {
        let windows: Vec<DataSet> = frames.iter().filter_map(window).collect();
        if !windows.is_empty() {
            object.put(sequence(tags::SOFTCOPY_VOILUT_SEQUENCE, windows));
        }
        let shape = if look.is_inverse {
            "INVERSE"
        } else {
            "IDENTITY"
        };
        object.put(text(tags::PRESENTATION_LUT_SHAPE, VR::CS, shape));
    }
    object.put(sequence(
        tags::DISPLAYED_AREA_SELECTION_SEQUENCE,
        vec![displayed_area(look)],
    ));
    let mark = mark(analysis.report.clinical_use);
    let annotations = frames.iter().map(|frame| annotation(frame, mark));
    object.put(sequence(
        tags::GRAPHIC_ANNOTATION_SEQUENCE,
        annotations.collect(),
    ));
    object.put(sequence(tags::GRAPHIC_LAYER_SEQUENCE, vec![layer(mark)]));
    object
}

fn even(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes
}

fn put_identity(object: &mut DataSet, analysis: &Analysis<'_>) {
    let mark = mark(analysis.report.clinical_use);
    for element in [
        text(tags::CONTENT_LABEL, VR::CS, "AI_FINDINGS"),
        text(tags::CONTENT_DESCRIPTION, VR::LO, long_string(mark)),
        text(
            tags::PRESENTATION_CREATION_DATE,
            VR::DA,
            analysis.moment.date(),
        ),
        text(
            tags::PRESENTATION_CREATION_TIME,
            VR::TM,
            analysis.moment.time(),
        ),
        empty(tags::CONTENT_CREATOR_NAME, VR::PN),
    ] {
        object.put(element);
    }
}

/// Which images it is about (PS3.3 section C.11.11).
fn put_relations(object: &mut DataSet, frames: &[OnFrame<'_, '_>]) {
    let mut series: Vec<(&str, Vec<(&str, DataSet)>)> = Vec::new();
    for on_frame in frames {
        let (of, instance) = (
            on_frame.source.series().as_str(),
            on_frame.source.instance().as_str(),
        );
        let at = match series.iter().position(|(other, _)| *other == of) {
            Some(at) => at,
            None => {
                series.push((of, Vec::new()));
                series.len() - 1
            }
        };
        let images = &mut series[at].1;
        if images.iter().all(|(other, _)| *other != instance) {
            // The whole object, even where only some of its frames have outlines: all of it is shown this way.
            let sop_class = on_frame.source.sop_class().as_str();
            images.push((instance, sop_reference(sop_class, instance)));
        }
    }
    let items = series.into_iter().map(|(uid, images)| {
        let images = images.into_iter().map(|(_, item)| item);
        data_set([
            sequence(tags::REFERENCED_IMAGE_SEQUENCE, images.collect()),
            text(tags::SERIES_INSTANCE_UID, VR::UI, uid),
        ])
    });
    object.put(sequence(tags::REFERENCED_SERIES_SEQUENCE, items.collect()));
}

/// The source's own first window, or its table: without one, a presentation state shows the whole range.
fn window(on_frame: &OnFrame<'_, '_>) -> Option<DataSet> {
    let OnFrame {
        source,
        frame,
        reference,
        ..
    } = on_frame;
    let number = |tag: Tag| {
        let values = source.numbers(tag, tags::FRAME_VOILUT_SEQUENCE, *frame);
        values.and_then(|v| v.first().copied())
    };
    let images = sequence(tags::REFERENCED_IMAGE_SEQUENCE, vec![reference.clone()]);
    if let (Some(center), Some(width)) = (number(tags::WINDOW_CENTER), number(tags::WINDOW_WIDTH))
        && width >= 1.0
    {
        let mut item = data_set([
            images,
            text(tags::WINDOW_CENTER, VR::DS, crate::write::decimal(center)),
            text(tags::WINDOW_WIDTH, VR::DS, crate::write::decimal(width)),
        ]);
        if let Some(function) = source.data_set().get(tags::VOILUT_FUNCTION) {
            item.put(function.clone());
        }
        return Some(item);
    }
    let tables = source.data_set().get(tags::VOILUT_SEQUENCE)?;
    let first = tables.items()?.first()?.clone();
    Some(data_set([
        images,
        sequence(tags::VOILUT_SEQUENCE, vec![first]),
    ]))
}

fn displayed_area(look: &Look) -> DataSet {
    let corner =
        |tag, values: [i32; 2]| DataElement::new(tag, VR::SL, PrimitiveValue::I32(values.into()));
    data_set([
        corner(tags::DISPLAYED_AREA_TOP_LEFT_HAND_CORNER, [1, 1]),
        corner(tags::DISPLAYED_AREA_BOTTOM_RIGHT_HAND_CORNER, look.size),
        text(tags::PRESENTATION_SIZE_MODE, VR::CS, "SCALE TO FIT"),
        look.pixels.clone(),
    ])
}

/// The outlines of a frame, each with its name, and the mark.
fn annotation(on_frame: &OnFrame<'_, '_>, mark: &str) -> DataSet {
    let names = on_frame
        .shapes
        .iter()
        .map(|shape| label(&shape.finding.concept.meaning, top_left(&shape.corners)));
    let names = names.chain([label(mark, [0.0, 0.0])]);
    let outlines = on_frame.shapes.iter().map(|shape| outline(shape));
    data_set([
        sequence(
            tags::REFERENCED_IMAGE_SEQUENCE,
            vec![on_frame.reference.clone()],
        ),
        text(tags::GRAPHIC_LAYER, VR::CS, LAYER),
        sequence(tags::TEXT_OBJECT_SEQUENCE, names.collect()),
        sequence(tags::GRAPHIC_OBJECT_SEQUENCE, outlines.collect()),
    ])
}

/// A concept's name or the mark: never a text that was read in the pixels, which may be the patient's name.
fn label(words: &str, anchor: [f32; 2]) -> DataSet {
    data_set([
        text(tags::ANCHOR_POINT_ANNOTATION_UNITS, VR::CS, "PIXEL"),
        text(tags::UNFORMATTED_TEXT_VALUE, VR::ST, long_string(words)),
        DataElement::new(
            tags::ANCHOR_POINT,
            VR::FL,
            PrimitiveValue::F32(anchor.into()),
        ),
        text(tags::ANCHOR_POINT_VISIBILITY, VR::CS, "N"),
    ])
}

fn top_left(corners: &[[f32; 2]]) -> [f32; 2] {
    let least = |a: [f32; 2], b: &[f32; 2]| [a[0].min(b[0]), a[1].min(b[1])];
    corners.iter().fold([f32::INFINITY; 2], least)
}

fn outline(shape: &Shape<'_>) -> DataSet {
    let every = shape.corners.len().div_ceil(CORNERS_MAX).max(1);
    let corners = || shape.corners.iter().step_by(every);
    let points: Vec<f32> = corners()
        .chain(corners().next())
        .flatten()
        .copied()
        .collect();
    data_set([
        text(tags::GRAPHIC_ANNOTATION_UNITS, VR::CS, "PIXEL"),
        short(tags::GRAPHIC_DIMENSIONS, 2),
        short(tags::NUMBER_OF_GRAPHIC_POINTS, points.len() / 2),
        DataElement::new(
            tags::GRAPHIC_DATA,
            VR::FL,
            PrimitiveValue::F32(points.into()),
        ),
        text(tags::GRAPHIC_TYPE, VR::CS, "POLYLINE"),
        text(tags::GRAPHIC_FILLED, VR::CS, "N"),
        text(tags::TRACKING_ID, VR::UT, &*shape.finding.tracking_id),
        text(
            tags::TRACKING_UID,
            VR::UI,
            shape.finding.tracking_uid.as_str(),
        ),
    ])
}

fn layer(mark: &str) -> DataSet {
    data_set([
        text(tags::GRAPHIC_LAYER, VR::CS, LAYER),
        text(tags::GRAPHIC_LAYER_ORDER, VR::IS, "1"),
        text(tags::GRAPHIC_LAYER_DESCRIPTION, VR::LO, long_string(mark)),
        DataElement::new(
            tags::GRAPHIC_LAYER_RECOMMENDED_DISPLAY_CIE_LAB_VALUE,
            VR::US,
            PrimitiveValue::U16(LAYER_LAB.to_vec().into()),
        ),
    ])
}
