//! What stands for an identifier: always the same for the same identifier and key, and not to be traced back without the
//! key.

use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// The site's secret. Whoever has it can tell whose a pseudonym is by trying every patient.
#[derive(Clone, Serialize, Deserialize)]
pub struct Key([u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The longest shift of a patient's dates, days.
const SHIFT_DAYS_MAX: u64 = 3650;

impl Key {
    /// A key of 32 random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A UID for a UID.
    pub(super) fn uid(&self, of: &str) -> String {
        let hash = self.hash("uid", of);
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&hash[..16]);
        uuid[6] = uuid[6] & 0x0f | 0x80; // a UUID of version 8 (RFC 9562): the maker's own scheme
        uuid[8] = uuid[8] & 0x3f | 0x80;
        format!("2.25.{}", u128::from_be_bytes(uuid))
    }

    /// A name for a patient: 16 characters, so that it fits wherever an identifier does.
    pub(super) fn patient(&self, id: &str) -> String {
        let hash = self.hash("patient", id);
        let digits: String = hash[..7].iter().map(|b| format!("{b:02X}")).collect();
        format!("P-{digits}")
    }

    /// By how many days a patient's dates are put back; never 0.
    pub(super) fn shift_days(&self, id: &str) -> i64 {
        let hash = self.hash("dates", id);
        let mut first = [0; 8];
        first.copy_from_slice(&hash[..8]);
        (u64::from_be_bytes(first) % SHIFT_DAYS_MAX + 1) as i64
    }

    fn hash(&self, kind: &str, of: &str) -> [u8; 32] {
        // HMAC takes keys of any length, so this one is never refused; and were it, nothing may go out.
        let Ok(mut hmac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            unreachable!("HMAC takes keys of any length")
        };
        hmac.update(kind.as_bytes());
        hmac.update(&[0]);
        hmac.update(of.as_bytes());
        hmac.finalize().into_bytes().into()
    }
}

/// A date (`YYYYMMDD`) put back by that many days; `None` when it is none.
pub(super) fn put_back(date: &str, days: i64) -> Option<String> {
    if date.len() != 8 || !date.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| date[range].parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month, day) = civil(days_of(year, month, day) - days);
    Some(format!("{year:04}{month:02}{day:02}"))
}

/// Days since 1970-01-01 in the Gregorian calendar. The year is counted from March, so that the leap day is its last.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, month) = (year.div_euclid(400), (month + 9) % 12);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse of [`days_of`].
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_put_back() {
        for (date, days, expected) in [
            ("20260301", 1, Some("20260228")),
            ("20240301", 1, Some("20240229")),
            ("20260101", 365, Some("20250101")),
            ("19700101", 1, Some("19691231")),
            ("2026010", 1, None),
            ("20261301", 1, None),
            ("2026é1", 1, None),
        ] {
            assert_eq!(put_back(date, days).as_deref(), expected, "{date}");
        }
        for days in -40_000..40_000 {
            let (year, month, day) = civil(days);
            assert_eq!(days_of(year, month, day), days);
        }
    }

    #[test]
    fn another_key_makes_other_names() {
        let (a, b) = (Key::new([1; 32]), Key::new([2; 32]));
        assert_eq!(a.uid("1.2"), a.uid("1.2"));
        assert_ne!(a.uid("1.2"), b.uid("1.2"));
        assert_ne!(a.uid("1.2"), a.uid("1.3"));
        assert_eq!(a.patient("x").len(), 16);
        assert_ne!(a.patient("x"), b.patient("x"));
        assert!(a.uid("1.2").len() <= 64);
        assert!((1..=3650).contains(&a.shift_days("x")));
    }
}
