//! Checkpoints (C2SP tlog-checkpoint v1.0): how large the log is and what it hashes to, signed.

use crate::hash::Hash;
use crate::note::{self, NoteError, SigningKey, VerifierKey};
use base64::{Engine as _, prelude::BASE64_STANDARD};

/// A statement about a log. Worth something only when it was opened from a signed note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, the name of its signing key: like a URL without a scheme, `example.org/pericard/1`.
    pub origin: String,
    /// How many leaves.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

/// A signed checkpoint is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note around it does not verify.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The signed text is not a checkpoint.
    #[error("the signed text is not a checkpoint: {0}")]
    Malformed(&'static str),
    /// Signed by the right key, but of another log.
    #[error("the checkpoint is of the log {found:?}, and {expected:?} was asked for")]
    OtherLog {
        /// The log asked for: the key's name.
        expected: String,
        /// The log that the checkpoint names.
        found: String,
    },
}

impl Checkpoint {
    /// The checkpoint as a note signed by the log's key, which is named as the log is.
    ///
    /// # Errors
    /// When the origin is not the key's name, since nobody could open such a checkpoint.
    pub fn sign(&self, key: &SigningKey) -> Result<String, CheckpointError> {
        self.is_of(key.name())?;
        Ok(note::sign(&self.body(), &[key])?)
    }

    /// Opens a signed checkpoint of the log that the key is named after. Signatures by others are passed over, and so
    /// are extension lines, as the format asks.
    ///
    /// # Errors
    /// When the signature is absent or wrong, the text is no checkpoint, or it speaks of another log.
    pub fn open(signed: &str, key: &VerifierKey) -> Result<Self, CheckpointError> {
        let opened = note::open(signed, std::slice::from_ref(key))?;
        let checkpoint = Self::parse(opened.text)?;
        checkpoint.is_of(key.name())?;
        Ok(checkpoint)
    }

    /// The text that is signed.
    #[must_use]
    pub fn body(&self) -> String {
        let root = BASE64_STANDARD.encode(self.root.as_bytes());
        format!("{}\n{}\n{root}\n", self.origin, self.size)
    }

    fn is_of(&self, name: &str) -> Result<(), CheckpointError> {
        if self.origin == name {
            return Ok(());
        }
        Err(CheckpointError::OtherLog {
            expected: name.to_owned(),
            found: self.origin.clone(),
        })
    }

    fn parse(body: &str) -> Result<Self, CheckpointError> {
        use CheckpointError::Malformed;
        let mut lines = body.strip_suffix('\n').unwrap_or(body).split('\n');
        let origin = lines.next().filter(|line| !line.is_empty());
        let origin = origin.ok_or(Malformed("no origin on the first line"))?;
        let size = lines.next().ok_or(Malformed("no size"))?;
        let root = lines.next().ok_or(Malformed("no root hash"))?;
        if lines.any(str::is_empty) {
            return Err(Malformed("an empty extension line"));
        }
        Ok(Self {
            origin: origin.to_owned(),
            size: decimal(size).ok_or(Malformed("the size is not a plain decimal number"))?,
            root: BASE64_STANDARD
                .decode(root)
                .ok()
                .and_then(|bytes| Hash::try_from(bytes.as_slice()).ok())
                .ok_or(Malformed("the root is not 32 bytes in base64"))?,
        })
    }
}

/// ASCII decimal without sign or leading zeros: one number, one text.
fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_seed("log.example/1", &[7; 32]).expect("a good name")
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            origin: "log.example/1".into(),
            size: 20_852_163,
            root: Hash::new([0xAB; 32]),
        }
    }

    #[test]
    fn opens_what_was_signed() {
        let signed = checkpoint().sign(&key()).expect("signed");
        assert!(
            signed.starts_with("log.example/1\n20852163\nq6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=\n\n\u{2014} log.example/1 "),
            "{signed}"
        );
        assert_eq!(
            Checkpoint::open(&signed, &key().verifier()),
            Ok(checkpoint())
        );
    }

    #[test]
    fn extension_lines_are_passed_over() {
        let body = format!("{}an extension\n", checkpoint().body());
        let signed = note::sign(&body, &[&key()]).expect("signed");
        assert_eq!(
            Checkpoint::open(&signed, &key().verifier()),
            Ok(checkpoint())
        );
    }

    #[test]
    fn refuses_another_log_and_malformed_text() {
        let other = Checkpoint {
            origin: "log.example/2".into(),
            ..checkpoint()
        };
        assert!(matches!(
            other.sign(&key()),
            Err(CheckpointError::OtherLog { .. })
        ));
        let root = "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=";
        for body in [
            "log.example/1\n".to_owned(),
            format!("log.example/1\n007\n{root}\n"),
            format!("log.example/1\n+7\n{root}\n"),
            "log.example/1\n7\nq6ur\n".to_owned(),
            format!("log.example/1\n7\n{root}\n\nx\n"),
        ] {
            let signed = note::sign(&body, &[&key()]).expect("signed");
            let refused = Checkpoint::open(&signed, &key().verifier());
            assert!(
                matches!(refused, Err(CheckpointError::Malformed(_))),
                "{body:?} gave {refused:?}"
            );
        }
    }

    #[test]
    fn no_flipped_bit_survives() {
        let signed = checkpoint().sign(&key()).expect("signed").into_bytes();
        for at in 0..signed.len() {
            for bit in 0..8 {
                let mut forged = signed.clone();
                forged[at] ^= 1 << bit;
                let Ok(forged) = String::from_utf8(forged) else {
                    continue; // not even text
                };
                assert!(
                    Checkpoint::open(&forged, &key().verifier()).is_err(),
                    "byte {at} bit {bit}"
                );
            }
        }
    }
}
