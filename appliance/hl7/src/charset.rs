//! Character Set (MSH-18), by the names of HL7 table 0211.

use encoding_rs::Encoding;
use std::borrow::Cow;
use std::str::FromStr;

/// A character set that messages are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charset {
    name: &'static str,
    /// `None` for ASCII, which is read as UTF-8: it is the same where it is used as it should be, and else the best guess.
    encoding: Option<&'static Encoding>,
}

/// A name that is none of those that are known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a character set of HL7 table 0211, such as \"UNICODE UTF-8\", \"8859/1\" or \"ASCII\"")]
pub struct UnknownCharset;

/// Names in the table, and what they are. UTF-16 and UTF-32 are absent: their bytes cannot be framed by MLLP.
static KNOWN: [(&str, Option<&Encoding>); 21] = [
    ("ASCII", None),
    ("UNICODE UTF-8", Some(encoding_rs::UTF_8)),
    ("UNICODE", Some(encoding_rs::UTF_8)),
    ("8859/1", Some(encoding_rs::WINDOWS_1252)),
    ("8859/2", Some(encoding_rs::ISO_8859_2)),
    ("8859/3", Some(encoding_rs::ISO_8859_3)),
    ("8859/4", Some(encoding_rs::ISO_8859_4)),
    ("8859/5", Some(encoding_rs::ISO_8859_5)),
    ("8859/6", Some(encoding_rs::ISO_8859_6)),
    ("8859/7", Some(encoding_rs::ISO_8859_7)),
    ("8859/8", Some(encoding_rs::ISO_8859_8)),
    ("8859/9", Some(encoding_rs::WINDOWS_1254)),
    ("8859/15", Some(encoding_rs::ISO_8859_15)),
    ("ISO IR6", None),
    ("ISO IR14", Some(encoding_rs::SHIFT_JIS)),
    ("ISO IR87", Some(encoding_rs::ISO_2022_JP)),
    ("ISO IR159", Some(encoding_rs::ISO_2022_JP)),
    ("GB 18030-2000", Some(encoding_rs::GB18030)),
    ("KS X 1001", Some(encoding_rs::EUC_KR)),
    ("BIG-5", Some(encoding_rs::BIG5)),
    ("CNS 11643-1992", Some(encoding_rs::BIG5)),
];

impl FromStr for Charset {
    type Err = UnknownCharset;

    /// An absent name is ASCII.
    fn from_str(text: &str) -> Result<Self, UnknownCharset> {
        let text = match text.trim() {
            "" => "ASCII",
            text => text,
        };
        let known = KNOWN
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text));
        let (name, encoding) = known.ok_or(UnknownCharset)?;
        Ok(Self {
            name,
            encoding: *encoding,
        })
    }
}

impl Charset {
    /// Its name in MSH-18.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Text, with replacement characters where it is not what it says.
    pub(crate) fn decoded(self, bytes: &[u8]) -> Cow<'_, str> {
        let encoding = self.encoding.unwrap_or(encoding_rs::UTF_8);
        encoding.decode_without_bom_handling(bytes).0
    }

    /// Bytes, with a question mark for what it does not hold.
    pub(crate) fn encoded(self, text: &str) -> Vec<u8> {
        let Some(encoding) = self.encoding else {
            let held = |c: char| if c.is_ascii() { c as u8 } else { b'?' };
            return text.chars().map(held).collect();
        };
        let (bytes, _, is_lossy) = encoding.encode(text);
        if !is_lossy {
            return bytes.into_owned();
        }
        let held = |c: char| {
            let mut buffer = [0; 4];
            let one: &str = c.encode_utf8(&mut buffer);
            if encoding.encode(one).2 { '?' } else { c }
        };
        let text: String = text.chars().map(held).collect();
        encoding.encode(&text).0.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (name, text) in [
            ("UNICODE UTF-8", "Müller 山田 Люк"),
            ("8859/1", "Müller Jérôme"),
            ("8859/5", "Люкceмбypг"),
            ("8859/15", "œuvre €"),
            ("ISO IR87", "山田^太郎"),
            ("GB 18030-2000", "王^小东"),
            ("KS X 1001", "김희중"),
            ("BIG-5", "王小東"),
            ("", "Doe"),
        ] {
            let charset: Charset = name.parse().unwrap();
            assert_eq!(charset.decoded(&charset.encoded(text)), text, "{name}");
        }
        assert!("UNICODE UTF-16".parse::<Charset>().is_err());
    }

    #[test]
    fn what_it_does_not_hold_is_a_question_mark() {
        let latin: Charset = "8859/1".parse().unwrap();
        assert_eq!(latin.encoded("ü山x"), [0xFC, b'?', b'x']);
        let ascii: Charset = "ASCII".parse().unwrap();
        assert_eq!(ascii.encoded("ü"), b"?");
    }
}
