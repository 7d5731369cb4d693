//! The forms that weights are stored in: what a block takes in the file and in a tile.
//!
//! Two families. In the first, every block of 32 weights has its scale. In the second, eight blocks are a superblock: they
//! share a sixteen-bit scale, and each has small whole numbers of its own that say how many times it takes that.

use super::activation::BLOCK;
use super::packed::TILE;

/// Blocks of a superblock.
pub(crate) const BLOCKS_OF_SUPERBLOCK: usize = 8;

/// How the weights of a block are stored in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// 4 bits around 8, a scale.
    Q4_0,
    /// 4 bits, a scale and a minimum.
    Q4_1,
    /// 5 bits around 16, a scale.
    Q5_0,
    /// 5 bits, a scale and a minimum.
    Q5_1,
    /// 8 bits, a scale.
    Q8_0,
    /// 4 bits; superblocks with a six-bit scale and minimum for each block.
    Q4K,
    /// 5 bits; superblocks as those of [`Form::Q4K`].
    Q5K,
    /// 6 bits around 32; superblocks with an eight-bit scale for each half of a block.
    Q6K,
}

impl Form {
    pub(crate) const ALL: [Self; 8] = [
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// Blocks that are stored together.
    pub(crate) const fn group(self) -> usize {
        match self {
            Self::Q4K | Self::Q5K | Self::Q6K => BLOCKS_OF_SUPERBLOCK,
            _ => 1,
        }
    }

    /// Weights that are stored together: rows are whole multiples of it.
    pub(crate) const fn group_weights(self) -> usize {
        self.group() * BLOCK
    }

    /// Bytes of a group in the file.
    pub(crate) const fn file_bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Bytes of the quants of one block of a tile.
    pub(crate) const fn quant_bytes(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q4K => 256,
            Self::Q5_0 | Self::Q5_1 | Self::Q5K => 256 + 64,
            Self::Q6K => 256 + 128,
            Self::Q8_0 => 512,
        }
    }

    /// Whether the quants have a plane of fifth bits.
    pub(crate) const fn has_fifth_bit(self) -> bool {
        matches!(self, Self::Q5_0 | Self::Q5_1 | Self::Q5K)
    }

    /// Whether a block has a minimum.
    pub(crate) const fn has_minimum(self) -> bool {
        matches!(self, Self::Q4_1 | Self::Q5_1 | Self::Q4K | Self::Q5K)
    }

    /// Whether each half of a block has its own scale.
    pub(crate) const fn has_halves(self) -> bool {
        matches!(self, Self::Q6K)
    }

    /// Bytes of the scales of one group of a tile.
    pub(crate) const fn scale_bytes(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q5_0 | Self::Q8_0 => 2 * TILE,
            Self::Q4_1 | Self::Q5_1 => 4 * TILE,
            // A scale and a minimum for all, and eight pairs of six bits.
            Self::Q4K | Self::Q5K => (4 + 12) * TILE,
            // A scale for all, and sixteen of a byte.
            Self::Q6K => (2 + 16) * TILE,
        }
    }

    /// What is subtracted from a stored weight.
    pub(crate) const fn offset(self) -> i32 {
        match self {
            Self::Q4_0 => 8,
            Self::Q5_0 => 16,
            Self::Q6K => 32,
            Self::Q8_0 => 128,
            Self::Q4_1 | Self::Q5_1 | Self::Q4K | Self::Q5K => 0,
        }
    }
}
