//! The status codes that are sent and understood (PS3.7 annex C, PS3.4 annexes B, C and K).

use pericard_intake::Refused;

/// What a response says, and a sentence for the peer's log: no patient data, 64 characters at most (LO).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) code: u16,
    pub(crate) comment: &'static str,
}

impl Status {
    pub(crate) const SUCCESS: Self = Self::new(0x0000, "");
    pub(crate) const CLASS_NOT_NEGOTIATED: Self =
        Self::new(0x0122, "SOP class is not that of the presentation context");
    pub(crate) const UNRECOGNIZED_OPERATION: Self =
        Self::new(0x0211, "operation is not offered here");
    /// More of an answer follows.
    pub(crate) const PENDING: Self = Self::new(0xFF00, "");
    pub(crate) const CANCELLED: Self = Self::new(0xFE00, "ended as asked for");
    pub(crate) const NOT_AUTHORIZED: Self = Self::new(0x0124, "this peer may not do that here");
    pub(crate) const UNABLE_TO_PROCESS: Self =
        Self::new(0xC000, "cannot be answered at the moment");
    pub(crate) const BAD_IDENTIFIER: Self =
        Self::new(0xA900, "identifier cannot be read or is too long");
    pub(crate) const BAD_LEVEL: Self =
        Self::new(0xA900, "level is not one of this information model");
    pub(crate) const NO_UNIQUE_KEY: Self =
        Self::new(0xA900, "identifier has no unique key of its level");
    pub(crate) const TOO_MANY_MATCHES: Self =
        Self::new(0xA700, "more matches than are given; narrow the query");
    pub(crate) const UNKNOWN_DESTINATION: Self =
        Self::new(0xA801, "move destination is not a configured peer");
    pub(crate) const NOTHING_RETRIEVED: Self = Self::new(0xA702, "no object could be sent");
    pub(crate) const SOME_NOT_RETRIEVED: Self = Self::new(0xB000, "some objects could not be sent");
    pub(crate) const NO_SUCH_ACTION: Self = Self::new(0x0123, "no such action type");
    pub(crate) const NO_SUCH_EVENT: Self = Self::new(0x0113, "no such event type");
    pub(crate) const NO_SUCH_INSTANCE: Self = Self::new(0x0112, "no such SOP instance");
    pub(crate) const INVALID_ARGUMENT: Self = Self::new(0x0115, "information cannot be read");
    pub(crate) const PROCESSING_FAILURE: Self = Self::new(0x0110, "cannot be done at the moment");
    pub(crate) const NO_DATA_SET: Self = Self::new(0xC001, "request has no data set");
    pub(crate) const BAD_UID: Self = Self::new(0xC002, "UID in the request is not valid");

    pub(crate) const fn new(code: u16, comment: &'static str) -> Self {
        Self { code, comment }
    }

    /// Whether the peer did what was asked: success, and the warnings that come with it.
    pub(crate) const fn is_done(code: u16) -> bool {
        // 0x0001, 0x0107 and 0x0116 are the general warnings (PS3.7 annex C.4).
        matches!(code, 0x0000 | 0x0001 | 0x0107 | 0x0116) || code & 0xF000 == 0xB000
    }

    /// Whether the same request may succeed later.
    pub(crate) const fn is_transient(code: u16) -> bool {
        // Out of resources, processing failure, resource limitation, and the two that a person can lift meanwhile:
        // not authorized, and refused for lack of permission.
        code & 0xFF00 == 0xA700 || matches!(code, 0x0110 | 0x0213 | 0x0124)
    }
}

impl From<&Refused> for Status {
    fn from(refused: &Refused) -> Self {
        match refused {
            Refused::OutOfStorage(_) => Self::new(0xA700, "out of storage; try again later"),
            Refused::Busy { .. } | Refused::QueueFull { .. } | Refused::OverQuota { .. } => {
                Self::new(0xA701, "too much at once; try again later")
            }
            Refused::Unavailable(_) => Self::new(0xA702, "cannot keep objects; try again later"),
            Refused::Mismatch(_) | Refused::OtherStudy(_) => {
                Self::new(0xA900, "data set is not what was announced")
            }
            Refused::Malformed(_) => Self::new(0xC000, "data set cannot be read"),
            // Not 0xA7xx: a sender would try the same object for ever.
            Refused::TooLarge { .. } => Self::new(0xC003, "object is larger than accepted here"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_succeed_later_says_so() {
        for refused in [
            Refused::OutOfStorage(String::new()),
            Refused::Busy { retry_after_s: 1 },
            Refused::Unavailable(String::new()),
            Refused::Mismatch("SOP class"),
            Refused::Malformed(String::new()),
            Refused::TooLarge { limit_mib: 1 },
        ] {
            let status = Status::from(&refused);
            assert_eq!(
                Status::is_transient(status.code),
                refused.is_transient(),
                "{refused}"
            );
            assert!(!Status::is_done(status.code) && status.comment.len() <= 64);
        }
    }

    #[test]
    fn warnings_are_done() {
        assert!(
            [0x0000, 0xB000, 0xB006, 0xB007, 0x0001]
                .map(Status::is_done)
                .iter()
                .all(|d| *d)
        );
        assert!(
            ![0xA700, 0xA900, 0xC000, 0x0122, 0xFE00]
                .map(Status::is_done)
                .iter()
                .any(|d| *d)
        );
    }
}
