//! Which study comes over which association, as long as it is open.

use pericard_domain::uid::StudyUid;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Every visit, by the study that comes on it. Cheap to clone; all clones know the same.
#[derive(Debug, Clone, Default)]
pub struct Visits {
    /// On how many open visits the study comes. One lock: it is held for a look-up.
    open: Arc<Mutex<HashMap<StudyUid, usize>>>,
}

impl Visits {
    /// Whether an association is open of which the latest object was of that study.
    #[must_use]
    pub fn is_open(&self, study: &StudyUid) -> bool {
        self.counts().contains_key(study)
    }

    pub(crate) fn begin(&self) -> Visit {
        Visit {
            visits: self.clone(),
            current: Mutex::default(),
        }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<StudyUid, usize>> {
        // A count is never half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One visit less; gives the study back when that was the last.
    fn leave(&self, study: StudyUid) -> Option<StudyUid> {
        let mut counts = self.counts();
        let count = counts.get_mut(&study)?;
        *count -= 1;
        let is_last = *count == 0;
        is_last.then(|| {
            counts.remove(&study);
            study
        })
    }
}

/// One association, from its first object to its end.
#[derive(Debug)]
pub(crate) struct Visit {
    visits: Visits,
    /// A sender that has gone on to another study may hold its association open for hours.
    current: Mutex<Option<StudyUid>>,
}

impl Visit {
    /// An object of that study came on it; gives the study that it was about before, when that comes on no other visit.
    pub(crate) fn note(&self, study: &StudyUid) -> Option<StudyUid> {
        let mut current = self.current();
        if current.as_ref() == Some(study) {
            return None;
        }
        *self.visits.counts().entry(study.clone()).or_default() += 1;
        self.visits.leave(current.replace(study.clone())?)
    }

    /// It has ended; gives its study, when that comes on no other visit.
    pub(crate) fn end(&self) -> Option<StudyUid> {
        let last = self.current().take()?;
        self.visits.leave(last)
    }

    fn current(&self) -> MutexGuard<'_, Option<StudyUid>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_study_is_open_as_long_as_one_of_its_visits() {
        let [study, next] = ["1.2", "1.3"].map(|uid| StudyUid::new(uid).unwrap());
        let visits = Visits::default();
        let (one, other) = (visits.begin(), visits.begin());
        assert!(!visits.is_open(&study));
        assert_eq!(one.note(&study), None);
        assert_eq!(one.note(&study), None);
        assert_eq!(other.note(&study), None);
        assert_eq!(one.end(), None);
        assert!(visits.is_open(&study));
        assert_eq!(other.note(&next), Some(study.clone()), "it has gone on");
        assert!(!visits.is_open(&study) && visits.is_open(&next));
        assert_eq!(other.end(), Some(next.clone()));
        assert!(!visits.is_open(&next));
        assert_eq!(other.end(), None);
    }
}
