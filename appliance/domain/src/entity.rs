//! What a model marks in a text: where it stands, and what it is.

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// A text as a model reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pieces {
    /// The token that begins what the model reads.
    pub begin: u32,
    /// The token that ends it.
    pub end: u32,
    /// The tokens of the text, in order.
    pub pieces: Vec<Piece>,
}

/// One token of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its id.
    pub id: u32,
    /// Where it stands in the text, in bytes.
    pub bytes: Range<usize>,
}

/// Something that a model marks in a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entity {
    /// What it is, in the word that the model's manifest gives it.
    pub concept: String,
    /// Where it begins, in bytes of the text.
    pub start: usize,
    /// The first byte that no longer belongs to it.
    pub end: usize,
    /// How sure the model is, 0 to 1.
    pub score: f32,
}
