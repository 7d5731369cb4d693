//! Where text is: the probability map of the detector network, and the boxes around its patches.
//!
//! The post-processing is that of Differentiable Binarization (Liao et al., 2020) as the reference implementation of
//! the network does it; its rectangles need no polygon clipping, because a rectangle offset on all sides is one again.

use super::area::{Area, Quad, distance};
use super::picture::Picture;
use super::rectangle::{Rectangle, patches};
use crate::network::Network;
use crate::parameters::Parameters;
use crate::{ImagingError, Runtime};
use std::path::Path;

/// The network takes sides that are multiples of this.
const SIDE_STEP_PX: usize = 32;
/// How much of a tile's border is left to its neighbour, whose view there is whole.
const TILE_MARGIN_PX: usize = 64;
/// A second look is only taken when it is larger by this.
const SECOND_LOOK_FACTOR_MIN: f64 = 1.25;
/// The smallest side of a box, in pixels of the frame, that is kept.
const BOX_SIDE_MIN_PX: f32 = 4.0;

/// The detector: a network and how its map is read.
pub(crate) struct Detector {
    network: Network,
    short_side_min_px: f64,
    enlarge_max: f64,
    long_side_max_px: f64,
    second_look_factor: f64,
    second_look_side_max_px: f64,
    tile_px: usize,
    pixel_threshold: f32,
    box_threshold: f64,
    unclip_ratio: f64,
    boxes_max: usize,
}

/// Probabilities of text, one a pixel of the enlarged or reduced picture.
struct Map {
    width: usize,
    height: usize,
    values: Vec<f32>,
}

impl Detector {
    pub(crate) fn load(
        runtime: &Runtime,
        path: &Path,
        threads: usize,
        parameters: &mut Parameters,
    ) -> Result<Self, ImagingError> {
        Ok(Self {
            network: Network::load(runtime, "detector", path, threads)?,
            short_side_min_px: parameters.number("detector_short_side_min_px", 32.0..=4096.0)?,
            enlarge_max: parameters.number("detector_enlarge_max", 1.0..=8.0)?,
            long_side_max_px: parameters.number("detector_long_side_max_px", 256.0..=16384.0)?,
            second_look_factor: parameters.number("second_look_factor", 1.0..=4.0)?,
            second_look_side_max_px: parameters
                .number("second_look_side_max_px", 256.0..=16384.0)?,
            tile_px: parameters
                .count("detector_tile_px", 256..=4096)?
                .next_multiple_of(SIDE_STEP_PX),
            pixel_threshold: parameters.number("detector_pixel_threshold", 0.05..=0.95)? as f32,
            box_threshold: parameters.number("detector_box_threshold", 0.05..=0.95)?,
            unclip_ratio: parameters.number("detector_unclip_ratio", 0.0..=4.0)?,
            boxes_max: parameters.count("detector_boxes_max", 1..=10_000)?,
        })
    }

    /// By how much a picture is enlarged or reduced for the network: small ones so that their short side is long
    /// enough for small letters, very large ones so that the work is bounded.
    pub(crate) fn first_scale(&self, picture: &Picture<'_>) -> f64 {
        let (short, long) = (
            picture.width.min(picture.height),
            picture.width.max(picture.height),
        );
        let enlarged = (self.short_side_min_px / short as f64).clamp(1.0, self.enlarge_max);
        enlarged.min(self.long_side_max_px / long as f64)
    }

    /// The scale of each look. Letters that stand alone are often seen only in a second, larger look, which is taken
    /// of frames that are not large.
    pub(crate) fn scales(&self, picture: &Picture<'_>) -> Vec<f64> {
        let first = self.first_scale(picture);
        let long = picture.width.max(picture.height) as f64;
        let second = (first * self.second_look_factor).min(self.second_look_side_max_px / long);
        // A second look that is hardly larger shows nothing new.
        if second >= first * SECOND_LOOK_FACTOR_MIN {
            vec![first, second]
        } else {
            vec![first]
        }
    }

    /// The boxes of text in `area` of a picture, seen at `scale`, in reading order, in pixels of the picture.
    pub(crate) fn detect(
        &mut self,
        picture: &Picture<'_>,
        area: Area,
        scale: f64,
    ) -> Result<Vec<Quad>, ImagingError> {
        let part = picture.cut(area);
        let side = |length: usize| {
            let steps = (length as f64 * scale / SIDE_STEP_PX as f64).round() as usize;
            steps.max(1) * SIDE_STEP_PX
        };
        let map = self.map(&part.resized(side(part.width), side(part.height)))?;
        let mut boxes = Vec::new();
        for rectangle in self.rectangles(&map) {
            let quad = rectangle.corners().map(|[x, y]| {
                let place = |at: f32, from: usize, to: usize, offset: usize, end: usize| {
                    let within = (at / from as f32 * to as f32).round() + offset as f32;
                    within.clamp(0.0, end as f32)
                };
                [
                    place(x, map.width, part.width, area.left, picture.width - 1),
                    place(y, map.height, part.height, area.top, picture.height - 1),
                ]
            });
            let side = |a: usize, b: usize| distance(quad[a], quad[b]);
            if side(0, 1) >= BOX_SIDE_MIN_PX && side(0, 3) >= BOX_SIDE_MIN_PX {
                boxes.push(quad);
            }
        }
        if boxes.len() > self.boxes_max {
            tracing::warn!(
                boxes = boxes.len(),
                kept = self.boxes_max,
                "more boxes than the limit; the rest is dropped"
            );
            boxes.truncate(self.boxes_max);
        }
        Ok(boxes)
    }

    /// The map of a picture whose sides are multiples of [`SIDE_STEP_PX`], in tiles where it is large: whole, its
    /// memory would grow with the frame.
    fn map(&mut self, picture: &Picture<'_>) -> Result<Map, ImagingError> {
        let (width, height) = (picture.width, picture.height);
        let mut map = Map {
            width,
            height,
            values: vec![0.0; width * height],
        };
        let columns = tiles(width, self.tile_px);
        for rows in tiles(height, self.tile_px) {
            for columns in &columns {
                let area = Area {
                    left: columns.from,
                    top: rows.from,
                    right: columns.to,
                    bottom: rows.to,
                };
                let tile = self.run(&picture.cut(area))?;
                for y in rows.own_from..rows.own_to {
                    let source = (y - rows.from) * (columns.to - columns.from) - columns.from;
                    let line = &tile[source + columns.own_from..source + columns.own_to];
                    map.values[y * width + columns.own_from..y * width + columns.own_to]
                        .copy_from_slice(line);
                }
            }
        }
        Ok(map)
    }

    fn run(&mut self, tile: &Picture<'_>) -> Result<Vec<f32>, ImagingError> {
        let (width, height) = (tile.width, tile.height);
        let mut planes = vec![0.0; 3 * width * height];
        tile.write_planes(&mut planes, width, height);
        let output = self.network.run(&[1, 3, height, width], &planes)?;
        if output.shape != [1, 1, height, width] {
            let reason = format!(
                "its map has the shape {:?} for {height} rows of {width}",
                output.shape
            );
            return Err(ImagingError::Unfit {
                part: "detector",
                reason,
            });
        }
        Ok(output.values)
    }

    /// The rectangles around the patches of the map, from the top.
    fn rectangles(&self, map: &Map) -> Vec<Rectangle> {
        let patches = patches(&map.above(self.pixel_threshold), map.width);
        let mut found = Vec::new();
        for patch in patches {
            let rectangle = Rectangle::around(&patch);
            if rectangle.shorter_side() < 3.0 || map.mean_within(&rectangle) < self.box_threshold {
                continue;
            }
            let rectangle = rectangle.unclipped(self.unclip_ratio);
            if rectangle.shorter_side() >= 5.0 {
                found.push(rectangle);
            }
        }
        found
    }
}

impl Map {
    /// The pixels above a threshold, spread by one to the right and down, which joins the letters of a word.
    fn above(&self, threshold: f32) -> Vec<bool> {
        let mut spread = vec![false; self.values.len()];
        for (at, value) in self.values.iter().enumerate() {
            if *value <= threshold {
                continue;
            }
            let right = usize::from((at + 1) % self.width != 0);
            let down = if at + self.width < self.values.len() {
                self.width
            } else {
                0
            };
            for next in [at, at + right, at + down, at + down + right] {
                spread[next] = true;
            }
        }
        spread
    }

    fn mean_within(&self, rectangle: &Rectangle) -> f64 {
        let area = Area::around(&rectangle.corners(), self.width, self.height).grown(
            1,
            self.width,
            self.height,
        );
        let (mut sum, mut count) = (0.0, 0_u32);
        for y in area.top..area.bottom {
            for x in area.left..area.right {
                if rectangle.holds(x as f64, y as f64) {
                    sum += f64::from(self.values[y * self.width + x]);
                    count += 1;
                }
            }
        }
        if count == 0 {
            0.0
        } else {
            sum / f64::from(count)
        }
    }
}

/// A stretch of a side that one run of the network sees, and the part of it whose values are taken.
struct Tile {
    from: usize,
    to: usize,
    own_from: usize,
    own_to: usize,
}

fn tiles(length: usize, tile: usize) -> Vec<Tile> {
    if length <= tile {
        return vec![Tile {
            from: 0,
            to: length,
            own_from: 0,
            own_to: length,
        }];
    }
    let count = (length - 2 * TILE_MARGIN_PX).div_ceil(tile - 2 * TILE_MARGIN_PX);
    // The last start leaves a whole tile; starts are even steps of the network's.
    let start = |n: usize| (n * (length - tile) / (count - 1)) / SIDE_STEP_PX * SIDE_STEP_PX;
    let bounds: Vec<usize> = (0..count).map(start).collect();
    let cut = |n: usize| (bounds[n] + bounds[n - 1] + tile) / 2;
    let own = |n: usize| if n == 0 { 0 } else { cut(n) };
    (0..count)
        .map(|n| Tile {
            from: bounds[n],
            to: if n + 1 == count {
                length
            } else {
                bounds[n] + tile
            },
            own_from: own(n),
            own_to: if n + 1 == count { length } else { own(n + 1) },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_a_side_once_and_overlap() {
        for length in (32..6000).step_by(32) {
            let tiles = tiles(length, 1024);
            assert_eq!(
                (tiles[0].own_from, tiles[tiles.len() - 1].own_to),
                (0, length)
            );
            for pair in tiles.windows(2) {
                assert_eq!(pair[0].own_to, pair[1].own_from, "{length}");
                assert!(
                    pair[0].to - pair[0].own_to >= TILE_MARGIN_PX / 2,
                    "{length}"
                );
                assert!(
                    pair[1].own_from - pair[1].from >= TILE_MARGIN_PX / 2,
                    "{length}"
                );
            }
            for tile in tiles {
                assert!(tile.to - tile.from <= 1024 + SIDE_STEP_PX, "{length}");
                assert!((tile.to - tile.from) % SIDE_STEP_PX == 0, "{length}");
            }
        }
    }

    #[test]
    fn a_map_is_spread_right_and_down() {
        let map = Map {
            width: 3,
            height: 2,
            values: vec![0.0, 0.9, 0.0, 0.0, 0.0, 0.0],
        };
        assert_eq!(map.above(0.3), [false, true, true, false, true, true]);
        let last = Map {
            width: 2,
            height: 2,
            values: vec![0.0, 0.0, 0.0, 0.9],
        };
        assert_eq!(last.above(0.3), [false, false, false, true]);
    }
}
