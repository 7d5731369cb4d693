//! The words of review: what people said of a result, and how often they agreed.

use pericard_domain::model::ModelRef;
use pericard_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What somebody said of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// That it is right.
    Agreed,
    /// That it is wrong.
    Disagreed,
}

impl Verdict {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Agreed, Self::Disagreed];

    /// Its name in the database, in the audit log and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agreed => "agreed",
            Self::Disagreed => "disagreed",
        }
    }

    /// The verdict of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.name() == name)
    }
}

/// A verdict that stands: the latest of its reviewer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Review {
    /// Whose it is: `token` and the token's public id, `peer` and the application entity title, or `application` and the
    /// HL7 peer's name.
    pub reviewer: String,
    /// What was said.
    pub verdict: Verdict,
    /// When.
    pub at: Timestamp,
}

/// How people judged one model's results of one week. Exact, and so for the hospital's own eyes only. Of a result with
/// several reviewers the latest verdict counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concordance {
    /// The model.
    pub model: ModelRef,
    /// The Monday, 00:00 UTC, that the week began with.
    pub week_begins: Timestamp,
    /// Results that were called right.
    pub agreed: u64,
    /// Results that were called wrong.
    pub disagreed: u64,
    /// Results of which nobody said anything yet.
    pub unreviewed: u64,
}
