//! Signed notes and their keys (C2SP signed-note v1.0): a text, a blank line, and one line per signature.
//!
//! Checkpoints are notes, and so are approvals of a model: several people's signatures under one text.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ed25519_dalek::Signer as _;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// The longest note that is read.
pub const MAX_NOTE_BYTES: usize = 1_000_000;
/// The most signatures that are looked at under one note.
pub const MAX_SIGNATURES: usize = 100;

const ED25519: u8 = 1; // the signature type's number in the format
const SIGNATURE_MARK: &str = "\u{2014} "; // an em dash and a space begin a signature line

/// A note is not to be believed, or cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not in the form of a signed note.
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    /// A signature under a known key's name and number does not verify.
    #[error("the signature of {name:?} does not verify: the text or the signature was changed")]
    BadSignature {
        /// The key's name.
        name: String,
    },
    /// None of the keys given signed it.
    #[error("none of the keys asked for has signed this note")]
    NotSigned,
}

/// A text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key's name cannot stand in a note.
    #[error("a key's name is not empty and has no white space and no plus sign")]
    Name,
    /// Not in the form of a key.
    #[error("not a signed-note Ed25519 key: {0}")]
    Malformed(&'static str),
}

/// What was signed, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened<'a> {
    /// The text, with its final newline.
    pub text: &'a str,
    /// The names of those of the given keys that signed it, each once, in the order of their signatures.
    pub signers: Vec<&'a str>,
}

/// Signs a text with every key given.
///
/// # Errors
/// When the text does not end with a newline, or holds control characters that the format forbids.
pub fn sign(text: &str, keys: &[&SigningKey]) -> Result<String, NoteError> {
    if !text.ends_with('\n') {
        return Err(NoteError::Malformed("the text does not end with a newline"));
    }
    check_characters(text)?;
    let mut note = format!("{text}\n");
    for key in keys {
        let signature = key.sign_bytes(text.as_bytes());
        let blob = [&key.id.to_be_bytes()[..], &signature[..]].concat();
        let line = format!(
            "{SIGNATURE_MARK}{} {}\n",
            key.name,
            BASE64_STANDARD.encode(blob)
        );
        note.push_str(&line);
    }
    Ok(note)
}

/// Opens a note that at least one of `keys` must have signed. Signatures by unknown keys are passed over: a witness may
/// have added its own.
///
/// # Errors
/// When it is no signed note, when a known key's signature is wrong, or when no known key signed it.
pub fn open<'a>(note: &'a str, keys: &[VerifierKey]) -> Result<Opened<'a>, NoteError> {
    if note.len() > MAX_NOTE_BYTES {
        return Err(NoteError::Malformed("longer than 1000000 bytes"));
    }
    check_characters(note)?;
    let (text, signatures) = split(note)?;
    let lines = signatures.strip_suffix('\n');
    let lines = lines.ok_or(NoteError::Malformed("the last line has no end"))?;
    let mut signers = Vec::new();
    for (count, line) in lines.split('\n').enumerate() {
        if count == MAX_SIGNATURES {
            return Err(NoteError::Malformed("more than 100 signatures"));
        }
        let (name, id, signature) = signature_line(line)?;
        let known = keys.iter().find(|key| key.name == name && key.id == id);
        let Some(known) = known else { continue };
        known.check(text, &signature)?;
        if !signers.contains(&name) {
            signers.push(name);
        }
    }
    if signers.is_empty() {
        return Err(NoteError::NotSigned);
    }
    Ok(Opened { text, signers })
}

/// Who signs: a name and an Ed25519 key. The secret is wiped from memory when this is dropped.
pub struct SigningKey {
    name: String,
    id: u32,
    key: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// The key grown from 32 random bytes.
    ///
    /// # Errors
    /// When the name cannot stand in a note.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        check_name(name)?;
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        Ok(Self {
            name: name.to_owned(),
            id: key_id(name, key.verifying_key().as_bytes()),
            key,
        })
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What others need to verify what this key signs.
    #[must_use]
    pub fn verifier(&self) -> VerifierKey {
        VerifierKey {
            name: self.name.clone(),
            id: self.id,
            key: self.key.verifying_key(),
        }
    }

    /// The signature over these bytes as they are. What they are must be told from all else that this key signs: see
    /// [`crate::seal`] and [`crate::cosign`].
    pub(crate) fn sign_bytes(&self, bytes: &[u8]) -> [u8; 64] {
        self.key.sign(bytes).to_bytes()
    }

    /// `PRIVATE+KEY+<name>+<id>+<key>`: the secret itself, for a file that only its owner reads. Not a `Display`, so that
    /// no log prints it by chance.
    #[must_use]
    pub fn to_secret_text(&self) -> String {
        let blob = [&[ED25519], &self.key.to_bytes()[..]].concat();
        let (name, key) = (&self.name, BASE64_STANDARD.encode(blob));
        format!("PRIVATE+KEY+{name}+{:08x}+{key}", self.id)
    }

    /// From `PRIVATE+KEY+<name>+<id>+<key>`.
    ///
    /// # Errors
    /// When the text is not such a key, or its number is not that of its name and key.
    pub fn from_secret_text(text: &str) -> Result<Self, KeyError> {
        let rest = text.trim_end().strip_prefix("PRIVATE+KEY+");
        let rest = rest.ok_or(KeyError::Malformed("it does not begin with PRIVATE+KEY+"))?;
        let (name, id, seed) = key_parts(rest)?;
        let key = Self::from_seed(name, &seed)?;
        key_id_is(id, key.id)?;
        Ok(key)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}+{:08x})", self.name, self.id)
    }
}

/// Whose signature is believed: `<name>+<id>+<key>`.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: u32,
    key: ed25519_dalek::VerifyingKey,
}

impl VerifierKey {
    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn check(&self, text: &str, signature: &[u8]) -> Result<(), NoteError> {
        let signature = signature.try_into().ok();
        if signature.is_some_and(|signature| self.verifies(text.as_bytes(), signature)) {
            return Ok(());
        }
        Err(NoteError::BadSignature {
            name: self.name.clone(),
        })
    }

    pub(crate) fn verifies(&self, bytes: &[u8], signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        // Strict: a signature that some verifiers accept and others refuse is no evidence.
        self.key.verify_strict(bytes, &signature).is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blob = [&[ED25519], &self.key.as_bytes()[..]].concat();
        let key = BASE64_STANDARD.encode(blob);
        write!(f, "{}+{:08x}+{key}", self.name, self.id)
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, id, key) = key_parts(text.trim_end())?;
        check_name(name)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(&key);
        let key = key.map_err(|_| KeyError::Malformed("the key is not a point of the curve"))?;
        let real = key_id(name, key.as_bytes());
        key_id_is(id, real)?;
        Ok(Self {
            name: name.to_owned(),
            id: real,
            key,
        })
    }
}

/// The key's number: the first 32 bits of SHA-256 over name, newline, type and key.
fn key_id(name: &str, key: &[u8; 32]) -> u32 {
    let hash = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', ED25519])
        .chain_update(key)
        .finalize();
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
}

fn key_id_is(written: &str, real: u32) -> Result<(), KeyError> {
    let same = u32::from_str_radix(written, 16) == Ok(real) && written.len() == 8;
    let wrong = KeyError::Malformed("its number is not that of its name and key");
    if same { Ok(()) } else { Err(wrong) }
}

fn key_parts(text: &str) -> Result<(&str, &str, [u8; 32]), KeyError> {
    // The base64 alphabet holds a plus sign, so the key is everything after the second.
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(KeyError::Malformed("it has not three parts"));
    };
    let blob = BASE64_STANDARD.decode(key);
    let blob = blob.map_err(|_| KeyError::Malformed("the key is not base64"))?;
    let [ED25519, key @ ..] = blob.as_slice() else {
        return Err(KeyError::Malformed("the key is of another type"));
    };
    let key = key.try_into();
    let key = key.map_err(|_| KeyError::Malformed("the key is not 32 bytes"))?;
    Ok((name, id, key))
}

fn check_name(name: &str) -> Result<(), KeyError> {
    let forbidden = |c: char| c == '+' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.contains(forbidden) {
        return Err(KeyError::Name);
    }
    Ok(())
}

fn check_characters(note: &str) -> Result<(), NoteError> {
    if note.chars().any(|c| c < ' ' && c != '\n') {
        return Err(NoteError::Malformed("a control character in it"));
    }
    Ok(())
}

/// The text with its newline, and the signature lines: parted at the last blank line.
fn split(note: &str) -> Result<(&str, &str), NoteError> {
    let at = note.rfind("\n\n");
    let at = at.ok_or(NoteError::Malformed("no blank line before the signatures"))?;
    Ok((&note[..=at], &note[at + 2..]))
}

fn signature_line(line: &str) -> Result<(&str, u32, Vec<u8>), NoteError> {
    let rest = line.strip_prefix(SIGNATURE_MARK);
    let rest = rest.ok_or(NoteError::Malformed("a signature line without its em dash"))?;
    let parts = rest.split_once(' ');
    let (name, blob) = parts.ok_or(NoteError::Malformed("a signature line without a space"))?;
    check_name(name).map_err(|_| NoteError::Malformed("a signature by a bad name"))?;
    let blob = BASE64_STANDARD.decode(blob);
    let blob = blob.map_err(|_| NoteError::Malformed("a signature that is not base64"))?;
    let parts = blob.split_first_chunk::<4>();
    let (id, signature) = parts.ok_or(NoteError::Malformed("a signature without a key number"))?;
    Ok((name, u32::from_be_bytes(*id), signature.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Go implementation's documentation, which the format was written down from.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const SECURITY: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn key(name: &str) -> SigningKey {
        SigningKey::from_seed(name, &[name.len() as u8; 32]).expect("a good name")
    }

    #[test]
    fn opens_a_note_that_another_program_signed() {
        let peter: VerifierKey = PETER.parse().expect("a key");
        assert_eq!(peter.to_string(), PETER);
        let opened = open(SECURITY, &[peter]).expect("a good note");
        assert!(opened.text.ends_with("your problem is.\n"));
        assert_eq!(opened.signers, ["PeterNeumann"]);
    }

    #[test]
    fn several_sign_one_text() {
        let (a, b, c) = (key("a"), key("bb"), key("ccc"));
        let note = sign("the text\n\nhas a blank line\n", &[&a, &b]).expect("signed");
        let open = |keys: &[VerifierKey]| {
            open(&note, keys).map(|o| (o.text.to_owned(), o.signers.join(",")))
        };
        let text = "the text\n\nhas a blank line\n".to_owned();
        assert_eq!(
            open(&[a.verifier(), b.verifier()]),
            Ok((text.clone(), "a,bb".into()))
        );
        assert_eq!(open(&[c.verifier(), b.verifier()]), Ok((text, "bb".into())));
        assert_eq!(open(&[c.verifier()]), Err(NoteError::NotSigned));
    }

    #[test]
    fn a_known_key_with_a_wrong_signature_is_no_unknown_key() {
        let note = sign("one\n", &[&key("a")]).expect("signed");
        let forged = note.replace("one", "two");
        assert_eq!(
            open(&forged, &[key("a").verifier()]),
            Err(NoteError::BadSignature { name: "a".into() })
        );
    }

    #[test]
    fn keys_are_written_and_read() {
        let secret = key("log.example/1");
        let text = secret.to_secret_text();
        let again = SigningKey::from_secret_text(&text).expect("the same key");
        assert_eq!(again.verifier(), secret.verifier());
        assert!(!format!("{secret:?}").contains(&text[text.len() - 44..]));
        for bad in ["", "a", "a+b", "a+00000000+AQ==", "PRIVATE+KEY+a+1+AQ=="] {
            assert!(bad.parse::<VerifierKey>().is_err(), "{bad:?}");
            assert!(SigningKey::from_secret_text(bad).is_err(), "{bad:?}");
        }
        let renamed = PETER.replace("Peter", "Paula");
        assert!(renamed.parse::<VerifierKey>().is_err());
        for bad in ["", "a b", "a+b", "a\u{a0}b", "a\nb"] {
            assert_eq!(
                SigningKey::from_seed(bad, &[0; 32]).err(),
                Some(KeyError::Name)
            );
        }
    }

    #[test]
    fn what_is_no_note_is_refused() {
        let peter: VerifierKey = PETER.parse().expect("a key");
        let long = format!("{}\n{SECURITY}", "x".repeat(MAX_NOTE_BYTES));
        for bad in [
            "",
            "text\n",
            "text\n\n",
            "text\n\nno dash\n",
            "text\n\n\u{2014} name\n",
            "text\n\n\u{2014} name !!\n",
            "text\n\n\u{2014} name AAA=\n",
            "te\rxt\n\n\u{2014} name AAAAAAAA\n",
            SECURITY.trim_end(),
            &long,
        ] {
            let refused = open(bad, std::slice::from_ref(&peter));
            assert!(
                matches!(refused, Err(NoteError::Malformed(_))),
                "{bad:.40?}"
            );
        }
        assert!(sign("no newline", &[]).is_err());
    }
}
