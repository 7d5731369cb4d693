//! Cosignatures (C2SP tlog-cosignature v1): a witness says that it saw a checkpoint, at a time, and that it continues all
//! that it saw of the log before.

use crate::checkpoint::Checkpoint;
use crate::note::{SigningKey, VerifierKey};

/// The witness's signature over a checkpoint that it saw at this time, seconds since 1970.
#[must_use]
pub fn cosign(witness: &SigningKey, checkpoint: &Checkpoint, at_s: u64) -> [u8; 64] {
    witness.sign_bytes(message(checkpoint, at_s).as_bytes())
}

/// Whether this witness saw this checkpoint at this time.
#[must_use]
pub fn opens(
    witness: &VerifierKey,
    checkpoint: &Checkpoint,
    at_s: u64,
    signature: &[u8; 64],
) -> bool {
    witness.verifies(message(checkpoint, at_s).as_bytes(), signature)
}

fn message(checkpoint: &Checkpoint, at_s: u64) -> String {
    format!("cosignature/v1\ntime {at_s}\n{}", checkpoint.body())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Hash;

    #[test]
    fn a_cosignature_holds_for_its_checkpoint_and_its_time() {
        let witness = SigningKey::from_seed("hub.example", &[3; 32]).expect("a key");
        let seen = |size| Checkpoint {
            origin: "pericard/17".into(),
            size,
            root: Hash::empty_root(),
        };
        assert_eq!(
            message(&seen(9), 1_700_000_000),
            "cosignature/v1\ntime 1700000000\npericard/17\n9\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
        );
        let signature = cosign(&witness, &seen(9), 1_700_000_000);
        let holds = |size, at_s| opens(&witness.verifier(), &seen(size), at_s, &signature);
        assert!(holds(9, 1_700_000_000));
        assert!(!holds(10, 1_700_000_000));
        assert!(!holds(9, 1_700_000_001));
    }
}
