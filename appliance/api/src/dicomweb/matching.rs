//! Matching of QIDO-RS (PS3.18 section 8.3.4, which refers to PS3.4 section C.2.2.2).

use crate::problem::Problem;

/// How an attribute is matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Matching {
    /// Any of a list of UIDs.
    Uids,
    /// A text, with `*` and `?` as wildcards; names in any case.
    Text,
    /// A date or a time, or a range of them.
    Range,
}

#[cfg(test)]
impl Matching {
    /// Its name in the conformance statement.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Uids => "list of UIDs",
            Self::Text => "single value, wildcard",
            Self::Range => "single value, range",
        }
    }
}

/// An attribute that may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) keyword: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) matching: Matching,
}

/// What one attribute must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) key: Key,
    value: String,
}

impl Wanted {
    /// Reads a query parameter as a matching key, when it is one; its name is a keyword or a tag.
    ///
    /// # Errors
    /// 400 when its value makes no sense.
    pub(super) fn read(name: &str, value: &str, keys: &[Key]) -> Result<Option<Self>, Problem> {
        let named = |key: &&Key| key.keyword == name || key.tag.eq_ignore_ascii_case(name);
        let Some(key) = keys.iter().find(named) else {
            return Ok(None);
        };
        if key.matching == Matching::Range && !is_range(value) {
            let detail = format!("{} must be a date or time, or a range of them", key.keyword);
            return Err(Problem::parameter(key.keyword, detail));
        }
        Ok(Some(Self {
            key: *key,
            value: value.to_owned(),
        }))
    }

    /// Whether everything is wanted, also what has no value.
    pub(super) fn is_universal(&self) -> bool {
        self.value.is_empty() || self.value == "*"
    }

    /// Whether an attribute with this value is wanted. An empty key matches everything (universal matching).
    pub(super) fn accepts(&self, value: Option<&str>) -> bool {
        if self.is_universal() {
            return true;
        }
        let value = value.unwrap_or_default();
        match self.key.matching {
            Matching::Uids => self.uids().any(|uid| uid == value),
            Matching::Text => is_like(&fold(value), &fold(&self.value)),
            Matching::Range => !value.is_empty() && in_range(value, &self.value),
        }
    }

    /// The UIDs of a list, which may be parted by commas or by backslashes.
    pub(super) fn uids(&self) -> impl Iterator<Item = &str> {
        self.value
            .split([',', '\\'])
            .map(str::trim)
            .filter(|uid| !uid.is_empty())
    }
}

/// Case is folded for every text, not only for names: a hospital that types `ct` means `CT`.
fn fold(text: &str) -> Vec<char> {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// Whether `text` is like `pattern`, where `*` is any text and `?` any character. Linear in both but for the last star.
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
                // The star takes one character more.
                star = Some((after, from + 1));
                (t, p) = (from + 1, after);
            }
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

fn is_range(value: &str) -> bool {
    let plain = |part: &str| {
        part.bytes()
            .all(|b| b.is_ascii_digit() || b == b'.' || b == b':')
    };
    match value.split_once('-') {
        None => plain(value),
        Some((from, to)) => plain(from) && plain(to) && !(from.is_empty() && to.is_empty()),
    }
}

/// Whether a date or time lies in a range, ends included. A shorter end stands for all that begins with it.
fn in_range(value: &str, range: &str) -> bool {
    let digits = |text: &str| text.replace([':', '.'], "");
    let value = digits(value);
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    let (from, to) = (digits(from), digits(to));
    let not_after = |end: &str| end.is_empty() || value.starts_with(end) || *value < *end;
    *value >= *from && not_after(&to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(matching: Matching, wanted: &str, value: &str) -> bool {
        let key = Key {
            keyword: "K",
            tag: "00000000",
            matching,
        };
        let wanted = Wanted::read("K", wanted, &[key])
            .expect("sensible")
            .expect("known");
        wanted.accepts(Some(value))
    }

    #[test]
    fn every_kind_of_matching() {
        use Matching::{Range, Text, Uids};
        for (matching, wanted, value, expected) in [
            (Uids, "1.2,1.3", "1.3", true),
            (Uids, r"1.2\1.3", "1.3", true),
            (Uids, "1.2", "1.20", false),
            (Text, "", "anything", true),
            (Text, "doe*", "DOE^Jane", true),
            (Text, "*jane", "DOE^Jane", true),
            (Text, "d?e*", "DOE^Jane", true),
            (Text, "doe", "DOE^Jane", false),
            (Text, "a*b*c", "aXbYbZc", true),
            (Text, "a*b*c", "aXbYbZ", false),
            (Text, "MÜLLER*", "Müller^Uwe", true),
            (Range, "20200101", "20200101", true),
            (Range, "20200101-20201231", "20200630", true),
            (Range, "20200101-20201231", "20210101", false),
            (Range, "-20201231", "19990101", true),
            (Range, "20200101-", "19990101", false),
            (Range, "20200101-", "", false),
            (Range, "10-11", "113059.12", true),
            (Range, "10:00-11:00", "120000", false),
        ] {
            let found = accepts(matching, wanted, value);
            assert_eq!(found, expected, "{matching:?} {wanted:?} {value:?}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        let (text, pattern) = ("a".repeat(5_000), "*a".repeat(2_000) + "b");
        assert!(!accepts(Matching::Text, &pattern, &text));
    }

    #[test]
    fn a_range_that_is_none_is_refused() {
        let key = Key {
            keyword: "StudyDate",
            tag: "00080020",
            matching: Matching::Range,
        };
        for bad in ["yesterday", "-", "2020/01/01"] {
            assert!(Wanted::read("00080020", bad, &[key]).is_err(), "{bad}");
        }
        assert_eq!(Wanted::read("Other", "x", &[key]).expect("not a key"), None);
    }
}
