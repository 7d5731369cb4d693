//! The kept codecs, each behind a look at the stream's own header and a catch for what it throws.

use super::color::Model;
use super::error::Fault;
use super::jpeg::{self, JpegHeader};
use super::jpeg2000::{self, Jpeg2000Header};
use super::layout::Layout;
use super::samples::{Bits, Samples, by_pixel};
use charls::CharLS;
use jpeg_decoder::{ColorTransform, Decoder, PixelFormat};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// One decoded frame, pixel by pixel.
pub(super) struct Decoded {
    pub(super) samples: Samples,
    /// What the channels are, where the stream says so; otherwise the image attributes do.
    pub(super) model: Option<Model>,
}

/// Baseline, extended and lossless JPEG (PS3.5 section 8.2.1).
pub(super) fn jpeg(layout: &Layout, stream: &[u8]) -> Result<Decoded, Fault> {
    let header = JpegHeader::of(stream, layout)?;
    let numbers = if header.is_sequential() && header.precision > 8 {
        jpeg::decode_sequential(&header, stream)?
    } else {
        guarded("JPEG", || jpeg_decoder_numbers(layout, stream))?
    };
    // Lossless JPEG keeps the colours it was given, whatever its markers are used to mean.
    let model = match header.is_ybr() {
        Some(ybr) if layout.channels == 3 && !matches!(header.process, 0xC3) => {
            Some(if ybr { Model::Ybr } else { Model::Rgb })
        }
        _ => None,
    };
    decoded(layout, numbers, model)
}

fn jpeg_decoder_numbers(layout: &Layout, stream: &[u8]) -> Result<Vec<i32>, String> {
    let mut decoder = Decoder::new(stream);
    // "RGB" leaves three components as they are; "None" panics on them. Colours are converted in `color`, nowhere else.
    decoder.set_color_transform(ColorTransform::RGB);
    // Two bytes a sample at most; the header was held against the layout.
    decoder.set_max_decoding_buffer_size(layout.samples() * 2);
    let bytes = decoder.decode().map_err(|e| e.to_string())?;
    let sixteen = decoder
        .info()
        .is_some_and(|i| i.pixel_format == PixelFormat::L16);
    Ok(if sixteen {
        bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| i32::from(u16::from_ne_bytes(*b)))
            .collect()
    } else {
        bytes.into_iter().map(i32::from).collect()
    })
}

/// JPEG-LS, lossless and near-lossless (PS3.5 section 8.2.3).
pub(super) fn jpeg_ls(layout: &Layout, stream: &[u8]) -> Result<Decoded, Fault> {
    let header = JpegHeader::of(stream, layout)?;
    // Where no marker ends the data, the codec counts zeros behind it for 10 seconds. So one always does.
    let ended = [stream, &[0xFF, 0xD9]].concat();
    let bytes = guarded("JPEG-LS", || {
        CharLS::default().decode(&ended).map_err(|e| e.to_string())
    })?;
    let numbers: Vec<i32> = if header.precision > 8 {
        bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| i32::from(u16::from_ne_bytes(*b)))
            .collect()
    } else {
        bytes.into_iter().map(i32::from).collect()
    };
    let by_plane = header.planes && layout.channels == 3 && numbers.len() == layout.samples();
    let numbers = if by_plane {
        by_pixel(&numbers, layout.pixels())
    } else {
        numbers
    };
    decoded(layout, numbers, None)
}

/// JPEG 2000 and high-throughput JPEG 2000 (PS3.5 section 8.2.4 and 8.2.14).
pub(super) fn jpeg_2000(layout: &Layout, stream: &[u8]) -> Result<Decoded, Fault> {
    let codestream = jpeg2000::codestream(stream)?;
    let header = Jpeg2000Header::of(codestream, layout)?;
    let numbers = guarded("JPEG 2000", || {
        let image = jpeg2k::Image::from_bytes(codestream).map_err(|e| e.to_string())?;
        let components = image.components();
        let right = |c: &&jpeg2k::ImageComponent| {
            c.width() as usize == layout.columns && c.height() as usize == layout.rows
        };
        if components.iter().filter(right).count() != layout.channels {
            return Err("a component of another size than the image".to_owned());
        }
        let mut numbers = vec![0; layout.samples()];
        for (channel, component) in components.iter().enumerate() {
            let own = numbers.iter_mut().skip(channel).step_by(layout.channels);
            own.zip(component.data()).for_each(|(n, d)| *n = *d);
        }
        Ok(numbers)
    })?;
    let model = header.transformed.then_some(Model::Rgb);
    decoded(layout, numbers, model)
}

fn decoded(layout: &Layout, numbers: Vec<i32>, model: Option<Model>) -> Result<Decoded, Fault> {
    if numbers.len() != layout.samples() {
        let why = format!(
            "{} samples came out and {} were expected",
            numbers.len(),
            layout.samples()
        );
        return Err(Fault::new("decoded size", why));
    }
    let bits = Bits::of_numbers(layout);
    // Codecs do not know the sign of what they carry, or have their own opinion of it: the attributes decide.
    let samples = numbers
        .into_iter()
        .map(|n| bits.sample(n.cast_unsigned()))
        .collect();
    let samples = Samples::Integer(samples);
    Ok(Decoded { samples, model })
}

/// Codecs are other people's code on a stranger's bytes: a panic in one costs one frame, not the worker.
/// Nothing that a panic could leave half done outlives the closure.
fn guarded<T>(step: &'static str, decode: impl FnOnce() -> Result<T, String>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(result) => result.map_err(|why| Fault::new(step, why)),
        Err(_) => Err(Fault::new(step, "the decoder gave up on the stream")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::PixelInfo;
    use charls::{FrameInfo, InterleaveMode};

    fn layout(samples: u16) -> Layout {
        Layout::of(&PixelInfo {
            rows: 6,
            columns: 5,
            samples,
            bits_allocated: 8,
            bits_stored: 8,
            high_bit: 7,
            photometric: if samples == 3 { "RGB" } else { "MONOCHROME2" }.to_owned(),
            frames: 1,
            ..PixelInfo::default()
        })
        .expect("makes sense")
    }

    fn encoded(samples: u16, mode: InterleaveMode, near: i32, source: &[u8]) -> Vec<u8> {
        let info = FrameInfo {
            width: 5,
            height: 6,
            bits_per_sample: 8,
            component_count: i32::from(samples),
        };
        let mut codec = CharLS::default();
        codec.set_interleave_mode(mode).expect("a mode");
        codec.encode(info, near, source).expect("encodes")
    }

    fn numbers(decoded: Decoded) -> Vec<i32> {
        match decoded.samples {
            Samples::Integer(samples) => samples,
            Samples::Real(_) => panic!("8 bits"),
        }
    }

    #[test]
    fn jpeg_ls_in_every_interleave_mode() {
        let pixels: Vec<u8> = (0..90).map(|i| (i * 37 % 251) as u8).collect();
        let expected: Vec<i32> = pixels.iter().map(|p| i32::from(*p)).collect();
        let planes: Vec<u8> = (0..3)
            .flat_map(|c| pixels[c..].iter().step_by(3).copied())
            .collect();
        for (mode, source) in [
            (InterleaveMode::None, &planes),
            (InterleaveMode::Line, &pixels),
            (InterleaveMode::Sample, &pixels),
        ] {
            let stream = encoded(3, mode, 0, source);
            let decoded = jpeg_ls(&layout(3), &stream).expect("decodes");
            assert_eq!(numbers(decoded), expected, "{mode:?}");
        }
    }

    #[test]
    fn jpeg_ls_near_lossless() {
        let pixels: Vec<u8> = (0..30).map(|i| (i * 37 % 251) as u8).collect();
        let stream = encoded(1, InterleaveMode::None, 3, &pixels);
        let decoded = numbers(jpeg_ls(&layout(1), &stream).expect("decodes"));
        let off = decoded
            .iter()
            .zip(&pixels)
            .map(|(d, p)| (d - i32::from(*p)).abs())
            .max();
        assert!(off <= Some(3) && off > Some(0), "{off:?}");
    }
}
