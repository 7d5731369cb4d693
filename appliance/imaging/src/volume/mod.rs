//! One volume in, a mask of the same geometry out.
//!
//! The volume is brought into the patient's axes, resampled to the cube that the network takes, scaled, run, resampled
//! back, cut at a threshold, and put back into its own axes. Resampling follows scikit-image's `resize` of order 1, which
//! the reference implementations of such networks use.

mod component;
mod orientation;

use crate::grid::Weights;
use crate::network::{Network, Tensor};
use crate::parameters::Parameters;
use crate::{ImagingError, Runtime, VOLUME_VOXELS_MAX};
use orientation::Canonical;
use pericard_domain::image::{Mask, Volume};
use pericard_domain::model::Package;

/// The pipeline of volume segmentation: one part, `network`.
pub(crate) struct VolumeSegmenter {
    network: Network,
    /// The side of the cube that the network takes, voxels.
    side: usize,
    /// Whether the channel is the network's last axis, or the one after the batch.
    channels_last: bool,
    /// Which channel of the output is the structure.
    channel: usize,
    /// Whether values are smoothed before they are reduced.
    antialias: bool,
    /// Whether values are divided by the largest.
    divide_by_maximum: bool,
    threshold: f32,
    /// Whether only the largest connected part is kept.
    largest_only: bool,
}

impl VolumeSegmenter {
    pub(crate) fn load(
        runtime: &Runtime,
        package: &Package,
        threads: usize,
    ) -> Result<Self, ImagingError> {
        let path = package
            .part("network")
            .ok_or(ImagingError::Part { part: "network" })?;
        let mut parameters = Parameters::new(&package.manifest.parameters);
        let segmenter = Self {
            side: parameters.count("cube_side_voxels", 16..=512)?,
            channels_last: parameters.switch("channels_last")?,
            channel: parameters.count("output_channel", 0..=1023)?,
            antialias: parameters.switch("antialias")?,
            divide_by_maximum: parameters.switch("divide_by_maximum")?,
            threshold: parameters.number("threshold", 0.0..=1.0)? as f32,
            largest_only: parameters.switch("largest_component_only")?,
            network: Network::load(runtime, "network", &path, threads)?,
        };
        parameters.finish()?;
        Ok(segmenter)
    }

    /// The mask of the structure in the volume's own geometry.
    pub(crate) fn segment(&mut self, volume: &Volume) -> Result<Mask, ImagingError> {
        let canonical = checked(volume)?;
        let size = canonical.size;
        let cube = [self.side; 3];
        let mut values = resized(canonical.gather(&volume.voxels), size, cube, self.antialias);
        if self.divide_by_maximum {
            let maximum = values.iter().copied().fold(f32::MIN, f32::max);
            if maximum <= 0.0 {
                return Err(ImagingError::input("the volume has no value above zero"));
            }
            values.iter_mut().for_each(|v| *v /= maximum);
        }
        let shape = if self.channels_last {
            [1, cube[0], cube[1], cube[2], 1]
        } else {
            [1, 1, cube[0], cube[1], cube[2]]
        };
        let output = self.network.run(&shape, &values)?;
        let probabilities = resized(self.channel_of(output)?, cube, size, self.antialias);
        let mut mask: Vec<u8> = probabilities
            .iter()
            .map(|p| u8::from(*p > self.threshold))
            .collect();
        if self.largest_only {
            component::keep_largest(&mut mask, size);
        }
        Ok(Mask {
            size: volume.size,
            voxels: canonical.scatter(&mask),
        })
    }

    fn channel_of(&self, output: Tensor) -> Result<Vec<f32>, ImagingError> {
        let voxels = self.side.pow(3);
        let spatial_at = if self.channels_last { 1 } else { 2 };
        let fits = output.shape.len() == 5
            && output.shape[0] == 1
            && output.shape[spatial_at..spatial_at + 3] == [self.side; 3];
        let channels = if fits {
            output.shape[if self.channels_last { 4 } else { 1 }]
        } else {
            0
        };
        if self.channel >= channels || output.values.len() != voxels * channels {
            let reason = format!("its output has the shape {:?}", output.shape);
            return Err(ImagingError::Unfit {
                part: "network",
                reason,
            });
        }
        Ok(match (channels, self.channels_last) {
            (1, _) => output.values,
            (_, true) => output
                .values
                .iter()
                .skip(self.channel)
                .step_by(channels)
                .copied()
                .collect(),
            (_, false) => {
                output.values[self.channel * voxels..(self.channel + 1) * voxels].to_vec()
            }
        })
    }
}

fn checked(volume: &Volume) -> Result<Canonical, ImagingError> {
    let voxels = volume
        .size
        .iter()
        .fold(1_usize, |product, n| product.saturating_mul(*n));
    if voxels > VOLUME_VOXELS_MAX {
        return Err(ImagingError::TooLarge {
            what: "voxels",
            size: voxels,
            limit: VOLUME_VOXELS_MAX,
        });
    }
    if voxels == 0 || volume.voxels.len() != voxels {
        let got = volume.voxels.len();
        return Err(ImagingError::input(format!(
            "the volume has {got} voxels where its size asks for {voxels}"
        )));
    }
    if !volume.voxels.iter().all(|v| v.is_finite()) {
        return Err(ImagingError::input(
            "the volume has values that are not numbers",
        ));
    }
    let steps = [volume.column_step, volume.row_step, volume.slice_step];
    if !steps.iter().flatten().all(|s| s.is_finite()) || volume.voxel_mm3() <= 0.0 {
        return Err(ImagingError::input("the volume's steps span no space"));
    }
    Ok(Canonical::of(volume))
}

/// Resamples `values` of `from` voxels (the last axis running fastest) to `to`, within the range of what goes in.
fn resized(mut values: Vec<f32>, from: [usize; 3], to: [usize; 3], antialias: bool) -> Vec<f32> {
    let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(low, high), v| {
        (low.min(*v), high.max(*v))
    });
    // Zero beyond the edge may lie outside the range; the reference keeps it then.
    let (low, high) = (low.min(0.0), high.max(0.0));
    // The axis that shrinks most goes first: less is left for the others.
    let mut order = [0, 1, 2];
    order.sort_by(|a, b| (to[*a] * from[*b]).cmp(&(to[*b] * from[*a])));
    let mut size = from;
    for axis in order {
        if size[axis] != to[axis] {
            let inner = size[axis + 1..].iter().product();
            values = Weights::smooth_linear(size[axis], to[axis], antialias)
                .apply(&values, size[axis], inner);
            size[axis] = to[axis];
        }
    }
    values.iter_mut().for_each(|v| *v = v.clamp(low, high));
    values
}
