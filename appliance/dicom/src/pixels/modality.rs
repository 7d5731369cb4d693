//! From stored values to what the modality measured (PS3.3 section C.11.1).

use super::error::Fault;
use super::groups::{first_item, number, of_frame};
use super::samples::Samples;
use super::table::Table;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

/// The modality transformation of one frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Modality {
    Linear { slope: f64, intercept: f64 },
    Table(Table),
}

impl Modality {
    /// `frame` counts from 0.
    pub(crate) fn of(object: &InMemDicomObject, frame: u32, signed: bool) -> Result<Self, Fault> {
        if let Some(item) = first_item(object, tags::MODALITY_LUT_SEQUENCE) {
            let table = Table::of(item, tags::LUT_DESCRIPTOR, tags::LUT_DATA, signed)?;
            if let Some(table) = table {
                return Ok(Self::Table(table));
            }
        }
        let group = of_frame(object, frame, tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE);
        // A slope of 0 would make every picture flat; writers that put it there mean that there is none.
        let slope = number(group, tags::RESCALE_SLOPE)
            .or_else(|| number(object, tags::DOSE_GRID_SCALING))
            .filter(|s| *s != 0.0);
        Ok(Self::Linear {
            slope: slope.unwrap_or(1.0),
            intercept: number(group, tags::RESCALE_INTERCEPT).unwrap_or(0.0),
        })
    }

    /// What the modality measured, sample by sample.
    pub(crate) fn apply(&self, samples: &Samples) -> Vec<f32> {
        match (self, samples) {
            (Self::Linear { slope, intercept }, Samples::Integer(samples)) => samples
                .iter()
                .map(|s| (f64::from(*s) * slope + intercept) as f32)
                .collect(),
            (Self::Linear { slope, intercept }, Samples::Real(samples)) => samples
                .iter()
                .map(|s| (s * slope + intercept) as f32)
                .collect(),
            (Self::Table(table), Samples::Integer(samples)) => samples
                .iter()
                .map(|s| f32::from(table.at(i64::from(*s))))
                .collect(),
            // Tables map whole numbers; these only have too many bits to be kept as such.
            (Self::Table(table), Samples::Real(samples)) => samples
                .iter()
                .map(|s| f32::from(table.at(*s as i64)))
                .collect(),
        }
    }
}
