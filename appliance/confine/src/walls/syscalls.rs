//! Which system calls are left to a locked worker.
//!
//! Two filters: an allow-list, beyond which a call fails with EPERM (a library that tries one goes another way), and a
//! short list of calls that nothing of ours ever makes, which end the process: whoever makes one is not us any more, and
//! a dead worker is seen. The kernel takes the stricter answer of the two.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
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

/// What a GPU's driver is asked with and waited for. Which questions it takes stands in no list that could be kept here: the
/// devices at hand are the wall.
const ASKING: [i64; 4] = [
    libc::SYS_ioctl,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_eventfd2,
];

/// Denies the rest, on every thread, for ever. `threads`: it may start some; `device`: it may ask a driver.
pub(super) fn deny(threads: bool, device: bool) -> Result<(), String> {
    let deadly = DEADLY.map(|call| (call, Vec::new()));
    // The deadly ones first: after the allow-list no further filter can be added.
    apply(
        deadly.into(),
        SeccompAction::Allow,
        SeccompAction::KillProcess,
    )?;
    let mut rules = allowed()?;
    if device {
        rules.extend(ASKING.map(|call| (call, Vec::new())));
    }
    if threads {
        // What `clone3` is asked for lies in memory, where no filter can look. Where there seems to be none, the system's
        // library takes `clone`, whose flags are seen.
        let unknown = [(libc::SYS_clone3, Vec::new())];
        apply(
            unknown.into(),
            SeccompAction::Allow,
            SeccompAction::Errno(libc::ENOSYS as u32),
        )?;
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
