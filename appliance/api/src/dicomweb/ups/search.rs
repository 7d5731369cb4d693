//! Workitems are searched (PS3.18 section 11.9), by any attribute and within sequences.

use super::dataset::{self, Attributes};
use super::{Handled, json_type};
use crate::access::Caller;
use crate::appliance::Api;
use crate::asked::Asked;
use crate::dicomweb::accept_json;
use crate::dicomweb::matching::{Key, Matching, Wanted};
use crate::problem::Problem;
use axum::Extension;
use axum::extract::State;
use axum::response::IntoResponse;
use dicom_core::dictionary::{DataDictionary as _, DataDictionaryEntry as _};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;

/// For the OpenAPI document.
pub(crate) const PARAMETERS: &[(&str, &str)] = &[
    ("limit", "at most so many"),
    ("offset", "from this match on, counted from 0"),
    (
        "includefield",
        "accepted; every attribute that is known is always included",
    ),
    (
        "fuzzymatching",
        "accepted; matching is never fuzzy, and the answer says so",
    ),
    (
        "{attribute}",
        "a keyword or a tag, or a path of them joined by full stops, with a value to match",
    ),
];

/// Parameters that match nothing.
const CONTROLS: [&str; 4] = ["limit", "offset", "includefield", "fuzzymatching"];
/// How many are read from the store at a time.
const PAGE: u32 = 200;
/// The longest answer.
const MATCHES_MAX: usize = 1000;

pub(crate) async fn search(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    asked: Asked,
) -> Handled {
    accept_json(&headers)?;
    let keys = asked
        .0
        .iter()
        .filter(|(name, _)| !CONTROLS.contains(&name.as_str()));
    let keys: Vec<Attribute> = keys
        .map(|(name, value)| Attribute::read(name, value))
        .collect::<Result<_, _>>()?;
    let limit = asked
        .value("limit")?
        .unwrap_or(MATCHES_MAX)
        .min(MATCHES_MAX);
    let offset = asked.offset()? as usize;
    api.note_access("search workitems", "all", &caller).await?;
    let found = api
        .matching_workitems(&keys, offset.saturating_add(limit))
        .await?;
    let found: Vec<Value> = found.into_iter().skip(offset).collect();
    if found.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let body = Value::Array(found).to_string();
    let mut response = ([json_type()], body).into_response();
    if asked.text("fuzzymatching") == Some("true") {
        let warning = "299 - \"The fuzzymatching parameter is not supported. Only literal matching has been performed.\"";
        let headers = response.headers_mut();
        headers.insert(header::WARNING, HeaderValue::from_static(warning));
    }
    Ok(response)
}

/// Whether a dataset is what a subscription's filter asks for: `attribute=value` pairs, parted by commas. An empty one asks
/// for everything, and what cannot be read for nothing.
pub(super) fn matches_filter(dataset: &Attributes, filter: &str) -> bool {
    let pairs = filter.split(',').filter(|pair| !pair.is_empty());
    let mut keys = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Attribute::read(name, value)
    });
    keys.all(|key| key.is_ok_and(|key| key.accepts(dataset)))
}

/// Refuses a filter that cannot be read.
pub(super) fn check_filter(filter: &str) -> Result<(), Problem> {
    for pair in filter.split(',').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Attribute::read(name, value)?;
    }
    Ok(())
}

impl Api {
    pub(super) async fn matching_workitems(
        &self,
        keys: &[Attribute],
        most: usize,
    ) -> Result<Vec<Value>, Problem> {
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let page = self.rooms.store.workitems(before, PAGE).await?;
            before = page.last().map(|item| item.place);
            let is_last = page.len() < PAGE as usize;
            for item in page {
                let matches = |dataset| keys.iter().all(|key| key.accepts(dataset));
                if item.dataset.as_object().is_some_and(matches) {
                    found.push(item.dataset);
                }
                if found.len() >= most {
                    return Ok(found);
                }
            }
            if is_last {
                return Ok(found);
            }
        }
    }
}

/// An attribute, perhaps within sequences, and what it must be like.
pub(super) struct Attribute {
    sequences: Vec<String>,
    tag: String,
    wanted: Wanted,
}

impl Attribute {
    /// # Errors
    /// 400 when the name is no attribute, or the value makes no sense.
    pub(super) fn read(name: &str, value: &str) -> Result<Self, Problem> {
        // The name is not repeated: it is whatever somebody wrote there.
        let unknown = || {
            let detail = "a parameter is no attribute: write a keyword of the standard, or eight hexadecimal digits";
            Problem::parameter("{attribute}", detail)
        };
        let mut path: Vec<(Tag, VR)> = name
            .split('.')
            .map(|part| named(part).ok_or_else(unknown))
            .collect::<Result<_, _>>()?;
        let (tag, vr) = path.pop().ok_or_else(unknown)?;
        let key = Key {
            keyword: "attribute",
            tag: "",
            matching: match vr {
                VR::UI => Matching::Uids,
                VR::DA | VR::TM | VR::DT => Matching::Range,
                _ => Matching::Text,
            },
        };
        let wanted = Wanted::read("attribute", value, &[key])?.ok_or_else(unknown)?;
        let hex = |tag: Tag| format!("{:04X}{:04X}", tag.group(), tag.element());
        Ok(Self {
            sequences: path.into_iter().map(|(tag, _)| hex(tag)).collect(),
            tag: hex(tag),
            wanted,
        })
    }

    pub(super) fn accepts(&self, dataset: &Attributes) -> bool {
        if self.wanted.is_universal() {
            return true;
        }
        let mut within = vec![dataset];
        for sequence in &self.sequences {
            within = within
                .into_iter()
                .flat_map(|d| dataset::items(d, sequence))
                .collect();
        }
        within.into_iter().any(|d| self.accepts_here(d))
    }

    fn accepts_here(&self, dataset: &Attributes) -> bool {
        let values = dataset.get(&self.tag).and_then(|a| a.get("Value"));
        let mut values = values.and_then(Value::as_array).into_iter().flatten();
        values.any(|value| match value {
            Value::String(text) => self.wanted.accepts(Some(text)),
            Value::Number(number) => self.wanted.accepts(Some(&number.to_string())),
            Value::Object(name) => name
                .values()
                .filter_map(Value::as_str)
                .any(|group| self.wanted.accepts(Some(group))),
            _ => false,
        })
    }
}

static DICTIONARY: StandardDataDictionary = StandardDataDictionary;

/// A tag by its eight digits or its keyword.
fn named(name: &str) -> Option<(Tag, VR)> {
    let by_number = || {
        let number = (name.len() == 8).then(|| u32::from_str_radix(name, 16).ok())??;
        DICTIONARY.by_tag(Tag((number >> 16) as u16, number as u16))
    };
    let entry = DICTIONARY.by_name(name).or_else(by_number)?;
    Some((entry.tag(), entry.vr().relaxed()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn attributes_are_matched_wherever_they_stand() {
        let dataset = json!({
            "00741000": {"vr": "CS", "Value": ["SCHEDULED"]},
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": "DOE^JANE"}]},
            "00404005": {"vr": "DT", "Value": ["20260312101500"]},
            "00404018": {"vr": "SQ", "Value": [
                {"00080100": {"vr": "SH", "Value": ["other"]}},
                {"00080100": {"vr": "SH", "Value": ["brain"]}},
            ]},
        });
        let dataset = dataset.as_object().expect("a dataset");
        for (filter, expected) in [
            ("", true),
            ("00741000=SCHEDULED", true),
            ("ProcedureStepState=IN PROGRESS", false),
            ("PatientName=doe*,ProcedureStepState=SCHEDULED", true),
            ("ScheduledWorkitemCodeSequence.CodeValue=brain", true),
            ("00404018.00080100=liver", false),
            (
                "ScheduledProcedureStepStartDateTime=20260301-20260331",
                true,
            ),
            ("ScheduledProcedureStepStartDateTime=20260401-", false),
            ("PatientID=", true),
            ("PatientID=7", false),
            ("NoSuchThing=7", false),
        ] {
            assert_eq!(matches_filter(dataset, filter), expected, "{filter}");
        }
        assert!(check_filter("NoSuchThing=7").is_err());
    }
}
