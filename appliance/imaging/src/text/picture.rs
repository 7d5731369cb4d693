//! Pictures of 8-bit samples as the text pipeline handles them: cut, resized, turned, laid out for a network.

use super::area::{Area, Quad, distance};
use crate::grid::Weights;
use crate::{FRAME_PIXELS_MAX, ImagingError};
use pericard_domain::image::Frame;
use std::borrow::Cow;

/// Rows of interleaved samples, one (grey) or three (red, green, blue) a pixel.
pub(crate) struct Picture<'a> {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) channels: usize,
    pub(crate) samples: Cow<'a, [u8]>,
}

/// The sharpness of the cubic that text is cut out with: what the recogniser's reference implementation uses.
const CUBIC_A: f32 = -0.75;

impl<'a> Picture<'a> {
    /// Looks at a frame as a picture.
    pub(crate) fn of(frame: &'a Frame) -> Result<Self, ImagingError> {
        let (width, height) = (frame.width as usize, frame.height as usize);
        let pixels = width.saturating_mul(height);
        if pixels == 0 {
            return Err(ImagingError::input("a frame has no pixels"));
        }
        if pixels > FRAME_PIXELS_MAX {
            return Err(ImagingError::TooLarge {
                what: "pixels in a frame",
                size: pixels,
                limit: FRAME_PIXELS_MAX,
            });
        }
        let channels = frame.channels.count();
        if frame.samples.len() != pixels * channels {
            let (got, due) = (frame.samples.len(), pixels * channels);
            return Err(ImagingError::input(format!(
                "a frame has {got} samples where its size asks for {due}"
            )));
        }
        Ok(Self {
            width,
            height,
            channels,
            samples: Cow::Borrowed(&frame.samples),
        })
    }

    /// The whole of it.
    pub(crate) fn area(&self) -> Area {
        Area {
            left: 0,
            top: 0,
            right: self.width,
            bottom: self.height,
        }
    }

    /// Cuts a rectangle out.
    pub(crate) fn cut(&self, area: Area) -> Picture<'static> {
        let (from, to) = (area.left * self.channels, area.right * self.channels);
        let rows = self.samples.chunks_exact(self.width * self.channels);
        let samples: Vec<u8> = rows
            .take(area.bottom)
            .skip(area.top)
            .flat_map(|row| &row[from..to])
            .copied()
            .collect();
        Picture {
            width: area.right - area.left,
            height: area.bottom - area.top,
            channels: self.channels,
            samples: samples.into(),
        }
    }

    /// Takes over what another picture of the same shape has in an area.
    pub(crate) fn take_over(&mut self, other: &Picture<'_>, area: Area) {
        let row = self.width * self.channels;
        let samples = self.samples.to_mut();
        for y in area.top..area.bottom {
            let line = y * row + area.left * self.channels..y * row + area.right * self.channels;
            samples[line.clone()].copy_from_slice(&other.samples[line]);
        }
    }

    /// The same picture in another size: linear interpolation, averaging when it gets smaller.
    pub(crate) fn resized(&self, width: usize, height: usize) -> Picture<'_> {
        if (width, height) == (self.width, self.height) {
            let samples = Cow::Borrowed(&*self.samples);
            return Picture {
                width,
                height,
                channels: self.channels,
                samples,
            };
        }
        let values: Vec<f32> = self.samples.iter().map(|s| f32::from(*s)).collect();
        let values = Weights::triangle(self.width, width).apply(&values, self.width, self.channels);
        let inner = width * self.channels;
        let values = Weights::triangle(self.height, height).apply(&values, self.height, inner);
        let samples: Vec<u8> = values
            .iter()
            .map(|v| v.round().clamp(0.0, 255.0) as u8)
            .collect();
        Picture {
            width,
            height,
            channels: self.channels,
            samples: samples.into(),
        }
    }

    /// Cuts out what lies between four corners, as an upright picture.
    pub(crate) fn straightened(&self, quad: &Quad) -> Picture<'static> {
        let side = |a: usize, b: usize| distance(quad[a], quad[b]);
        let width = (side(0, 1).max(side(2, 3)) as usize).max(1);
        let height = (side(0, 3).max(side(1, 2)) as usize).max(1);
        let mut samples = Vec::with_capacity(width * height * self.channels);
        for row in 0..height {
            let down = row as f32 / height as f32;
            for column in 0..width {
                let along = column as f32 / width as f32;
                let at = |axis: usize| {
                    let above = quad[0][axis] + along * (quad[1][axis] - quad[0][axis]);
                    let below = quad[3][axis] + along * (quad[2][axis] - quad[3][axis]);
                    above + down * (below - above)
                };
                self.sample_cubic(at(0), at(1), &mut samples);
            }
        }
        Picture {
            width,
            height,
            channels: self.channels,
            samples: samples.into(),
        }
    }

    /// A quarter turn against the clock.
    pub(crate) fn turned_left(&self) -> Picture<'static> {
        let mut samples = Vec::with_capacity(self.samples.len());
        for column in (0..self.width).rev() {
            for row in 0..self.height {
                samples.extend_from_slice(self.pixel(column, row));
            }
        }
        Picture {
            width: self.height,
            height: self.width,
            channels: self.channels,
            samples: samples.into(),
        }
    }

    /// Half a turn.
    pub(crate) fn turned_over(&self) -> Picture<'static> {
        let samples: Vec<u8> = self
            .samples
            .chunks_exact(self.channels)
            .rev()
            .flatten()
            .copied()
            .collect();
        Picture {
            width: self.width,
            height: self.height,
            channels: self.channels,
            samples: samples.into(),
        }
    }

    /// Writes the picture as three planes (blue, green, red), -1 to 1, into the top left of planes of `width` by
    /// `height`. What the picture does not cover stays as it is.
    pub(crate) fn write_planes(&self, planes: &mut [f32], width: usize, height: usize) {
        for (plane, channel) in planes.chunks_exact_mut(width * height).zip([2, 1, 0]) {
            let channel = channel.min(self.channels - 1);
            let rows = self.samples.chunks_exact(self.width * self.channels);
            for (line, row) in plane.chunks_exact_mut(width).zip(rows) {
                for (value, pixel) in line.iter_mut().zip(row.chunks_exact(self.channels)) {
                    *value = f32::from(pixel[channel]) / 127.5 - 1.0;
                }
            }
        }
    }

    fn pixel(&self, column: usize, row: usize) -> &[u8] {
        let at = (row * self.width + column) * self.channels;
        &self.samples[at..at + self.channels]
    }

    /// Appends the pixel at a position between pixels; beyond the edge, the edge goes on.
    fn sample_cubic(&self, x: f32, y: f32, out: &mut Vec<u8>) {
        let (left, top) = (x.floor(), y.floor());
        let (across, down) = (cubic(x - left), cubic(y - top));
        let clamped = |at: f32, step: usize, length: usize| {
            (at as i64 + step as i64 - 1).clamp(0, length as i64 - 1)
        };
        let mut sums = [0.0_f32; 3];
        for (j, weight_down) in down.iter().enumerate() {
            let row = clamped(top, j, self.height) as usize;
            for (i, weight_across) in across.iter().enumerate() {
                let column = clamped(left, i, self.width) as usize;
                for (sum, sample) in sums.iter_mut().zip(self.pixel(column, row)) {
                    *sum += weight_down * weight_across * f32::from(*sample);
                }
            }
        }
        out.extend(
            sums[..self.channels]
                .iter()
                .map(|s| s.round().clamp(0.0, 255.0) as u8),
        );
    }
}

/// The weights of the four samples around a position that lies `part` beyond the second.
fn cubic(part: f32) -> [f32; 4] {
    let near = |d: f32| ((CUBIC_A + 2.0) * d - (CUBIC_A + 3.0)) * d * d + 1.0;
    let far = |d: f32| ((CUBIC_A * d - 5.0 * CUBIC_A) * d + 8.0 * CUBIC_A) * d - 4.0 * CUBIC_A;
    [
        far(1.0 + part),
        near(part),
        near(1.0 - part),
        far(2.0 - part),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture<'static> {
        // 0 1 2
        // 3 4 5
        Picture {
            width: 3,
            height: 2,
            channels: 1,
            samples: vec![0, 1, 2, 3, 4, 5].into(),
        }
    }

    #[test]
    fn cuts_and_turns() {
        let area = Area {
            left: 1,
            top: 0,
            right: 3,
            bottom: 2,
        };
        assert_eq!(&*picture().cut(area).samples, [1, 2, 4, 5]);
        assert_eq!(&*picture().turned_left().samples, [2, 5, 1, 4, 0, 3]);
        assert_eq!(&*picture().turned_over().samples, [5, 4, 3, 2, 1, 0]);
        let whole = [[0.0, 0.0], [3.0, 0.0], [3.0, 2.0], [0.0, 2.0]];
        assert_eq!(
            &*picture().straightened(&whole).samples,
            &*picture().samples
        );
    }

    #[test]
    fn planes_are_blue_green_red() {
        let picture = Picture {
            width: 1,
            height: 1,
            channels: 3,
            samples: vec![255, 0, 51].into(),
        };
        let mut planes = [9.0; 6];
        picture.write_planes(&mut planes, 2, 1);
        for (got, due) in planes.iter().zip([-0.6, 9.0, -1.0, 9.0, 1.0, 9.0]) {
            assert!((got - due).abs() < 1e-6, "{planes:?}");
        }
    }
}
