//! DICOM unique identifiers (PS3.5 section 9.1), one type per role.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The most characters that a UID may have (PS3.5 section 9.1).
pub const UID_CHARS_MAX: usize = 64;

/// Why a text is not a UID. The text itself is not repeated: a hostile peer chose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UidError {
    /// Nothing is left after the padding is removed.
    #[error("the UID is empty")]
    Empty,
    /// More than [`UID_CHARS_MAX`] characters.
    #[error("the UID has more than {UID_CHARS_MAX} characters")]
    TooLong,
    /// Something other than a digit or a full stop, or an empty component.
    #[error("the UID has a character or an empty component that PS3.5 section 9.1 does not allow")]
    Malformed,
}

/// Checks a UID and removes the trailing NUL or space that DICOM pads with.
///
/// Leading zeros in a component are accepted: many devices write them, and the text is only ever compared.
fn checked(text: &str) -> Result<&str, UidError> {
    let text = text.trim_end_matches(['\0', ' ']);
    if text.is_empty() {
        return Err(UidError::Empty);
    }
    if text.len() > UID_CHARS_MAX {
        return Err(UidError::TooLong);
    }
    let component_ok = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if text.split('.').all(component_ok) {
        Ok(text)
    } else {
        Err(UidError::Malformed)
    }
}

macro_rules! uid_roles {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes a text as this kind of UID.
            ///
            /// # Errors
            /// When the text is not a UID; see [`UidError`].
            pub fn new(text: impl AsRef<str>) -> Result<Self, UidError> {
                checked(text.as_ref()).map(|t| Self(t.to_owned()))
            }

            /// The UID as text, without padding.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = UidError;
            fn from_str(text: &str) -> Result<Self, UidError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = UidError;
            fn try_from(text: String) -> Result<Self, UidError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(uid: $name) -> String {
                uid.0
            }
        }
    )+};
}

uid_roles! {
    /// Study Instance UID (0020,000D).
    StudyUid;
    /// Series Instance UID (0020,000E).
    SeriesUid;
    /// SOP Instance UID (0008,0018).
    InstanceUid;
    /// SOP Class UID (0008,0016).
    SopClassUid;
    /// Transfer Syntax UID (0002,0010).
    TransferSyntaxUid;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_uid() {
        let longest = "1.".repeat(31) + "12";
        for good in ["1.2.840.10008.1.2", "1.2\0", "0", "1.02", longest.as_str()] {
            assert!(StudyUid::new(good).is_ok(), "{good:?}");
        }
        let too_long = "1".repeat(65);
        for bad in [
            "",
            " ",
            "1..2",
            ".1",
            "1.",
            "../etc",
            "1.2/3",
            "1.a",
            "1.2\0.3",
            too_long.as_str(),
        ] {
            assert!(StudyUid::new(bad).is_err(), "{bad:?}");
        }
    }
}
