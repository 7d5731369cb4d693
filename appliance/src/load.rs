//! How busy the machine's processors and GPUs are.

use std::path::Path;
use std::process::{Command, Stdio};

/// The driver's own program, which comes with it; nothing of the vendor's is linked.
const NVIDIA_SMI: &str = "nvidia-smi";
/// There while the driver is loaded.
const NVIDIA_DRIVER: &str = "/proc/driver/nvidia/version";

/// Time, in whatever unit: how much of it was busy, and how much there was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ticks {
    /// Busy.
    pub busy: u64,
    /// All.
    pub all: u64,
}

impl Ticks {
    /// What was busy, and of how much, since then.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(earlier.busy),
            all: self.all.saturating_sub(earlier.all),
        }
    }
}

/// Who says how busy the machine is.
pub trait Load: Send + Sync {
    /// Of all processors together, since some moment that stays the same.
    fn processors(&self) -> Ticks;

    /// Of all GPUs together, at this moment; `None` without one. May take a second.
    fn gpus(&self) -> Option<Ticks>;
}

/// This machine, as its kernel and its driver count.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kernel;

impl Load for Kernel {
    fn processors(&self) -> Ticks {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        stat.lines().next().map(ticks).unwrap_or_default()
    }

    fn gpus(&self) -> Option<Ticks> {
        if !Path::new(NVIDIA_DRIVER).exists() {
            return None;
        }
        let mut asked = Command::new(NVIDIA_SMI);
        asked
            .args([
                "--query-gpu=utilization.gpu",
                "--format=csv,noheader,nounits",
            ])
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        let said = asked.output().ok().filter(|said| said.status.success())?;
        percents(&String::from_utf8_lossy(&said.stdout))
    }
}

/// From `cpu  user nice system idle iowait irq softirq steal ...` (proc(5)): idle and waiting for a disk is not busy, and
/// the time of guests stands in user's already.
fn ticks(line: &str) -> Ticks {
    let numbers = line.split_ascii_whitespace().skip(1).take(8);
    let numbers: Vec<u64> = numbers.filter_map(|number| number.parse().ok()).collect();
    let all: u64 = numbers.iter().sum();
    let idle: u64 = numbers.iter().skip(3).take(2).sum();
    Ticks {
        busy: all - idle,
        all,
    }
}

/// One GPU a line, in hundredths; one that does not say (a partition of a card) is passed over.
fn percents(text: &str) -> Option<Ticks> {
    let percents: Vec<u64> = text.lines().filter_map(|l| l.trim().parse().ok()).collect();
    (!percents.is_empty()).then(|| Ticks {
        busy: percents.iter().map(|percent| (*percent).min(100)).sum(),
        all: 100 * percents.len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_waiting_is_not_busy() {
        let earlier = ticks("cpu  10 0 10 70 10 0 0 0 5 0");
        let now = ticks("cpu  40 0 10 130 20 0 0 0 9 0");
        let of = |busy, all| Ticks { busy, all };
        assert_eq!(earlier, of(20, 100));
        assert_eq!(now.since(earlier), of(30, 100));
        assert_eq!(ticks("intr"), Ticks::default());
    }

    #[test]
    fn gpus_are_told_of_together_and_those_that_do_not_say_not_at_all() {
        let of = |busy, all| Some(Ticks { busy, all });
        assert_eq!(percents("37\n"), of(37, 100));
        assert_eq!(percents("37\n 100\n[N/A]\n"), of(137, 200));
        assert_eq!(percents("[Not Supported]\n"), None);
    }
}
