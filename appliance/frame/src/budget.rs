//! What telling of patients costs. A hospital's books charge by these numbers, and the hub's pages say them.
//!
//! One histogram with noise, of a model's week or of an evaluation, costs one price. A patient is in as many of a week's
//! histograms as here, at most: more are not drawn.

use crate::layout::TOLD_EVALUATIONS;

/// What a model's week costs, and an evaluation too, thousandths of epsilon.
pub const MODEL_WEEK_MILLI_EPSILON: u32 = 500;
/// For how many models a patient is counted in one week.
pub const MAX_MODELS_A_PATIENT: usize = 2;
/// A year of the budget.
pub const YEAR_WEEKS: u16 = 52;
/// What a week costs a patient at most while no evaluation is told of, thousandths of epsilon.
pub const WEEK_MILLI_EPSILON: u32 = MODEL_WEEK_MILLI_EPSILON * MAX_MODELS_A_PATIENT as u32;
/// What a week costs a patient at most, who can be among the cases of every evaluation that a frame has place for too.
pub const WEEK_MILLI_EPSILON_MAX: u32 =
    WEEK_MILLI_EPSILON + MODEL_WEEK_MILLI_EPSILON * TOLD_EVALUATIONS as u32;
/// What a year of 52 weeks costs a patient at most who is seen in each of them, without evaluations.
pub const YEAR_MILLI_EPSILON: u32 = WEEK_MILLI_EPSILON * YEAR_WEEKS as u32;
