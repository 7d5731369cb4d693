//! Application entity titles (PS3.8, value representation AE of PS3.5).

use serde::{Deserialize, Serialize};
use std::fmt;

/// The most characters that an application entity title may have.
pub const AE_TITLE_CHARS_MAX: usize = 16;

/// Why a text is not an application entity title.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an application entity title has 1 to {AE_TITLE_CHARS_MAX} printable ASCII characters and no backslash"
)]
pub struct AeTitleError;

/// An application entity title, without the spaces around it, which are not significant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AeTitle(String);

impl AeTitle {
    /// Takes a text as an application entity title.
    ///
    /// # Errors
    /// When it is empty, too long, or has a control character, a backslash or a non-ASCII character.
    pub fn new(text: impl AsRef<str>) -> Result<Self, AeTitleError> {
        let text = text.as_ref().trim_matches([' ', '\0']);
        let printable = |b: u8| (0x20..0x7f).contains(&b) && b != b'\\';
        if text.is_empty() || text.len() > AE_TITLE_CHARS_MAX || !text.bytes().all(printable) {
            return Err(AeTitleError);
        }
        Ok(Self(text.to_owned()))
    }

    /// The title as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AeTitle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for AeTitle {
    type Error = AeTitleError;
    fn try_from(text: String) -> Result<Self, AeTitleError> {
        Self::new(text)
    }
}

impl From<AeTitle> for String {
    fn from(title: AeTitle) -> String {
        title.0
    }
}
