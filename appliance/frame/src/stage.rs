//! The closed list of what is timed, and the buckets of time.

/// Something that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Stage {
    /// From an object's last byte to its being on disk.
    Admit,
    /// One inference.
    Infer,
    /// From a result's being due to the peer's having taken it.
    Deliver,
    /// From a chat's being accepted to its first token.
    FirstToken,
    /// From a job's being due to its being begun.
    Queue,
}

impl Stage {
    /// Every stage, in the order of its places in the frame.
    pub const ALL: [Self; 5] = [
        Self::Admit,
        Self::Infer,
        Self::Deliver,
        Self::FirstToken,
        Self::Queue,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Infer => "infer",
            Self::Deliver => "deliver",
            Self::FirstToken => "first_token",
            Self::Queue => "queue",
        }
    }

    /// Its place among the stages.
    #[must_use]
    pub const fn place(self) -> usize {
        self as usize
    }
}

/// How many buckets time is put into.
pub const BUCKETS: usize = 24;

/// The bucket of a duration: bucket `i` holds what took at most 2^i milliseconds, and the last one everything longer.
#[must_use]
pub const fn bucket(millis: u64) -> usize {
    let bits = match millis {
        0 | 1 => 0,
        more => (u64::BITS - (more - 1).leading_zeros()) as usize,
    };
    if bits < BUCKETS { bits } else { BUCKETS - 1 }
}

/// The longest duration that a bucket holds, milliseconds; `None` for the last, which has no end.
#[must_use]
pub const fn bucket_end_ms(bucket: usize) -> Option<u64> {
    if bucket + 1 < BUCKETS {
        Some(1 << bucket)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_in_the_bucket_whose_end_it_does_not_pass() {
        for (millis, expected) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (1000, 10)] {
            assert_eq!(bucket(millis), expected, "{millis} ms");
        }
        for at in 0..BUCKETS - 1 {
            let end = bucket_end_ms(at).expect("not the last");
            assert_eq!((bucket(end), bucket(end + 1)), (at, at + 1));
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket_end_ms(BUCKETS - 1), None);
    }
}
