//! One image of a study with what the models found drawn on it: the picture from the reader, the outlines as SVG over it.
//!
//! Every control is a link or a form, and works without a script; the script asks for this part alone and puts it in the
//! place of the one before.

use super::layout::sentence;
use super::picture;
use super::study::{Held, current, mark};
use crate::appliance::Api;
use crate::asked::Asked;
use crate::problem::Problem;
use maud::{Markup, html};
use pericard_dicom::segments::{Marked, Outline};
use pericard_domain::finding::Region;
use pericard_domain::image::{FrameRef, GreyWindow};
use pericard_domain::study::Instance;
use pericard_domain::uid::{InstanceUid, SeriesUid};
use pericard_runner::{Form, ShownFacts, View};
use std::collections::HashSet;
use std::fmt::Write as _;

/// Segmentation Storage.
const SEGMENTATION: &str = "1.2.840.10008.5.1.4.1.1.66.4";
/// How many colours outlines have in the style sheet.
const COLOURS: usize = 6;
/// Windows of computed tomography that readers choose by name (center, width).
const CT_WINDOWS: [(&str, f64, f64); 4] = [
    ("soft tissue", 40.0, 400.0),
    ("brain", 40.0, 80.0),
    ("lung", -600.0, 1500.0),
    ("bone", 400.0, 1800.0),
];

/// What is asked to be seen.
pub(super) struct Asking {
    series: Option<SeriesUid>,
    image: Option<u32>,
    window: Option<GreyWindow>,
}

impl Asking {
    pub(super) fn of(asked: &Asked) -> Result<Self, Problem> {
        Ok(Self {
            series: asked.value("series")?,
            image: asked.value("image")?,
            window: picture::window(asked)?,
        })
    }
}

/// The viewer, and where each finding is.
pub(super) struct Viewer {
    pub(super) markup: Markup,
    /// For each finding of the reports that count, in their order: in words, and the way there.
    pub(super) places: Vec<Option<(String, String)>>,
}

/// A series with images, as one reel of frames.
struct Reel<'h> {
    series: &'h SeriesUid,
    images: Vec<&'h Instance>,
}

/// Something that can be drawn, by its number in the list of findings.
struct Drawn {
    number: usize,
    corners: Vec<[f32; 2]>,
}

/// A segmentation that counts, and the number of the finding that its first segment is.
struct Segmentation<'h> {
    object: &'h Instance,
    first_number: usize,
    marked: Vec<Marked>,
}

/// What is to be seen, once all of it is known.
struct Scene<'h> {
    held: &'h Held,
    reels: &'h [Reel<'h>],
    reel: &'h Reel<'h>,
    at: u32,
    source: FrameRef,
    window: Option<GreyWindow>,
    shown: Result<ShownFacts, Problem>,
    drawn: Vec<Drawn>,
}

pub(super) async fn viewer(api: &Api, held: &Held, asking: Asking) -> Result<Viewer, Problem> {
    let reels = reels(&held.instances);
    let segmentations = segmentations(api, held).await;
    let places = places(held, &reels, &segmentations);
    let first = places.iter().flatten().next();
    let reel = match &asking.series {
        Some(asked) => reels.iter().find(|reel| reel.series == asked),
        None => first.map_or(reels.first(), |(at, _)| reels.get(at.reel)),
    };
    let Some(reel) = reel else {
        let markup = html! { section #viewer.sheet { p.nothing { "This study holds no image that can be shown." } } };
        return Ok(Viewer {
            markup,
            places: Vec::new(),
        });
    };
    let is_first = first.filter(|(at, _)| reels[at.reel].series == reel.series);
    let middle = reel.frames().div_ceil(2);
    let at = asking.image.or(is_first.map(|(at, _)| at.image));
    let at = at.unwrap_or(middle).clamp(1, reel.frames());
    let (instance, source) = reel.at(at);
    let shown = facts(api, instance, source.frame, asking.window).await;
    let scene = Scene {
        held,
        reels: &reels,
        reel,
        at,
        window: asking.window,
        shown,
        drawn: drawn(api, held, &segmentations, &source).await,
        source,
    };
    let ways = places.iter().map(|place| {
        let (at, words) = place.as_ref()?;
        Some((
            words.clone(),
            href(held, reels[at.reel].series, at.image, None),
        ))
    });
    Ok(Viewer {
        places: ways.collect(),
        markup: scene.markup(),
    })
}

/// How large the picture will be and in which window, learned from one of a single pixel: the picture itself is asked for
/// by the page.
async fn facts(
    api: &Api,
    instance: &Instance,
    frame: u32,
    window: Option<GreyWindow>,
) -> Result<ShownFacts, Problem> {
    let view = View {
        window,
        fit: Some([1, 1]),
        form: Form::Png,
        ..View::of(frame)
    };
    let mut shown = api.show(instance, view).await?.facts;
    // Rows and columns as the header says: the reader has held the pixels against them.
    shown.width = instance.facts.columns.unwrap_or(1).max(1);
    shown.height = instance.facts.rows.unwrap_or(1).max(1);
    Ok(shown)
}

/// Received images by series, in the store's order.
fn reels(instances: &[Instance]) -> Vec<Reel<'_>> {
    let images = instances.iter().filter(|i| {
        let is_image = i.facts.rows.is_some() && i.facts.columns.is_some();
        is_image && !i.is_result && i.identity.sop_class.as_str() != SEGMENTATION
    });
    let mut reels: Vec<Reel<'_>> = Vec::new();
    for image in images {
        let series = &image.identity.series;
        match reels.iter_mut().find(|reel| reel.series == series) {
            Some(reel) => reel.images.push(image),
            None => reels.push(Reel {
                series,
                images: vec![image],
            }),
        }
    }
    reels
}

impl<'h> Reel<'h> {
    fn frames(&self) -> u32 {
        let each = self.images.iter().map(|image| frames_of(image));
        each.fold(0, u32::saturating_add).max(1)
    }

    /// The image at a place, counted from 1; the last one beyond the end.
    fn at(&self, place: u32) -> (&'h Instance, FrameRef) {
        let mut left = place;
        let found = self.images.iter().find(|image| {
            let frames = frames_of(image);
            let here = left <= frames;
            if !here {
                left -= frames;
            }
            here
        });
        // A reel has at least one image.
        let image = found.unwrap_or(&self.images[self.images.len() - 1]);
        let frame = left.clamp(1, frames_of(image));
        let instance = image.identity.instance.clone();
        (image, FrameRef { instance, frame })
    }

    /// Where a frame is in it.
    fn place(&self, source: &FrameRef) -> Option<u32> {
        let mut before = 0_u32;
        for image in &self.images {
            if image.identity.instance == source.instance {
                return Some(before.saturating_add(source.frame));
            }
            before = before.saturating_add(frames_of(image));
        }
        None
    }

    fn words(&self) -> String {
        let facts = &self.images[0].facts;
        let description = facts.series_description.as_deref();
        let modality = facts.modality.as_deref().unwrap_or("images");
        let number = facts.series_number.as_deref().unwrap_or("–");
        match description {
            Some(description) => format!("{number}: {modality}, {description} ({})", self.frames()),
            None => format!("{number}: {modality} ({})", self.frames()),
        }
    }
}

fn frames_of(image: &Instance) -> u32 {
    image.facts.frames.unwrap_or(1).max(1)
}

/// The segmentations of the reports that count. One that cannot be read is a page without its outlines, not no page.
async fn segmentations<'h>(api: &Api, held: &'h Held) -> Vec<Segmentation<'h>> {
    let mut found = Vec::new();
    let mut number = 1;
    for kept in current(&held.reports) {
        let ours: HashSet<&InstanceUid> = kept.objects.iter().collect();
        let objects = held.instances.iter().filter(|i| {
            i.identity.sop_class.as_str() == SEGMENTATION && ours.contains(&i.identity.instance)
        });
        for object in objects {
            match api.marks(object, None).await {
                Ok((marked, _)) => found.push(Segmentation {
                    object,
                    first_number: number,
                    marked,
                }),
                Err(problem) => tracing::warn!(code = problem.code, "a segmentation is not drawn"),
            }
        }
        number += kept.report.findings.len();
    }
    found
}

/// A place in the study: which reel, and which of its images, from 1.
struct At {
    reel: usize,
    image: u32,
}

/// Where each finding is: where its outline is, or in the middle of what a segmentation marks.
fn places(
    held: &Held,
    reels: &[Reel<'_>],
    segmentations: &[Segmentation<'_>],
) -> Vec<Option<(At, String)>> {
    let find = |source: &FrameRef| {
        let mut all = reels.iter().enumerate();
        all.find_map(|(reel, r)| r.place(source).map(|image| At { reel, image }))
    };
    let findings = current(&held.reports).flat_map(|kept| &kept.report.findings);
    let numbered = findings.zip(1..);
    numbered
        .map(|(finding, number)| match &finding.region {
            Region::Outline { source, .. } => {
                let at = find(source)?;
                let words = format!("in image {}", at.image);
                Some((at, words))
            }
            Region::Frames { .. } => {
                let marks = segmentations.iter().flat_map(|s| {
                    let mine = move |m: &&Marked| s.number(m.segment) == number;
                    s.marked.iter().filter(mine)
                });
                let mut ats: Vec<At> = marks.filter_map(|m| find(&m.source)).collect();
                ats.sort_by_key(|at| (at.reel, at.image));
                let (first, last) = (ats.first()?.image, ats.last()?.image);
                let words = format!("in images {first} to {last}");
                let middle = ats.len() / 2;
                Some((ats.swap_remove(middle), words))
            }
        })
        .collect()
}

impl Segmentation<'_> {
    /// The number of the finding that a segment is.
    fn number(&self, segment: u16) -> usize {
        self.first_number + usize::from(segment.max(1)) - 1
    }
}

/// What lies in this image.
async fn drawn(
    api: &Api,
    held: &Held,
    segmentations: &[Segmentation<'_>],
    source: &FrameRef,
) -> Vec<Drawn> {
    let findings = current(&held.reports).flat_map(|kept| &kept.report.findings);
    let outlined = findings
        .zip(1..)
        .filter_map(|(finding, number)| match &finding.region {
            Region::Outline {
                source: of,
                corners,
            } if of == source => {
                let corners = corners.clone();
                Some(Drawn { number, corners })
            }
            _ => None,
        });
    let mut drawn: Vec<Drawn> = outlined.collect();
    let here = segmentations
        .iter()
        .filter(|s| s.marked.iter().any(|m| m.source == *source));
    for segmentation in here {
        let marks = api.marks(segmentation.object, Some(source.clone())).await;
        let outlines = marks.map(|(_, outlines)| outlines).unwrap_or_default(); // as above
        drawn.extend(
            outlines
                .into_iter()
                .map(|Outline { segment, corners }| Drawn {
                    number: segmentation.number(segment),
                    corners,
                }),
        );
    }
    drawn
}

/// The way to an image.
fn href(held: &Held, series: &SeriesUid, image: u32, window: Option<GreyWindow>) -> String {
    let study = &held.study.study;
    let mut href = format!("/console/studies/{study}?series={series}&image={image}");
    if let Some(GreyWindow { center, width }) = window {
        let _ = write!(href, "&center={center}&width={width}"); // a String takes everything
    }
    href
}

impl Scene<'_> {
    fn markup(&self) -> Markup {
        let reports: Vec<_> = current(&self.held.reports).collect();
        let clinical = reports.iter().all(|kept| kept.report.clinical_use);
        html! {
            section #viewer.sheet aria-label="Images" data-image=(self.at) data-images=(self.reel.frames())
                data-center=[self.levels().map(|w| w.center)] data-width=[self.levels().map(|w| w.width)]
            {
                @if self.reels.len() > 1 { (self.series()) }
                input.toggle #marks type="checkbox" checked;
                label.toggle for="marks" { "Show findings on the image" }
                (self.screen())
                @if !reports.is_empty() { p.mark { (mark(clinical)) } }
                (self.steps())
                @if let Some(window) = self.levels() { (self.window(window)) }
            }
        }
    }

    /// The window that is shown, when there is one that numbers can say.
    fn levels(&self) -> Option<GreyWindow> {
        self.shown.as_ref().ok().and_then(|shown| shown.window)
    }

    fn here(&self, image: u32) -> String {
        href(self.held, self.reel.series, image, self.window)
    }

    fn series(&self) -> Markup {
        html! {
            nav.series aria-label="Series" { ul {
                @for reel in self.reels {
                    @let is_here = reel.series == self.reel.series;
                    li { a href={ "/console/studies/" (self.held.study.study) "?series=" (reel.series) } data-step
                        aria-current=[is_here.then_some("true")] { (reel.words()) } }
                }
            } }
        }
    }

    fn screen(&self) -> Markup {
        let words = format!("Image {} of {}", self.at, self.reel.frames());
        html! {
            div.screen #screen tabindex="0" role="group" aria-label={
                (words) ". Arrow keys change the image; dragging changes the window."
            } {
                @match &self.shown {
                    Ok(facts) => {
                        img alt=(words) width=(facts.width) height=(facts.height) src=(self.source());
                        (self.overlay(facts))
                    }
                    Err(problem) => p.nothing { (sentence(&problem.detail)) }
                }
            }
        }
    }

    fn source(&self) -> String {
        let FrameRef { instance, frame } = &self.source;
        let study = &self.held.study.study;
        let mut source = format!("/console/studies/{study}/objects/{instance}/frames/{frame}");
        if let Some(GreyWindow { center, width }) = self.window {
            let _ = write!(source, "?center={center}&width={width}"); // a String takes everything
        }
        source
    }

    fn overlay(&self, facts: &ShownFacts) -> Markup {
        let (width, height) = (facts.width, facts.height);
        let size = f64::from(width) / 40.0;
        html! {
            @if !self.drawn.is_empty() {
                svg.overlay viewBox={ "0 0 " (width) " " (height) } role="img"
                    aria-label={ (self.drawn.len()) " outlines of findings" }
                {
                    @for drawn @ Drawn { number, corners } in &self.drawn {
                        @let points = points(corners);
                        polygon.under points=(points) {}
                        polygon class={ "c" (number % COLOURS) } points=(points) {}
                        @if let Some([x, y]) = corners.first().filter(|_| self.is_named(drawn)) {
                            text class={ "c" (number % COLOURS) } x=(x) y=(f64::from(*y) - size / 3.0)
                                font-size=(size) aria-hidden="true" { (number) }
                        }
                    }
                }
            }
        }
    }

    /// Whether the finding's number stands at this outline: at the longest that it has here, not at every island.
    fn is_named(&self, drawn: &Drawn) -> bool {
        let all = self.drawn.iter().filter(|d| d.number == drawn.number);
        let longest = all.max_by_key(|d| d.corners.len());
        longest.is_some_and(|d| std::ptr::eq(d, drawn))
    }

    fn steps(&self) -> Markup {
        let (at, last) = (self.at, self.reel.frames());
        html! {
            @if last > 1 {
                form.row.steps method="get" action={ "/console/studies/" (self.held.study.study) } {
                    input type="hidden" name="series" value=(self.reel.series);
                    @if let Some(GreyWindow { center, width }) = self.window {
                        input type="hidden" name="center" value=(center);
                        input type="hidden" name="width" value=(width);
                    }
                    a.button.plain href=(self.here(at.saturating_sub(1).max(1))) data-step aria-label="Previous image" { "‹" }
                    input type="range" name="image" min="1" max=(last) value=(at) aria-label="Image";
                    a.button.plain href=(self.here((at + 1).min(last))) data-step aria-label="Next image" { "›" }
                    span.number { (at) " / " (last) }
                    button.plain type="submit" { "Go" }
                }
            }
        }
    }

    fn window(&self, window: GreyWindow) -> Markup {
        let modality = self.reel.images[0].facts.modality.as_deref();
        let named = CT_WINDOWS.iter().filter(|_| modality == Some("CT"));
        let href = |window| href(self.held, self.reel.series, self.at, window);
        html! {
            form.row.window method="get" action={ "/console/studies/" (self.held.study.study) } {
                input type="hidden" name="series" value=(self.reel.series);
                input type="hidden" name="image" value=(self.at);
                div.field {
                    label for="center" { "Center" }
                    input #center type="number" name="center" step="any" required value=(rounded(window.center));
                }
                div.field {
                    label for="width" { "Width" }
                    input #width type="number" name="width" step="any" min="0.000001" required value=(rounded(window.width));
                }
                button type="submit" { "Apply" }
                a.button.plain href=(href(None)) data-step { "as stored" }
                @for (name, center, width) in named {
                    a.button.plain href=(href(Some(GreyWindow { center: *center, width: *width }))) data-step { (name) }
                }
            }
        }
    }
}

/// To five digits: what a person sets by hand.
fn rounded(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

fn points(corners: &[[f32; 2]]) -> String {
    let mut points = String::with_capacity(corners.len() * 12);
    for [x, y] in corners {
        let _ = write!(points, "{x},{y} "); // a String takes everything
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_said_in_few_digits() {
        assert_eq!(rounded(40.0), 40.0);
        assert_eq!(rounded(1234.5678), 1234.6);
        assert_eq!(rounded(-0.000_123_456), -0.000_123_46);
    }

    #[test]
    fn corners_are_numbers_and_nothing_else() {
        assert_eq!(points(&[[1.0, 2.5], [3.0, 4.0]]), "1,2.5 3,4 ");
    }
}
