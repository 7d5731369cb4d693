//! A decoded frame as a file that a browser shows.

use crate::view::{Form, View};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{DynamicImage, GrayImage, ImageError, RgbImage};
use pericard_domain::image::{Channels, Frame};

/// The file's bytes, its columns and its rows.
pub(super) fn encoded(frame: Frame, view: &View) -> Result<(Vec<u8>, u32, u32), String> {
    let (width, height) = (frame.width, frame.height);
    let whole = match frame.channels {
        Channels::Grey => GrayImage::from_raw(width, height, frame.samples).map(Into::into),
        Channels::Rgb => RgbImage::from_raw(width, height, frame.samples).map(Into::into),
    };
    let whole: DynamicImage = whole.ok_or("the frame has fewer samples than pixels")?;
    let picture = match view.fit {
        Some([columns, rows]) if columns < width || rows < height => {
            whole.thumbnail(columns.clamp(1, width), rows.clamp(1, height))
        }
        _ => whole,
    };
    let mut bytes = Vec::new();
    write(&picture, view.form, &mut bytes).map_err(|e| e.to_string())?;
    Ok((bytes, picture.width(), picture.height()))
}

fn write(picture: &DynamicImage, form: Form, bytes: &mut Vec<u8>) -> Result<(), ImageError> {
    match form {
        // Somebody waits, on the same floor: quick rather than small.
        Form::Png => picture.write_with_encoder(PngEncoder::new_with_quality(
            bytes,
            CompressionType::Fast,
            FilterType::Sub,
        )),
        Form::Jpeg { quality } => {
            let encoder = JpegEncoder::new_with_quality(bytes, quality.clamp(1, 100));
            picture.write_with_encoder(encoder)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pericard_domain::image::FrameRef;
    use pericard_domain::uid::InstanceUid;

    fn frame(channels: Channels) -> Frame {
        Frame {
            source: FrameRef {
                instance: InstanceUid::new("1.2.3").expect("a UID"),
                frame: 1,
            },
            width: 6,
            height: 4,
            channels,
            samples: (0..24 * channels.count()).map(|n| (n * 3) as u8).collect(),
        }
    }

    #[test]
    fn a_picture_without_loss_is_the_frame() {
        for channels in [Channels::Grey, Channels::Rgb] {
            let frame = frame(channels);
            let (bytes, width, height) = encoded(frame.clone(), &View::of(1)).expect("a picture");
            assert_eq!((width, height), (6, 4));
            let read = image::load_from_memory(&bytes).expect("a PNG");
            assert_eq!(read.as_bytes(), frame.samples);
        }
    }

    #[test]
    fn it_is_made_smaller_in_its_proportions_and_never_larger() {
        for (fit, size) in [
            ([3, 4], (3, 2)),
            ([600, 2], (3, 2)),
            ([600, 400], (6, 4)),
            ([0, 0], (1, 1)),
        ] {
            let view = View {
                fit: Some(fit),
                form: Form::Jpeg { quality: 200 },
                ..View::of(1)
            };
            let (bytes, width, height) = encoded(frame(Channels::Rgb), &view).expect("a picture");
            assert_eq!((width, height), size, "{fit:?}");
            assert_eq!(bytes[..3], [0xff, 0xd8, 0xff]);
        }
    }
}
