//! Matrix products: packed weights times eight-bit activations, shared among the threads by tiles.

use super::Tier;
use super::activation::Activations;
#[cfg(target_arch = "aarch64")]
use super::lanes::Neon;
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{Lanes, Plain};
use super::packed::{Packed, TILE};
use super::pool::{Disjoint, Pool};
#[cfg(target_arch = "aarch64")]
use super::tile_neon;
use super::tile_scalar;
#[cfg(target_arch = "x86_64")]
use super::{tile_amx, tile_avx2, tile_avx512};

/// Rows whose products with one tile are computed before the next tile is read: their activations stay in the
/// second-level cache.
pub(crate) const ROWS: usize = 64;
/// Pieces of work for each thread: enough that one held up by the system leaves little for the others to wait for.
const PIECES_FOR_EACH_THREAD: usize = 8;

/// Where a product goes: as many rows as the activations have, each as wide as the matrix has outputs.
pub(crate) struct Target<'a> {
    pub(crate) weights: &'a Packed,
    pub(crate) out: &'a mut [f32],
}

/// Tiles that are computed together: they read their rows' activations from the second-level cache once.
pub(crate) const TOGETHER: usize = 4;

/// Products of some tiles with some rows.
type Products = [[[f32; TILE]; ROWS]; TOGETHER];

/// Room for products, which each tile overwrites: emptied once for a piece of work and not for every few tiles, which for a
/// single row took a tenth of the time.
const NONE: Products = [[[0.0; TILE]; ROWS]; TOGETHER];

/// `out = weights * x` for every target, all in one round of the pool.
pub(crate) fn store<const N: usize>(
    pool: &mut Pool,
    tier: Tier,
    x: &Activations,
    targets: [Target<'_>; N],
) {
    each_tile(pool, tier, x, targets, |old, new| *old = new);
}

/// `out += weights * x`.
pub(crate) fn add(pool: &mut Pool, tier: Tier, x: &Activations, target: Target<'_>) {
    each_tile(pool, tier, x, [target], |old, new| *old += new);
}

fn each_tile<const N: usize>(
    pool: &mut Pool,
    tier: Tier,
    x: &Activations,
    targets: [Target<'_>; N],
    put: impl Fn(&mut f32, f32) + Sync,
) {
    let rows = x.rows();
    let parts = targets.map(|target| Part::new(target.weights, target.out, rows));
    let tiles: usize = parts.iter().map(|part| part.weights.tiles()).sum();
    let piece = piece_of(tiles, pool.threads());
    pool.run(tiles.div_ceil(piece), &|number| {
        let end = tiles.min((number + 1) * piece);
        let mut products = NONE;
        for first in (number * piece..end).step_by(TOGETHER) {
            let count = TOGETHER.min(end - first);
            let places: [_; TOGETHER] =
                std::array::from_fn(|at| locate(&parts, first + at.min(count - 1)));
            let tiles = places.map(|(part, tile)| (part.weights, tile));
            in_row_groups(rows, &mut products, |row, rows, products| {
                compute(tier, &tiles[..count], x, (row, rows), products);
                for ((part, tile), products) in places[..count].iter().zip(products) {
                    part.write(*tile, row, &products[..rows], &put);
                }
            });
        }
    });
}

/// What opens a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// `x * sigmoid(x)`.
    Silu,
    /// The approximation of GELU by a hyperbolic tangent, which is `x * sigmoid(1.6 x + 0.07 x^3)`.
    Gelu,
}

/// `out = kind(gate * x) * (up * x)`: both halves of a gated layer while their activations are at hand.
pub(crate) fn gated(
    pool: &mut Pool,
    tier: Tier,
    x: &Activations,
    (kind, gate): (Gate, &Packed),
    up: Target<'_>,
) {
    const PAIRS: usize = TOGETHER / 2;
    assert_eq!(
        (gate.outputs, gate.inputs),
        (up.weights.outputs, up.weights.inputs),
        "the halves match"
    );
    let rows = x.rows();
    let part = Part::new(up.weights, up.out, rows);
    let tiles = part.weights.tiles();
    let piece = piece_of(tiles, pool.threads());
    pool.run(tiles.div_ceil(piece), &|number| {
        let end = tiles.min((number + 1) * piece);
        let mut products = NONE;
        for first in (number * piece..end).step_by(PAIRS) {
            let count = PAIRS.min(end - first);
            // Gates first, so that those of one form lie together.
            let both: [_; TOGETHER] = std::array::from_fn(|at| match at < count {
                true => (gate, first + at),
                false => (part.weights, first + (at - count).min(count - 1)),
            });
            in_row_groups(rows, &mut products, |row, rows, products| {
                compute(tier, &both[..2 * count], x, (row, rows), products);
                let (gates, products) = products.split_at_mut(count);
                for (at, (gates, products)) in gates.iter().zip(products).enumerate() {
                    let products = &mut products[..rows];
                    gate_rows(tier, kind, &gates[..rows], products);
                    part.write(first + at, row, products, |old, new| *old = new);
                }
            });
        }
    });
}

struct Part<'a> {
    weights: &'a Packed,
    out: Disjoint<f32>,
}

impl<'a> Part<'a> {
    fn new(weights: &'a Packed, out: &'a mut [f32], rows: usize) -> Self {
        assert_eq!(out.len(), rows * weights.outputs, "a row for every row");
        Self {
            weights,
            out: Disjoint(out.as_mut_ptr()),
        }
    }

    fn write(
        &self,
        tile: usize,
        row: usize,
        products: &[[f32; TILE]],
        put: impl Fn(&mut f32, f32),
    ) {
        let outputs = self.weights.outputs;
        let first = tile * TILE;
        let width = TILE.min(outputs - first);
        for (r, products) in products.iter().enumerate() {
            // SAFETY: a tile is computed by one thread only, and its columns of a row belong to no other tile; the
            // buffer has `rows * outputs` values and outlives the round.
            let out = unsafe { self.out.range((row + r) * outputs + first, width) };
            out.iter_mut()
                .zip(products)
                .for_each(|(old, new)| put(old, *new));
        }
    }
}

fn piece_of(tiles: usize, threads: usize) -> usize {
    tiles.div_ceil(threads * PIECES_FOR_EACH_THREAD).max(1)
}

fn locate<'p, 'a>(parts: &'p [Part<'a>], mut tile: usize) -> (&'p Part<'a>, usize) {
    for part in parts {
        if tile < part.weights.tiles() {
            return (part, tile);
        }
        tile -= part.weights.tiles();
    }
    unreachable!("pieces are cut from the tiles that are there")
}

/// Calls with the first of some rows, how many they are, and room for their products.
fn in_row_groups(
    rows: usize,
    products: &mut Products,
    mut each: impl FnMut(usize, usize, &mut Products),
) {
    for row in (0..rows).step_by(ROWS) {
        each(row, ROWS.min(rows - row), products);
    }
}

/// Some tiles against some rows, the first and how many, on the given tier.
fn compute(
    tier: Tier,
    tiles: &[(&Packed, usize)],
    x: &Activations,
    (row, rows): (usize, usize),
    out: &mut Products,
) {
    #[cfg(target_arch = "x86_64")]
    if tier == Tier::Amx {
        // SAFETY: `Tier::detect` found the instructions.
        return unsafe { tile_amx::products(tiles, x, (row, rows), &mut out[..tiles.len()]) };
    }
    for ((weights, tile), out) in tiles.iter().zip(out) {
        let out = &mut out[..rows];
        match tier {
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => unsafe { tile_avx512::products(weights, *tile, x, row, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => unsafe { tile_avx2::products(weights, *tile, x, row, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Tier::NeonDot => unsafe { tile_neon::products::<true>(weights, *tile, x, row, out) },
            // SAFETY: every such machine has these instructions.
            #[cfg(target_arch = "aarch64")]
            Tier::Neon => unsafe { tile_neon::products::<false>(weights, *tile, x, row, out) },
            _ => tile_scalar::products(weights, *tile, x, row, out),
        }
    }
}

/// `product *= kind(gate)`, value by value.
fn gate_rows(tier: Tier, kind: Gate, gates: &[[f32; TILE]], products: &mut [[f32; TILE]]) {
    match tier {
        // SAFETY: `Tier::detect` found the instructions.
        #[cfg(target_arch = "x86_64")]
        Tier::Amx | Tier::Avx512 => unsafe { gate_avx512(kind, gates, products) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => unsafe { gate_avx2(kind, gates, products) },
        #[cfg(target_arch = "aarch64")]
        Tier::NeonDot | Tier::Neon => gate_lanes::<Neon>(kind, gates, products),
        _ => gate_lanes::<Plain>(kind, gates, products),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn gate_avx512(kind: Gate, gates: &[[f32; TILE]], products: &mut [[f32; TILE]]) {
    gate_lanes::<Avx512>(kind, gates, products);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn gate_avx2(kind: Gate, gates: &[[f32; TILE]], products: &mut [[f32; TILE]]) {
    gate_lanes::<Avx2>(kind, gates, products);
}

#[inline(always)]
fn gate_lanes<L: Lanes>(kind: Gate, gates: &[[f32; TILE]], products: &mut [[f32; TILE]]) {
    /// Twice the root of 2 / pi, and the cubic share of it.
    const LINEAR: f32 = 1.595_769;
    const CUBIC: f32 = 0.044_715 * LINEAR;
    for (product, gate) in products.iter_mut().zip(gates) {
        let gate = L::load(gate);
        let slope = match kind {
            Gate::Silu => gate,
            Gate::Gelu => gate.mul(gate.mul(gate).fma(L::splat(CUBIC), L::splat(LINEAR))),
        };
        let down = L::splat(0.0).sub(slope).exp().add(L::splat(1.0));
        L::load(product).mul(gate.div(down)).store(product);
    }
}

#[cfg(test)]
mod tests {
    use super::super::packed::Form;
    use super::super::packed::tests::{noise, random};
    use super::*;
    use proptest::prelude::*;

    fn activations(rows: usize, width: usize, seed: u64) -> Activations {
        let mut x = Activations::with_room(rows, width);
        quantise(&mut x, &noise(seed).take(rows * width).collect::<Vec<_>>());
        x
    }

    fn quantise(x: &mut Activations, values: &[f32]) {
        x.quantise(
            &mut Pool::new(1).expect("no threads"),
            Tier::detect(),
            values,
        );
    }

    fn product(tier: Tier, weights: &Packed, x: &Activations, threads: usize) -> Vec<f32> {
        let mut out = vec![0.0; x.rows() * weights.outputs];
        let mut pool = Pool::new(threads).expect("threads");
        store(
            &mut pool,
            tier,
            x,
            [Target {
                weights,
                out: &mut out,
            }],
        );
        out
    }

    #[cfg(target_arch = "aarch64")]
    fn tiers() -> Vec<Tier> {
        match Tier::detect() {
            Tier::NeonDot => vec![Tier::Neon, Tier::NeonDot],
            tier => vec![tier],
        }
    }

    #[cfg(not(target_arch = "aarch64"))]
    fn tiers() -> Vec<Tier> {
        match Tier::detect() {
            #[cfg(target_arch = "x86_64")]
            Tier::Amx => vec![Tier::Avx2, Tier::Avx512, Tier::Amx],
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => vec![Tier::Avx2, Tier::Avx512],
            tier => vec![tier],
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn every_tier_agrees_to_the_bit(
            form in 0..Form::ALL.len(), outputs in 1..50_usize, blocks in 1..20_usize, rows in 1..70_usize, seed: u64,
        ) {
            let form = Form::ALL[form];
            let inputs = (blocks * 32).next_multiple_of(form.group_weights());
            let (file, _) = random(form, outputs, inputs, seed);
            let weights = Packed::new(form, outputs, inputs, &file);
            let x = activations(rows, inputs, seed ^ 1);
            let reference = product(Tier::Scalar, &weights, &x, 1);
            for tier in tiers() {
                prop_assert_eq!(&product(tier, &weights, &x, 2), &reference, "{:?} {:?}", form, tier);
            }
        }
    }

    #[test]
    fn the_product_is_that_of_the_floats() {
        for form in Form::ALL {
            let (file, floats) = random(form, 40, 256, 11);
            let weights = Packed::new(form, 40, 256, &file);
            let values: Vec<f32> = noise(12).take(256).collect();
            let mut x = Activations::with_room(1, 256);
            quantise(&mut x, &values);
            let out = product(Tier::detect(), &weights, &x, 1);
            for (output, product) in out.iter().enumerate() {
                let exact: f32 = floats[output * 256..][..256]
                    .iter()
                    .zip(&values)
                    .map(|(w, x)| w * x)
                    .sum();
                assert!(
                    (product - exact).abs() < 2e-3,
                    "{form:?}: {product} is far from {exact}"
                );
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours() {
        let (file, _) = random(Form::Q4_1, 48, 576, 1);
        let weights = Packed::new(Form::Q4_1, 48, 576, &file);
        let values: Vec<f32> = noise(2).take(13 * 576).collect();
        let mut together = Activations::with_room(13, 576);
        quantise(&mut together, &values);
        let together = product(Tier::detect(), &weights, &together, 2);
        for (row, values) in values.chunks(576).enumerate() {
            let mut alone = Activations::with_room(1, 576);
            quantise(&mut alone, values);
            assert_eq!(
                product(Tier::detect(), &weights, &alone, 1),
                together[row * 48..][..48]
            );
        }
    }
}
