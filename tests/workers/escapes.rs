//! What somebody who has taken over a worker would try, from inside every kind of worker: each attempt is a test, and each is
//! tried twice. Once the worker is locked, where seccomp answers before most of the other walls; and in `loading`, where its
//! package would begin to load, so that what only the first walls hold is tried by itself.
//!
//! `Denied` is an error number from the kernel. `Ended` is the end of the worker: by a call that nothing of ours ever makes
//! (SIGSYS), or at a limit. What works while a package loads says why that is no way out.
//!
//! A worker for a device is tried once it is locked, without the device. While its driver loads, which does what it likes, no
//! filter holds it, and what would be tried then is not tried on a machine that somebody needs.

use crate::stage::{config, package, quick_package, s};
use pericard_domain::device::Device;
use pericard_runner::attempts::{Attempted, SCRATCH, names};
use pericard_runner::{Kind, Limits, Lost, Prisoner};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EBADF: i32 = 9;
const ENOMEM: i32 = 12;
const EACCES: i32 = 13;
const ENOTDIR: i32 = 20;
const EINVAL: i32 = 22;
const EMFILE: i32 = 24;
const ENOTTY: i32 = 25;
const ENOSYS: i32 = 38;
const ENETUNREACH: i32 = 101;

/// What must become of an attempt once the worker is locked.
#[derive(Debug, Clone, Copy)]
enum Due {
    Denied(i32),
    /// Kernels differ.
    EitherOf([i32; 2]),
    /// The worker is ended, and this is what is said of it.
    Ended(&'static str),
}
use Due::{Denied, EitherOf, Ended};

const DEADLY: Due = Ended("signal 31");
/// Not a byte may be written to a file, sealed or not (SIGXFSZ).
const TOO_MUCH: Due = Ended("signal 25");
const NO: Due = Denied(EPERM);

/// What must become of it while its package would load, and which wall answers.
#[derive(Debug, Clone, Copy)]
enum First {
    /// Landlock, from this version on.
    Landlock(u32),
    /// The network namespace, or seccomp where there is none.
    Network,
    /// An internet socket: it leads nowhere, or there is none.
    Socket,
    /// This error number, by something else, which is named.
    Other(i32, &'static str),
    /// Kernels differ.
    EitherOf([i32; 2], &'static str),
    Ended(&'static str),
    /// Loading needs it, or it is no way to anything; this says how.
    Works(&'static str),
    /// So does this, but what a machine answers depends on more than the walls.
    Open(&'static str),
}
use First::{Open, Other, Works};

const FILES: First = First::Landlock(1);
/// Version 4 knows ports.
const TCP: First = First::Landlock(4);
const NETWORK: First = First::Network;
const SOCKET: First = First::Socket;
const FILTER: First = Other(EPERM, "seccomp: no other wall knows of it");
const CAPABILITY: First = Other(EPERM, "no capabilities");
const SEALS: First = Other(EPERM, "its seals");
const DEADLY_TOO: First = First::Ended("signal 31");
const TOO_MUCH_TOO: First = First::Ended("signal 25");

/// What the limits on memory of its own stop, and nothing else does.
const BY_MEMORY: [&str; 4] = [
    "memory_beyond_the_cap",
    "shared_memory_beyond_the_cap",
    "many_small_maps_beyond_the_cap",
    "allocate_beyond_the_cap",
];

/// One that has survived all attempts so far; `None` where this machine lacks what it loads.
type Shared = OnceLock<Option<Mutex<Prisoner>>>;

/// A kind of worker, and one of it at each stage.
struct Cell {
    kind: fn(bool) -> Option<Kind>,
    locked: &'static Shared,
    loading: &'static Shared,
}

impl Cell {
    fn prisoner(&self, golden: bool) -> Option<Prisoner> {
        let kind = (self.kind)(golden)?;
        Some(Prisoner::start(&config()?, kind).expect("a worker starts"))
    }

    fn loading(&self) -> Option<Prisoner> {
        let kind = (self.kind)(false)?;
        Some(Prisoner::loading(&config()?, kind).expect("a worker starts"))
    }

    fn must(&self, name: &str, due: Due) {
        let reads = matches!((self.kind)(false), Some(Kind::Reader));
        let asks = matches!((self.kind)(false), Some(Kind::Device(_)));
        if asks && (BY_MEMORY.contains(&name)) {
            // A driver reserves more than there is: nothing bounds it, which its walls say.
            let prisoner = self.prisoner(true).expect("no package is needed");
            return assert!(!stands(&prisoner, "memory of its own"), "{name}");
        }
        if let Ended(word) = due {
            return ended(self.prisoner(false), name, word);
        }
        let Some(mut prisoner) = shared(self.locked, || self.prisoner(true)) else {
            return;
        };
        let got = tried(&mut prisoner, name);
        match due {
            // A decoder of JPEG starts threads of its own, and so does a driver; how they do, the filter must be able to see.
            Denied(_) if (reads || asks) && name == "thread" => {
                assert_eq!(got, Attempted::Worked("started".into()), "{name}");
            }
            Denied(_) if (reads || asks) && name == "clone3" => {
                assert_eq!(got, Attempted::Denied(ENOSYS), "{name}");
            }
            // It may ask whatever it holds; and it holds no terminal.
            Denied(_) if asks && name == "terminal_input" => {
                assert_eq!(got, Attempted::Denied(ENOTTY), "{name}");
            }
            Denied(number) => assert_eq!(got, Attempted::Denied(number), "{name}"),
            EitherOf(numbers) => denied_as_one_of(&got, numbers, (name, "its seals")),
            Ended(_) => unreachable!("it has returned"),
        }
    }

    fn must_while_loading(&self, name: &str, first: First) {
        if let First::Ended(word) = first {
            return ended(self.loading(), name, word);
        }
        let Some(mut prisoner) = shared(self.loading, || self.loading()) else {
            return;
        };
        let (landlock, is_alone) = (
            landlock_of(&prisoner),
            stands(&prisoner, "network namespace"),
        );
        let got = tried(&mut prisoner, name);
        let denied = |number, by: &str| {
            assert_eq!(got, Attempted::Denied(number), "{name}: by {by}");
        };
        let works = matches!(got, Attempted::Worked(_));
        match first {
            First::Landlock(_) if landlock == 0 => {
                eprintln!("{name}: this machine has no Landlock");
            }
            First::Landlock(since) if landlock >= since => denied(EACCES, "Landlock"),
            // Then it is a port, and one wall further on.
            First::Landlock(_) | First::Network if is_alone => denied(ENETUNREACH, "the namespace"),
            First::Landlock(_) | First::Network => denied(EPERM, "seccomp"),
            First::Socket if is_alone => assert!(works, "{name}: {got:?}"),
            First::Socket => denied(EPERM, "seccomp"),
            Other(number, by) => denied(number, by),
            First::EitherOf(numbers, by) => denied_as_one_of(&got, numbers, (name, by)),
            Works(why) => assert!(works, "{name}: {got:?}, but {why}"),
            Open(why) => assert_ne!(got, Attempted::Unknown, "{name}: {why}"),
            First::Ended(_) => unreachable!("it has returned"),
        }
    }
}

fn shared(
    of: &'static Shared,
    start: impl FnOnce() -> Option<Prisoner>,
) -> Option<MutexGuard<'static, Prisoner>> {
    let shared = of.get_or_init(|| start().map(Mutex::new)).as_ref()?;
    Some(shared.lock().unwrap_or_else(PoisonError::into_inner))
}

fn ended(prisoner: Option<Prisoner>, name: &str, word: &str) {
    let Some(mut prisoner) = prisoner else { return };
    let file = Handed::file();
    let lost = prisoner.attempt(name, &file.opened(), limits(name));
    let lost = lost.expect_err(name);
    assert!(lost.to_string().contains(word), "{name}: {lost}");
    assert!(!matches!(lost, Lost::Broke(_)), "{name}: {lost}");
    file.is_whole(name);
}

/// What becomes of the attempt; what it was handed, and what it would change, must be as they were.
fn tried(prisoner: &mut Prisoner, name: &str) -> Attempted {
    let victim = Victim::of(name);
    let file = Handed::file();
    let got = prisoner.attempt(name, &file.opened(), limits(name));
    file.is_whole(name);
    assert!(prisoner.is_memory_whole(), "{name}");
    drop(victim);
    got.unwrap_or_else(|lost| panic!("{name}: {lost}"))
}

fn limits(name: &str) -> Limits {
    let limits = Limits {
        time: s(30),
        cpu: s(30),
    };
    match name {
        "hang" => Limits {
            time: s(1),
            ..limits
        },
        "compute_beyond_the_cap" => Limits {
            cpu: s(1),
            ..limits
        },
        _ => limits,
    }
}

fn denied_as_one_of(got: &Attempted, numbers: [i32; 2], (name, by): (&str, &str)) {
    let is_one = numbers
        .iter()
        .any(|number| *got == Attempted::Denied(*number));
    assert!(is_one, "{name}: by {by}: {got:?}");
}

fn stands(prisoner: &Prisoner, wall: &str) -> bool {
    let walls = &prisoner.walls().0;
    walls.iter().any(|w| w.name == wall && w.stands)
}

/// The version of Landlock that holds it; 0 when none does.
fn landlock_of(prisoner: &Prisoner) -> u32 {
    let walls = &prisoner.walls().0;
    let wall = walls.iter().find(|w| w.name == "landlock" && w.stands);
    let version = wall.and_then(|wall| wall.detail.strip_prefix("version ")?.split(',').next());
    version.map_or(0, |version| version.parse().expect("a version"))
}

const WHOLE: &[u8] = b"as it was";

/// An object's file as a reader gets it: somebody else can write to it, and it was opened for reading.
struct Handed(tempfile::NamedTempFile);

impl Handed {
    fn file() -> Self {
        // Where the other files of the attempts are, so that links between them would be possible.
        let folder = PathBuf::from(SCRATCH);
        let folder = folder.parent().expect("a folder");
        let mut file = tempfile::NamedTempFile::new_in(folder).expect("a file");
        file.write_all(WHOLE).expect("room");
        Self(file)
    }

    fn opened(&self) -> File {
        File::open(self.0.path()).expect("its file")
    }

    fn is_whole(&self, name: &str) {
        assert_eq!(
            std::fs::read(self.0.path()).expect("its file"),
            WHOLE,
            "{name}"
        );
    }
}

/// A file that the attempt would change if it could. One at a time: the name is always the same.
struct Victim {
    path: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Victim {
    fn of(name: &str) -> Option<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        let file = match name {
            "truncate_file" => "cut",
            "remove_file" => "removed",
            "rename_file" => "renamed",
            "hard_link" => "linked",
            _ => return None,
        };
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let path = PathBuf::from(format!("{SCRATCH}{file}"));
        std::fs::write(&path, WHOLE).expect("a file that is nobody else's");
        Some(Self { path, _turn: turn })
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let is_whole = std::fs::read(&self.path).is_ok_and(|bytes| bytes == WHOLE);
        let _ = std::fs::remove_file(&self.path); // it may be what was removed
        assert!(is_whole || std::thread::panicking(), "{:?}", self.path);
    }
}

macro_rules! attempts {
    ($($name:ident: $due:expr, $first:expr;)*) => {
        const DUE: &[&str] = &[$(stringify!($name)),*];
        attempts_of!(reader, |_| Some(Kind::Reader), $($name: $due, $first;)*);
        attempts_of!(scanner, |_| Some(Kind::Scanner), $($name: $due, $first;)*);
        attempts_of!(imaging, imaging_kind, $($name: $due, $first;)*);
        attempts_of!(language, language_kind, $($name: $due, $first;)*);
        attempts_once_locked_of!(device, |_| Some(Kind::Device(Device::Cuda(0))), $($name: $due;)*);
    };
}

macro_rules! attempts_of {
    ($of:ident, $kind:expr, $($name:ident: $due:expr, $first:expr;)*) => {
        mod $of {
            use super::*;
            static LOCKED: Shared = OnceLock::new();
            static LOADING: Shared = OnceLock::new();
            const CELL: Cell = Cell { kind: $kind, locked: &LOCKED, loading: &LOADING };
            $(#[test] fn $name() { CELL.must(stringify!($name), $due); })*
            mod loading {
                use super::*;
                $(#[test] fn $name() { CELL.must_while_loading(stringify!($name), $first); })*
            }
        }
    };
}

macro_rules! attempts_once_locked_of {
    ($of:ident, $kind:expr, $($name:ident: $due:expr;)*) => {
        mod $of {
            use super::*;
            static LOCKED: Shared = OnceLock::new();
            static LOADING: Shared = OnceLock::new(); // never started
            const CELL: Cell = Cell { kind: $kind, locked: &LOCKED, loading: &LOADING };
            $(#[test] fn $name() { CELL.must(stringify!($name), $due); })*
        }
    };
}

fn imaging_kind(golden: bool) -> Option<Kind> {
    let package = if golden { package } else { quick_package };
    package("burned-in-text").map(Kind::Imaging)
}

fn language_kind(golden: bool) -> Option<Kind> {
    let package = if golden { package } else { quick_package };
    package("smollm2-135m-instruct").map(Kind::Language)
}

#[rustfmt::skip] // a table
attempts! {
    open_passwd: NO, FILES;
    open_by_dot_dot: NO, FILES;
    open_relative_to_a_descriptor: NO, Other(ENOTDIR, "a socket is no folder");
    open_own_program: NO, FILES;
    open_own_memory: NO, FILES;
    open_own_environment: NO, FILES;
    open_own_descriptors: NO, FILES;
    open_memory_of_parent: NO, FILES;
    open_environment_of_parent: NO, FILES;
    open_root_by_proc: NO, FILES;
    open_device: NO, First::EitherOf([EACCES, ENOENT], "Landlock, where there is such a device");
    open_null_device: NO, FILES;
    open_library: NO, Works("the loader reads where libraries are");
    openat2: NO, FILES;
    list_root: NO, FILES;
    create_file: NO, FILES;
    append_to_file: NO, FILES;
    truncate_file: NO, FILES;
    create_folder: NO, FILES;
    remove_file: NO, FILES;
    rename_file: NO, FILES;
    symbolic_link: NO, FILES;
    hard_link: NO, FILES;
    read_link: NO, Works("a name is not its contents");
    existence_of_file: NO, Works("a name is not its contents");
    status_of_file: NO, Works("a name is not its contents");
    change_mode: NO, FILTER;
    change_owner: NO, FILTER;
    make_device: NO, FILES;
    change_folder: NO, Works("nothing more can be read from there");
    watch_files: NO, FILTER;
    mark_files: NO, FILTER;
    file_handle: NO, FILTER;
    open_by_handle: DEADLY, DEADLY_TOO;
    open_tree: DEADLY, DEADLY_TOO;
    file_in_memory: NO, FILTER;
    terminal_input: NO, Other(ENOTTY, "a socket is no terminal");
    tcp: NO, SOCKET;
    tcp_6: NO, SOCKET;
    udp: NO, SOCKET;
    unix: NO, FILTER;
    unix_pair: NO, Works("both of its ends stay inside");
    netlink: NO, FILTER;
    vsock: NO, FILTER;
    raw_packets: NO, FILTER;
    kernel_crypto: NO, FILTER;
    connect_to_the_world: NO, TCP;
    connect_to_this_machine: NO, TCP;
    listen_on_a_port: NO, TCP;
    datagram_to_the_world: NO, NETWORK;
    datagram_to_this_machine: NO, NETWORK;
    connect_to_a_socket_file: NO, FILTER;
    bind: NO, Other(EINVAL, "it has its one other end for good");
    listen: NO, Other(EINVAL, "it has its one other end for good");
    connect: NO, Other(EINVAL, "it has its one other end for good");
    accept: NO, Other(EINVAL, "it has its one other end for good");
    smuggle_descriptor_out: NO, FILTER;
    send_to: NO, Works("it may write there");
    send_many: NO, FILTER;
    identity_of_parent: NO, Works("it says no more than getppid does");
    execute: DEADLY, DEADLY_TOO;
    execute_itself: DEADLY, DEADLY_TOO;
    fork: NO, FILTER;
    clone3: NO, Other(ENOSYS, "seccomp: its flags cannot be seen");
    thread: NO, Works("engines have threads");
    signal_parent: NO, FILTER;
    signal_everybody: NO, FILTER;
    signal_thread_of_parent: NO, FILTER;
    signal_any_thread: NO, FILTER;
    queue_signal: NO, FILTER;
    handle_of_parent: NO, FILTER;
    descriptor_of_parent: DEADLY, DEADLY_TOO;
    signal_by_handle: NO, FILTER;
    trace_parent: DEADLY, DEADLY_TOO;
    be_traced: DEADLY, DEADLY_TOO;
    read_memory_of_parent: DEADLY, DEADLY_TOO;
    write_memory_of_parent: DEADLY, DEADLY_TOO;
    compare_with_parent: NO, FILTER;
    limits_of_parent: NO, FILTER;
    raise_own_limits: NO, FILTER;
    priority: NO, FILTER;
    real_time: NO, FILTER;
    affinity: NO, Works("its own threads on its own cores");
    new_session: NO, FILTER;
    become_root: NO, FILTER;
    become_group_root: NO, FILTER;
    groups: NO, CAPABILITY;
    capabilities: NO, CAPABILITY;
    be_dumpable: NO, FILTER;
    outlive_parent: NO, FILTER;
    no_more_filters: NO, Other(EINVAL, "filters are only ever added");
    second_numbers: NO, Other(ENOSYS, "seccomp: no call has two numbers");
    personality: NO, FILTER;
    io_uring: DEADLY, DEADLY_TOO;
    io_uring_enter: DEADLY, DEADLY_TOO;
    bpf: DEADLY, DEADLY_TOO;
    performance_counters: DEADLY, DEADLY_TOO;
    user_faults: DEADLY, DEADLY_TOO;
    kernel_keys: DEADLY, DEADLY_TOO;
    add_key: DEADLY, DEADLY_TOO;
    request_key: DEADLY, DEADLY_TOO;
    mount: DEADLY, DEADLY_TOO;
    unmount: DEADLY, DEADLY_TOO;
    pivot_root: DEADLY, DEADLY_TOO;
    chroot: DEADLY, DEADLY_TOO;
    leave_namespaces: DEADLY, DEADLY_TOO;
    enter_namespace: DEADLY, DEADLY_TOO;
    load_kernel: DEADLY, DEADLY_TOO;
    load_module: DEADLY, DEADLY_TOO;
    remove_module: DEADLY, DEADLY_TOO;
    reboot: DEADLY, DEADLY_TOO;
    swap: DEADLY, DEADLY_TOO;
    accounting: DEADLY, DEADLY_TOO;
    kernel_log: NO, FILTER;
    host_name: NO, CAPABILITY;
    clock: NO, FILTER;
    shared_memory: NO, FILTER;
    message_queue: NO, FILTER;
    semaphores: NO, FILTER;
    timer: NO, Works("its own, which ends with it");
    splice: NO, Other(EINVAL, "neither end is a pipe");
    system_of_machine: NO, Works("libraries ask how old the kernel is");
    map_code: NO, Works("libraries are mapped as code");
    map_writable_code: NO, Works("libraries are mapped as code");
    make_memory_code: NO, Works("libraries are mapped as code");
    memory_beyond_the_cap: Denied(ENOMEM), Other(ENOMEM, "the limit on data");
    shared_memory_beyond_the_cap: Denied(ENOMEM), Open("only once its model is mapped is it known how much it may map");
    many_small_maps_beyond_the_cap: Denied(ENOMEM), Other(ENOMEM, "the limit on data");
    allocate_beyond_the_cap: Ended("more memory than it may have"), First::Ended("more memory than it may have");
    lock_memory: NO, Other(EPERM, "the limit on locked memory");
    compute_beyond_the_cap: Ended("computed for longer than it may"), First::Ended("computed for longer than it may");
    hang: Ended("took longer than 1 s"), First::Ended("took longer than 1 s");
    overflow_the_stack: Ended("signal"), First::Ended("signal");
    dump_core: Ended("signal 6"), First::Ended("signal 6");
    descriptors_beyond_the_cap: Denied(EMFILE), Other(EMFILE, "the limit on descriptors");
    write_to_file: Denied(EBADF), Other(EBADF, "it was opened for reading");
    write_at_place_of_file: NO, Other(EBADF, "it was opened for reading");
    map_file_to_write: Denied(EACCES), Other(EACCES, "it was opened for reading");
    map_file_and_make_it_writable: Denied(EACCES), Other(EACCES, "it was opened for reading");
    map_file_as_code: NO, Open("libraries are mapped as code, where the disk allows it");
    grow_file: NO, Other(EINVAL, "it was opened for reading");
    cut_file: NO, Other(EINVAL, "it was opened for reading");
    mode_of_file: NO, FILTER;
    open_file_again_to_write: NO, FILES;
    give_file_another_name: NO, FILES;
    smuggle_file_out: NO, FILTER;
    write_to_memory: TOO_MUCH, TOO_MUCH_TOO;
    write_at_place_of_memory: NO, TOO_MUCH_TOO;
    map_memory_to_write: NO, SEALS;
    map_memory_and_make_it_writable: EitherOf([EACCES, EPERM]), First::EitherOf([EACCES, EPERM], "its seals: before Linux 6.7 it is not even mapped");
    map_memory_as_code: NO, Open("libraries are mapped as code, where the disk allows it");
    grow_what_was_handed_over: NO, TOO_MUCH_TOO;
    cut_memory: NO, SEALS;
    punch_memory: NO, SEALS;
    seal_memory_anew: NO, SEALS;
    open_memory_again_to_write: NO, TOO_MUCH_TOO;
    smuggle_memory_out: NO, FILTER;
    execute_from_memory: DEADLY, DEADLY_TOO;
}

#[test]
fn every_attempt_has_its_test() {
    let due: BTreeSet<_> = DUE.iter().copied().collect();
    let known: BTreeSet<_> = names().into_iter().collect();
    assert_eq!(due, known);
    assert!(due.len() >= 30);
}

#[test]
fn the_checks_can_fail() {
    let Some(config) = config() else { return };
    let prisoner = Prisoner::start(&config, Kind::Reader);
    let mut prisoner = prisoner.expect("a worker starts");
    assert_eq!(tried(&mut prisoner, "no such"), Attempted::Unknown);
    // All stand on this machine; where one cannot, it is said and the others are tried all the same.
    for wall in prisoner.walls().missing() {
        eprintln!("this machine has no {}: {}", wall.name, wall.detail);
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", prisoner.pid()));
    let status = status.expect("its status");
    for due in [
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "CapEff:\t0000000000000000",
        "CapPrm:\t0000000000000000",
    ] {
        assert!(status.contains(due), "{due}\n{status}");
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", prisoner.pid()));
    let limits = limits.expect("its limits");
    let core = limits.lines().find(|line| line.starts_with("Max core"));
    let core: Vec<_> = core.expect("a line").split_ascii_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"], "no core file");
    let environment = std::fs::read(format!("/proc/{}/environ", prisoner.pid()));
    let environment = String::from_utf8(environment.expect("its environment")).expect("text");
    let given = [pericard_imaging::NO_REPORTS, pericard_runner::LARGE_PAGES]
        .map(|(name, value)| format!("{name}={value}"));
    assert_eq!(
        environment.split_terminator('\0').collect::<BTreeSet<_>>(),
        given.iter().map(String::as_str).collect(),
        "nothing is inherited"
    );
}

/// ONNX Runtime begins to report to its authors before a call could stop it: only the environment can.
#[test]
fn a_worker_that_would_report_to_the_authors_of_its_library_loads_nothing() {
    let (Some(mut config), Some(kind)) = (config(), imaging_kind(false)) else {
        return;
    };
    config.worker.environment.clear();
    let refused = Prisoner::start(&config, kind);
    let refused = refused.err().expect("it must not load");
    assert!(refused.contains("report to its authors"), "{refused}");
}
