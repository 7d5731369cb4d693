//! Weeks closed by processes that die: killed at every call that they make of the kernel, and many at once. The budget is
//! never overspent, no week is charged twice, and whoever has seen a frame never sees another under its number.

use crate::support::program;
use pericard_egress::{
    Books, BooksError, CatalogueId, Closing, Evaluation, Log, Meter, Pseudonym, Review, Rules,
    Seed, Week,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where the process that closes finds the books.
const BOOKS: &str = "PERICARD_TEST_BOOKS";
const FIRST_WEEK: u16 = 2_964; // 52 * 57: a year begins
const MODEL: CatalogueId = CatalogueId(300);
/// A week costs 1,000 here: a model and an evaluation. Three weeks fit.
const RULES: Rules = Rules {
    year_milli_epsilon: 3_700,
};
/// How often books that are in use are tried again.
const TRIES_MAX: u32 = 1_000_000;
/// Calls by which something is changed or could be half changed.
const CALLS: [&str; 9] = [
    "openat",
    "write",
    "fsync",
    "rename",
    "close",
    "unlink",
    "mkdir",
    "flock",
    "getrandom",
];

/// The books as this process opens them. A process that another test starts at this moment holds what is open here, the lock
/// of the books too, until it executes.
fn opened(dir: &Path) -> Result<Books, BooksError> {
    for _ in 0..TRIES_MAX {
        match Books::open(dir.to_owned(), RULES) {
            Err(BooksError::InUse) => std::thread::yield_now(),
            opened => return opened,
        }
    }
    Err(BooksError::InUse)
}

fn close_next(dir: &Path) -> Result<(), BooksError> {
    close_in(opened(dir)?)
}

fn close_in(mut books: Books) -> Result<(), BooksError> {
    let week = books.last_week().map_or(FIRST_WEEK, |last| last + 1);
    let mut inferences = Week::of(&[MODEL]);
    for patient in 0..300 {
        inferences.count(
            Pseudonym(patient),
            MODEL,
            (patient % 10) as u8,
            Review::None,
        );
    }
    let mut evaluation = Evaluation::of(u32::from(week), 0);
    (0..300_u16).for_each(|case| evaluation.count(case.is_multiple_of(2), (case % 10) as u8));
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("chance"); // another for every try: what is drawn twice would show
    let closing = Closing {
        week,
        inferences,
        log: Log::default(),
        evaluations: vec![evaluation],
        seed: Seed(seed),
    };
    books.close(closing, &Meter::in_memory()).map(|_| ())
}

/// Not a test of its own: the process that the others kill.
#[test]
#[ignore = "a child process of the tests beside it: `cargo test --test privacy closes` runs it"]
fn closer() {
    if let Some(dir) = std::env::var_os(BOOKS) {
        match Books::open(dir.into(), RULES).and_then(close_in) {
            Ok(()) | Err(BooksError::InUse | BooksError::Closed(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// `strace` counts each kind of call by itself: the process is killed at the so-manieth call of that name.
fn closer_in(dir: &Path, strace: Option<(&Path, &str, u32)>) -> Command {
    let this = std::env::current_exe().expect("this program");
    let args = [
        "--exact",
        "closes::closer",
        "--ignored",
        "--test-threads=1",
        "--quiet",
    ];
    let mut command = match strace {
        None => Command::new(this),
        Some((strace, call, nth)) => {
            let mut command = Command::new(strace);
            let inject = format!("inject={call}:signal=KILL:when={nth}");
            let path = format!("{}", dir.display());
            // Only calls that touch the books are counted, but for those on descriptors, which have no path.
            command
                .args(["-f", "-qq", "-o", "/dev/null", "-P"])
                .arg(dir.join("books.new"));
            for name in ["books", "lock", "", "frames"] {
                command.arg("-P").arg(dir.join(name));
            }
            for sequence in 1..=8 {
                for end in ["frame", "new"] {
                    command
                        .arg("-P")
                        .arg(dir.join(format!("frames/{sequence:08}.{end}")));
                }
            }
            command.args(["-P", &path, "-e", &inject]).arg(this);
            command
        }
    };
    command
        .args(args)
        .env(BOOKS, dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Every frame that was ever seen, by its number.
#[derive(Default)]
struct Seen(BTreeMap<String, Vec<u8>>);

impl Seen {
    /// Looks at what the gate would see now: what was seen before must still be there, the same.
    fn look(&mut self, dir: &Path) {
        let Ok(frames) = fs::read_dir(dir.join("frames")) else {
            return;
        };
        for file in frames.flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if !name.ends_with(".frame") {
                continue;
            }
            let bytes = fs::read(file.path()).expect("a frame");
            pericard_frame::Frame::open(&bytes).expect("a whole one");
            let before = self.0.insert(name.clone(), bytes.clone());
            assert!(
                before.is_none_or(|before| before == bytes),
                "{name} was told with other noise"
            );
        }
    }
}

fn never_overspent(dir: &Path) -> usize {
    let books = opened(dir).expect("the books");
    let ledger = books.ledger();
    let spent: u32 = ledger.iter().map(|entry| entry.spent_milli_epsilon).sum();
    assert!(spent <= RULES.year_milli_epsilon, "{ledger:?}");
    let weeks: Vec<_> = ledger.iter().map(|entry| entry.week).collect();
    assert!(weeks.windows(2).all(|two| two[0] < two[1]), "{weeks:?}");
    if let Some(last) = ledger.last() {
        assert_eq!(RULES.year_milli_epsilon - spent, last.left_milli_epsilon);
    }
    ledger.len()
}

#[test]
fn a_process_killed_at_any_of_its_calls_neither_overspends_nor_draws_twice() {
    let Some(strace) = program("strace") else {
        return;
    };
    let (mut killed, mut closed_by_killed) = (0, 0);
    for call in CALLS {
        for nth in 1.. {
            let dir = tempfile::tempdir().expect("a folder");
            let mut seen = Seen::default();
            close_next(dir.path()).expect("a week before");
            seen.look(dir.path());
            let ended = closer_in(dir.path(), Some((&strace, call, nth)))
                .status()
                .expect("strace");
            seen.look(dir.path());
            closed_by_killed += usize::from(never_overspent(dir.path()) > 1);
            seen.look(dir.path()); // opening puts a frame in its place that a crash kept from it
            // Whoever comes after the killed one goes on where it was, with a draw of its own.
            for _ in 0..3 {
                close_next(dir.path()).expect("the next week");
                seen.look(dir.path());
            }
            let weeks = never_overspent(dir.path());
            assert_eq!(seen.0.len(), weeks, "a frame for every week");
            if ended.success() {
                break; // it made fewer calls than that
            }
            killed += 1;
            assert!(nth < 600, "it never ends");
        }
    }
    eprintln!(
        "killed at each of {killed} calls; {closed_by_killed} times the week was closed by then"
    );
    assert!(killed >= 12, "killed at {killed} calls only");
    assert!(
        closed_by_killed > 0 && closed_by_killed <= killed,
        "{closed_by_killed} of {killed}"
    );
}

#[test]
fn processes_that_close_at_once_and_are_killed_spend_what_one_would() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut seen = Seen::default();
    for round in 0..6_u64 {
        let start = || closer_in(dir.path(), None).spawn().expect("a process");
        let mut closers: Vec<_> = (0..4).map(|_| start()).collect();
        // At moments that differ by round: some die early, some late, some not at all.
        std::thread::sleep(std::time::Duration::from_millis(3 * round));
        for closer in closers.iter_mut().take(2) {
            let _ = closer.kill(); // it may have ended
        }
        for closer in &mut closers {
            closer.wait().expect("its end");
        }
        seen.look(dir.path());
        never_overspent(dir.path());
    }
    let closed = never_overspent(dir.path());
    seen.look(dir.path());
    assert_eq!(seen.0.len(), closed, "a frame for every week, and one only");
    assert!(closed > 3, "{closed}: the budget was reached");
}
