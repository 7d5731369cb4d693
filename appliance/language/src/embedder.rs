//! Texts made into vectors by a BERT encoder from safetensors: alike where the texts mean alike.
//!
//! Each text is computed alone, so its vector does not depend on what else was asked. A text that is longer than the model
//! reads is refused with its count; nothing is cut, whatever the tokenizer's file says of truncation.

use crate::error::LoadError;
use crate::golden::read;
use candle_core::{D, DType, Device, Tensor};
use pericard_domain::chat::{ChatRefusal, Embeddings};
use pericard_domain::model::{GoldenCase, Package};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tokenizers::Tokenizer;

/// Layers beyond this are not believed.
const LAYERS_MAX: usize = 256;
/// Widths beyond this are not believed.
const WIDTH_MAX: usize = 1 << 16;

/// A loaded encoder.
pub struct Embedder {
    tokenizer: Tokenizer,
    words: Tensor,
    positions: Tensor,
    /// Of the first kind of text; there is no second here.
    kind: Tensor,
    first: Norm,
    layers: Vec<Layer>,
    shape: Shape,
    tokens_max: usize,
}

/// `config.json`, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
struct Shape {
    model_type: String,
    hidden_act: String,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    layer_norm_eps: f64,
    vocab_size: usize,
}

/// `1_Pooling/config.json`.
#[derive(Debug, Deserialize)]
struct Pooling {
    pooling_mode_mean_tokens: bool,
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

/// The tensors of the file, each taken once.
struct Shelf {
    tensors: HashMap<String, Tensor>,
}

impl Embedder {
    /// Loads the encoder of a package, whose manifest names the parts `weights`, `tokenizer`, `config` and `pooling`.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with the files.
    pub fn load(package: &Package) -> Result<Self, LoadError> {
        let part = |name: &str| {
            let missing = || LoadError::Metadata(format!("parts.{name}"));
            package.part(name).ok_or_else(missing)
        };
        let shape: Shape = described(&part("config")?)?;
        shape.check()?;
        let pooling: Pooling = described(&part("pooling")?)?;
        if !pooling.pooling_mode_mean_tokens {
            return Err(LoadError::Architecture(
                "bert with a pooling that is not the mean".into(),
            ));
        }
        let weights = part("weights")?;
        let tensors = candle_core::safetensors::load(&weights, &Device::Cpu)
            .map_err(|error| unreadable(weights, &error))?;
        let mut shelf = Shelf { tensors };
        let wanted = package.manifest.parameters.get("tokens_max");
        let wanted = wanted.map_or(usize::MAX, |most| *most as usize);
        let (width, layers) = (shape.hidden_size, 0..shape.num_hidden_layers);
        Ok(Self {
            tokenizer: tokenizer(&part("tokenizer")?)?,
            words: shelf.take(
                "embeddings.word_embeddings.weight",
                &[shape.vocab_size, width],
            )?,
            positions: shelf.take(
                "embeddings.position_embeddings.weight",
                &[shape.max_position_embeddings, width],
            )?,
            kind: shelf
                .take("embeddings.token_type_embeddings.weight", &[2, width])?
                .get(0)
                .map_err(|_| LoadError::Metadata("token_type_embeddings".into()))?,
            first: shelf.norm("embeddings.LayerNorm", &shape)?,
            layers: layers
                .map(|layer| Layer::of(&mut shelf, layer, &shape))
                .collect::<Result<_, _>>()?,
            tokens_max: wanted.min(shape.max_position_embeddings),
            shape,
        })
    }

    /// The most tokens that a text may have.
    #[must_use]
    pub fn tokens_max(&self) -> u32 {
        u32::try_from(self.tokens_max).unwrap_or(u32::MAX)
    }

    /// Makes each text into a vector of length 1.
    ///
    /// # Errors
    /// [`ChatRefusal::TextTooLong`] and [`ChatRefusal::Invalid`].
    pub fn embed(&self, texts: &[String]) -> Result<Embeddings, ChatRefusal> {
        // All are counted before any is computed.
        let all: Vec<Vec<u32>> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| self.tokens(index, text))
            .collect::<Result<_, _>>()?;
        let tokens = all.iter().map(Vec::len).sum::<usize>();
        let vectors = all.iter().map(|ids| self.vector(ids));
        let vectors = vectors
            .collect::<candle_core::Result<_>>()
            .map_err(|error| {
                tracing::error!(%error, "an embedding failed");
                ChatRefusal::Invalid(
                    "the embedding failed; the appliance's journal says why".into(),
                )
            })?;
        Ok(Embeddings {
            vectors,
            tokens: u32::try_from(tokens).unwrap_or(u32::MAX),
        })
    }

    /// The ids of a text, with those that begin and end it.
    ///
    /// # Errors
    /// [`ChatRefusal::TextTooLong`] when the model does not read as many.
    pub fn tokens(&self, index: usize, text: &str) -> Result<Vec<u32>, ChatRefusal> {
        let encoding = self.tokenizer.encode_fast(text, true);
        let encoding =
            encoding.map_err(|_| ChatRefusal::Invalid("the text cannot be tokenised".into()))?;
        let ids = encoding.get_ids().to_vec();
        if ids.len() > self.tokens_max {
            return Err(ChatRefusal::TextTooLong {
                index: u32::try_from(index).unwrap_or(u32::MAX),
                tokens: u32::try_from(ids.len()).unwrap_or(u32::MAX),
                tokens_max: self.tokens_max(),
            });
        }
        Ok(ids)
    }

    /// The text of token ids.
    #[must_use]
    pub fn text(&self, ids: &[u32]) -> String {
        self.tokenizer.decode(ids, true).unwrap_or_default()
    }

    /// Runs a golden case of the package: the vectors of texts, as far off as its tolerance lets each number be.
    ///
    /// # Errors
    /// A sentence that says what differs.
    pub fn golden(&self, dir: &Path, case: &GoldenCase) -> Result<(), String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Input {
            texts: Vec<String>,
        }
        let input: Input = read(&dir.join(&case.input))?;
        let expected: Embeddings = read(&dir.join(&case.expected))?;
        let got = self
            .embed(&input.texts)
            .map_err(|refusal| refusal.to_string())?;
        let name = &case.name;
        if (got.tokens, got.vectors.len()) != (expected.tokens, expected.vectors.len()) {
            return Err(format!(
                "case {name:?}: expected {} tokens, but there are {}",
                expected.tokens, got.tokens
            ));
        }
        let numbers = |of: &Embeddings| of.vectors.concat();
        let (got, expected) = (numbers(&got), numbers(&expected));
        let off = got
            .iter()
            .zip(&expected)
            .map(|(a, b)| f64::from((a - b).abs()));
        let worst = off.fold(0.0, f64::max);
        if got.len() != expected.len() || worst > case.tolerance {
            return Err(format!(
                "case {name:?}: a number is {worst:e} off; {:e} is let pass",
                case.tolerance
            ));
        }
        Ok(())
    }

    fn vector(&self, ids: &[u32]) -> candle_core::Result<Vec<f32>> {
        let length = ids.len();
        let ids = Tensor::from_slice(ids, length, &Device::Cpu)?;
        let positions = self.positions.narrow(0, 0, length)?;
        let words = self.words.index_select(&ids, 0)?;
        let mut rows = self
            .first
            .of(&(words + positions)?.broadcast_add(&self.kind)?)?;
        for layer in &self.layers {
            rows = layer.after(&rows, self.shape.num_attention_heads)?;
        }
        let mean: Vec<f32> = rows.mean(0)?.to_vec1()?;
        let length = mean
            .iter()
            .map(|v| f64::from(*v).powi(2))
            .sum::<f64>()
            .sqrt();
        Ok(mean
            .into_iter()
            .map(|value| (f64::from(value) / length.max(1e-12)) as f32)
            .collect())
    }
}

impl Shape {
    fn check(&self) -> Result<(), LoadError> {
        let believed = (1..=WIDTH_MAX).contains(&self.hidden_size)
            && (1..=WIDTH_MAX).contains(&self.intermediate_size)
            && (1..=LAYERS_MAX).contains(&self.num_hidden_layers)
            && self.num_attention_heads > 0
            && self.hidden_size.is_multiple_of(self.num_attention_heads);
        if self.model_type != "bert" || self.hidden_act != "gelu" || !believed {
            let what = format!(
                "{} ({}) with these widths",
                self.model_type, self.hidden_act
            );
            return Err(LoadError::Architecture(what));
        }
        Ok(())
    }
}

impl Shelf {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        let wrong = || LoadError::Tensor {
            name: name.to_owned(),
            expected: shape.iter().rev().copied().collect(),
        };
        let tensor = self.tensors.remove(name).filter(|t| t.dims() == shape);
        let tensor = tensor.ok_or_else(wrong)?;
        tensor.to_dtype(DType::F32).map_err(|_| wrong())
    }

    fn linear(&mut self, name: &str, out: usize, of: usize) -> Result<Linear, LoadError> {
        Ok(Linear {
            weight: self.take(&format!("{name}.weight"), &[out, of])?,
            bias: self.take(&format!("{name}.bias"), &[out])?,
        })
    }

    fn norm(&mut self, name: &str, shape: &Shape) -> Result<Norm, LoadError> {
        Ok(Norm {
            weight: self.take(&format!("{name}.weight"), &[shape.hidden_size])?,
            bias: self.take(&format!("{name}.bias"), &[shape.hidden_size])?,
            epsilon: shape.layer_norm_eps,
        })
    }
}

impl Layer {
    fn of(shelf: &mut Shelf, layer: usize, shape: &Shape) -> Result<Self, LoadError> {
        let (width, hidden) = (shape.hidden_size, shape.intermediate_size);
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        Ok(Self {
            query: shelf.linear(&name("attention.self.query"), width, width)?,
            key: shelf.linear(&name("attention.self.key"), width, width)?,
            value: shelf.linear(&name("attention.self.value"), width, width)?,
            attended: shelf.linear(&name("attention.output.dense"), width, width)?,
            attended_norm: shelf.norm(&name("attention.output.LayerNorm"), shape)?,
            up: shelf.linear(&name("intermediate.dense"), hidden, width)?,
            down: shelf.linear(&name("output.dense"), width, hidden)?,
            norm: shelf.norm(&name("output.LayerNorm"), shape)?,
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

fn tokenizer(path: &Path) -> Result<Tokenizer, LoadError> {
    let wrong = |error: tokenizers::Error| LoadError::Tokenizer(error.to_string());
    let mut tokenizer = Tokenizer::from_file(path).map_err(wrong)?;
    tokenizer.with_truncation(None).map_err(wrong)?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

fn described<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, LoadError> {
    read(path).map_err(LoadError::Metadata)
}

fn unreadable(path: PathBuf, error: &candle_core::Error) -> LoadError {
    LoadError::Read {
        path,
        source: std::io::Error::other(error.to_string()),
    }
}
