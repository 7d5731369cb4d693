//! Text in frames: where it is, what it reads, how sure that is.
//!
//! A frame's short side is brought to at least `detector_short_side_min_px` (at most `detector_enlarge_max` times), so
//! that letters of 10 pixels are seen; a frame longer than `detector_long_side_max_px` is reduced to it. Large frames go
//! through the detector in tiles. Frames smaller than [`FRAME_SIDE_MIN_PX`] hold no text that a person could read.

mod cine;
mod detector;
mod picture;
mod recogniser;
mod rectangle;

use crate::parameters::Parameters;
use crate::{FRAMES_MAX, ImagingError, Runtime};
use detector::Detector;
use pericard_domain::image::{Frame, TextBox};
use pericard_domain::model::Package;
use picture::{Area, Picture, Quad};
use recogniser::Recogniser;

/// Frames with a shorter side are not looked at.
const FRAME_SIDE_MIN_PX: usize = 24;
/// Two boxes show the same text when they have this share of the smaller in common.
const SAME_TEXT_SHARE: f64 = 0.3;
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

    /// The text of every frame, frame by frame, each in reading order.
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
        let mut seen: Option<Seen> = None;
        let mut boxes = Vec::new();
        for (frame, look) in frames
            .iter()
            .zip(cine::looked_at(frames, self.frames_looked_at_max))
        {
            let picture = Picture::of(frame)?;
            let found = match seen.take().filter(|seen| seen.has_shape_of(&picture)) {
                Some(last) if !look => {
                    let standing = last
                        .found
                        .iter()
                        .filter(|f| cine::still_stands(&last.picture, &picture, &f.quad));
                    let standing = standing.cloned().collect();
                    seen = Some(last);
                    standing
                }
                last => {
                    let now = self.look(&picture, last)?;
                    let found = now.found.clone();
                    seen = Some(now);
                    found
                }
            };
            boxes.extend(found.into_iter().map(|f| TextBox {
                source: frame.source.clone(),
                corners: f.quad,
                text: f.text,
                score: f.score,
            }));
        }
        Ok(boxes)
    }

    /// Looks at what is new in a picture, which is everything when nothing was seen before.
    fn look(&mut self, picture: &Picture<'_>, last: Option<Seen>) -> Result<Seen, ImagingError> {
        let owned = picture.cut(picture.area());
        if picture.width.min(picture.height) < FRAME_SIDE_MIN_PX {
            return Ok(Seen {
                picture: owned,
                found: Vec::new(),
            });
        }
        let (areas, mut found) = match last {
            None => (vec![picture.area()], Vec::new()),
            Some(last) => {
                let quads: Vec<Quad> = last.found.iter().map(|f| f.quad).collect();
                (
                    cine::changed_areas(&last.picture, picture, &quads),
                    last.found,
                )
            }
        };
        let within = |quad: &Quad| {
            let around = Area::around(quad, picture.width, picture.height);
            areas.iter().any(|area| area.meets(around))
        };
        found.retain(|f| !within(&f.quad));
        for area in &areas {
            for quad in self.boxes(picture, *area)? {
                if let Some((text, score)) = self.recogniser.read(picture, &quad)?
                    && self.is_text(&text, score)
                {
                    found.push(Found { quad, text, score });
                }
            }
        }
        sort_for_reading(&mut found);
        Ok(Seen {
            picture: owned,
            found,
        })
    }

    /// The boxes of the first look, and those of the second that are not in them.
    fn boxes(&mut self, picture: &Picture<'_>, area: Area) -> Result<Vec<Quad>, ImagingError> {
        let mut boxes: Vec<Quad> = Vec::new();
        for scale in self.detector.scales(picture) {
            let mut looked = self.detector.detect(picture, area, scale)?;
            looked.retain(|quad| {
                let around = Area::around(quad, picture.width, picture.height);
                let share = |other: &Quad| {
                    around.shared(Area::around(other, picture.width, picture.height))
                };
                boxes.iter().all(|other| share(other) < SAME_TEXT_SHARE)
            });
            boxes.append(&mut looked);
        }
        Ok(boxes)
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
