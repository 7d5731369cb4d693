//! Where in the file a mistake stands: what is wrong by its meaning is found after the file was parsed.

use std::ops::Range;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// The mistake, with the line that it is about where there is one.
pub(crate) fn placed(text: &str, mistake: String) -> String {
    let span = DeTable::parse(text)
        .ok()
        .and_then(|document| span(document.get_ref(), &mistake));
    match span {
        Some(span) => {
            let before = &text.as_bytes()[..span.start.min(text.len())];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            format!("line {line}: {mistake}")
        }
        None => mistake,
    }
}

/// A mistake begins with its place: `jobs.attempts_max: ..`, or `peers "pacs": port: ..` in a list.
fn span(document: &DeTable<'_>, mistake: &str) -> Option<Range<usize>> {
    let Some((list, rest)) = mistake.split_once(" \"") else {
        return span_of_key(document, mistake.split(": ").next()?);
    };
    if !document.contains_key(list) {
        return span_of_key(document, mistake.split(": ").next()?);
    }
    let (name, rest) = rest.split_once("\": ")?;
    let DeValue::Array(entries) = document.get(list)?.get_ref() else {
        return None;
    };
    let named = |entry: &&Spanned<DeValue<'_>>| {
        let name_of = entry
            .get_ref()
            .get("name")
            .and_then(|v| v.get_ref().as_str());
        name_of.is_some_and(|text| format!("{text:?}") == format!("\"{name}\""))
    };
    let entry = entries.iter().find(named)?;
    let key = rest.split(": ").next()?;
    let within = entry.get_ref().as_table()?.get_key_value(key);
    Some(within.map_or_else(|| entry.span(), |(key, _)| key.span()))
}

/// Of a key as in `dicom.tls.listen`, as deep as the file goes; of a list, nothing: which of its entries is not said.
fn span_of_key(document: &DeTable<'_>, place: &str) -> Option<Range<usize>> {
    let (mut table, mut found) = (document, None);
    for key in place.split('.') {
        let entry: Option<(&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)> =
            table.get_key_value(key);
        let Some((key, value)) = entry else { break };
        match value.get_ref() {
            DeValue::Array(_) if found.is_none() => return None,
            DeValue::Table(within) => (table, found) = (within, Some(value.span())),
            _ => return Some(key.span()),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_given_its_line() {
        let text = "[appliance]\nname = 'x'\n\n[dicom]\nae_title = 'A'\n[dicom.tls]\nkey = '/k'\n\
                    [[peers]]\nname = 'ct'\n[[peers]]\nname = 'a \"pacs\"'\nport = 104\n";
        for (mistake, expected) in [
            (
                "appliance.name: printable",
                "line 2: appliance.name: printable",
            ),
            ("dicom.ae_title: too long", "line 5: "),
            ("dicom.tls: give all three", "line 6: "),
            ("peers \"ct\": certificates: no", "line 8: "),
            ("peers \"a \\\"pacs\\\"\": port: no", "line 12: "),
            ("peers: two are called \"ct\"", "peers: two"),
            ("jobs.attempts_max: 0", "jobs.attempts_max"),
            ("peers \"gone\": port: no", "peers \"gone\""),
        ] {
            let found = placed(text, mistake.to_owned());
            assert!(found.starts_with(expected), "{mistake}\n-> {found}");
        }
    }
}
