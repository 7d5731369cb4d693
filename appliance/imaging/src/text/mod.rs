//! Text in frames: where it is, what it reads, how sure that is.
//!
//! A frame's short side is brought to at least `detector_short_side_min_px` (at most `detector_enlarge_max` times), so
//! that letters of 10 pixels are seen; a frame longer than `detector_long_side_max_px` is reduced to it. Large frames go
//! through the detector in tiles. Frames smaller than [`FRAME_SIDE_MIN_PX`] hold no text that a person could read.

mod area;
mod cine;
mod detector;
mod picture;
mod recogniser;
mod rectangle;

use crate::parameters::Parameters;
use crate::{FRAMES_MAX, ImagingError, Runtime};
use area::{Area, Quad};
use detector::Detector;
use pericard_domain::image::{Frame, TextBox};
use pericard_domain::model::Package;
use picture::Picture;
use recogniser::Recogniser;

/// Frames with a shorter side are not looked at.
const FRAME_SIDE_MIN_PX: usize = 24;
/// Two boxes show the same text when they have this share of the smaller in common.
const SAME_TEXT_SHARE: f64 = 0.3;
/// A box holds another when it has this share of it.
const HELD_SHARE: f64 = 0.9;
/// A box says more than another that it holds when it is larger by this.
const LARGER: f64 = 1.2;
/// Boxes whose tops differ by less than this, in pixels, stand in one line.
const LINE_SLACK_PX: f32 = 10.0;

/// The pipeline of text spotting: parts `detector` and `recogniser`, and `classifier` if the package has it.
pub(crate) struct TextSpotter {
    detector: Detector,
    recogniser: Recogniser,
    score_min: f32,
    single_score_min: f32,
    frames_looked_at_max: usize,
}

/// Text in a frame.
#[derive(Clone)]
struct Found {
    quad: Quad,
    text: String,
    score: f32,
}

/// What was last seen at each place of frames of one shape.
struct Seen {
    picture: Picture<'static>,
    found: Vec<Found>,
}

impl TextSpotter {
    pub(crate) fn load(
        runtime: &Runtime,
        package: &Package,
        threads: usize,
    ) -> Result<Self, ImagingError> {
        let part = |part| package.part(part).ok_or(ImagingError::Part { part });
        let mut parameters = Parameters::new(&package.manifest.parameters);
        let detector = Detector::load(runtime, &part("detector")?, threads, &mut parameters)?;
        let mut recogniser = Recogniser::load(runtime, &part("recogniser")?, threads)?;
        if let Some(path) = package.part("classifier") {
            recogniser = recogniser.with_classifier(runtime, &path, threads, &mut parameters)?;
        }
        let spotter = Self {
            detector,
            recogniser,
            score_min: parameters.number("text_score_min", 0.0..=1.0)? as f32,
            single_score_min: parameters.number("single_character_score_min", 0.0..=1.0)? as f32,
            frames_looked_at_max: parameters.count("frames_looked_at_max", 1..=10_000)?,
        };
        parameters.finish()?;
        Ok(spotter)
    }

    /// The text of every frame, frame by frame, each in reading order. Objects do not affect one another.
    ///
    /// Of an object with more than `frames_looked_at_max` frames, so many are looked at, evenly spread, the first and
    /// the last among them. The others are given what was last seen, where its pixels still stand; text that shows only
    /// between two frames that are looked at is not found.
    pub(crate) fn spot(&mut self, frames: &[Frame]) -> Result<Vec<TextBox>, ImagingError> {
        if frames.len() > FRAMES_MAX {
            return Err(ImagingError::TooLarge {
                what: "frames",
                size: frames.len(),
                limit: FRAMES_MAX,
            });
        }
        let mut boxes = Vec::new();
        for object in frames.chunk_by(|a, b| a.source.instance == b.source.instance) {
            self.spot_in_object(object, &mut boxes)?;
        }
        Ok(boxes)
    }

    fn spot_in_object(
        &mut self,
        frames: &[Frame],
        boxes: &mut Vec<TextBox>,
    ) -> Result<(), ImagingError> {
        let looked_at = cine::looked_at(frames.len(), self.frames_looked_at_max);
        let mut seen: Option<Seen> = None;
        for (frame, look) in frames.iter().zip(looked_at) {
            let picture = Picture::of(frame)?;
            let now = match seen.take().filter(|last| last.has_shape_of(&picture)) {
                None => self.look_at_all(&picture)?,
                Some(last) if look => self.look_again(&picture, last)?,
                Some(last) => last,
            };
            let standing = now
                .found
                .iter()
                .filter(|f| look || cine::still_stands(&now.picture, &picture, &f.quad));
            boxes.extend(standing.map(|f| TextBox {
                source: frame.source.clone(),
                corners: f.quad,
                text: f.text.clone(),
                score: f.score,
            }));
            seen = Some(now);
        }
        Ok(())
    }

    /// Looks at a picture of which nothing was seen before.
    fn look_at_all(&mut self, picture: &Picture<'_>) -> Result<Seen, ImagingError> {
        let mut quads: Vec<Quad> = Vec::new();
        if picture.width.min(picture.height) >= FRAME_SIDE_MIN_PX {
            for scale in self.detector.scales(picture) {
                let looked = self.detector.detect(picture, picture.area(), scale)?;
                add_new(&mut quads, looked, picture);
            }
        }
        let mut found = self.read(picture, quads)?;
        sort_for_reading(&mut found);
        Ok(Seen {
            picture: picture.cut(picture.area()),
            found,
        })
    }

    /// Looks at what has changed in a picture. What is left of the text there is read again; one look is enough, for
    /// letters that stand alone seldom come up in the midst of a clip.
    fn look_again(&mut self, picture: &Picture<'_>, mut last: Seen) -> Result<Seen, ImagingError> {
        if picture.width.min(picture.height) < FRAME_SIDE_MIN_PX {
            return Ok(last);
        }
        let known: Vec<Quad> = last.found.iter().map(|f| f.quad).collect();
        let areas = cine::changed_areas(&last.picture, picture, &known);
        let mut quads = Vec::new();
        for area in &areas {
            let scale = self.detector.first_scale(picture);
            quads.extend(self.detector.detect(picture, *area, scale)?);
        }
        let is_in_change = |quad: &Quad| areas.iter().any(|area| area.meets(around(quad, picture)));
        let standing = known
            .into_iter()
            .filter(|quad| is_in_change(quad) && cine::still_stands(&last.picture, picture, quad));
        add_new(&mut quads, standing.collect(), picture);
        last.found.retain(|f| !is_in_change(&f.quad));
        last.found.extend(self.read(picture, quads)?);
        sort_for_reading(&mut last.found);
        // Only what was looked at is known: elsewhere, small changes must be able to add up.
        areas
            .iter()
            .for_each(|area| last.picture.take_over(picture, *area));
        Ok(last)
    }

    /// Reads what is in the boxes, and drops what is no text.
    fn read(
        &mut self,
        picture: &Picture<'_>,
        quads: Vec<Quad>,
    ) -> Result<Vec<Found>, ImagingError> {
        let mut found = Vec::new();
        for quad in quads {
            if let Some((text, score)) = self.recogniser.read(picture, &quad)?
                && self.is_text(&text, score)
            {
                found.push(Found { quad, text, score });
            }
        }
        Ok(found)
    }

    /// A single character is easily seen in an edge or a vessel, so it must be surer than a word.
    fn is_text(&self, text: &str, score: f32) -> bool {
        let single = text.chars().filter(|c| !c.is_whitespace()).count() < 2;
        score
            >= if single {
                self.single_score_min
            } else {
                self.score_min
            }
    }
}

/// Adds the boxes that show none of the text that is known already. One that holds a known box and more takes its place:
/// a look at another size often sees a whole word where the first saw its end.
fn add_new(known: &mut Vec<Quad>, looked: Vec<Quad>, picture: &Picture<'_>) {
    for quad in looked {
        let area = around(&quad, picture);
        let mut same = (0..known.len())
            .filter(|n| area.shared(around(&known[*n], picture)) >= SAME_TEXT_SHARE);
        match (same.next(), same.next()) {
            (None, _) => known.push(quad),
            (Some(only), None) => {
                let other = around(&known[only], picture);
                if area.shared(other) >= HELD_SHARE
                    && area.pixels() as f64 >= LARGER * other.pixels() as f64
                {
                    known[only] = quad;
                }
            }
            (Some(_), Some(_)) => {}
        }
    }
}

fn around(quad: &Quad, picture: &Picture<'_>) -> Area {
    Area::around(quad, picture.width, picture.height)
}

impl Seen {
    fn has_shape_of(&self, other: &Picture<'_>) -> bool {
        let shape = |p: &Picture<'_>| (p.width, p.height, p.channels);
        shape(&self.picture) == shape(other)
    }
}

/// From top to bottom, and from left to right within a line.
fn sort_for_reading(found: &mut [Found]) {
    found.sort_by(|a, b| {
        a.quad[0][1]
            .total_cmp(&b.quad[0][1])
            .then(a.quad[0][0].total_cmp(&b.quad[0][0]))
    });
    for i in 1..found.len() {
        for j in (1..=i).rev() {
            let (above, below) = (found[j - 1].quad[0], found[j].quad[0]);
            if (below[1] - above[1]).abs() >= LINE_SLACK_PX || below[0] >= above[0] {
                break;
            }
            found.swap(j - 1, j);
        }
    }
}
