//! Pericard.
