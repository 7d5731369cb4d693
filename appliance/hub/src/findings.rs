//! What somebody should look into, out of everything that is known: each finding names whom it concerns and why it is there.

use crate::outlook::{Outlook, State, Trend};
use crate::records::{Alarm, AlarmKind, Received, Snapshot, Viewer};
use pericard_frame::layout;
use pericard_frame::reply::Kind;
use std::collections::{BTreeMap, BTreeSet};

/// Declares the kinds of finding with their words.
macro_rules! kinds {
    ($($(#[doc = $meaning:literal])+ $name:ident = $word:literal,)+) => {
        /// What kind of thing was found. In the order in which people should look.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FindingKind { $($(#[doc = $meaning])+ $name,)+ }

        impl FindingKind {
            /// Every kind.
            pub const ALL: [Self; [$(Self::$name),+].len()] = [$(Self::$name),+];

            /// Its closed word, for programs.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// What it means, for people.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($meaning),+).trim_ascii(),)+ }
            }
        }
    };
}

kinds! {
    /// A model that was recalled is still used.
    RecalledInUse = "recalled_in_use",
    /// An audit log was rolled back, or there are two of them.
    Fork = "fork",
    /// Frames were changed on their way, or say what cannot be.
    Tampering = "tampering",
    /// A model's scores moved in many hospitals at once.
    ModelDrift = "model_drift",
    /// A model's scores moved in one hospital alone: look at its scanners, its protocols, its patients.
    HospitalApart = "hospital_apart",
    /// A hospital sends nothing any more.
    Silent = "silent",
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was found.
    pub kind: FindingKind,
    /// Where, when it is about one hospital.
    pub hospital: Option<u32>,
    /// Of which model, when it is about one.
    pub model: Option<u16>,
    /// Since which week, where that is known.
    pub since_week: Option<u16>,
    /// Why it is believed, in a sentence of numbers.
    pub why: String,
}

/// Everything that was found, the gravest first.
#[must_use]
pub fn findings(snapshot: &Snapshot, outlook: &Outlook, viewer: Viewer) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(recalled(snapshot, viewer));
    found.extend(alarmed(snapshot, viewer));
    found.extend(
        outlook
            .lives
            .iter()
            .filter(|live| live.contradicts)
            .map(|live| Finding {
                kind: FindingKind::Tampering,
                hospital: Some(live.hospital),
                model: Some(live.model),
                since_week: None,
                why: "its histograms tell of more inferences than it counted".into(),
            }),
    );
    found.extend(
        outlook
            .trends
            .iter()
            .filter_map(|trend| drift(trend, viewer)),
    );
    found.extend(apart(outlook));
    found.extend(silent(outlook));
    found.sort_by_key(|finding| (finding.kind, finding.hospital, finding.model));
    found
}

fn recalled(snapshot: &Snapshot, viewer: Viewer) -> Vec<Finding> {
    let recalls = snapshot.advisories.iter().map(|issued| issued.advisory);
    let recalls: Vec<_> = recalls.filter(|a| a.kind == Kind::Recall).collect();
    let mut found = BTreeSet::new();
    for received in newest(snapshot).filter(|f| viewer.sees(f.appliance)) {
        for recall in &recalls {
            let runs = (0..layout::MODELS).any(|at| {
                received.frame.get(&layout::MODEL, at) == u64::from(recall.model)
                    && received.frame.get(&layout::MODEL_DONE, at) > 0
            });
            // The week of the recall itself was begun in good faith.
            if runs && u64::from(received.week) > crate::words::week_of(recall.issued_at_s) {
                found.insert((received.appliance, recall.model));
            }
        }
    }
    let finding = |(hospital, model)| Finding {
        kind: FindingKind::RecalledInUse,
        hospital: Some(hospital),
        model: Some(model),
        since_week: None,
        why: "in the newest week that it told of, which is after the recall, it was used".into(),
    };
    found.into_iter().map(finding).collect()
}

/// What each hospital told of its newest week: what it used before, it may have stopped using since.
fn newest(snapshot: &Snapshot) -> impl Iterator<Item = &Received> {
    let mut newest: BTreeMap<u32, &Received> = BTreeMap::new();
    for received in &snapshot.frames {
        let held = newest.entry(received.appliance).or_insert(received);
        if (received.week, received.sequence) >= (held.week, held.sequence) {
            *held = received;
        }
    }
    newest.into_values()
}

/// One finding for each hospital and kind, however many alarms are open.
fn alarmed(snapshot: &Snapshot, viewer: Viewer) -> Vec<Finding> {
    let kind = |alarm: &Alarm| match alarm.kind {
        AlarmKind::Fork => FindingKind::Fork,
        _ => FindingKind::Tampering,
    };
    let open = snapshot.alarms.iter().filter(|alarm| alarm.is_open());
    let seen = open.clone().filter(|alarm| viewer.sees(alarm.appliance));
    let who: BTreeSet<_> = seen.map(|alarm| (kind(alarm), alarm.appliance)).collect();
    let finding = |(found, hospital)| {
        let own = open
            .clone()
            .filter(|a| a.appliance == hospital && kind(a) == found);
        let words: BTreeSet<&str> = own.clone().map(|alarm| alarm.kind.word()).collect();
        let words = words.into_iter().collect::<Vec<_>>().join(", ");
        Finding {
            kind: found,
            hospital: Some(hospital),
            model: None,
            since_week: None,
            why: format!("{} alarms: {words}", own.count()),
        }
    };
    who.into_iter().map(finding).collect()
}

fn drift(trend: &Trend, viewer: Viewer) -> Option<Finding> {
    let since = trend.drifts_since?;
    let (compared, moved) = trend.breadth;
    let last = trend.weeks.iter().rev().find_map(|week| week.distance);
    let far = last.map_or(String::new(), |far| {
        format!(
            "; all together lie {:.3} away, with an alarm at {:.3}",
            far.value, far.threshold
        )
    });
    let why = match viewer {
        Viewer::Hospital(_) => "this hospital's moved, and so did many others'".to_owned(),
        Viewer::Admin | Viewer::Analyst => format!("{moved} of {compared} hospitals moved{far}"),
    };
    Some(Finding {
        kind: FindingKind::ModelDrift,
        hospital: None,
        model: Some(trend.model),
        since_week: Some(since),
        why,
    })
}

fn apart(outlook: &Outlook) -> impl Iterator<Item = Finding> {
    let drifts = |model| {
        outlook
            .trend(model)
            .is_some_and(|t| t.drifts_since.is_some())
    };
    let apart = outlook.lives.iter().filter(move |live| !drifts(live.model));
    apart.filter_map(|live| {
        let since = live.apart_since?;
        let (_, far) = live.compared().next_back()?;
        let is_judged = outlook.trend(live.model).is_some_and(|t| t.is_judged);
        let elsewhere = match is_judged {
            true => "elsewhere they stay",
            false => "too few other hospitals can be compared to say whether they move elsewhere",
        };
        Some(Finding {
            kind: FindingKind::HospitalApart,
            hospital: Some(live.hospital),
            model: Some(live.model),
            since_week: Some(since),
            why: format!(
                "its scores lie {:.3} away from its own first weeks, with an alarm at {:.3}; {elsewhere}",
                far.value, far.threshold
            ),
        })
    })
}

fn silent(outlook: &Outlook) -> impl Iterator<Item = Finding> {
    let silent = outlook
        .sites
        .iter()
        .filter(|site| site.state == State::Silent);
    silent.map(|site| Finding {
        kind: FindingKind::Silent,
        hospital: Some(site.hospital.number),
        model: None,
        since_week: site.last.as_ref().map(|last| last.week),
        why: site.last.as_ref().map_or_else(
            || "it was enrolled and never heard".to_owned(),
            |last| {
                format!(
                    "its last frame tells of {} weeks ago",
                    outlook.week.saturating_sub(last.week)
                )
            },
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{Hospital, Issued};
    use crate::words::week_of;
    use pericard_frame::reply::{Advisory, Cause};
    use pericard_frame::{Draft, ToHub};
    use std::sync::Arc;

    /// Wednesday 25 November 2026.
    const NOW_S: u64 = 1_795_600_000;

    /// Hospital 3 tells of so many inferences of model 7, so many weeks after the one in which this was issued about it.
    fn nation(kind: Kind, weeks_after: u64, done: u32) -> Snapshot {
        let mut draft = Draft::<ToHub>::new();
        draft.put(&layout::MODEL, 1, 7_u16);
        draft.put(&layout::MODEL_DONE, 1, done);
        let received = Received {
            appliance: 3,
            sequence: 1,
            week: (week_of(NOW_S) + weeks_after) as u16,
            received_at_s: NOW_S,
            carried: false,
            frame: draft.seal().expect("in range"),
        };
        let advisory = Advisory {
            number: 1,
            kind,
            model: 7,
            model_digest: [0; 4],
            issued_at_s: NOW_S,
            cause: Cause::Safety,
            signature: [0; 64],
        };
        let hospital = Hospital {
            number: 3,
            name: "A clinic".into(),
            enrolled_at_s: NOW_S,
            suspended: false,
        };
        Snapshot {
            hospitals: vec![hospital],
            frames: vec![Arc::new(received)],
            advisories: vec![Issued {
                advisory,
                text: String::new(),
            }],
            now_s: NOW_S + weeks_after * 7 * 86_400,
            ..Snapshot::default()
        }
    }

    fn found(nation: &Snapshot, viewer: Viewer) -> Vec<Finding> {
        findings(nation, &Outlook::of(nation, viewer), viewer)
    }

    #[test]
    fn a_recalled_model_that_is_used_in_a_later_week_is_found_once() {
        let mut used = nation(Kind::Recall, 1, 1);
        let again = Received {
            sequence: 2,
            ..(*used.frames[0]).clone()
        };
        used.frames.push(Arc::new(again));
        for viewer in [Viewer::Admin, Viewer::Analyst, Viewer::Hospital(3)] {
            let found = found(&used, viewer);
            assert_eq!(found.len(), 1, "{found:?}");
            let one = (found[0].kind, found[0].hospital, found[0].model);
            assert_eq!(one, (FindingKind::RecalledInUse, Some(3), Some(7)));
        }
        assert_eq!(found(&used, Viewer::Hospital(4)), [], "not for others");
    }

    #[test]
    fn a_hospital_that_stopped_using_it_is_found_no_more() {
        let mut stopped = nation(Kind::Recall, 1, 9);
        assert_eq!(found(&stopped, Viewer::Analyst).len(), 1);
        let mut later = nation(Kind::Recall, 2, 0);
        let rest = Received {
            sequence: 2,
            ..(*later.frames.remove(0)).clone()
        };
        stopped.frames.push(Arc::new(rest));
        assert_eq!(found(&stopped, Viewer::Analyst), [], "then it stopped");
        // A week that was held back comes late, and tells of earlier.
        stopped.frames.swap(0, 1);
        assert_eq!(found(&stopped, Viewer::Analyst), []);
        let mut again = nation(Kind::Recall, 3, 1);
        stopped.frames.push(again.frames.remove(0));
        assert_eq!(found(&stopped, Viewer::Analyst).len(), 1, "and began again");
    }

    #[test]
    fn no_recall_is_broken_in_good_faith_nor_by_a_model_at_rest_nor_against_an_advisory() {
        for (what, nation) in [
            ("the week of the recall", nation(Kind::Recall, 0, 9)),
            ("at rest", nation(Kind::Recall, 1, 0)),
            ("an advisory", nation(Kind::Advisory, 1, 9)),
        ] {
            assert_eq!(found(&nation, Viewer::Analyst), [], "{what}");
        }
        let mut other = nation(Kind::Recall, 1, 9);
        other.advisories[0].advisory.model = 8;
        assert_eq!(found(&other, Viewer::Analyst), [], "another model");
    }
}
