//! What kind of decoder a file describes: its dimensions and the few choices in which the families differ.

use crate::error::LoadError;
use crate::file::ModelFile;
use crate::kernels::attention::MAX_HEAD_WIDTH;
use crate::kernels::product::Gate;
use crate::kernels::rows::Pairing;

/// The architectures with a graph here, for messages.
pub(crate) const KNOWN: &str =
    "llama (Llama, Mistral, SmolLM), qwen2, qwen3, gemma3, phi3 and, for embeddings, bert";

/// Bounds for what a header may claim, far above any model that exists, so that products of them cannot overflow.
const MAX_LAYERS: u32 = 1_024;
const MAX_WIDTH: u32 = 1 << 20;
const MAX_CONTEXT_TOKENS: u32 = 1 << 24;

/// Of Gemma 3's layers every sixth sees the whole context; the file does not say so.
const GEMMA_LAYERS_PER_WHOLE: usize = 6;
/// By what Gemma 3 turns positions in the layers that see a window; the file does not say so either.
const GEMMA_WINDOW_BASE: f32 = 10_000.0;
/// The layers of Gemma 3 27B, whose scores are scaled by the model's width instead of the head's.
const GEMMA_27B_LAYERS: usize = 62;

/// A decoder's dimensions and choices.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Architecture {
    /// As in `general.architecture`.
    pub(crate) name: String,
    pub(crate) layers: usize,
    /// Width of the residual stream.
    pub(crate) width: usize,
    /// Width of the gated layer.
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    /// Heads of keys and values; each serves `heads / kv_heads` query heads.
    pub(crate) kv_heads: usize,
    pub(crate) head_width: usize,
    pub(crate) context_tokens: u32,
    pub(crate) epsilon: f32,
    pub(crate) rope: Rope,
    pub(crate) gate: Gate,
    /// By what embeddings are multiplied.
    pub(crate) embedding_scale: f32,
    /// By what scores are multiplied before the softmax.
    pub(crate) score_scale: f32,
    /// Whether each half of a layer is normalised once more before it is added (Gemma 3).
    pub(crate) norms_after: bool,
    /// Whether queries, keys and values lie in one tensor, and both parts of the gated layer too (Phi 3).
    pub(crate) joined: bool,
    pub(crate) window: Option<Window>,
}

/// How positions enter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rope {
    /// Values of a head that are rotated.
    pub(crate) dims: usize,
    pub(crate) base: f32,
    /// By what positions are divided.
    pub(crate) stretch: f32,
    pub(crate) pairing: Pairing,
    /// By what the rotated values are multiplied (Phi 3's long contexts).
    pub(crate) magnitude: f32,
}

/// Layers that see only the latest positions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Window {
    /// A position sees itself and those before it, together so many.
    pub(crate) positions: usize,
    /// Every so manieth layer sees everything; zero: none does.
    pub(crate) layers_per_whole: usize,
    /// How positions enter in the layers with a window.
    pub(crate) rope: Rope,
}

impl Architecture {
    pub(crate) fn read(file: &ModelFile) -> Result<Self, LoadError> {
        let name = file.text("general.architecture")?.to_owned();
        let claims = Claims { file, name: &name };
        let pairing = match name.as_str() {
            // The converter has reordered llama's weights so that neighbours are rotated together.
            "llama" => Pairing::Neighbours,
            "qwen2" | "qwen3" | "gemma3" | "phi3" => Pairing::Halves,
            _ => return Err(LoadError::Architecture(name)),
        };
        claims.refuse_what_is_not_computed()?;
        let layers = claims.dimension("block_count", MAX_LAYERS)?;
        let width = claims.dimension("embedding_length", MAX_WIDTH)?;
        let heads = claims.dimension("attention.head_count", MAX_WIDTH)?;
        let head_width = claims.optional("attention.key_length", width / heads)?;
        let rope = claims.rope(head_width, pairing)?;
        let is_gemma = name == "gemma3";
        let scaled_width = if is_gemma && layers == GEMMA_27B_LAYERS {
            width / heads
        } else {
            head_width
        };
        let architecture = Self {
            layers,
            width,
            hidden: claims.dimension("feed_forward_length", MAX_WIDTH)?,
            heads,
            kv_heads: claims.optional("attention.head_count_kv", heads)?,
            head_width,
            context_tokens: claims.context_tokens()?,
            epsilon: file.f32(&claims.key("attention.layer_norm_rms_epsilon"))?,
            gate: if is_gemma { Gate::Gelu } else { Gate::Silu },
            embedding_scale: if is_gemma { (width as f32).sqrt() } else { 1.0 },
            score_scale: 1.0 / (scaled_width as f32).sqrt(),
            norms_after: is_gemma,
            joined: name == "phi3",
            window: claims.window(&rope)?,
            rope,
            name: name.clone(),
        };
        architecture.check(&claims)?;
        Ok(architecture)
    }

    /// How many of the latest positions a layer sees.
    pub(crate) fn window_of(&self, layer: usize) -> Option<&Window> {
        self.window.as_ref().filter(|window| {
            window.layers_per_whole == 0 || !(layer + 1).is_multiple_of(window.layers_per_whole)
        })
    }

    fn check(&self, claims: &Claims<'_>) -> Result<(), LoadError> {
        let fits = self.heads.is_multiple_of(self.kv_heads)
            && self.head_width.is_multiple_of(16)
            && self.head_width <= MAX_HEAD_WIDTH
            && self.rope.dims <= self.head_width
            && self.rope.dims.is_multiple_of(2)
            && self.width.is_multiple_of(32)
            && self.hidden.is_multiple_of(32)
            && (self.heads * self.head_width).is_multiple_of(32)
            && claims.optional("attention.value_length", self.head_width)? == self.head_width;
        if !fits {
            let what = format!("{} with these head widths", self.name);
            return Err(LoadError::Architecture(what));
        }
        Ok(())
    }
}

/// The metadata entries of one architecture.
pub(crate) struct Claims<'a> {
    pub(crate) file: &'a ModelFile,
    /// As in `general.architecture`.
    pub(crate) name: &'a str,
}

impl Claims<'_> {
    pub(crate) fn key(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.name)
    }

    /// A count from 1 to `max`.
    pub(crate) fn dimension(&self, suffix: &str, max: u32) -> Result<usize, LoadError> {
        let value = self.file.u32(&self.key(suffix))?;
        if value == 0 || value > max {
            return Err(LoadError::Metadata(self.key(suffix)));
        }
        Ok(value as usize)
    }

    fn optional(&self, suffix: &str, otherwise: usize) -> Result<usize, LoadError> {
        if self.file.has(&self.key(suffix)) {
            self.dimension(suffix, MAX_WIDTH)
        } else {
            Ok(otherwise)
        }
    }

    /// What is there but no number is refused: with the default in its place it would be another model.
    fn optional_float(&self, suffix: &str, otherwise: f32) -> Result<f32, LoadError> {
        let key = self.key(suffix);
        if self.file.has(&key) {
            self.file.f32(&key)
        } else {
            Ok(otherwise)
        }
    }

    fn has_value(&self, suffix: &str) -> bool {
        let key = self.key(suffix);
        self.file.has(&key)
            && self.file.u32(&key).ok() != Some(0)
            && self.file.f32(&key).ok() != Some(0.0)
    }

    /// What is ignored gives answers that are a little worse without anyone noticing.
    fn refuse_what_is_not_computed(&self) -> Result<(), LoadError> {
        let windowed = matches!(self.name, "gemma3" | "phi3");
        let refused = [
            "expert_count",
            "attention.logit_softcapping",
            "attn_logit_softcapping",
            "final_logit_softcapping",
            "logit_scale",
            "residual_scale",
            "embedding_scale",
            "attention.scale",
            "attention.sliding_window",
        ];
        for suffix in refused {
            if windowed && suffix == "attention.sliding_window" {
                continue;
            }
            if self.has_value(suffix) {
                let what = format!("{} with {suffix}", self.name);
                return Err(LoadError::Architecture(what));
            }
        }
        Ok(())
    }

    /// Phi 3 has two sets of frequency factors; those of long contexts would change what short ones say.
    fn context_tokens(&self) -> Result<u32, LoadError> {
        let all = self.dimension("context_length", MAX_CONTEXT_TOKENS)?;
        let original = "rope.scaling.original_context_length";
        let most = if self.file.tensor("rope_factors_long.weight").is_some() {
            self.dimension(original, MAX_CONTEXT_TOKENS)?.min(all)
        } else {
            all
        };
        Ok(most as u32) // within the bound of a u32
    }

    fn rope(&self, head_width: usize, pairing: Pairing) -> Result<Rope, LoadError> {
        Ok(Rope {
            dims: self.optional("rope.dimension_count", head_width)?,
            base: self.optional_float("rope.freq_base", 10_000.0)?,
            stretch: self.stretch()?,
            pairing,
            magnitude: self.optional_float("rope.scaling.attn_factor", 1.0)?,
        })
    }

    fn stretch(&self) -> Result<f32, LoadError> {
        let key = self.key("rope.scaling.type");
        let kind = if self.file.has(&key) {
            self.file.text(&key)?
        } else {
            "none"
        };
        match kind {
            "none" => Ok(1.0),
            "linear" => self.file.f32(&self.key("rope.scaling.factor")),
            // Its factors are tensors of the file.
            "longrope" if self.name == "phi3" => Ok(1.0),
            other => Err(LoadError::Architecture(format!(
                "{} with rope scaling {other}",
                self.name
            ))),
        }
    }

    fn window(&self, rope: &Rope) -> Result<Option<Window>, LoadError> {
        if !self.has_value("attention.sliding_window") {
            return Ok(None);
        }
        let positions = self.dimension("attention.sliding_window", MAX_CONTEXT_TOKENS)?;
        let is_gemma = self.name == "gemma3";
        let own = Rope {
            base: GEMMA_WINDOW_BASE,
            stretch: 1.0,
            ..rope.clone()
        };
        Ok(Some(Window {
            positions,
            layers_per_whole: if is_gemma { GEMMA_LAYERS_PER_WHOLE } else { 0 },
            rope: if is_gemma { own } else { rope.clone() },
        }))
    }
}
