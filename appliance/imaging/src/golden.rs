//! Golden cases: small inputs with the outputs that must come out at every load.

use crate::ImagingError;
use pericard_domain::image::{Channels, Frame, FrameRef, ImagingOutput, Volume};
use pericard_domain::uid::InstanceUid;
use serde::Deserialize;
use std::io::Read;
use std::path::Path;

/// No file of a golden case may be larger.
const GOLDEN_FILE_BYTES_MAX: u64 = 64 << 20;
/// No golden frame may have a longer side.
const GOLDEN_SIDE_MAX_PX: u32 = 4096;

/// The text that must be read in a golden frame.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpectedText {
    boxes: Vec<ExpectedBox>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedBox {
    text: String,
    corners: [[f32; 2]; 4],
}

/// The mask that must come out for a golden volume, as lengths of alternating runs: outside first.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpectedMask {
    mask_runs: Vec<usize>,
}

impl ExpectedText {
    pub(crate) fn read(path: &Path) -> Result<Self, ImagingError> {
        read_json(path)
    }

    /// By how much an output is off: nothing when texts are equal and corners within `tolerance_px`.
    pub(crate) fn off(&self, output: &ImagingOutput, tolerance_px: f64) -> Option<String> {
        let ImagingOutput::Text(found) = output else {
            return Some("the output is not text".into());
        };
        if found.len() != self.boxes.len() {
            return Some(format!(
                "{} boxes where {} are due",
                found.len(),
                self.boxes.len()
            ));
        }
        // A golden frame is synthetic, so its text may be told.
        self.boxes.iter().zip(found).find_map(|(due, got)| {
            if due.text != got.text {
                return Some(format!(
                    "it reads {:?} where {:?} is due",
                    got.text, due.text
                ));
            }
            let pairs = due
                .corners
                .iter()
                .flatten()
                .zip(got.corners.iter().flatten());
            let worst = pairs
                .map(|(a, b)| f64::from((a - b).abs()))
                .fold(0.0, f64::max);
            (worst > tolerance_px).then(|| {
                format!(
                    "the box of {:?} is off by {worst:.1} pixels, {tolerance_px} allowed",
                    due.text
                )
            })
        })
    }
}

impl ExpectedMask {
    pub(crate) fn read(path: &Path) -> Result<Self, ImagingError> {
        read_json(path)
    }

    /// By how much an output is off: nothing when 1 - Dice is within `tolerance`.
    pub(crate) fn off(&self, output: &ImagingOutput, tolerance: f64) -> Option<String> {
        let ImagingOutput::Mask(mask) = output else {
            return Some("the output is not a mask".into());
        };
        let due: usize = self.mask_runs.iter().sum();
        if due != mask.voxels.len() {
            return Some(format!("{} voxels where {due} are due", mask.voxels.len()));
        }
        let (mut at, mut common) = (0, 0);
        for (n, run) in self.mask_runs.iter().enumerate() {
            if n % 2 == 1 {
                common += mask.voxels[at..at + run]
                    .iter()
                    .filter(|v| **v != 0)
                    .count();
            }
            at += run;
        }
        let inside: usize = self.mask_runs.iter().skip(1).step_by(2).sum();
        let both = inside + mask.count();
        let distance = if both == 0 {
            0.0
        } else {
            1.0 - 2.0 * common as f64 / both as f64
        };
        (distance > tolerance).then(|| {
            format!(
                "Dice is {:.4} where {:.4} is due ({} voxels inside, {inside} due)",
                1.0 - distance,
                1.0 - tolerance,
                mask.count(),
            )
        })
    }
}

/// Reads a PNG (8 bits, grey or RGB) as one frame of an object that does not exist.
///
/// # Errors
/// When the file cannot be read or is not such a PNG.
pub fn read_frame(path: &Path) -> Result<Frame, ImagingError> {
    let malformed = |reason: String| ImagingError::GoldenFile {
        path: path.to_owned(),
        reason,
    };
    let mut limits = image::Limits::default();
    (limits.max_image_width, limits.max_image_height) =
        (Some(GOLDEN_SIDE_MAX_PX), Some(GOLDEN_SIDE_MAX_PX));
    let mut reader = image::ImageReader::with_format(
        std::io::Cursor::new(read_bytes(path)?),
        image::ImageFormat::Png,
    );
    reader.limits(limits);
    let (width, height, channels, samples) =
        match reader.decode().map_err(|e| malformed(e.to_string()))? {
            image::DynamicImage::ImageLuma8(grey) => {
                (grey.width(), grey.height(), Channels::Grey, grey.into_raw())
            }
            image::DynamicImage::ImageRgb8(rgb) => {
                (rgb.width(), rgb.height(), Channels::Rgb, rgb.into_raw())
            }
            _ => return Err(malformed("it is not 8-bit grey or RGB".into())),
        };
    let instance = InstanceUid::new("1.2.3").map_err(|e| malformed(e.to_string()))?;
    Ok(Frame {
        source: FrameRef { instance, frame: 1 },
        width,
        height,
        channels,
        samples,
    })
}

/// Reads an NRRD file (attached header, raw, 3-D, `uint8` or little-endian `float`) in left-posterior-superior space.
///
/// # Errors
/// When the file cannot be read or is not such an NRRD.
pub fn read_volume(path: &Path) -> Result<Volume, ImagingError> {
    let malformed = |reason: &str| ImagingError::GoldenFile {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let bytes = read_bytes(path)?;
    let end = bytes
        .windows(2)
        .position(|pair| pair == b"\n\n")
        .ok_or_else(|| malformed("its header has no end"))?;
    let header =
        std::str::from_utf8(&bytes[..end]).map_err(|_| malformed("its header is not text"))?;
    if !header.starts_with("NRRD000") {
        return Err(malformed("it is not an NRRD file"));
    }
    let field = |name: &str| {
        let lines = header.lines().filter_map(|line| line.split_once(": "));
        lines
            .into_iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim())
    };
    let required = |name: &str, value: &str| match field(name) {
        Some(given) if given == value => Ok(()),
        _ => Err(malformed(&format!("`{name}` must be `{value}`"))),
    };
    required("dimension", "3")?;
    required("encoding", "raw")?;
    required("space", "left-posterior-superior")?;
    let numbers = |name: &str| -> Option<Vec<f64>> {
        let separators = [' ', ',', '(', ')'];
        field(name)?
            .split(separators)
            .filter(|part| !part.is_empty())
            .map(|part| part.parse().ok())
            .collect()
    };
    let sizes = numbers("sizes")
        .filter(|s| s.len() == 3)
        .ok_or_else(|| malformed("`sizes` needs 3 numbers"))?;
    let steps = numbers("space directions").filter(|s| s.len() == 9);
    let steps = steps.ok_or_else(|| malformed("`space directions` needs 3 vectors"))?;
    let origin = numbers("space origin").filter(|s| s.len() == 3);
    let origin = origin.ok_or_else(|| malformed("`space origin` needs one vector"))?;
    let size = [sizes[0] as usize, sizes[1] as usize, sizes[2] as usize];
    let data = &bytes[end + 2..];
    let voxels: Vec<f32> = match field("type") {
        Some("uint8") => data.iter().map(|v| f32::from(*v)).collect(),
        Some("float") => {
            required("endian", "little")?;
            data.chunks_exact(4)
                .map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]))
                .collect()
        }
        _ => return Err(malformed("`type` must be `uint8` or `float`")),
    };
    let triple = |v: &[f64]| [v[0], v[1], v[2]];
    Ok(Volume {
        size,
        origin: triple(&origin),
        column_step: triple(&steps[..3]),
        row_step: triple(&steps[3..6]),
        slice_step: triple(&steps[6..]),
        voxels,
        slices: Vec::new(),
    })
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ImagingError> {
    let malformed = |e: serde_json::Error| ImagingError::GoldenFile {
        path: path.to_owned(),
        reason: e.to_string(),
    };
    serde_json::from_slice(&read_bytes(path)?).map_err(malformed)
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, ImagingError> {
    let failed = |source| ImagingError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(GOLDEN_FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > GOLDEN_FILE_BYTES_MAX {
        let reason = format!("it has more than {GOLDEN_FILE_BYTES_MAX} bytes");
        return Err(ImagingError::GoldenFile {
            path: path.to_owned(),
            reason,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pericard_domain::image::Mask;

    #[test]
    fn masks_are_compared_by_dice() {
        let expected = ExpectedMask {
            mask_runs: vec![1, 2, 1],
        };
        let mask = |voxels: [u8; 4]| {
            ImagingOutput::Mask(Mask {
                size: [4, 1, 1],
                voxels: voxels.to_vec(),
            })
        };
        assert_eq!(expected.off(&mask([0, 1, 1, 0]), 0.0), None);
        // One of two found, none wrong: Dice 2/3.
        let off = expected.off(&mask([0, 1, 0, 0]), 0.3).unwrap();
        assert!(off.contains("0.6667"), "{off}");
        assert_eq!(expected.off(&mask([0, 1, 0, 0]), 0.34), None);
        assert!(
            ExpectedMask { mask_runs: vec![5] }
                .off(&mask([0; 4]), 1.0)
                .is_some()
        );
    }

    #[test]
    fn an_nrrd_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.nrrd");
        let header = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 1 2\nspace: left-posterior-superior\n\
            space directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (-1,-2,-3)\nencoding: raw\n\n";
        std::fs::write(&path, [header.as_bytes(), &[7, 8, 9, 10]].concat()).unwrap();
        let volume = read_volume(&path).unwrap();
        assert_eq!(
            (volume.size, volume.voxels.as_slice()),
            ([2, 1, 2], [7.0, 8.0, 9.0, 10.0].as_slice())
        );
        assert_eq!(
            (volume.row_step, volume.origin),
            ([0.0, 2.0, 0.0], [-1.0, -2.0, -3.0])
        );
        std::fs::write(&path, header.replace("posterior", "anterior")).unwrap();
        assert!(matches!(
            read_volume(&path),
            Err(ImagingError::GoldenFile { .. })
        ));
    }
}
