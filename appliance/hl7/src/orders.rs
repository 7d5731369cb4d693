//! What an order message says will come: ORM^O01 as IHE's scheduled workflow fills it in, and OMI^O23.

use crate::message::{Message, Segment};
use crate::patients::patient_id;
use pericard_domain::job::Priority;
use pericard_domain::order::Order;
use pericard_domain::uid::StudyUid;

/// Order Control (ORC-1) of an order that is no more.
const TAKES_BACK: [&str; 6] = ["CA", "OC", "DC", "OD", "CR", "DR"];
/// Order Control of what is, or is otherwise than before.
const GIVES: [&str; 8] = ["NW", "XO", "XX", "SC", "SN", "OK", "RP", "RO"];

/// What a message says of one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// It is expected.
    Expected(Order),
    /// It is no more.
    TakenBack { key: String },
}

/// Why an order is not understood, with the segment that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotUnderstood {
    pub(crate) segment: &'static str,
    pub(crate) field: usize,
    pub(crate) why: &'static str,
}

/// Every order of a message.
pub(crate) fn orders(message: &Message) -> Result<Vec<Said>, NotUnderstood> {
    let patient = message.segment("PID").and_then(patient_id);
    let mut said = Vec::new();
    for group in message.groups("ORC") {
        said.extend(of_group(&group, patient.as_deref())?);
    }
    if said.is_empty() {
        return Err(NotUnderstood {
            segment: "ORC",
            field: 0,
            why: "an order message has an ORC segment for each order",
        });
    }
    Ok(said)
}

fn of_group(group: &[Segment<'_>], patient: Option<&str>) -> Result<Vec<Said>, NotUnderstood> {
    let first = |name: &str| group.iter().copied().find(|s| s.name() == name);
    // A group begins with its ORC.
    let orc = group[0];
    let key = orc.said(2, 1).or_else(|| orc.said(3, 1));
    let key = key.ok_or(NotUnderstood {
        segment: "ORC",
        field: 2,
        why: "an order has a placer or a filler order number",
    })?;
    let control = orc.component(1, 1);
    if TAKES_BACK.contains(&control.as_str()) {
        return Ok(vec![Said::TakenBack { key }]);
    }
    if !GIVES.contains(&control.as_str()) {
        return Err(NotUnderstood {
            segment: "ORC",
            field: 1,
            why: "this order control is not heeded here",
        });
    }
    let (obr, timing) = (first("OBR"), first("TQ1"));
    let order = Order {
        key: key.clone(),
        study: first("ZDS").and_then(|zds| study(zds, 1)),
        accession_number: obr
            .and_then(|obr| obr.said(18, 1))
            .or_else(|| orc.said(3, 1)),
        patient_id: patient.map(str::to_owned),
        modality: obr.and_then(|obr| obr.said(24, 1)),
        scheduled: scheduled(orc, obr, timing),
        priority: urgency(orc, obr, timing),
    };
    let steps: Vec<_> = group
        .iter()
        .copied()
        .filter(|s| s.name() == "IPC")
        .collect();
    if steps.is_empty() {
        return Ok(vec![Said::Expected(order)]);
    }
    let of_step = |step: Segment<'_>| Order {
        key: format!("{key}/{}", step.component(4, 1)),
        study: study(step, 3).or_else(|| order.study.clone()),
        accession_number: step.said(1, 1).or_else(|| order.accession_number.clone()),
        modality: step.said(5, 1).or_else(|| order.modality.clone()),
        ..order.clone()
    };
    Ok(steps
        .into_iter()
        .map(|step| Said::Expected(of_step(step)))
        .collect())
}

fn study(segment: Segment<'_>, field: usize) -> Option<StudyUid> {
    StudyUid::new(&segment.said(field, 1)?).ok()
}

/// TQ1-9, and in older messages the sixth component of Quantity/Timing (ORC-7, OBR-27) or OBR-5.
fn urgency(
    orc: Segment<'_>,
    obr: Option<Segment<'_>>,
    timing: Option<Segment<'_>>,
) -> Option<Priority> {
    let said = timing
        .and_then(|tq1| tq1.said(9, 1))
        .or_else(|| orc.said(7, 6))
        .or_else(|| obr.and_then(|obr| obr.said(27, 6)))
        .or_else(|| obr.and_then(|obr| obr.said(5, 1)));
    // Stat, and as soon as possible; all others are no reason to overtake anybody.
    match said?.to_ascii_uppercase().as_str() {
        "S" | "STAT" | "A" | "ASAP" => Some(Priority::Stat),
        "R" | "ROUTINE" => Some(Priority::Routine),
        _ => None,
    }
}

fn scheduled(
    orc: Segment<'_>,
    obr: Option<Segment<'_>>,
    timing: Option<Segment<'_>>,
) -> Option<String> {
    let said = timing
        .and_then(|tq1| tq1.said(7, 1))
        .or_else(|| orc.said(7, 4))
        .or_else(|| obr.and_then(|obr| obr.said(36, 1)));
    let digits: String = said?
        .chars()
        .take_while(char::is_ascii_digit)
        .take(14)
        .collect();
    (digits.len() >= 8).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(segments: &str) -> Result<Vec<Said>, NotUnderstood> {
        let text = format!("MSH|^~\\&|RIS|H|P||1||ORM^O01|1|P|2.5\rPID|||P1^^^H^MR\r{segments}");
        orders(&Message::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn an_order_as_a_radiology_system_writes_it() {
        let said = read(
            "ORC|NW|PL1|F1||||^^^202611291015^^S\r\
             OBR|1|PL1|F1|CTH^CT head||||||||||||||ACC1|RP1|SPS1||||CT\rZDS|1.2.3.4^PACS^Application^DICOM",
        )
        .unwrap();
        let expected = Order {
            key: "PL1".into(),
            study: Some(StudyUid::new("1.2.3.4").unwrap()),
            accession_number: Some("ACC1".into()),
            patient_id: Some("P1".into()),
            modality: Some("CT".into()),
            scheduled: Some("202611291015".into()),
            priority: Some(Priority::Stat),
        };
        assert_eq!(said, [Said::Expected(expected)]);
    }

    #[test]
    fn an_imaging_order_with_two_steps() {
        let said = read(
            "ORC|NW|PL1\rTQ1|1||||||20261129||A\rOBR|1|PL1\r\
             IPC|ACC1|RP1|1.2.3|S1|PT\rIPC|ACC1|RP1|1.2.3|S2|CT\rORC|CA|PL2",
        )
        .unwrap();
        let [
            Said::Expected(one),
            Said::Expected(two),
            Said::TakenBack { key },
        ] = &said[..]
        else {
            panic!("{said:?}");
        };
        assert_eq!((one.key.as_str(), two.key.as_str()), ("PL1/S1", "PL1/S2"));
        assert_eq!(
            (&one.modality, &two.modality),
            (&Some("PT".into()), &Some("CT".into()))
        );
        assert_eq!(one.priority, Some(Priority::Stat));
        assert_eq!(key, "PL2");
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (segments, segment, field) in [
            ("", "ORC", 0),
            ("ORC|NW", "ORC", 2),
            ("ORC|HD|PL1", "ORC", 1),
        ] {
            let error = read(segments).unwrap_err();
            assert_eq!((error.segment, error.field), (segment, field), "{segments}");
        }
        let said = read("ORC|NW|PL1\rOBR|1||||X").unwrap();
        assert!(matches!(&said[..], [Said::Expected(order)] if order.priority.is_none()));
    }
}
