//! Objects whose readers are lost again and again. Each rests by itself: whoever asks for it meanwhile is told so at once, so
//! that it costs a process now and then, and its neighbours nothing.

use crate::imaging::rest_after;
use pericard_domain::uid::InstanceUid;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The most objects whose losses are kept; beyond, the one whose loss is longest ago is forgotten.
const OBJECTS_MAX: usize = 256;
/// A loss so long ago counts no more. Longer than any rest, so that an object that is asked for without a pause rests on.
const COUNTS_FOR_S: u64 = 120;

/// The losses of late.
#[derive(Default)]
pub(crate) struct Rests(HashMap<InstanceUid, Losses>);

struct Losses {
    in_a_row: u32,
    latest: Instant,
    how: String,
}

impl Rests {
    /// Notes that a reader was lost over an object, and how. That another part of it was read in between is no comfort: to
    /// open an object that ends its reader often goes well.
    pub(crate) fn note(&mut self, instance: &InstanceUid, how: String, now: Instant) {
        let counts = Duration::from_secs(COUNTS_FOR_S);
        self.0
            .retain(|_, losses| now.saturating_duration_since(losses.latest) < counts);
        if self.0.len() >= OBJECTS_MAX && !self.0.contains_key(instance) {
            self.forget_the_oldest();
        }
        let losses = self.0.entry(instance.clone()).or_insert(Losses {
            in_a_row: 0,
            latest: now,
            how: String::new(),
        });
        losses.in_a_row += 1;
        (losses.latest, losses.how) = (now, how);
    }

    /// Why no reader is given for this object now, and for how much longer; `None` when one is.
    pub(crate) fn of(&self, instance: &InstanceUid, now: Instant) -> Option<(String, Duration)> {
        let losses = self.0.get(instance)?;
        let rest = rest_after(losses.in_a_row)?;
        let left = rest.checked_sub(now.saturating_duration_since(losses.latest))?;
        let Losses { in_a_row, how, .. } = losses;
        let in_s = left.as_secs() + 1;
        let why =
            format!("{how}; that was loss {in_a_row} in a row, and it is tried again in {in_s} s");
        (!left.is_zero()).then_some((why, left))
    }

    fn forget_the_oldest(&mut self) {
        let oldest = self.0.iter().min_by_key(|(_, losses)| losses.latest);
        if let Some(instance) = oldest.map(|(instance, _)| instance.clone()) {
            self.0.remove(&instance);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(number: usize) -> InstanceUid {
        InstanceUid::new(format!("1.2.{number}")).unwrap()
    }

    fn after(begun: Instant, s: u64) -> Instant {
        begun + Duration::from_secs(s)
    }

    fn left(rests: &Rests, number: usize, now: Instant) -> Option<u64> {
        rests.of(&uid(number), now).map(|(_, left)| left.as_secs())
    }

    #[test]
    fn an_object_rests_from_its_second_loss_on_and_its_neighbours_do_not() {
        let (mut rests, begun) = (Rests::default(), Instant::now());
        rests.note(&uid(1), "killed".into(), begun);
        assert_eq!(left(&rests, 1, begun), None, "the first costs nothing");
        rests.note(&uid(1), "killed again".into(), begun);
        let (why, rest) = rests.of(&uid(1), begun).unwrap();
        assert_eq!(rest, Duration::from_secs(1));
        assert!(why.contains("killed again; that was loss 2"), "{why}");
        assert_eq!(left(&rests, 2, begun), None, "its neighbour");
        assert_eq!(left(&rests, 1, after(begun, 1)), None, "it is over");
        rests.note(&uid(1), "killed".into(), after(begun, 1));
        rests.note(&uid(1), "killed".into(), after(begun, 3));
        assert_eq!(left(&rests, 1, after(begun, 3)), Some(4));
        assert_eq!(left(&rests, 1, after(begun, 5)), Some(2));
    }

    #[test]
    fn what_is_asked_for_without_a_pause_costs_one_reader_a_minute() {
        let (mut rests, begun) = (Rests::default(), Instant::now());
        let mut lost_at = Vec::new();
        for s in 0..3600 {
            if rests.of(&uid(1), after(begun, s)).is_none() {
                rests.note(&uid(1), "killed".into(), after(begun, s));
                lost_at.push(s);
            }
        }
        assert_eq!(lost_at[..8], [0, 1, 2, 4, 8, 16, 32, 64]);
        assert!(lost_at.len() < 70, "{}", lost_at.len());
        assert_eq!(lost_at[9] - lost_at[8], 60);
    }

    #[test]
    fn losses_long_ago_count_no_more_and_few_objects_are_kept() {
        let (mut rests, begun) = (Rests::default(), Instant::now());
        rests.note(&uid(0), "killed".into(), begun);
        rests.note(&uid(0), "killed".into(), after(begun, COUNTS_FOR_S));
        assert_eq!(left(&rests, 0, after(begun, COUNTS_FOR_S)), None);
        for number in 0..2 * OBJECTS_MAX {
            rests.note(&uid(number), "killed".into(), after(begun, 200));
            rests.note(&uid(number), "killed".into(), after(begun, 200));
        }
        assert_eq!(rests.0.len(), OBJECTS_MAX);
    }
}
