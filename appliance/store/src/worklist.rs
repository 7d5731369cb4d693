//! The words of the worklist: studies as people wait for them.

use pericard_domain::job::Priority;
use pericard_domain::study::Study;

/// Where the work on a study stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Objects may still arrive.
    Arriving,
    /// Complete, and an inference waits or is in hand.
    Working,
    /// Nothing is in hand, and an inference of the latest revision failed.
    Failed,
    /// Its inferences are done.
    Done,
    /// No model has looked at it, and none will.
    Held,
}

impl Progress {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::Arriving,
        Self::Working,
        Self::Failed,
        Self::Done,
        Self::Held,
    ];

    /// Its name in lists and in queries.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arriving => "arriving",
            Self::Working => "working",
            Self::Failed => "failed",
            Self::Done => "done",
            Self::Held => "held",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }
}

/// Which studies: those to which everything that is said applies.
#[derive(Debug, Clone, Default)]
pub struct WorklistQuery {
    /// Where they stand.
    pub progress: Option<Progress>,
    /// How urgent they are.
    pub priority: Option<Priority>,
    /// Modality (0008,0060) of their first object.
    pub modality: Option<String>,
    /// What the patient's name holds, in either case, or the whole Patient ID or Accession Number.
    pub patient: Option<String>,
    /// At most so many.
    pub limit: u32,
    /// Passes over so many first.
    pub offset: u32,
}

/// A study of the worklist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorklistRow {
    /// The study.
    pub study: Study,
    /// The most urgent that any of its objects asked for.
    pub priority: Priority,
    /// Where the work on it stands.
    pub progress: Progress,
}
