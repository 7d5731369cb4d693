//! Hashes and weeks as frames have them.

const DAY_S: u64 = 86_400;
/// 1970 began on a Thursday; weeks are counted from the Monday after.
const FIRST_MONDAY_S: u64 = 4 * DAY_S;

/// A hash as four numbers, the first bytes first.
pub(crate) fn words_of(hash: &[u8; 32]) -> [u64; 4] {
    let (words, _) = hash.as_chunks::<8>();
    std::array::from_fn(|at| u64::from_be_bytes(words[at]))
}

/// The same back.
pub(crate) fn digest_of(words: [u64; 4]) -> [u8; 32] {
    std::array::from_fn(|at| words[at / 8].to_be_bytes()[at % 8])
}

/// The week of this moment.
pub(crate) fn week_of(at_s: u64) -> u64 {
    at_s.saturating_sub(FIRST_MONDAY_S) / (7 * DAY_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_comes_back_and_begins_with_its_first_byte() {
        let hash = std::array::from_fn(|at| at as u8 + 1);
        assert_eq!(words_of(&hash)[0], 0x0102_0304_0506_0708);
        assert_eq!(digest_of(words_of(&hash)), hash);
    }

    #[test]
    fn weeks_begin_on_monday() {
        // Monday 23 November 2026, 00:00:00 UTC, and the second before.
        assert_eq!(week_of(1_795_392_000), week_of(1_795_391_999) + 1);
    }
}
