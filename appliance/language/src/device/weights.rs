//! A file's tensors on the device, in the file's own form.

use crate::architecture::Architecture;
use crate::error::LoadError;
use crate::file::{ModelFile, TensorBytes};
use crate::weights::{tensor, vector};
use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{Device, Tensor};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// The weights of a decoder.
pub(super) struct Weights {
    /// A row for every token.
    pub(super) embedding: Arc<QTensor>,
    /// What logits are made with.
    pub(super) head: QMatMul,
    pub(super) last_norm: Tensor,
    pub(super) layers: Vec<Layer>,
    pub(super) frequency_factors: Vec<f32>,
    pub(super) tokens: usize,
    pub(super) bytes: usize,
}

/// The weights of one layer: as [`crate::weights::Layer`].
pub(super) struct Layer {
    pub(super) attention_norm: Tensor,
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) query_norm: Option<Tensor>,
    pub(super) key_norm: Option<Tensor>,
    pub(super) output: Linear,
    pub(super) attention_norm_after: Option<Tensor>,
    pub(super) gated_norm_after: Option<Tensor>,
    pub(super) gated_norm: Tensor,
    pub(super) gate: Linear,
    pub(super) up: Linear,
    pub(super) down: Linear,
}

/// A matrix and what is added to its product.
pub(super) struct Linear {
    pub(super) matrix: QMatMul,
    pub(super) bias: Option<Tensor>,
}

impl Weights {
    pub(super) fn read(
        device: &Device,
        file: &ModelFile,
        shape: &Architecture,
        tokens: usize,
    ) -> Result<Self, LoadError> {
        let mut reader = Reader {
            device,
            file,
            shape,
            number: 0,
            bytes: 0,
        };
        let embedding = Arc::new(reader.whole("token_embd.weight", shape.width, tokens)?);
        let head = match file.tensor("output.weight") {
            Some(_) => Arc::new(reader.whole("output.weight", shape.width, tokens)?),
            None => Arc::clone(&embedding),
        };
        let factors = ["rope_freqs.weight", "rope_factors_short.weight"];
        let factors = factors.into_iter().find(|name| file.tensor(name).is_some());
        let factors = factors.map(|name| vector(file, name, shape.rope.dims / 2));
        let layers = (0..shape.layers).map(|number| {
            reader.number = number;
            reader.layer()
        });
        let layers = layers.collect::<Result<_, _>>()?;
        Ok(Self {
            embedding,
            head: QMatMul::from_arc(head).map_err(on_device)?,
            last_norm: reader.vector("output_norm.weight", shape.width)?,
            layers,
            frequency_factors: factors.transpose()?.unwrap_or_default(),
            tokens,
            bytes: reader.bytes,
        })
    }
}

/// What reads the tensors of one layer after another.
struct Reader<'a> {
    device: &'a Device,
    file: &'a ModelFile,
    shape: &'a Architecture,
    number: usize,
    bytes: usize,
}

impl Reader<'_> {
    fn layer(&mut self) -> Result<Layer, LoadError> {
        let shape = self.shape;
        let (queries, pairs) = (
            shape.heads * shape.head_width,
            shape.kv_heads * shape.head_width,
        );
        let (width, hidden) = (shape.width, shape.hidden);
        let [query, key, value] = if shape.joined {
            let all = queries + 2 * pairs;
            let mut cut = |wanted| self.cut("attn_qkv", (width, all), wanted);
            [
                cut(0..queries)?,
                cut(queries..queries + pairs)?,
                cut(queries + pairs..all)?,
            ]
        } else {
            [
                self.linear("attn_q", width, queries)?,
                self.linear("attn_k", width, pairs)?,
                self.linear("attn_v", width, pairs)?,
            ]
        };
        let [gate, up] = if shape.joined {
            let mut cut = |wanted| self.cut("ffn_up", (width, 2 * hidden), wanted);
            [cut(0..hidden)?, cut(hidden..2 * hidden)?]
        } else {
            [
                self.linear("ffn_gate", width, hidden)?,
                self.linear("ffn_up", width, hidden)?,
            ]
        };
        let after = |part: &str| {
            let norm = || self.norm(part, width);
            shape.norms_after.then(norm).transpose()
        };
        let (attention_norm_after, gated_norm_after) =
            (after("post_attention_norm")?, after("post_ffw_norm")?);
        Ok(Layer {
            attention_norm: self.norm("attn_norm", width)?,
            query,
            key,
            value,
            query_norm: self.head_norm("attn_q_norm")?,
            key_norm: self.head_norm("attn_k_norm")?,
            output: self.linear("attn_output", queries, width)?,
            attention_norm_after,
            gated_norm_after,
            gated_norm: self.norm("ffn_norm", width)?,
            gate,
            up,
            down: self.linear("ffn_down", hidden, width)?,
        })
    }

    fn name(&self, part: &str) -> String {
        format!("blk.{}.{part}", self.number)
    }

    fn norm(&self, part: &str, length: usize) -> Result<Tensor, LoadError> {
        self.vector(&self.name(&format!("{part}.weight")), length)
    }

    fn head_norm(&self, part: &str) -> Result<Option<Tensor>, LoadError> {
        let name = self.name(&format!("{part}.weight"));
        let found = self.file.tensor(&name);
        found
            .map(|_| self.vector(&name, self.shape.head_width))
            .transpose()
    }

    fn vector(&self, name: &str, length: usize) -> Result<Tensor, LoadError> {
        let values = vector(self.file, name, length)?;
        Tensor::from_vec(values, length, self.device).map_err(on_device)
    }

    fn linear(&mut self, part: &str, inputs: usize, outputs: usize) -> Result<Linear, LoadError> {
        let matrix = self.whole(&self.name(&format!("{part}.weight")), inputs, outputs)?;
        let bias = self.name(&format!("{part}.bias"));
        Ok(Linear {
            matrix: QMatMul::from_qtensor(matrix).map_err(on_device)?,
            bias: self
                .file
                .tensor(&bias)
                .map(|_| self.vector(&bias, outputs))
                .transpose()?,
        })
    }

    /// Some of the outputs of a matrix that several were joined into.
    fn cut(
        &mut self,
        part: &str,
        (inputs, all): (usize, usize),
        wanted: Range<usize>,
    ) -> Result<Linear, LoadError> {
        let name = self.name(&format!("{part}.weight"));
        let whole = tensor(self.file, &name, &[inputs, all])?;
        let row_bytes = whole.bytes.len() / all;
        let dims = [inputs, wanted.len()];
        let rows = TensorBytes {
            dims: &dims,
            dtype: whole.dtype,
            bytes: &whole.bytes[wanted.start * row_bytes..wanted.end * row_bytes],
        };
        Ok(Linear {
            matrix: QMatMul::from_qtensor(self.put(&rows)?).map_err(on_device)?,
            bias: None,
        })
    }

    fn whole(&mut self, name: &str, inputs: usize, outputs: usize) -> Result<QTensor, LoadError> {
        let bytes = tensor(self.file, name, &[inputs, outputs])?;
        self.put(&bytes)
    }

    fn put(&mut self, tensor: &TensorBytes<'_>) -> Result<QTensor, LoadError> {
        self.bytes += tensor.bytes.len();
        let bytes = Cow::Borrowed(tensor.bytes);
        let storage = QStorage::from_data(bytes, self.device, tensor.dtype).map_err(on_device)?;
        let packed = QTensor::new(storage, (tensor.dims[1], tensor.dims[0])).map_err(on_device)?;
        match self.device {
            // Where the processor stands in for a device, to show what the graph computes, nothing else is to be off: its own
            // products round to eight bits, and some forms of them only take an even number of blocks.
            Device::Cpu => unpacked(&packed).map_err(on_device),
            _ => Ok(packed),
        }
    }
}

/// The very values, in 32 bits each.
fn unpacked(packed: &QTensor) -> candle_core::Result<QTensor> {
    QTensor::quantize(&packed.dequantize(&Device::Cpu)?, GgmlDType::F32)
}

fn on_device(error: candle_core::Error) -> LoadError {
    LoadError::Device(error.to_string())
}
