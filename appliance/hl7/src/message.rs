//! A message taken apart: segments, fields, repetitions, components, subcomponents (HL7 v2 chapter 2).
//!
//! Whatever a sender may have put into it is bounded before it is split, and nothing is copied that is not asked for.

use crate::charset::Charset;

/// The most segments of a message.
const SEGMENTS_MAX: usize = 10_000;
/// The most fields of a segment; the longest of the standard has fifty.
const FIELDS_MAX: usize = 512;
/// The longest value that is taken out of a message, characters.
const VALUE_CHARS_MAX: usize = 1024;

/// Why a message is none, by HL7 table 0357.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("it does not begin with an MSH segment and its separators")]
    NoHeader,
    #[error("it has more segments or fields than any")]
    TooMuch,
    #[error("its character set (MSH-18) is not known here")]
    Charset,
}

/// A message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    text: String,
    separators: Separators,
    pub(crate) charset: Charset,
}

/// MSH-1 and MSH-2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Separators {
    field: char,
    component: char,
    repetition: char,
    escape: char,
    subcomponent: char,
}

/// A segment of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment<'m> {
    text: &'m str,
    separators: Separators,
}

impl Message {
    /// Takes a message apart.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let header = bytes.split(|b| matches!(b, b'\r' | b'\n')).next();
        let header = header.unwrap_or_default();
        let separators = Separators::of(header)?;
        // Up to there a header is ASCII, whatever the rest is.
        let declared = header.split(|b| *b == separators.field as u8).nth(17);
        let declared = String::from_utf8_lossy(declared.unwrap_or_default()).into_owned();
        let first = declared
            .split(separators.repetition)
            .next()
            .unwrap_or_default();
        let charset: Charset = first.parse().map_err(|_| Malformed::Charset)?;
        let message = Self {
            text: charset.decoded(bytes).into_owned(),
            separators,
            charset,
        };
        message.check()?;
        Ok(message)
    }

    fn check(&self) -> Result<(), Malformed> {
        let is_too_wide =
            |s: Segment<'_>| s.text.matches(self.separators.field).count() > FIELDS_MAX;
        if self.all().count() > SEGMENTS_MAX || self.all().any(is_too_wide) {
            return Err(Malformed::TooMuch);
        }
        Ok(())
    }

    /// Every segment, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = Segment<'_>> {
        let lines = self.text.split(['\r', '\n']);
        lines
            .filter(|line| !line.trim().is_empty())
            .map(|text| Segment {
                text,
                separators: self.separators,
            })
    }

    /// The groups that begin with a segment of that name and end before the next one. What comes before the first is in none.
    pub(crate) fn groups(&self, name: &str) -> Vec<Vec<Segment<'_>>> {
        let mut groups: Vec<Vec<Segment<'_>>> = Vec::new();
        for segment in self.all() {
            if segment.name() == name {
                groups.push(Vec::new());
            }
            if let Some(group) = groups.last_mut() {
                group.push(segment);
            }
        }
        groups
    }

    /// The segments of that name.
    pub(crate) fn segments(&self, name: &'static str) -> impl Iterator<Item = Segment<'_>> {
        self.all().filter(move |segment| segment.name() == name)
    }

    /// The first segment of that name.
    pub(crate) fn segment(&self, name: &'static str) -> Option<Segment<'_>> {
        self.segments(name).next()
    }

    /// A field of the header: MSH-1 is the separator itself, so its fields are one further on than they stand.
    pub(crate) fn header(&self, number: usize) -> String {
        self.header_component(number, 1)
    }

    /// A component of a field of the header.
    pub(crate) fn header_component(&self, number: usize, component: usize) -> String {
        let header = self.all().next();
        let value = header.map(|h| h.component(number - 1, component));
        value.unwrap_or_default()
    }
}

impl Separators {
    fn of(header: &[u8]) -> Result<Self, Malformed> {
        let rest = header.strip_prefix(b"MSH").ok_or(Malformed::NoHeader)?;
        let [field, component, repetition, escape, subcomponent, ..] = *rest else {
            return Err(Malformed::NoHeader);
        };
        let all = [field, component, repetition, escape, subcomponent];
        let is_one = |b: &u8| b.is_ascii_graphic() && !b.is_ascii_alphanumeric();
        let are_different = (1..5).all(|at| !all[..at].contains(&all[at]));
        if !all.iter().all(is_one) || !are_different {
            return Err(Malformed::NoHeader);
        }
        let [field, component, repetition, escape, subcomponent] = all.map(char::from);
        Ok(Self {
            field,
            component,
            repetition,
            escape,
            subcomponent,
        })
    }
}

impl<'m> Segment<'m> {
    /// Its name.
    pub(crate) fn name(self) -> &'m str {
        self.text
            .split(self.separators.field)
            .next()
            .unwrap_or_default()
    }

    /// A field as it stands, with all its repetitions.
    fn field(self, number: usize) -> &'m str {
        self.text
            .split(self.separators.field)
            .nth(number)
            .unwrap_or_default()
    }

    /// The repetitions of a field, as they stand.
    pub(crate) fn repetitions(self, number: usize) -> impl Iterator<Item = Repetition<'m>> {
        let separators = self.separators;
        let all = self.field(number).split(separators.repetition);
        all.map(move |text| Repetition { text, separators })
    }

    /// A component of the first repetition of a field: its first subcomponent, without escapes and space around it.
    /// Empty when it is absent, or was deleted on purpose (two quotation marks).
    pub(crate) fn component(self, number: usize, component: usize) -> String {
        let first = self.repetitions(number).next();
        first.map(|r| r.component(component)).unwrap_or_default()
    }

    /// The same, when there is something in it.
    pub(crate) fn said(self, number: usize, component: usize) -> Option<String> {
        Some(self.component(number, component)).filter(|text| !text.is_empty())
    }
}

/// One repetition of a field.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Repetition<'m> {
    text: &'m str,
    separators: Separators,
}

impl Repetition<'_> {
    /// One of its components, as [`Segment::component`].
    pub(crate) fn component(self, number: usize) -> String {
        let component = self.text.split(self.separators.component).nth(number - 1);
        let component = component.unwrap_or_default();
        let first = component.split(self.separators.subcomponent).next();
        match first.unwrap_or_default().trim() {
            "\"\"" => String::new(),
            text => unescaped(text, self.separators),
        }
    }
}

/// Without escape sequences (chapter 2, section 2.7). Highlighting and character sets' own are dropped.
fn unescaped(text: &str, separators: Separators) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(separators.escape) {
        out.push_str(before);
        let Some((sequence, after)) = after.split_once(separators.escape) else {
            // One that nobody closed is a character like others.
            out.push(separators.escape);
            rest = after;
            continue;
        };
        escape(sequence, separators, &mut out);
        rest = after;
    }
    out.push_str(rest);
    out.chars().take(VALUE_CHARS_MAX).collect()
}

fn escape(sequence: &str, separators: Separators, out: &mut String) {
    match sequence {
        "F" => out.push(separators.field),
        "S" => out.push(separators.component),
        "T" => out.push(separators.subcomponent),
        "R" => out.push(separators.repetition),
        "E" => out.push(separators.escape),
        ".br" => out.push(' '),
        _ => {
            let hex = sequence.strip_prefix('X').unwrap_or_default();
            let bytes: Option<Vec<u8>> = hex
                .as_bytes()
                .chunks(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
                .collect();
            // Control characters have no place in a value.
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            out.extend(text.unwrap_or_default().chars().filter(|c| !c.is_control()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_components_and_escapes() {
        let bytes = b"MSH|^~\\&|RIS|HOSP|PERICARD||20261129||ADT^A01^ADT_A01|42|P|2.5\r\n\
            PID|1||P1^^^HOSP^MR~X^^^^PI||Doe&van^J\\T\\e\\F\\\\X41\\^\"\"||19700101\rZZZ|\\open";
        let message = Message::parse(bytes).unwrap();
        assert_eq!(message.header(3), "RIS");
        assert_eq!(message.header_component(9, 2), "A01");
        assert_eq!(message.header(10), "42");
        let pid = message.segment("PID").unwrap();
        assert_eq!(pid.component(3, 1), "P1");
        let second: Vec<_> = pid.repetitions(3).map(|r| r.component(1)).collect();
        assert_eq!(second, ["P1", "X"]);
        assert_eq!(pid.component(5, 1), "Doe");
        assert_eq!(pid.component(5, 2), "J&e|A");
        assert_eq!(pid.component(5, 3), "");
        assert_eq!(pid.component(99, 9), "");
        assert_eq!(message.segment("ZZZ").unwrap().component(1, 1), "\\open");
    }

    #[test]
    fn other_separators_and_character_sets() {
        let text = "MSH$%~\\&$A$B$C$D$1$$ORM%O01$7$P$2.4$$$$$$8859/1\rPID$$$P%%%H$$M\u{fc}ller%Uwe";
        let latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
        let message = Message::parse(&latin).unwrap();
        assert_eq!(message.segment("PID").unwrap().component(5, 1), "Müller");
        // The second byte of this character is a separator's: it is decoded before it is cut.
        let (big5, _, _) = encoding_rs::BIG5.encode("功");
        assert!(big5.contains(&b'\\'), "{big5:?}");
        let bytes = [
            &b"MSH|^~\\&|A|B|C|D|1||ORM^O01|7|P|2.4||||||BIG-5\rPID||||"[..],
            b"|",
            &big5,
        ]
        .concat();
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.segment("PID").unwrap().component(5, 1), "功");
    }

    #[test]
    fn what_is_no_message() {
        let wide = format!("MSH|^~\\&|A\rPID{}", "|".repeat(600));
        let long = format!("MSH|^~\\&|A\r{}", "PID|\r".repeat(10_001));
        for (bytes, expected) in [
            (&b""[..], Malformed::NoHeader),
            (b"MSH", Malformed::NoHeader),
            (b"MSH|||||", Malformed::NoHeader),
            (b"MSHaBcDe", Malformed::NoHeader),
            (b"PID|1", Malformed::NoHeader),
            (wide.as_bytes(), Malformed::TooMuch),
            (long.as_bytes(), Malformed::TooMuch),
            (
                b"MSH|^~\\&|A|B|C|D|1||ORM^O01|7|P|2.4||||||UNICODE UTF-16",
                Malformed::Charset,
            ),
        ] {
            assert_eq!(Message::parse(bytes).unwrap_err(), expected);
        }
    }
}
