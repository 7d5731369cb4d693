//! A colour picture that outlines and letters are drawn on.

use super::font;
use pericard_domain::image::{Channels, Frame};

/// A colour: red, green, blue.
pub(super) type Color = [u8; 3];

/// Points between two letters.
const GAP: usize = 1;

/// A picture of three bytes a pixel, row by row from the top left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) samples: Vec<u8>,
}

impl Canvas {
    /// A frame enlarged `scale` times, under a black strip of `strip` rows. `None` when its samples are not those of
    /// its size.
    pub(super) fn of(frame: &Frame, scale: usize, strip: usize) -> Option<Self> {
        let (width, height) = (frame.width as usize, frame.height as usize);
        let channels = frame.channels.count();
        if width * height == 0 || frame.samples.len() != width * height * channels {
            return None;
        }
        let (wide, high) = (width * scale, height * scale + strip);
        let mut samples = vec![0; wide * strip * 3];
        samples.reserve_exact(wide * height * scale * 3);
        for row in frame.samples.chunks_exact(width * channels) {
            let line: Vec<u8> = row
                .chunks_exact(channels)
                .flat_map(|pixel| std::iter::repeat_n(color(frame.channels, pixel), scale))
                .flatten()
                .collect();
            for _ in 0..scale {
                samples.extend_from_slice(&line);
            }
        }
        Some(Self {
            width: wide,
            height: high,
            samples,
        })
    }

    /// Fills a square of `side` pixels around a point; what is outside the picture is left out.
    fn dot(&mut self, x: i64, y: i64, side: i64, color: Color) {
        let (from_x, from_y) = (x - side / 2, y - side / 2);
        for y in from_y.max(0)..(from_y + side).min(self.height as i64) {
            for x in from_x.max(0)..(from_x + side).min(self.width as i64) {
                self.put(x as usize, y as usize, color);
            }
        }
    }

    fn put(&mut self, x: usize, y: usize, color: Color) {
        let at = (y * self.width + x) * 3;
        if x < self.width
            && let Some(pixel) = self.samples.get_mut(at..at + 3)
        {
            pixel.copy_from_slice(&color);
        }
    }

    /// A straight line.
    fn line(&mut self, from: [f64; 2], to: [f64; 2], side: i64, color: Color) {
        // What lies outside by more than the picture is cut: a line must not take longer than the picture is large.
        let reach = 4.0 * (self.width.max(self.height)) as f64;
        let [from, to] = [from, to].map(|p| p.map(|v| v.clamp(-reach, reach)));
        let steps = (to[0] - from[0])
            .abs()
            .max((to[1] - from[1]).abs())
            .ceil()
            .max(1.0);
        for step in 0..=steps as u64 {
            let part = step as f64 / steps;
            let at = [0, 1].map(|axis| (from[axis] + part * (to[axis] - from[axis])).floor());
            self.dot(at[0] as i64, at[1] as i64, side, color);
        }
    }

    /// A closed outline.
    pub(super) fn outline(&mut self, corners: &[[f64; 2]], side: usize, color: Color) {
        let next = corners.iter().cycle().skip(1);
        for (from, to) in corners.iter().zip(next) {
            self.line(*from, *to, side as i64, color);
        }
    }

    /// A line of letters on black, its top left corner at a point, cut at the right edge.
    pub(super) fn write(
        &mut self,
        text: &str,
        [left, top]: [usize; 2],
        scale: usize,
        color: Color,
    ) {
        let (wide, high) = text_size(text, scale);
        for y in top..(top + high).min(self.height) {
            for x in left..(left + wide).min(self.width) {
                self.put(x, y, [0; 3]);
            }
        }
        for (place, letter) in text.chars().enumerate() {
            let origin = left + place * (font::WIDTH + GAP) * scale;
            for (row, bits) in font::rows(letter).into_iter().enumerate() {
                for column in (0..font::WIDTH).filter(|c| bits >> (font::WIDTH - 1 - c) & 1 == 1) {
                    self.block(
                        [origin + column * scale, top + (row + GAP) * scale],
                        scale,
                        color,
                    );
                }
            }
        }
    }

    fn block(&mut self, [left, top]: [usize; 2], side: usize, color: Color) {
        for y in top..(top + side).min(self.height) {
            for x in left..left + side {
                self.put(x, y, color);
            }
        }
    }
}

/// How wide and high a line of letters is, with a point of room around it.
pub(super) fn text_size(text: &str, scale: usize) -> (usize, usize) {
    let letters = text.chars().count();
    (
        letters * (font::WIDTH + GAP) * scale,
        (font::HEIGHT + 2 * GAP) * scale,
    )
}

fn color(channels: Channels, pixel: &[u8]) -> Color {
    match (channels, pixel) {
        (Channels::Rgb, [red, green, blue]) => [*red, *green, *blue],
        _ => [pixel[0]; 3], // chunks have at least one sample
    }
}
