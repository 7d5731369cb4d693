//! What a model makes of given tokens, without scheduler and sampling: for checks against other engines.

use crate::architecture::Architecture;
use crate::error::LoadError;
use crate::file::ModelFile;
use crate::graph::{Batch, Graph};
use crate::kernels::Tier;
use crate::kernels::pages::{Cache, Segment};
use crate::kernels::pool::Pool;
use crate::weights::Weights;
use pericard_domain::device::KvForm;
use std::path::Path;

/// Tokens that are computed in one step.
const STEP_TOKENS: usize = 64;

/// A model that is asked token by token.
pub struct Scorer {
    graph: Graph,
    cache: Cache,
}

impl Scorer {
    /// Loads the weights of a model; its tokenizer is left alone.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with the file.
    pub fn load(weights: &Path, threads: usize, kv_bytes_max: usize) -> Result<Self, LoadError> {
        Self::keeping(KvForm::F16, weights, (threads, kv_bytes_max))
    }

    fn keeping(
        form: KvForm,
        weights: &Path,
        (threads, kv_bytes_max): (usize, usize),
    ) -> Result<Self, LoadError> {
        let file = ModelFile::open(weights)?;
        let shape = Architecture::read(&file)?;
        let tokens = file
            .tensor("token_embd.weight")
            .and_then(|tensor| tensor.dims.get(1).copied())
            .unwrap_or(0);
        let packed = Weights::read(&file, &shape, tokens)?;
        let cache = Cache::new(&shape, kv_bytes_max, form);
        let pool = Pool::new(threads).map_err(LoadError::Thread)?;
        Ok(Self {
            graph: Graph::new(shape, packed, pool, Tier::detect()),
            cache,
        })
    }

    /// The logits after each of `tokens`, a row of the vocabulary's size each; `None` when the memory does not hold so
    /// many, or when one of them is not in the vocabulary.
    pub fn logits(&mut self, tokens: &[u32]) -> Option<Vec<Vec<f32>>> {
        let vocabulary = self.graph.vocabulary();
        let needed = Cache::pages_for(tokens.len());
        let known = tokens.iter().all(|token| (*token as usize) < vocabulary);
        if needed > self.cache.free_pages() || !known {
            return None;
        }
        let pages: Vec<_> = (0..needed).map_while(|_| self.cache.take()).collect();
        let mut all = Vec::with_capacity(tokens.len());
        for (number, chunk) in tokens.chunks(STEP_TOKENS).enumerate() {
            let segment = Segment {
                first_row: 0,
                rows: chunk.len(),
                position: number * STEP_TOKENS,
                pages: pages.clone(),
            };
            let batch = Batch {
                tokens: chunk.to_vec(),
                segments: vec![segment],
                outputs: (0..chunk.len()).collect(),
            };
            let logits = self.graph.forward(&mut self.cache, &batch);
            all.extend(logits.chunks_exact(vocabulary).map(<[f32]>::to_vec));
        }
        self.cache.give(pages);
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How far off a logit may be, as a share of the standard deviation of all; 0.043 was the most seen.
    const SPREAD_SHARE_MAX: f32 = 0.06;

    #[test]
    fn keys_and_values_in_eight_bits_give_nearly_the_same_logits() {
        let families = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families");
        for name in [
            "qwen2", "qwen3", "gemma3", "phi3", "llama3", "mistral", "k4",
        ] {
            let file = families.join(format!("{name}.gguf"));
            let [floats, bytes] = [KvForm::F16, KvForm::Q8].map(|form| {
                let mut scorer = Scorer::keeping(form, &file, (1, 1 << 24)).expect("loads");
                let tokens: Vec<u32> = (0..90).map(|n| 3 + n * 7 % 50).collect();
                scorer.logits(&tokens).expect("there is room").concat()
            });
            let pairs = floats.iter().zip(&bytes);
            let worst = pairs.fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs()));
            let count = floats.len() as f32;
            let mean = floats.iter().sum::<f32>() / count;
            let square = floats.iter().map(|l| (l - mean).powi(2)).sum::<f32>() / count;
            let share = worst / square.sqrt();
            eprintln!("{name}: a logit is off by {worst}, {share} of their spread");
            assert!(share > 0.0 && share < SPREAD_SHARE_MAX, "{name}: {share}");
        }
    }
}
