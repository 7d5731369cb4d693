//! What a year's budget still has to pay: asked before an evaluation is accepted, since it takes from the same budget as weeks.

use pericard_frame::budget::{MAX_MODELS_A_PATIENT, MODEL_WEEK_MILLI_EPSILON, YEAR_WEEKS};

/// What is to be told of in the rest of the year.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The week that lasts.
    pub week: u16,
    /// How many models are live.
    pub models: usize,
    /// Evaluation plans that were accepted; those that were answered cost nothing more.
    pub accepted: Vec<u32>,
}

/// What is left of the year's budget, and what it has to pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// Left now, thousandths of epsilon.
    pub left_milli_epsilon: u32,
    /// The weeks of the year that are not closed yet.
    pub weeks: u16,
    /// What they cost while as many models are live as now.
    pub weeks_milli_epsilon: u32,
    /// What evaluations cost that were accepted and are not told yet.
    pub evaluations_milli_epsilon: u32,
}

impl Forecast {
    pub(crate) fn of(expected: &Expected, left: u32, closed: Option<u16>, unanswered: u32) -> Self {
        let begin = year_of(expected.week) * YEAR_WEEKS;
        let next = closed.map_or(expected.week.saturating_sub(1), |last| {
            last.saturating_add(1)
        });
        let weeks = begin
            .saturating_add(YEAR_WEEKS)
            .saturating_sub(next.max(begin));
        let models = expected.models.min(MAX_MODELS_A_PATIENT) as u32;
        Self {
            left_milli_epsilon: left,
            weeks,
            weeks_milli_epsilon: u32::from(weeks) * models * MODEL_WEEK_MILLI_EPSILON,
            evaluations_milli_epsilon: unanswered.saturating_mul(MODEL_WEEK_MILLI_EPSILON),
        }
    }

    /// What is left once all of that is paid; `None` when it cannot be.
    #[must_use]
    pub fn free_milli_epsilon(&self) -> Option<u32> {
        let left = self
            .left_milli_epsilon
            .checked_sub(self.weeks_milli_epsilon)?;
        left.checked_sub(self.evaluations_milli_epsilon)
    }

    /// Whether one evaluation more can be paid, and every week of the year still.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let free = self.free_milli_epsilon();
        free.is_some_and(|free| free >= MODEL_WEEK_MILLI_EPSILON)
    }
}

/// The year of the budget that a week is charged to.
pub(crate) const fn year_of(week: u16) -> u16 {
    week / YEAR_WEEKS
}
