//! The decoder on a device, as tensors: the same seam as [`Graph`](crate::graph::Graph), the same pages, another arithmetic.
//!
//! Weights lie on the device in the file's own form and are multiplied there without being written out. Keys and values lie in
//! one tensor for each layer, a row for each position of each page, as sixteen-bit floats. What a step needs of positions and
//! pages is worked out here and goes over as small tensors.
//!
//! **Not row-independent**: a device picks its kernels by the size of a batch, so that the last bits of a logit depend on who
//! else is in the step. The same seed may then give another text beside other work; on the processor it never does.
//!
//! - [`open`]: the device by its name, or why it cannot be had.
//! - [`known`]: known answers for every form of weights, before anything is believed.
//! - [`weights`]: a file's tensors on the device.
//! - [`attention`]: keys and values in pages, and who sees what.

mod attention;
mod known;
#[cfg(feature = "cuda")]
mod libraries;
pub(crate) mod open;
mod weights;

use crate::architecture::Architecture;
use crate::error::LoadError;
use crate::file::ModelFile;
use crate::graph::{Angles, Batch};
use crate::kernels::pages::Cache;
use crate::kernels::product::Gate;
use crate::kernels::rows::Pairing;
use attention::{Pages, View};
use candle_core::{D, Device, Module as _, Result, Tensor};
use weights::{Layer, Linear, Weights};

/// A decoder on a device.
pub(crate) struct DeviceGraph {
    device: Device,
    shape: Architecture,
    weights: Weights,
    pages: Pages,
    whole: Angles,
    /// In the layers that see a window, where positions enter in another way there.
    windowed: Option<Angles>,
    logits: Vec<f32>,
}

/// The angles of a step's rows, on the device: a row for each of them, a column for each pair.
struct Turn {
    cosines: Tensor,
    sines: Tensor,
}

/// See [`try_device`](crate::try_device).
#[cfg(feature = "device")]
pub(crate) fn try_it(device: pericard_domain::device::Device) -> std::result::Result<(), String> {
    known::check(&open::open(device)?)
}

impl DeviceGraph {
    /// Puts a model's weights on the device, and room for as many pages as `cache` has.
    pub(crate) fn load(
        device: Device,
        file: &ModelFile,
        shape: Architecture,
        (tokens, cache): (usize, &Cache),
    ) -> std::result::Result<Self, LoadError> {
        known::check(&device).map_err(LoadError::Device)?;
        let weights = Weights::read(&device, file, &shape, tokens)?;
        let pages = Pages::new(&device, &shape, cache)
            .map_err(|error| LoadError::Device(error.to_string()))?;
        let whole = Angles::new(&shape.rope, &weights.frequency_factors);
        let window = shape.window.as_ref();
        let windowed = window
            .filter(|window| window.rope != shape.rope)
            .map(|window| Angles::new(&window.rope, &[]));
        Ok(Self {
            device,
            shape,
            weights,
            pages,
            whole,
            windowed,
            logits: Vec::new(),
        })
    }

    /// The vocabulary's size.
    pub(crate) fn vocabulary(&self) -> usize {
        self.weights.tokens
    }

    /// Memory of all matrices, bytes.
    pub(crate) fn weights_bytes(&self) -> usize {
        self.weights.bytes
    }

    /// See [`Backend::empty`](crate::backend::Backend::empty).
    pub(crate) fn empty(&mut self, cache: &mut Cache) -> Result<()> {
        self.pages.empty(&cache.emptied())
    }

    /// See [`Backend::forward`](crate::backend::Backend::forward).
    pub(crate) fn forward(&mut self, cache: &mut Cache, batch: &Batch) -> Result<&[f32]> {
        self.empty(cache)?;
        let rows = batch.tokens.len();
        for angles in [&mut self.whole].into_iter().chain(&mut self.windowed) {
            angles.turn_to(&batch.segments, rows);
        }
        let whole = self.turn(&self.whole, rows)?;
        let windowed = self.windowed.as_ref();
        let windowed = windowed.map(|angles| self.turn(angles, rows)).transpose()?;
        let view = View::of(&self.device, &self.shape, batch)?;
        let tokens = Tensor::from_slice(&batch.tokens, rows, &self.device)?;
        let mut stream = self.weights.embedding.embedding(&tokens)?;
        if self.shape.embedding_scale != 1.0 {
            stream = (stream * f64::from(self.shape.embedding_scale))?;
        }
        for number in 0..self.weights.layers.len() {
            let turn = match (self.shape.window_of(number), &windowed) {
                (Some(_), Some(windowed)) => windowed,
                _ => &whole,
            };
            stream = self.attention_half(&stream, &view, turn, number)?;
            stream = self.gated_half(&stream, number)?;
        }
        self.logits = self.logits_of(&stream, batch)?;
        Ok(&self.logits)
    }

    fn turn(&self, angles: &Angles, rows: usize) -> Result<Turn> {
        let shape = (rows, 1, angles.pairs());
        Ok(Turn {
            cosines: Tensor::from_slice(angles.cosines(), shape, &self.device)?,
            sines: Tensor::from_slice(angles.sines(), shape, &self.device)?,
        })
    }

    fn attention_half(
        &self,
        stream: &Tensor,
        view: &View,
        turn: &Turn,
        number: usize,
    ) -> Result<Tensor> {
        let (shape, layer) = (&self.shape, &self.weights.layers[number]);
        let rows = stream.dim(0)?;
        let normed = rms_norm(stream, &layer.attention_norm, shape.epsilon)?;
        let heads = |linear: &Linear, heads: usize, norm: Option<&Tensor>| -> Result<Tensor> {
            let values = linear.forward(&normed)?;
            let values = values.reshape((rows, heads, shape.head_width))?;
            let values = match norm {
                Some(norm) => rms_norm(&values, norm, shape.epsilon)?,
                None => values,
            };
            rotate(&values, turn, shape.rope.pairing)
        };
        let queries = heads(&layer.query, shape.heads, layer.query_norm.as_ref())?;
        let queries = (queries * f64::from(shape.score_scale))?;
        let keys = heads(&layer.key, shape.kv_heads, layer.key_norm.as_ref())?;
        let values = layer.value.forward(&normed)?;
        self.pages.append(number, view, &keys, &values)?;
        let window = shape.window_of(number).map(|window| window.positions);
        let attended = self.pages.attend(number, view, &queries, window)?;
        let given = layer.output.forward(&attended)?;
        self.joined(stream, given, layer.attention_norm_after.as_ref())
    }

    fn gated_half(&self, stream: &Tensor, number: usize) -> Result<Tensor> {
        let layer: &Layer = &self.weights.layers[number];
        let normed = rms_norm(stream, &layer.gated_norm, self.shape.epsilon)?;
        let gate = layer.gate.forward(&normed)?;
        let gate = match self.shape.gate {
            Gate::Silu => gate.silu()?,
            Gate::Gelu => gate.gelu()?,
        };
        let hidden = (gate * layer.up.forward(&normed)?)?;
        let given = layer.down.forward(&hidden)?;
        self.joined(stream, given, layer.gated_norm_after.as_ref())
    }

    /// The stream with what a half gave, normalised once more where the family does so.
    fn joined(&self, stream: &Tensor, given: Tensor, norm: Option<&Tensor>) -> Result<Tensor> {
        let given = match norm {
            Some(norm) => rms_norm(&given, norm, self.shape.epsilon)?,
            None => given,
        };
        stream + given
    }

    fn logits_of(&self, stream: &Tensor, batch: &Batch) -> Result<Vec<f32>> {
        if batch.outputs.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<u32> = batch.outputs.iter().map(|row| *row as u32).collect();
        let rows = Tensor::new(rows, &self.device)?;
        let stream = stream.index_select(&rows, 0)?;
        let normed = rms_norm(&stream, &self.weights.last_norm, self.shape.epsilon)?;
        self.weights.head.forward(&normed)?.flatten_all()?.to_vec1()
    }
}

/// Divides rows by the root of their mean square and multiplies them by `weights`.
fn rms_norm(rows: &Tensor, weights: &Tensor, epsilon: f32) -> Result<Tensor> {
    let mean_square = rows.sqr()?.mean_keepdim(D::Minus1)?;
    let scale = (mean_square + f64::from(epsilon))?.sqrt()?.recip()?;
    rows.broadcast_mul(&scale)?.broadcast_mul(weights)
}

/// Rotates heads (row, head, value) by the angles of their rows; values beyond the angles stay.
fn rotate(heads: &Tensor, turn: &Turn, pairing: Pairing) -> Result<Tensor> {
    let (rows, count, width) = heads.dims3()?;
    let half = turn.cosines.dim(2)?;
    let rotated = heads.narrow(2, 0, 2 * half)?;
    let (x, y) = match pairing {
        Pairing::Halves => (rotated.narrow(2, 0, half)?, rotated.narrow(2, half, half)?),
        Pairing::Neighbours => {
            let pairs = rotated.contiguous()?.reshape((rows, count, half, 2))?;
            (
                pairs.narrow(3, 0, 1)?.squeeze(3)?,
                pairs.narrow(3, 1, 1)?.squeeze(3)?,
            )
        }
    };
    let Turn { cosines, sines } = turn;
    let first = (x.broadcast_mul(cosines)? - y.broadcast_mul(sines)?)?;
    let second = (x.broadcast_mul(sines)? + y.broadcast_mul(cosines)?)?;
    let turned = match pairing {
        Pairing::Halves => Tensor::cat(&[first, second], 2)?,
        Pairing::Neighbours => {
            Tensor::stack(&[first, second], 3)?.reshape((rows, count, 2 * half))?
        }
    };
    if 2 * half == width {
        return Ok(turned);
    }
    Tensor::cat(&[turned, heads.narrow(2, 2 * half, width - 2 * half)?], 2)
}

impl Linear {
    fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        let product = self.matrix.forward(&rows.contiguous()?)?;
        match &self.bias {
            Some(bias) => product.broadcast_add(bias),
            None => Ok(product),
        }
    }
}

#[cfg(test)]
mod tests;
