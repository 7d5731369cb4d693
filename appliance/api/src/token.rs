//! Bearer tokens: what a secret looks like, and the only form in which it is kept.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// What every secret begins with, so that a leaked one is recognised by scanners and by people.
const PREFIX: &str = "pcd_";
/// Random bytes of a secret's id.
const ID_BYTES: usize = 4;
/// Random bytes of a secret: more than anybody can guess, so one round of SHA-256 is enough to keep it by.
const SECRET_BYTES: usize = 32;
/// No secret is longer; longer texts are not even hashed.
const SECRET_CHARS_MAX: usize = 128;

/// A new token.
#[derive(Clone)]
pub struct Minted {
    /// The secret, `pcd_<id>_<random>`: shown once, to whoever asked for it, and kept nowhere.
    pub secret: String,
    /// SHA-256 of the secret: what is kept.
    pub sha256: [u8; 32],
}

/// Makes a new token from the system's random numbers.
///
/// # Errors
/// When the system has none to give.
pub fn mint() -> std::io::Result<Minted> {
    let mut random = [0; ID_BYTES + SECRET_BYTES];
    getrandom::fill(&mut random).map_err(std::io::Error::other)?;
    let (id, rest) = random.split_at(ID_BYTES);
    let secret = format!(
        "{PREFIX}{}_{}",
        hex::encode(id),
        URL_SAFE_NO_PAD.encode(rest)
    );
    let sha256 = Sha256::digest(secret.as_bytes()).into();
    Ok(Minted { secret, sha256 })
}

/// What to look a presented secret up by; `None` when it cannot be one of ours.
///
/// Looking up a digest needs no constant-time comparison: how far two digests agree says nothing about the secret.
pub(crate) fn lookup_key(presented: &str) -> Option<[u8; 32]> {
    let shaped = presented.starts_with(PREFIX) && presented.len() <= SECRET_CHARS_MAX;
    shaped.then(|| Sha256::digest(presented.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_recognised_and_never_the_same_twice() {
        let (a, b) = (mint().expect("random"), mint().expect("random"));
        assert_ne!(a.secret, b.secret);
        assert_eq!(lookup_key(&a.secret), Some(a.sha256));
        assert_eq!(a.secret.len(), 4 + 8 + 1 + 43);
        assert_eq!(lookup_key("hunter2"), None);
        assert_eq!(lookup_key(&format!("pcd_{}", "a".repeat(200))), None);
    }
}
