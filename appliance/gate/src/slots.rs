//! When frames go: at moments that depend on the configuration and on the appliance's number, and on nothing that happens.

use crate::gate::{GateError, Slot};
use std::ops::ControlFlow;
use std::time::Duration;

/// Slots begin in the middle of a second: a clock that is set by a hair meanwhile gives none of them twice.
const WITHIN_SECOND: Duration = Duration::from_millis(500);

/// What whoever runs the gate brings: the time, a way to let it pass, and somebody who hears what came of each slot.
pub trait Watch {
    /// How long it is since 1970.
    fn now(&self) -> Duration;
    /// Lets this much time pass.
    fn wait(&mut self, time: Duration);
    /// Hears what came of a slot, and says whether there is another.
    fn heard(&mut self, slot: Result<Slot, GateError>) -> ControlFlow<()>;
}

/// How long it is to the next slot, whose moment is the same wherever in a second it is asked for.
pub(crate) fn until_slot(now: Duration, slot_s: u64, place_s: u64) -> Duration {
    let wait = Duration::from_secs(until_slot_s(now.as_secs(), slot_s, place_s));
    wait + WITHIN_SECOND - Duration::from_nanos(now.subsec_nanos().into())
}

/// Seconds to the next slot, never 0: slots are as far apart as the configuration says, whatever happens in them.
///
/// `slot_s` is how far apart they are, `place_s` the appliance's own place between two of them.
const fn until_slot_s(now_s: u64, slot_s: u64, place_s: u64) -> u64 {
    slot_s - (now_s + slot_s - place_s % slot_s) % slot_s
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_keep_their_distance_and_their_place() {
        let hour = 3600;
        assert_eq!(until_slot_s(0, hour, 17), 17);
        assert_eq!(until_slot_s(16, hour, 17), 1);
        assert_eq!(until_slot_s(17, hour, 17), hour);
        assert_eq!(until_slot_s(10 * hour + 20, hour, 17), hour - 3);
        assert_eq!(until_slot_s(59, 60, 0), 1);
        assert_eq!(until_slot_s(0, hour, hour + 17), 17);
    }

    #[test]
    fn a_slot_has_one_moment_wherever_in_a_second_it_is_asked_for() {
        let moment = |ms| Duration::from_millis(ms) + until_slot(Duration::from_millis(ms), 60, 17);
        for ms in [0, 1, 499, 500, 999, 16_999] {
            assert_eq!(moment(ms), Duration::from_millis(17_500), "{ms}");
        }
        // Awake too early by a hair, or at last: the next one is a whole slot away.
        for ms in [17_000, 17_499, 17_500, 17_999, 76_999] {
            assert_eq!(moment(ms), Duration::from_millis(77_500), "{ms}");
        }
    }
}
