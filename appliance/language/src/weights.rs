//! A decoder's weights, packed for the kernels while the file is mapped; afterwards the mapping may go.

use crate::architecture::Architecture;
use crate::error::LoadError;
use crate::file::{ModelFile, TensorBytes};
use crate::kernels::packed::{Form, Packed};
use candle_core::Device;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use half::f16;
use std::borrow::Cow;
use std::ops::Range;

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
    /// By what each frequency is divided (Llama 3's and Phi 3's scaling); empty for none.
    pub(crate) frequency_factors: Vec<f32>,
}

/// The weights of one layer.
pub(crate) struct Layer {
    pub(crate) attention_norm: Vec<f32>,
    pub(crate) query: Linear,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    /// Norms over each head (Qwen 3, Gemma 3).
    pub(crate) query_norm: Option<Vec<f32>>,
    pub(crate) key_norm: Option<Vec<f32>>,
    pub(crate) output: Linear,
    /// Norms of what each half gives (Gemma 3).
    pub(crate) attention_norm_after: Option<Vec<f32>>,
    pub(crate) gated_norm_after: Option<Vec<f32>>,
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
        let factors = ["rope_freqs.weight", "rope_factors_short.weight"];
        let factors = factors.into_iter().find(|name| file.tensor(name).is_some());
        let factors = factors.map(|name| vector(file, name, shape.rope.dims / 2));
        Ok(Self {
            embedding: matrix(file, "token_embd.weight", shape.width, tokens)?,
            head,
            last_norm: vector(file, "output_norm.weight", shape.width)?,
            layers: (0..shape.layers)
                .map(|layer| Layer::read(file, shape, layer))
                .collect::<Result<_, _>>()?,
            frequency_factors: factors.transpose()?.unwrap_or_default(),
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
        let parts = LayerParts {
            file,
            shape,
            number,
        };
        let (queries, pairs) = (
            shape.heads * shape.head_width,
            shape.kv_heads * shape.head_width,
        );
        let (width, hidden) = (shape.width, shape.hidden);
        let [query, key, value] = if shape.joined {
            let joined = "attn_qkv";
            let all = queries + 2 * pairs;
            [
                parts.cut(joined, width, all, 0..queries)?,
                parts.cut(joined, width, all, queries..queries + pairs)?,
                parts.cut(joined, width, all, queries + pairs..all)?,
            ]
            .map(|matrix| Linear { matrix, bias: None })
        } else {
            [
                parts.linear("attn_q", width, queries)?,
                parts.linear("attn_k", width, pairs)?,
                parts.linear("attn_v", width, pairs)?,
            ]
        };
        let [gate, up] = if shape.joined {
            [
                parts.cut("ffn_up", width, 2 * hidden, 0..hidden)?,
                parts.cut("ffn_up", width, 2 * hidden, hidden..2 * hidden)?,
            ]
        } else {
            [
                parts.plain("ffn_gate", width, hidden)?,
                parts.plain("ffn_up", width, hidden)?,
            ]
        };
        let after = |part: &str| {
            let norm = || parts.norm(part, width);
            shape.norms_after.then(norm).transpose()
        };
        Ok(Self {
            attention_norm: parts.norm("attn_norm", width)?,
            query,
            key,
            value,
            query_norm: parts.head_norm("attn_q_norm")?,
            key_norm: parts.head_norm("attn_k_norm")?,
            output: parts.linear("attn_output", queries, width)?,
            attention_norm_after: after("post_attention_norm")?,
            gated_norm_after: after("post_ffw_norm")?,
            gated_norm: parts.norm("ffn_norm", width)?,
            gate,
            up,
            down: parts.plain("ffn_down", hidden, width)?,
        })
    }
}

/// The tensors of one layer.
struct LayerParts<'a> {
    file: &'a ModelFile,
    shape: &'a Architecture,
    number: usize,
}

impl LayerParts<'_> {
    fn name(&self, part: &str) -> String {
        format!("blk.{}.{part}", self.number)
    }

    fn norm(&self, part: &str, length: usize) -> Result<Vec<f32>, LoadError> {
        vector(self.file, &self.name(&format!("{part}.weight")), length)
    }

    fn head_norm(&self, part: &str) -> Result<Option<Vec<f32>>, LoadError> {
        let name = self.name(&format!("{part}.weight"));
        let tensor = self.file.tensor(&name);
        tensor
            .map(|_| vector(self.file, &name, self.shape.head_width))
            .transpose()
    }

    fn linear(&self, part: &str, inputs: usize, outputs: usize) -> Result<Linear, LoadError> {
        let bias = self.name(&format!("{part}.bias"));
        let weight = self.name(&format!("{part}.weight"));
        Ok(Linear {
            matrix: matrix(self.file, &weight, inputs, outputs)?,
            bias: self
                .file
                .tensor(&bias)
                .map(|_| vector(self.file, &bias, outputs))
                .transpose()?,
        })
    }

    /// A matrix that must have no bias.
    fn plain(&self, part: &str, inputs: usize, outputs: usize) -> Result<Packed, LoadError> {
        self.refuse_bias(part)?;
        self.linear(part, inputs, outputs)
            .map(|linear| linear.matrix)
    }

    /// Some of the outputs of a matrix that several were joined into.
    fn cut(
        &self,
        part: &str,
        inputs: usize,
        all: usize,
        wanted: Range<usize>,
    ) -> Result<Packed, LoadError> {
        self.refuse_bias(part)?;
        let name = self.name(&format!("{part}.weight"));
        let whole = tensor(self.file, &name, &[inputs, all])?;
        let row_bytes = whole.bytes.len() / all;
        let dims = [inputs, wanted.len()];
        let rows = TensorBytes {
            dims: &dims,
            dtype: whole.dtype,
            bytes: &whole.bytes[wanted.start * row_bytes..wanted.end * row_bytes],
        };
        let packed = packed(&name, &rows);
        self.file.forget(&name);
        packed
    }

    fn refuse_bias(&self, part: &str) -> Result<(), LoadError> {
        match self.file.tensor(&self.name(&format!("{part}.bias"))) {
            Some(_) => Err(LoadError::Architecture(format!(
                "{} with a bias in {part}",
                self.shape.name
            ))),
            None => Ok(()),
        }
    }
}

pub(crate) fn tensor<'a>(
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
pub(crate) fn vector(file: &ModelFile, name: &str, length: usize) -> Result<Vec<f32>, LoadError> {
    let tensor = tensor(file, name, &[length])?;
    floats(tensor.bytes, tensor.dtype, length).ok_or_else(|| LoadError::Tensor {
        name: name.to_owned(),
        expected: vec![length],
    })
}

fn matrix(
    file: &ModelFile,
    name: &str,
    inputs: usize,
    outputs: usize,
) -> Result<Packed, LoadError> {
    let packed = packed(name, &tensor(file, name, &[inputs, outputs])?);
    file.forget(name);
    packed
}

/// A matrix in tiles. A form without a tile of its own becomes Q8_0. That is finer than the smaller K-quants; the floats F16,
/// BF16 and F32 lose by it: they are rounded to 127ths of the largest of each 32 values.
fn packed(name: &str, tensor: &TensorBytes<'_>) -> Result<Packed, LoadError> {
    let (inputs, outputs) = (tensor.dims[0], tensor.dims[1]);
    let form = match tensor.dtype {
        GgmlDType::Q4_0 => Form::Q4_0,
        GgmlDType::Q4_1 => Form::Q4_1,
        GgmlDType::Q5_0 => Form::Q5_0,
        GgmlDType::Q5_1 => Form::Q5_1,
        GgmlDType::Q8_0 => Form::Q8_0,
        GgmlDType::Q4K => Form::Q4K,
        GgmlDType::Q5K => Form::Q5K,
        GgmlDType::Q6K => Form::Q6K,
        _ => {
            let bytes = requantised(tensor).ok_or_else(|| LoadError::Tensor {
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

/// Weights of any form as floats.
pub(crate) fn floats(bytes: &[u8], dtype: GgmlDType, count: usize) -> Option<Vec<f32>> {
    let storage = QStorage::from_data(Cow::Borrowed(bytes), &Device::Cpu, dtype).ok()?;
    let tensor = QTensor::new(storage, count).ok()?;
    tensor
        .dequantize(&Device::Cpu)
        .and_then(|tensor| tensor.to_vec1())
        .ok()
}
