//! Once a week: what was done becomes a frame. Here patients are known, and become keyed hashes before `egress` hears of
//! them; there they are counted, and noise is drawn. Nothing is sent here: the frame lies where the gate may read it.

use crate::catalogue::Catalogue;
use crate::evaluations::Plans;
use crate::machine::{Chance, Machine, NoChance};
use pericard_domain::actor::Actor;
use pericard_domain::model::Package;
use pericard_domain::time::Timestamp;
use pericard_egress::{
    Books, BooksError, CatalogueId, Closing, Entry, Log, Meter, Pseudonym, Restored, Review, Rules,
    Seed, Week,
};
use pericard_store::audit_log::AuditQuery;
use pericard_store::review::Verdict;
use pericard_store::week::{Continuation, FIRST_MONDAY_MS, Inference, WEEK_MS};
use pericard_store::{Store, StoreError};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What the audit log calls it.
const VERB: &str = "tell week";
/// How many weeks are closed after the event, at most: a year.
const WEEKS_BEHIND_MAX: u16 = 52;
/// How many of its lines are read at once: more than ten years' weeks.
const LINES_A_PAGE: u32 = 1_000;

/// A week cannot be told of now; it is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Books(#[from] BooksError),
    #[error(transparent)]
    Random(#[from] NoChance),
    #[error("the outcomes of evaluations cannot be read: {0}")]
    Evaluations(#[from] std::io::Error),
    #[error("the work ended early")]
    Lost,
}

/// What weeks are told of, and with what.
#[derive(Clone)]
pub(crate) struct Weekly {
    pub(crate) dir: PathBuf,
    pub(crate) rules: Rules,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) packages: Arc<[Package]>,
    pub(crate) store: Store,
    pub(crate) meter: Meter,
    pub(crate) machine: Machine,
}

/// What chance gives to one week. Nobody keeps it.
struct Draw {
    /// Patients' hashes are made with it: they are equal within this week only.
    key: [u8; 32],
    /// Noise grows from it.
    seed: [u8; 32],
}

impl Weekly {
    /// Tells of each week once it is over, until the stop. Trouble is said and tried again: it must not close a door.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), StoreError> {
        let mut beat = tokio::time::interval(self.machine.look_every);
        let mut said = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = beat.tick() => {
                    if let Err(error) = self.look(&mut said).await {
                        tracing::warn!(%error, "the week that is over is not told of yet");
                    }
                }
            }
        }
    }

    /// Closes every week that is over and not closed, the oldest first, those too in which the appliance was off. What has
    /// been counted since the last one belongs to the oldest of them: nothing counts while it is off.
    ///
    /// The audit log says of each week what the books say, before the next one is closed. `said` is the last frame up to
    /// which it is known to.
    async fn look(&self, said: &mut u32) -> Result<(), Trouble> {
        let now = week_of(self.machine.clock.now());
        let (dir, rules) = (self.dir.clone(), self.rules);
        let mut books = blocking(move || Books::open(dir, rules)).await??;
        self.say_unsaid(books.ledger(), said).await?;
        for week in not_closed(books.last_week(), now) {
            books = self.close(books, week).await?;
            self.say_unsaid(books.ledger(), said).await?;
        }
        Ok(())
    }

    async fn close(&self, mut books: Books, week: u16) -> Result<Books, Trouble> {
        let (from, before) = (begin_of(week), begin_of(week + 1));
        let inferences = self.store.inferences(from, before).await?;
        let continuation = self.store.continuation(books.log_from(&self.meter)).await?;
        let draw = Draw::of(self.machine.chance.as_ref())?;
        let closing = Closing {
            evaluations: Plans::of(&self.dir).outcomes()?,
            ..self.closing(week, &inferences, continuation, &draw)
        };
        let meter = self.meter.clone();
        blocking(move || Ok(books.close(closing, &meter).map(|_| books)?)).await?
    }

    fn closing(
        &self,
        week: u16,
        inferences: &[Inference],
        continuation: Continuation,
        draw: &Draw,
    ) -> Closing {
        let live: Vec<CatalogueId> = self
            .packages
            .iter()
            .map(|package| self.catalogue.id(&package.model))
            .collect();
        Closing {
            week,
            inferences: count(inferences, &live, &self.catalogue, &draw.key),
            log: Log {
                size: continuation.head.size,
                root: words(&continuation.head.root),
                proof: continuation.proof.iter().map(words).collect(),
            },
            evaluations: Vec::new(),
            seed: Seed(draw.seed),
        }
    }

    /// Writes those lines of the ledger into the audit log that it does not have, the oldest first. It is asked, not
    /// remembered: a crash can come between the books and the log, and a log that was restored may lack what it had.
    async fn say_unsaid(&self, ledger: &[Entry], said: &mut u32) -> Result<(), Trouble> {
        let later: Vec<&Entry> = ledger.iter().filter(|e| e.sequence > *said).collect();
        if later.is_empty() {
            return Ok(());
        }
        let known = self.said_before().await?;
        for entry in later {
            if !known.contains(&told_as(entry)) {
                self.say(entry).await?;
            }
            *said = entry.sequence;
        }
        Ok(())
    }

    /// Which weeks and frames the audit log tells of.
    async fn said_before(&self) -> Result<BTreeSet<String>, Trouble> {
        let (mut known, mut from) = (BTreeSet::new(), 0);
        loop {
            let asked = AuditQuery {
                verb: Some(VERB.to_owned()),
                from,
                limit: LINES_A_PAGE,
                ..AuditQuery::default()
            };
            let lines = self.store.audit(asked).await?;
            let subjects = lines.iter().filter_map(|line| line.subject.split_once(':'));
            known.extend(subjects.map(|(which, _)| which.to_owned()));
            match lines.last() {
                Some(last) if lines.len() == LINES_A_PAGE as usize => from = last.index + 1,
                _ => return Ok(known),
            }
        }
    }

    async fn say(&self, entry: &Entry) -> Result<(), Trouble> {
        let Entry {
            spent_milli_epsilon: spent,
            left_milli_epsilon: left,
            models_told,
            plans_told,
            ..
        } = entry;
        let what = if entry.refused {
            "nothing of patients, the budget is spent".to_owned()
        } else if entry.passed_over {
            format!(
                "passed over: it may have been told before the books were restored from a backup, {spent} thousandths of epsilon charged"
            )
        } else {
            format!(
                "{models_told} models and {plans_told} evaluations told of, {spent} thousandths of epsilon spent"
            )
        };
        let by = Actor::Room {
            name: "egress".into(),
        };
        let subject = format!("{}: {what}, {left} left in the year", told_as(entry));
        self.store.note_access(VERB, &subject, by).await?;
        tracing::info!(
            week = entry.week,
            frame = entry.sequence,
            left,
            "a week is told of"
        );
        Ok(())
    }
}

/// Marks books that were restored now from a backup which was made then: weeks that may have been told since are not told
/// again, with other noise, and plans that were accepted are not answered again.
pub(crate) fn mark_restored(
    dir: &Path,
    made_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Trouble> {
    let not_before = week_of(now);
    let year = not_before.saturating_sub(WEEKS_BEHIND_MAX);
    let restored = Restored {
        at_s: u64::try_from(now.as_millis() / 1000).unwrap_or(0),
        // The first of all is the one that is just over when it begins; and one more, since the day may be another here.
        from_week: made_at.map_or(year, |at| week_of(at).saturating_sub(2)),
        not_before,
        plans: Plans::of(dir).accepted()?,
    };
    Ok(restored.mark(dir).map_err(BooksError::from)?)
}

/// How the audit log names a closed week.
fn told_as(entry: &Entry) -> String {
    format!("week {}, frame {}", entry.week, entry.sequence)
}

/// The weeks that are to be closed now, the oldest first. The first of all is the one that is just over: nothing was counted
/// for a frame before. A gap of more than a year is a clock that was wrong, or an appliance that comes back from a shelf.
fn not_closed(last: Option<u16>, now: u16) -> Range<u16> {
    let first = match last {
        Some(last) => last
            .saturating_add(1)
            .max(now.saturating_sub(WEEKS_BEHIND_MAX)),
        None => now.saturating_sub(1),
    };
    first..now
}

impl Draw {
    fn of(chance: &dyn Chance) -> Result<Self, NoChance> {
        Ok(Self {
            key: chance.bytes()?,
            seed: chance.bytes()?,
        })
    }
}

/// The week's histograms. A patient is known here by what the study says; a study that names none stands for itself.
fn count(
    inferences: &[Inference],
    live: &[CatalogueId],
    catalogue: &Catalogue,
    key: &[u8; 32],
) -> Week {
    let mut week = Week::of(live);
    for inference in inferences {
        let patient = inference
            .patient
            .as_deref()
            .filter(|id| !id.trim().is_empty());
        let patient = match patient {
            Some(id) => pseudonym(key, b"patient", id.trim()),
            None => pseudonym(key, b"study", inference.study.as_str()),
        };
        week.count(
            patient,
            catalogue.id(&inference.model),
            tenth(inference.score),
            reviewed(inference.verdict),
        );
    }
    week
}

/// What people had said of a result by the time that its week was closed. What they say later is shown in the hospital,
/// and told to nobody: the week's noise is drawn once.
const fn reviewed(verdict: Option<Verdict>) -> Review {
    match verdict {
        None => Review::None,
        Some(Verdict::Agreed) => Review::Agreed,
        Some(Verdict::Disagreed) => Review::Disagreed,
    }
}

/// A hash that only this week's key gives. The key comes first and has a fixed length, and SHA-256 of a secret prefix is
/// told to nobody: it is compared within this process, and forgotten with it.
fn pseudonym(key: &[u8; 32], kind: &[u8], name: &str) -> Pseudonym {
    let mut hash = Sha256::new();
    for part in [&key[..], kind, b"\0", name.as_bytes()] {
        hash.update(part);
    }
    let hash = hash.finalize();
    Pseudonym(u64::from_le_bytes(std::array::from_fn(|at| hash[at])))
}

/// The tenth that a score lies in. What found nothing has the lowest.
pub(crate) fn tenth(score: Option<f32>) -> u8 {
    // The cast cuts off, and turns what is no number into 0.
    (score.unwrap_or(0.0) * 10.0).clamp(0.0, 9.0) as u8
}

/// A hash as the frame has it: four numbers, the first bytes first.
pub(crate) fn words(hash: &[u8; 32]) -> [u64; 4] {
    let mut words = hash.chunks_exact(8).map(|chunk| {
        let fold = |word: u64, byte: &u8| word << 8 | u64::from(*byte);
        chunk.iter().fold(0, fold)
    });
    std::array::from_fn(|_| words.next().unwrap_or(0))
}

pub(crate) fn week_of(at: Timestamp) -> u16 {
    let weeks = (at.as_millis() - FIRST_MONDAY_MS).div_euclid(WEEK_MS);
    u16::try_from(weeks).unwrap_or(0)
}

fn begin_of(week: u16) -> Timestamp {
    Timestamp::from_millis(FIRST_MONDAY_MS + i64::from(week) * WEEK_MS)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Trouble> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Trouble::Lost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluations::Accepted;
    use crate::load::{Load, Ticks};
    use pericard_domain::model::ModelRef;
    use pericard_domain::time::{Clock, StandingClock};
    use pericard_egress::Counter;
    use pericard_frame::{Frame, layout};
    use pericard_store::{Salted, StoreConfig};
    use std::fs;
    use std::time::Duration;

    /// Busy with nothing.
    struct Idle;

    impl Load for Idle {
        fn processors(&self) -> Ticks {
            Ticks::default()
        }

        fn gpus(&self) -> Option<Ticks> {
            None
        }
    }

    /// Always the same.
    struct NoSurprise;

    impl Chance for NoSurprise {
        fn bytes(&self) -> Result<[u8; 32], NoChance> {
            Ok([7; 32])
        }
    }

    /// An appliance's weeks, on disk: whoever opens them again is its next life.
    struct Site {
        dir: tempfile::TempDir,
        clock: Arc<StandingClock>,
    }

    const NOW: u16 = 2_968;

    impl Site {
        fn new() -> Self {
            Self {
                dir: tempfile::tempdir().expect("a folder"),
                clock: Arc::new(StandingClock::new(begin_of(NOW))),
            }
        }

        fn clock(&self) -> Arc<dyn Clock> {
            Arc::clone(&self.clock) as Arc<dyn Clock>
        }

        fn open(&self) -> Weekly {
            let config = StoreConfig {
                dir: self.dir.path().join("data"),
                audit_origin: "pericard.test/audit".into(),
                group_commit_window_us: 0,
                free_space_floor_mib: 1,
            };
            let counters = self.dir.path().join("counters");
            Weekly {
                dir: self.egress(),
                rules: Rules::default(),
                catalogue: Arc::default(),
                packages: Arc::from(Vec::new()),
                store: Store::open(config, self.clock()).expect("a store"),
                meter: Meter::open(counters, pericard_egress::Identity::default())
                    .expect("a meter"),
                machine: Machine {
                    clock: self.clock(),
                    chance: Arc::new(NoSurprise),
                    load: Arc::new(Idle),
                    leaves: Arc::new(Salted),
                    program: "/nowhere".into(),
                    look_every: Duration::from_secs(600),
                },
            }
        }

        fn egress(&self) -> PathBuf {
            self.dir.path().join("egress")
        }

        fn begin(&self, week: u16) {
            self.clock.set(begin_of(week));
        }

        fn frame(&self, sequence: u32) -> Frame {
            let path = self.egress().join(format!("frames/{sequence:08}.frame"));
            Frame::open(&fs::read(path).expect("a frame")).expect("a whole one")
        }
    }

    impl Weekly {
        /// The weeks that the audit log tells of, in its order.
        async fn said(&self) -> Vec<u16> {
            let asked = AuditQuery {
                verb: Some(VERB.to_owned()),
                ..AuditQuery::default()
            };
            let lines = self.store.audit(asked).await.expect("the log");
            let week = |subject: &str| {
                let rest = subject.strip_prefix("week ")?;
                rest.split_once(',')?.0.parse().ok()
            };
            let weeks = lines.iter().map(|line| week(&line.subject));
            weeks.map(|week| week.expect("a week")).collect()
        }

        /// A life that closes the week that is over, and dies before it is said.
        async fn closes_and_dies(self, week: u16) {
            let books = Books::open(self.dir.clone(), self.rules).expect("books");
            self.close(books, week).await.expect("closed");
        }
    }

    #[tokio::test]
    async fn each_week_is_closed_and_said_once_however_often_it_is_looked() {
        let site = Site::new();
        let weekly = site.open();
        let mut said = 0;
        for _ in 0..3 {
            weekly.look(&mut said).await.expect("looked");
        }
        assert_eq!((weekly.said().await, said), (vec![NOW - 1], 1));
        site.begin(NOW + 1);
        weekly.look(&mut said).await.expect("looked");
        // Another life knows nothing, and asks the log.
        drop(weekly);
        let (weekly, mut said) = (site.open(), 0);
        weekly.look(&mut said).await.expect("looked");
        assert_eq!((weekly.said().await, said), (vec![NOW - 1, NOW], 2));
        site.begin(NOW - 5);
        weekly
            .look(&mut said)
            .await
            .expect("a clock that went back");
        assert_eq!(weekly.said().await.len(), 2);
    }

    #[tokio::test]
    async fn a_week_that_was_closed_and_not_said_is_said_before_the_next_one_is_closed() {
        let site = Site::new();
        site.open().closes_and_dies(NOW - 1).await;
        site.begin(NOW + 1);
        let (weekly, mut said) = (site.open(), 0);
        assert!(weekly.said().await.is_empty());
        weekly.look(&mut said).await.expect("looked");
        assert_eq!((weekly.said().await, said), (vec![NOW - 1, NOW], 2));
    }

    #[tokio::test]
    async fn what_is_missing_in_the_middle_of_the_log_is_said_too() {
        let site = Site::new();
        let (weekly, mut said) = (site.open(), 0);
        weekly.look(&mut said).await.expect("looked");
        drop(weekly);
        site.open().closes_and_dies(NOW).await;
        // As versions before this one left it: the week after was closed and said, this one never.
        site.begin(NOW + 2);
        let (weekly, mut said) = (site.open(), 2);
        weekly.look(&mut said).await.expect("looked");
        assert_eq!(weekly.said().await, [NOW - 1, NOW + 1]);
        let mut anew = 0;
        weekly.look(&mut anew).await.expect("looked");
        assert_eq!(weekly.said().await, [NOW - 1, NOW + 1, NOW]);
    }

    /// A checkpoint that cannot be written ends all writing: what is not in the log is not marked as said.
    #[tokio::test]
    async fn a_week_that_cannot_be_said_is_said_by_the_next_life() {
        let site = Site::new();
        let (weekly, mut said) = (site.open(), 0);
        let audit = site.dir.path().join("data/audit");
        let (checkpoint, aside) = (audit.join("checkpoint"), audit.join("aside"));
        let exists = |path: &Path| path.exists();
        for _ in 0..1000 {
            if exists(&checkpoint) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        fs::rename(&checkpoint, &aside).expect("moved");
        fs::create_dir(&checkpoint).expect("in its place");
        let mut noted = 0;
        let note = async || {
            let by = Actor::room("egress");
            weekly.store.note_access("test", "a line", by).await
        };
        while note().await.is_ok() {
            noted += 1;
            assert!(noted < 1000, "it still writes");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let trouble = weekly.look(&mut said).await;
        assert!(matches!(trouble, Err(Trouble::Store(_))), "{trouble:?}");
        assert_eq!(said, 0, "it was not said");
        site.begin(NOW + 1);
        let trouble = weekly.look(&mut said).await;
        assert!(matches!(trouble, Err(Trouble::Store(_))), "{trouble:?}");
        let books = Books::open(site.egress(), Rules::default()).expect("books");
        assert_eq!(books.last_week(), Some(NOW - 1), "the next one waits");
        drop((weekly, books));
        fs::remove_dir(&checkpoint).expect("removed");
        fs::rename(&aside, &checkpoint).expect("put back");
        let weekly = site.open();
        weekly.look(&mut said).await.expect("looked");
        assert_eq!((weekly.said().await, said), (vec![NOW - 1, NOW], 2));
    }

    #[tokio::test]
    async fn weeks_in_which_it_was_off_are_told_of_and_its_counts_stay_in_their_own() {
        let site = Site::new();
        let (weekly, mut said) = (site.open(), 0);
        weekly.look(&mut said).await.expect("looked");
        weekly.meter.count_by(Counter::JobsDone, 7); // in week NOW, at whose end it is off
        weekly.meter.flush().expect("on disk");
        drop(weekly);
        site.begin(NOW + 3);
        let (weekly, mut said) = (site.open(), 0);
        weekly.look(&mut said).await.expect("looked");
        let all = vec![NOW - 1, NOW, NOW + 1, NOW + 2];
        assert_eq!((weekly.said().await, said), (all, 4));
        let done = |sequence| {
            let frame = site.frame(sequence);
            let done = frame.get(&layout::COUNTERS, Counter::JobsDone.place());
            (frame.get(&layout::WEEK, 0) as u16, done)
        };
        let told = [1, 2, 3, 4].map(done);
        assert_eq!(
            told,
            [(NOW - 1, 0), (NOW, 7), (NOW + 1, 0), (NOW + 2, 0)],
            "they were counted before it was off"
        );
    }

    /// The disk is lost in another week than the backup was made in: what may have been told meanwhile is not told again, and
    /// the log says so.
    #[tokio::test]
    async fn weeks_that_may_have_been_told_since_a_backup_are_said_to_be_passed_over() {
        let site = Site::new();
        let accepted = Accepted {
            plan: 7,
            cases_min: 200,
            model_digest: [1; 4],
            labels: Vec::new(),
        };
        let plans = Plans::of(&site.egress());
        assert!(plans.accept(&accepted).expect("kept"));
        let weekly = site.open();
        weekly.look(&mut 0).await.expect("looked");
        drop(weekly);
        site.begin(NOW + 2);
        let made_at = begin_of(NOW);
        mark_restored(&site.egress(), Some(made_at), begin_of(NOW + 2)).expect("marked");
        let (weekly, mut said) = (site.open(), 0);
        for _ in 0..2 {
            weekly.look(&mut said).await.expect("looked");
        }
        assert_eq!(
            (weekly.said().await, said),
            (vec![NOW - 1, NOW, NOW + 1], 3)
        );
        let asked = AuditQuery {
            verb: Some(VERB.to_owned()),
            ..AuditQuery::default()
        };
        let lines = weekly.store.audit(asked).await.expect("the log");
        let passed = lines.iter().map(|l| l.subject.contains("passed over"));
        assert_eq!(passed.collect::<Vec<_>>(), [false, true, true]);
        let frames = || fs::read_dir(site.egress().join("frames")).expect("frames");
        assert_eq!(frames().count(), 1, "nothing is told of them");
        site.begin(NOW + 3);
        weekly.look(&mut said).await.expect("looked");
        let next = site.frame(4);
        assert_eq!(next.get(&layout::WEEK, 0), u64::from(NOW + 2));
        let books = Books::open(site.egress(), Rules::default()).expect("books");
        assert!(books.has_answered(7), "it may have been");
    }

    #[test]
    fn a_gap_is_closed_up_to_a_year_and_the_first_week_is_the_one_just_over() {
        let weeks = |last, now| not_closed(last, now).collect::<Vec<_>>();
        assert_eq!(weeks(None, 2_968), [2_967]);
        assert_eq!((weeks(None, 0), weeks(Some(7), 0)), (vec![], vec![]));
        assert!(weeks(Some(2_967), 2_968).is_empty());
        assert_eq!(weeks(Some(2_965), 2_968), [2_966, 2_967]);
        assert_eq!(weeks(Some(5), 2_968).len(), 52, "a clock that was wrong");
        assert!(weeks(Some(u16::MAX), 2_968).is_empty());
    }

    fn model(name: &str) -> ModelRef {
        ModelRef {
            name: name.into(),
            version: "1.0".into(),
            digest: "ab".repeat(32).parse().expect("a digest"),
        }
    }

    fn inference(patient: Option<String>, study: u64, name: &str, score: f32) -> Inference {
        Inference {
            patient,
            study: format!("1.2.{study}").parse().expect("a UID"),
            model: model(name),
            score: Some(score),
            verdict: None,
        }
    }

    #[test]
    fn weeks_begin_on_monday() {
        let at = |day: i64| week_of(Timestamp::from_millis(day * WEEK_MS / 7));
        // 24 November 2026 is a Tuesday, 20,781 days after 1 January 1970.
        assert_eq!((at(4), at(10), at(11)), (0, 0, 1));
        assert_eq!((at(20_779), at(20_780), at(20_781)), (2967, 2968, 2968));
        assert_eq!(week_of(begin_of(2968)), 2968);
    }

    #[test]
    fn scores_lie_in_tenths_and_no_score_is_the_lowest() {
        let tenths = [
            None,
            Some(0.0),
            Some(0.19),
            Some(0.95),
            Some(1.0),
            Some(7.0),
            Some(f32::NAN),
        ];
        assert_eq!(tenths.map(tenth), [0, 0, 1, 9, 9, 9, 0]);
    }

    #[test]
    fn what_people_said_has_its_own_cells() {
        let id = CatalogueId(3);
        let states = [None, Some(Verdict::Agreed), Some(Verdict::Disagreed)].map(reviewed);
        assert_eq!(states, [Review::None, Review::Agreed, Review::Disagreed]);
        let told = |verdict| {
            let mut week = Week::of(&[id]);
            week.count(Pseudonym(1), id, 4, reviewed(verdict));
            format!("{week:?}")
        };
        assert_ne!(told(Some(Verdict::Agreed)), told(Some(Verdict::Disagreed)));
        assert_ne!(told(None), told(Some(Verdict::Agreed)));
    }

    /// From the store's rows to the frame's bytes: other patients of the same shape change nothing.
    #[test]
    fn other_names_and_studies_give_the_same_frame() {
        let dir = tempfile::tempdir().expect("a folder");
        let hub = pericard_audit::SigningKey::from_seed("hub.example", &[1; 32]).expect("a key");
        let digest = "ab".repeat(32);
        let text = format!("pericard-catalogue/v1\n3 chest 1.0 {digest}\n9 brain 1.0 {digest}\n");
        let signed = pericard_audit::note::sign(&text, &[&hub]).expect("signed");
        let path = dir.path().join("catalogue");
        std::fs::write(&path, signed).expect("written");
        let catalogue = Catalogue::read(&path, &hub.verifier().to_string()).expect("believed");
        let live = [CatalogueId(3), CatalogueId(9)];
        let told = |hospital: u64, key: [u8; 32]| {
            let rows: Vec<_> = (0..1800)
                .map(|row: u64| {
                    let patient = row * 7 % 900;
                    let named = !patient.is_multiple_of(5);
                    let patient_id = named.then(|| format!("canary {hospital}:{patient} "));
                    let name = if row.is_multiple_of(3) {
                        "brain"
                    } else {
                        "chest"
                    };
                    inference(
                        patient_id,
                        hospital * 10_000 + patient,
                        name,
                        (row % 10) as f32 / 10.0,
                    )
                })
                .collect();
            let dir = tempfile::tempdir().expect("a folder");
            let mut books = Books::open(dir.path().into(), Rules::default()).expect("opened");
            let closing = Closing {
                week: 2950,
                inferences: count(&rows, &live, &catalogue, &key),
                log: Log::default(),
                evaluations: Vec::new(),
                seed: Seed([5; 32]),
            };
            let entry = books.close(closing, &Meter::in_memory()).expect("closed");
            assert_eq!(entry.models_told, 2);
            std::fs::read(dir.path().join("frames/00000001.frame")).expect("a frame")
        };
        let one = told(1, [1; 32]);
        for hospital in 2..22 {
            assert_eq!(told(hospital, [1; 32]), one, "hospital {hospital}");
        }
        assert_eq!(told(1, [2; 32]), one, "nor does the week's key show");
    }
}
