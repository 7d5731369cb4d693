//! Acknowledgements, those that are given and those that are got (HL7 v2 chapter 2, sections 2.9 and 2.13).

use crate::charset::Charset;
use crate::message::{Malformed, Message};
use crate::orders::NotUnderstood;
use crate::peer::Us;

/// The longest control id that is given back, characters (MSH-10 has 199).
const CONTROL_ID_CHARS_MAX: usize = 199;

/// How a message is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is heeded, and what it says is committed.
    Accept,
    /// It says something that cannot be heeded, or could not be kept: the same message may be when that is mended.
    Error(Trouble),
    /// It is no message that is taken here.
    Reject(Trouble),
}

/// What is wrong, by HL7 table 0357, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    code: u16,
    /// Segment and field, where it is about one.
    location: Option<(&'static str, usize)>,
    /// One sentence, without patient data.
    pub(crate) why: String,
}

impl Trouble {
    /// Message structure, character set and the like.
    pub(crate) fn malformed(error: &Malformed) -> Self {
        let code = match error {
            Malformed::Charset => 103,
            _ => 100,
        };
        Self::new(code, error.to_string())
    }

    /// Required field missing, or table value not found.
    pub(crate) fn not_understood(error: &NotUnderstood) -> Self {
        let location = Some((error.segment, error.field));
        let code = if error.field == 0 { 100 } else { 101 };
        Self {
            location,
            ..Self::new(code, error.why.to_owned())
        }
    }

    /// 200 message type, 201 event code, 203 version.
    pub(crate) fn unsupported(code: u16, why: &str) -> Self {
        Self::new(code, why.to_owned())
    }

    /// What it says is in conflict with what is known.
    pub(crate) fn conflict(why: String) -> Self {
        Self::new(204, why)
    }

    /// Application internal error: the same message may be taken later.
    pub(crate) fn internal() -> Self {
        Self::new(
            207,
            "it cannot be kept at the moment; send it again".to_owned(),
        )
    }

    fn new(code: u16, why: String) -> Self {
        Self {
            code,
            location: None,
            why,
        }
    }

    fn meaning(&self) -> &'static str {
        match self.code {
            100 => "Segment sequence error",
            101 => "Required field missing",
            103 => "Table value not found",
            200 => "Unsupported message type",
            201 => "Unsupported event code",
            203 => "Unsupported version id",
            204 => "Unknown key identifier",
            _ => "Application internal error",
        }
    }
}

/// The acknowledgement of a message; `None` when it asks for none. What has no readable header is answered to nobody by name.
pub(crate) fn acknowledgement(
    message: Option<&Message>,
    answer: &Answer,
    us: &Us,
    (now, number): (&str, &str),
) -> Option<Vec<u8>> {
    let of = |number: usize| message.map(|m| m.header(number)).unwrap_or_default();
    let is_good = *answer == Answer::Accept;
    let enhanced = of(15);
    if !enhanced.is_empty() && !is_asked_for(&enhanced, is_good) && !is_asked_for(&of(16), is_good)
    {
        return None;
    }
    let mode = match !enhanced.is_empty() && of(16).is_empty() | (of(16) == "NE") {
        true => 'C',
        false => 'A',
    };
    let (letter, trouble) = match answer {
        Answer::Accept => ('A', None),
        Answer::Error(trouble) => ('E', Some(trouble)),
        Answer::Reject(trouble) => ('R', Some(trouble)),
    };
    let charset = message.map_or_else(ascii, |m| m.charset);
    let event = message
        .map(|m| m.header_component(9, 2))
        .unwrap_or_default();
    let version = match of(12) {
        version if version.is_empty() => "2.5.1".to_owned(),
        version => version,
    };
    let control: String = of(10).chars().take(CONTROL_ID_CHARS_MAX).collect();
    let kind = format!(
        "ACK{}",
        if event.is_empty() {
            String::new()
        } else {
            format!("^{}^ACK", escaped(&event))
        }
    );
    let mut text = format!(
        "MSH|^~\\&|{}|{}|{}|{}|{now}||{kind}|{number}|P|{}||||||{}\rMSA|{mode}{letter}|{}",
        escaped(&us.application),
        escaped(&us.facility),
        escaped(&of(3)),
        escaped(&of(4)),
        escaped(&version),
        charset.name(),
        escaped(&control),
    );
    if let Some(trouble) = trouble {
        let location = trouble.location.map(|(segment, field)| match field {
            0 => format!("{segment}^1"),
            field => format!("{segment}^1^{field}"),
        });
        text.push_str(&format!(
            "|{why}\rERR||{location}|{code}^{meaning}^HL70357|E||||{why}",
            why = escaped(&trouble.why),
            location = location.unwrap_or_default(),
            code = trouble.code,
            meaning = trouble.meaning(),
        ));
    }
    text.push('\r');
    Some(charset.encoded(&text))
}

fn ascii() -> Charset {
    // The first of the table.
    "ASCII"
        .parse()
        .unwrap_or_else(|_| unreachable!("ASCII is known"))
}

fn is_asked_for(condition: &str, is_good: bool) -> bool {
    match condition {
        "AL" => true,
        "SU" => is_good,
        "ER" => !is_good,
        _ => false,
    }
}

/// What an acknowledgement that came says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It is taken.
    Taken,
    /// It is not, and may be later.
    Later(String),
    /// It is not, and never will be.
    Never(String),
    /// It answers another message.
    Other,
}

/// Reads an acknowledgement of the message of that control id.
pub(crate) fn heard(bytes: &[u8], control_id: &str) -> Heard {
    let Ok(message) = Message::parse(bytes) else {
        return Heard::Later("the answer is no HL7 message".into());
    };
    let Some(msa) = message.segment("MSA") else {
        return Heard::Later("the answer is no acknowledgement".into());
    };
    if msa.component(2, 1) != control_id {
        return Heard::Other;
    }
    let code = msa.component(1, 1);
    // ERR-3 since version 2.5, ERR-1 before.
    let errors = || message.segments("ERR");
    let number = errors()
        .find_map(|err| err.said(3, 1).or_else(|| err.said(1, 4)))
        .unwrap_or_default();
    let said = || {
        let number: String = number.chars().take(8).collect();
        format!("the peer answered {code} {number}")
            .trim_end()
            .to_owned()
    };
    match code.as_str() {
        "AA" | "CA" => Heard::Taken,
        // Of its own state (206 locked, 207 internal), not of what was sent.
        "AE" | "CE" if number.is_empty() || matches!(number.as_str(), "206" | "207") => {
            Heard::Later(said())
        }
        "AE" | "CE" => Heard::Never(said()),
        // For its type, event, processing id or version; else for a reason that is not the message's.
        "AR" | "CR" if matches!(number.as_str(), "200" | "201" | "202" | "203") => {
            Heard::Never(said())
        }
        _ => Heard::Later(said()),
    }
}

/// With escape sequences in place of separators and line ends.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' => out.push_str("\\F\\"),
            '^' => out.push_str("\\S\\"),
            '&' => out.push_str("\\T\\"),
            '~' => out.push_str("\\R\\"),
            '\\' => out.push_str("\\E\\"),
            '\n' => out.push_str("\\.br\\"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us() -> Us {
        Us {
            application: "PERICARD".into(),
            facility: "H".into(),
        }
    }

    fn answered(header: &str, answer: &Answer) -> Option<String> {
        let message = Message::parse(header.as_bytes()).ok();
        let bytes = acknowledgement(message.as_ref(), answer, &us(), ("20261129", "9"))?;
        Some(String::from_utf8(bytes).unwrap())
    }

    const HEADER: &str = "MSH|^~\\&|RIS|HOSP|PERICARD|H|1||ORM^O01|M1|P|2.3.1";

    #[test]
    fn answers() {
        assert_eq!(
            answered(HEADER, &Answer::Accept).unwrap(),
            "MSH|^~\\&|PERICARD|H|RIS|HOSP|20261129||ACK^O01^ACK|9|P|2.3.1||||||ASCII\rMSA|AA|M1\r"
        );
        let trouble = Trouble::not_understood(&NotUnderstood {
            segment: "ORC",
            field: 2,
            why: "no | number",
        });
        let said = answered(HEADER, &Answer::Error(trouble)).unwrap();
        assert!(
            said.contains(
                "MSA|AE|M1|no \\F\\ number\rERR||ORC^1^2|101^Required field missing^HL70357|E|"
            ),
            "{said}"
        );
        let trouble = Trouble::malformed(&Malformed::NoHeader);
        let said = answered("nothing", &Answer::Reject(trouble)).unwrap();
        assert!(said.contains("\rMSA|AR||"), "{said}");
    }

    #[test]
    fn enhanced_mode_says_when_to_answer() {
        let header = |accept: &str, application: &str| format!("{HEADER}|||{accept}|{application}");
        let trouble = || Answer::Error(Trouble::internal());
        for (accept, application, answer, expected) in [
            ("AL", "NE", Answer::Accept, Some("CA")),
            ("AL", "AL", Answer::Accept, Some("AA")),
            ("NE", "NE", Answer::Accept, None),
            ("NE", "AL", Answer::Accept, Some("AA")),
            ("ER", "NE", Answer::Accept, None),
            ("ER", "NE", trouble(), Some("CE")),
            ("", "", Answer::Accept, Some("AA")),
        ] {
            let said = answered(&header(accept, application), &answer);
            let code = said.map(|s| s.split("MSA|").nth(1).unwrap()[..2].to_owned());
            assert_eq!(code.as_deref(), expected, "{accept} {application}");
        }
    }

    #[test]
    fn what_acknowledgements_say() {
        let ack = |rest: &str| format!("MSH|^~\\&|RIS|H|P|H|1||ACK|7|P|2.5\r{rest}");
        for (rest, expected) in [
            ("MSA|AA|M1", Heard::Taken),
            ("MSA|CA|M1", Heard::Taken),
            ("MSA|AA|M2", Heard::Other),
            (
                "MSA|AE|M1\rERR||PID^1|204^x",
                Heard::Never("the peer answered AE 204".into()),
            ),
            (
                "MSA|AE|M1\rERR||PID^1|207^x",
                Heard::Later("the peer answered AE 207".into()),
            ),
            ("MSA|AE|M1", Heard::Later("the peer answered AE".into())),
            (
                "MSA|AR|M1\rERR|||200",
                Heard::Never("the peer answered AR 200".into()),
            ),
            ("MSA|AR|M1", Heard::Later("the peer answered AR".into())),
            (
                "PID|1",
                Heard::Later("the answer is no acknowledgement".into()),
            ),
        ] {
            assert_eq!(heard(ack(rest).as_bytes(), "M1"), expected, "{rest}");
        }
        assert!(matches!(heard(b"OK", "M1"), Heard::Later(_)));
    }
}
