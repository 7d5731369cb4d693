//! What a model did on labelled cases of the hospital's own, in numbers: exact, and so never in a frame.

use pericard_frame::layout::{BINS, EVALUATION_CELLS};

/// The exact outcome of an evaluation plan, each patient in it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evaluation {
    /// The plan's number among the hub's, from 1.
    pub plan: u32,
    /// With how many cases, counted with noise, it is told at least.
    pub cases_min: u32,
    /// Cases by label and tenth of the score.
    pub cells: [u32; EVALUATION_CELLS],
}

impl Evaluation {
    /// Counts a case. What lies beyond the last tenth is in it.
    pub fn count(&mut self, has_finding: bool, tenth: u8) {
        let at = usize::from(has_finding) * BINS + usize::from(tenth).min(BINS - 1);
        self.cells[at] = self.cells[at].saturating_add(1);
    }

    /// One without cases yet.
    #[must_use]
    pub const fn of(plan: u32, cases_min: u32) -> Self {
        let cells = [0; EVALUATION_CELLS];
        Self {
            plan,
            cases_min,
            cells,
        }
    }
}
