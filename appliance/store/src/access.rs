//! The words of access: bearer tokens, kept as hashes.

use pericard_domain::actor::Role;
use pericard_domain::time::Timestamp;
use serde::Serialize;

/// A token to keep.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// What it is for, in the words of whoever issues it.
    pub label: String,
    /// What it allows.
    pub roles: Vec<Role>,
    /// SHA-256 of the secret.
    pub secret_sha256: [u8; 32],
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Token {
    /// Its public id.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// What it allows.
    pub roles: Vec<Role>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}
