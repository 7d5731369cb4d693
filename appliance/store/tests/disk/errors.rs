//! Each call on the way to disk fails once, in each way that it can. First a run in which nothing fails says which calls
//! there are; a case is then the n-th call of a kind on a kind of file, and an error.
//!
//! After a failed sync the pages that were not written are forgotten, as on Linux, so that a second sync which says that
//! all is well would be found out: the power goes at the end of every run.

use crate::image::{Image, Manner};
use crate::record::{Line, Record};
use crate::simulated::memory_dir;
use crate::syscalls::{Call, Verdict, Watching};
use crate::work::{Ack, Script, check};
use crate::{Dice, is_long, site};
use pericard_store::{Store, StoreError};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many calls of one kind on one kind of file are failed with each error, spread evenly over all that there are.
const CALLS: usize = 2;
const CALLS_LONG: usize = 40;
/// The least that the long form must have.
const CASES_LONG_MIN: usize = 800;
const STEPS: usize = 24;
/// The scripts whose calls are failed.
const SCRIPTS: [u64; 3] = [11, 12, 13];
/// How long the store may take to be found read-only after an error that nobody waits for.
const NOTICE_MS_MAX: u64 = 2000;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Error {
    Io,
    Full,
    Quota,
    /// A write takes half of what it was given, and the next one succeeds.
    Short,
}

#[derive(Debug, Clone)]
struct Case {
    script: u64,
    /// Kind of call and kind of file.
    place: (&'static str, &'static str),
    nth: usize,
    error: Error,
}

impl Case {
    /// Whether the store must stop for good: after a sync that failed in any way, and after an error of the disk itself.
    fn is_end(&self) -> bool {
        let (kind, file) = self.place;
        if self.place == ("sync-dir", "data directory") {
            return false; // SQLite syncs the directory of its log itself, and does not say when that fails
        }
        match self.error {
            Error::Short => false,
            Error::Io => !matches!(kind, "unlink" | "truncate"),
            Error::Full => kind.starts_with("sync"),
            // SQLite does not tell a full quota from a broken disk, so neither can the store.
            Error::Quota => kind.starts_with("sync") || matches!(file, "log" | "database"),
        }
    }
}

/// What one run came to.
struct Run {
    /// For each step: whether anything was promised, or why not.
    answers: Vec<Result<bool, StoreError>>,
    /// Before which step the call failed; `None` when it was none of the steps' but the store's closing.
    hit_at: Option<usize>,
    trouble: Option<StoreError>,
    lines: Vec<Line>,
    dir: tempfile::TempDir,
    before: Image,
}

#[test]
fn an_error_is_never_answered_with_success() {
    let cases = cases(if is_long() { CALLS_LONG } else { CALLS });
    let begun = Instant::now();
    let (mut tested, mut wrongs) = (BTreeMap::new(), Vec::new());
    for case in cases {
        let run = run(&case);
        if let Err(wrong) = judged(&case, &run) {
            let said: Vec<_> = run
                .answers
                .iter()
                .filter_map(|answer| answer.as_ref().err())
                .collect();
            let (hit_at, trouble) = (run.hit_at, &run.trouble);
            wrongs.push(format!("{case:?}: {wrong}\n  hit at step {hit_at:?}; errors said: {said:?}; trouble: {trouble:?}"));
        }
        *tested.entry((case.place.0, case.place.1)).or_insert(0) += 1;
    }
    let count: usize = tested.values().sum();
    eprintln!("{count} cases in {:?}: {tested:?}", begun.elapsed());
    assert!(!is_long() || count >= CASES_LONG_MIN, "only {count} cases");
    assert!(
        wrongs.is_empty(),
        "{} wrong:\n{}",
        wrongs.len(),
        wrongs[..wrongs.len().min(12)].join("\n")
    );
}

/// A store that goes on after a failed sync as if nothing had been: the judgement must see it.
#[test]
fn a_store_that_goes_on_after_a_failed_sync_is_found_out() {
    let case = Case {
        script: SCRIPTS[0],
        place: ("sync", "log"),
        nth: 6,
        error: Error::Io,
    };
    let mut run = run(&case);
    judged(&case, &run).expect("in order as it is");
    run.answers.push(Ok(true));
    assert!(
        judged(&case, &run).is_err(),
        "an acknowledgement after the error is not seen"
    );
}

/// So many calls of every kind of every script, with every error that fits them.
fn cases(calls: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for script in SCRIPTS {
        for (place, count) in calls_of(script) {
            for nth in (1..=count).step_by(count.div_ceil(calls)) {
                for error in errors_of(place.0) {
                    cases.push(Case {
                        script,
                        place,
                        nth,
                        error: *error,
                    });
                }
            }
        }
    }
    cases
}

const fn errors_of(kind: &str) -> &'static [Error] {
    match kind.as_bytes() {
        b"write" => &[Error::Io, Error::Full, Error::Quota, Error::Short],
        b"sync" | b"sync-dir" => &[Error::Io, Error::Full, Error::Quota],
        b"create" | b"rename" | b"make-dir" => &[Error::Io, Error::Full, Error::Quota],
        _ => &[Error::Io],
    }
}

/// The kinds of files, by what an error on them means.
fn file_kind(path: &Path) -> &'static str {
    let text = path.to_string_lossy();
    match text.as_ref() {
        text if text.ends_with("-wal") => "log",
        text if text.ends_with("-shm") => "index",
        text if text.ends_with(".db") => "database",
        text if text.starts_with("objects/incoming/") => "received",
        text if text.starts_with("objects/2") => "shelf",
        text if text.starts_with("audit") => "checkpoint",
        "" => "data directory",
        _ => "directory",
    }
}

type Place = (&'static str, &'static str);

fn calls_of(script: u64) -> BTreeMap<Place, usize> {
    let counts = Arc::new(Mutex::new(BTreeMap::new()));
    let seen = Arc::clone(&counts);
    let count = move |path: &Path, call: &Call<'_>| {
        let mut counts = seen.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((call.kind(), file_kind(path))).or_insert(0) += 1;
        Verdict::Do
    };
    played(script, (&Arc::new(AtomicBool::new(false)), false), count);
    let counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    counts.clone()
}

fn run(case: &Case) -> Run {
    let (place, nth, error) = (case.place, case.nth, case.error);
    let was_hit = Arc::new(AtomicBool::new(false));
    let (hit, mut count) = (Arc::clone(&was_hit), 0);
    let plan = move |path: &Path, call: &Call<'_>| {
        count += usize::from((call.kind(), file_kind(path)) == place);
        if count != nth || hit.load(Ordering::SeqCst) {
            return Verdict::Do;
        }
        hit.store(true, Ordering::SeqCst);
        match error {
            Error::Io => Verdict::Fail(libc::EIO),
            Error::Full => Verdict::Fail(libc::ENOSPC),
            Error::Quota => Verdict::Fail(libc::EDQUOT),
            Error::Short => Verdict::Half,
        }
    };
    played(case.script, (&was_hit, case.is_end()), plan)
}

/// Plays a script on a store that was made beforehand, so that serving is tested and not making.
fn played(
    script: u64,
    (was_hit, is_end): (&Arc<AtomicBool>, bool),
    plan: impl FnMut(&Path, &Call<'_>) -> Verdict + Send + 'static,
) -> Run {
    let dir = memory_dir();
    let record = Record::default();
    let mut script = Script::new(script).recorded_in(&record);
    drop(Store::open(site::config(dir.path()), script.clock()).expect("made"));
    let store = Store::open(site::config(dir.path()), script.clock()).expect("opens");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let before = Image::of(dir.path());
    let watching = Watching::begin(dir.path(), record.recorder(Box::new(plan)));
    let (mut answers, mut hit_at) = (Vec::new(), None);
    let trouble = runtime.block_on(async {
        for step in 0..STEPS {
            let answer = script.step(&store).await;
            if hit_at.is_none() && was_hit.load(Ordering::SeqCst) {
                hit_at = Some(step);
            }
            if let Ok(Some(ack)) = &answer {
                record.promise(ack.clone());
            }
            answers.push(answer.map(|ack| ack.is_some()));
        }
        noticed(&store, hit_at.is_some() && is_end).await
    });
    drop(store);
    drop(watching);
    Run {
        answers,
        hit_at,
        trouble,
        lines: record.lines(),
        dir,
        before,
    }
}

/// The trouble that the store is in, if it is; some errors are noticed a little later than they happen.
async fn noticed(store: &Store, is_awaited: bool) -> Option<StoreError> {
    let begun = Instant::now();
    while store.trouble().is_none()
        && is_awaited
        && begun.elapsed() < Duration::from_millis(NOTICE_MS_MAX)
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    store.trouble()
}

fn judged(case: &Case, run: &Run) -> Result<(), String> {
    let (_, file) = case.place;
    // An error that only the closing met has nobody left to be told.
    if let Some(hit_at) = run.hit_at {
        match case.error {
            _ if case.is_end() => ended(run, hit_at)?,
            _ if file == "data directory" => {} // nobody hears of it
            Error::Io => {} // what cannot be removed or cut off is left for the next start
            Error::Short if run.answers.iter().any(Result::is_err) => {
                return Err("a short write is no error".into());
            }
            Error::Short => {}
            Error::Full | Error::Quota => went_on(run)?,
        }
    }
    let promised: Vec<Ack> = promised(&run.lines);
    check(run.dir.path(), &promised)
        .map_err(|wrong| format!("after a restart ({file}): {wrong}"))?;
    after_a_power_cut(case, run, &promised)
}

/// From the error on, everything is refused for that reason.
fn ended(run: &Run, hit_at: usize) -> Result<(), String> {
    if !matches!(run.trouble, Some(StoreError::ReadOnly(_))) {
        return Err("the store does not say that it is read-only".into());
    }
    let Some(first) = run.answers.iter().position(Result::is_err) else {
        return Ok(()); // nothing was asked of it since
    };
    let after = &run.answers[first..];
    if first < hit_at {
        return Err("it failed before the error".into());
    }
    if after.contains(&Ok(true)) {
        return Err("it promised something after the end".into());
    }
    let is_other = |answer: &Result<bool, StoreError>| matches!(answer, Err(error) if !matches!(error, StoreError::ReadOnly(_)));
    if after.iter().any(is_other) {
        return Err("it gave another reason than that it is read-only".into());
    }
    Ok(())
}

/// A full disk is said to be full, once, and is no end.
fn went_on(run: &Run) -> Result<(), String> {
    if run.trouble.is_some() {
        return Err("a full disk is an answer and not the end".into());
    }
    let mut errors = run
        .answers
        .iter()
        .filter_map(|answer| answer.as_ref().err());
    if let Some(error) = errors.find(|error| !is_full(error)) {
        return Err(format!("a full disk was called {error:?}"));
    }
    if run.answers.iter().filter(|answer| answer.is_err()).count() > 1 {
        return Err("it did not go on when there was space again".into());
    }
    Ok(())
}

fn is_full(error: &StoreError) -> bool {
    matches!(error, StoreError::DiskFloor { .. })
}

fn promised(lines: &[Line]) -> Vec<Ack> {
    let promised = lines.iter().filter_map(|line| match line {
        Line::Promised(ack) => Some(ack.clone()),
        Line::Made(_) => None,
    });
    promised.collect()
}

/// The power goes at the end of the run, and what a failed sync forgot is not there.
fn after_a_power_cut(case: &Case, run: &Run, promised: &[Ack]) -> Result<(), String> {
    let mut image = run.before.clone();
    for line in &run.lines {
        if let Line::Made(made) = line {
            image.apply(made);
        }
    }
    let mut dice = Dice::new(case.nth as u64);
    for manner in [Manner::LosesAll, Manner::Anyhow] {
        let dir = memory_dir();
        image.crash(manner, &mut dice, dir.path());
        check(dir.path(), promised)
            .map_err(|wrong| format!("after a power cut, {manner:?}: {wrong}"))?;
    }
    Ok(())
}
