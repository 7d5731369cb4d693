//! What a language model is asked about patients' texts, and what of its answers may be believed.
//!
//! ```text
//! text or findings --> a prompt package --> ChatRequest (schema-bound) --> [ a model, elsewhere ] --> its words
//!                                                                                                      |
//!          a draft whose every claim was checked against what was given, or a stated refusal <---------+
//! ```
//! A prompt package ([`package`]) is versioned data: its words, its version and a digest over both, which stands in every answer.
//! The checks do not trust the model, however large it is:
//! - [`structure`]: a radiology report into coded claims. Each cites its sentence; the sentence must stand in the report, name the
//!   finding, and say of it what the claim says.
//! - [`impression`]: an impression from the findings of a study's structured reports. Every number and every word must come from
//!   the one finding that its sentence cites, and name it.
//! - [`deidentify`]: what identifies somebody in a text, by rules; a model may point at more, and never at less.
//!
//! Deliberately absent: a model, a network, a clock, and any word for a diagnosis. What comes out is a draft, and says so.

pub mod deidentify;
mod eponyms;
pub mod impression;
pub mod negation;
pub mod package;
pub mod sentences;
pub mod structure;
pub mod terms;

use serde::Serialize;

/// What every answer is. There is no other.
pub const STATUS: &str = "draft";
/// What every answer says of itself.
pub const STATEMENT: &str = "A draft by a language model. Nobody has verified it. It is not a diagnosis, and nothing may be \
     done to a patient because of it before a physician has read the source and taken responsibility for the words.";

/// Why nothing is answered. No patient is in it: only counts and closed words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// What was given cannot be worked on.
    #[error("{0}")]
    Unsuitable(String),
    /// What the model said is not of the form that it was held to: it came to the end of its room.
    #[error(
        "the model's answer is not whole; ask with a shorter text, or a model with a longer context"
    )]
    NotWhole,
    /// Nothing of what the model said passed the checks.
    #[error(
        "none of the model's {said} statements passed the checks ({why}); nothing is shown, rather than something wrong"
    )]
    NothingHolds {
        /// Statements that the model made.
        said: usize,
        /// The commonest reason.
        why: &'static str,
    },
}

/// Where in a text something stands, in characters (Unicode scalar values) from its beginning; the end is not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Span {
    /// The first character.
    pub start: usize,
    /// The first character that no longer belongs to it.
    pub end: usize,
}

impl Span {
    /// The span of a range of bytes of `text`, which lies between characters.
    #[must_use]
    pub fn of(text: &str, bytes: std::ops::Range<usize>) -> Self {
        let start = text[..bytes.start].chars().count();
        Self {
            start,
            end: start + text[bytes].chars().count(),
        }
    }
}

/// The commonest of some reasons; of equals the first.
pub(crate) fn commonest(reasons: &[&'static str]) -> &'static str {
    let count = |reason: &&&'static str| reasons.iter().filter(|r| r == reason).count();
    let first = reasons.iter().rev().max_by_key(count);
    first.copied().unwrap_or("it made none")
}
