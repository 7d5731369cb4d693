//! Texts made into vectors by a BERT encoder from safetensors or GGUF: alike where the texts mean alike.
//!
//! Each text is computed alone, so its vector does not depend on what else was asked. A text that is longer than the model
//! reads is refused with its count; nothing is cut, whatever the tokenizer's file says of truncation.
//!
//! A GGUF does not say which GELU it was trained with; BERT's is the exact one, where llama.cpp takes the approximation by tanh.
//!
//! Deliberately absent: decoders that embed (`qwen3` with the pooling of its last token), whose graph gives logits only.

use crate::architecture::Claims;
use crate::encoder::{Encoder, LAYERS_MAX, Shape, Shelf, WIDTH_MAX};
use crate::error::LoadError;
use crate::file::ModelFile;
use crate::golden::read;
use crate::wordpiece;
use candle_core::{Device, Tensor};
use pericard_domain::chat::{ChatRefusal, Embeddings};
use pericard_domain::model::{GoldenCase, Package};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use tokenizers::Tokenizer;

/// Positions beyond this are not believed.
const POSITIONS_MAX: u32 = 1 << 20;

/// A loaded encoder.
pub struct Embedder {
    tokenizer: Tokenizer,
    encoder: Encoder,
    pooling: Pooling,
    tokens_max: usize,
}

/// What of a text's rows becomes its vector.
#[derive(Debug, Clone, Copy)]
enum Pooling {
    /// The mean of all.
    Mean,
    /// That of the token which begins it.
    First,
}

/// What a package describes, before its weights are read.
struct Described {
    tokenizer: Tokenizer,
    shape: Shape,
    pooling: Pooling,
    shelf: Shelf,
}

/// `config.json`, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
struct Config {
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
struct PoolingConfig {
    pooling_mode_mean_tokens: bool,
    #[serde(default)]
    pooling_mode_cls_token: bool,
}

impl Embedder {
    /// Loads the encoder of a package. Its manifest names the part `weights`: a file called `.gguf`, which says everything
    /// itself, or safetensors, with the parts `tokenizer`, `config` and `pooling` beside them.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with the files.
    pub fn load(package: &Package) -> Result<Self, LoadError> {
        let weights = part(package, "weights")?;
        let Described {
            tokenizer,
            shape,
            pooling,
            mut shelf,
        } = if weights.extension().is_some_and(|kind| kind == "gguf") {
            Described::by_gguf(&weights)?
        } else {
            Described::by_parts(package, weights)?
        };
        let wanted = package.manifest.parameters.get("tokens_max");
        let wanted = wanted.map_or(usize::MAX, |most| *most as usize);
        Ok(Self {
            tokenizer,
            encoder: Encoder::read(&mut shelf, &shape)?,
            pooling,
            tokens_max: wanted.min(shape.positions),
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
        let rows = self.encoder.rows(ids)?;
        let pooled: Vec<f32> = self.pooling.of(&rows)?.to_vec1()?;
        let length = pooled
            .iter()
            .map(|v| f64::from(*v).powi(2))
            .sum::<f64>()
            .sqrt();
        Ok(pooled
            .into_iter()
            .map(|value| (f64::from(value) / length.max(1e-12)) as f32)
            .collect())
    }
}

impl Pooling {
    fn of(self, rows: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Mean => rows.mean(0),
            Self::First => rows.get(0),
        }
    }
}

impl Described {
    fn by_parts(package: &Package, weights: PathBuf) -> Result<Self, LoadError> {
        let config: Config = described(&part(package, "config")?)?;
        let shape = config.shape()?;
        let pooling: PoolingConfig = described(&part(package, "pooling")?)?;
        let pooling = match (
            pooling.pooling_mode_mean_tokens,
            pooling.pooling_mode_cls_token,
        ) {
            (true, false) => Pooling::Mean,
            (false, true) => Pooling::First,
            _ => {
                return Err(LoadError::Architecture(
                    "bert with a pooling that is neither the mean nor the first token".into(),
                ));
            }
        };
        let tensors = candle_core::safetensors::load(&weights, &Device::Cpu)
            .map_err(|error| unreadable(weights, &error))?;
        Ok(Self {
            tokenizer: tokenizer(&part(package, "tokenizer")?)?,
            shape,
            pooling,
            shelf: Shelf::Safetensors(tensors),
        })
    }

    fn by_gguf(weights: &Path) -> Result<Self, LoadError> {
        let file = ModelFile::open(weights)?;
        let name = file.text("general.architecture")?;
        if name != "bert" {
            return Err(LoadError::Architecture(format!(
                "{name} as a model of embeddings"
            )));
        }
        let claims = Claims { file: &file, name };
        refuse_causal(&claims)?;
        let pooling = match file.u32(&claims.key("pooling_type"))? {
            1 => Pooling::Mean,
            2 => Pooling::First,
            other => {
                return Err(LoadError::Architecture(format!(
                    "bert with pooling type {other}"
                )));
            }
        };
        let (tokenizer, tokens) = wordpiece::tokenizer(&file)?;
        let shape = Shape {
            layers: claims.dimension("block_count", LAYERS_MAX)?,
            width: claims.dimension("embedding_length", WIDTH_MAX)?,
            hidden: claims.dimension("feed_forward_length", WIDTH_MAX)?,
            heads: claims.dimension("attention.head_count", WIDTH_MAX)?,
            tokens,
            positions: claims.dimension("context_length", POSITIONS_MAX)?,
            kinds: file.u32("tokenizer.ggml.token_type_count")? as usize,
            epsilon: f64::from(file.f32(&claims.key("attention.layer_norm_epsilon"))?),
        };
        if !shape.is_believed() {
            return Err(LoadError::Architecture("bert with these widths".into()));
        }
        Ok(Self {
            tokenizer,
            shape,
            pooling,
            shelf: Shelf::Gguf(file),
        })
    }
}

/// A token of a BERT sees those after it too; a file that does not say so is another model.
fn refuse_causal(claims: &Claims<'_>) -> Result<(), LoadError> {
    let key = claims.key("attention.causal");
    match claims.file.flag(&key) {
        Some(false) => Ok(()),
        Some(true) => Err(LoadError::Architecture("bert with attention.causal".into())),
        None => Err(LoadError::Metadata(key)),
    }
}

impl Config {
    fn shape(self) -> Result<Shape, LoadError> {
        let shape = Shape {
            layers: self.num_hidden_layers,
            width: self.hidden_size,
            hidden: self.intermediate_size,
            heads: self.num_attention_heads,
            tokens: self.vocab_size,
            positions: self.max_position_embeddings,
            kinds: 2,
            epsilon: self.layer_norm_eps,
        };
        if self.model_type != "bert" || self.hidden_act != "gelu" || !shape.is_believed() {
            let what = format!(
                "{} ({}) with these widths",
                self.model_type, self.hidden_act
            );
            return Err(LoadError::Architecture(what));
        }
        Ok(shape)
    }
}

fn part(package: &Package, name: &str) -> Result<PathBuf, LoadError> {
    let missing = || LoadError::Metadata(format!("parts.{name}"));
    package.part(name).ok_or_else(missing)
}

/// The tokenizer of `tokenizer.json`, which neither cuts nor fills up.
pub(crate) fn tokenizer(path: &Path) -> Result<Tokenizer, LoadError> {
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
