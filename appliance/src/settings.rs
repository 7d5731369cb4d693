//! The configuration in effect, as a list that people read in the console: every key, those too that the file leaves out.
//! Secrets are never in the file, so none are here.

use crate::config::Written;
use pericard_api::Setting;
use serde_json::Value;

/// Every key of the configuration with its value, section by section; an entry of a list is a section of its own.
pub(crate) fn in_effect(written: &Written) -> Vec<Setting> {
    let mut settings = Vec::new();
    let sections = serde_json::to_value(written);
    for (section, value) in sections.iter().filter_map(Value::as_object).flatten() {
        match value {
            Value::Array(entries) => {
                for (place, entry) in (1..).zip(entries) {
                    put(&mut settings, &format!("{section} {place}"), entry);
                }
            }
            section_value => put(&mut settings, section, section_value),
        }
    }
    settings
}

fn put(settings: &mut Vec<Setting>, section: &str, value: &Value) {
    let mut within = Vec::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        match value {
            Value::Object(_) => within.push((format!("{section}.{key}"), value)),
            value => settings.push(Setting {
                section: section.to_owned(),
                key: key.clone(),
                value: shown(value),
            }),
        }
    }
    for (section, value) in within {
        put(settings, &section, value);
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "not set".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "none".to_owned(),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(", "),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_there_with_what_is_in_effect() {
        let written: Written = toml::from_str(
            "[https]\nlisten = '127.0.0.1:9443'\n[[rules]]\nname = 'chest'\nmodels = ['a', 'b']\nidle_timeout_s = 30\n",
        )
        .expect("a configuration");
        let settings = in_effect(&written);
        let find = |section: &str, key: &str| {
            let found = settings
                .iter()
                .find(|s| s.section == section && s.key == key);
            found.map(|s| s.value.as_str())
        };
        assert_eq!(find("https", "listen"), Some("127.0.0.1:9443"));
        assert_eq!(find("rules 1", "models"), Some("a, b"));
        assert_eq!(find("https", "certificate"), Some("not set"));
        let default = find("appliance", "log_level");
        assert!(default.is_some(), "what the file leaves out");
        let sections: Vec<_> = settings.chunk_by(|a, b| a.section == b.section).collect();
        let mut names: Vec<_> = sections.iter().map(|s| &s[0].section).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), sections.len(), "each section once");
    }
}
