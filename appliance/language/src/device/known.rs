//! Known answers: each form of weights is multiplied on the device and by hand, before the device is believed.
//!
//! A program built for other GPUs than this one may launch no kernel at all and never be told so: what comes back is whatever
//! was in memory. So every form is tried in both ways in which a device multiplies it, one row and many rows.

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{Device, Module as _, Result, Tensor};
use std::borrow::Cow;

/// The forms of weights that models come in.
const FORMS: [GgmlDType; 12] = [
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q5_0,
    GgmlDType::Q5_1,
    GgmlDType::Q8_0,
    GgmlDType::Q2K,
    GgmlDType::Q3K,
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
    GgmlDType::F16,
    GgmlDType::F32,
];
/// One row takes a device's way for answers, many its way for prompts.
const ROWS: [usize; 2] = [1, 16];
const INPUTS: usize = 512;
const OUTPUTS: usize = 96;
/// How far the answer may be off, as a part of its length: devices round what is multiplied to eight bits, which was seen to cost
/// two hundredths. What no kernel computed is off by one or more.
const OFF_MAX: f32 = 0.02;

/// Says which form the device gets wrong.
pub(super) fn check(device: &Device) -> std::result::Result<(), String> {
    check_with(|form, bytes, input| multiply(device, form, bytes, input))
}

/// `multiply` is what is tried: a form, a matrix of [`OUTPUTS`] rows in it, and rows of [`INPUTS`] values.
fn check_with(
    multiply: impl Fn(GgmlDType, &[u8], &[f32]) -> Result<Vec<f32>>,
) -> std::result::Result<(), String> {
    let weights = waves(OUTPUTS * INPUTS, 0.37);
    for form in FORMS {
        let (bytes, exact) = packed(form, &weights).map_err(|e| e.to_string())?;
        for rows in ROWS {
            let input = waves(rows * INPUTS, 0.71);
            let wanted = by_hand(&exact, &input);
            let given = multiply(form, &bytes, &input)
                .map_err(|error| format!("it cannot multiply weights in {form:?}: {error}"))?;
            let off = off(&wanted, &given);
            // Also true of what is no number.
            if off.is_nan() || off > OFF_MAX {
                return Err(format!(
                    "it multiplies weights in {form:?} wrong ({rows} rows, off by {off}): this program's kernels are not \
                     made for this GPU; install a build for it"
                ));
            }
        }
    }
    Ok(())
}

fn multiply(device: &Device, form: GgmlDType, bytes: &[u8], input: &[f32]) -> Result<Vec<f32>> {
    let storage = QStorage::from_data(Cow::Borrowed(bytes), device, form)?;
    let matrix = QMatMul::from_qtensor(QTensor::new(storage, (OUTPUTS, INPUTS))?)?;
    let input = Tensor::from_slice(input, (input.len() / INPUTS, INPUTS), device)?;
    matrix.forward(&input)?.flatten_all()?.to_vec1()
}

/// The matrix in a form, and what values that form holds.
fn packed(form: GgmlDType, weights: &[f32]) -> Result<(Vec<u8>, Vec<f32>)> {
    let weights = Tensor::from_slice(weights, (OUTPUTS, INPUTS), &Device::Cpu)?;
    let packed = QTensor::quantize(&weights, form)?;
    let exact = packed.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1()?;
    Ok((packed.data()?.into_owned(), exact))
}

fn by_hand(weights: &[f32], input: &[f32]) -> Vec<f32> {
    let rows = input.chunks_exact(INPUTS).flat_map(|row| {
        weights.chunks_exact(INPUTS).map(move |weights| {
            let products = weights.iter().zip(row);
            products.map(|(a, b)| f64::from(a * b)).sum::<f64>() as f32
        })
    });
    rows.collect()
}

/// Numbers that do not repeat within a matrix and are the same on every machine.
fn waves(count: usize, step: f64) -> Vec<f32> {
    let wave = |at: usize| {
        let at = at as f64 * step;
        (at.sin() + 0.5 * (at * 1.618).cos()) as f32
    };
    (0..count).map(wave).collect()
}

/// The length of the difference, as a part of the length of what is wanted.
fn off(wanted: &[f32], given: &[f32]) -> f32 {
    if wanted.len() != given.len() {
        return f32::INFINITY;
    }
    let length = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
    let apart = length(&mut wanted.iter().zip(given).map(|(a, b)| a - b));
    apart / length(&mut wanted.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_knows_every_answer() {
        check(&Device::Cpu).expect("right");
    }

    /// Each of them is what a kernel that never ran, or ran for another GPU, leaves behind.
    #[test]
    fn a_device_that_is_wrong_in_one_form_is_found() {
        let right = |form, bytes: &[u8], input: &[f32]| multiply(&Device::Cpu, form, bytes, input);
        for form in FORMS {
            for rows in ROWS {
                for spoilt in [0.0, f32::NAN, 7.0] {
                    let said = check_with(|asked, bytes, input| {
                        let mut answer = right(asked, bytes, input)?;
                        if asked == form && input.len() == rows * INPUTS {
                            answer.fill(spoilt);
                        }
                        Ok(answer)
                    });
                    let said = said.expect_err("found");
                    assert!(said.contains(&format!("{form:?}")), "{said}");
                }
            }
        }
        let said = check_with(|_, _, _| Ok(Vec::new())).expect_err("found");
        assert!(said.contains("Q4_0"), "{said}");
    }
}
