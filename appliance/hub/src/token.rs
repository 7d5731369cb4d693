//! Tokens: who may look, and at what.

use crate::records::Viewer;
use sha2::{Digest as _, Sha256};

/// No secret is longer; longer texts are not even hashed.
const SECRET_CHARS_MAX: usize = 128;

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its number.
    pub number: u32,
    /// What it is for.
    pub label: String,
    /// SHA-256 of its secret.
    pub sha256: [u8; 32],
    /// What it allows.
    pub viewer: Viewer,
    /// When it was made, seconds since 1970.
    pub created_at_s: u64,
    /// When it ends.
    pub expires_at_s: u64,
    /// Whether it was taken back.
    pub revoked: bool,
}

impl Token {
    /// What a secret is found by; `None` for what cannot be one.
    #[must_use]
    pub fn key(secret: &str) -> Option<[u8; 32]> {
        let shaped = !secret.is_empty() && secret.len() <= SECRET_CHARS_MAX;
        shaped.then(|| Sha256::digest(secret.as_bytes()).into())
    }

    /// Whether it was not taken back and has not ended.
    #[must_use]
    pub fn is_good(&self, now_s: u64) -> bool {
        !self.revoked && now_s < self.expires_at_s
    }

    /// The good one whose secret has this digest. A digest needs no comparison in constant time: how far two agree says
    /// nothing of a secret.
    pub(crate) fn good<'t>(tokens: &'t [Self], sha256: &[u8; 32], now_s: u64) -> Option<&'t Self> {
        let held = tokens.iter().find(|token| token.sha256 == *sha256)?;
        held.is_good(now_s).then_some(held)
    }
}

impl Viewer {
    /// The role's word: `admin`, `analyst`, or `hospital N`.
    #[must_use]
    pub fn role(self) -> String {
        match self {
            Self::Admin => "admin".into(),
            Self::Analyst => "analyst".into(),
            Self::Hospital(number) => format!("hospital {number}"),
        }
    }

    /// Who has this role.
    #[must_use]
    pub fn with_role(role: &str) -> Option<Self> {
        match role.split_once(' ') {
            None if role == "admin" => Some(Self::Admin),
            None if role == "analyst" => Some(Self::Analyst),
            Some(("hospital", number)) => number.parse().ok().map(Self::Hospital),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_as_they_are_written() {
        for viewer in [Viewer::Admin, Viewer::Analyst, Viewer::Hospital(7)] {
            assert_eq!(Viewer::with_role(&viewer.role()), Some(viewer));
        }
        for wrong in ["", "root", "hospital", "hospital x", "admin 1"] {
            assert_eq!(Viewer::with_role(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_token_ends_and_can_be_taken_back() {
        let mut token = Token {
            number: 1,
            label: "press office".into(),
            sha256: Sha256::digest(b"pcd_secret").into(),
            viewer: Viewer::Analyst,
            created_at_s: 0,
            expires_at_s: 100,
            revoked: false,
        };
        let holder = |token: &Token, secret: &str, now_s| {
            let key = Token::key(secret).expect("a secret");
            Token::good(std::slice::from_ref(token), &key, now_s).map(|token| token.viewer)
        };
        assert_eq!(holder(&token, "pcd_secret", 99), Some(Viewer::Analyst));
        assert_eq!(holder(&token, "pcd_secret", 100), None);
        assert_eq!(holder(&token, "pcd_other", 99), None);
        token.revoked = true;
        assert_eq!(holder(&token, "pcd_secret", 99), None);
        assert_eq!(Token::key(""), None);
        assert_eq!(Token::key(&"x".repeat(SECRET_CHARS_MAX + 1)), None);
    }
}
