//! A BERT encoder: its shape, its weights as floats, and the rows that it makes of token ids.

use crate::error::LoadError;
use crate::file::ModelFile;
use crate::weights::floats;
use candle_core::{D, DType, Device, Tensor};
use std::collections::HashMap;

/// Layers beyond this are not believed.
pub(crate) const LAYERS_MAX: u32 = 256;
/// Widths beyond this are not believed.
pub(crate) const WIDTH_MAX: u32 = 1 << 16;

/// An encoder's dimensions.
pub(crate) struct Shape {
    pub(crate) layers: usize,
    pub(crate) width: usize,
    /// Width between the two matrices that each layer ends with.
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    /// Tokens in the vocabulary.
    pub(crate) tokens: usize,
    /// Positions, and so the most tokens of a text.
    pub(crate) positions: usize,
    /// Kinds of text, of which only the first is read here.
    pub(crate) kinds: usize,
    pub(crate) epsilon: f64,
}

/// A loaded encoder.
pub(crate) struct Encoder {
    words: Tensor,
    positions: Tensor,
    /// Of the first kind of text; there is no second here.
    kind: Tensor,
    first: Norm,
    layers: Vec<Layer>,
    heads: usize,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    attended_norm: Norm,
    up: Linear,
    down: Linear,
    norm: Norm,
}

struct Linear {
    weight: Tensor,
    bias: Tensor,
}

struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

/// The tensors of a file, each taken once.
pub(crate) enum Shelf {
    Safetensors(HashMap<String, Tensor>),
    Gguf(ModelFile),
}

/// What tensors are called, without `.weight` and `.bias`.
struct Names {
    words: &'static str,
    positions: &'static str,
    kinds: &'static str,
    first: &'static str,
    /// Before the number of a layer.
    layer: &'static str,
    query: &'static str,
    key: &'static str,
    value: &'static str,
    attended: &'static str,
    attended_norm: &'static str,
    up: &'static str,
    down: &'static str,
    norm: &'static str,
}

static IN_SAFETENSORS: Names = Names {
    words: "embeddings.word_embeddings",
    positions: "embeddings.position_embeddings",
    kinds: "embeddings.token_type_embeddings",
    first: "embeddings.LayerNorm",
    layer: "encoder.layer",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attended: "attention.output.dense",
    attended_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    norm: "output.LayerNorm",
};

static IN_GGUF: Names = Names {
    words: "token_embd",
    positions: "position_embd",
    kinds: "token_types",
    first: "token_embd_norm",
    layer: "blk",
    query: "attn_q",
    key: "attn_k",
    value: "attn_v",
    attended: "attn_output",
    attended_norm: "attn_output_norm",
    up: "ffn_up",
    down: "ffn_down",
    norm: "layer_output_norm",
};

impl Shape {
    /// Whether these dimensions can be an encoder's.
    pub(crate) fn is_believed(&self) -> bool {
        let widths = 1..=WIDTH_MAX as usize;
        widths.contains(&self.width)
            && widths.contains(&self.hidden)
            && (1..=LAYERS_MAX as usize).contains(&self.layers)
            && self.heads > 0
            && self.width.is_multiple_of(self.heads)
            && self.epsilon.is_finite()
            && self.epsilon > 0.0
    }
}

impl Encoder {
    pub(crate) fn read(shelf: &mut Shelf, shape: &Shape) -> Result<Self, LoadError> {
        let names = shelf.names();
        let mut table =
            |name: &str, rows: usize| shelf.take(&format!("{name}.weight"), &[rows, shape.width]);
        let words = table(names.words, shape.tokens)?;
        let positions = table(names.positions, shape.positions)?;
        let kinds = table(names.kinds, shape.kinds)?;
        Ok(Self {
            words,
            positions,
            kind: kinds
                .get(0)
                .map_err(|_| LoadError::Metadata(names.kinds.into()))?,
            first: shelf.norm(names.first, shape)?,
            layers: (0..shape.layers)
                .map(|layer| Layer::read(shelf, layer, shape))
                .collect::<Result<_, _>>()?,
            heads: shape.heads,
        })
    }

    /// What it makes of the tokens of a text: a row for each.
    pub(crate) fn rows(&self, ids: &[u32]) -> candle_core::Result<Tensor> {
        let length = ids.len();
        let ids = Tensor::from_slice(ids, length, &Device::Cpu)?;
        let positions = self.positions.narrow(0, 0, length)?;
        let words = self.words.index_select(&ids, 0)?;
        let mut rows = self
            .first
            .of(&(words + positions)?.broadcast_add(&self.kind)?)?;
        for layer in &self.layers {
            rows = layer.after(&rows, self.heads)?;
        }
        Ok(rows)
    }
}

impl Shelf {
    fn names(&self) -> &'static Names {
        match self {
            Self::Safetensors(_) => &IN_SAFETENSORS,
            Self::Gguf(_) => &IN_GGUF,
        }
    }

    /// A tensor as floats; `shape` has the fastest-running dimension last.
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        let taken = match self {
            Self::Safetensors(tensors) => tensors
                .remove(name)
                .filter(|tensor| tensor.dims() == shape)
                .and_then(|tensor| tensor.to_dtype(DType::F32).ok()),
            Self::Gguf(file) => of_gguf(file, name, shape),
        };
        taken.ok_or_else(|| LoadError::Tensor {
            name: name.to_owned(),
            expected: shape.iter().rev().copied().collect(),
        })
    }

    fn linear(&mut self, name: &str, out: usize, of: usize) -> Result<Linear, LoadError> {
        Ok(Linear {
            weight: self.take(&format!("{name}.weight"), &[out, of])?,
            bias: self.take(&format!("{name}.bias"), &[out])?,
        })
    }

    fn norm(&mut self, name: &str, shape: &Shape) -> Result<Norm, LoadError> {
        Ok(Norm {
            weight: self.take(&format!("{name}.weight"), &[shape.width])?,
            bias: self.take(&format!("{name}.bias"), &[shape.width])?,
            epsilon: shape.epsilon,
        })
    }
}

fn of_gguf(file: &ModelFile, name: &str, shape: &[usize]) -> Option<Tensor> {
    let tensor = file.tensor(name)?;
    if !tensor.dims.iter().rev().eq(shape) {
        return None;
    }
    let count = shape.iter().product();
    let values = floats(tensor.bytes, tensor.dtype, count)?;
    file.forget(name);
    Tensor::from_vec(values, shape, &Device::Cpu).ok()
}

impl Layer {
    fn read(shelf: &mut Shelf, layer: usize, shape: &Shape) -> Result<Self, LoadError> {
        let names = shelf.names();
        let (width, hidden) = (shape.width, shape.hidden);
        let name = |part: &str| format!("{}.{layer}.{part}", names.layer);
        Ok(Self {
            query: shelf.linear(&name(names.query), width, width)?,
            key: shelf.linear(&name(names.key), width, width)?,
            value: shelf.linear(&name(names.value), width, width)?,
            attended: shelf.linear(&name(names.attended), width, width)?,
            attended_norm: shelf.norm(&name(names.attended_norm), shape)?,
            up: shelf.linear(&name(names.up), hidden, width)?,
            down: shelf.linear(&name(names.down), width, hidden)?,
            norm: shelf.norm(&name(names.norm), shape)?,
        })
    }

    fn after(&self, rows: &Tensor, heads: usize) -> candle_core::Result<Tensor> {
        let attended = self.attended.of(&self.seen(rows, heads)?)?;
        let rows = self.attended_norm.of(&(attended + rows)?)?;
        let hidden = self.up.of(&rows)?.gelu_erf()?;
        self.norm.of(&(self.down.of(&hidden)? + rows)?)
    }

    /// What each row sees of the others.
    fn seen(&self, rows: &Tensor, heads: usize) -> candle_core::Result<Tensor> {
        let (length, width) = rows.dims2()?;
        let split = |of: Tensor| {
            of.reshape((length, heads, width / heads))?
                .transpose(0, 1)?
                .contiguous()
        };
        let query = split(self.query.of(rows)?)?;
        let key = split(self.key.of(rows)?)?.transpose(1, 2)?.contiguous()?;
        let scores = (query.matmul(&key)? * (1.0 / ((width / heads) as f64).sqrt()))?;
        let scores = scores
            .broadcast_sub(&scores.max_keepdim(D::Minus1)?)?
            .exp()?;
        let scores = scores.broadcast_div(&scores.sum_keepdim(D::Minus1)?)?;
        let seen = scores.matmul(&split(self.value.of(rows)?)?)?;
        seen.transpose(0, 1)?.contiguous()?.reshape((length, width))
    }
}

impl Linear {
    fn of(&self, rows: &Tensor) -> candle_core::Result<Tensor> {
        rows.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)
    }
}

impl Norm {
    fn of(&self, rows: &Tensor) -> candle_core::Result<Tensor> {
        let centred = rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)?;
        let spread = (centred.sqr()?.mean_keepdim(D::Minus1)? + self.epsilon)?.sqrt()?;
        let normed = centred.broadcast_div(&spread)?;
        normed
            .broadcast_mul(&self.weight)?
            .broadcast_add(&self.bias)
    }
}
