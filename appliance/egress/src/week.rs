//! One week's inferences in numbers: exact, and so never in a frame. Noise makes what is told of them.

use crate::meter::CatalogueId;
use pericard_frame::budget::MAX_MODELS_A_PATIENT;
use pericard_frame::layout::{BINS, CELLS, TOLD_MODELS};
use std::collections::HashMap;

/// A patient as a keyed hash, made outside with a key of this week that nobody keeps: equal for the same patient within
/// the week, and nothing beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pseudonym(pub u64);

/// What people said of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Review {
    /// Nothing yet.
    None,
    /// That it is right.
    Agreed,
    /// That it is wrong.
    Disagreed,
}

/// The histograms of one week, one for each model that is told of.
#[derive(Debug, Clone)]
pub struct Week {
    models: Vec<(CatalogueId, [u32; CELLS])>,
    counted: HashMap<Pseudonym, Vec<CatalogueId>>,
}

impl Week {
    /// An empty week of these models. They are those that are live, whether they were used or not: which models are told
    /// of must not depend on any patient. Those beyond the frame's places, and those in no catalogue, are not told of.
    #[must_use]
    pub fn of(models: &[CatalogueId]) -> Self {
        let mut told: Vec<_> = models.iter().copied().filter(|id| id.0 > 0).collect();
        told.sort_by_key(|id| id.0);
        told.dedup();
        told.truncate(TOLD_MODELS);
        Self {
            models: told.into_iter().map(|id| (id, [0; CELLS])).collect(),
            counted: HashMap::new(),
        }
    }

    /// Counts an inference with its score's tenth (0 to 9), unless this patient was counted for this model already, or
    /// for as many models as may be. Says whether it was counted.
    pub fn count(
        &mut self,
        patient: Pseudonym,
        model: CatalogueId,
        tenth: u8,
        review: Review,
    ) -> bool {
        let place = self.models.iter_mut().find(|(id, _)| *id == model);
        let Some((_, cells)) = place else {
            return false;
        };
        let counted = self.counted.entry(patient).or_default();
        if counted.contains(&model) || counted.len() == MAX_MODELS_A_PATIENT {
            return false;
        }
        counted.push(model);
        cells[review as usize * BINS + usize::from(tenth).min(BINS - 1)] += 1;
        true
    }

    pub(crate) fn models(&self) -> &[(CatalogueId, [u32; CELLS])] {
        &self.models
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patient_is_counted_once_for_a_model_and_for_two_models_at_most() {
        let ids = [
            CatalogueId(9),
            CatalogueId(3),
            CatalogueId(5),
            CatalogueId(0),
        ];
        let mut week = Week::of(&ids);
        let mut count =
            |patient, id| week.count(Pseudonym(patient), CatalogueId(id), 4, Review::Agreed);
        assert!(count(1, 3) && count(1, 9) && count(2, 5));
        assert!(!count(1, 3), "twice for one model");
        assert!(!count(1, 5), "for a third model");
        assert!(
            !count(3, 0) && !count(3, 77),
            "for models that are not told of"
        );
        let told: Vec<_> = week
            .models()
            .iter()
            .map(|(id, cells)| (id.0, cells[14]))
            .collect();
        assert_eq!(told, [(3, 1), (5, 1), (9, 1)]);
    }

    #[test]
    fn whatever_a_patient_adds_moves_each_histogram_by_one_at_most() {
        let ids: Vec<_> = (1..=8).map(CatalogueId).collect();
        let mut with = Week::of(&ids);
        for turn in 0..1000_u16 {
            let review = [Review::None, Review::Agreed, Review::Disagreed][usize::from(turn % 3)];
            with.count(
                Pseudonym(1),
                CatalogueId(turn % 9),
                (turn % 13) as u8,
                review,
            );
        }
        let moved: Vec<u32> = with
            .models()
            .iter()
            .map(|(_, cells)| cells.iter().sum())
            .collect();
        assert!(moved.iter().all(|by| *by <= 1), "{moved:?}");
        assert_eq!(moved.iter().sum::<u32>(), MAX_MODELS_A_PATIENT as u32);
    }
}
