//! From luminance and chrominance, or a palette, to red, green and blue (PS3.3 section C.7.6.3.1.2).

use super::error::Fault;
use super::table::Table;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

/// What the channels of decoded samples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Model {
    Rgb,
    /// The whole range, as JPEG has it.
    Ybr,
    /// The range of studio video, 16 to 235.
    YbrPartial,
}

/// Turns pixels of `bits` a sample into RGB, in place.
pub(crate) fn to_rgb(samples: &mut [i32], model: Model, bits: u32) {
    let (top, middle) = (
        f64::from((1_u32 << bits.min(31)) - 1),
        f64::from(1_u32 << (bits - 1).min(30)),
    );
    let (black, luma, chroma) = match model {
        Model::Rgb => return,
        Model::Ybr => (0.0, 1.0, 1.0),
        Model::YbrPartial => (top / 255.0 * 16.0, 255.0 / 219.0, 255.0 / 224.0),
    };
    // The inverse of ITU-R BT.601.
    for [first, second, third] in samples.as_chunks_mut::<3>().0 {
        let y = (f64::from(*first) - black) * luma;
        let blue = (f64::from(*second) - middle) * chroma;
        let red = (f64::from(*third) - middle) * chroma;
        let value = |v: f64| v.round().clamp(0.0, top) as i32;
        *first = value(y + 1.402 * red);
        *second = value(y - 0.344_136 * blue - 0.714_136 * red);
        *third = value(y + 1.772 * blue);
    }
}

/// The three tables of a palette.
#[derive(Debug, Clone)]
pub(crate) struct Palette([Table; 3]);

impl Palette {
    pub(crate) fn of(object: &InMemDicomObject, signed: bool) -> Result<Self, Fault> {
        let of = |descriptor, data, segments| {
            let missing = || Fault::new("palette", "a lookup table is missing");
            match Table::of(object, descriptor, data, signed)? {
                Some(table) => Ok(table),
                None => {
                    Table::of_segments(object, descriptor, segments, signed)?.ok_or_else(missing)
                }
            }
        };
        Ok(Self([
            of(
                tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
                tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
                tags::SEGMENTED_RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            )?,
            of(
                tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
                tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
                tags::SEGMENTED_GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            )?,
            of(
                tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
                tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
                tags::SEGMENTED_BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            )?,
        ]))
    }

    /// 8-bit red, green and blue for every index.
    pub(crate) fn rgb(&self, indices: &[i32]) -> Vec<u8> {
        let channel = |table: &Table, index: i32| {
            let entry = table.at(i64::from(index));
            // The highest 8 of its bits.
            (entry >> (table.bits - 8)).min(255) as u8
        };
        indices
            .iter()
            .flat_map(|i| self.0.each_ref().map(|table| channel(table, *i)))
            .collect()
    }
}
