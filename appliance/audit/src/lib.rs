//! Bytes into a Merkle log, checkpoints, and their verification; knows no medicine.
//!
//! The formats are other people's on purpose, so that an auditor can verify a log with tools that are not ours:
//! RFC 6962 hashing, C2SP `signed-note`, `tlog-checkpoint` and `tlog-tiles`. `verify.py` beside this crate does it with
//! Python's standard library and `openssl`.
//!
//! - [`hash`]: hashes, and how a record becomes a leaf.
//! - [`frontier`]: the right edge of the tree, all that is needed to append.
//! - [`note`]: signed notes and their keys.
//! - [`checkpoint`]: how large the log is and what it hashes to, signed.
//! - [`seal`]: signatures over bytes that are no text.
//! - [`cosign`]: that a witness saw a checkpoint.
//! - [`verify`]: a whole log against a checkpoint, naming the first entry that is wrong.
//! - [`proof`]: that one entry is in the log, and that one log continues another.
//! - [`tiles`]: the log as static files.
//!
//! Deliberately absent: storage, the clock and randomness. The caller brings salts and seeds, and keeps the frontier in
//! the same transaction as the record, so that a log line and the change it speaks of are one fact.

pub mod checkpoint;
pub mod cosign;
pub mod frontier;
pub mod hash;
pub mod note;
pub mod proof;
pub mod seal;
pub mod tiles;
pub mod verify;

pub use checkpoint::Checkpoint;
pub use frontier::Frontier;
pub use hash::{Hash, SALT_BYTES, commitment, leaf};
pub use note::{SigningKey, VerifierKey};
pub use verify::{Broken, Content, Entry, Fault, Verified, Verifier, verify};
