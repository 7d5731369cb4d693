//! The simulated disk: scripts are recorded, the power goes at any line of the record, and what is then found must hold
//! everything that was promised up to that line. The power may go again while the store recovers.
//!
//! A failing case prints its seed; with the same commit the same seed asks the disk for the same again.

use crate::image::{Image, Manner};
use crate::record::{Act, Line, Made, Record};
use crate::syscalls::Watching;
use crate::work::{Ack, Script, admit, check, content};
use crate::{Dice, is_long, site};
use pericard_domain::time::StandingClock;
use pericard_store::Store;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SEEDS: u64 = 2000;
const SEEDS_LONG: u64 = 20_000;
/// How often the power goes at different lines of one record.
const CUTS_PER_SEED: u64 = 2;
/// How many seeds a negative control may take to be found out.
const SEEDS_OF_CONTROL: u64 = 200;
const STEPS_MAX: u64 = 24;
/// The short form stops here, whatever it has come to: a slow machine tests fewer seeds rather than too long.
const SHORT_FORM_MAX_S: u64 = 60;

/// A system call that a program forgot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forgotten {
    Nothing,
    /// The sync of a received object.
    ObjectSync,
    /// The same, only where it takes the place of one that was promised.
    ReplacingSync,
    /// The sync of the directories in which objects get their names.
    DirSync,
    /// The sync of the database's log at a commit, which `synchronous=NORMAL` leaves out.
    LogSync,
    /// The sync of the database before its log is begun anew.
    DatabaseSync,
}

#[test]
fn what_was_promised_is_there_whatever_the_disk_lost() {
    let (begun, mut tested) = (Instant::now(), 0);
    let first = std::env::var("PERICARD_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds = match (first, is_long()) {
        (Some(seed), _) => seed..seed + 1,
        (None, true) => 0..SEEDS_LONG,
        (None, false) => 0..SEEDS,
    };
    for seed in seeds {
        if let Err(wrong) = run(seed, Forgotten::Nothing) {
            panic!("PERICARD_SEED={seed}: {wrong}");
        }
        tested += 1;
        if !is_long() && begun.elapsed() > Duration::from_secs(SHORT_FORM_MAX_S) {
            break;
        }
    }
    eprintln!("{tested} seeds in {:?}", begun.elapsed());
    assert!(
        first.is_some() || tested >= SEEDS / 10,
        "far too slow: {tested} seeds"
    );
}

/// If the simulator did not see these, neither would it see that a sync is missing above.
#[test]
fn each_forgotten_sync_is_found_out() {
    for forgotten in [
        Forgotten::ObjectSync,
        Forgotten::ReplacingSync,
        Forgotten::DirSync,
        Forgotten::LogSync,
        Forgotten::DatabaseSync,
    ] {
        let found =
            (0..SEEDS_OF_CONTROL).find_map(|seed| Some((seed, run(seed, forgotten).err()?)));
        let (seed, wrong) = found.unwrap_or_else(|| panic!("{forgotten:?} was not found out"));
        eprintln!("{forgotten:?} found out by seed {seed}: {wrong}");
    }
}

/// The same object comes twice, and the power goes at every line from its first promise on: a sync a moment too late is
/// too rare a thing for random cuts.
#[test]
fn what_was_promised_never_gives_way_to_bytes_that_are_not_on_disk() {
    const TRIES: u64 = 8;
    let (dir, record) = (memory_dir(), Record::default());
    let mut image = Image::of(dir.path());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let clock = Arc::new(StandingClock::new(site::at(0)));
    let watching = Watching::begin(dir.path(), record.of_everything());
    let store = Store::open(site::config(dir.path()), Arc::clone(&clock) as Arc<_>).expect("opens");
    runtime.block_on(async {
        for _ in 0..2 {
            let ack = admit(&store, &clock, (1, 1), &content(1, 5000)).await;
            record.promise(ack.expect("admitted"));
        }
    });
    drop(store);
    drop(watching);
    let (mut promised, mut dice) = (Vec::new(), Dice::new(1));
    for (cut, line) in record.lines().iter().enumerate() {
        match line {
            Line::Made(made) => image.apply(made),
            Line::Promised(ack) => promised.push(ack.clone()),
        }
        for _ in 0..TRIES * u64::from(!promised.is_empty()) {
            let dir = memory_dir();
            image.crash(Manner::Anyhow, &mut dice, dir.path());
            check(dir.path(), &promised).unwrap_or_else(|wrong| panic!("line {cut}: {wrong}"));
        }
    }
    assert_eq!(promised.len(), 2);
}

fn run(seed: u64, forgotten: Forgotten) -> Result<(), String> {
    let mut dice = Dice::new(seed ^ 0x00C0_FFEE);
    let dir = memory_dir();
    let before = Image::of(dir.path());
    let lines = recorded(dir.path(), seed, 4 + dice.below(STEPS_MAX));
    let mut cuts: Vec<_> = (0..CUTS_PER_SEED)
        .map(|_| dice.below(lines.len() as u64 + 1) as usize)
        .collect();
    cuts.sort_unstable();
    let (mut image, mut promised, mut done) = (before, Vec::new(), 0);
    for cut in cuts {
        for line in &lines[done..cut] {
            match line {
                Line::Made(made) if is_forgotten(made, forgotten) => {}
                Line::Made(made) => image.apply(made),
                Line::Promised(ack) => promised.push(ack.clone()),
            }
        }
        done = cut;
        let manner = Manner::thrown(&mut dice);
        after_the_cut(&image, manner, &promised, &mut dice).map_err(|wrong| {
            format!("cut at line {cut} of {}, {manner:?}: {wrong}", lines.len())
        })?;
    }
    Ok(())
}

fn is_forgotten(made: &Made, forgotten: Forgotten) -> bool {
    let path = made.path.to_string_lossy();
    match forgotten {
        Forgotten::Nothing => false,
        Forgotten::ObjectSync => matches!(made.act, Act::Sync) && path.starts_with("objects/"),
        Forgotten::ReplacingSync => {
            matches!(made.act, Act::Sync) && path.starts_with("objects/incoming/")
        }
        Forgotten::DirSync => matches!(made.act, Act::SyncDir) && path.starts_with("objects/2"),
        Forgotten::LogSync => matches!(made.act, Act::Sync) && path.ends_with("-wal"),
        Forgotten::DatabaseSync => matches!(made.act, Act::Sync) && path.ends_with(".db"),
    }
}

/// Records a store from its opening on; for half of the seeds to its closing.
fn recorded(dir: &Path, seed: u64, steps: u64) -> Vec<Line> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let record = Record::default();
    let mut script = Script::new(seed).recorded_in(&record);
    let watching = Watching::begin(dir, record.of_everything());
    let store = Store::open(site::config(dir), script.clock()).expect("opens");
    runtime.block_on(async {
        for _ in 0..steps {
            if let Some(ack) = script.step(&store).await.expect("nothing fails here") {
                record.promise(ack);
            }
        }
    });
    let lines = if seed.is_multiple_of(2) {
        record.lines()
    } else {
        Vec::new()
    };
    drop(store);
    let lines = if lines.is_empty() {
        record.lines()
    } else {
        lines
    };
    drop(watching);
    lines
}

/// The power comes back; for one in three it goes again during recovery, and comes back again.
fn after_the_cut(
    image: &Image,
    manner: Manner,
    promised: &[Ack],
    dice: &mut Dice,
) -> Result<(), String> {
    let dir = memory_dir();
    image.crash(manner, dice, dir.path());
    if dice.below(3) > 0 {
        return check(dir.path(), promised);
    }
    let mut image = Image::of(dir.path());
    let record = Record::default();
    let watching = Watching::begin(dir.path(), record.of_everything());
    let clock = Arc::new(StandingClock::new(site::at(2 * 86400)));
    let opened = Store::open(site::config(dir.path()), clock).map(drop);
    drop(watching);
    opened.map_err(|error| format!("it does not open: {error}"))?;
    let lines = record.lines();
    let cut = dice.below(lines.len() as u64 + 1) as usize;
    for line in &lines[..cut] {
        if let Line::Made(made) = line {
            image.apply(made);
        }
    }
    let again = memory_dir();
    image.crash(Manner::thrown(dice), dice, again.path());
    check(again.path(), promised).map_err(|wrong| format!("and again while it recovered: {wrong}"))
}

/// A directory in memory, where there is one: what is simulated need not wait for a real disk.
pub(crate) fn memory_dir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        return tempfile::tempdir_in(memory).expect("a directory in memory");
    }
    tempfile::tempdir().expect("a temporary directory")
}
