//! What a job found, as an unsolicited observation result (ORU^R01): orders and studies by their numbers, findings in the
//! report's own codes, each marked as not verified by anybody.

use crate::ack::escaped;
use crate::peer::{Peer, Us};
use pericard_domain::finding::{Code, Finding, Report};
use pericard_domain::time::Timestamp;
use pericard_store::message::Message;
use std::fmt::Write as _;

/// Results stored, not yet verified (tables 0123 and 0085).
const UNVERIFIED: &str = "R";
/// There will be no result.
const NONE: &str = "X";

/// The message's control id: the same at every attempt, so that a peer that has it already can tell.
pub(crate) fn control_id(message: &Message) -> String {
    format!("PERICARD-{}", message.id)
}

/// The message, to be framed.
pub(crate) fn result(message: &Message, peer: &Peer, us: &Us, offset_min: i32) -> Vec<u8> {
    let status = match message.report {
        Some(_) => UNVERIFIED,
        None => NONE,
    };
    let at = local(message.created_at, offset_min);
    let mut text = format!(
        "MSH|^~\\&|{}|{}|{}|{}|{at}||ORU^R01^ORU_R01|{}|P|2.5.1||||||{}\r",
        escaped(&us.application),
        escaped(&us.facility),
        escaped(&peer.application),
        escaped(&peer.facility),
        control_id(message),
        peer.charset.name(),
    );
    text.push_str(&patient(message));
    text.push_str(&request(message, (&at, status)));
    let mut observations = Observations::new(&at);
    observations.about(message);
    match &message.report {
        Some(kept) => observations.found(&kept.report),
        None => observations.failed(message),
    }
    text.push_str(&observations.text);
    peer.charset.encoded(&text)
}

/// Date and time as the hospital has it, with its offset from UTC.
fn local(at: Timestamp, offset_min: i32) -> String {
    let shifted = Timestamp::from_millis(at.as_millis() + i64::from(offset_min) * 60_000);
    let (sign, offset) = if offset_min < 0 {
        ('-', -offset_min)
    } else {
        ('+', offset_min)
    };
    format!(
        "{}{}{sign}{:02}{:02}",
        shifted.dicom_date(),
        shifted.dicom_time(),
        offset / 60,
        offset % 60
    )
}

fn patient(message: &Message) -> String {
    let facts = &message.study.facts;
    let said = |text: &Option<String>| escaped(text.as_deref().unwrap_or_default());
    format!(
        "PID|1||{}||{}||{}|{}\r",
        said(&message.patient_id),
        name(facts.patient_name.as_deref().unwrap_or_default()),
        said(&facts.patient_birth_date),
        said(&facts.patient_sex),
    )
}

/// A DICOM name as XPN: there the suffix stands before the prefix. Of several representations the first.
fn name(dicom: &str) -> String {
    let first = dicom.split('=').next().unwrap_or_default();
    let mut parts: Vec<String> = first.split('^').map(|part| escaped(part.trim())).collect();
    parts.resize(5, String::new());
    parts.swap(3, 4);
    parts.join("^").trim_end_matches('^').to_owned()
}

fn request(message: &Message, (at, status): (&str, &str)) -> String {
    let facts = &message.study.facts;
    let order = message
        .orders
        .iter()
        .find(|known| known.source.starts_with("orders "));
    // A placer's number stands before what tells its steps apart.
    let placer = order.map(|known| known.order.key.split('/').next().unwrap_or_default());
    let placer = escaped(placer.unwrap_or_default());
    let accession = escaped(facts.accession_number.as_deref().unwrap_or_default());
    let described = escaped(
        facts
            .study_description
            .as_deref()
            .unwrap_or("Analysis by an AI model"),
    );
    let modality = escaped(facts.modality.as_deref().unwrap_or_default());
    let observed = format!(
        "{}{}",
        facts.study_date.as_deref().unwrap_or_default(),
        facts
            .study_time
            .as_deref()
            .and_then(|t| t.split('.').next())
            .unwrap_or_default()
    );
    format!(
        "ORC|RE|{placer}|{accession}\r\
         OBR|1|{placer}|{accession}|^{described}|||{}|||||||||||{accession}||||{at}||{modality}|{status}\r",
        escaped(&observed)
    )
}

/// OBX and NTE segments, numbered as they come.
struct Observations {
    text: String,
    count: usize,
    at: String,
}

impl Observations {
    fn new(at: &str) -> Self {
        Self {
            text: String::new(),
            count: 0,
            at: at.to_owned(),
        }
    }

    /// `value` and `units` are encoded already.
    fn put(
        &mut self,
        kind: &str,
        concept: &Code,
        group: usize,
        (value, units, status): (&str, &str, &str),
    ) {
        self.count += 1;
        let group = if group == 0 {
            String::new()
        } else {
            group.to_string()
        };
        // Writing into a String does not fail.
        let _ = write!(
            self.text,
            "OBX|{}|{kind}|{}|{group}|{value}|{units}|||||{status}|||{}\r",
            self.count,
            coded(concept),
            self.at
        );
    }

    fn note(&mut self, text: &str) {
        let _ = write!(self.text, "NTE|1||{}\r", escaped(text));
    }

    /// What the result is about, and what made it.
    fn about(&mut self, message: &Message) {
        let study = Code::new("113014", "DCM", "DICOM Study");
        self.put(
            "HD",
            &study,
            0,
            (message.study.study.as_str(), "", UNVERIFIED),
        );
        let pericard_domain::job::Work::Infer {
            model, revision, ..
        } = &message.job.work
        else {
            return;
        };
        let name = Code::new("111001", "DCM", "Algorithm Name");
        let version = Code::new("111003", "DCM", "Algorithm Version");
        self.put("ST", &name, 0, (&escaped(&model.name), "", UNVERIFIED));
        self.put(
            "ST",
            &version,
            0,
            (&escaped(&model.version), "", UNVERIFIED),
        );
        self.note("Result of an AI model, not verified by a person.");
        if *revision > 1 {
            let earlier =
                "The study has changed since: this takes the place of what was told of it before.";
            self.note(earlier);
        }
    }

    fn found(&mut self, report: &Report) {
        if !report.clinical_use {
            self.note("Not for clinical use.");
        }
        if report.findings.is_empty() {
            let finding = Code::new("121071", "DCM", "Finding");
            self.put("TX", &finding, 0, ("Nothing found", "", UNVERIFIED));
        }
        for (group, finding) in (1..).zip(&report.findings) {
            self.finding(group, finding);
        }
    }

    fn finding(&mut self, group: usize, finding: &Finding) {
        let concept = Code::new("121071", "DCM", "Finding");
        self.put(
            "CWE",
            &concept,
            group,
            (&coded(&finding.concept), "", UNVERIFIED),
        );
        let tracking = Code::new("112040", "DCM", "Tracking Unique Identifier");
        self.put(
            "ST",
            &tracking,
            group,
            (finding.tracking_uid.as_str(), "", UNVERIFIED),
        );
        if let Some(text) = &finding.text {
            let comment = Code::new("121106", "DCM", "Comment");
            self.put("TX", &comment, group, (&escaped(text), "", UNVERIFIED));
        }
        for measured in &finding.measurements {
            let (value, unit) = (measured.value.to_string(), coded(&measured.unit));
            self.put("NM", &measured.concept, group, (&value, &unit, UNVERIFIED));
        }
        if let Some(score) = finding.score {
            let certainty = Code::new("111012", "DCM", "Certainty of Finding");
            let (value, unit) = (
                (f64::from(score) * 100.0).to_string(),
                Code::new("%", "UCUM", "Percent"),
            );
            self.put("NM", &certainty, group, (&value, &coded(&unit), UNVERIFIED));
        }
    }

    fn failed(&mut self, message: &Message) {
        let finding = Code::new("121071", "DCM", "Finding");
        let reason = message.job.last_failure.as_ref();
        let why = reason.map_or("no reason was kept", |failure| failure.reason.as_str());
        let why = format!("The analysis could not be done: {why}");
        self.put("TX", &finding, 0, (&escaped(&why), "", NONE));
    }
}

fn coded(code: &Code) -> String {
    // SNOMED CT is SCT in both standards, and LN, DCM, UCUM are the same words too.
    [&code.value, &code.meaning, &code.scheme]
        .map(|part| escaped(part))
        .join("^")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_times() {
        assert_eq!(name("Doe^Jane^M^Dr^Jr=x"), "Doe^Jane^M^Jr^Dr");
        assert_eq!(name("O|Neill"), "O\\F\\Neill");
        let at = Timestamp::from_millis(1_795_456_800_123); // 2026-11-23T18:00:00Z
        assert_eq!(local(at, 60), "20261123190000+0100");
        assert_eq!(local(at, -210), "20261123143000-0330");
    }
}
