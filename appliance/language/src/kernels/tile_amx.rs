//! One tile against sixteen rows at a time with the matrix unit (AMX): what prompts are read with where it is there.
//!
//! The unit multiplies a tile of sixteen rows by one of sixteen outputs. What this machine calls a tile has the layout of
//! ours, so weights are only unpacked. Some blocks' weights are unpacked once and kept near while all rows pass. The sums are
//! whole numbers, and the floats that follow are those of the other tiers in the same order: the bits agree.
//!
//! The instructions are written out: the compiler's names for them are not stable. It never touches the tile registers
//! itself, so nothing of it can be lost in between.

#![cfg(target_arch = "x86_64")]
#![allow(clippy::needless_range_loop)] // parallel arrays of registers, unrolled: indices say what belongs together

use super::activation::{Activations, Block, FINE_BITS, ROWS_TOGETHER};
use super::lanes::Avx512;
use super::packed::{Form, Packed, TILE, scales_at};
use super::product::{ROWS, TOGETHER};
use super::scales::Scales;
use super::tile_avx512;
use std::arch::asm;
use std::arch::x86_64::*;

/// Blocks that are unpacked at a time: those of some tiles and of sixteen rows fit into the first-level cache.
const BLOCKS: usize = 8;

/// How many blocks ahead those of rows are asked for: they come from the second-level cache.
const AHEAD: usize = 3;

/// Whether the machine has the unit and the system lends it to this process. Threads need not ask again.
pub(super) fn lent() -> bool {
    /// TILECFG and TILEDATA among what the system saves of a thread.
    const STATES: u64 = 3 << 17;
    /// `arch_prctl`, to ask for the larger of them.
    const ARCH_PRCTL: u64 = 158;
    const REQUEST_PERMISSION: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    if !cfg!(target_os = "linux") || !is_x86_feature_detected!("xsave") {
        return false;
    }
    let leaf = __cpuid_count(7, 0);
    // SAFETY: the instruction is there, as was asked.
    if leaf.edx >> 24 & 3 != 3 || unsafe { states() } & STATES != STATES {
        return false;
    }
    let mut answer = ARCH_PRCTL;
    // SAFETY: the call reads no memory of ours; the kernel keeps all registers but these.
    unsafe {
        asm!(
            "syscall",
            inout("rax") answer,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            out("rcx") _,
            out("r11") _,
        );
    }
    answer == 0
}

#[target_feature(enable = "xsave")]
unsafe fn states() -> u64 {
    // SAFETY: the caller's: the instruction is there.
    unsafe { _xgetbv(0) }
}

/// The products of the sixteen outputs of each tile with the rows from `row` on, so many, in `out`, tile by tile.
///
/// # Safety
/// The machine has AVX-512 F, BW, VL and VNNI, and [`lent`] said yes.
pub(crate) unsafe fn products(
    tiles: &[(&Packed, usize)],
    x: &Activations,
    (row, rows): (usize, usize),
    out: &mut [[[f32; TILE]; ROWS]],
) {
    assert!(rows <= ROWS && row + rows <= x.rows() && tiles.len() <= TOGETHER);
    assert!(row.is_multiple_of(ROWS_TOGETHER) && tiles.len() == out.len());
    assert!(tiles.iter().all(|(weights, _)| weights.inputs == x.width));
    let whole = rows / ROWS_TOGETHER * ROWS_TOGETHER;
    let mut first = 0;
    while let Some((weights, _)) = tiles.get(first) {
        let form = weights.form;
        let count = tiles[first..]
            .iter()
            .take_while(|(weights, _)| weights.form == form)
            .count();
        let (tiles, out) = (&tiles[first..][..count], &mut out[first..][..count]);
        first += count;
        // SAFETY: the caller vouches for the instructions; lengths were compared above.
        unsafe {
            if whole > 0 {
                match form {
                    Form::Q4_0 => all::<0>(tiles, x, (row, whole), out),
                    Form::Q4_1 => all::<1>(tiles, x, (row, whole), out),
                    Form::Q5_0 => all::<2>(tiles, x, (row, whole), out),
                    Form::Q5_1 => all::<3>(tiles, x, (row, whole), out),
                    Form::Q8_0 => all::<4>(tiles, x, (row, whole), out),
                    Form::Q4K => all::<5>(tiles, x, (row, whole), out),
                    Form::Q5K => all::<6>(tiles, x, (row, whole), out),
                    Form::Q6K => all::<7>(tiles, x, (row, whole), out),
                }
            }
            if whole < rows {
                for ((weights, tile), out) in tiles.iter().zip(out) {
                    tile_avx512::products(weights, *tile, x, row + whole, &mut out[whole..rows]);
                }
            }
        }
    }
}

/// Some blocks, unpacked.
#[repr(C, align(64))]
struct Near {
    weights: [[__m512i; 8]; BLOCKS],
    scales: [[__m512; 2]; BLOCKS],
}

/// What the unit gives for one block: sums of first and second bytes, and where halves have their own scales, those of
/// the second half.
#[repr(C, align(64))]
struct Sums([[__m512i; ROWS_TOGETHER]; 4]);

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn all<const FORM: usize>(
    tiles: &[(&Packed, usize)],
    x: &Activations,
    (row, rows): (usize, usize),
    out: &mut [[[f32; TILE]; ROWS]],
) {
    let form = const { Form::ALL[FORM] };
    let blocks = x.blocks();
    // SAFETY: zeros are vectors.
    let (mut near, mut given): ([Near; TOGETHER], [Sums; 2]) = unsafe { std::mem::zeroed() };
    for out in out.iter_mut() {
        out[..rows].fill([0.0; TILE]);
    }
    // SAFETY: a tile holds the quants and scales of `blocks` blocks, and `x` whole groups of rows from `row` on, as the
    // caller checked; the instructions are there.
    unsafe {
        shape(form);
        for first in (0..blocks).step_by(BLOCKS) {
            let count = BLOCKS.min(blocks - first);
            for ((weights, tile), near) in tiles.iter().zip(&mut near) {
                fetch::<FORM>(weights.tile(*tile), blocks, first..first + count, near);
            }
            for group in (0..rows).step_by(ROWS_TOGETHER) {
                let at = (row + group) * blocks + first * ROWS_TOGETHER;
                for (near, out) in near.iter().zip(out.iter_mut()) {
                    let out = out[group..].first_chunk_mut().expect("whole groups");
                    some::<FORM>(near, count, x, at, &mut given, out);
                }
            }
        }
        asm!("tilerelease");
    }
}

/// Unpacks some blocks of a tile; the first begins a group.
#[inline(always)]
unsafe fn fetch<const FORM: usize>(
    tile: &[u8],
    blocks: usize,
    which: std::ops::Range<usize>,
    near: &mut Near,
) {
    const { assert!(BLOCKS.is_multiple_of(super::form::BLOCKS_OF_SUPERBLOCK)) }
    let form = const { Form::ALL[FORM] };
    let mut scales = Scales::none();
    for (i, block) in which.enumerate() {
        if block % form.group() == 0 {
            scales.read(form, &tile[scales_at(form, blocks, block)..]);
        }
        let [Avx512(scale), Avx512(second)] = scales.of(form, block);
        near.scales[i] = [scale, second];
        // SAFETY: the caller's: the instructions are there, and the quants of this block.
        unsafe {
            let quants = tile.as_ptr().add(block * form.quant_bytes());
            near.weights[i] = tile_avx512::unpack::<FORM>(quants);
        }
    }
}

/// The blocks at hand against sixteen rows, whose first block is at `at`; `given` is room for what the unit gives.
#[inline(always)]
unsafe fn some<const FORM: usize>(
    near: &Near,
    count: usize,
    x: &Activations,
    at: usize,
    given: &mut [Sums; 2],
    out: &mut [[f32; TILE]; ROWS_TOGETHER],
) {
    // SAFETY: the caller's: the instructions are there, and the blocks.
    unsafe {
        let mut sums = [_mm512_setzero_ps(); ROWS_TOGETHER];
        for r in 0..ROWS_TOGETHER {
            sums[r] = _mm512_loadu_ps(out[r].as_ptr());
        }
        // While the vectors work on one block, the unit's sums of the next are on their way, and it works on the one after.
        let block = |i: usize| &raw const x.values[at + i * ROWS_TOGETHER];
        multiply::<FORM>(&near.weights[0], block(0));
        give::<FORM>(&mut given[0]);
        if count > 1 {
            multiply::<FORM>(&near.weights[1], block(1));
        }
        for i in 0..count {
            for r in 0..ROWS_TOGETHER {
                // Beyond the end this asks for nothing: a prefetch never faults.
                let ahead = x
                    .values
                    .as_ptr()
                    .wrapping_add(at + (i + AHEAD) * ROWS_TOGETHER + r);
                _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
            }
            if i + 1 < count {
                give::<FORM>(&mut given[(i + 1) % 2]);
            }
            if i + 2 < count {
                multiply::<FORM>(&near.weights[i + 2], block(i + 2));
            }
            let at = at + i * ROWS_TOGETHER;
            add::<FORM>(&given[i % 2], near.scales[i], x, at, &mut sums);
        }
        for r in 0..ROWS_TOGETHER {
            _mm512_storeu_ps(out[r].as_mut_ptr(), sums[r]);
        }
    }
}

/// Joins what the unit gave into the sums.
#[inline(always)]
unsafe fn add<const FORM: usize>(
    given: &Sums,
    [scale, second]: [__m512; 2],
    x: &Activations,
    at: usize,
    sums: &mut [__m512; ROWS_TOGETHER],
) {
    let form = const { Form::ALL[FORM] };
    let Sums([whole, fine, last_whole, last_fine]) = given;
    // SAFETY: the caller's: the instructions are there, and sixteen rows at `at`.
    unsafe {
        let scales = x.scales.as_ptr().add(at);
        let totals = x.sums.as_ptr().add(at);
        let counts = x.counts.as_ptr().add(at);
        for r in 0..ROWS_TOGETHER {
            let by = _mm512_set1_ps(*scales.add(r));
            let mut count = join(whole[r], fine[r]);
            if form.has_halves() {
                let firsts = *x.firsts.as_ptr().add(at + r);
                let offset = -form.offset() * firsts;
                count = _mm512_add_epi32(count, _mm512_set1_epi32(offset));
                let both = _mm512_mul_ps(_mm512_cvtepi32_ps(count), scale);
                let last = join(last_whole[r], last_fine[r]);
                let offset = -form.offset() * (*counts.add(r) - firsts);
                let last = _mm512_add_epi32(last, _mm512_set1_epi32(offset));
                let last = _mm512_cvtepi32_ps(last);
                let both = _mm512_fmadd_ps(last, second, both);
                sums[r] = _mm512_fmadd_ps(both, by, sums[r]);
            } else {
                if form.offset() != 0 {
                    let offset = _mm512_set1_epi32(-form.offset() * *counts.add(r));
                    count = _mm512_add_epi32(count, offset);
                }
                let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(count), by);
                sums[r] = _mm512_fmadd_ps(scaled, scale, sums[r]);
            }
            if form.has_minimum() {
                sums[r] = _mm512_fmadd_ps(second, _mm512_set1_ps(*totals.add(r)), sums[r]);
            }
        }
    }
}

#[inline(always)]
unsafe fn join(whole: __m512i, fine: __m512i) -> __m512i {
    // SAFETY: the caller's: the instructions are there.
    unsafe {
        let whole = _mm512_slli_epi32::<FINE_BITS>(whole);
        _mm512_add_epi32(whole, fine)
    }
}

/// Says what the tile registers hold: 0 to 3 sums, 4 and 5 weights, 6 and 7 bytes of rows.
#[target_feature(enable = "avx512f")]
unsafe fn shape(form: Form) {
    #[repr(C, align(64))]
    struct Shape {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }
    // Weights of a whole block or of half of one: four neighbours in a row.
    let rows = if form.has_halves() { 4 } else { 8 };
    let all = ROWS_TOGETHER as u8;
    let mut shape = Shape {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes: [0; 16],
        rows: [0; 16],
    };
    for register in 0..8 {
        (shape.row_bytes[register], shape.rows[register]) = match register {
            0..4 => (64, all),
            4..6 => (64, rows),
            _ => (u16::from(rows) * 4, all),
        };
    }
    // SAFETY: the caller's: the unit is lent.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shape, options(nostack)) };
}

/// A block's weights times the blocks of sixteen rows; [`give`] gives the sums.
#[inline(always)]
unsafe fn multiply<const FORM: usize>(weights: &[__m512i; 8], rows: *const Block) {
    let form = const { Form::ALL[FORM] };
    let weights = weights.as_ptr();
    // SAFETY: the caller's: the unit is lent and shaped, the vectors of weights and sixteen blocks of rows; all in lines of
    // 64 bytes.
    unsafe {
        if form.has_halves() {
            asm!(
                "tileloadd tmm4, [{w} + {line}*1]",
                "tileloadd tmm6, [{x} + {line}*1]",
                "tilezero tmm0",
                "tdpbsud tmm0, tmm6, tmm4",
                "tileloadd tmm7, [{x} + {line}*1 + 32]",
                "tilezero tmm1",
                "tdpbsud tmm1, tmm7, tmm4",
                "tileloadd tmm5, [{w} + {line}*1 + 256]",
                "tileloadd tmm6, [{x} + {line}*1 + 16]",
                "tilezero tmm2",
                "tdpbsud tmm2, tmm6, tmm5",
                "tileloadd tmm7, [{x} + {line}*1 + 48]",
                "tilezero tmm3",
                "tdpbsud tmm3, tmm7, tmm5",
                w = in(reg) weights, x = in(reg) rows, line = in(reg) 64_usize,
                options(nostack, readonly),
            );
        } else {
            asm!(
                "tileloadd tmm4, [{w} + {line}*1]",
                "tileloadd tmm6, [{x} + {line}*1]",
                "tilezero tmm0",
                "tdpbsud tmm0, tmm6, tmm4",
                "tileloadd tmm7, [{x} + {line}*1 + 32]",
                "tilezero tmm1",
                "tdpbsud tmm1, tmm7, tmm4",
                w = in(reg) weights, x = in(reg) rows, line = in(reg) 64_usize,
                options(nostack, readonly),
            );
        }
    }
}

/// The sums of the latest multiplication.
#[inline(always)]
unsafe fn give<const FORM: usize>(into: &mut Sums) {
    let form = const { Form::ALL[FORM] };
    let into = into.0.as_mut_ptr();
    // SAFETY: the caller's: the unit is lent and shaped; there is room for the sums, in lines of 64 bytes.
    unsafe {
        asm!(
            "tilestored [{c} + {line}*1], tmm0",
            "tilestored [{c} + {line}*1 + 1024], tmm1",
            c = in(reg) into, line = in(reg) 64_usize,
            options(nostack),
        );
        if form.has_halves() {
            asm!(
                "tilestored [{c} + {line}*1 + 2048], tmm2",
                "tilestored [{c} + {line}*1 + 3072], tmm3",
                c = in(reg) into, line = in(reg) 64_usize,
                options(nostack),
            );
        }
    }
}
