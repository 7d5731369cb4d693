//! Power cuts on real file systems: ext4 and xfs on loop devices, shut down without a flush of their log in the middle of
//! ingest and inference. What was acknowledged until then must be there after recovery.
//!
//! The child is this program again, with the store as it is shipped. In a third of the cuts the parent cuts at a random
//! time and nothing stands between the store and the kernel; otherwise the child cuts its own power, at a random call or
//! right after a random acknowledgement, where there is least time for luck. There SQLite's log is synced by fdatasync: an
//! fsync of it also writes the journal of the whole file system, and with it names that nobody synced.

#![allow(unsafe_code)] // one ioctl

use crate::loop_disk::{Kind, LoopDisk};
use crate::syscalls::{Call, Verdict, Watcher, Watching};
use crate::work::{self, Ack, check};
use crate::{Dice, is_long, site};
use pericard_domain::time::StandingClock;
use pericard_store::Store;
use serde::{Deserialize, Serialize};
use std::io::{BufRead as _, BufReader};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

const CHILD: &str = "PERICARD_DISK_CHILD";
const CUTS: u32 = 40;
const CUTS_LONG: u32 = 200;
/// A file system takes so many cuts, and then a new one is made: what is on it is read whole after each.
const CUTS_PER_DISK: u32 = 20;
/// How many cuts a negative control may take to be found out.
const CUTS_OF_CONTROL: u32 = 30;
const OBJECT_BYTES: usize = 20_000;
/// FS_IOC_SHUTDOWN, and its way without a flush of the log.
const SHUTDOWN: libc::c_ulong = 0x8004_587d;
const NO_LOG_FLUSH: u32 = 2;
/// How many changes make the database's log begin anew, so that a commit overwrites it and its file does not grow.
const CHANGES_TO_ROUND_THE_LOG: u32 = 600;

/// What the child does.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    dir: PathBuf,
    mount: PathBuf,
    build: Build,
    cut: Cut,
    /// Its objects are numbered from here on.
    first: u32,
    senders: u32,
}

/// Which build of the store it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Build {
    Shipped,
    /// `synchronous=NORMAL`: the log is synced before a checkpoint, and not at a commit.
    Normal,
    /// Without the sync of the directory in which an object gets its name, and with the object synced before it gets it, as
    /// others do: on these file systems a sync afterwards, which is what is shipped, happens to put the name on disk too.
    NoDirSync,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Cut {
    /// The parent cuts.
    ByParent,
    /// At that call.
    AtCall(u32),
    /// Right after that acknowledgement.
    AfterAck(u32),
}

#[test]
fn nothing_acknowledged_is_lost_on_any_file_system() {
    for kind in Kind::ALL {
        let cuts = if is_long() { CUTS_LONG } else { CUTS };
        let (begun, mut promised) = (Instant::now(), 0);
        for first in (0..cuts).step_by(CUTS_PER_DISK as usize) {
            let Some(disk) = LoopDisk::new(kind) else {
                return;
            };
            let mut acks = Vec::new();
            for round in first..cuts.min(first + CUTS_PER_DISK) {
                acks.extend(serve_and_cut(&disk, Build::Shipped, round));
                if let Err(wrong) = check(&disk.path().join("data"), &acks) {
                    panic!("{kind:?}, cut {round}: {wrong}");
                }
            }
            promised += acks.len();
            disk.checked().expect("the file system is whole");
        }
        eprintln!(
            "{kind:?}: {cuts} cuts, {promised} promised, 0 lost, in {:?}",
            begun.elapsed()
        );
        assert!(
            promised > cuts as usize * 2,
            "the cuts left no time to promise anything: {promised}"
        );
    }
}

#[test]
fn a_build_with_synchronous_normal_is_found_out() {
    found_out(Build::Normal);
}

#[test]
fn a_build_that_does_not_sync_directories_is_found_out() {
    found_out(Build::NoDirSync);
}

fn found_out(build: Build) {
    for kind in Kind::ALL {
        let Some(disk) = LoopDisk::new(kind) else {
            return;
        };
        let mut acks = Vec::new();
        let found = (0..CUTS_OF_CONTROL).find_map(|round| {
            acks.extend(serve_and_cut(&disk, build, round));
            Some((round, check(&disk.path().join("data"), &acks).err()?))
        });
        let (round, wrong) = found.unwrap_or_else(|| {
            panic!("{kind:?}: {build:?} was not found out in {CUTS_OF_CONTROL} cuts")
        });
        eprintln!("{kind:?}: {build:?} found out at cut {round}: {wrong}");
    }
}

/// Serves from that disk, cuts its power, kills what is left, and mounts it again; gives what was promised.
fn serve_and_cut(disk: &LoopDisk, build: Build, round: u32) -> Vec<Ack> {
    let mut dice = Dice::new(u64::from(round) + 77);
    let cut = match (build, round % 3) {
        (Build::Shipped, 0) => Cut::ByParent,
        (Build::Shipped, 1) => Cut::AtCall(dice.below(900) as u32),
        _ => Cut::AfterAck(1 + dice.below(30) as u32),
    };
    // A single sender leaves nobody whose sync could put another's name on disk by luck.
    let senders = if build == Build::Shipped {
        1 + dice.below(8) as u32
    } else {
        1
    };
    let mount = disk.path();
    let order = Order {
        dir: mount.join("data"),
        mount: mount.clone(),
        build,
        cut,
        first: round * 100_000,
        senders,
    };
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "cuts::child", "--nocapture", "--test-threads=1"])
        .env(CHILD, serde_json::to_string(&order).expect("an order"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child");
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut acks = Vec::new();
    if cut == Cut::ByParent {
        let (mount, moment) = (mount.clone(), Duration::from_millis(150 + dice.below(600)));
        let pid = child.id();
        let cutter = std::thread::spawn(move || {
            std::thread::sleep(moment); // the random moment of the cut
            stop(pid);
            cut_power(&mount);
            kill(pid);
        });
        acks.extend(acks_until_cut(lines));
        cutter.join().expect("the cut");
    } else {
        acks.extend(acks_until_cut(lines));
    }
    let _ = child.kill();
    child.wait().expect("gone");
    disk.restore();
    acks
}

/// What the child says until it says that the power is cut, or that nothing can be done any more.
fn acks_until_cut(lines: impl Iterator<Item = std::io::Result<String>>) -> Vec<Ack> {
    let mut acks = Vec::new();
    for line in lines.map_while(Result::ok) {
        if line.ends_with("the end") {
            break;
        }
        if let Some((_, ack)) = line.split_once("ack ") {
            acks.push(serde_json::from_str(ack).expect("an acknowledgement"));
        }
    }
    acks
}

/// Stops the process: without power there is no processor either, and nobody is told anything any more. It matters, since
/// an fsync that is on its way when the journal of ext4 is shut down may say that all is well.
fn stop(pid: u32) {
    signal(pid, libc::SIGSTOP);
}

fn kill(pid: u32) {
    signal(pid, libc::SIGKILL);
}

fn signal(pid: u32, signal: libc::c_int) {
    let pid = libc::pid_t::try_from(pid).expect("a process");
    // SAFETY: two numbers; the process is our own child and not yet waited for.
    unsafe { libc::kill(pid, signal) };
}

fn cut_power(mount: &Path) {
    let dir = std::fs::File::open(mount).expect("the mount");
    let way: u32 = NO_LOG_FLUSH;
    // SAFETY: the descriptor lives, and the kernel reads one u32.
    let done = unsafe { libc::ioctl(dir.as_raw_fd(), SHUTDOWN, &raw const way) };
    assert_eq!(done, 0, "the shutdown is allowed");
}

/// Not a test but the child of those above: without its environment it does nothing.
#[test]
fn child() {
    let Ok(told) = std::env::var(CHILD) else {
        return;
    };
    let order: Order = serde_json::from_str(&told).expect("an order");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let clock = Arc::new(StandingClock::new(site::at(
        u64::from(order.first / 100_000) * 60,
    )));
    runtime.block_on(async {
        let store =
            Store::open(site::config(&order.dir), Arc::clone(&clock) as Arc<_>).expect("opens");
        if order.build == Build::NoDirSync {
            round_the_log(&store).await;
        }
        let _watching = (order.cut != Cut::ByParent)
            .then(|| Watching::begin(&order.mount, Box::new(Tampering::of(&order))));
        let (next, acked) = (
            Arc::new(AtomicU32::new(order.first)),
            Arc::new(AtomicU32::new(0)),
        );
        for _ in 0..order.senders {
            let (store, clock, next) = (store.clone(), Arc::clone(&clock), Arc::clone(&next));
            let (acked, order) = (Arc::clone(&acked), order.clone());
            tokio::spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let study = 1 + n % 3;
                    let bytes = work::content(n, OBJECT_BYTES);
                    let Ok(ack) = work::admit(&store, &clock, (study, n), &bytes).await else {
                        end()
                    };
                    acknowledge(&ack, &acked, &order);
                }
            });
        }
        if order.build == Build::NoDirSync {
            return std::future::pending::<()>().await;
        }
        loop {
            clock.advance(Duration::from_secs(11));
            match store.lease(site::TERMS).await {
                Ok(Some(job)) => match work::work_on(&store, &job).await {
                    Ok(ack) => acknowledge(&ack, &acked, &order),
                    Err(pericard_store::StoreError::LeaseLapsed) => {}
                    Err(_) => end(),
                },
                Ok(None) => store.changed().await,
                Err(_) => end(),
            }
        }
    });
}

/// Whether this child has cut its own power: from then on it is dead, and what is left of it says nothing.
static IS_DEAD: AtomicBool = AtomicBool::new(false);

fn acknowledge(ack: &Ack, acked: &AtomicU32, order: &Order) {
    if IS_DEAD.load(Ordering::SeqCst) {
        end();
    }
    site::say(&format!(
        "ack {}",
        serde_json::to_string(ack).expect("text")
    ));
    if order.cut == Cut::AfterAck(acked.fetch_add(1, Ordering::SeqCst) + 1) {
        IS_DEAD.store(true, Ordering::SeqCst);
        cut_power(&order.mount);
        end();
    }
}

/// Tells the parent that nothing more comes, and waits to be killed.
fn end() -> ! {
    site::say("the end");
    loop {
        std::thread::park();
    }
}

/// Makes so many changes that the database's log begins anew.
async fn round_the_log(store: &Store) {
    let mut changes = tokio::task::JoinSet::new();
    for n in 0..CHANGES_TO_ROUND_THE_LOG {
        let store = store.clone();
        let refusal = pericard_store::admission::Refusal {
            what: "C-STORE".into(),
            why: format!("number {n}."),
            instance: None,
        };
        changes.spawn(async move { store.refuse(refusal, site::peer()).await });
    }
    changes.join_all().await;
    // The house is kept after a commit; this one finds the log empty.
    let refusal = pericard_store::admission::Refusal {
        what: "C-STORE".into(),
        why: "the last".into(),
        instance: None,
    };
    let _ = store.refuse(refusal, site::peer()).await;
}

/// Leaves out what the build leaves out, and cuts the power at its call.
struct Tampering {
    order: Order,
    calls: u32,
    log_is_dirty: bool,
}

impl Tampering {
    fn of(order: &Order) -> Self {
        Self {
            order: order.clone(),
            calls: 0,
            log_is_dirty: false,
        }
    }
}

impl Watcher for Tampering {
    fn before(&mut self, path: &Path, _ino: u64, call: &Call<'_>) -> Verdict {
        self.calls += 1;
        if self.order.cut == Cut::AtCall(self.calls) {
            IS_DEAD.store(true, Ordering::SeqCst);
            cut_power(&self.order.mount);
        }
        let is = |end: &str| path.to_string_lossy().ends_with(end);
        match (self.order.build, call) {
            (Build::Normal, Call::Sync) if is("-wal") => {
                self.log_is_dirty = true;
                Verdict::Skip
            }
            // What is copied into the database must be in the log before: NORMAL syncs it then.
            (Build::Normal, Call::Write { .. }) if is(".db") && self.log_is_dirty => {
                let log =
                    std::fs::File::open(self.order.dir.join("pericard.db-wal")).expect("the log");
                // SAFETY: the descriptor lives. Not by the C library, which is this program.
                unsafe { libc::syscall(libc::SYS_fdatasync, log.as_raw_fd()) };
                self.log_is_dirty = false;
                Verdict::Do
            }
            // The order of the peers: the file is synced under its first name, and nothing after the second.
            (Build::NoDirSync, Call::Rename { .. }) => {
                let staged = std::fs::File::open(self.order.mount.join(path)).expect("a file");
                // SAFETY: the descriptor lives. Not by the C library, which is this program.
                unsafe { libc::syscall(libc::SYS_fsync, staged.as_raw_fd()) };
                Verdict::Do
            }
            (Build::NoDirSync, Call::Sync) if is(".dcm") => Verdict::Skip,
            (Build::NoDirSync, Call::SyncDir) => Verdict::Skip,
            (_, Call::Sync) if is("-wal") => Verdict::DataOnly,
            _ => Verdict::Do,
        }
    }
}
