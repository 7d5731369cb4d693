//! Keys and values in pages on the device, and attention over them.

use crate::architecture::Architecture;
use crate::graph::Batch;
use crate::kernels::attention::PAGE;
use crate::kernels::pages::{Cache, PageId};
use candle_core::{D, DType, Device, Result, Tensor};

/// Keys and values of all sequences: one tensor each for each layer, a row for each position of each page.
pub(super) struct Pages {
    layers: Vec<Kept>,
    device: Device,
    kv_heads: usize,
    heads: usize,
    head_width: usize,
}

struct Kept {
    keys: Tensor,
    values: Tensor,
}

/// What a batch reads and writes, worked out once for all layers.
pub(super) struct View {
    /// For each value of each row, the row of the pages that it goes to.
    places: Tensor,
    sequences: Vec<Sequence>,
}

/// The rows of one sequence.
struct Sequence {
    first_row: usize,
    rows: usize,
    position: usize,
    pages: Vec<u32>,
}

impl Pages {
    /// Empty pages, as many as the ledger of them has.
    pub(super) fn new(device: &Device, shape: &Architecture, cache: &Cache) -> Result<Self> {
        let kept = (cache.tokens(), shape.kv_heads * shape.head_width);
        let zeros = || Tensor::zeros(kept, DType::F16, device);
        let layers = (0..shape.layers).map(|_| {
            Ok(Kept {
                keys: zeros()?,
                values: zeros()?,
            })
        });
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            device: device.clone(),
            kv_heads: shape.kv_heads,
            heads: shape.heads,
            head_width: shape.head_width,
        })
    }

    /// Overwrites pages with zeros: nothing of one patient's text stays for the next.
    pub(super) fn empty(&self, pages: &[PageId]) -> Result<()> {
        let width = self.kv_heads * self.head_width;
        let Some(most) = (!pages.is_empty()).then_some(PAGE) else {
            return Ok(());
        };
        let zeros = Tensor::zeros((most, width), DType::F16, &self.device)?;
        for page in pages {
            for Kept { keys, values } in &self.layers {
                keys.slice_set(&zeros, 0, page.number() * PAGE)?;
                values.slice_set(&zeros, 0, page.number() * PAGE)?;
            }
        }
        Ok(())
    }

    /// Whether nothing is kept.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> Result<bool> {
        let mut sum = 0.0;
        for tensor in self
            .layers
            .iter()
            .flat_map(|kept| [&kept.keys, &kept.values])
        {
            sum += tensor
                .to_dtype(DType::F32)?
                .abs()?
                .sum_all()?
                .to_scalar::<f32>()?;
        }
        Ok(sum == 0.0)
    }

    /// Keeps the keys and values of a batch's rows.
    pub(super) fn append(
        &self,
        layer: usize,
        view: &View,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<()> {
        let kept = &self.layers[layer];
        for (into, from) in [(&kept.keys, keys), (&kept.values, values)] {
            let rows = from.dim(0)?;
            let from = from.reshape((rows, self.kv_heads * self.head_width))?;
            let from = from.to_dtype(DType::F16)?.contiguous()?;
            into.scatter_set(&view.places, &from, 0)?;
        }
        Ok(())
    }

    /// What each row of a batch sees: `queries` (row, head, value) are scaled already; with `window`, a position sees only so
    /// many of the latest, itself included.
    pub(super) fn attend(
        &self,
        layer: usize,
        view: &View,
        queries: &Tensor,
        window: Option<usize>,
    ) -> Result<Tensor> {
        let attended = view.sequences.iter().map(|sequence| {
            let queries = queries.narrow(0, sequence.first_row, sequence.rows)?;
            self.attend_one(layer, sequence, &queries, window)
        });
        let attended = attended.collect::<Result<Vec<_>>>()?;
        Tensor::cat(&attended, 0)
    }

    fn attend_one(
        &self,
        layer: usize,
        sequence: &Sequence,
        queries: &Tensor,
        window: Option<usize>,
    ) -> Result<Tensor> {
        let (rows, group) = (sequence.rows, self.heads / self.kv_heads);
        let end = sequence.position + rows;
        // Whole pages before what the first row sees are not read.
        let seen = window.map_or(0, |window| (sequence.position + 1).saturating_sub(window));
        let first_page = seen / PAGE;
        let begin = first_page * PAGE;
        let pages = Tensor::new(
            &sequence.pages[first_page..end.div_ceil(PAGE)],
            &self.device,
        )?;
        let kept = &self.layers[layer];
        let keys = self.gather(&kept.keys, &pages, end - begin)?;
        let values = self.gather(&kept.values, &pages, end - begin)?;
        // Heads that share keys and values lie side by side.
        let queries = queries
            .reshape((rows, self.kv_heads, group, self.head_width))?
            .permute((1, 2, 0, 3))?
            .contiguous()?
            .reshape((self.kv_heads, group * rows, self.head_width))?;
        let scores = queries.matmul(&keys.t()?.contiguous()?)?;
        let scores = match mask(sequence, (begin, end), window) {
            None => scores,
            Some(mask) => {
                let mask = Tensor::from_vec(mask, (1, 1, rows, end - begin), &self.device)?;
                let apart = (self.kv_heads, group, rows, end - begin);
                let masked = scores.reshape(apart)?.broadcast_add(&mask)?;
                masked.reshape((self.kv_heads, group * rows, end - begin))?
            }
        };
        softmax(&scores)?
            .matmul(&values)?
            .reshape((self.kv_heads, group, rows, self.head_width))?
            .permute((2, 0, 1, 3))?
            .contiguous()?
            .reshape((rows, self.heads * self.head_width))
    }

    /// The first `positions` of these pages: (head, position, value), 32-bit floats.
    fn gather(&self, kept: &Tensor, pages: &Tensor, positions: usize) -> Result<Tensor> {
        let (count, width) = (pages.dim(0)?, self.kv_heads * self.head_width);
        let all = kept.dim(0)? / PAGE;
        kept.reshape((all, PAGE * width))?
            .index_select(pages, 0)?
            .reshape((count * PAGE, self.kv_heads, self.head_width))?
            .narrow(0, 0, positions)?
            .transpose(0, 1)?
            .to_dtype(DType::F32)?
            .contiguous()
    }
}

impl View {
    pub(super) fn of(device: &Device, shape: &Architecture, batch: &Batch) -> Result<Self> {
        let width = shape.kv_heads * shape.head_width;
        let mut places = Vec::with_capacity(batch.tokens.len() * width);
        for segment in &batch.segments {
            for row in 0..segment.rows {
                let position = segment.position + row;
                let page = segment.pages[position / PAGE].number();
                let place = (page * PAGE + position % PAGE) as u32; // pages and positions are u32
                places.extend(std::iter::repeat_n(place, width));
            }
        }
        let sequences = batch.segments.iter().map(|segment| Sequence {
            first_row: segment.first_row,
            rows: segment.rows,
            position: segment.position,
            pages: segment.pages.iter().map(|p| p.number() as u32).collect(),
        });
        Ok(Self {
            places: Tensor::from_vec(places, (batch.tokens.len(), width), device)?,
            sequences: sequences.collect(),
        })
    }
}

/// What keeps rows from what they do not see: added to the scores of the positions from `begin` to `end`. `None` when every
/// row sees all of them.
fn mask(
    sequence: &Sequence,
    (begin, end): (usize, usize),
    window: Option<usize>,
) -> Option<Vec<f32>> {
    let hidden = |row: usize, at: usize| {
        let position = sequence.position + row;
        at > position || window.is_some_and(|window| at + window <= position)
    };
    if sequence.rows == 1 && !hidden(0, begin) {
        return None;
    }
    let rows = 0..sequence.rows;
    let values = rows.flat_map(|row| {
        (begin..end).map(move |at| {
            if hidden(row, at) {
                f32::NEG_INFINITY
            } else {
                0.0
            }
        })
    });
    Some(values.collect())
}

fn softmax(scores: &Tensor) -> Result<Tensor> {
    let peak = scores.max_keepdim(D::Minus1)?;
    let powers = scores.broadcast_sub(&peak)?.exp()?;
    let sum = powers.sum_keepdim(D::Minus1)?;
    powers.broadcast_div(&sum)
}
