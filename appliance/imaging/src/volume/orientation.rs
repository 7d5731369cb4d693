//! From a volume's own axes to the patient's and back, by permuting and flipping only: no value is interpolated, so the
//! way back is exact.

use pericard_domain::image::Volume;

/// How a volume's voxels are reached in the order that networks are trained in: first axis towards the patient's
/// right, second towards the front, third towards the head, the third running fastest.
///
/// That is the closest canonical orientation (RAS+) of NIfTI readers, in C order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Canonical {
    /// Voxels along right, anterior, superior.
    pub(crate) size: [usize; 3],
    /// From one voxel to the next along each, in the volume's own vector.
    steps: [isize; 3],
    /// Where the first voxel is in the volume's own vector.
    start: usize,
}

/// The patient's axes that the canonical order follows, in LPS: right is -L, anterior is -P, superior is +S.
const CANONICAL_SIGNS: [f64; 3] = [-1.0, -1.0, 1.0];

/// Every way to give three axes to three axes.
const PERMUTATIONS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

impl Canonical {
    /// The way through a volume: each of its axes goes to the patient's axis that it runs closest to.
    pub(crate) fn of(volume: &Volume) -> Self {
        let directions = [volume.column_step, volume.row_step, volume.slice_step].map(unit);
        let closeness = |p: &[usize; 3]| -> f64 {
            p.iter()
                .zip(&directions)
                .map(|(axis, direction)| direction[*axis].abs())
                .sum()
        };
        let mut best = PERMUTATIONS[0];
        for permutation in &PERMUTATIONS[1..] {
            // Strictly closer, so that ties go to the first.
            if closeness(permutation) > closeness(&best) + 1e-9 {
                best = *permutation;
            }
        }
        let own_steps = [1, volume.size[0], volume.size[0] * volume.size[1]];
        let mut canonical = Self {
            size: [0; 3],
            steps: [0; 3],
            start: 0,
        };
        for own in 0..3 {
            let axis = best[own];
            let length = volume.size[own];
            // Sizes are bounded by VOLUME_VOXELS_MAX, far below isize.
            let step = own_steps[own] as isize;
            let along = directions[own][axis] * CANONICAL_SIGNS[axis] >= 0.0;
            canonical.size[axis] = length;
            canonical.steps[axis] = if along { step } else { -step };
            if !along {
                canonical.start += own_steps[own] * (length - 1);
            }
        }
        canonical
    }

    /// The values in canonical order.
    pub(crate) fn gather(&self, values: &[f32]) -> Vec<f32> {
        let mut out = Vec::with_capacity(values.len());
        self.walk(|at| out.push(values[at]));
        out
    }

    /// A mask in canonical order, put back into the volume's own.
    pub(crate) fn scatter(&self, mask: &[u8]) -> Vec<u8> {
        let mut out = vec![0; mask.len()];
        let mut from = mask.iter();
        self.walk(|at| out[at] = from.next().copied().unwrap_or(0));
        out
    }

    fn walk(&self, mut visit: impl FnMut(usize)) {
        let [right, anterior, superior] = self.size;
        for x in 0..right {
            for y in 0..anterior {
                let line = self
                    .start
                    .wrapping_add_signed(x as isize * self.steps[0] + y as isize * self.steps[1]);
                for z in 0..superior {
                    visit(line.wrapping_add_signed(z as isize * self.steps[2]));
                }
            }
        }
    }
}

fn unit(step: [f64; 3]) -> [f64; 3] {
    let length = step.iter().map(|s| s * s).sum::<f64>().sqrt();
    step.map(|s| s / length.max(f64::MIN_POSITIVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(size: [usize; 3], steps: [[f64; 3]; 3]) -> Volume {
        Volume {
            size,
            origin: [0.0; 3],
            column_step: steps[0],
            row_step: steps[1],
            slice_step: steps[2],
            voxels: (0..size.iter().product::<usize>())
                .map(|v| v as f32)
                .collect(),
            slices: Vec::new(),
        }
    }

    #[test]
    fn axial_slices_run_left_and_back() {
        // Columns to the left, rows to the back, slices to the head: right and front are the far ends.
        let axial = volume(
            [3, 2, 1],
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 5.0]],
        );
        let canonical = Canonical::of(&axial);
        assert_eq!(canonical.size, [3, 2, 1]);
        // x = 0 is the leftmost (column 2), y = 0 the hindmost (row 1).
        assert_eq!(
            canonical.gather(&axial.voxels),
            [5.0, 2.0, 4.0, 1.0, 3.0, 0.0]
        );
    }

    #[test]
    fn sagittal_slices_come_out_the_same_way() {
        // Columns to the front, rows to the feet, slices to the left.
        let sagittal = volume(
            [2, 3, 2],
            [[0.0, -0.9, 0.1], [0.0, 0.0, -1.0], [3.0, 0.0, 0.0]],
        );
        let canonical = Canonical::of(&sagittal);
        assert_eq!(canonical.size, [2, 2, 3]);
        let values = canonical.gather(&sagittal.voxels);
        // Leftmost slice is the second (offset 6); rearmost column 0; feet are row 2.
        assert_eq!(values[..3], [10.0, 8.0, 6.0]);
        assert_eq!(values[11], 1.0);
    }

    #[test]
    fn there_and_back_is_exact() {
        for own in PERMUTATIONS {
            for signs in 0..8 {
                let mut steps = [[0.0; 3]; 3];
                for (n, axis) in own.iter().enumerate() {
                    steps[n][*axis] = if signs >> n & 1 == 0 { 1.5 } else { -1.5 };
                }
                let volume = volume([2, 3, 4], steps);
                let canonical = Canonical::of(&volume);
                let mask: Vec<u8> = canonical
                    .gather(&volume.voxels)
                    .iter()
                    .map(|v| *v as u8)
                    .collect();
                let back: Vec<f32> = canonical
                    .scatter(&mask)
                    .iter()
                    .map(|v| f32::from(*v))
                    .collect();
                assert_eq!(back, volume.voxels);
            }
        }
    }
}
