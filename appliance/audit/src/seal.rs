//! Seals: an Ed25519 signature over bytes that are not a text, so that they cannot be a note.

use crate::note::{SigningKey, VerifierKey};

impl SigningKey {
    /// Signs bytes in a context. The context says what the bytes are; a signature made in one means nothing in another as
    /// long as no context begins with another one.
    #[must_use]
    pub fn seal(&self, context: &[u8], bytes: &[u8]) -> [u8; 64] {
        self.sign_bytes(&[context, bytes].concat())
    }
}

impl VerifierKey {
    /// Whether this key's owner signed these bytes in this context.
    #[must_use]
    pub fn opens(&self, context: &[u8], bytes: &[u8], signature: &[u8; 64]) -> bool {
        self.verifies(&[context, bytes].concat(), signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_holds_for_its_bytes_its_context_and_its_key() {
        let key = SigningKey::from_seed("example", &[1; 32]).expect("a key");
        let other = SigningKey::from_seed("example", &[2; 32]).expect("a key");
        let seal = key.seal(b"frame\n", b"bytes");
        assert!(key.verifier().opens(b"frame\n", b"bytes", &seal));
        assert!(!key.verifier().opens(b"frame\n", b"bytez", &seal));
        assert!(!key.verifier().opens(b"reply\n", b"bytes", &seal));
        assert!(!other.verifier().opens(b"frame\n", b"bytes", &seal));
    }
}
