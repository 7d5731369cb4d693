//! Which system calls are left to a worker.
//!
//! While it loads ([`begin`]) two lists are denied. Calls that nothing of ours ever makes end the process: whoever makes one
//! is not us any more, and a dead worker is seen. Others fail with EPERM: what Landlock, the namespaces and the capabilities
//! know nothing of, so that a package that takes over its engine while it is loaded finds no more ways than later. Once it is
//! locked ([`deny`]) an allow-list is all that is left, beyond which a call fails with EPERM (a library that tries one goes
//! another way). The kernel takes the stricter answer of all.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, sock_filter,
};
use std::collections::BTreeMap;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Allowed whatever the arguments: computing, waiting, and the descriptors at hand.
const ALLOWED: [i64; 29] = [
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_recvmsg, // descriptors come in; `sendmsg` is not here, so none go out
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_sched_getaffinity, // a thread that is just beginning asks how large its stack is by way of this
    libc::SYS_sched_yield,
    libc::SYS_getcpu,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_sigaltstack,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fstat, // of a descriptor, never of a path
];

/// Calls that nothing of ours ever makes, locked or not.
const DEADLY: [i64; 31] = [
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_open_by_handle_at,
    libc::SYS_swapon,
    libc::SYS_pidfd_getfd,
    libc::SYS_acct,
];

/// Denied from the first on, whatever the arguments: no other wall knows of these.
const DENIED: [i64; 55] = [
    // Other processes of the same user
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_process_madvise,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
    libc::SYS_setsid,
    libc::SYS_setpgid,
    // Who it is
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_personality,
    // What Landlock lets pass of files
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_inotify_init1,
    libc::SYS_fanotify_init,
    libc::SYS_name_to_handle_at,
    // Descriptors out, and memory that counts as nobody's
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_memfd_create,
    libc::SYS_shmget,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
    // The machine
    libc::SYS_syslog,
    libc::SYS_clock_settime,
    libc::SYS_settimeofday,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_quotactl,
    libc::SYS_vhangup,
];

/// The same under the names that only the oldest processors have.
#[cfg(target_arch = "x86_64")]
const DENIED_LEGACY: &[i64] = &[
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_inotify_init,
    libc::SYS_fork,
    libc::SYS_vfork,
];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_LEGACY: &[i64] = &[];

/// What a GPU's driver is asked with and waited for. Which questions it takes stands in no list that could be kept here: the
/// devices at hand are the wall.
const ASKING: [i64; 4] = [
    libc::SYS_ioctl,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_eventfd2,
];

/// Denies, on every thread and for ever, what nothing of ours needs even to load. `is_alone`: it has a network namespace of
/// its own, where an internet socket leads nowhere; without one there is no socket at all.
pub(super) fn begin(is_alone: bool) -> Result<(), String> {
    no_second_numbers()?;
    deadly()?;
    no_clone3()?;
    apply(
        denied(is_alone)?,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
    )
}

/// Denies the rest, on every thread, for ever. `threads`: it may start some; `device`: it may ask a driver, which has loaded
/// without [`begin`].
pub(super) fn deny(threads: bool, device: bool) -> Result<(), String> {
    // These first: after the allow-list no further filter can be added.
    if device {
        deadly()?;
        no_clone3()?;
    }
    let mut rules = allowed()?;
    if device {
        rules.extend(ASKING.map(|call| (call, Vec::new())));
    }
    if threads {
        for call in [libc::SYS_clone3, libc::SYS_set_robust_list, libc::SYS_rseq] {
            rules.insert(call, Vec::new());
        }
        let thread = libc::CLONE_THREAD as u64;
        let only_threads = MaskedEq {
            argument: 0,
            mask: thread,
            value: thread,
        };
        rules.insert(libc::SYS_clone, vec![only_threads.rule()?]);
    }
    apply(
        rules,
        SeccompAction::Errno(libc::EPERM as u32),
        SeccompAction::Allow,
    )
}

fn deadly() -> Result<(), String> {
    apply(
        DEADLY.map(|call| (call, Vec::new())).into(),
        SeccompAction::Allow,
        SeccompAction::KillProcess,
    )
}

/// What `clone3` is asked for lies in memory, where no filter can look. Where there seems to be none, the system's library
/// takes `clone`, whose flags are seen.
fn no_clone3() -> Result<(), String> {
    let unknown = [(libc::SYS_clone3, Vec::new())];
    apply(
        unknown.into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS as u32),
    )
}

/// A kernel may know each call by a second number (x32), which a list of what is denied would pass over.
fn no_second_numbers() -> Result<(), String> {
    const SECOND_FROM: u32 = 0x4000_0000;
    const LOAD_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
    const ANSWER: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, otherwise, k| sock_filter {
        code,
        jt: 0,
        jf: otherwise,
        k,
    };
    let program = [
        step(LOAD_NUMBER, 0, 0),
        step(IF_AT_LEAST, 1, SECOND_FROM),
        step(ANSWER, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        step(ANSWER, 0, libc::SECCOMP_RET_ALLOW),
    ];
    seccompiler::apply_filter_all_threads(&program).map_err(|e| e.to_string())
}

fn denied(is_alone: bool) -> Result<Rules, String> {
    let all = DENIED.iter().chain(DENIED_LEGACY);
    let mut rules: Rules = all.map(|call| (*call, Vec::new())).collect();
    let equal = SeccompCmpOp::Eq;
    let other = SeccompCmpOp::Ne;
    let processes = MaskedEq {
        argument: 0,
        mask: libc::CLONE_THREAD as u64,
        value: 0,
    };
    rules.insert(libc::SYS_clone, vec![processes.rule()?]);
    let itself = u64::from(std::process::id());
    let signals = rule([word(0, other.clone(), itself)?])?;
    rules.insert(libc::SYS_tgkill, vec![signals]);
    // What it computes is counted for it, and only the appliance says how much it may.
    let computing = u64::from(libc::RLIMIT_CPU);
    let others = rule([word(0, other.clone(), 0)?])?;
    let more = rule([
        word(1, equal.clone(), computing)?,
        pointer(2, other.clone(), 0)?,
    ])?;
    rules.insert(libc::SYS_prlimit64, vec![others, more]);
    let more = rule([word(0, equal.clone(), computing)?])?;
    rules.insert(libc::SYS_setrlimit, vec![more]);
    let controls = [libc::PR_SET_PDEATHSIG, libc::PR_SET_DUMPABLE];
    let controls = controls.map(|what| rule([word(0, equal.clone(), what as u64)?]));
    rules.insert(
        libc::SYS_prctl,
        controls.into_iter().collect::<Result<_, _>>()?,
    );
    let sockets = match is_alone {
        true => vec![rule([
            word(0, other.clone(), libc::AF_INET as u64)?,
            word(0, other, libc::AF_INET6 as u64)?,
        ])?],
        false => Vec::new(),
    };
    rules.insert(libc::SYS_socket, sockets);
    Ok(rules)
}

fn allowed() -> Result<Rules, String> {
    let mut rules: Rules = ALLOWED.map(|call| (call, Vec::new())).into();
    let no_code = MaskedEq {
        argument: 2,
        mask: libc::PROT_EXEC as u64,
        value: 0,
    };
    rules.insert(libc::SYS_mmap, vec![no_code.rule()?]);
    rules.insert(libc::SYS_mprotect, vec![no_code.rule()?]);
    // An abort of its own must be seen as one.
    let itself = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, vec![MaskedEq::exactly(0, itself).rule()?]);
    let looks = [
        libc::F_GETFD,
        libc::F_GETFL,
        libc::F_GET_SEALS,
        libc::F_DUPFD_CLOEXEC,
    ];
    let looks = looks.map(|look| MaskedEq::exactly(1, look as u64).rule());
    rules.insert(
        libc::SYS_fcntl,
        looks.into_iter().collect::<Result<_, _>>()?,
    );
    Ok(rules)
}

fn apply(rules: Rules, otherwise: SeccompAction, matched: SeccompAction) -> Result<(), String> {
    let architecture = std::env::consts::ARCH;
    let architecture = architecture.try_into().map_err(|e| format!("{e}"))?;
    let filter = SeccompFilter::new(rules, otherwise, matched, architecture);
    let program: BpfProgram = filter
        .and_then(TryInto::try_into)
        .map_err(|e| e.to_string())?;
    seccompiler::apply_filter_all_threads(&program).map_err(|e| e.to_string())
}

/// A condition on the lower half of an argument, counted from 0: the kernel looks at no more of a number.
fn word(argument: u8, how: SeccompCmpOp, value: u64) -> Result<SeccompCondition, String> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, value).map_err(|e| e.to_string())
}

fn pointer(argument: u8, how: SeccompCmpOp, value: u64) -> Result<SeccompCondition, String> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, how, value).map_err(|e| e.to_string())
}

/// All of these together.
fn rule<const N: usize>(conditions: [SeccompCondition; N]) -> Result<SeccompRule, String> {
    SeccompRule::new(conditions.into()).map_err(|e| e.to_string())
}

/// A condition on one argument, counted from 0.
struct MaskedEq {
    argument: u8,
    mask: u64,
    value: u64,
}

impl MaskedEq {
    const fn exactly(argument: u8, value: u64) -> Self {
        Self {
            argument,
            mask: u32::MAX as u64,
            value,
        }
    }

    fn rule(&self) -> Result<SeccompRule, String> {
        let condition = SeccompCondition::new(
            self.argument,
            SeccompCmpArgLen::Qword,
            SeccompCmpOp::MaskedEq(self.mask),
            self.value,
        );
        SeccompRule::new(vec![condition.map_err(|e| e.to_string())?]).map_err(|e| e.to_string())
    }
}
