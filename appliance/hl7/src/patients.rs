//! What patient administration says: who a patient is (ADT^A01, A04, A08 and their like), and that two were one (A40).

use crate::message::{Message, Segment};
use crate::orders::NotUnderstood;
use pericard_store::patient::Patient;

/// Events that say who a patient is.
const TELLS: [&str; 8] = ["A01", "A04", "A05", "A08", "A10", "A13", "A28", "A31"];
/// Events that merge one patient's number into another's.
const MERGES: [&str; 4] = ["A18", "A34", "A39", "A40"];

/// What a message says of a patient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// Who it is.
    Is(Patient),
    /// The number of one is the other's.
    Merged { from: String, into: String },
}

/// What an event says; nothing for an event that changes nothing here.
pub(crate) fn patients(message: &Message, event: &str) -> Result<Vec<Said>, NotUnderstood> {
    if TELLS.contains(&event) {
        let said = message.segment("PID").and_then(patient);
        let patient = said.ok_or_else(no_number)?;
        return Ok(vec![Said::Is(patient)]);
    }
    if !MERGES.contains(&event) {
        return Ok(Vec::new());
    }
    let (mut into, mut said) = (None, Vec::new());
    for segment in message.all() {
        match segment.name() {
            "PID" => into = patient_id(segment),
            "MRG" => {
                let from = number(segment, 1).ok_or(NotUnderstood {
                    segment: "MRG",
                    field: 1,
                    why: "a merge names the number that is no more",
                })?;
                let into = into.clone().ok_or_else(no_number)?;
                said.push(Said::Merged { from, into });
            }
            _ => {}
        }
    }
    match said.is_empty() {
        true => Err(NotUnderstood {
            segment: "MRG",
            field: 0,
            why: "a merge has an MRG segment after its PID",
        }),
        false => Ok(said),
    }
}

const fn no_number() -> NotUnderstood {
    NotUnderstood {
        segment: "PID",
        field: 3,
        why: "a patient has a number",
    }
}

/// The patient's number of a PID segment.
pub(crate) fn patient_id(pid: Segment<'_>) -> Option<String> {
    number(pid, 3).or_else(|| pid.said(2, 1))
}

/// Of a list of numbers the medical record's, else an internal one, else the first.
fn number(segment: Segment<'_>, field: usize) -> Option<String> {
    let of_kind = |kind: &str| {
        let mut all = segment.repetitions(field);
        let found = all.find(|r| r.component(5) == kind && !r.component(1).is_empty());
        found.map(|r| r.component(1))
    };
    let any = || segment.said(field, 1);
    of_kind("MR").or_else(|| of_kind("PI")).or_else(any)
}

fn patient(pid: Segment<'_>) -> Option<Patient> {
    let date: String = pid.component(7, 1).chars().take(8).collect();
    let is_date = date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit());
    let sex = match pid.component(8, 1).as_str() {
        "F" => Some("F"),
        "M" => Some("M"),
        "O" | "A" | "X" => Some("O"),
        _ => None,
    };
    Some(Patient {
        patient_id: patient_id(pid)?,
        name: name(pid),
        birth_date: is_date.then_some(date),
        sex: sex.map(str::to_owned),
    })
}

/// PID-5 as a DICOM name: there the prefix stands before the suffix.
fn name(pid: Segment<'_>) -> Option<String> {
    let part = |n| pid.component(5, n).replace(['^', '=', '\\'], " ");
    let parts = [part(1), part(2), part(3), part(5), part(4)];
    let name = parts.join("^");
    let name = name.trim_end_matches('^');
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(event: &str, segments: &str) -> Result<Vec<Said>, NotUnderstood> {
        let text = format!("MSH|^~\\&|ADT|H|P||1||ADT^{event}|1|P|2.5\rEVN|{event}\r{segments}");
        patients(&Message::parse(text.as_bytes()).unwrap(), event)
    }

    #[test]
    fn who_a_patient_is() {
        let said = read(
            "A08",
            "PID|1||X^^^H^PI~P1^^^H^MR||Doe^Jane^M^Jr^Dr||19700102030405|F",
        )
        .unwrap();
        let expected = Patient {
            patient_id: "P1".into(),
            name: Some("Doe^Jane^M^Dr^Jr".into()),
            birth_date: Some("19700102".into()),
            sex: Some("F".into()),
        };
        assert_eq!(said, [Said::Is(expected)]);
        assert_eq!(read("A01", "PID|1").unwrap_err().segment, "PID");
        assert_eq!(read("A02", "PID|1"), Ok(vec![]));
    }

    #[test]
    fn two_that_are_one() {
        let said = read("A40", "PID|1||P2^^^H^MR\rMRG|P1^^^H^MR\rPID|1||P4\rMRG|P3").unwrap();
        let merged = |from: &str, into: &str| Said::Merged {
            from: from.into(),
            into: into.into(),
        };
        assert_eq!(said, [merged("P1", "P2"), merged("P3", "P4")]);
        assert_eq!(read("A40", "PID|1||P2").unwrap_err().segment, "MRG");
        assert_eq!(read("A40", "MRG|P1").unwrap_err().segment, "PID");
    }
}
