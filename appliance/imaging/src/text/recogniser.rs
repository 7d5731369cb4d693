//! What a box of text reads: the recogniser network with greedy CTC decoding, and the classifier that turns upside-down
//! text round.

use super::area::Quad;
use super::picture::Picture;
use crate::network::Network;
use crate::parameters::Parameters;
use crate::{ImagingError, Runtime};
use std::path::Path;

/// The height of a line of text as both networks take it.
const LINE_HEIGHT_PX: usize = 48;
/// The shortest line that the recogniser is given; shorter text is followed by grey.
const LINE_WIDTH_MIN_PX: usize = 320;
/// Lines are brought to multiples of this, so that few different shapes come up.
const LINE_WIDTH_STEP_PX: usize = 32;
/// The longest line; longer text is squeezed.
const LINE_WIDTH_MAX_PX: usize = 2048;
/// The width that the classifier looks at.
const CLASSIFIER_WIDTH_PX: usize = 192;
/// A box that is taller than wide by this ratio holds text that runs upwards.
const UPRIGHT_RATIO: f64 = 1.5;

/// The recogniser, with the classifier where the package has one.
pub(crate) struct Recogniser {
    network: Network,
    classifier: Option<Network>,
    turn_threshold: f32,
    /// What each class of the network stands for; class 0 is the blank.
    characters: Vec<String>,
}

impl Recogniser {
    pub(crate) fn load(
        runtime: &Runtime,
        path: &Path,
        threads: usize,
    ) -> Result<Self, ImagingError> {
        let network = Network::load(runtime, "recogniser", path, threads)?;
        let reason = "its metadata has no `character`, the list of characters it knows".to_owned();
        let listed = network.metadata("character").ok_or(ImagingError::Unfit {
            part: "recogniser",
            reason,
        })?;
        let blank_first = std::iter::once("")
            .chain(listed.lines())
            .chain(std::iter::once(" "));
        let characters = blank_first.map(str::to_owned).collect();
        Ok(Self {
            network,
            classifier: None,
            turn_threshold: 1.0,
            characters,
        })
    }

    /// Adds the classifier that says whether a line is upside down.
    pub(crate) fn with_classifier(
        mut self,
        runtime: &Runtime,
        path: &Path,
        threads: usize,
        parameters: &mut Parameters,
    ) -> Result<Self, ImagingError> {
        self.classifier = Some(Network::load(runtime, "classifier", path, threads)?);
        self.turn_threshold = parameters.number("classifier_threshold", 0.5..=1.0)? as f32;
        Ok(self)
    }

    /// Reads what is in a box: the text and how sure it is, 0 to 1. Nothing when no character is seen.
    pub(crate) fn read(
        &mut self,
        picture: &Picture<'_>,
        quad: &Quad,
    ) -> Result<Option<(String, f32)>, ImagingError> {
        let mut line = picture.straightened(quad);
        if line.height as f64 >= UPRIGHT_RATIO * line.width as f64 {
            line = line.turned_left();
        }
        if self.is_upside_down(&line)? {
            line = line.turned_over();
        }
        let needed = line_width(&line, LINE_WIDTH_MAX_PX);
        let width = needed
            .max(LINE_WIDTH_MIN_PX)
            .next_multiple_of(LINE_WIDTH_STEP_PX);
        let output = self.network.run(
            &[1, 3, LINE_HEIGHT_PX, width],
            &planes(&line, needed, width),
        )?;
        let [1, steps, classes] = output.shape[..] else {
            return Err(unfit(format!(
                "its output has the shape {:?}",
                output.shape
            )));
        };
        if classes != self.characters.len() || output.values.len() != steps * classes {
            let known = self.characters.len();
            return Err(unfit(format!(
                "it gives {classes} classes and its metadata lists {known}"
            )));
        }
        Ok(self.decode(&output.values))
    }

    fn is_upside_down(&mut self, line: &Picture<'_>) -> Result<bool, ImagingError> {
        let Some(classifier) = &mut self.classifier else {
            return Ok(false);
        };
        let values = planes(
            line,
            line_width(line, CLASSIFIER_WIDTH_PX),
            CLASSIFIER_WIDTH_PX,
        );
        let output = classifier.run(&[1, 3, LINE_HEIGHT_PX, CLASSIFIER_WIDTH_PX], &values)?;
        match output.values[..] {
            [upright, turned] => Ok(turned > upright && turned > self.turn_threshold),
            _ => {
                let reason = format!("its output has the shape {:?}, not [1, 2]", output.shape);
                Err(ImagingError::Unfit {
                    part: "classifier",
                    reason,
                })
            }
        }
    }

    /// The likeliest class of each step, without repeats and blanks; its score is the mean probability of what is left.
    fn decode(&self, values: &[f32]) -> Option<(String, f32)> {
        let (mut text, mut sum, mut count, mut last) = (String::new(), 0.0, 0_u16, 0);
        for step in values.chunks_exact(self.characters.len()) {
            let (class, probability) =
                step.iter().enumerate().fold((0, f32::MIN), |best, (c, p)| {
                    if *p > best.1 { (c, *p) } else { best }
                });
            if class != 0 && class != last {
                text.push_str(&self.characters[class]);
                sum += probability;
                count += 1;
            }
            last = class;
        }
        let text = text.trim();
        (!text.is_empty()).then(|| (text.to_owned(), sum / f32::from(count)))
    }
}

/// How wide a line becomes at [`LINE_HEIGHT_PX`].
fn line_width(line: &Picture<'_>, limit: usize) -> usize {
    (LINE_HEIGHT_PX * line.width)
        .div_ceil(line.height)
        .clamp(1, limit)
}

/// The line at its height and `needed` wide, followed by grey up to `width`.
fn planes(line: &Picture<'_>, needed: usize, width: usize) -> Vec<f32> {
    let mut planes = vec![0.0; 3 * LINE_HEIGHT_PX * width];
    line.resized(needed, LINE_HEIGHT_PX)
        .write_planes(&mut planes, width, LINE_HEIGHT_PX);
    planes
}

fn unfit(reason: String) -> ImagingError {
    ImagingError::Unfit {
        part: "recogniser",
        reason,
    }
}
