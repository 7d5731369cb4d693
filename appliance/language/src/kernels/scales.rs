//! The scales of a tile's blocks, for sixteen outputs at a time, and how those of superblocks come from the file.
//!
//! ```text
//! 32-wide forms, each block:      16 x f16 scales, then 16 x f16 minima where the form has them
//! Q4_K and Q5_K, each superblock: 16 x f16 scales, 16 x f16 minima, then three planes of 4 x 16 bytes; for the pair of
//!                                 blocks 2p and 2p + 1, in byte [p][c] of each: scale of the first (6 bits) and low two
//!                                 of the second's; the same of the minima; high four bits of the second's scale and minimum
//! Q6_K, each superblock:          16 x f16 scales, then 16 x 16 signed bytes, [half block][c]
//! ```
//! These are as many bits as the file has. Products of a sixteen-bit scale with six or eight bits are exact in a float, so
//! every tier gets the same.

use super::form::Form;
use super::lanes::Lanes;
use super::packed::TILE;

/// How many times each block takes the scale of its superblock: two rows for each block, its scale and minimum, or the
/// scales of its halves.
type Steps = [[u8; TILE]; 16];

/// The scales of one group of blocks.
#[derive(Clone, Copy)]
pub(crate) struct Scales<L> {
    scale: L,
    minimum: L,
    steps: Steps,
}

impl<L: Lanes> Scales<L> {
    /// Before the first group.
    #[inline(always)]
    pub(crate) fn none() -> Self {
        Self {
            scale: L::splat(0.0),
            minimum: L::splat(0.0),
            steps: [[0; TILE]; 16],
        }
    }

    /// Takes the scales of a group: `bytes` are those of the form.
    #[inline(always)]
    pub(crate) fn read(&mut self, form: Form, bytes: &[u8]) {
        let bytes = &bytes[..form.scale_bytes()];
        self.scale = halves::<L>(bytes);
        if form.has_minimum() {
            self.minimum = halves::<L>(&bytes[2 * TILE..]);
        }
        match form {
            Form::Q4K | Form::Q5K => {
                // A superblock's minima are subtracted.
                self.minimum = L::splat(0.0).sub(self.minimum);
                spread(&bytes[4 * TILE..], &mut self.steps);
            }
            Form::Q6K => {
                let steps = bytes[2 * TILE..].as_chunks().0;
                self.steps.copy_from_slice(steps);
            }
            _ => {}
        }
    }

    /// The scale and minimum of a block of the group, or the scales of its halves.
    #[inline(always)]
    pub(crate) fn of(&self, form: Form, block: usize) -> [L; 2] {
        let steps = &self.steps[2 * (block % 8)..][..2];
        match form {
            Form::Q4K | Form::Q5K => [
                self.scale.mul(L::unsigned(&steps[0])),
                self.minimum.mul(L::unsigned(&steps[1])),
            ],
            Form::Q6K => [
                self.scale.mul(L::signed(&steps[0])),
                self.scale.mul(L::signed(&steps[1])),
            ],
            _ => [self.scale, self.minimum],
        }
    }
}

#[inline(always)]
fn halves<L: Lanes>(bytes: &[u8]) -> L {
    let mut halves = [0; TILE];
    for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks().0) {
        *half = u16::from_le_bytes(*bytes);
    }
    L::widen(&halves)
}

#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "four rows are written at one column"
)]
fn spread(planes: &[u8], steps: &mut Steps) {
    let (first, second, third) = (&planes[..64], &planes[64..128], &planes[128..192]);
    for pair in 0..4 {
        for c in 0..TILE {
            let at = pair * TILE + c;
            steps[4 * pair][c] = first[at] & 63;
            steps[4 * pair + 1][c] = second[at] & 63;
            steps[4 * pair + 2][c] = first[at] >> 6 | (third[at] & 15) << 2;
            steps[4 * pair + 3][c] = second[at] >> 6 | third[at] >> 4 << 2;
        }
    }
}

/// Puts the scales of a group of one output into a tile's: `file` is the group as the file has it.
pub(crate) fn put(form: Form, scales: &mut [u8], column: usize, file: &[u8]) {
    let mut half = |field: usize, bytes: &[u8]| {
        scales[(field * TILE + column) * 2..][..2].copy_from_slice(bytes);
    };
    match form {
        Form::Q6K => half(0, &file[208..210]),
        _ if form.has_minimum() => {
            half(0, &file[..2]);
            half(1, &file[2..4]);
        }
        _ => half(0, &file[..2]),
    }
    match form {
        Form::Q4K | Form::Q5K => put_pairs(&mut scales[4 * TILE..], column, &file[4..16]),
        Form::Q6K => {
            for (row, step) in scales[2 * TILE..]
                .chunks_exact_mut(TILE)
                .zip(&file[192..208])
            {
                row[column] = *step;
            }
        }
        _ => {}
    }
}

fn put_pairs(planes: &mut [u8], column: usize, file: &[u8]) {
    for pair in 0..4 {
        let ((scale, minimum), (scale_b, minimum_b)) =
            (six_bits(file, 2 * pair), six_bits(file, 2 * pair + 1));
        let at = pair * TILE + column;
        planes[at] = scale | scale_b << 6;
        planes[64 + at] = minimum | minimum_b << 6;
        planes[128 + at] = scale_b >> 2 | minimum_b >> 2 << 4;
    }
}

/// Scale and minimum of a block: the file keeps those of the first four whole, and of the others the high two bits there.
const fn six_bits(file: &[u8], block: usize) -> (u8, u8) {
    if block < 4 {
        return (file[block] & 63, file[block + 4] & 63);
    }
    let low = file[block + 4];
    (
        low & 15 | file[block - 4] >> 6 << 4,
        low >> 4 | file[block] >> 6 << 4,
    )
}
