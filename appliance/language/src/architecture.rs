//! What kind of decoder a file describes: its dimensions and the few choices in which the families differ.

use crate::error::LoadError;
use crate::file::ModelFile;
use crate::kernels::attention::MAX_HEAD_WIDTH;
use crate::kernels::rows::Pairing;

/// The architectures with a graph here, for messages.
pub(crate) const KNOWN: &str = "llama (Llama, Mistral, SmolLM), qwen2 and qwen3";

/// Bounds for what a header may claim, far above any model that exists, so that products of them cannot overflow.
const MAX_LAYERS: u32 = 1_024;
const MAX_WIDTH: u32 = 1 << 20;
const MAX_CONTEXT_TOKENS: u32 = 1 << 24;

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
}

impl Architecture {
    pub(crate) fn read(file: &ModelFile) -> Result<Self, LoadError> {
        let name = file.text("general.architecture")?.to_owned();
        let pairing = match name.as_str() {
            // The converter has reordered llama's weights so that neighbours are rotated together.
            "llama" => Pairing::Neighbours,
            "qwen2" | "qwen3" => Pairing::Halves,
            _ => return Err(LoadError::Architecture(name)),
        };
        let key = |suffix: &str| format!("{name}.{suffix}");
        let dimension = |suffix: &str, max: u32| {
            let value = file.u32(&key(suffix))?;
            if value == 0 || value > max {
                return Err(LoadError::Metadata(key(suffix)));
            }
            Ok(value as usize)
        };
        if file
            .u32(&key("expert_count"))
            .is_ok_and(|experts| experts > 0)
        {
            return Err(LoadError::Architecture(format!("{name} with experts")));
        }
        let width = dimension("embedding_length", MAX_WIDTH)?;
        let heads = dimension("attention.head_count", MAX_WIDTH)?;
        let optional = |suffix: &str, otherwise: usize| {
            if file.has(&key(suffix)) {
                dimension(suffix, MAX_WIDTH)
            } else {
                Ok(otherwise)
            }
        };
        let head_width = optional("attention.key_length", width / heads)?;
        let architecture = Self {
            layers: dimension("block_count", MAX_LAYERS)?,
            width,
            hidden: dimension("feed_forward_length", MAX_WIDTH)?,
            heads,
            kv_heads: optional("attention.head_count_kv", heads)?,
            head_width,
            context_tokens: dimension("context_length", MAX_CONTEXT_TOKENS)? as u32,
            epsilon: file.f32(&key("attention.layer_norm_rms_epsilon"))?,
            rope: Rope {
                dims: optional("rope.dimension_count", head_width)?,
                base: file.f32(&key("rope.freq_base")).unwrap_or(10_000.0),
                stretch: stretch(file, &name)?,
                pairing,
            },
            name: name.clone(),
        };
        architecture.check(file, &optional)?;
        Ok(architecture)
    }

    fn check(
        &self,
        file: &ModelFile,
        optional: &dyn Fn(&str, usize) -> Result<usize, LoadError>,
    ) -> Result<(), LoadError> {
        let fits = self.heads.is_multiple_of(self.kv_heads)
            && self.head_width.is_multiple_of(16)
            && self.head_width <= MAX_HEAD_WIDTH
            && self.rope.dims <= self.head_width
            && self.rope.dims.is_multiple_of(2)
            && self.width.is_multiple_of(32)
            && self.hidden.is_multiple_of(32)
            && (self.heads * self.head_width).is_multiple_of(32)
            && optional("attention.value_length", self.head_width)? == self.head_width;
        if !fits {
            return Err(LoadError::Architecture(format!(
                "{} with these head widths",
                self.name
            )));
        }
        // A window or a scale that is ignored would give slightly wrong answers to long prompts.
        for refused in [
            "attention.sliding_window",
            "attention.logit_softcapping",
            "logit_scale",
            "attention.scale",
        ] {
            let key = format!("{}.{refused}", self.name);
            if file.has(&key) && !file.u32(&key).is_ok_and(|value| value == 0) {
                return Err(LoadError::Architecture(format!(
                    "{} with {refused}",
                    self.name
                )));
            }
        }
        Ok(())
    }
}

fn stretch(file: &ModelFile, name: &str) -> Result<f32, LoadError> {
    let kind = format!("{name}.rope.scaling.type");
    let kind = if file.has(&kind) {
        file.text(&kind)?
    } else {
        "none"
    };
    match kind {
        "none" => Ok(1.0),
        "linear" => file.f32(&format!("{name}.rope.scaling.factor")),
        other => Err(LoadError::Architecture(format!(
            "{name} with rope scaling {other}"
        ))),
    }
}
