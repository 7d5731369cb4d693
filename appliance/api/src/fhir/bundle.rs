//! A page of what a search found (FHIR R4 section 3.1.1).

use crate::asked::Asked;
use crate::problem::Problem;
use serde_json::{Value, json};

/// Matches of a page when nothing is said.
const COUNT: usize = 50;
/// Matches of a page at most.
const COUNT_MAX: usize = 500;

/// One match.
pub(super) struct Entry(Value);

impl Entry {
    pub(super) fn of(resource: &Value, base: &str) -> Self {
        let text = |name: &str| resource[name].as_str().unwrap_or_default().to_owned();
        let url = format!("{base}/{}/{}", text("resourceType"), text("id"));
        Self(json!({"fullUrl": url, "resource": resource, "search": {"mode": "match"}}))
    }
}

/// A page while it is filled.
pub(super) struct Page {
    offset: usize,
    count: usize,
    passed: usize,
    entries: Vec<Entry>,
    has_more: bool,
}

impl Page {
    pub(super) fn read(asked: &Asked) -> Result<Self, Problem> {
        Ok(Self {
            offset: asked.value("_offset")?.unwrap_or(0),
            count: asked.value("_count")?.unwrap_or(COUNT).min(COUNT_MAX),
            passed: 0,
            entries: Vec::new(),
            has_more: false,
        })
    }

    /// Whether the next match belongs on this page.
    pub(super) fn wants(&self) -> bool {
        self.passed >= self.offset && self.entries.len() < self.count
    }

    pub(super) fn take(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Passes over a match of another page; `false` once it is known that there is a next one.
    pub(super) fn pass(&mut self) -> bool {
        if self.passed < self.offset {
            self.passed += 1;
            return true;
        }
        self.has_more = true;
        false
    }

    pub(super) fn bundle(self, kind: &str, asked: &Asked, base: &str) -> Value {
        let url = |offset: usize| {
            let mut query = form_urlencoded::Serializer::new(String::new());
            for (name, value) in asked.0.iter().filter(|(name, _)| name != "_offset") {
                query.append_pair(name, value);
            }
            if offset > 0 {
                query.append_pair("_offset", &offset.to_string());
            }
            format!("{base}/{kind}?{}", query.finish())
        };
        let mut links = vec![json!({"relation": "self", "url": url(self.offset)})];
        if self.has_more {
            let next = self.offset + self.entries.len();
            links.push(json!({"relation": "next", "url": url(next)}));
        }
        let entries: Vec<Value> = self.entries.into_iter().map(|entry| entry.0).collect();
        let mut bundle = json!({"resourceType": "Bundle", "type": "searchset", "link": links});
        // FHIR has no empty lists.
        if !entries.is_empty() {
            bundle["entry"] = Value::Array(entries);
        }
        bundle
    }
}
