//! Attribute matching of queries (PS3.4 section C.2.2.2): single value, list of UIDs, wildcard, range, sequence,
//! universal, and empty value.

use dicom_core::VR;
use pericard_dicom::identifier::{Content, Element, Identifier};

/// What a key says when it asks for attributes without a value (PS3.4 section C.2.2.2.7).
const EMPTY_VALUE: &str = "\"\"";

/// Whether a record has everything that the keys ask for.
pub(crate) fn matches(keys: &Identifier, record: &Identifier) -> bool {
    keys.iter()
        .all(|(tag, key)| is_universal(key) || accepts(key, record.get(tag)))
}

/// Whether the key matches whatever there is, also nothing.
pub(crate) fn is_universal(key: &Element) -> bool {
    match &key.value {
        Content::Text(text) => text.is_empty() || text == "*",
        Content::Items(items) => items
            .iter()
            .all(|item| item.iter().all(|(_, key)| is_universal(key))),
    }
}

fn accepts(key: &Element, found: Option<&Element>) -> bool {
    match (&key.value, found.map(|f| &f.value)) {
        // One item of keys (PS3.4 section C.2.2.2.6): any item that has all of them will do.
        (Content::Items(keys), Some(Content::Items(items))) => keys
            .first()
            .is_none_or(|keys| items.iter().any(|item| matches(keys, item))),
        (Content::Text(wanted), Some(Content::Text(found))) => accepts_text(key.vr, wanted, found),
        (Content::Text(wanted), None) => accepts_text(key.vr, wanted, ""),
        (Content::Items(_), _) | (Content::Text(_), Some(Content::Items(_))) => false,
    }
}

fn accepts_text(vr: VR, wanted: &str, found: &str) -> bool {
    if wanted == EMPTY_VALUE {
        return found.is_empty();
    }
    if matches!(vr, VR::LT | VR::ST | VR::UT) {
        return is_like(&chars(found), &chars(wanted));
    }
    let values = || found.split('\\').map(str::trim);
    wanted.split('\\').map(str::trim).any(|wanted| match vr {
        VR::UI => values().any(|found| found == wanted),
        VR::DA | VR::TM | VR::DT => values().any(|found| in_range(found, wanted)),
        VR::PN => values().any(|found| is_name(found, wanted)),
        VR::IS | VR::DS | VR::US | VR::SS | VR::UL | VR::SL => {
            values().any(|found| is_number(found, wanted))
        }
        _ => values().any(|found| is_like(&chars(found), &chars(wanted))),
    })
}

/// Names match in any case, whole or by one of their component groups, and whether or not empty components follow.
fn is_name(found: &str, wanted: &str) -> bool {
    let short = |name: &str| name.trim_end_matches(['^', '=', ' ']).to_lowercase();
    let pattern = chars(&short(wanted));
    is_like(&chars(&short(found)), &pattern)
        || found
            .split('=')
            .any(|group| is_like(&chars(&short(group)), &pattern))
}

fn is_number(found: &str, wanted: &str) -> bool {
    match (found.parse::<f64>(), wanted.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() < f64::EPSILON,
        _ => is_like(&chars(found), &chars(wanted)),
    }
}

/// Whether a date or time lies in a range, ends included. A shorter end stands for all that begins with it; the old
/// forms with full stops and colons are the same dates and times.
fn in_range(found: &str, wanted: &str) -> bool {
    let plain = |text: &str| text.replace([':', '.'], "");
    let (from, to) = wanted.split_once('-').unwrap_or((wanted, wanted));
    let (found, from, to) = (plain(found), plain(from.trim()), plain(to.trim()));
    let not_after = to.is_empty() || found.starts_with(&to) || found < to;
    !found.is_empty() && found >= from && not_after
}

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

/// Whether `text` is like `pattern`, where `*` is any text and `?` any character. No pattern takes longer than the
/// product of both lengths.
fn is_like(text: &[char], pattern: &[char]) -> bool {
    let (mut t, mut p) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => (t, p) = (t + 1, p + 1),
            _ => {
                let Some((after, from)) = star else {
                    return false;
                };
                star = Some((after, from + 1));
                (t, p) = (from + 1, after);
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_dictionary_std::tags;

    #[test]
    fn every_kind_of_matching() {
        for (vr, wanted, found, expected) in [
            (VR::UI, "1.2\\1.3", "1.3", true),
            (VR::UI, "1.2", "1.20", false),
            (VR::LO, "A*C", "ABC", true),
            (VR::LO, "a*c", "ABC", false),
            (VR::LO, "A?C", "ABBC", false),
            (VR::CS, "CT\\MR", "MR", true),
            (VR::CS, "CT", "SR\\CT", true),
            (VR::CS, "\"\"", "", true),
            (VR::CS, "\"\"", "CT", false),
            (VR::PN, "doe^j*", "DOE^JANE", true),
            (VR::PN, "DOE^JANE^^^", "Doe^Jane", true),
            (VR::PN, "DOE", "DOE^JANE", false),
            (VR::PN, "山田*", "Yamada^Tarou=山田^太郎", true),
            (VR::PN, "yamada*", "Yamada^Tarou=山田^太郎", true),
            (VR::PN, "MÜLLER*", "Müller^Uwe", true),
            (VR::DA, "20200101-20201231", "20200630", true),
            (VR::DA, "-20201231", "20210101", false),
            (VR::DA, "20200101-", "20210101", true),
            (VR::DA, "2020.01.01", "20200101", true),
            (VR::DA, "20200101", "", false),
            (VR::TM, "1000-1100", "113059.12", false),
            (VR::TM, "10-11", "113059.12", true),
            (VR::IS, "007", "7", true),
            (VR::US, "512", "256", false),
            (VR::SH, "A1", "", false),
        ] {
            assert_eq!(
                accepts_text(vr, wanted, found),
                expected,
                "{vr} {wanted:?} {found:?}"
            );
        }
    }

    #[test]
    fn sequences_match_when_one_item_has_every_key() {
        let record = |ids: &[&str]| {
            let items = ids
                .iter()
                .map(|id| Identifier::default().with(tags::REQUESTED_PROCEDURE_ID, Some(id)));
            Identifier::default().with_items(tags::REQUEST_ATTRIBUTES_SEQUENCE, items.collect())
        };
        assert!(matches(&record(&["P1"]), &record(&["P0", "P1"])));
        assert!(!matches(&record(&["P1"]), &record(&["P0"])));
        assert!(!matches(&record(&["P1"]), &Identifier::default()));
        for universal in [record(&[]), record(&[""]), record(&["*"])] {
            assert!(matches(&universal, &Identifier::default()));
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        let (text, pattern) = ("a".repeat(5_000), "*a".repeat(2_000) + "b");
        assert!(!accepts_text(VR::LO, &pattern, &text));
    }
}
