//! Attention over pages, fused: scores, softmax and weighted sum in one pass over the keys and values.
//!
//! A page keeps [`PAGE`] positions of one key/value head in sixteen-bit floats: the keys transposed (`[d][position]`),
//! so that the scores of neighbouring positions are computed side by side; the values as they come (`[position][d]`),
//! so that the sum is. Where they are kept in eight bits (`pages.rs`), each block of a position is summed before its scale is
//! taken to it. The softmax is kept running from page to page; a query's arithmetic depends on its own
//! position alone, so several queries may share one pass.

#![allow(clippy::needless_range_loop)] // parallel arrays of registers, unrolled: indices say what belongs together

use super::Tier;
#[cfg(target_arch = "aarch64")]
use super::lanes::Neon;
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{Lanes, Plain, exp};
use super::pages::{BLOCK, Cache, Segment, bytes_of};
use super::pool::{Disjoint, Pool};
use pericard_domain::device::KvForm;

/// Positions in a page.
pub(crate) const PAGE: usize = 32;
/// The widest head.
pub(crate) const MAX_HEAD_WIDTH: usize = 256;
/// Queries that share one pass.
pub(crate) const MAX_QUERIES: usize = 8;

/// Rows of a prompt that one thread computes together: with the heads that share keys they fill a few passes.
const ROWS: usize = 8;

/// Attention of every row of a batch in one layer. `queries` and `out` have a row of `heads * width` values each; the
/// queries are already scaled.
pub(crate) fn attend_all(
    pool: &mut Pool,
    tier: Tier,
    batch: &Attention<'_>,
    queries: &[f32],
    out: &mut [f32],
) {
    assert_eq!(queries.len(), out.len(), "a result for every query");
    let tiles: usize = batch
        .segments
        .iter()
        .map(|segment| segment.rows.div_ceil(ROWS))
        .sum();
    let out = Disjoint(out.as_mut_ptr());
    pool.run(tiles * batch.kv_heads, &|item| {
        let (segment, first, rows) = locate(batch.segments, item / batch.kv_heads);
        batch.tile(
            tier,
            segment,
            first..first + rows,
            item % batch.kv_heads,
            (queries, out),
        );
    });
}

/// What the rows of a batch attend to.
pub(crate) struct Attention<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) segments: &'a [Segment],
    pub(crate) layer: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) width: usize,
    /// A position sees itself and those before it, together so many.
    pub(crate) window: usize,
}

impl Attention<'_> {
    fn tile(
        &self,
        tier: Tier,
        segment: &Segment,
        rows: std::ops::Range<usize>,
        kv_head: usize,
        (queries, out): (&[f32], Disjoint<f32>),
    ) {
        let group = self.heads / self.kv_heads;
        let page = |number: usize| self.cache.view(segment.pages[number], self.layer, kv_head);
        let items = rows.start * group..rows.end * group;
        for first in items.clone().step_by(MAX_QUERIES) {
            let count = MAX_QUERIES.min(items.end - first);
            let mut list: [Query<'_>; MAX_QUERIES] = std::array::from_fn(|i| {
                let item = first + i.min(count - 1) * usize::from(i < count);
                let row = item / group;
                let start =
                    ((segment.first_row + row) * self.heads + kv_head * group + item % group)
                        * self.width;
                // SAFETY: a row and a head belong to one item of one tile; what lies beyond `count` gets an empty part.
                let out = unsafe { out.range(start, if i < count { self.width } else { 0 }) };
                Query {
                    values: &queries[start..start + self.width],
                    position: segment.position + row,
                    first: (segment.position + row + 1).saturating_sub(self.window),
                    out,
                }
            });
            attend((tier, self.cache.form()), &mut list[..count], &page);
        }
    }
}

/// The segment and its rows that a tile stands for.
fn locate(segments: &[Segment], mut tile: usize) -> (&Segment, usize, usize) {
    for segment in segments {
        let tiles = segment.rows.div_ceil(ROWS);
        if tile < tiles {
            let first = tile * ROWS;
            return (segment, first, ROWS.min(segment.rows - first));
        }
        tile -= tiles;
    }
    unreachable!("tiles are counted from the segments")
}

/// One query: its values (already scaled), its position, what it sees, and where its result goes.
pub(crate) struct Query<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) position: usize,
    /// The first position that it sees.
    pub(crate) first: usize,
    pub(crate) out: &'a mut [f32],
}

/// Keys and values of one page and head, half of its words each.
#[derive(Clone, Copy)]
pub(crate) struct PageView<'a> {
    pub(crate) keys: &'a [u16],
    pub(crate) values: &'a [u16],
}

/// Computes up to [`MAX_QUERIES`] queries of one sequence and key/value head. `page` gives the pages in order.
pub(crate) fn attend<'p>(
    on: (Tier, KvForm),
    queries: &mut [Query<'_>],
    page: &dyn Fn(usize) -> PageView<'p>,
) {
    let width = queries.first().map_or(0, |query| query.values.len());
    assert!(
        width <= MAX_HEAD_WIDTH && width.is_multiple_of(16),
        "the architecture was checked"
    );
    match queries.len() {
        0 => {}
        1 => on_tier::<1>(on, queries, page),
        2 => on_tier::<2>(on, queries, page),
        3 => on_tier::<3>(on, queries, page),
        4 => on_tier::<4>(on, queries, page),
        5 => on_tier::<5>(on, queries, page),
        6 => on_tier::<6>(on, queries, page),
        7 => on_tier::<7>(on, queries, page),
        8 => on_tier::<8>(on, queries, page),
        _ => {
            let (first, rest) = queries.split_at_mut(MAX_QUERIES);
            attend(on, first, page);
            attend(on, rest, page);
        }
    }
}

fn on_tier<'p, const R: usize>(
    (tier, form): (Tier, KvForm),
    queries: &mut [Query<'_>],
    page: &dyn Fn(usize) -> PageView<'p>,
) {
    match form {
        KvForm::F16 => in_form::<R, false>(tier, queries, page),
        KvForm::Q8 => in_form::<R, true>(tier, queries, page),
    }
}

fn in_form<'p, const R: usize, const Q8: bool>(
    tier: Tier,
    queries: &mut [Query<'_>],
    page: &dyn Fn(usize) -> PageView<'p>,
) {
    match tier {
        // SAFETY: `Tier::detect` found the instructions.
        #[cfg(target_arch = "x86_64")]
        Tier::Amx | Tier::Avx512 => unsafe { avx512::<R, Q8>(queries, page) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => unsafe { avx2::<R, Q8>(queries, page) },
        #[cfg(target_arch = "aarch64")]
        Tier::NeonDot | Tier::Neon => some::<Neon, R, Q8>(queries, page),
        _ => some::<Plain, R, Q8>(queries, page),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
unsafe fn avx512<'p, const R: usize, const Q8: bool>(
    queries: &mut [Query<'_>],
    page: &dyn Fn(usize) -> PageView<'p>,
) {
    some::<Avx512, R, Q8>(queries, page);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2<'p, const R: usize, const Q8: bool>(
    queries: &mut [Query<'_>],
    page: &dyn Fn(usize) -> PageView<'p>,
) {
    some::<Avx2, R, Q8>(queries, page);
}

/// The scores of a page's positions.
type Scores = [f32; PAGE];

#[inline(always)]
fn some<'p, L: Lanes, const R: usize, const Q8: bool>(
    queries: &mut [Query<'_>],
    page: &dyn Fn(usize) -> PageView<'p>,
) {
    let width = queries[0].values.len();
    let last = queries
        .iter()
        .map(|query| query.position)
        .max()
        .unwrap_or(0);
    let first = queries.iter().map(|query| query.first).min().unwrap_or(0);
    let mut sums = [[0.0_f32; MAX_HEAD_WIDTH]; R];
    let mut peaks = [f32::NEG_INFINITY; R];
    let mut totals = [[0.0_f32; 16]; R];
    let mut scores = [[0.0; PAGE]; R];
    for number in first / PAGE..=last / PAGE {
        let view = page(number);
        match Q8 {
            true => score_bytes::<L, R>(queries, &view, width, &mut scores),
            false => score::<L, R>(queries, &view, width, &mut scores),
        }
        let mut fades = [1.0; R];
        for r in 0..R {
            if !mask(&mut scores[r], number * PAGE, &queries[r]) {
                continue; // a page of its neighbours only: it adds exact zeros, so neighbours change nothing
            }
            fades[r] = soften::<L>(&mut scores[r], &mut peaks[r], &mut totals[r]);
        }
        match Q8 {
            true => weigh_bytes::<L, R>(&scores, &fades, &view, &mut sums, width),
            false => weigh::<L, R>(&scores, &fades, &view, &mut sums, width),
        }
    }
    for (r, query) in queries.iter_mut().enumerate() {
        let share = 1.0 / L::load(&totals[r]).sum();
        query
            .out
            .iter_mut()
            .zip(&sums[r])
            .for_each(|(out, sum)| *out = sum * share);
    }
}

#[inline(always)]
fn score<L: Lanes, const R: usize>(
    queries: &[Query<'_>],
    view: &PageView<'_>,
    width: usize,
    scores: &mut [Scores; R],
) {
    let mut values = [queries[0].values; R];
    for r in 0..R {
        values[r] = &queries[r].values[..width];
    }
    let (mut low, mut high) = ([L::splat(0.0); R], [L::splat(0.0); R]);
    for (d, keys) in view.keys.chunks_exact(PAGE).enumerate().take(width) {
        let (keys_low, keys_high) = (L::widen(lane(keys, 0)), L::widen(lane(keys, 16)));
        for r in 0..R {
            let value = L::splat(values[r][d]);
            low[r] = value.fma(keys_low, low[r]);
            high[r] = value.fma(keys_high, high[r]);
        }
    }
    for r in 0..R {
        low[r].store(lane_mut(&mut scores[r], 0));
        high[r].store(lane_mut(&mut scores[r], 16));
    }
}

/// As [`score`], of eight-bit keys: what a block gives is multiplied by its scale, position by position.
#[inline(always)]
fn score_bytes<L: Lanes, const R: usize>(
    queries: &[Query<'_>],
    view: &PageView<'_>,
    width: usize,
    scores: &mut [Scores; R],
) {
    let (bytes, scales) = view.keys.split_at(width * PAGE / 2);
    let (mut low, mut high) = ([L::splat(0.0); R], [L::splat(0.0); R]);
    let blocks = bytes_of(bytes).chunks(BLOCK * PAGE);
    for (block, (keys, scales)) in blocks.zip(scales.chunks_exact(PAGE)).enumerate() {
        let (mut block_low, mut block_high) = ([L::splat(0.0); R], [L::splat(0.0); R]);
        for (d, keys) in keys.chunks_exact(PAGE).enumerate() {
            let (keys_low, keys_high) = (L::signed(lane(keys, 0)), L::signed(lane(keys, 16)));
            for r in 0..R {
                let value = L::splat(queries[r].values[block * BLOCK + d]);
                block_low[r] = value.fma(keys_low, block_low[r]);
                block_high[r] = value.fma(keys_high, block_high[r]);
            }
        }
        let (scales_low, scales_high) = (L::widen(lane(scales, 0)), L::widen(lane(scales, 16)));
        for r in 0..R {
            low[r] = block_low[r].fma(scales_low, low[r]);
            high[r] = block_high[r].fma(scales_high, high[r]);
        }
    }
    for r in 0..R {
        low[r].store(lane_mut(&mut scores[r], 0));
        high[r].store(lane_mut(&mut scores[r], 16));
    }
}

/// Hides the positions that the query does not see. Whether any is left; if not, the scores are zero weights.
#[inline(always)]
fn mask(scores: &mut Scores, page: usize, query: &Query<'_>) -> bool {
    let end = (query.position + 1).saturating_sub(page).min(PAGE);
    let start = query.first.saturating_sub(page).min(PAGE);
    if start >= end {
        scores.fill(0.0);
        return false;
    }
    scores[end..].fill(f32::NEG_INFINITY);
    scores[..start].fill(f32::NEG_INFINITY);
    true
}

/// Turns scores into weights relative to the highest score so far; returns by how much what was summed before fades.
#[inline(always)]
fn soften<L: Lanes>(scores: &mut Scores, peak: &mut f32, totals: &mut [f32; 16]) -> f32 {
    let (low, high) = (L::load(lane(scores, 0)), L::load(lane(scores, 16)));
    let higher = peak.max(low.max(high).largest());
    let fade = exp::<L>(*peak - higher);
    *peak = higher;
    let low = low.sub(L::splat(higher)).exp();
    let high = high.sub(L::splat(higher)).exp();
    low.store(lane_mut(scores, 0));
    high.store(lane_mut(scores, 16));
    L::load(totals)
        .fma(L::splat(fade), low.add(high))
        .store(totals);
    fade
}

#[inline(always)]
fn weigh<L: Lanes, const R: usize>(
    scores: &[Scores; R],
    fades: &[f32; R],
    view: &PageView<'_>,
    sums: &mut [[f32; MAX_HEAD_WIDTH]; R],
    width: usize,
) {
    for d in (0..width).step_by(16) {
        let mut lanes = [L::splat(0.0); R];
        for r in 0..R {
            lanes[r] = L::load(lane(&sums[r], d)).mul(L::splat(fades[r]));
        }
        for (position, values) in view.values.chunks_exact(width).enumerate().take(PAGE) {
            let values = L::widen(lane(values, d));
            for r in 0..R {
                lanes[r] = L::splat(scores[r][position]).fma(values, lanes[r]);
            }
        }
        for r in 0..R {
            lanes[r].store(lane_mut(&mut sums[r], d));
        }
    }
}

/// As [`weigh`], of eight-bit values: a position's weight is multiplied by the scale of its block.
#[inline(always)]
fn weigh_bytes<L: Lanes, const R: usize>(
    scores: &[Scores; R],
    fades: &[f32; R],
    view: &PageView<'_>,
    sums: &mut [[f32; MAX_HEAD_WIDTH]; R],
    width: usize,
) {
    let (bytes, scales) = view.values.split_at(width * PAGE / 2);
    let bytes = bytes_of(bytes);
    let blocks = width.div_ceil(BLOCK);
    let mut worth = [0.0; PAGE];
    for d in (0..width).step_by(16) {
        if d % BLOCK == 0 {
            worths::<L>(scales, (d / BLOCK, blocks), &mut worth);
        }
        let mut lanes = [L::splat(0.0); R];
        for r in 0..R {
            lanes[r] = L::load(lane(&sums[r], d)).mul(L::splat(fades[r]));
        }
        for (position, values) in bytes.chunks_exact(width).enumerate() {
            let values = L::signed(lane(values, d));
            for r in 0..R {
                let weight = L::splat(scores[r][position] * worth[position]);
                lanes[r] = weight.fma(values, lanes[r]);
            }
        }
        for r in 0..R {
            lanes[r].store(lane_mut(&mut sums[r], d));
        }
    }
}

/// The scales of one block of every position of a page, of so many blocks.
#[inline(always)]
fn worths<L: Lanes>(scales: &[u16], (block, blocks): (usize, usize), worth: &mut [f32; PAGE]) {
    let mut bits = [0; PAGE];
    for (bits, scales) in bits.iter_mut().zip(scales.chunks_exact(blocks)) {
        *bits = scales[block];
    }
    for half in [0, 16] {
        L::widen(lane(&bits, half)).store(lane_mut(worth, half));
    }
}

#[inline(always)]
fn lane<T>(row: &[T], at: usize) -> &[T; 16] {
    row[at..]
        .first_chunk()
        .expect("widths are multiples of sixteen")
}

#[inline(always)]
fn lane_mut<T>(row: &mut [T], at: usize) -> &mut [T; 16] {
    row[at..]
        .first_chunk_mut()
        .expect("widths are multiples of sixteen")
}

#[cfg(test)]
mod tests {
    use super::super::packed::tests::noise;
    use super::super::pages::tests::with_head;
    use super::*;
    use half::f16;

    const WIDTH: usize = 64;

    struct Cache {
        keys: Vec<Vec<u16>>,
        values: Vec<Vec<u16>>,
    }

    impl Cache {
        /// `positions` random keys and values; the rest of the last page is left over from somebody else.
        fn new(positions: usize) -> Self {
            let pages = positions.div_ceil(PAGE);
            let mut noise = noise(9);
            let mut page = || -> Vec<u16> {
                (0..WIDTH * PAGE)
                    .map(|_| f16::from_f32(noise.next().unwrap_or(0.0)).to_bits())
                    .collect()
            };
            Self {
                keys: (0..pages).map(|_| page()).collect(),
                values: (0..pages).map(|_| page()).collect(),
            }
        }

        fn view(&self, page: usize) -> PageView<'_> {
            PageView {
                keys: &self.keys[page],
                values: &self.values[page],
            }
        }

        fn exact(&self, query: &[f32], first: usize, position: usize) -> Vec<f64> {
            let float = |bits: u16| f64::from(f16::from_bits(bits).to_f32());
            let scores: Vec<f64> = (first..=position)
                .map(|p| {
                    let keys = &self.keys[p / PAGE];
                    (0..WIDTH)
                        .map(|d| f64::from(query[d]) * float(keys[d * PAGE + p % PAGE]))
                        .sum()
                })
                .collect();
            let peak = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|score| (score - peak).exp()).sum();
            (0..WIDTH)
                .map(|d| {
                    let weighted = (first..).zip(&scores).map(|(p, score)| {
                        (score - peak).exp() * float(self.values[p / PAGE][p % PAGE * WIDTH + d])
                    });
                    weighted.sum::<f64>() / total
                })
                .collect()
        }
    }

    fn run(
        tier: Tier,
        cache: &Cache,
        queries: &[Vec<f32>],
        (positions, window): (&[usize], usize),
    ) -> Vec<Vec<f32>> {
        let mut outs = vec![vec![0.0; WIDTH]; queries.len()];
        let mut list: Vec<Query<'_>> = outs
            .iter_mut()
            .zip(queries)
            .zip(positions)
            .map(|((out, values), position)| Query {
                values,
                position: *position,
                first: (*position + 1).saturating_sub(window),
                out,
            })
            .collect();
        attend((tier, KvForm::F16), &mut list, &|page| cache.view(page));
        drop(list);
        outs
    }

    #[test]
    fn it_is_the_textbook_attention_and_queries_do_not_meet() {
        let cache = Cache::new(200);
        let positions = [0, 1, 31, 32, 33, 63, 100, 64, 199, 150, 7];
        let mut noise = noise(4);
        let queries: Vec<Vec<f32>> = positions
            .iter()
            .map(|_| {
                (0..WIDTH)
                    .map(|_| noise.next().unwrap_or(0.0) * 2.0)
                    .collect()
            })
            .collect();
        for window in [usize::MAX, 70, 5] {
            let together = run(Tier::detect(), &cache, &queries, (&positions, window));
            assert_eq!(
                together,
                run(Tier::Scalar, &cache, &queries, (&positions, window)),
                "the tiers agree to the bit"
            );
            for (i, (query, position)) in queries.iter().zip(positions).enumerate() {
                let alone = std::slice::from_ref(query);
                let alone = run(Tier::detect(), &cache, alone, (&[position], window));
                assert_eq!(alone[0], together[i]);
                let first = (position + 1).saturating_sub(window);
                for (ours, exact) in together[i].iter().zip(cache.exact(query, first, position)) {
                    assert!(
                        (f64::from(*ours) - exact).abs() < 1e-5,
                        "position {position} of a window of {window}: {ours} is not {exact}"
                    );
                }
            }
        }
    }

    /// Attention of all rows of a sequence to what is kept of it, and of every row alone.
    fn kept(form: KvForm, tier: Tier, width: usize, rows: usize) -> [Vec<f32>; 2] {
        let mut cache = with_head(rows.div_ceil(PAGE), width, form);
        let pages: Vec<_> = std::iter::from_fn(|| cache.take()).collect();
        let mut pool = Pool::new(1).expect("no threads");
        let segment = |first: usize, rows: usize| Segment {
            first_row: 0,
            rows,
            position: first,
            pages: pages.clone(),
        };
        let some = |seed: u64| noise(seed).take(rows * width).collect::<Vec<f32>>();
        let (mut queries, keys, values) = (some(1), some(2), some(3));
        let scale = 1.0 / (width as f32).sqrt();
        queries.iter_mut().for_each(|query| *query *= scale);
        cache.append(&mut pool, 0, &[segment(0, rows)], &keys, &values);
        let mut attended = |segment: Segment, queries: &[f32], out: &mut [f32]| {
            let batch = Attention {
                cache: &cache,
                segments: &[segment],
                layer: 0,
                heads: 1,
                kv_heads: 1,
                width,
                window: 50,
            };
            attend_all(&mut pool, tier, &batch, queries, out);
        };
        let mut both = [vec![0.0; rows * width], vec![0.0; rows * width]];
        attended(segment(0, rows), &queries, &mut both[0]);
        for (row, out) in both[1].chunks_exact_mut(width).enumerate() {
            attended(segment(row, 1), &queries[row * width..][..width], out);
        }
        both
    }

    /// Of values up to one, with the rounding of the scale; 0.0041 was the most seen.
    const HALF_A_STEP: f32 = 0.005;

    #[test]
    fn eight_bits_are_near_sixteen_and_rows_do_not_meet() {
        for (width, rows) in [(16, 5), (64, 130), (80, 33), (256, 70)] {
            let [floats, _] = kept(KvForm::F16, Tier::detect(), width, rows);
            let [together, alone] = kept(KvForm::Q8, Tier::detect(), width, rows);
            assert_eq!(together, alone, "{width}");
            let plain = kept(KvForm::Q8, Tier::Scalar, width, rows);
            assert_eq!(plain[0], together, "the tiers agree to the bit");
            let pairs = together.iter().zip(&floats);
            let worst = pairs.fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs()));
            assert!(
                worst > 0.0 && worst < HALF_A_STEP,
                "{width}: off by {worst}"
            );
        }
    }
}
