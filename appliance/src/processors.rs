//! How busy the machine's processors are, as the kernel counts it since it started.

/// Time of all processors together, in the kernel's ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Processors {
    busy: u64,
    all: u64,
}

impl Processors {
    /// As it is now; nothing where the kernel does not say.
    pub(crate) fn now() -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        stat.lines().next().map(Self::of).unwrap_or_default()
    }

    /// What was busy, and of how much, since then.
    pub(crate) fn since(self, earlier: Self) -> (u64, u64) {
        let less = |now: u64, then: u64| now.saturating_sub(then);
        (less(self.busy, earlier.busy), less(self.all, earlier.all))
    }

    /// From `cpu  user nice system idle iowait irq softirq steal ...` (proc(5)): idle and waiting for a disk is not busy,
    /// and the time of guests stands in user's already.
    fn of(line: &str) -> Self {
        let numbers = line.split_ascii_whitespace().skip(1).take(8);
        let numbers: Vec<u64> = numbers.filter_map(|number| number.parse().ok()).collect();
        let all: u64 = numbers.iter().sum();
        let idle: u64 = numbers.iter().skip(3).take(2).sum();
        Self {
            busy: all - idle,
            all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_waiting_is_not_busy() {
        let earlier = Processors::of("cpu  10 0 10 70 10 0 0 0 5 0");
        let now = Processors::of("cpu  40 0 10 130 20 0 0 0 9 0");
        assert_eq!(earlier, Processors { busy: 20, all: 100 });
        assert_eq!(now.since(earlier), (30, 100));
        assert_eq!(Processors::of("intr"), Processors::default());
    }
}
