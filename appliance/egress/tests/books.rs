//! Weeks are told of once, with noise, within the budget, whatever crashes.

use pericard_egress::{
    Books, BooksError, CatalogueId, Closing, Counter, Entry, Evaluation, Expected, Identity, Log,
    Meter, NEVER_TOLD_BELOW, Outcome, Pseudonym, Restored, Review, Rules, Seed, TOLD_AT_ONCE, Week,
};
use pericard_frame::Frame;
use pericard_frame::layout::{self, CELLS, EVALUATION_CELLS, MODELS, OFFSET};
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const MODEL: CatalogueId = CatalogueId(300);

fn week_of(patients: u64, from: u64) -> Week {
    let mut week = Week::of(&[MODEL]);
    for patient in 0..patients {
        let review = [Review::None, Review::Agreed, Review::Disagreed][(patient % 3) as usize];
        week.count(
            Pseudonym(from.wrapping_add(patient)),
            MODEL,
            (patient % 10) as u8,
            review,
        );
    }
    week
}

fn closing(week: u16, patients: u64) -> Closing {
    Closing {
        week,
        inferences: week_of(patients, 0),
        log: Log::default(),
        evaluations: Vec::new(),
        seed: Seed([week as u8; 32]),
    }
}

fn open(dir: &TempDir) -> Books {
    Books::open(dir.path().into(), Rules::default()).expect("opened")
}

fn frame_path(dir: &Path, sequence: u32) -> PathBuf {
    dir.join(format!("frames/{sequence:08}.frame"))
}

fn frame(dir: &Path, entry: &Entry) -> Frame {
    let bytes = fs::read(frame_path(dir, entry.sequence)).expect("a frame");
    Frame::open(&bytes).expect("one that keeps to the layout")
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let of = |folder: &Path| {
        let entries = fs::read_dir(folder).expect("a folder").flatten();
        let paths = entries
            .map(|entry| entry.path())
            .filter(|path| path.is_file());
        paths
            .map(|path| (path.clone(), fs::read(path).expect("read")))
            .collect::<Vec<_>>()
    };
    of(dir).into_iter().chain(of(&dir.join("frames"))).collect()
}

#[test]
fn a_frame_tells_of_one_week_with_noise_and_says_what_it_cost() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut books, meter) = (open(&dir), Meter::in_memory());
    meter.count_by(Counter::JobsDone, 5);
    let first = books.close(closing(2950, 600), &meter).expect("closed");
    meter.count_by(Counter::JobsDone, 7);
    meter.ran(3 * 3600, 30, 100);
    meter.gpus(150, 200);
    let second = books.close(closing(2951, 600), &meter).expect("closed");

    let (one, other) = (frame(dir.path(), &first), frame(dir.path(), &second));
    let done = Counter::JobsDone.place();
    let counted = [&one, &other].map(|frame| frame.get(&layout::COUNTERS, done));
    assert_eq!(counted, [5, 7], "of its own week only");
    assert_eq!(other.get(&layout::UPTIME_H, 0), 3);
    assert_eq!(other.get(&layout::CPU_BUCKET, 0), 3);
    let gpus = [&one, &other].map(|frame| frame.get(&layout::GPU_BUCKET, 0));
    assert_eq!(
        gpus,
        [0, 8],
        "none, then three quarters: seven tenths, and one more"
    );
    assert_eq!(other.get(&layout::SEQUENCE, 0), 2);
    assert_eq!(other.get(&layout::WEEK, 0), 2951);
    assert_eq!(other.get(&layout::HIST_MODEL, 0), 300);
    assert_eq!(other.get(&layout::HIST_EPSILON, 0), 500);
    assert_eq!(other.get(&layout::BUDGET_LEFT, 0), 52_000 - 1_000);

    let noise = |frame: &Frame| -> Vec<i64> {
        let exact = [20_i64, 20, 20, 20, 20, 20, 20, 20, 20, 20].repeat(3);
        let told = (0..CELLS).map(|at| frame.get(&layout::HIST, at) as i64 - i64::from(OFFSET));
        told.zip(exact).map(|(told, exact)| told - exact).collect()
    };
    assert_ne!(noise(&one), noise(&other), "noise of its own");
    for frame in [&one, &other] {
        let moved = noise(frame).iter().filter(|by| **by != 0).count();
        assert!(moved > CELLS / 3, "{moved} cells have noise");
    }
    assert_eq!(books.ledger(), [first, second]);
}

#[test]
fn a_week_is_told_of_once_and_never_with_other_noise() {
    let dir = tempfile::tempdir().expect("a folder");
    let meter = Meter::in_memory();
    let entry = open(&dir)
        .close(closing(2950, 600), &meter)
        .expect("closed");
    let told = frame(dir.path(), &entry);
    for week in [2950, 2949] {
        let mut again = closing(week, 600);
        again.seed = Seed([99; 32]);
        let refused = open(&dir).close(again, &meter);
        assert!(matches!(refused, Err(BooksError::Closed(w)) if w == week));
    }
    assert_eq!(frame(dir.path(), &entry), told);
}

/// The disk as a crash can leave it, at every step of closing a week: whatever it is, the week is told of with one draw
/// of noise, and charged once.
#[test]
fn whatever_a_crash_leaves_is_told_of_with_one_draw_and_charged_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let meter = Meter::in_memory();
    open(&dir)
        .close(closing(2950, 600), &meter)
        .expect("closed");
    let before = files(dir.path());
    let entry = open(&dir)
        .close(closing(2951, 600), &meter)
        .expect("closed");
    let after = files(dir.path());
    let (books, new_frame) = (dir.path().join("books"), frame_path(dir.path(), 2));
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();

    // Before the rename of the books: half a new file lies beside them.
    let crash = tempfile::tempdir().expect("a folder");
    let lay = |files: &BTreeMap<PathBuf, Vec<u8>>| {
        fs::create_dir_all(crash.path().join("frames")).expect("made");
        let _ = fs::remove_file(frame_path(crash.path(), 2));
        for (path, bytes) in files {
            let inside = path.strip_prefix(dir.path()).expect("inside");
            fs::write(crash.path().join(inside), bytes).expect("laid");
        }
    };
    lay(&before);
    fs::write(crash.path().join("books.new"), half(&after[&books])).expect("laid");
    let mut reopened = open(&crash);
    assert_eq!(
        (reopened.last_week(), reopened.ledger().len()),
        (Some(2950), 1)
    );
    assert!(!frame_path(crash.path(), 2).exists(), "nothing was drawn");
    let again = reopened.close(closing(2951, 600), &meter).expect("closed");
    assert_eq!(again, entry, "charged once");
    drop(reopened);

    // After it: the frame is not there, is half there, or is another.
    for laid in [
        None,
        Some(half(&after[&new_frame])),
        Some(before[&frame_path(dir.path(), 1)].clone()),
    ] {
        lay(&after);
        let path = frame_path(crash.path(), 2);
        match laid {
            None => fs::remove_file(&path).expect("removed"),
            Some(bytes) => fs::write(&path, bytes).expect("laid"),
        }
        let reopened = open(&crash);
        assert_eq!(fs::read(&path).expect("put back"), after[&new_frame]);
        assert_eq!(reopened.ledger().last(), Some(&entry));
    }
}

#[test]
fn however_many_close_at_once_one_does() {
    let dir = tempfile::tempdir().expect("a folder");
    let meter = Meter::in_memory();
    let close = || match Books::open(dir.path().into(), Rules::default()) {
        Ok(mut books) => u32::from(books.close(closing(2950, 600), &meter).is_ok()),
        Err(BooksError::InUse) => 0,
        Err(other) => panic!("{other}"),
    };
    let closed: u32 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(close)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("ended"))
            .sum()
    });
    assert_eq!(closed, 1);
    assert_eq!(open(&dir).ledger().len(), 1);
}

#[test]
fn a_spent_budget_is_never_overspent_and_comes_back_with_the_year() {
    let dir = tempfile::tempdir().expect("a folder");
    let (meter, rules) = (
        Meter::in_memory(),
        Rules {
            year_milli_epsilon: 1_700,
        },
    );
    let begin = 52 * 57;
    let mut entries = Vec::new();
    for week in begin..begin + 53 {
        // Opened anew each time: what is spent is on disk and not in anybody's memory.
        let mut books = Books::open(dir.path().into(), rules).expect("opened");
        entries.push(books.close(closing(week, 600), &meter).expect("closed"));
    }
    let spent = |entries: &[Entry]| entries.iter().map(|e| e.spent_milli_epsilon).sum::<u32>();
    assert_eq!(
        spent(&entries[..52]),
        1_500,
        "three models' weeks fit, and no fourth"
    );
    assert_eq!(entries.iter().filter(|entry| entry.refused).count(), 49);
    for entry in &entries[3..52] {
        let told = frame(dir.path(), entry);
        assert_eq!(told.get(&layout::HIST_MODEL, 0), 0, "nothing of patients");
        assert_eq!(told.get(&layout::BUDGET_LEFT, 0), 200);
    }
    assert!(!entries[52].refused, "another year");
}

/// The judge of drift goes on hearing while the budget is spent, and what it says is nobody's until the next year.
#[test]
fn a_spent_budget_tells_no_verdict_on_drift_and_the_judge_hears_on() {
    const UNKNOWN: u64 = 0;
    const STABLE: u64 = 1;
    let dir = tempfile::tempdir().expect("a folder");
    let (meter, begin) = (Meter::in_memory(), 52 * 57);
    meter.inference(MODEL, Outcome::Done, Duration::from_millis(5));
    let verdict = |entry: &Entry| {
        let frame = frame(dir.path(), entry);
        let place = (0..MODELS).find(|at| frame.get(&layout::MODEL, *at) == u64::from(MODEL.0));
        frame.get(&layout::DRIFT, place.expect("a place for the model"))
    };
    let weeks = |year_milli_epsilon, weeks: Range<u16>| -> Vec<(bool, u64)> {
        let told = weeks.map(|week| {
            let rules = Rules { year_milli_epsilon };
            let mut books = Books::open(dir.path().into(), rules).expect("opened");
            let entry = books.close(closing(week, 600), &meter).expect("closed");
            (entry.refused, verdict(&entry))
        });
        told.collect()
    };
    // Four weeks make the reference, in which nothing is known; two of them fit into the budget.
    let first = [
        (false, UNKNOWN),
        (false, UNKNOWN),
        (true, UNKNOWN),
        (true, UNKNOWN),
    ];
    assert_eq!(weeks(1_000, begin..begin + 4), first);
    let told = weeks(1_000, begin + 4..begin + 6);
    assert_eq!(told, [(true, UNKNOWN); 2], "it is known, and not told");
    let told = weeks(1_000, begin + 52..begin + 53);
    assert_eq!(told, [(false, STABLE)], "another year, and all was heard");
}

#[test]
fn few_wait_for_more_and_very_few_are_never_told() {
    // What is looked at has noise: how few are told of too, once in a while. These weeks' draws are fixed.
    for (patients, first, told_in, weeks) in [
        (300, 2951, Some(1), 1),
        (130, 2951, Some(2), 2),
        (40, 2951, Some(4), 4),
        (0, 3001, None, 0),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut books, meter) = (open(&dir), Meter::in_memory());
        let mut told = None;
        for turn in 1..=4_u16 {
            let entry = books
                .close(closing(first + turn - 1, patients), &meter)
                .expect("closed");
            assert_eq!(
                entry.spent_milli_epsilon, 500,
                "gathering costs what telling costs"
            );
            if entry.models_told > 0 && told.is_none() {
                told = Some(turn);
                let frame = frame(dir.path(), &entry);
                assert_eq!(frame.get(&layout::HIST_WEEKS, 0), weeks);
                let cells =
                    (0..CELLS).map(|at| frame.get(&layout::HIST, at) as i64 - i64::from(OFFSET));
                let count: i64 = cells.sum();
                assert!(
                    count
                        >= if turn < 4 {
                            TOLD_AT_ONCE
                        } else {
                            NEVER_TOLD_BELOW
                        }
                );
            }
        }
        assert_eq!(told, told_in, "{patients} patients a week");
    }
}

#[test]
fn books_that_are_none_are_left_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    open(&dir)
        .close(closing(2950, 600), &Meter::in_memory())
        .expect("closed");
    let path = dir.path().join("books");
    let good = fs::read(&path).expect("read");
    for bad in [
        &good[..8],
        &good[..good.len() - 8],
        &good[1..],
        &[7_u8; 64][..],
    ] {
        fs::write(&path, bad).expect("written");
        let opened = Books::open(dir.path().into(), Rules::default());
        assert!(
            matches!(opened, Err(BooksError::Spool(_))),
            "{} bytes",
            bad.len()
        );
        assert_eq!(fs::read(&path).expect("read"), bad);
    }
}

#[test]
fn the_meters_spool_and_the_books_agree_on_what_was_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let spool = dir.path().join("counters");
    for week in [2950, 2951] {
        let meter = Meter::open(spool.clone(), Identity::default()).expect("opened");
        meter.count_by(Counter::ChatsBusy, 9);
        meter.flush().expect("written");
        let entry = open(&dir)
            .close(closing(week, 600), &meter)
            .expect("closed");
        let told = frame(dir.path(), &entry).get(&layout::COUNTERS, Counter::ChatsBusy.place());
        assert_eq!(told, 9);
    }
}

/// A hub that enrols this appliance now has witnessed nothing of it, whatever was made before.
#[test]
fn the_first_frame_with_another_number_begins_the_log_anew() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut books = Books::open(dir.path().join("egress"), Rules::default()).expect("opened");
    let meter = |appliance| {
        let release = [0, 1, 0];
        let identity = pericard_egress::Identity { appliance, release };
        let path = dir.path().join(format!("counters {appliance}"));
        Meter::open(path, identity).expect("opened")
    };
    let mut froms = Vec::new();
    for (week, appliance) in [(2950, 0), (2951, 0), (2952, 17), (2953, 17)] {
        let meter = meter(appliance);
        froms.push(books.log_from(&meter));
        let mut closing = closing(week, 10);
        closing.log.size = u64::from(week);
        let entry = books.close(closing, &meter).expect("closed");
        let path = format!("egress/frames/{:08}.frame", entry.sequence);
        let frame = std::fs::read(dir.path().join(path)).expect("a frame");
        let frame = pericard_frame::Frame::open(&frame).expect("a frame");
        let told = frame.get(&pericard_frame::layout::LOG_FROM, 0);
        assert_eq!(Some(&told), froms.last());
    }
    assert_eq!(froms, [0, 2950, 0, 2952]);
}

/// The gate is another user: it reads frames by their group, and nothing else of the books.
#[test]
fn a_frame_may_be_read_by_its_group_and_the_books_by_nobody_new() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a folder");
    let mut books = open(&dir);
    let entry = books
        .close(closing(2950, 300), &Meter::in_memory())
        .expect("closed");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&frame_path(dir.path(), entry.sequence)), 0o640);
    let plain = dir.path().join("plain");
    fs::write(&plain, "").expect("written");
    assert_eq!(mode(&dir.path().join("books")), mode(&plain));
}

fn evaluation(plan: u32, cases: u32, cases_min: u32) -> Evaluation {
    let mut evaluation = Evaluation::of(plan, cases_min);
    for case in 0..cases {
        evaluation.count(case % 2 == 1, (case % 10) as u8);
    }
    evaluation
}

#[test]
fn an_evaluation_is_told_once_with_noise_and_charged_like_a_models_week() {
    let dir = tempfile::tempdir().expect("a folder");
    let meter = Meter::in_memory();
    let with = |week, evaluations| Closing {
        evaluations,
        ..closing(week, 600)
    };
    // Three of them, of which a frame tells two; the second has too few cases for its plan.
    let all = vec![
        evaluation(7, 400, 200),
        evaluation(8, 120, 200),
        evaluation(7, 999, 0),
        evaluation(9, 400, 200),
    ];
    let entry = open(&dir)
        .close(with(2950, all.clone()), &meter)
        .expect("closed");
    assert_eq!((entry.plans_told, entry.spent_milli_epsilon), (1, 1_500));
    let told = frame(dir.path(), &entry);
    let plans = [0, 1].map(|at| told.get(&layout::EVALUATION_PLAN, at));
    assert_eq!(plans, [7, 0]);
    assert_eq!(told.get(&layout::EVALUATION_EPSILON, 0), 500);
    let cells = (0..EVALUATION_CELLS)
        .map(|at| told.get(&layout::EVALUATION, at) as i64 - i64::from(OFFSET));
    let exact = all[0].cells.map(i64::from);
    let away: Vec<_> = cells.zip(exact).map(|(told, exact)| told - exact).collect();
    assert!(away.iter().any(|by| *by != 0), "noise");
    assert!(away.iter().all(|by| by.abs() < 40), "{away:?}");

    let mut books = open(&dir);
    assert_eq!(
        [7, 8, 9].map(|plan| books.has_answered(plan)),
        [true, true, false]
    );
    let entry = books
        .close(with(2951, all.clone()), &meter)
        .expect("closed");
    assert_eq!((entry.plans_told, entry.spent_milli_epsilon), (1, 1_000));
    assert_eq!(
        frame(dir.path(), &entry).get(&layout::EVALUATION_PLAN, 0),
        9
    );
    let entry = books.close(with(2952, all), &meter).expect("closed");
    assert_eq!((entry.plans_told, entry.spent_milli_epsilon), (0, 500));
}

#[test]
fn an_evaluation_that_the_budget_refuses_is_not_told_and_stays_open() {
    let dir = tempfile::tempdir().expect("a folder");
    let rules = Rules {
        year_milli_epsilon: 900,
    };
    let mut books = Books::open(dir.path().into(), rules).expect("opened");
    let refused = Closing {
        evaluations: vec![evaluation(7, 400, 0)],
        ..closing(2950, 600)
    };
    let entry = books.close(refused, &Meter::in_memory()).expect("closed");
    assert!(entry.refused && entry.plans_told == 0 && entry.spent_milli_epsilon == 0);
    assert!(!books.has_answered(7));
    let told = frame(dir.path(), &entry);
    assert_eq!(told.get(&layout::EVALUATION_PLAN, 0), 0);
    assert!((0..EVALUATION_CELLS).all(|at| told.get(&layout::EVALUATION, at) == 0));
}

/// The default budget is that of 52 weeks with two models: an evaluation takes the year's last week, and the forecast says so
/// before it is accepted. With a price more, all of it fits.
#[test]
fn fifty_two_weeks_and_an_evaluation_fit_when_the_forecast_says_so() {
    let meter = Meter::in_memory();
    let begin = 52 * 57;
    let default = Rules::default().year_milli_epsilon;
    for (year_milli_epsilon, fits) in [(default, false), (default + 500, true)] {
        let dir = tempfile::tempdir().expect("a folder");
        let rules = Rules { year_milli_epsilon };
        let forecast = |week, accepted: &[u32]| {
            let expected = Expected {
                week,
                models: 3, // of which a patient is counted for two
                accepted: accepted.to_vec(),
            };
            Books::forecast(dir.path(), rules, &expected).expect("read")
        };
        let at_first = forecast(begin, &[]);
        assert_eq!((at_first.has_room(), at_first.weeks), (fits, 52));
        assert_eq!(at_first.weeks_milli_epsilon, 52_000);
        let mut books = Books::open(dir.path().into(), rules).expect("opened");
        let mut refused = Vec::new();
        for week in begin..begin + 52 {
            let is_answered = week == begin + 20;
            if is_answered {
                assert_eq!(forecast(week, &[]).has_room(), fits, "while they are open");
                assert!(!forecast(week, &[7]).has_room(), "there is room for one");
            }
            let evaluations = is_answered.then(|| evaluation(7, 400, 50));
            let closing = Closing {
                inferences: Week::of(&[MODEL, CatalogueId(301), CatalogueId(302)]),
                evaluations: evaluations.into_iter().collect(),
                ..closing(week, 0)
            };
            let entry = books.close(closing, &meter).expect("closed");
            refused.extend(entry.refused.then_some(week - begin));
        }
        let expected: &[u16] = if fits { &[] } else { &[51] };
        assert_eq!(refused, expected, "{year_milli_epsilon}");
        assert!(books.has_answered(7));
        let after = forecast(begin + 51, &[7]);
        assert_eq!((after.weeks, after.evaluations_milli_epsilon), (0, 0));
        let next_year = forecast(begin + 52, &[7]);
        assert_eq!(next_year.left_milli_epsilon, year_milli_epsilon);
        assert_eq!(next_year.has_room(), fits);
    }
}

/// A folder as a backup had it, restored in another place.
fn restored(from: &BTreeMap<PathBuf, Vec<u8>>, dir: &TempDir) -> TempDir {
    let place = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(place.path().join("frames")).expect("made");
    for (path, bytes) in from {
        let within = path.strip_prefix(dir.path()).expect("inside");
        fs::write(place.path().join(within), bytes).expect("put back");
    }
    place
}

#[test]
fn a_week_that_may_have_been_told_since_the_backup_is_never_told_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let meter = Meter::in_memory();
    let with = |week, plan| Closing {
        evaluations: vec![evaluation(plan, 400, 50)],
        ..closing(week, 100) // so few that they wait for more
    };
    open(&dir)
        .close(closing(2950, 100), &meter)
        .expect("closed");
    let backup = files(dir.path());
    for week in [2951, 2952] {
        open(&dir).close(with(week, 7), &meter).expect("closed");
    }
    // The disk is lost in week 2953, in which plan 8 was accepted and not answered yet.
    let place = restored(&backup, &dir);
    let mark = Restored {
        at_s: 1_786_000_000,
        from_week: 2949,
        not_before: 2953,
        plans: vec![7, 8],
    };
    mark.mark(place.path()).expect("marked");
    assert_eq!(Restored::of(place.path()).expect("read"), Some(mark));
    for _ in 0..2 {
        let mut books = open(&place);
        assert_eq!(books.last_week(), Some(2952));
        for week in 2950..2953 {
            let again = Closing {
                seed: Seed([99; 32]),
                ..closing(week, 600)
            };
            let refused = books.close(again, &meter);
            assert!(matches!(refused, Err(BooksError::Closed(w)) if w == week));
        }
        let passed = |entry: &Entry| {
            let spent = entry.spent_milli_epsilon;
            (entry.week, entry.sequence, spent, entry.passed_over)
        };
        let ledger: Vec<_> = books.ledger().iter().map(passed).collect();
        let expected = [
            (2950, 1, 500, false),
            (2951, 2, 2_000, true),
            (2952, 3, 2_000, true),
        ];
        assert_eq!(ledger, expected, "charged once, at the highest price");
    }
    for sequence in [2, 3] {
        let path = frame_path(place.path(), sequence);
        assert!(!path.exists(), "no second frame {sequence}");
    }
    let mut books = open(&place);
    assert!(books.has_answered(7) && books.has_answered(8));
    let next = Closing {
        evaluations: [7, 8].map(|plan| evaluation(plan, 400, 50)).to_vec(),
        ..closing(2953, 150)
    };
    let entry = books.close(next, &meter).expect("closed");
    assert_eq!((entry.sequence, entry.plans_told), (4, 0));
    assert_eq!(entry.left_milli_epsilon, 52_000 - 500 - 4_000 - 500);
    assert_eq!(
        entry.models_told, 0,
        "what waited when the backup was made may have been told, and 150 wait"
    );
}

/// Books that had told of nothing when they were backed up.
#[test]
fn books_without_an_entry_pass_over_the_weeks_since_their_backup() {
    let dir = tempfile::tempdir().expect("a folder");
    let mark = Restored {
        at_s: 1_786_000_000,
        from_week: 2950,
        not_before: 2952,
        plans: Vec::new(),
    };
    mark.mark(dir.path()).expect("marked");
    let ledger = |books: &Books| -> Vec<_> {
        let each = books.ledger().iter();
        each.map(|e| (e.week, e.sequence, e.passed_over)).collect()
    };
    let mut books = open(&dir);
    assert_eq!(ledger(&books), [(2950, 1, true), (2951, 2, true)]);
    let entry = books.close(closing(2952, 600), &Meter::in_memory());
    assert_eq!(entry.expect("closed").sequence, 3);
    drop(books);
    fs::write(dir.path().join("restored"), [0; 24]).expect("written");
    let unread = Books::open(dir.path().into(), Rules::default());
    assert!(matches!(unread, Err(BooksError::Spool(_))), "{unread:?}");
}

/// Books that the layout before wrote: what was spent stays spent, and the log goes on where the hub knows it.
#[test]
fn older_books_keep_what_was_spent_and_where_the_log_was() {
    let dir = tempfile::tempdir().expect("a folder");
    let release = [0, 1, 0];
    let identity = Identity {
        appliance: 17,
        release,
    };
    let meter = Meter::open(dir.path().join("counters"), identity).expect("opened");
    let mut first = closing(2950, 600);
    first.log.size = 77;
    open(&dir).close(first, &meter).expect("closed");
    let path = dir.path().join("books");
    let numbers = |bytes: &[u8]| -> Vec<u64> {
        bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|b| u64::from_le_bytes(*b))
            .collect()
    };
    // As it was: no count of plans told in an entry, neither appliance nor plans before the frame.
    let mut old = numbers(&fs::read(&path).expect("read"));
    let frame_at = old.len() - pericard_frame::FRAME_BYTES / 8;
    old.drain(frame_at - 4..frame_at); // nor how busy GPUs were
    old.remove(5 + 1 + 6);
    old[1] -= 1;
    let bytes: Vec<u8> = old.iter().flat_map(|n| n.to_le_bytes()).collect();
    fs::write(&path, bytes).expect("written");
    fs::remove_file(frame_path(dir.path(), 1)).expect("removed");
    let mut books = open(&dir);
    assert_eq!(books.ledger()[0].left_milli_epsilon, 51_500);
    assert_eq!(books.log_from(&meter), 77);
    assert!(
        !frame_path(dir.path(), 1).exists(),
        "a frame of another layout is not made again"
    );
    let entry = books.close(closing(2951, 600), &meter).expect("closed");
    assert_eq!((entry.sequence, entry.left_milli_epsilon), (2, 51_000));
}
