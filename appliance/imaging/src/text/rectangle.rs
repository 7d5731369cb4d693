//! The patches of a binary map, and the smallest turned rectangle around each.

use super::area::Quad;

/// The points that decide a patch's outline: the first and the last of each row, in pixels.
pub(crate) type Outline = Vec<[i32; 2]>;

/// The patches of a map of `width` pixels a row: pixels that touch by a side or a corner, in reading order.
pub(crate) fn patches(map: &[bool], width: usize) -> Vec<Outline> {
    let mut seen = vec![false; map.len()];
    let mut found = Vec::new();
    for start in 0..map.len() {
        if map[start] && !seen[start] {
            found.push(outline(map, width, start, &mut seen));
        }
    }
    found
}

fn outline(map: &[bool], width: usize, start: usize, seen: &mut [bool]) -> Outline {
    let height = map.len() / width;
    let mut rows = std::collections::BTreeMap::<usize, (usize, usize)>::new();
    let mut open = vec![start];
    seen[start] = true;
    while let Some(at) = open.pop() {
        let (x, y) = (at % width, at / width);
        let row = rows.entry(y).or_insert((x, x));
        *row = (row.0.min(x), row.1.max(x));
        for ny in y.saturating_sub(1)..(y + 2).min(height) {
            for nx in x.saturating_sub(1)..(x + 2).min(width) {
                let next = ny * width + nx;
                if map[next] && !seen[next] {
                    seen[next] = true;
                    open.push(next);
                }
            }
        }
    }
    // Sizes are bounded by the frame limits, far below i32.
    rows.iter()
        .flat_map(|(y, (a, b))| [[*a as i32, *y as i32], [*b as i32, *y as i32]])
        .collect()
}

/// A rectangle at any angle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rectangle {
    pub(crate) centre: [f64; 2],
    /// The direction of its first side; the second is at a right angle to it.
    pub(crate) direction: [f64; 2],
    /// The lengths of its two sides.
    pub(crate) sides: [f64; 2],
}

impl Rectangle {
    /// The rectangle of the least area around an outline. One of its sides lies along an edge of the convex hull.
    pub(crate) fn around(outline: &[[i32; 2]]) -> Self {
        let hull = convex_hull(outline);
        let mut best: Option<(f64, Self)> = None;
        for (i, from) in hull.iter().enumerate() {
            let to = hull[(i + 1) % hull.len()];
            let (dx, dy) = (f64::from(to[0] - from[0]), f64::from(to[1] - from[1]));
            let length = (dx * dx + dy * dy).sqrt(); // not `hypot`: see `super::area::distance`
            let direction = if length > 0.0 {
                [dx / length, dy / length]
            } else {
                [1.0, 0.0]
            };
            let candidate = Self::along(direction, &hull);
            let area = candidate.sides[0] * candidate.sides[1];
            if best.as_ref().is_none_or(|(least, _)| area < *least - 1e-9) {
                best = Some((area, candidate));
            }
        }
        best.map_or(
            Self {
                centre: [0.0; 2],
                direction: [1.0, 0.0],
                sides: [0.0; 2],
            },
            |(_, rectangle)| rectangle,
        )
    }

    fn along(direction: [f64; 2], points: &[[i32; 2]]) -> Self {
        let across = [-direction[1], direction[0]];
        let span = |axis: [f64; 2]| {
            let places = points
                .iter()
                .map(|p| f64::from(p[0]) * axis[0] + f64::from(p[1]) * axis[1]);
            places.fold((f64::MAX, f64::MIN), |(low, high), v| {
                (low.min(v), high.max(v))
            })
        };
        let ((a, b), (c, d)) = (span(direction), span(across));
        let (along, aside) = (f64::midpoint(a, b), f64::midpoint(c, d));
        let centre = [
            direction[0] * along + across[0] * aside,
            direction[1] * along + across[1] * aside,
        ];
        Self {
            centre,
            direction,
            sides: [b - a, d - c],
        }
    }

    pub(crate) fn shorter_side(&self) -> f64 {
        self.sides[0].min(self.sides[1])
    }

    /// Every side moved outwards by `ratio` times area over circumference, which is how far the detector's training
    /// moved the outlines inwards.
    pub(crate) fn unclipped(&self, ratio: f64) -> Self {
        let [a, b] = self.sides;
        let distance = a * b * ratio / (2.0 * (a + b)).max(f64::MIN_POSITIVE);
        Self {
            sides: [a + 2.0 * distance, b + 2.0 * distance],
            ..*self
        }
    }

    /// Whether a point lies inside, or less than half a pixel outside.
    pub(crate) fn holds(&self, x: f64, y: f64) -> bool {
        const SLACK: f64 = 0.49;
        let (dx, dy) = (x - self.centre[0], y - self.centre[1]);
        let [ux, uy] = self.direction;
        (dx * ux + dy * uy).abs() <= self.sides[0] / 2.0 + SLACK
            && (dy * ux - dx * uy).abs() <= self.sides[1] / 2.0 + SLACK
    }

    /// The corners, clockwise from the top left: the two left ones by height, then the two right ones.
    pub(crate) fn corners(&self) -> Quad {
        let [ux, uy] = self.direction;
        let (a, b) = (self.sides[0] / 2.0, self.sides[1] / 2.0);
        let mut corners = [(a, b), (a, -b), (-a, b), (-a, -b)].map(|(s, t)| {
            [
                (self.centre[0] + s * ux - t * uy) as f32,
                (self.centre[1] + s * uy + t * ux) as f32,
            ]
        });
        corners.sort_by(|p, q| p[0].total_cmp(&q[0]).then(p[1].total_cmp(&q[1])));
        let [
            mut top_left,
            mut bottom_left,
            mut top_right,
            mut bottom_right,
        ] = corners;
        if top_left[1] > bottom_left[1] {
            std::mem::swap(&mut top_left, &mut bottom_left);
        }
        if top_right[1] > bottom_right[1] {
            std::mem::swap(&mut top_right, &mut bottom_right);
        }
        [top_left, top_right, bottom_right, bottom_left]
    }
}

/// Andrew's monotone chain.
fn convex_hull(points: &[[i32; 2]]) -> Vec<[i32; 2]> {
    let mut points = points.to_vec();
    points.sort_unstable();
    points.dedup();
    if points.len() < 3 {
        return points;
    }
    let turns_right = |a: [i32; 2], b: [i32; 2], c: [i32; 2]| {
        let cross = |i: usize, j: usize| i64::from(b[i] - a[i]) * i64::from(c[j] - a[j]);
        cross(0, 1) - cross(1, 0) <= 0
    };
    let chain = |points: &mut dyn Iterator<Item = [i32; 2]>| {
        let mut chain: Vec<[i32; 2]> = Vec::new();
        for point in points {
            while chain.len() > 1
                && turns_right(chain[chain.len() - 2], chain[chain.len() - 1], point)
            {
                chain.pop();
            }
            chain.push(point);
        }
        chain.pop();
        chain
    };
    let mut hull = chain(&mut points.iter().copied());
    hull.extend(chain(&mut points.iter().rev().copied()));
    hull
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_join_over_corners() {
        let map: Vec<bool> = "#..#.#..#..#".chars().map(|c| c == '#').collect();
        let found = patches(&map, 4);
        // Row 0 "#..#", row 1 ".#..", row 2 "#..#": the left three touch by corners.
        assert_eq!(found.len(), 3);
        assert_eq!(found[0], [[0, 0], [0, 0], [1, 1], [1, 1], [0, 2], [0, 2]]);
    }

    #[test]
    fn an_upright_box() {
        let rectangle = Rectangle::around(&[[2, 1], [10, 1], [2, 5], [10, 5]]);
        assert_eq!(
            rectangle.corners(),
            [[2.0, 1.0], [10.0, 1.0], [10.0, 5.0], [2.0, 5.0]]
        );
        assert!((rectangle.shorter_side() - 4.0).abs() < 1e-9);
        // Area 32, circumference 24, ratio 1.5: two pixels on each side.
        let grown = rectangle.unclipped(1.5).corners();
        assert_eq!(grown, [[0.0, -1.0], [12.0, -1.0], [12.0, 7.0], [0.0, 7.0]]);
        assert!(rectangle.holds(2.0, 5.0) && !rectangle.holds(1.0, 5.0));
    }

    #[test]
    fn a_turned_box_has_the_least_area() {
        // A square on its corner: sides of 10 * sqrt(2), not its bounding box of 20.
        let rectangle = Rectangle::around(&[[10, 0], [20, 10], [10, 20], [0, 10]]);
        for side in rectangle.sides {
            assert!((side - 200_f64.sqrt()).abs() < 1e-9, "{rectangle:?}");
        }
    }
}
