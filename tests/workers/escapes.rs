//! What somebody who has taken over a worker would try, from inside every kind of worker: each attempt is a test.
//!
//! `Denied` is an error number from the kernel; `Deadly` calls end the worker (SIGSYS), as nothing of ours ever makes them;
//! `Capped` meet a limit.

use crate::stage::{config, package, quick_package, s};
use pericard_runner::attempts::{Attempted, names};
use pericard_runner::{Kind, Limits, Lost, Prisoner};
use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock, PoisonError};

const EPERM: i32 = 1;
const ENOSYS: i32 = 38;
const EMFILE: i32 = 24;
const ENOMEM: i32 = 12;

/// What must become of an attempt.
#[derive(Debug, Clone, Copy)]
enum Due {
    Denied(i32),
    /// The worker is ended, and this is what is said of it.
    Ended(&'static str),
}
use Due::{Denied, Ended};

const DEADLY: Due = Ended("signal 31");
const NO: Due = Denied(EPERM);

/// A kind of worker, and one of it that has survived all attempts so far.
struct Cell {
    kind: fn(bool) -> Option<Kind>,
    prisoner: &'static OnceLock<Option<Mutex<Option<Prisoner>>>>,
}

impl Cell {
    fn prisoner(&self, golden: bool) -> Option<Prisoner> {
        let kind = (self.kind)(golden)?;
        Some(Prisoner::start(&config()?, kind).expect("a worker starts"))
    }

    fn must(&self, name: &str, due: Due) {
        let shared = self
            .prisoner
            .get_or_init(|| self.prisoner(true).map(|p| Mutex::new(Some(p))));
        let Some(shared) = shared else { return };
        let limits = Limits {
            time: s(30),
            cpu: s(30),
        };
        let reads = matches!((self.kind)(false), Some(Kind::Reader));
        match due {
            // A decoder of JPEG starts threads of its own; how it does, the filter must be able to see.
            Denied(_) if reads && matches!(name, "thread" | "clone3") => {
                let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let prisoner = shared.as_mut().expect("it is given back");
                let due = match name {
                    "thread" => Attempted::Worked("started".into()),
                    _ => Attempted::Denied(ENOSYS),
                };
                assert_eq!(prisoner.attempt(name, limits), Ok(due), "{name}");
            }
            Denied(number) => {
                let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let prisoner = shared.as_mut().expect("it is given back");
                let got = prisoner.attempt(name, limits);
                assert_eq!(got, Ok(Attempted::Denied(number)), "{name}");
            }
            Ended(word) => {
                let Some(mut prisoner) = self.prisoner(false) else {
                    return;
                };
                let limits = match name {
                    "hang" => Limits {
                        time: s(1),
                        ..limits
                    },
                    "compute_beyond_the_cap" => Limits {
                        cpu: s(1),
                        ..limits
                    },
                    _ => limits,
                };
                let lost = prisoner.attempt(name, limits).expect_err(name);
                assert!(lost.to_string().contains(word), "{name}: {lost}");
                assert!(!matches!(lost, Lost::Broke(_)), "{name}: {lost}");
            }
        }
    }
}

macro_rules! attempts {
    ($($name:ident: $due:expr;)*) => {
        const DUE: &[&str] = &[$(stringify!($name)),*];
        mod reader {
            use super::*;
            const CELL: Cell = Cell { kind: |_| Some(Kind::Reader), prisoner: { static P: OnceLock<Option<Mutex<Option<Prisoner>>>> = OnceLock::new(); &P } };
            $(#[test] fn $name() { CELL.must(stringify!($name), $due); })*
        }
        mod imaging {
            use super::*;
            const CELL: Cell = Cell { kind: imaging_kind, prisoner: { static P: OnceLock<Option<Mutex<Option<Prisoner>>>> = OnceLock::new(); &P } };
            $(#[test] fn $name() { CELL.must(stringify!($name), $due); })*
        }
        mod language {
            use super::*;
            const CELL: Cell = Cell { kind: language_kind, prisoner: { static P: OnceLock<Option<Mutex<Option<Prisoner>>>> = OnceLock::new(); &P } };
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

attempts! {
    open_passwd: NO;
    open_by_dot_dot: NO;
    open_relative_to_a_descriptor: NO;
    open_own_program: NO;
    open_own_memory: NO;
    open_own_environment: NO;
    open_own_descriptors: NO;
    open_memory_of_parent: NO;
    open_environment_of_parent: NO;
    open_root_by_proc: NO;
    open_device: NO;
    open_null_device: NO;
    open_library: NO;
    openat2: NO;
    list_root: NO;
    create_file: NO;
    append_to_file: NO;
    truncate_file: NO;
    create_folder: NO;
    remove_file: NO;
    rename_file: NO;
    symbolic_link: NO;
    hard_link: NO;
    read_link: NO;
    existence_of_file: NO;
    status_of_file: NO;
    change_mode: NO;
    change_owner: NO;
    make_device: NO;
    change_folder: NO;
    watch_files: NO;
    mark_files: NO;
    file_handle: NO;
    open_by_handle: DEADLY;
    open_tree: DEADLY;
    file_in_memory: NO;
    grow_what_was_handed_over: NO;
    terminal_input: NO;
    tcp: NO;
    tcp_6: NO;
    udp: NO;
    unix: NO;
    unix_pair: NO;
    netlink: NO;
    vsock: NO;
    raw_packets: NO;
    kernel_crypto: NO;
    bind: NO;
    listen: NO;
    connect: NO;
    accept: NO;
    smuggle_descriptor_out: NO;
    send_to: NO;
    send_many: NO;
    identity_of_parent: NO;
    execute: DEADLY;
    execute_itself: DEADLY;
    execute_from_memory: DEADLY;
    fork: NO;
    clone3: NO;
    thread: NO;
    signal_parent: NO;
    signal_everybody: NO;
    signal_thread_of_parent: NO;
    signal_any_thread: NO;
    queue_signal: NO;
    handle_of_parent: NO;
    descriptor_of_parent: DEADLY;
    signal_by_handle: NO;
    trace_parent: DEADLY;
    be_traced: DEADLY;
    read_memory_of_parent: DEADLY;
    write_memory_of_parent: DEADLY;
    compare_with_parent: NO;
    limits_of_parent: NO;
    raise_own_limits: NO;
    priority: NO;
    real_time: NO;
    affinity: NO;
    new_session: NO;
    become_root: NO;
    become_group_root: NO;
    groups: NO;
    capabilities: NO;
    be_dumpable: NO;
    outlive_parent: NO;
    no_more_filters: NO;
    personality: NO;
    io_uring: DEADLY;
    io_uring_enter: DEADLY;
    bpf: DEADLY;
    performance_counters: DEADLY;
    user_faults: DEADLY;
    kernel_keys: DEADLY;
    add_key: DEADLY;
    request_key: DEADLY;
    mount: DEADLY;
    unmount: DEADLY;
    pivot_root: DEADLY;
    chroot: DEADLY;
    leave_namespaces: DEADLY;
    enter_namespace: DEADLY;
    load_kernel: DEADLY;
    load_module: DEADLY;
    remove_module: DEADLY;
    reboot: DEADLY;
    swap: DEADLY;
    accounting: DEADLY;
    kernel_log: NO;
    host_name: NO;
    clock: NO;
    shared_memory: NO;
    message_queue: NO;
    semaphores: NO;
    timer: NO;
    splice: NO;
    system_of_machine: NO;
    map_code: NO;
    map_writable_code: NO;
    make_memory_code: NO;
    memory_beyond_the_cap: Denied(ENOMEM);
    shared_memory_beyond_the_cap: Denied(ENOMEM);
    many_small_maps_beyond_the_cap: Denied(ENOMEM);
    allocate_beyond_the_cap: Ended("more memory than it may have");
    lock_memory: NO;
    compute_beyond_the_cap: Ended("computed for longer than it may");
    hang: Ended("took longer than 1 s");
    overflow_the_stack: Ended("signal");
    dump_core: Ended("signal 6");
    descriptors_beyond_the_cap: Denied(EMFILE);
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
    let Some(mut prisoner) = (Cell {
        kind: |_| Some(Kind::Reader),
        prisoner: {
            static P: OnceLock<Option<Mutex<Option<Prisoner>>>> = OnceLock::new();
            &P
        },
    })
    .prisoner(false) else {
        return;
    };
    let limits = Limits {
        time: s(30),
        cpu: s(30),
    };
    assert_eq!(prisoner.attempt("no such", limits), Ok(Attempted::Unknown));
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
