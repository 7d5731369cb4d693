//! What frames come to: where each hospital stands, how each model does, and what somebody should look into.
//!
//! Everything is computed anew from a snapshot: half a year of fifty hospitals takes some milliseconds, and nothing can be
//! out of step with what was received.

use crate::evaluation::HOSPITALS_MIN;
use crate::figures::{Distance, Pool, distance};
use crate::records::{Hospital, Received, Snapshot, Viewer};
use crate::words::week_of;
use pericard_frame::layout::{self, CELLS, MODELS, OFFSET, TOLD_MODELS};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How often chance alone may move one week of one model beyond its threshold.
pub const FALSE_ALARMS: f64 = 1.0 / 500.0;
/// How many weeks in a row beyond it are called drift.
pub const PERSISTENCE_WEEKS: usize = 2;
/// Moves smaller than this are no drift, however surely they are seen: case mix moves as much.
pub const DISTANCE_MIN: f64 = 0.05;
/// The weeks that a model in a hospital is compared with: its first.
const REFERENCE_WEEKS: u64 = 4;
/// Fewer inferences than this, with noise, are compared with nothing.
pub const JUDGED_MIN: f64 = 200.0;
/// All hospitals together say something of a model from this many on; of fewer, one that moves would move the sum.
pub const COMPARED_MIN: usize = 3;
/// The share of hospitals that move at once when it is the model that drifts, not they.
pub const BREADTH: f64 = 0.25;
/// A frame of a week that is over is due after the hold of seven days and a week more.
pub const DUE_WEEKS: u64 = 2;
/// One that is later than this is not held back: nothing comes.
pub const SILENT_WEEKS: u64 = 5;
/// How many standard deviations of the noise a histogram may be above what was counted exactly.
const CONTRADICTION_SDS: f64 = 6.0;

/// Where a hospital stands with its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Enrolled lately, and nothing is due yet.
    New,
    /// Its frames come.
    Reporting,
    /// Its next frame is due: held back, carried by hand, or late.
    Holding,
    /// What comes is refused: see its alarms.
    Refused,
    /// Nothing comes any more.
    Silent,
    /// The hub refuses its frames for the time being.
    Suspended,
}

impl State {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Reporting => "reporting",
            Self::Holding => "holding",
            Self::Refused => "refused",
            Self::Silent => "silent",
            Self::Suspended => "suspended",
        }
    }
}

/// A hospital, and how it reports.
#[derive(Debug, Clone)]
pub struct Site {
    /// Which.
    pub hospital: Hospital,
    /// How it reports.
    pub state: State,
    /// Its last frame.
    pub last: Option<Arc<Received>>,
}

/// One model in one week of one hospital.
#[derive(Debug, Clone, PartialEq)]
pub struct Week {
    /// Which week.
    pub week: u16,
    /// Inferences that gave a result, exact.
    pub done: u64,
    /// Inferences that gave none, exact.
    pub failed: u64,
    /// The bucket of the median duration, from 1; 0 when too few to tell.
    pub p50: u8,
    /// The same for 95 of 100.
    pub p95: u8,
    /// The hospital's own verdict on its exact scores.
    pub verdict: u8,
    /// The histogram, and of how many weeks it tells.
    pub told: Option<(u64, Pool)>,
    /// How far its scores lie from the reference, once there is one.
    pub distance: Option<Distance>,
}

/// A model in a hospital.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// The hospital.
    pub hospital: u32,
    /// The model's number.
    pub model: u16,
    /// Its weeks, in order.
    pub weeks: Vec<Week>,
    /// What its weeks are compared with.
    pub reference: Option<Pool>,
    /// Since which week its scores lie elsewhere, while they still do.
    pub apart_since: Option<u16>,
    /// Whether its histograms tell of more than was done.
    pub contradicts: bool,
}

/// A model in all hospitals together, week by week.
#[derive(Debug, Clone, Default)]
pub struct Trend {
    /// The model's number.
    pub model: u16,
    /// Its weeks, in order.
    pub weeks: Vec<TrendWeek>,
    /// How many hospitals could be compared in the newest week that any could, and how many of them lie elsewhere.
    pub breadth: (usize, usize),
    /// Since which week the model drifts. A hospital is told since when its own scores move, where others' do too.
    pub drifts_since: Option<u16>,
    /// Whether enough hospitals could be compared to say, of one that moves, that the others do not.
    pub is_judged: bool,
}

/// One of its weeks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrendWeek {
    /// Which.
    pub week: u16,
    /// How many hospitals ran it.
    pub hospitals: usize,
    /// The counts of each hospital.
    pub done: Vec<u64>,
    /// All histograms of the week.
    pub pool: Pool,
    /// Of how many hospitals.
    pub told: usize,
    /// How many of them could be compared with their first weeks.
    pub compared: usize,
    /// How far it lies from the references, hospital by hospital, without the farthest one.
    pub distance: Option<Distance>,
    /// The buckets of the median durations, smallest first, of the hospitals that had enough to tell.
    pub p50: Vec<u8>,
    /// The same of those that 95 of 100 stay within.
    pub p95: Vec<u8>,
}

/// The bucket of the middle hospital; nothing where none could tell.
#[must_use]
pub fn middle(sorted: &[u8]) -> Option<u8> {
    sorted.get(sorted.len() / 2).copied()
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct Outlook {
    /// The week that lasts.
    pub week: u16,
    /// By number.
    pub sites: Vec<Site>,
    /// By hospital, then model.
    pub lives: Vec<Live>,
    /// By model.
    pub trends: Vec<Trend>,
    /// How many comparisons were made: of these, so many as [`FALSE_ALARMS`] says may be passed by chance.
    pub compared: usize,
}

impl Outlook {
    /// What this snapshot comes to, of what the viewer may see.
    #[must_use]
    pub fn of(snapshot: &Snapshot, viewer: Viewer) -> Self {
        let sites = snapshot.hospitals.iter();
        let lives = lives(snapshot);
        let mut outlook = Self {
            week: week_of(snapshot.now_s) as u16,
            sites: sites.map(|hospital| site(snapshot, hospital)).collect(),
            trends: trends(&lives),
            compared: compared(&lives),
            lives,
        };
        outlook.tell_apart();
        match viewer {
            Viewer::Hospital(own) => outlook.only(own),
            Viewer::Admin | Viewer::Analyst => outlook,
        }
    }

    /// What is this hospital's own. Whether it stands apart cannot be told from its own numbers: so of the others one word is
    /// kept of each model that moves here, whether it moves elsewhere too, and that only where as many hospitals could be
    /// compared as make a scorecard. None of their numbers is.
    fn only(mut self, own: u32) -> Self {
        self.sites.retain(|site| site.hospital.number == own);
        self.lives.retain(|live| live.hospital == own);
        self.compared = compared(&self.lives);
        let nation = std::mem::replace(&mut self.trends, trends(&self.lives));
        for trend in &mut self.trends {
            let live = self.lives.iter().find(|live| live.model == trend.model);
            let moved = live.and_then(|live| live.apart_since);
            let everywhere = nation.iter().find(|all| all.model == trend.model);
            let told = everywhere.filter(|all| all.breadth.0 >= HOSPITALS_MIN);
            trend.is_judged = told.is_some();
            trend.drifts_since = told.and_then(|all| all.drifts_since).and(moved);
            let here = live.is_some_and(|live| live.compared().next().is_some());
            trend.breadth = (usize::from(here), usize::from(moved.is_some()));
        }
        self
    }

    /// A model in all hospitals.
    #[must_use]
    pub fn trend(&self, model: u16) -> Option<&Trend> {
        self.trends.iter().find(|trend| trend.model == model)
    }

    /// A model in one hospital.
    pub fn lives_of(&self, hospital: u32) -> impl Iterator<Item = &Live> {
        self.lives
            .iter()
            .filter(move |live| live.hospital == hospital)
    }

    /// A hospital.
    #[must_use]
    pub fn site(&self, number: u32) -> Option<&Site> {
        self.sites
            .iter()
            .find(|site| site.hospital.number == number)
    }

    /// Whose scores move: where many hospitals' do, it is the model, and none of them stands apart for that.
    fn tell_apart(&mut self) {
        for trend in &mut self.trends {
            let compared = self.lives.iter().filter(|l| l.model == trend.model);
            let compared: Vec<&Live> = compared.filter(|l| l.compared().next().is_some()).collect();
            let apart = compared.iter().filter(|live| live.apart_since.is_some());
            let moved: Vec<u16> = apart.filter_map(|live| live.apart_since).collect();
            trend.breadth = (compared.len(), moved.len());
            trend.is_judged = compared.len() >= COMPARED_MIN;
            let broad = moved.len() >= 2 && moved.len() as f64 >= BREADTH * compared.len() as f64;
            if broad {
                let first = moved.iter().copied().min();
                trend.drifts_since = trend.drifts_since.or(first);
            }
        }
    }
}

impl Live {
    /// Its weeks that could be compared.
    pub fn compared(&self) -> impl DoubleEndedIterator<Item = (u16, Distance)> {
        self.weeks
            .iter()
            .filter_map(|w| Some((w.week, w.distance?)))
    }

    /// The histograms of its last weeks together.
    #[must_use]
    pub fn lately(&self, weeks: usize) -> Pool {
        let told = self
            .weeks
            .iter()
            .rev()
            .filter_map(|week| week.told.as_ref());
        Pool::of(told.take(weeks).map(|(_, pool)| pool))
    }

    fn judge(&mut self) {
        let mut gathered = (0, Pool::default());
        for week in &mut self.weeks {
            let Some((weeks, pool)) = week.told.filter(|(_, p)| p.total().value >= JUDGED_MIN)
            else {
                continue;
            };
            match self.reference {
                Some(reference) => week.distance = distance(&[(reference, pool)], FALSE_ALARMS),
                None => gathered = (gathered.0 + weeks, gathered.1.with(&pool)),
            }
            if gathered.0 >= REFERENCE_WEEKS {
                self.reference = Some(gathered.1);
            }
        }
        self.apart_since = since(self.weeks.iter().map(|w| (w.week, w.distance)));
        self.contradicts = self.tells_of_more_than_was_done();
    }

    fn tells_of_more_than_was_done(&self) -> bool {
        let told = (0..self.weeks.len()).filter_map(|at| Some((at, self.weeks[at].told?)));
        let mut excess = told.map(|(at, (weeks, pool))| {
            let first = (at + 1).saturating_sub(weeks as usize);
            let done: u64 = self.weeks[first..=at].iter().map(|week| week.done).sum();
            let noise = pool.noise_sd(CELLS);
            pool.total().value - done as f64 - CONTRADICTION_SDS * noise
        });
        excess.any(|excess| excess > 0.0)
    }
}

/// Since when they lie beyond their thresholds, when the newest do, and so many in a row as are called drift.
fn since(weeks: impl DoubleEndedIterator<Item = (u16, Option<Distance>)>) -> Option<u16> {
    let compared = weeks
        .rev()
        .filter_map(|(week, distance)| Some((week, distance?)));
    let beyond = compared.take_while(|(_, d)| d.is_beyond() && d.value >= DISTANCE_MIN);
    let row: Vec<u16> = beyond.map(|(week, _)| week).collect();
    row.last()
        .copied()
        .filter(|_| row.len() >= PERSISTENCE_WEEKS)
}

fn site(snapshot: &Snapshot, hospital: &Hospital) -> Site {
    let own = snapshot
        .frames
        .iter()
        .filter(|f| f.appliance == hospital.number);
    let last = own.max_by_key(|f| f.week).cloned();
    let now = week_of(snapshot.now_s);
    // Who never reported is as late as if it had just before its enrolment.
    let heard = last.as_ref().map_or_else(
        || week_of(hospital.enrolled_at_s).saturating_sub(1),
        |last| u64::from(last.week),
    );
    let heard_at_s = last.as_ref().map_or(0, |last| last.received_at_s);
    let own = snapshot
        .alarms
        .iter()
        .filter(|a| a.appliance == hospital.number && a.is_open());
    let lately = week_of(snapshot.now_s).saturating_sub(SILENT_WEEKS);
    let is_refused = own
        .map(|a| a.at_s)
        .any(|at| at > heard_at_s && week_of(at) > lately);
    let state = match now.saturating_sub(heard) {
        _ if hospital.suspended => State::Suspended,
        _ if is_refused => State::Refused,
        0..=DUE_WEEKS if last.is_none() => State::New,
        0..=DUE_WEEKS => State::Reporting,
        late if late < SILENT_WEEKS => State::Holding,
        _ => State::Silent,
    };
    Site {
        hospital: hospital.clone(),
        state,
        last,
    }
}

/// How many weeks of models in hospitals were compared.
fn compared(lives: &[Live]) -> usize {
    lives.iter().map(|live| live.compared().count()).sum()
}

fn lives(snapshot: &Snapshot) -> Vec<Live> {
    let mut lives: BTreeMap<(u32, u16), Live> = BTreeMap::new();
    for received in &snapshot.frames {
        for (model, week) in weeks_in(received) {
            let hospital = received.appliance;
            let live = lives.entry((hospital, model)).or_insert_with(|| Live {
                hospital,
                model,
                ..Live::default()
            });
            live.weeks.push(week);
        }
    }
    let mut lives: Vec<Live> = lives.into_values().collect();
    for live in &mut lives {
        live.weeks.sort_by_key(|week| week.week);
        live.judge();
    }
    lives
}

/// What a frame says of each model that has a number.
fn weeks_in(received: &Received) -> impl Iterator<Item = (u16, Week)> {
    let frame = &received.frame;
    let numbered = (0..MODELS).map(|at| (at, frame.get(&layout::MODEL, at) as u16));
    numbered.filter(|(_, model)| *model > 0).map(|(at, model)| {
        let week = Week {
            week: received.week,
            done: frame.get(&layout::MODEL_DONE, at),
            failed: frame.get(&layout::MODEL_FAILED, at),
            p50: frame.get(&layout::MODEL_P50, at) as u8,
            p95: frame.get(&layout::MODEL_P95, at) as u8,
            verdict: frame.get(&layout::DRIFT, at) as u8,
            told: told(received, model),
            distance: None,
        };
        (model, week)
    })
}

/// The histogram of a model in a frame, and of how many weeks it tells.
fn told(received: &Received, model: u16) -> Option<(u64, Pool)> {
    let frame = &received.frame;
    let of = |place: &usize| frame.get(&layout::HIST_MODEL, *place) == u64::from(model);
    let place = (0..TOLD_MODELS).find(of)?;
    let cells = std::array::from_fn(|cell| {
        let noised = frame.get(&layout::HIST, place * CELLS + cell);
        noised.cast_signed() - i64::from(OFFSET)
    });
    let weeks = frame.get(&layout::HIST_WEEKS, place);
    let epsilon = frame.get(&layout::HIST_EPSILON, place);
    Some((weeks, Pool::told(cells, weeks, epsilon)))
}

/// The weeks of one model in all hospitals, by their number.
type Weeks<'l> = BTreeMap<u16, Vec<(&'l Live, &'l Week)>>;

/// Models in all of these hospitals together.
pub(crate) fn trends(lives: &[Live]) -> Vec<Trend> {
    let mut trends: BTreeMap<u16, Weeks<'_>> = BTreeMap::new();
    for live in lives {
        let weeks = trends.entry(live.model).or_default();
        for week in &live.weeks {
            weeks.entry(week.week).or_default().push((live, week));
        }
    }
    let trends = trends.into_iter().map(|(model, weeks)| {
        let weeks = weeks.into_iter().map(|(week, all)| trend_week(week, &all));
        let weeks: Vec<TrendWeek> = weeks.collect();
        // One hospital that moves is no drift of the model. The newest weeks are passed over until enough have told of them.
        let judged = weeks.iter().filter(|w| w.compared >= COMPARED_MIN);
        let drifts_since = since(judged.map(|w| (w.week, w.distance)));
        Trend {
            model,
            weeks,
            breadth: (0, 0),
            drifts_since,
            is_judged: false,
        }
    });
    trends.collect()
}

fn trend_week(week: u16, all: &[(&Live, &Week)]) -> TrendWeek {
    let told: Vec<&Pool> = all
        .iter()
        .filter_map(|(_, w)| Some(&w.told.as_ref()?.1))
        .collect();
    let buckets = |of: fn(&Week) -> u8| {
        let told = all.iter().map(|(_, week)| of(week));
        let mut told: Vec<u8> = told.filter(|bucket| *bucket > 0).collect();
        told.sort_unstable();
        told
    };
    TrendWeek {
        week,
        hospitals: all.len(),
        done: all.iter().map(|(_, week)| week.done).collect(),
        pool: Pool::of(told.iter().copied()),
        told: told.len(),
        compared: all.iter().filter(|(_, w)| w.distance.is_some()).count(),
        distance: without_the_farthest(all),
        p50: buckets(|week| week.p50),
        p95: buckets(|week| week.p95),
    }
}

/// One hospital alone, whatever moved it, must not make a model drift: with three or more, the farthest is left out.
fn without_the_farthest(all: &[(&Live, &Week)]) -> Option<Distance> {
    let compared = all.iter().filter_map(|(live, week)| {
        let far = week.distance?;
        Some((
            far.value * week.done as f64,
            (live.reference?, week.told?.1),
        ))
    });
    let mut compared: Vec<(f64, (Pool, Pool))> = compared.collect();
    compared.sort_by(|one, other| one.0.total_cmp(&other.0));
    if compared.len() >= COMPARED_MIN {
        compared.pop();
    }
    let pairs: Vec<(Pool, Pool)> = compared.into_iter().map(|(_, pair)| pair).collect();
    distance(&pairs, FALSE_ALARMS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{Alarm, AlarmKind};
    use pericard_frame::{Draft, ToHub};

    /// Wednesday 25 November 2026.
    const NOW_S: u64 = 1_795_600_000;
    const WEEK_S: u64 = 7 * 86_400;

    /// A hospital that was enrolled so many weeks ago, and whose last frame tells of so many weeks ago.
    fn nation(enrolled_weeks: u64, told_weeks: Option<u64>) -> Snapshot {
        let hospital = Hospital {
            number: 3,
            name: "A clinic".into(),
            enrolled_at_s: NOW_S - enrolled_weeks * WEEK_S,
            suspended: false,
        };
        let received = told_weeks.map(|weeks| Received {
            appliance: 3,
            sequence: 1,
            week: (week_of(NOW_S) - weeks) as u16,
            received_at_s: NOW_S - weeks.saturating_sub(1) * WEEK_S,
            carried: false,
            frame: Draft::<ToHub>::new().seal().expect("in range"),
        });
        Snapshot {
            hospitals: vec![hospital],
            frames: received.map(Arc::new).into_iter().collect(),
            now_s: NOW_S,
            ..Snapshot::default()
        }
    }

    fn state(nation: &Snapshot) -> State {
        Outlook::of(nation, Viewer::Analyst).sites[0].state
    }

    #[test]
    fn who_is_heard_reports_then_holds_then_is_silent() {
        for (told_weeks, expected) in [
            (0, State::Reporting),
            (2, State::Reporting),
            (3, State::Holding),
            (4, State::Holding),
            (5, State::Silent),
            (60, State::Silent),
        ] {
            let nation = nation(100, Some(told_weeks));
            assert_eq!(state(&nation), expected, "{told_weeks} weeks ago");
        }
    }

    #[test]
    fn who_was_never_heard_is_new_then_holds_then_is_silent() {
        for (enrolled_weeks, expected) in [
            (0, State::New),
            (1, State::New),
            (2, State::Holding),
            (3, State::Holding),
            (4, State::Silent),
        ] {
            let nation = nation(enrolled_weeks, None);
            assert_eq!(state(&nation), expected, "{enrolled_weeks} weeks ago");
        }
    }

    #[test]
    fn refused_is_who_sent_something_wrong_since_it_was_heard() {
        let mut nation = nation(100, Some(4));
        let alarm = |at_s, appliance| Alarm {
            number: 1,
            closed_at_s: None,
            appliance,
            at_s,
            kind: AlarmKind::Signature,
            sequence: None,
        };
        let heard_at_s = nation.frames[0].received_at_s;
        nation.alarms = vec![alarm(heard_at_s, 3), alarm(NOW_S, 4)];
        assert_eq!(state(&nation), State::Holding, "before, and another's");
        nation.alarms.push(alarm(heard_at_s + 1, 3));
        assert_eq!(state(&nation), State::Refused);
        nation.alarms[2].closed_at_s = Some(NOW_S);
        assert_eq!(state(&nation), State::Holding, "it was looked into");
        nation.alarms[2].closed_at_s = None;
        nation.now_s += SILENT_WEEKS * WEEK_S;
        assert_eq!(state(&nation), State::Silent, "that was long ago");
    }

    #[test]
    fn suspended_is_said_before_all_else() {
        for told_weeks in [None, Some(0), Some(3), Some(9)] {
            let mut nation = nation(100, told_weeks);
            nation.hospitals[0].suspended = true;
            nation.alarms = vec![Alarm {
                number: 1,
                closed_at_s: None,
                appliance: 3,
                at_s: NOW_S + 1,
                kind: AlarmKind::Fork,
                sequence: None,
            }];
            assert_eq!(state(&nation), State::Suspended);
            nation.hospitals[0].suspended = false;
            assert_eq!(state(&nation), State::Refused);
        }
    }

    /// What comes of a model in so many hospitals, of which the first so many move after their first four weeks.
    fn moving(hospitals: u32, moving: u32) -> Outlook {
        let week = |week: u16, bin: usize| Week {
            week,
            done: 900,
            failed: 0,
            p50: 0,
            p95: 0,
            verdict: 0,
            told: Some((1, pool(bin))),
            distance: None,
        };
        let lives = (1..=hospitals).map(|hospital| {
            let moved = usize::from(hospital <= moving) * 5;
            let mut live = Live {
                hospital,
                model: 7,
                weeks: (0..8)
                    .map(|at| week(at, if at < 4 { 0 } else { moved }))
                    .collect(),
                ..Live::default()
            };
            live.judge();
            live
        });
        let lives: Vec<Live> = lives.collect();
        let mut outlook = Outlook {
            trends: trends(&lives),
            lives,
            ..Outlook::default()
        };
        outlook.tell_apart();
        outlook
    }

    /// Scores that lie in five tenths from this one on.
    fn pool(first_bin: usize) -> Pool {
        let within = |cell: usize| (first_bin..first_bin + 5).contains(&cell);
        let cells = std::array::from_fn(|cell| if within(cell) { 180 } else { 0 });
        Pool::told(cells, 1, 500)
    }

    #[test]
    fn one_hospital_that_moves_is_no_drift_of_the_model_however_few_there_are() {
        for (hospitals, moves, expected) in [
            (1, 1, None),
            (2, 1, None),
            (3, 1, None),
            (2, 2, Some(4)),
            (4, 4, Some(4)),
            (9, 1, None),
        ] {
            let outlook = moving(hospitals, moves);
            let trend = outlook.trend(7).expect("told of");
            assert_eq!(
                trend.drifts_since, expected,
                "{moves} of {hospitals} hospitals"
            );
            assert_eq!(trend.is_judged, hospitals >= 3);
            assert_eq!(outlook.lives[0].apart_since, Some(4));
        }
    }

    /// In the newest weeks only one hospital has told so far, and that is the one that moves.
    #[test]
    fn who_tells_first_speaks_for_nobody_else() {
        let mut outlook = moving(9, 1);
        for live in outlook.lives.iter_mut().skip(1) {
            live.weeks.truncate(6);
        }
        outlook.trends = trends(&outlook.lives);
        outlook.tell_apart();
        assert_eq!(outlook.trends[0].weeks[7].compared, 1);
        assert_eq!(outlook.trends[0].drifts_since, None);
    }

    #[test]
    fn a_hospital_is_told_one_word_of_the_others_and_that_of_five_or_more() {
        for (hospitals, moves, drifts, is_judged) in [
            (9, 1, None, true),
            (9, 9, Some(4), true),
            (5, 5, Some(4), true),
            (4, 4, None, false),
            (4, 1, None, false),
        ] {
            let own = moving(hospitals, moves).only(1);
            let trend = own.trend(7).expect("its own");
            let told = (trend.drifts_since, trend.is_judged);
            assert_eq!(
                told,
                (drifts, is_judged),
                "{moves} of {hospitals} hospitals"
            );
            assert_eq!(trend.breadth, (1, 1), "no other is counted");
            assert_eq!((own.lives.len(), own.compared), (1, 4));
            let weeks = trend.weeks.iter();
            assert!(weeks.clone().all(|week| week.done == [900]));
            assert!(weeks.clone().all(|w| w.hospitals == 1 && w.compared <= 1));
            // One that does not move is told nothing of those that do.
            let last = moving(hospitals, 1).only(hospitals);
            let trend = last.trend(7).expect("its own");
            assert_eq!((trend.drifts_since, trend.breadth), (None, (1, 0)));
        }
    }
}
