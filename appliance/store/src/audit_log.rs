//! The words of the audit log. What a Merkle log is, the `audit` room knows; what a line says stands here.

use pericard_domain::actor::Actor;
use pericard_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One line: the record that is hashed into the log, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditLine {
    /// Its place in the log, from 0.
    #[serde(skip_deserializing, default)]
    pub index: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: Actor,
    /// What happened, as in `admit object`, `conclude job`, `refuse`, `read study`.
    pub verb: String,
    /// What it happened to: ids only.
    pub subject: String,
    /// More, as ids, numbers and closed words.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub detail: serde_json::Value,
}

/// Which lines to read: those to which everything that is said applies. Oldest first, unless `before` is said.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// From this place on.
    pub from: u64,
    /// Only lines before this place, latest first.
    pub before: Option<u64>,
    /// At most so many; 0 stands for 100.
    pub limit: u32,
    /// Only lines whose subject holds this.
    pub subject: Option<String>,
    /// Only lines of this verb.
    pub verb: Option<String>,
    /// Only lines whose actor holds this: a token's id, an application entity title, an address, a room.
    pub by: Option<String>,
}

/// A log that verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// How many lines.
    pub lines: u64,
    /// The root hash, base64.
    pub root: String,
    /// The signed checkpoint that it was verified against.
    pub checkpoint: String,
}
