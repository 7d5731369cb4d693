//! What a model makes of given tokens, without scheduler and sampling: for checks against other engines.

use crate::architecture::Architecture;
use crate::error::LoadError;
use crate::file::ModelFile;
use crate::graph::{Batch, Graph};
use crate::kernels::Tier;
use crate::kernels::pages::{Cache, Segment};
use crate::kernels::pool::Pool;
use crate::weights::Weights;
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
        let file = ModelFile::open(weights)?;
        let shape = Architecture::read(&file)?;
        let tokens = file
            .tensor("token_embd.weight")
            .and_then(|tensor| tensor.dims.get(1).copied())
            .unwrap_or(0);
        let packed = Weights::read(&file, &shape, tokens)?;
        let cache = Cache::new(&shape, kv_bytes_max);
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
