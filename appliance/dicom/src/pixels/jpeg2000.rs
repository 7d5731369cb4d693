//! What a JPEG 2000 stream says of itself, read before the codec sees it (ISO/IEC 15444-1 annex A).

use super::error::Fault;
use super::layout::Layout;

const STEP: &str = "JPEG 2000 header";
const SOC: [u8; 2] = [0xFF, 0x4F];
const SIZ: u8 = 0x51;
const COD: u8 = 0x52;
const SOT: u8 = 0x90;
const END: [u8; 2] = [0xFF, 0xD9];
/// The end marker, and what writers pad an odd length with.
const END_BYTES_MAX: usize = 8;

/// Most tiles: the codec keeps some 10 KiB for each before it has seen one.
const TILES_MAX: u64 = 8192;
/// Most precincts: the codec keeps some 200 bytes for each, whatever is in them.
const PRECINCTS_MAX: u64 = 1024 * 1024;

/// A main header that was held against the image attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Jpeg2000Header {
    /// Whether the codec turns three components into RGB.
    pub(crate) transformed: bool,
}

struct Size {
    width: u64,
    height: u64,
    tiles: u64,
    components: u16,
}

/// The codestream, out of its JP2 file format where a writer left it in (DICOM wants it bare; some do not care).
pub(crate) fn codestream(stream: &[u8]) -> Result<&[u8], Fault> {
    let broken = || Fault::new(STEP, "neither a codestream nor a file with one");
    if stream.starts_with(&SOC) {
        return Ok(stream);
    }
    let mut rest = stream;
    loop {
        let ([l3, l2, l1, l0, kind @ ..], body) =
            rest.split_first_chunk::<8>().ok_or_else(broken)?;
        if kind == b"jp2c" {
            return Some(body)
                .filter(|b| b.starts_with(&SOC))
                .ok_or_else(broken);
        }
        // 0 and 1 stand for other forms of length, which only a codestream's own box needs.
        let length = u32::from_be_bytes([*l3, *l2, *l1, *l0]) as usize;
        rest = rest
            .get(length..)
            .filter(|_| length >= 8)
            .ok_or_else(broken)?;
    }
}

impl Jpeg2000Header {
    /// Reads the main header and holds it against the image attributes: the codec allocates what the header says.
    pub(crate) fn of(codestream: &[u8], layout: &Layout) -> Result<Self, Fault> {
        let mut size = None;
        let mut transformed = None;
        let mut rest = codestream.get(2..).unwrap_or_default();
        while size.is_none() || transformed.is_none() {
            let (marker, body, after) = segment(rest)?;
            match marker {
                SIZ => size = Some(checked_size(body, layout)?),
                COD => {
                    let size = size
                        .as_ref()
                        .ok_or_else(|| Fault::new(STEP, "no size before the coding style"))?;
                    transformed = Some(checked_style(body, size)?);
                }
                SOT => {
                    return Err(Fault::new(
                        STEP,
                        "no size or no coding style before the first tile",
                    ));
                }
                _ => {}
            }
            rest = after;
        }
        // The codec decodes what there is of a stream that breaks off, and says nothing.
        let tail = &codestream[codestream.len().saturating_sub(END_BYTES_MAX)..];
        if !tail.windows(2).any(|pair| pair == END) {
            return Err(Fault::new(
                "JPEG 2000 codestream",
                "it breaks off before its end marker",
            ));
        }
        Ok(Self {
            transformed: transformed == Some(true) && layout.channels == 3,
        })
    }
}

fn segment(rest: &[u8]) -> Result<(u8, &[u8], &[u8]), Fault> {
    let broken = || Fault::new(STEP, "a marker segment is cut off");
    let ([prefix, marker, l1, l0], _) = rest.split_first_chunk().ok_or_else(broken)?;
    let length = usize::from(u16::from_be_bytes([*l1, *l0]));
    let body = rest.get(4..2 + length).ok_or_else(broken)?;
    if *prefix != 0xFF {
        return Err(broken());
    }
    Ok((*marker, body, &rest[2 + length..]))
}

fn checked_size(body: &[u8], layout: &Layout) -> Result<Size, Fault> {
    let broken = || Fault::new(STEP, "a broken size segment");
    let (fixed, components) = body.split_first_chunk::<36>().ok_or_else(broken)?;
    let words = fixed[2..34].as_chunks::<4>().0;
    let word = |i: usize| u64::from(u32::from_be_bytes(words[i]));
    let [
        right,
        bottom,
        left,
        top,
        tile_width,
        tile_height,
        tile_left,
        tile_top,
    ] = std::array::from_fn(word);
    let (width, height) = (right.saturating_sub(left), bottom.saturating_sub(top));
    if width != layout.columns as u64 || height != layout.rows as u64 {
        return Err(Fault::new(STEP, "its size is not Rows by Columns"));
    }
    let count = u16::from_be_bytes([fixed[34], fixed[35]]);
    if usize::from(count) != layout.channels || components.len() < 3 * layout.channels {
        return Err(Fault::new(STEP, "its components are not Samples per Pixel"));
    }
    for [precision, across, down] in components.as_chunks::<3>().0 {
        if [*across, *down] != [1, 1] {
            return Err(Fault::new(STEP, "subsampled components are not decoded"));
        }
        if u32::from(precision & 0x7F) + 1 > layout.allocated {
            return Err(Fault::new(
                STEP,
                "it has more bits a sample than Bits Allocated",
            ));
        }
    }
    if tile_width == 0 || tile_height == 0 || tile_left > left || tile_top > top {
        return Err(broken());
    }
    let tiles =
        (right - tile_left).div_ceil(tile_width) * (bottom - tile_top).div_ceil(tile_height);
    if tiles > TILES_MAX {
        return Err(Fault::new(STEP, "it has too many tiles"));
    }
    Ok(Size {
        width,
        height,
        tiles,
        components: count,
    })
}

/// Whether the coding style transforms three components; and that its precincts are not a crowd.
fn checked_style(body: &[u8], size: &Size) -> Result<bool, Fault> {
    let broken = || Fault::new(STEP, "a broken coding style");
    let (&[style, _, _, _, transform, levels, _, _, _, _], sizes) =
        body.split_first_chunk::<10>().ok_or_else(broken)?;
    if levels > 32 {
        return Err(broken());
    }
    let mut precincts = 0_u64;
    for resolution in 0..=levels {
        let precinct = if style & 1 == 0 {
            0xFF
        } else {
            *sizes.get(usize::from(resolution)).ok_or_else(broken)?
        };
        let count = |length: u64, exponent: u8| {
            let shift = u32::from(levels - resolution) + u32::from(exponent);
            length.div_ceil(1_u64 << shift.min(40)) + 1
        };
        precincts += count(size.width, precinct & 15) * count(size.height, precinct >> 4);
    }
    let all = precincts
        .saturating_mul(u64::from(size.components))
        .saturating_add(size.tiles);
    if all > PRECINCTS_MAX {
        return Err(Fault::new(STEP, "it has too many precincts"));
    }
    Ok(transform == 1)
}
