//! Time as the appliance knows it, and the clock that tells it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This moment and a while after it; at the end of time it stays there.
    #[must_use]
    pub fn after(self, while_: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(while_.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    fn utc(self) -> time::OffsetDateTime {
        // Out of range only beyond the year 9999, where the epoch is as good an answer as any.
        time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
    }

    /// `YYYY-MM-DDTHH:MM:SS.mmmZ` (RFC 3339).
    #[must_use]
    pub fn rfc3339(self) -> String {
        let t = self.utc();
        let (h, m, s, ms) = (t.hour(), t.minute(), t.second(), t.millisecond());
        format!(
            "{:04}-{:02}-{:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z",
            t.year(),
            u8::from(t.month()),
            t.day()
        )
    }

    /// The date as DICOM writes it in UTC, `YYYYMMDD` (value representation DA).
    #[must_use]
    pub fn dicom_date(self) -> String {
        let t = self.utc();
        format!("{:04}{:02}{:02}", t.year(), u8::from(t.month()), t.day())
    }

    /// The time of day as DICOM writes it in UTC, `HHMMSS` (value representation TM).
    #[must_use]
    pub fn dicom_time(self) -> String {
        let t = self.utc();
        format!("{:02}{:02}{:02}", t.hour(), t.minute(), t.second())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

/// A clock knows what time it is. Rooms are given one and never ask the system.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// The hospital's offset from UTC at that time, minutes; positive to the east.
    fn utc_offset_min(&self, _at: Timestamp) -> i32 {
        0
    }
}

/// A clock that stands where it is put: for tests.
#[derive(Debug)]
pub struct StandingClock(AtomicI64);

impl StandingClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Puts the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(
            i64::try_from(by.as_millis()).unwrap_or(i64::MAX),
            Ordering::SeqCst,
        );
    }

    /// Puts the clock anywhere, also back.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for StandingClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_the_standards_write_it() {
        let t = Timestamp::from_millis(1_795_456_800_123);
        assert_eq!(t.rfc3339(), "2026-11-23T18:00:00.123Z");
        assert_eq!(
            (t.dicom_date().as_str(), t.dicom_time().as_str()),
            ("20261123", "180000")
        );
    }

    #[test]
    fn never_before_the_beginning_of_a_while() {
        let (a, b) = (Timestamp::from_millis(5), Timestamp::from_millis(9));
        assert_eq!(b.since(a), Duration::from_millis(4));
        assert_eq!(a.since(b), Duration::ZERO);
    }
}
