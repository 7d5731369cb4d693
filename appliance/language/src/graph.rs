//! The decoder: tokens of several sequences in, logits of some of them out, all in one pass over the weights.

use crate::architecture::{Architecture, Rope};
use crate::kernels::Tier;
use crate::kernels::activation::Activations;
use crate::kernels::attention::{Attention, attend_all};
use crate::kernels::pages::{Cache, Segment};
use crate::kernels::pool::Pool;
use crate::kernels::product::{self, Target};
use crate::kernels::rows::{add, rms_norm, rms_norm_in_place, rotate};
use crate::weights::{Layer, Linear, Weights};

/// Rows that one thread normalises or rotates at a time.
const ROWS_OF_PIECE: usize = 8;

/// What one step computes.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// A token for every row.
    pub(crate) tokens: Vec<u32>,
    /// Which rows belong to which sequence, in order and without gaps.
    pub(crate) segments: Vec<Segment>,
    /// The rows whose logits are wanted.
    pub(crate) outputs: Vec<usize>,
}

/// A decoder with its weights, its threads and its buffers.
pub(crate) struct Graph {
    shape: Architecture,
    weights: Weights,
    pool: Pool,
    tier: Tier,
    whole: Angles,
    /// In the layers that see a window, where positions enter in another way there.
    windowed: Option<Angles>,
    buffers: Buffers,
}

/// By what angles the rows of a batch are rotated.
pub(crate) struct Angles {
    /// By what a position is multiplied to give each pair's angle.
    frequencies: Vec<f32>,
    magnitude: f32,
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

/// Everything a step writes; it only grows, up to the largest step.
#[derive(Default)]
struct Buffers {
    stream: Vec<f32>,
    normed: Vec<f32>,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    attended: Vec<f32>,
    hidden: Vec<f32>,
    /// What a half gives before it is normalised once more.
    half: Vec<f32>,
    logits: Vec<f32>,
    narrow: Activations,
    wide: Activations,
    heads: Activations,
}

impl Graph {
    pub(crate) fn new(shape: Architecture, weights: Weights, pool: Pool, tier: Tier) -> Self {
        let whole = Angles::new(&shape.rope, &weights.frequency_factors);
        let window = shape.window.as_ref();
        let windowed = window
            .filter(|window| window.rope != shape.rope)
            .map(|window| Angles::new(&window.rope, &[]));
        Self {
            shape,
            weights,
            pool,
            tier,
            whole,
            windowed,
            buffers: Buffers::default(),
        }
    }

    /// Makes room for so many rows and outputs at once, so that no step has to: buffers that grow leave holes behind, and
    /// what is not written takes no memory.
    pub(crate) fn with_room(mut self, rows: usize, outputs: usize) -> Self {
        let vocabulary = self.vocabulary();
        self.buffers.reserve(&self.shape, rows);
        self.buffers.logits.reserve_exact(outputs * vocabulary);
        for angles in [&mut self.whole].into_iter().chain(&mut self.windowed) {
            angles.reserve(rows);
        }
        self
    }

    /// Takes a batch through the decoder: its keys and values go into the cache, and the logits of its outputs come
    /// back, a row of the vocabulary's size for each.
    pub(crate) fn forward(&mut self, cache: &mut Cache, batch: &Batch) -> &[f32] {
        let rows = batch.tokens.len();
        self.begin(batch, rows);
        for number in 0..self.weights.layers.len() {
            self.attention_half(cache, batch, number);
            self.gated_half(number, rows);
        }
        self.logits(batch)
    }

    /// The vocabulary's size.
    pub(crate) fn vocabulary(&self) -> usize {
        self.weights.head().outputs
    }

    fn begin(&mut self, batch: &Batch, rows: usize) {
        let Self {
            shape,
            weights,
            buffers,
            whole,
            windowed,
            ..
        } = self;
        buffers.shape(shape, rows);
        for (token, row) in batch
            .tokens
            .iter()
            .zip(buffers.stream.chunks_exact_mut(shape.width))
        {
            weights.embedding.row(*token as usize, row);
            if shape.embedding_scale != 1.0 {
                row.iter_mut()
                    .for_each(|value| *value *= shape.embedding_scale);
            }
        }
        for angles in [whole].into_iter().chain(windowed) {
            angles.turn_to(&batch.segments, rows);
        }
    }

    fn attention_half(&mut self, cache: &mut Cache, batch: &Batch, number: usize) {
        let Self {
            shape,
            weights,
            pool,
            tier,
            whole,
            windowed,
            buffers,
        } = self;
        let layer = &weights.layers[number];
        buffers.norm(pool, &layer.attention_norm, shape.epsilon);
        buffers.narrow.quantise(pool, *tier, &buffers.normed);
        let Buffers {
            queries,
            keys,
            values,
            narrow,
            ..
        } = buffers;
        let targets = [
            Target {
                weights: &layer.query.matrix,
                out: queries,
            },
            Target {
                weights: &layer.key.matrix,
                out: keys,
            },
            Target {
                weights: &layer.value.matrix,
                out: values,
            },
        ];
        product::store(pool, *tier, narrow, targets);
        let window = shape.window_of(number);
        let angles = match (window, &*windowed) {
            (Some(_), Some(windowed)) => windowed,
            _ => &*whole,
        };
        buffers.turn(pool, shape, layer, angles);
        cache.append(
            pool,
            number,
            &batch.segments,
            &buffers.keys,
            &buffers.values,
        );
        let attention = Attention {
            cache,
            segments: &batch.segments,
            layer: number,
            heads: shape.heads,
            kv_heads: shape.kv_heads,
            width: shape.head_width,
            window: window.map_or(usize::MAX, |window| window.positions),
        };
        attend_all(
            pool,
            *tier,
            &attention,
            &buffers.queries,
            &mut buffers.attended,
        );
        buffers.heads.quantise(pool, *tier, &buffers.attended);
        let Buffers { heads, .. } = buffers;
        let into = match &layer.attention_norm_after {
            Some(_) => &mut buffers.half,
            None => &mut buffers.stream,
        };
        let target = Target {
            weights: &layer.output.matrix,
            out: into,
        };
        product::add(pool, *tier, heads, target);
        add_bias(&layer.output, into);
        buffers.join(layer.attention_norm_after.as_deref(), shape.epsilon);
    }

    fn gated_half(&mut self, number: usize, rows: usize) {
        let Self {
            shape,
            weights,
            pool,
            tier,
            buffers,
            ..
        } = self;
        let layer = &weights.layers[number];
        buffers.norm(pool, &layer.gated_norm, shape.epsilon);
        buffers.narrow.quantise(pool, *tier, &buffers.normed);
        debug_assert_eq!(buffers.hidden.len(), rows * shape.hidden);
        let up = Target {
            weights: &layer.up,
            out: &mut buffers.hidden,
        };
        product::gated(pool, *tier, &buffers.narrow, (shape.gate, &layer.gate), up);
        buffers.wide.quantise(pool, *tier, &buffers.hidden);
        let down = Target {
            weights: &layer.down,
            out: match &layer.gated_norm_after {
                Some(_) => &mut buffers.half,
                None => &mut buffers.stream,
            },
        };
        product::add(pool, *tier, &buffers.wide, down);
        buffers.join(layer.gated_norm_after.as_deref(), shape.epsilon);
    }

    fn logits(&mut self, batch: &Batch) -> &[f32] {
        let Self {
            shape,
            weights,
            pool,
            tier,
            buffers,
            ..
        } = self;
        let (count, head) = (batch.outputs.len(), weights.head());
        buffers.normed.resize(count * shape.width, 0.0);
        for (row, into) in batch
            .outputs
            .iter()
            .zip(buffers.normed.chunks_exact_mut(shape.width))
        {
            let row = &buffers.stream[row * shape.width..][..shape.width];
            rms_norm(row, &weights.last_norm, shape.epsilon, into);
        }
        buffers.logits.resize(count * head.outputs, 0.0);
        if count > 0 {
            buffers.narrow.shape(count, shape.width);
            buffers.narrow.quantise(pool, *tier, &buffers.normed);
            let targets = [Target {
                weights: head,
                out: &mut buffers.logits,
            }];
            product::store(pool, *tier, &buffers.narrow, targets);
        }
        &buffers.logits
    }
}

impl Buffers {
    fn shape(&mut self, shape: &Architecture, rows: usize) {
        self.half.clear();
        for (buffer, width) in self.floats(shape) {
            buffer.resize(rows * width, 0.0);
        }
        for (activations, width) in self.activations(shape) {
            activations.shape(rows, width);
        }
    }

    fn reserve(&mut self, shape: &Architecture, rows: usize) {
        for (buffer, width) in self.floats(shape) {
            buffer.reserve_exact(rows * width);
        }
        for (activations, width) in self.activations(shape) {
            activations.reserve(rows, width);
        }
    }

    /// Each with the values of a row.
    fn floats(&mut self, shape: &Architecture) -> [(&mut Vec<f32>, usize); 8] {
        let (queries, pairs) = (
            shape.heads * shape.head_width,
            shape.kv_heads * shape.head_width,
        );
        let half = if shape.norms_after { shape.width } else { 0 };
        [
            (&mut self.stream, shape.width),
            (&mut self.normed, shape.width),
            (&mut self.queries, queries),
            (&mut self.keys, pairs),
            (&mut self.values, pairs),
            (&mut self.attended, queries),
            (&mut self.hidden, shape.hidden),
            (&mut self.half, half),
        ]
    }

    /// Each with the values of a row.
    fn activations(&mut self, shape: &Architecture) -> [(&mut Activations, usize); 3] {
        [
            (&mut self.narrow, shape.width),
            (&mut self.wide, shape.hidden),
            (&mut self.heads, shape.heads * shape.head_width),
        ]
    }

    fn norm(&mut self, pool: &mut Pool, weights: &[f32], epsilon: f32) {
        let (width, stream) = (weights.len(), &self.stream);
        pool.pieces(&mut self.normed, width * ROWS_OF_PIECE, |number, piece| {
            let from = &stream[number * width * ROWS_OF_PIECE..];
            for (row, into) in from.chunks_exact(width).zip(piece.chunks_exact_mut(width)) {
                rms_norm(row, weights, epsilon, into);
            }
        });
    }

    /// Adds what a half gave to the stream, where its norm kept it apart, and empties it for the next half.
    fn join(&mut self, norm: Option<&[f32]>, epsilon: f32) {
        let Some(norm) = norm else { return };
        let (streams, halves) = (&mut self.stream, &mut self.half);
        let width = norm.len();
        for (row, half) in streams
            .chunks_exact_mut(width)
            .zip(halves.chunks_exact_mut(width))
        {
            rms_norm_in_place(half, norm, epsilon);
            add(row, half);
        }
        halves.fill(0.0);
    }

    /// Biases, head norms and rotation of queries and keys; the scale of the scores goes into the queries.
    fn turn(&mut self, pool: &mut Pool, shape: &Architecture, layer: &Layer, angles: &Angles) {
        add_bias(&layer.query, &mut self.queries);
        add_bias(&layer.key, &mut self.keys);
        add_bias(&layer.value, &mut self.values);
        let (cosines, sines) = (&angles.cosines, &angles.sines);
        let half = angles.frequencies.len();
        let mut turn = |buffer: &mut [f32], heads: usize, norm: Option<&Vec<f32>>, scale: f32| {
            let width = heads * shape.head_width;
            pool.pieces(buffer, width * ROWS_OF_PIECE, |number, piece| {
                for (row, values) in piece.chunks_exact_mut(width).enumerate() {
                    let at = (number * ROWS_OF_PIECE + row) * half;
                    for head in values.chunks_exact_mut(shape.head_width) {
                        if let Some(norm) = norm {
                            rms_norm_in_place(head, norm, shape.epsilon);
                        }
                        rotate(
                            head,
                            &cosines[at..at + half],
                            &sines[at..at + half],
                            shape.rope.pairing,
                        );
                        head.iter_mut().for_each(|value| *value *= scale);
                    }
                }
            });
        };
        turn(
            &mut self.queries,
            shape.heads,
            layer.query_norm.as_ref(),
            shape.score_scale,
        );
        turn(&mut self.keys, shape.kv_heads, layer.key_norm.as_ref(), 1.0);
    }
}

fn add_bias(linear: &Linear, rows: &mut [f32]) {
    if let Some(bias) = &linear.bias {
        rows.chunks_exact_mut(bias.len())
            .for_each(|row| add(row, bias));
    }
}

impl Angles {
    pub(crate) fn new(rope: &Rope, factors: &[f32]) -> Self {
        let step = rope.base.powf(-2.0 / rope.dims as f32);
        let mut frequency = 1.0 / rope.stretch;
        let frequencies = (0..rope.dims / 2).map(|i| {
            let own = frequency / factors.get(i).copied().unwrap_or(1.0);
            frequency *= step;
            own
        });
        Self {
            frequencies: frequencies.collect(),
            magnitude: rope.magnitude,
            cosines: Vec::new(),
            sines: Vec::new(),
        }
    }

    /// How many pairs of a head are rotated.
    #[cfg(any(test, feature = "device"))]
    pub(crate) fn pairs(&self) -> usize {
        self.frequencies.len()
    }

    /// Of the batch that was taken last, a row of pairs for each of its rows.
    #[cfg(any(test, feature = "device"))]
    pub(crate) fn cosines(&self) -> &[f32] {
        &self.cosines
    }

    /// See [`Self::cosines`].
    #[cfg(any(test, feature = "device"))]
    pub(crate) fn sines(&self) -> &[f32] {
        &self.sines
    }

    fn reserve(&mut self, rows: usize) {
        let half = self.frequencies.len();
        self.cosines.reserve_exact(rows * half);
        self.sines.reserve_exact(rows * half);
    }

    /// Takes the positions of a batch.
    pub(crate) fn turn_to(&mut self, segments: &[Segment], rows: usize) {
        let half = self.frequencies.len();
        self.cosines.resize(rows * half, 0.0);
        self.sines.resize(rows * half, 0.0);
        for segment in segments {
            for row in 0..segment.rows {
                let at = (segment.first_row + row) * half;
                let position = (segment.position + row) as f32;
                for (i, frequency) in self.frequencies.iter().enumerate() {
                    let (sine, cosine) = (position * frequency).sin_cos();
                    self.sines[at + i] = sine * self.magnitude;
                    self.cosines[at + i] = cosine * self.magnitude;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::ModelFile;
    use crate::kernels::allocations;
    use crate::package;
    use pericard_domain::device::KvForm;
    use serde::Deserialize;
    use std::path::Path;

    #[derive(Deserialize)]
    struct Case {
        prompt_ids: Vec<u32>,
        exact: Answer,
    }

    #[derive(Deserialize)]
    struct Answer {
        first_logits: Vec<(u32, f32)>,
    }

    #[test]
    fn logits_are_those_of_the_weights_in_the_file() {
        let Some(weights) = package::weights() else {
            return;
        };
        let file = ModelFile::open(&weights).expect("opens");
        let shape = Architecture::read(&file).expect("a known architecture");
        let weights = Weights::read(&file, &shape, 49_152).expect("the weights");
        let mut cache = Cache::new(&shape, 1 << 26, KvForm::F16);
        let mut graph = Graph::new(
            shape,
            weights,
            Pool::new(2).expect("threads"),
            Tier::detect(),
        );
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/greedy.json");
        let cases: Vec<Case> =
            serde_json::from_slice(&std::fs::read(golden).expect("golden")).expect("its form");
        let (mut worst, mut divergence) = (0.0_f32, 0.0_f32);
        for case in &cases {
            let rows = case.prompt_ids.len();
            let pages: Vec<_> = (0..Cache::pages_for(rows))
                .map_while(|_| cache.take())
                .collect();
            let batch = Batch {
                tokens: case.prompt_ids.clone(),
                segments: vec![Segment {
                    first_row: 0,
                    rows,
                    position: 0,
                    pages: pages.clone(),
                }],
                outputs: vec![rows - 1],
            };
            let logits = graph.forward(&mut cache, &batch);
            let exact: Vec<f32> = case
                .exact
                .first_logits
                .iter()
                .map(|(_, logit)| *logit)
                .collect();
            let ours: Vec<f32> = case
                .exact
                .first_logits
                .iter()
                .map(|(id, _)| logits[*id as usize])
                .collect();
            worst = exact
                .iter()
                .zip(&ours)
                .fold(worst, |worst, (a, b)| worst.max((a - b).abs()));
            divergence += kullback_leibler(&exact, &ours) / cases.len() as f32;
            cache.give(pages);
        }
        eprintln!("the largest difference of a logit is {worst}, the mean divergence {divergence}");
        assert!(worst < 0.05, "a logit is off by {worst}");
        assert!(divergence < 1e-5, "the mean divergence is {divergence}");
    }

    #[test]
    fn a_step_allocates_nothing() {
        let Some(weights) = package::weights() else {
            return;
        };
        let file = ModelFile::open(&weights).expect("opens");
        let shape = Architecture::read(&file).expect("a known architecture");
        let weights = Weights::read(&file, &shape, 49_152).expect("the weights");
        let mut cache = Cache::new(&shape, 1 << 26, KvForm::F16);
        let pool = Pool::new(1).expect("no threads");
        let mut graph = Graph::new(shape, weights, pool, Tier::detect()).with_room(40, 2);
        let pages: Vec<_> = (0..2).map_while(|_| cache.take()).collect();
        let batch = |rows: usize, position: usize| Batch {
            tokens: (100..).take(rows).collect(),
            segments: vec![Segment {
                first_row: 0,
                rows,
                position,
                pages: pages.clone(),
            }],
            outputs: vec![rows - 1],
        };
        for next in [batch(1, 0), batch(40, 1), batch(3, 41), batch(20, 44)] {
            let count = allocations::of(|| {
                graph.forward(&mut cache, &next);
            });
            assert_eq!(count, 0, "a step of {} rows allocates", next.tokens.len());
        }
    }

    /// Of the distributions over the kept tokens.
    fn kullback_leibler(of: &[f32], from: &[f32]) -> f32 {
        let normal = |logits: &[f32]| {
            let peak = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let total: f32 = logits.iter().map(|logit| (logit - peak).exp()).sum();
            logits
                .iter()
                .map(|logit| logit - peak - total.ln())
                .collect::<Vec<f32>>()
        };
        normal(of)
            .iter()
            .zip(normal(from))
            .map(|(p, q)| p.exp() * (p - q))
            .sum()
    }
}
