//! A model that marks what stands in texts: one engine cuts the text into tokens, the other says what each of them is.

use pericard_domain::device::Device;
use pericard_domain::entity::Entity;
use pericard_domain::model::{GoldenCase, Package};
use pericard_imaging::{ImagingError, Labeller, Runtime};
use pericard_language::Slicer;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::Path;

pub(super) struct Marker {
    slicer: Slicer,
    labeller: Labeller,
}

/// The input of a golden case.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Texts {
    texts: Vec<String>,
}

/// What must be marked in each of its texts; scores may be off by the case's tolerance.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Due {
    entities: Vec<Vec<Entity>>,
}

impl Marker {
    /// Of a package that names the parts `tokenizer`, `network` and `config`.
    pub(super) fn load(
        runtime: &Runtime,
        package: &Package,
        threads: usize,
    ) -> Result<Self, String> {
        let tokenizer = package
            .part("tokenizer")
            .ok_or("the manifest names no file for the part `tokenizer`")?;
        let slicer = Slicer::load(&tokenizer).map_err(|e| e.to_string())?;
        let labeller = Labeller::load(runtime, package, threads).map_err(|e| e.to_string())?;
        Ok(Self { slicer, labeller })
    }

    pub(super) fn mark(&mut self, text: &str) -> Result<Vec<Entity>, ImagingError> {
        let read = self.slicer.slice(text);
        let read = read.map_err(|reason| ImagingError::Input { reason })?;
        self.labeller.label(text, &read)
    }

    pub(super) fn golden(&mut self, case: &GoldenCase, dir: &Path) -> Result<(), String> {
        let Texts { texts } = read(&dir.join(&case.input))?;
        let Due { entities } = read(&dir.join(&case.expected))?;
        let name = &case.name;
        if texts.len() != entities.len() {
            return Err(format!("case {name:?}: not as many answers as texts"));
        }
        for (text, due) in texts.iter().zip(&entities) {
            let found = self.mark(text).map_err(|e| e.to_string())?;
            let is_same = |(found, due): (&Entity, &Entity)| {
                (&found.concept, found.start, found.end) == (&due.concept, due.start, due.end)
                    && f64::from((found.score - due.score).abs()) <= case.tolerance
            };
            // Golden texts are made up, so what is found in them may be told.
            if found.len() != due.len() || !found.iter().zip(due).all(is_same) {
                return Err(format!(
                    "case {name:?}: {found:?} in {text:?}, where {due:?} is due; the model must not serve on this machine"
                ));
            }
        }
        Ok(())
    }

    pub(super) const fn device(&self) -> Device {
        self.labeller.device()
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let malformed = |why: String| format!("golden case file {}: {why}", path.display());
    let bytes = std::fs::read(path).map_err(|e| malformed(e.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|e| malformed(e.to_string()))
}
