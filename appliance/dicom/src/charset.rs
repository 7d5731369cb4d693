//! Text in the character sets of PS3.3 section C.12.1.1.2, code extensions of ISO/IEC 2022 included.

use crate::codec::Codec;

const ESCAPE: u8 = 0x1B;

/// The escape sequences of PS3.3 tables C.12-3 and C.12-4, and the defined term of what each invokes. The sets of
/// Japanese that replace ASCII itself (ISO-IR 14, 87) are in [`JAPANESE`]; so does ISO-IR 159, which has a codec of its own.
pub(crate) const ESCAPES: &[(&[u8], &str)] = &[
    (b"(B", "ISO_IR 6"),
    (b")I", "ISO_IR 13"),
    (b"-A", "ISO_IR 100"),
    (b"-B", "ISO_IR 101"),
    (b"-C", "ISO_IR 109"),
    (b"-D", "ISO_IR 110"),
    (b"-F", "ISO_IR 126"),
    (b"-G", "ISO_IR 127"),
    (b"-H", "ISO_IR 138"),
    (b"-L", "ISO_IR 144"),
    (b"-M", "ISO_IR 148"),
    (b"-T", "ISO_IR 166"),
    (b"-b", "ISO_IR 203"),
    (b"$(D", "ISO_IR 159"),
    (b"$)C", "ISO_IR 149"),
    (b"$)A", "GB2312"),
];
/// Escape sequences that the codec of ISO-2022-JP follows itself.
const JAPANESE: &[&[u8]] = &[b"(J", b"$B", b"$@"];

/// The character set that an object declares.
#[derive(Debug, Clone)]
pub(crate) struct Charset {
    first: Codec,
    /// Where the first is ASCII alone, what more there is: for senders that use it without invoking it.
    second: Option<Codec>,
    /// UTF-8 and the GB sets have no code extensions: an escape character in them is only a character.
    extensible: bool,
    utf8: bool,
}

impl Charset {
    /// From the value of Specific Character Set (0008,0005). An unknown term is taken as the default repertoire.
    pub(crate) fn declared(value: &[u8]) -> Self {
        let text = String::from_utf8_lossy(value);
        let mut terms = text.split('\\').map(|term| term.trim_matches([' ', '\0']));
        let first = terms.next().unwrap_or_default();
        let is_ascii = matches!(first, "" | "ISO_IR 6" | "ISO 2022 IR 6");
        Self {
            second: terms.next().filter(|_| is_ascii).and_then(Codec::named),
            first: Codec::named(first).unwrap_or_default(),
            extensible: !matches!(first, "ISO_IR 192" | "GB18030" | "GBK"),
            utf8: first == "ISO_IR 192",
        }
    }

    /// No character set: every byte becomes the character of its number, and nothing is an escape.
    pub(crate) fn undecoded() -> Self {
        Self {
            first: Codec::default(),
            second: None,
            extensible: false,
            utf8: false,
        }
    }

    /// The text of a value, with its backslashes. Bytes that the set does not have are kept as escapes or as Latin-1,
    /// so that no two values become one.
    pub(crate) fn decode(&self, value: &[u8]) -> String {
        if value.is_ascii() && !value.contains(&ESCAPE) {
            return latin1(value);
        }
        if self.utf8 {
            return match std::str::from_utf8(value) {
                Ok(text) => text.to_owned(),
                Err(_) => latin1(value),
            };
        }
        if !self.extensible || !value.contains(&ESCAPE) {
            return self.uninvoked(value);
        }
        self.decode_extended(value)
    }

    /// Code extensions hold until the next escape or the next delimiter (PS3.5 section 6.1.2.5.3).
    fn decode_extended(&self, value: &[u8]) -> String {
        let mut text = String::with_capacity(value.len());
        let mut codec = None;
        let mut japanese = false;
        let mut start = 0;
        let mut at = 0;
        while at < value.len() {
            let byte = value[at];
            // In a Japanese two-byte set, a byte that looks like a delimiter is half of a character.
            let delimiter = matches!(byte, b'\\' | b'^' | b'=' | b'\r' | b'\n') && !japanese;
            if byte != ESCAPE && !delimiter {
                at += 1;
                continue;
            }
            text.push_str(&self.stretch(codec.as_ref(), &value[start..at]));
            if delimiter {
                text.push(char::from(byte));
                at += 1;
                start = at;
                codec = None;
                continue;
            }
            let rest = &value[at + 1..];
            japanese = JAPANESE.iter().any(|e| rest.starts_with(e));
            start = at;
            at += 1;
            if japanese {
                // The codec is given the escape sequence too.
                codec = Some(named("ISO_IR 87"));
                at += 2;
                // (J is one byte a character.
                japanese = !rest.starts_with(b"(J");
            } else if let Some((escape, term)) = ESCAPES.iter().find(|(e, _)| rest.starts_with(e)) {
                codec = Some(named(term));
                japanese = *term == "ISO_IR 159";
                at += escape.len();
                start = at;
            }
        }
        text.push_str(&self.stretch(codec.as_ref(), &value[start..]));
        text
    }

    fn stretch(&self, invoked: Option<&Codec>, bytes: &[u8]) -> String {
        match invoked {
            Some(codec) => decode_with(codec, bytes),
            None => self.uninvoked(bytes),
        }
    }

    /// Bytes before which nothing is invoked. What is no ASCII where only ASCII is declared first was meant otherwise.
    fn uninvoked(&self, bytes: &[u8]) -> String {
        let second = self.second.as_ref().filter(|_| !bytes.is_ascii());
        let meant = second.and_then(|codec| codec.decode(bytes));
        meant.unwrap_or_else(|| decode_with(&self.first, bytes))
    }
}

fn named(term: &str) -> Codec {
    Codec::named(term).unwrap_or_default()
}

fn decode_with(codec: &Codec, bytes: &[u8]) -> String {
    codec.decode(bytes).unwrap_or_else(|| latin1(bytes))
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of PS3.5 annexes H to K.
    #[test]
    fn names_of_the_standard() {
        let cases: &[(&[u8], &[u8], &str)] = &[
            (b"", b"Yamada^Tarou", "Yamada^Tarou"),
            (b"ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
            (b"ISO_IR 192", "王^小東".as_bytes(), "王^小東"),
            (
                b"GB18030",
                b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab",
                "Wang^XiaoDong=王^小东",
            ),
            (
                b"\\ISO 2022 IR 87",
                b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
                "Yamada^Tarou=山田^太郎",
            ),
            (
                b"ISO 2022 IR 13\\ISO 2022 IR 87",
                b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J",
                "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎",
            ),
            (
                b"\\ISO 2022 IR 87\\ISO 2022 IR 159",
                b"Toda=\x1b$B8MED\x1b(B^\x1b$(D0!\x1b(B",
                "Toda=戸田^丂",
            ),
            (b"ISO_IR 203", b"\xbduvre \xa4", "œuvre €"),
            (b"ISO_IR 148", b"\xdei\xfei \xdd", "Şişi İ"),
            // As pydicom writes it: not invoked again after a delimiter, or not at all.
            (
                b"\\ISO 2022 IR 149",
                b"Hong=\x1b$)C\xfb\xf3^\xd1\xce\xd4\xd7",
                "Hong=洪^吉洞",
            ),
            (b"\\ISO 2022 IR 58", b"\xd5\xc5^\xd0\xa1", "张^小"),
            (b"\\ISO 2022 IR 203", b"Ann\x1b-b\xbd", "Annœ"),
            (
                b"\\ISO 2022 IR 149",
                b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7",
                "Hong^Gildong=洪^吉洞",
            ),
            (
                b"ISO 2022 IR 100\\ISO 2022 IR 144",
                b"Dionysios is \x1b-F\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2",
                "Dionysios is Διονυσιος",
            ),
        ];
        for (declared, bytes, expected) in cases {
            assert_eq!(Charset::declared(declared).decode(bytes), *expected);
        }
    }

    #[test]
    fn garbage_stays_apart() {
        for declared in [
            &b"ISO_IR 192"[..],
            b"ISO 2022 IR 87",
            b"ISO 2022 IR 149",
            b"\xff\xfe",
            b"GBK",
        ] {
            let charset = Charset::declared(declared);
            let (a, b) = (
                charset.decode(b"\xff\xfe\x1b$"),
                charset.decode(b"\xff\xfd\x1b$"),
            );
            assert_ne!(a, b, "{declared:?}");
        }
    }
}
