//! A workitem's dataset in the DICOM JSON model: what is read of it, and what may be written into it.

use crate::appliance::Api;
use crate::body;
use crate::problem::Problem;
use axum::body::Body;
use http::{HeaderMap, Uri};
use pericard_domain::uid::InstanceUid;
use serde_json::{Map, Value, json};

pub(super) type Attributes = Map<String, Value>;

pub(super) const SOP_CLASS: &str = "00080016";
pub(super) const SOP_INSTANCE: &str = "00080018";
pub(super) const TRANSACTION: &str = "00081195";
pub(super) const STUDY: &str = "0020000D";
pub(super) const STATE: &str = "00741000";
pub(super) const PROGRESS: &str = "00741002";
pub(super) const PRIORITY: &str = "00741200";
pub(super) const LABEL: &str = "00741204";
pub(super) const PERFORMED: &str = "00741216";
pub(super) const READINESS: &str = "00404041";
pub(super) const START: &str = "00404005";
pub(super) const WORKITEM_CODE: &str = "00404018";
pub(super) const INPUTS: &str = "00404021";
/// Codes of our own models, by name.
pub(super) const MODEL_SCHEME: &str = "99PERICARD";
/// Codes of our own rules, by name.
pub(super) const RULE_SCHEME: &str = "99PERICARD_RULE";
/// How deep sequences may stand in one another in what others send.
const NESTING_MAX: usize = 16;

/// The one dataset of a request's body, which is an object or a list with one; an empty one when there is no body and none
/// is needed.
pub(super) async fn of_body(
    api: &Api,
    headers: &HeaderMap,
    body: Body,
) -> Result<Attributes, Problem> {
    of_value(body::dicom_json(&api.config, headers, body).await?)
}

/// The same of what was parsed already.
pub(super) fn of_value(value: Value) -> Result<Attributes, Problem> {
    let dataset = match value {
        Value::Array(mut all) if all.len() == 1 => all.remove(0),
        other => other,
    };
    let Value::Object(dataset) = dataset else {
        return Err(Problem::bad_request(
            "the body is to be one dataset in the DICOM JSON model",
        ));
    };
    check(&dataset, 0)?;
    Ok(dataset)
}

/// Every name a tag, every value an attribute with a representation.
fn check(dataset: &Attributes, depth: usize) -> Result<(), Problem> {
    if depth > NESTING_MAX {
        let detail = format!("sequences are nested deeper than {NESTING_MAX} levels");
        return Err(Problem::bad_request(detail));
    }
    for (tag, attribute) in dataset {
        let is_tag = tag.len() == 8
            && tag
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
        let vr = attribute.get("vr").and_then(Value::as_str);
        let values = attribute.get("Value");
        let is_list = values.is_none_or(Value::is_array);
        if !is_tag || vr.is_none_or(|vr| vr.len() != 2) || !is_list {
            let detail = "an attribute is a tag of eight digits, with a vr, and with a list when it has a Value (PS3.18 annex F)";
            return Err(Problem::bad_request(detail));
        }
        if vr == Some("SQ") {
            for item in values.and_then(Value::as_array).into_iter().flatten() {
                let wrong = || Problem::bad_request("an item of a sequence is a dataset");
                check(item.as_object().ok_or_else(wrong)?, depth + 1)?;
            }
        }
    }
    Ok(())
}

/// The first value of an attribute, when it is a text that is not empty.
pub(super) fn text<'d>(dataset: &'d Attributes, tag: &str) -> Option<&'d str> {
    let value = dataset.get(tag)?.get("Value")?.get(0)?.as_str()?;
    Some(value.trim()).filter(|v| !v.is_empty())
}

/// The items of a sequence.
pub(super) fn items<'d>(
    dataset: &'d Attributes,
    tag: &str,
) -> impl Iterator<Item = &'d Attributes> {
    let values = dataset.get(tag).and_then(|a| a.get("Value"));
    let items = values.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_object)
}

pub(super) fn put(dataset: &mut Attributes, tag: &str, vr: &str, value: &str) {
    dataset.insert(tag.to_owned(), json!({"vr": vr, "Value": [value]}));
}

/// A required attribute with one of these values.
pub(super) fn one_of<'d>(
    dataset: &'d Attributes,
    (tag, name): (&str, &str),
    allowed: &[&str],
) -> Result<&'d str, Problem> {
    let found = text(dataset, tag).filter(|v| allowed.is_empty() || allowed.contains(v));
    found.ok_or_else(|| {
        let choice = match allowed {
            [] => String::new(),
            allowed => format!(", one of {}", allowed.join(", ")),
        };
        let detail = format!(
            "a workitem has a {name} ({},{}){choice}",
            &tag[..4],
            &tag[4..]
        );
        Problem::parameter(tag, detail)
    })
}

/// Whether a code of a workitem names work that this appliance does.
pub(super) fn is_order(dataset: &Attributes) -> bool {
    let scheme = |code| text(code, "00080102");
    items(dataset, WORKITEM_CODE)
        .filter_map(scheme)
        .any(|s| s == MODEL_SCHEME || s == RULE_SCHEME)
}

/// The study that the inputs are of.
pub(super) fn input_study(dataset: &Attributes) -> Option<&str> {
    items(dataset, INPUTS).find_map(|input| text(input, STUDY))
}

/// A UID that a request's query names: as `name=1.2.3`, or alone, as PS3.18 section 11.4.1 has it.
pub(super) fn uid_of_query(uri: &Uri, names: &[&str]) -> Result<Option<InstanceUid>, Problem> {
    let Some(query) = uri.query().filter(|q| !q.is_empty()) else {
        return Ok(None);
    };
    let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let named = pairs.iter().find_map(|(name, value)| {
        let is_named = names.iter().any(|n| n.eq_ignore_ascii_case(name));
        match (is_named, value.is_empty()) {
            (true, false) => Some(value.as_str()),
            (false, true) => Some(name.as_str()),
            _ => None,
        }
    });
    let wrong = |_| Problem::parameter(names[0], "the query names no UID");
    named.map(|uid| uid.parse().map_err(wrong)).transpose()
}
