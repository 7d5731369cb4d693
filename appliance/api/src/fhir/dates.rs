//! DICOM's dates and times as FHIR's, and what a search says of them (FHIR R4 section 3.1.1.4.7).

use crate::problem::Problem;

/// A date and a time of DICOM as a FHIR `dateTime`; without a time of its own only the day, as FHIR has no time without a zone.
pub(super) fn date_time(date: Option<&str>, time: Option<&str>, offset_min: i32) -> Option<String> {
    let digits =
        |text: &str, n: usize| text.len() >= n && text.bytes().take(n).all(|b| b.is_ascii_digit());
    let date = date.filter(|d| digits(d, 8) && d.is_ascii())?;
    let day = format!("{}-{}-{}", &date[..4], &date[4..6], &date[6..8]);
    match time.filter(|t| digits(t, 6) && t.is_ascii()) {
        Some(t) => {
            let zone = zone(offset_min);
            Some(format!("{day}T{}:{}:{}{zone}", &t[..2], &t[2..4], &t[4..6]))
        }
        None => Some(day),
    }
}

fn zone(offset_min: i32) -> String {
    let sign = if offset_min < 0 { '-' } else { '+' };
    let minutes = offset_min.unsigned_abs();
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

/// What a date must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DateRange {
    from: String,
    to: String,
}

impl DateRange {
    /// Reads such as `ge2026-01` or `2026-01-31`.
    ///
    /// # Errors
    /// 400 when it is none.
    pub(super) fn read(name: &str, text: &str) -> Result<Self, Problem> {
        let wrong = || {
            let detail =
                format!("{name} is a date such as 2026-01-31, perhaps after eq, ge, gt, le or lt");
            Problem::parameter(name, detail)
        };
        let split = text
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(text.len());
        let (prefix, date) = text.split_at(split);
        let day = date.split('T').next().unwrap_or_default();
        let digits: String = day.split('-').collect();
        let is_one =
            matches!(digits.len(), 4 | 6 | 8) && digits.bytes().all(|b| b.is_ascii_digit());
        if !is_one {
            return Err(wrong());
        }
        // The first and the last day that it means.
        let first = format!("{digits}{}", &"0101"[digits.len() - 4..]);
        let last = format!("{digits}{}", &"1231"[digits.len() - 4..]);
        let (min, max) = ("00000000".to_owned(), "99999999".to_owned());
        let (from, to) = match prefix {
            "" | "eq" => (first, last),
            "ge" | "sa" => (first, max),
            "gt" => (format!("{last}+"), max),
            "le" | "eb" => (min, last),
            "lt" => (min, format!("{first}-")),
            _ => return Err(wrong()),
        };
        Ok(Self { from, to })
    }

    /// Whether that day, as DICOM writes it, is meant.
    pub(super) fn accepts(&self, date: Option<&str>) -> bool {
        let Some(date) = date else { return false };
        let is_after = match self.from.strip_suffix('+') {
            Some(last) => date > last,
            None => date >= self.from.as_str(),
        };
        let is_before = match self.to.strip_suffix('-') {
            Some(first) => date < first,
            None => date <= self.to.as_str(),
        };
        is_after && is_before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_dicom() {
        let of = |date, time, offset| date_time(date, time, offset);
        assert_eq!(
            of(Some("20260131"), Some("101500.25"), 60),
            Some("2026-01-31T10:15:00+01:00".into())
        );
        assert_eq!(
            of(Some("20260131"), Some("10"), -90),
            Some("2026-01-31".into())
        );
        assert_eq!(
            of(Some("20260131"), Some("101500"), -90),
            Some("2026-01-31T10:15:00-01:30".into())
        );
        assert_eq!(of(Some("2026"), None, 0), None);
        assert_eq!(of(None, Some("101500"), 0), None);
    }

    #[test]
    fn ranges_of_a_search() {
        for (text, date, expected) in [
            ("2026-01-31", "20260131", true),
            ("2026-01", "20260131", true),
            ("2026", "20261231", true),
            ("2026-02", "20260131", false),
            ("ge2026-02", "20260131", false),
            ("ge2026-01", "20260131", true),
            ("gt2026-01", "20260131", false),
            ("gt2026-01", "20260201", true),
            ("lt2026-01", "20251231", true),
            ("lt2026-01", "20260101", false),
            ("le2026-01", "20260131", true),
            ("eq2026-01-31T10:00:00Z", "20260131", true),
        ] {
            let range = DateRange::read("date", text).expect("a date");
            assert_eq!(range.accepts(Some(date)), expected, "{text} {date}");
            assert!(!range.accepts(None));
        }
        for bad in ["", "yesterday", "ap2026", "2026-1", "20"] {
            assert!(DateRange::read("date", bad).is_err(), "{bad}");
        }
    }
}
