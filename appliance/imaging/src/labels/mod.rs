//! Labels for the tokens of a text, and what they make of it: who or what stands where.
//!
//! A long text goes through the network in windows that overlap. Of a token that stands in two of them, the one that is surer
//! counts: a name at the edge of a window is seen with too little beside it.
//!
//! The text is cut into tokens elsewhere: a tokenizer belongs to the other engine.

mod entities;
mod windows;

use crate::network::{open, read};
use crate::parameters::Parameters;
use crate::{ImagingError, Runtime};
use entities::Labels;
use ort::session::{Session, SessionInputValue};
use ort::value::{TensorElementType, TensorRef, ValueType};
use pericard_domain::device::Device;
use pericard_domain::entity::{Entity, Pieces};
use pericard_domain::model::{Package, Task};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::iter::once;
use std::path::Path;

/// The part of the package that is the network.
const NETWORK: &str = "network";
/// The part that says what the labels are called.
const CONFIG: &str = "config";
/// The input for the ids of the tokens.
const IDS: &str = "input_ids";
/// The input that says which of them count: all do.
const MASK: &str = "attention_mask";
/// The input that says to which of two texts each belongs: there is one.
const KINDS: &str = "token_type_ids";
/// The tokens that begin and end each window.
const ENDS: usize = 2;
/// A window of fewer tokens shows nothing beside a name.
const WINDOW_TOKENS_MIN: u32 = 16;

/// A loaded network of token classification.
pub struct Labeller {
    session: Session,
    inputs: Vec<String>,
    output: String,
    labels: Labels,
    /// Tokens of the text that a window has room for.
    room: usize,
    overlap: usize,
    device: Device,
}

/// `config.json`, as far as it matters here.
#[derive(Deserialize)]
struct Config {
    id2label: BTreeMap<usize, String>,
    max_position_embeddings: usize,
}

impl std::fmt::Debug for Labeller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Labeller").finish_non_exhaustive()
    }
}

impl Labeller {
    /// Loads the network of a verified package, whose manifest names the parts `network` and `config` and says under `[outputs]`
    /// what each label means.
    ///
    /// # Errors
    /// When the task is another, a part, a parameter or an output is missing, or a file is not a model that may be loaded.
    pub fn load(
        runtime: &Runtime,
        package: &Package,
        threads: usize,
    ) -> Result<Self, ImagingError> {
        let manifest = &package.manifest;
        if manifest.task != Task::TokenClassification {
            return Err(ImagingError::Task {
                task: manifest.task,
            });
        }
        let part = |part| package.part(part).ok_or(ImagingError::Part { part });
        let config = Config::read(&part(CONFIG)?)?;
        let mut parameters = Parameters::new(&manifest.parameters);
        let most = u32::try_from(config.max_position_embeddings).unwrap_or(u32::MAX);
        let window = parameters.count("window_tokens_max", WINDOW_TOKENS_MIN..=most)?;
        // Less than half a window: no token is read three times.
        let overlap = parameters.count("window_overlap_tokens", 0..=window as u32 / 2 - 2)?;
        let labels = Labels::new(&config.names()?, &manifest.outputs, &mut parameters)?;
        parameters.finish()?;
        let session = open(runtime, NETWORK, &part(NETWORK)?, threads)?;
        let (inputs, output) = ends_of(&session)?;
        Ok(Self {
            session,
            inputs,
            output,
            labels,
            room: window - ENDS,
            overlap,
            device: runtime.device(),
        })
    }

    /// What stands where in `text`, whose tokens are `read`.
    ///
    /// # Errors
    /// [`ImagingError::Engine`] when ONNX Runtime fails, [`ImagingError::Unfit`] when what it gives has another shape.
    pub fn label(&mut self, text: &str, read: &Pieces) -> Result<Vec<Entity>, ImagingError> {
        let mut scores = vec![self.labels.none(); read.pieces.len()];
        for window in windows::windows(scores.len(), self.room, self.overlap) {
            let inner = read.pieces[window.clone()].iter().map(|piece| piece.id);
            let ids = once(read.begin).chain(inner).chain(once(read.end));
            let ids: Vec<i64> = ids.map(i64::from).collect();
            let rows = self.run(&ids)?;
            let rows = rows.chunks_exact(self.labels.count()).skip(1);
            for (kept, row) in scores[window].iter_mut().zip(rows) {
                for (kept, now) in kept.iter_mut().zip(self.labels.scores(row)) {
                    *kept = kept.max(now);
                }
            }
        }
        let places = read.pieces.iter().map(|piece| piece.bytes.clone());
        let tokens: Vec<_> = places.zip(scores).collect();
        Ok(self.labels.entities(text, &tokens))
    }

    /// Where it computes.
    #[must_use]
    pub const fn device(&self) -> Device {
        self.device
    }

    /// One row of numbers for each token, one for each label, end to end.
    fn run(&mut self, ids: &[i64]) -> Result<Vec<f32>, ImagingError> {
        let failed = |e: ort::Error| ImagingError::Engine {
            doing: "run",
            part: NETWORK,
            reason: e.to_string(),
        };
        let shape = [1, ids.len()];
        let (ones, zeros) = (vec![1_i64; ids.len()], vec![0_i64; ids.len()]);
        let mut inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = Vec::new();
        for name in &self.inputs {
            let values: &[i64] = match name.as_str() {
                IDS => ids,
                MASK => &ones,
                _ => &zeros,
            };
            let tensor = TensorRef::from_array_view((&shape[..], values)).map_err(failed)?;
            inputs.push((name.as_str().into(), tensor.into()));
        }
        let outputs = self.session.run(inputs).map_err(failed)?;
        let output = outputs
            .get(&self.output)
            .ok_or_else(|| unfit("it gave no output".into()))?;
        let (shape, values) = output.try_extract_tensor::<f32>().map_err(failed)?;
        if values.len() != ids.len() * self.labels.count() {
            return Err(unfit(format!(
                "it gave {shape:?} for {} tokens and {} labels",
                ids.len(),
                self.labels.count()
            )));
        }
        Ok(values.to_vec())
    }
}

impl Config {
    fn read(path: &Path) -> Result<Self, ImagingError> {
        serde_json::from_slice(&read(path)?).map_err(|e| ImagingError::Refused {
            path: path.to_owned(),
            reason: e.to_string(),
        })
    }

    /// The labels, in the order of the network's numbers.
    fn names(self) -> Result<Vec<String>, ImagingError> {
        let are_numbered = self.id2label.keys().copied().eq(0..self.id2label.len());
        if self.id2label.is_empty() || !are_numbered {
            return Err(unfit(
                "its labels are not numbered one after another".into(),
            ));
        }
        Ok(self.id2label.into_values().collect())
    }
}

fn unfit(reason: String) -> ImagingError {
    ImagingError::Unfit {
        part: NETWORK,
        reason,
    }
}

/// What the network's inputs and its output are called.
fn ends_of(session: &Session) -> Result<(Vec<String>, String), ImagingError> {
    let mut inputs = Vec::new();
    for input in session.inputs() {
        let is_long = matches!(
            input.dtype(),
            ValueType::Tensor {
                ty: TensorElementType::Int64,
                ..
            }
        );
        if !is_long || ![IDS, MASK, KINDS].contains(&input.name()) {
            return Err(unfit(format!(
                "its input `{}` is none of {IDS}, {MASK} and {KINDS}, or not of 64-bit integers",
                input.name()
            )));
        }
        inputs.push(input.name().to_owned());
    }
    if !inputs.iter().any(|name| name == IDS) {
        return Err(unfit(format!("it has no input `{IDS}`")));
    }
    match session.outputs() {
        [output]
            if matches!(
                output.dtype(),
                ValueType::Tensor {
                    ty: TensorElementType::Float32,
                    ..
                }
            ) =>
        {
            Ok((inputs, output.name().to_owned()))
        }
        _ => Err(unfit("it has no single output of 32-bit floats".into())),
    }
}
