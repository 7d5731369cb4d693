//! The certificates that the doors show, and who must be told before they end.

use pericard_domain::time::Timestamp;
use std::time::Duration;

/// How long before its end somebody must see to a certificate's successor, days.
pub const SUCCESSOR_DUE_DAYS: u64 = 30;

const DAY_S: u64 = 86_400;

/// A door that shows a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// HTTPS.
    Https,
    /// DICOM over TLS, and HL7 over TLS, which shows the same.
    Dicom,
}

impl Door {
    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Dicom => "dicom",
        }
    }

    const fn said(self) -> &'static str {
        match self {
            Self::Https => "HTTPS",
            Self::Dicom => "DICOM over TLS",
        }
    }
}

/// A certificate that a door shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShownCertificate {
    /// Where it is shown.
    pub door: Door,
    /// When it, or one of those above it, ends: nobody believes it any more.
    pub ends_at: Timestamp,
}

impl ShownCertificate {
    /// Whether nobody believes it any more.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.ends_at <= now
    }

    /// What somebody must do about it, once its successor is due.
    #[must_use]
    pub fn warning(&self, now: Timestamp) -> Option<String> {
        let due = now.after(Duration::from_secs(SUCCESSOR_DUE_DAYS * DAY_S));
        if self.ends_at > due {
            return None;
        }
        let left = if self.is_over(now) {
            "is over: clients refuse it".to_owned()
        } else {
            let days = self.ends_at.since(now).as_secs() / DAY_S;
            format!("ends in {days} days")
        };
        let door = self.door.said();
        Some(format!(
            "The certificate of {door} {left}. Install its successor and reload; one that was made here is made anew by a restart."
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_is_asked_for_in_time_and_not_before() {
        let now = Timestamp::from_millis(1_795_456_800_000);
        let ending = |days: u64| ShownCertificate {
            door: Door::Https,
            ends_at: now.after(Duration::from_secs(days * DAY_S)),
        };
        assert_eq!(ending(SUCCESSOR_DUE_DAYS + 1).warning(now), None);
        let said = ending(10).warning(now).unwrap();
        assert!(said.contains("HTTPS ends in 10 days"), "{said}");
        let said = ending(0).warning(now).unwrap();
        assert!(said.contains("is over"), "{said}");
    }
}
