//! What a week's frame is made of: which inferences there were, and that the audit log continues.

use crate::care::LogHead;
use crate::review::Verdict;
use pericard_domain::model::ModelRef;
use pericard_domain::uid::StudyUid;

/// A week, milliseconds.
pub const WEEK_MS: i64 = 7 * 86_400_000;
/// Monday 5 January 1970, where weeks are counted from, milliseconds.
pub const FIRST_MONDAY_MS: i64 = 4 * 86_400_000;

/// An inference that gave a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Inference {
    /// Patient ID (0010,0020), when the study has one.
    pub patient: Option<String>,
    /// The study.
    pub study: StudyUid,
    /// The model.
    pub model: ModelRef,
    /// The highest score of its findings, 0 to 1; `None` when it found nothing, or gives no scores.
    pub score: Option<f32>,
    /// The latest that anybody said of it.
    pub verdict: Option<Verdict>,
}

/// How far the audit log has come, and that it still holds what it held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continuation {
    /// As it is now.
    pub head: LogHead,
    /// The consistency proof from the earlier size (RFC 6962 section 2.1.2). Empty when the log is shorter than that:
    /// nobody can prove what is not so.
    pub proof: Vec<[u8; 32]>,
}
