//! Places in a picture.

/// A rectangle of whole pixels: `left..right`, `top..bottom`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) left: usize,
    pub(crate) top: usize,
    pub(crate) right: usize,
    pub(crate) bottom: usize,
}

/// Four corners, clockwise from the top left: (column, row).
pub(crate) type Quad = [[f32; 2]; 4];

/// From one corner to another. `hypot` gives the same number, and would ask for a newer C library (2.35) than RHEL 9 has.
pub(crate) fn distance(from: [f32; 2], to: [f32; 2]) -> f32 {
    let [dx, dy] = [0, 1].map(|axis| f64::from(from[axis] - to[axis]));
    (dx * dx + dy * dy).sqrt() as f32
}

impl Area {
    /// The smallest area that holds a quad, within a picture of `width` by `height`.
    pub(crate) fn around(quad: &Quad, width: usize, height: usize) -> Self {
        let least = |axis: usize| {
            quad.iter()
                .map(|c| c[axis])
                .fold(f32::MAX, f32::min)
                .max(0.0) as usize
        };
        let most = |axis: usize| quad.iter().map(|c| c[axis]).fold(0.0, f32::max).ceil() as usize;
        let (left, top) = (least(0).min(width - 1), least(1).min(height - 1));
        Self {
            left,
            top,
            right: most(0).clamp(left + 1, width),
            bottom: most(1).clamp(top + 1, height),
        }
    }

    /// The smallest area that holds both.
    pub(crate) fn joined(self, other: Self) -> Self {
        Self {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }

    pub(crate) fn meets(self, other: Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    /// Wider by `margin` on every side, within a picture of `width` by `height`.
    pub(crate) fn grown(self, margin: usize, width: usize, height: usize) -> Self {
        Self {
            left: self.left.saturating_sub(margin),
            top: self.top.saturating_sub(margin),
            right: (self.right + margin).min(width),
            bottom: (self.bottom + margin).min(height),
        }
    }

    /// How much of the smaller area lies in the other, 0 to 1.
    pub(crate) fn shared(self, other: Self) -> f64 {
        if !self.meets(other) {
            return 0.0;
        }
        let common = Self {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        };
        common.pixels() as f64 / self.pixels().min(other.pixels()) as f64
    }

    pub(crate) fn pixels(self) -> usize {
        (self.right - self.left) * (self.bottom - self.top)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn around_shared_and_grown() {
        let quad = [[2.5, 1.0], [8.2, 1.0], [8.2, 3.0], [2.5, 3.0]];
        let area = Area::around(&quad, 9, 9);
        assert_eq!(
            area,
            Area {
                left: 2,
                top: 1,
                right: 9,
                bottom: 3
            }
        );
        let corner = Area {
            left: 0,
            top: 0,
            right: 3,
            bottom: 2,
        };
        assert!(area.meets(corner) && !area.meets(Area { right: 2, ..corner }));
        // One pixel of six.
        assert!((area.shared(corner) - 1.0 / 6.0).abs() < 1e-9);
        assert_eq!(
            corner.grown(2, 4, 9),
            Area {
                left: 0,
                top: 0,
                right: 4,
                bottom: 4
            }
        );
        assert_eq!(
            area.joined(corner),
            Area {
                left: 0,
                top: 0,
                right: 9,
                bottom: 3
            }
        );
    }
}
