//! Pictures in shared memory: what goes from the reader to a model without passing through the appliance's own memory.

use crate::words::{FrameHead, Head, VolumeHead};
use pericard_confine::Memory;
use pericard_domain::image::{Frame, ImagingInput, Volume};
use std::io;

/// Frames or one volume, in sealed shared memory.
#[derive(Debug)]
pub struct Picture {
    pub(crate) head: Head,
    pub(crate) memory: Memory,
}

impl Picture {
    /// Copies an input into shared memory.
    ///
    /// # Errors
    /// When the system has no memory left.
    pub fn of(input: &ImagingInput) -> io::Result<Self> {
        let (head, memory) = match input {
            ImagingInput::Frames(frames) => (
                Head::Frames(frames.iter().map(FrameHead::of).collect()),
                Memory::holding(frames.iter().map(|frame| frame.samples.as_slice()))?,
            ),
            ImagingInput::Volume(volume) => (
                Head::Volume(VolumeHead::of(volume)),
                Memory::holding([bytemuck::cast_slice(&volume.voxels)].into_iter())?,
            ),
        };
        Ok(Self { head, memory })
    }

    /// How many frames; a volume has none.
    #[must_use]
    pub fn frames(&self) -> usize {
        match &self.head {
            Head::Frames(frames) => frames.len(),
            Head::Volume(_) => 0,
        }
    }

    /// The volume without its voxels, which stay in shared memory.
    #[must_use]
    pub fn volume(&self) -> Option<Volume> {
        match &self.head {
            Head::Volume(head) => Some(head.with(Vec::new())),
            Head::Frames(_) => None,
        }
    }
}

impl Head {
    /// The bytes that belong to it; `None` when that is no number.
    pub(crate) fn bytes(&self) -> Option<usize> {
        match self {
            Self::Frames(frames) => frames
                .iter()
                .try_fold(0_usize, |sum, frame| sum.checked_add(frame.bytes()?)),
            Self::Volume(volume) => volume.voxels()?.checked_mul(size_of::<f32>()),
        }
    }

    /// The input that a head and its bytes are.
    pub(crate) fn with(self, bytes: &[u8]) -> Result<ImagingInput, String> {
        if self.bytes() != Some(bytes.len()) {
            return Err("the picture has other bytes than its head says".into());
        }
        match self {
            Self::Frames(heads) => {
                let mut rest = bytes;
                let frames = heads.into_iter().map(|head| {
                    let (samples, after) = rest.split_at(head.bytes().unwrap_or(0)); // as summed above
                    rest = after;
                    head.with(samples.to_vec())
                });
                Ok(ImagingInput::Frames(frames.collect()))
            }
            Self::Volume(head) => {
                let mut voxels = vec![0.0_f32; bytes.len() / size_of::<f32>()];
                bytemuck::cast_slice_mut(&mut voxels).copy_from_slice(bytes);
                Ok(ImagingInput::Volume(head.with(voxels)))
            }
        }
    }
}

impl FrameHead {
    pub(crate) fn of(frame: &Frame) -> Self {
        Self {
            source: frame.source.clone(),
            width: frame.width,
            height: frame.height,
            channels: frame.channels,
        }
    }

    pub(crate) fn bytes(&self) -> Option<usize> {
        (self.width as usize)
            .checked_mul(self.height as usize)?
            .checked_mul(self.channels.count())
    }

    fn with(self, samples: Vec<u8>) -> Frame {
        Frame {
            source: self.source,
            width: self.width,
            height: self.height,
            channels: self.channels,
            samples,
        }
    }
}

impl VolumeHead {
    pub(crate) fn of(volume: &Volume) -> Self {
        Self {
            size: volume.size,
            origin: volume.origin,
            column_step: volume.column_step,
            row_step: volume.row_step,
            slice_step: volume.slice_step,
            slices: volume.slices.clone(),
        }
    }

    pub(crate) fn voxels(&self) -> Option<usize> {
        let [columns, rows, slices] = self.size;
        columns.checked_mul(rows)?.checked_mul(slices)
    }

    fn with(&self, voxels: Vec<f32>) -> Volume {
        Volume {
            size: self.size,
            origin: self.origin,
            column_step: self.column_step,
            row_step: self.row_step,
            slice_step: self.slice_step,
            voxels,
            slices: self.slices.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pericard_domain::image::{Channels, FrameRef};
    use pericard_domain::uid::InstanceUid;

    #[test]
    fn pictures_come_back_as_they_were() {
        let source = |frame| FrameRef {
            instance: InstanceUid::new("1.2").unwrap(),
            frame,
        };
        let frame = |number, width: u32, channels: Channels| Frame {
            source: source(number),
            width,
            height: 2,
            channels,
            samples: (0..width as usize * 2 * channels.count())
                .map(|n| n as u8)
                .collect(),
        };
        let volume = Volume {
            size: [2, 1, 3],
            origin: [0.1, -0.2, 1e-300],
            column_step: [1.0, 0.0, 0.0],
            row_step: [0.0, 1.0, 0.0],
            slice_step: [0.0, 0.0, 1.0],
            voxels: vec![0.5, -1.0, f32::MAX, 3.0, 4.0, 5.0],
            slices: vec![source(1), source(2), source(3)],
        };
        for input in [
            ImagingInput::Frames(vec![
                frame(1, 3, Channels::Rgb),
                frame(2, 5, Channels::Grey),
            ]),
            ImagingInput::Frames(Vec::new()),
            ImagingInput::Volume(volume),
        ] {
            let picture = Picture::of(&input).unwrap();
            let mapped = picture.memory.map().unwrap();
            let bytes = &mapped[..picture.memory.bytes()];
            assert_eq!(picture.head.clone().with(bytes).unwrap(), input);
            assert!(picture.head.clone().with(&[bytes, &[0]].concat()).is_err());
        }
        let huge = FrameHead {
            source: source(1),
            width: u32::MAX,
            height: u32::MAX,
            channels: Channels::Rgb,
        };
        assert_eq!(Head::Frames(vec![huge.clone(), huge]).bytes(), None);
    }
}
