//! How slowly an object may come: one that hardly comes at all only holds a place.

use std::time::Duration;

/// What a sender brings in the time in which it is waited for. Our own work between two pieces does not count.
#[derive(Debug, Clone)]
pub struct Pace {
    kib_per_s_min: u32,
    over: Duration,
    waited: Duration,
    brought_bytes: u64,
}

impl Pace {
    /// At least so much, measured over so long a wait; 0 stands for no limit.
    #[must_use]
    pub const fn new(kib_per_s_min: u32, over: Duration) -> Self {
        Self {
            kib_per_s_min,
            over,
            waited: Duration::ZERO,
            brought_bytes: 0,
        }
    }

    /// Over how long a wait it is measured.
    #[must_use]
    pub const fn over(&self) -> Duration {
        self.over
    }

    /// The least that must come.
    #[must_use]
    pub const fn kib_per_s_min(&self) -> u32 {
        self.kib_per_s_min
    }

    /// Measures anew.
    pub const fn begin(&mut self) {
        self.waited = Duration::ZERO;
        self.brought_bytes = 0;
    }

    /// Bytes came after so long a wait for them.
    pub fn came(&mut self, bytes: usize, after: Duration) {
        if self.waited >= self.over {
            self.begin();
        }
        self.waited += after;
        self.brought_bytes += bytes as u64;
    }

    /// Whether too little came, once it was waited for long enough to tell.
    #[must_use]
    pub const fn is_too_slow(&self) -> bool {
        let least = self.kib_per_s_min as u128 * 1024 * self.waited.as_millis();
        self.waited.as_millis() >= self.over.as_millis()
            && (self.brought_bytes as u128 * 1000) < least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn who_drips_is_too_slow_and_who_pauses_once_is_not() {
        let mut drips = Pace::new(8, 10 * SECOND);
        for _ in 0..9 {
            drips.came(100, SECOND);
            assert!(!drips.is_too_slow(), "too early to tell");
        }
        drips.came(100, SECOND);
        assert!(drips.is_too_slow());
        let mut pauses = Pace::new(8, 10 * SECOND);
        pauses.came(100, 9 * SECOND);
        pauses.came(1 << 20, SECOND);
        assert!(!pauses.is_too_slow());
    }

    #[test]
    fn what_came_quickly_before_does_not_pay_for_a_drip() {
        let mut pace = Pace::new(8, 10 * SECOND);
        pace.came(1 << 30, 10 * SECOND);
        assert!(!pace.is_too_slow());
        for _ in 0..10 {
            pace.came(1, SECOND);
        }
        assert!(pace.is_too_slow());
        pace.begin();
        assert!(!pace.is_too_slow());
    }

    #[test]
    fn without_a_limit_nothing_is_too_slow() {
        let mut pace = Pace::new(0, SECOND);
        pace.came(0, 1000 * SECOND);
        assert!(!pace.is_too_slow());
    }
}
