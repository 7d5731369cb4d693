//! When frames go: at moments that depend on the configuration and on the appliance's number, and on nothing that happens.

/// Seconds to the next slot, never 0: slots are as far apart as the configuration says, whatever happens in them.
///
/// `slot_s` is how far apart they are, `place_s` the appliance's own place between two of them.
#[must_use]
pub const fn until_slot_s(now_s: u64, slot_s: u64, place_s: u64) -> u64 {
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
}
