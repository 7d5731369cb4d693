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
/// How far the answer may be off, as a part of its length. Devices round each value to one of 255 steps between the greatest of its
/// group and its opposite: of evenly spread values that leaves off a step over the root of twelve, 0.0045 of their length, and so
/// it does of their sums. What no kernel computed is off by one or more.
const OFF_MAX: f32 = 0.02;

/// Says which form the device gets wrong.
pub(super) fn check(device: &Device) -> std::result::Result<(), String> {
    check_with(|form, bytes, input| multiply(device, form, bytes, input))
}

/// `multiply` is what is tried: a form, a matrix of [`OUTPUTS`] rows in it, and rows of [`INPUTS`] values.
fn check_with(
    multiply: impl Fn(GgmlDType, &[u8], &[f32]) -> Result<Vec<f32>>,
) -> std::result::Result<(), String> {
    let weights = noise(OUTPUTS * INPUTS, 1);
    for form in FORMS {
        let (bytes, exact) = packed(form, &weights).map_err(|e| e.to_string())?;
        for rows in ROWS {
            let input = noise(rows * INPUTS, 2);
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

/// Evenly spread numbers between -1 and 1, the same on every machine (SplitMix64, Steele and others, 2014). Without any order in
/// them, because what is multiplied in order cancels out and leaves little but what was rounded.
fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
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
