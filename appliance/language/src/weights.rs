//! A decoder's weights, packed for the kernels while the file is mapped; afterwards the mapping may go.

use crate::architecture::Architecture;
use crate::error::LoadError;
use crate::file::{ModelFile, TensorBytes};
use crate::kernels::packed::{Form, Packed};
use candle_core::Device;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use half::f16;
use std::borrow::Cow;

/// Rows that are converted at a time where a form has to be changed, so that a large matrix is never there as floats.
const ROWS_AT_A_TIME: usize = 64;

/// The weights of a decoder.
pub(crate) struct Weights {
    /// A row for every token.
    pub(crate) embedding: Packed,
    /// What logits are made with, where it is not the embedding itself.
    pub(crate) head: Option<Packed>,
    pub(crate) last_norm: Vec<f32>,
    pub(crate) layers: Vec<Layer>,
    /// By what each frequency is divided (Llama 3's scaling); empty for none.
    pub(crate) frequency_factors: Vec<f32>,
}

/// The weights of one layer.
pub(crate) struct Layer {
    pub(crate) attention_norm: Vec<f32>,
    pub(crate) query: Linear,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    /// Norms over each head (Qwen 3).
    pub(crate) query_norm: Option<Vec<f32>>,
    pub(crate) key_norm: Option<Vec<f32>>,
    pub(crate) output: Linear,
    pub(crate) gated_norm: Vec<f32>,
    pub(crate) gate: Packed,
    pub(crate) up: Packed,
    pub(crate) down: Packed,
}

/// A matrix and what is added to its product.
pub(crate) struct Linear {
    pub(crate) matrix: Packed,
    pub(crate) bias: Option<Vec<f32>>,
}

impl Weights {
    pub(crate) fn read(
        file: &ModelFile,
        shape: &Architecture,
        tokens: usize,
    ) -> Result<Self, LoadError> {
        let head = file
            .tensor("output.weight")
            .map(|_| matrix(file, "output.weight", shape.width, tokens))
            .transpose()?;
        let frequency_factors = match file.tensor("rope_freqs.weight") {
            Some(_) => vector(file, "rope_freqs.weight", shape.rope.dims / 2)?,
            None => Vec::new(),
        };
        Ok(Self {
            embedding: matrix(file, "token_embd.weight", shape.width, tokens)?,
            head,
            last_norm: vector(file, "output_norm.weight", shape.width)?,
            layers: (0..shape.layers)
                .map(|layer| Layer::read(file, shape, layer))
                .collect::<Result<_, _>>()?,
            frequency_factors,
        })
    }

    /// What logits are made with.
    pub(crate) fn head(&self) -> &Packed {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// Memory of all matrices, bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let layers = self.layers.iter().flat_map(|layer| {
            let linears = [&layer.query, &layer.key, &layer.value, &layer.output]
                .map(|linear| &linear.matrix);
            linears
                .into_iter()
                .chain([&layer.gate, &layer.up, &layer.down])
        });
        layers
            .chain([&self.embedding])
            .chain(&self.head)
            .map(Packed::memory_bytes)
            .sum()
    }
}

impl Layer {
    fn read(file: &ModelFile, shape: &Architecture, number: usize) -> Result<Self, LoadError> {
        let name = |part: &str| format!("blk.{number}.{part}");
        let (queries, pairs) = (
            shape.heads * shape.head_width,
            shape.kv_heads * shape.head_width,
        );
        let linear = |part: &str, inputs: usize, outputs: usize| {
            let bias = name(&format!("{part}.bias"));
            Ok::<_, LoadError>(Linear {
                matrix: matrix(file, &name(&format!("{part}.weight")), inputs, outputs)?,
                bias: file
                    .tensor(&bias)
                    .map(|_| vector(file, &bias, outputs))
                    .transpose()?,
            })
        };
        let plain = |part: &str, inputs: usize, outputs: usize| {
            let linear = linear(part, inputs, outputs)?;
            match linear.bias {
                Some(_) => Err(LoadError::Architecture(format!(
                    "{} with a bias in {part}",
                    shape.name
                ))),
                None => Ok(linear.matrix),
            }
        };
        let head_norm = |part: &str| {
            let name = name(part);
            file.tensor(&name)
                .map(|_| vector(file, &name, shape.head_width))
                .transpose()
        };
        Ok(Self {
            attention_norm: vector(file, &name("attn_norm.weight"), shape.width)?,
            query: linear("attn_q", shape.width, queries)?,
            key: linear("attn_k", shape.width, pairs)?,
            value: linear("attn_v", shape.width, pairs)?,
            query_norm: head_norm("attn_q_norm.weight")?,
            key_norm: head_norm("attn_k_norm.weight")?,
            output: linear("attn_output", queries, shape.width)?,
            gated_norm: vector(file, &name("ffn_norm.weight"), shape.width)?,
            gate: plain("ffn_gate", shape.width, shape.hidden)?,
            up: plain("ffn_up", shape.width, shape.hidden)?,
            down: plain("ffn_down", shape.hidden, shape.width)?,
        })
    }
}

fn tensor<'a>(
    file: &'a ModelFile,
    name: &str,
    expected: &[usize],
) -> Result<TensorBytes<'a>, LoadError> {
    file.tensor(name)
        .filter(|tensor| tensor.dims == expected)
        .ok_or_else(|| LoadError::Tensor {
            name: name.to_owned(),
            expected: expected.to_vec(),
        })
}

/// A vector of floats, whatever it is stored as.
fn vector(file: &ModelFile, name: &str, length: usize) -> Result<Vec<f32>, LoadError> {
    let tensor = tensor(file, name, &[length])?;
    floats(tensor.bytes, tensor.dtype, length).ok_or_else(|| LoadError::Tensor {
        name: name.to_owned(),
        expected: vec![length],
    })
}

/// A matrix in tiles. A form without a tile of its own becomes Q8_0, which keeps more than any of them holds.
fn matrix(
    file: &ModelFile,
    name: &str,
    inputs: usize,
    outputs: usize,
) -> Result<Packed, LoadError> {
    let tensor = tensor(file, name, &[inputs, outputs])?;
    let form = match tensor.dtype {
        GgmlDType::Q4_0 => Form::Q4_0,
        GgmlDType::Q4_1 => Form::Q4_1,
        GgmlDType::Q5_0 => Form::Q5_0,
        GgmlDType::Q5_1 => Form::Q5_1,
        GgmlDType::Q8_0 => Form::Q8_0,
        _ => {
            let bytes = requantised(&tensor).ok_or_else(|| LoadError::Tensor {
                name: name.to_owned(),
                expected: vec![inputs, outputs],
            })?;
            return Ok(Packed::new(Form::Q8_0, outputs, inputs, &bytes));
        }
    };
    Ok(Packed::new(form, outputs, inputs, tensor.bytes))
}

/// Any form as Q8_0 in the file's layout.
fn requantised(tensor: &TensorBytes<'_>) -> Option<Vec<u8>> {
    let (inputs, outputs) = (tensor.dims[0], tensor.dims[1]);
    let row_bytes = inputs / tensor.dtype.block_size() * tensor.dtype.type_size();
    let mut bytes = Vec::with_capacity(outputs * inputs / 32 * Form::Q8_0.file_bytes());
    for rows in tensor.bytes.chunks(row_bytes * ROWS_AT_A_TIME) {
        let count = rows.len() / row_bytes * inputs;
        for block in floats(rows, tensor.dtype, count)?.chunks_exact(32) {
            let largest = block
                .iter()
                .fold(0.0_f32, |largest, value| largest.max(value.abs()));
            let scale = largest / 127.0;
            let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
            bytes.extend(f16::from_f32(scale).to_le_bytes());
            bytes.extend(
                block
                    .iter()
                    .map(|value| (value * inverse).round() as i8 as u8),
            );
        }
    }
    Some(bytes)
}

fn floats(bytes: &[u8], dtype: GgmlDType, count: usize) -> Option<Vec<f32>> {
    let storage = QStorage::from_data(Cow::Borrowed(bytes), &Device::Cpu, dtype).ok()?;
    let tensor = QTensor::new(storage, count).ok()?;
    tensor
        .dequantize(&Device::Cpu)
        .and_then(|tensor| tensor.to_vec1())
        .ok()
}
