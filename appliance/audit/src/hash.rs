//! Hashes, and how a record becomes a leaf of the tree (RFC 6962 section 2.1).

use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// The length of a record's salt.
pub const SALT_BYTES: usize = 32;

/// A SHA-256 hash in the tree: of a leaf, of two nodes, or of the whole.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash([u8; 32]);

/// A text or a byte string is not a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 32 bytes, written as 64 hexadecimal digits")]
pub struct HashError;

impl Hash {
    /// Takes the 32 bytes of a hash.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The root of the tree without leaves: the hash of nothing.
    #[must_use]
    pub fn empty_root() -> Self {
        Self(Sha256::digest([]).into())
    }
}

/// What the log holds of a record: `SHA-256(salt || record)`.
///
/// The record itself stays beside the log. After its legal retention both record and salt are erased and the tree still
/// verifies. Without a fresh random salt a leaf would tell whoever guesses the record that the guess is right, and a
/// patient's number is quickly guessed.
#[must_use]
pub fn commitment(salt: &[u8; SALT_BYTES], record: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(salt)
        .chain_update(record)
        .finalize()
        .into()
}

/// The leaf of a record: `SHA-256(0x00 || commitment)`.
#[must_use]
pub fn leaf(salt: &[u8; SALT_BYTES], record: &[u8]) -> Hash {
    leaf_of(&commitment(salt, record))
}

/// The leaf of an entry as RFC 6962 hashes it: `SHA-256(0x00 || entry)`.
#[must_use]
pub fn leaf_of(entry: &[u8]) -> Hash {
    Hash(
        Sha256::new()
            .chain_update([0])
            .chain_update(entry)
            .finalize()
            .into(),
    )
}

/// The node above two: `SHA-256(0x01 || left || right)`.
#[must_use]
pub fn node(left: &Hash, right: &Hash) -> Hash {
    Hash(
        Sha256::new()
            .chain_update([1])
            .chain_update(left.0)
            .chain_update(right.0)
            .finalize()
            .into(),
    )
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl FromStr for Hash {
    type Err = HashError;
    fn from_str(text: &str) -> Result<Self, HashError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| HashError)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<&[u8]> for Hash {
    type Error = HashError;
    fn try_from(bytes: &[u8]) -> Result<Self, HashError> {
        bytes.try_into().map(Self).map_err(|_| HashError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 6962 section 2.1, worked with `printf` and `sha256sum`: the leaf of nothing is `printf "\0" | sha256sum`.
    #[test]
    fn hashes_as_the_standard_defines_them() {
        assert_eq!(
            Hash::empty_root().to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            leaf_of(b"").to_string(),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
        assert_eq!(
            leaf_of(&[0]).to_string(),
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
        );
        assert_eq!(
            node(&leaf_of(b""), &leaf_of(&[0])).to_string(),
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
        );
    }

    #[test]
    fn a_salt_hides_the_record() {
        assert_ne!(leaf(&[1; 32], b"same"), leaf(&[2; 32], b"same"));
        assert_ne!(leaf(&[1; 32], b"same"), leaf_of(b"same"));
    }
}
