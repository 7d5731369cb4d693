//! The DICOM JSON model (PS3.18 annex F), as far as answers here are made by hand.

use serde_json::{Map, Value, json};

/// Attributes by tag, as a JSON object.
#[derive(Debug, Clone, Default)]
pub(super) struct Attributes(Map<String, Value>);

impl Attributes {
    /// An attribute with one text value; empty, which says "known to be empty", when there is none.
    pub(super) fn text(self, tag: &str, vr: &str, value: Option<&str>) -> Self {
        let value = value.filter(|v| !v.is_empty()).map(|v| match vr {
            "PN" => person_name(v),
            // Decimal and integer strings are numbers in JSON; what is none is kept as it is.
            "IS" => v
                .trim()
                .parse::<i64>()
                .map_or_else(|_| json!(v), |n| json!(n)),
            _ => json!(v),
        });
        self.values(tag, vr, value.into_iter().collect())
    }

    pub(super) fn number(self, tag: &str, vr: &str, value: impl Into<i64>) -> Self {
        self.values(tag, vr, vec![json!(value.into())])
    }

    pub(super) fn texts<'a>(
        self,
        tag: &str,
        vr: &str,
        values: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        self.values(tag, vr, values.into_iter().map(|v| json!(v)).collect())
    }

    pub(super) fn sequence(self, tag: &str, items: Vec<Self>) -> Self {
        self.values(tag, "SQ", items.into_iter().map(Self::into_json).collect())
    }

    fn values(mut self, tag: &str, vr: &str, values: Vec<Value>) -> Self {
        let attribute = if values.is_empty() {
            json!({"vr": vr})
        } else {
            json!({"vr": vr, "Value": values})
        };
        self.0.insert(tag.to_owned(), attribute);
        self
    }

    /// Adds the attributes of `other`.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    pub(super) fn into_json(self) -> Value {
        Value::Object(self.0)
    }
}

/// A person's name with its component groups (PS3.18 section F.2.2).
fn person_name(name: &str) -> Value {
    let groups = ["Alphabetic", "Ideographic", "Phonetic"];
    let present = groups
        .into_iter()
        .zip(name.split('='))
        .filter(|(_, text)| !text.is_empty());
    Value::Object(
        present
            .map(|(group, text)| (group.to_owned(), json!(text)))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_as_the_standard_writes_them() {
        let made = Attributes::default()
            .text("00100010", "PN", Some("Yamada^Tarou=山田^太郎"))
            .text("00200013", "IS", Some("7 "))
            .text("00080020", "DA", None)
            .number("00281050", "US", 3_u16)
            .texts("00080061", "CS", ["CT", "SR"])
            .into_json();
        let expected = json!({
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]},
            "00200013": {"vr": "IS", "Value": [7]},
            "00080020": {"vr": "DA"},
            "00281050": {"vr": "US", "Value": [3]},
            "00080061": {"vr": "CS", "Value": ["CT", "SR"]},
        });
        assert_eq!(made, expected);
    }
}
