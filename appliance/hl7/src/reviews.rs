//! What a radiologist's report says of our result: ORU^R01 with an observation of its own for it, since neither standard has
//! one. It is read in each OBR group:
//!
//! | OBX-3 | OBX-5 | says |
//! |---|---|---|
//! | `AGREEMENT^^99PERICARD` | `AGREE^^99PERICARD`, or `373066001^Yes^SCT` | that the result is right |
//! | `AGREEMENT^^99PERICARD` | `DISAGREE^^99PERICARD`, or `373067005^No^SCT` | that it is wrong |
//! | `113014^DICOM Study^DCM` | a UID | of which study; else OBR-18 or OBR-3 is its accession number |
//! | `111001^Algorithm Name^DCM` | a name, with the same OBX-4 | of which model's result; else of every result |
//!
//! Those two are what our own messages say of a result, so an information system need only give them back. Only what is final
//! or corrected (OBX-11 `F` or `C`) counts; a message without an agreement says nothing here, and is no error.

use crate::message::{Message, Segment};
use crate::orders::NotUnderstood;
use pericard_domain::uid::StudyUid;

const AGREEMENT: (&str, &str) = ("AGREEMENT", "99PERICARD");
const STUDY: (&str, &str) = ("113014", "DCM");
const ALGORITHM: (&str, &str) = ("111001", "DCM");
/// The values of an agreement: code, scheme, and whether it agrees.
const VALUES: [(&str, &str, bool); 4] = [
    ("AGREE", "99PERICARD", true),
    ("DISAGREE", "99PERICARD", false),
    ("373066001", "SCT", true),
    ("373067005", "SCT", false),
];

/// What somebody says of results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) of: Of,
    /// The model, where one is named.
    pub(crate) model: Option<String>,
    pub(crate) agrees: bool,
}

/// How the study is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Of {
    Study(StudyUid),
    Accession(String),
}

/// Every review in a message.
pub(crate) fn reviews(message: &Message) -> Result<Vec<Said>, NotUnderstood> {
    let mut said = Vec::new();
    for group in message.groups("OBR") {
        said.extend(of_group(&group)?);
    }
    Ok(said)
}

fn of_group(group: &[Segment<'_>]) -> Result<Vec<Said>, NotUnderstood> {
    let (request, observations) = (group[0], &group[1..]); // a group begins with its OBR
    let all = |concept| observations.iter().filter(move |obx| is(**obx, concept));
    let mut said = Vec::new();
    for agreement in all(AGREEMENT) {
        if !matches!(agreement.component(11, 1).as_str(), "F" | "C") {
            continue;
        }
        let value = (agreement.component(5, 1), agreement.component(5, 3));
        let known = VALUES
            .iter()
            .find(|(code, scheme, _)| value == ((*code).into(), (*scheme).into()));
        let (_, _, agrees) = known.ok_or(NotUnderstood {
            segment: "OBX",
            field: 5,
            why: "an agreement is AGREE or DISAGREE of 99PERICARD, or 373066001 or 373067005 of SCT",
        })?;
        let uid = all(STUDY).find_map(|obx| StudyUid::new(&obx.said(5, 1)?).ok());
        let accession = || request.said(18, 1).or_else(|| request.said(3, 1));
        let of = uid
            .map(Of::Study)
            .or_else(|| accession().map(Of::Accession));
        let of = of.ok_or(NotUnderstood {
            segment: "OBR",
            field: 18,
            why: "a review names its study, by an OBX with its UID (113014, DCM) or by its accession number",
        })?;
        let group = agreement.component(4, 1);
        let named = all(ALGORITHM).find(|obx| obx.component(4, 1) == group);
        said.push(Said {
            of,
            model: named.and_then(|obx| obx.said(5, 1)),
            agrees: *agrees,
        });
    }
    Ok(said)
}

fn is(observation: Segment<'_>, (code, scheme): (&str, &str)) -> bool {
    observation.name() == "OBX"
        && observation.component(3, 1) == code
        && observation.component(3, 3) == scheme
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(segments: &str) -> Result<Vec<Said>, NotUnderstood> {
        let text = format!("MSH|^~\\&|RIS|H|P||1||ORU^R01|1|P|2.5.1\rPID|||P1\r{segments}");
        reviews(&Message::parse(text.as_bytes()).unwrap())
    }

    fn agreement(group: &str, value: &str, status: &str) -> String {
        format!("OBX|9|CWE|AGREEMENT^^99PERICARD|{group}|{value}||||||{status}\r")
    }

    #[test]
    fn what_our_own_message_says_is_enough_to_refer_to_it() {
        let said = read(&format!(
            "ORC|RE\rOBR|1|PL1|ACC1\rOBX|1|HD|113014^DICOM Study^DCM||1.2.3||||||R\r\
             OBX|2|ST|111001^Algorithm Name^DCM|1|chest||||||R\rOBX|3|ST|111001^Algorithm Name^DCM|2|text||||||R\r{}{}",
            agreement("1", "AGREE^^99PERICARD", "F"),
            agreement("2", "373067005^No^SCT", "C"),
        ));
        let of = Of::Study(StudyUid::new("1.2.3").unwrap());
        let expected = [("chest", true), ("text", false)].map(|(model, agrees)| Said {
            of: of.clone(),
            model: Some(model.into()),
            agrees,
        });
        assert_eq!(said.unwrap(), expected);
    }

    #[test]
    fn an_accession_number_will_do_and_reports_without_a_word_of_us_are_no_error() {
        let all = read(&format!(
            "OBR|1||F1\r{}",
            agreement("", "DISAGREE^^99PERICARD", "F")
        ));
        let expected = Said {
            of: Of::Accession("F1".into()),
            model: None,
            agrees: false,
        };
        assert_eq!(all.unwrap(), [expected]);
        let preliminary = read(&format!(
            "OBR|1||F1\r{}",
            agreement("", "AGREE^^99PERICARD", "P")
        ));
        assert_eq!(preliminary.unwrap(), []);
        assert_eq!(
            read("OBR|1||F1\rOBX|1|TX|121071^Finding^DCM||Normal.||||||F").unwrap(),
            []
        );
        assert_eq!(read("").unwrap(), []);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let unknown = read(&format!(
            "OBR|1||F1\r{}",
            agreement("", "MAYBE^^99PERICARD", "F")
        ))
        .unwrap_err();
        assert_eq!((unknown.segment, unknown.field), ("OBX", 5));
        let nameless = read(&format!(
            "OBR|1\r{}",
            agreement("", "AGREE^^99PERICARD", "F")
        ))
        .unwrap_err();
        assert_eq!((nameless.segment, nameless.field), ("OBR", 18));
    }
}
