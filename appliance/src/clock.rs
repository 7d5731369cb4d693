//! The system's clock. Every room is given it; none asks the system itself.

use pericard_domain::time::{Clock, Timestamp};
use std::time::{SystemTime, UNIX_EPOCH};

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place that asks the system for the time
    fn now(&self) -> Timestamp {
        // Before 1970 or after the year 292,000,000 the clock is broken; the epoch says so in every log line.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(0))
    }

    fn utc_offset_min(&self, at: Timestamp) -> i32 {
        let local = chrono::DateTime::from_timestamp_millis(at.as_millis())
            .map(|t| t.with_timezone(&chrono::Local));
        local.map_or(0, |t| t.offset().local_minus_utc() / 60)
    }
}
