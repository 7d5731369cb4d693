//! The attempts, as bare system calls: whoever has taken over a worker does not go through a library.
#![allow(unsafe_code)] // hostile on purpose; every pointer is to a live local or null, so that what works harms nobody

use super::{Attempted, SCRATCH};
use crate::channel::{Channel, ChannelError};
use std::ffi::CStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};

const PAGE_BYTES: usize = 4096;

type Tried = io::Result<String>;
type Attempt = fn(&Channel) -> Tried;
type AttemptOnHanded = fn(&Channel, &Handed) -> Tried;

/// What was handed over.
struct Handed<'a> {
    file: &'a OwnedFd,
    memory: &'a OwnedFd,
}

pub(super) fn attempt(name: &str, channel: &Channel, handed: &[OwnedFd]) -> Attempted {
    let plain = ATTEMPTS.iter().find(|(of, _)| *of == name);
    let on_handed = ON_HANDED.iter().find(|(of, _)| *of == name);
    let tried = match (plain, on_handed, handed) {
        (Some((_, attempt)), ..) => attempt(channel),
        (None, Some((_, attempt)), [file, memory]) => attempt(channel, &Handed { file, memory }),
        _ => return Attempted::Unknown,
    };
    match tried {
        Ok(how) => Attempted::Worked(how),
        Err(error) => Attempted::Denied(error.raw_os_error().unwrap_or(-1)),
    }
}

pub(super) fn names() -> Vec<&'static str> {
    let plain = ATTEMPTS.iter().map(|(name, _)| *name);
    plain
        .chain(ON_HANDED.iter().map(|(name, _)| *name))
        .collect()
}

#[rustfmt::skip] // a table
const ATTEMPTS: &[(&str, Attempt)] = &[
    // Files
    ("open_passwd", |_| read("/etc/passwd")),
    ("open_by_dot_dot", |_| read("../../../../etc/passwd")),
    ("open_relative_to_a_descriptor", |c| done(call(libc::SYS_openat, [fd(c), text(c"../etc/passwd"), 0, 0, 0, 0]))),
    ("open_own_program", |_| read("/proc/self/exe")),
    ("open_own_memory", |_| read("/proc/self/mem")),
    ("open_own_environment", |_| read("/proc/self/environ")),
    ("open_own_descriptors", |_| fs::read_dir("/proc/self/fd").map(|d| format!("{}", d.count()))),
    ("open_memory_of_parent", |_| read(&format!("/proc/{}/mem", parent()))),
    ("open_environment_of_parent", |_| read(&format!("/proc/{}/environ", parent()))),
    ("open_root_by_proc", |_| read("/proc/1/root/etc/passwd")),
    ("open_device", |_| read("/dev/mem")),
    ("open_null_device", |_| read("/dev/null")),
    ("open_library", |_| read("/etc/ld.so.cache")),
    ("openat2", |_| {
        let how = [0_u64; 3];
        done(call(libc::SYS_openat2, [at_cwd(), text(c"/etc/passwd"), how.as_ptr() as usize, size_of_val(&how), 0, 0]))
    }),
    ("list_root", |_| fs::read_dir("/").map(|d| format!("{}", d.count()))),
    ("create_file", |_| File::create_new(scratch("file")).map(|_| "created".into())),
    ("append_to_file", |_| OpenOptions::new().append(true).open("/etc/passwd").map(|_| "opened".into())),
    ("truncate_file", |_| OpenOptions::new().write(true).truncate(true).open(scratch("cut")).map(|_| "cut".into())),
    ("create_folder", |_| fs::create_dir(scratch("folder")).map(|()| "created".into())),
    ("remove_file", |_| fs::remove_file(scratch("removed")).map(|()| "removed".into())),
    ("rename_file", |_| fs::rename(scratch("renamed"), scratch("renamed-to")).map(|()| "renamed".into())),
    ("symbolic_link", |_| symlink("/etc/passwd", scratch("symlink")).map(|()| "linked".into())),
    ("hard_link", |_| fs::hard_link(scratch("linked"), scratch("hardlink")).map(|()| "linked".into())),
    ("read_link", |_| fs::read_link("/proc/self/exe").map(|p| p.display().to_string())),
    ("existence_of_file", |_| done(call(libc::SYS_faccessat, [at_cwd(), text(c"/etc/passwd"), 0, 0, 0, 0]))),
    ("status_of_file", |_| fs::metadata("/etc/passwd").map(|m| m.len().to_string())),
    ("change_mode", |_| fs::set_permissions("/nonexistent", fs::Permissions::from_mode(0o777)).map(|()| "set".into())),
    ("change_owner", |_| std::os::unix::fs::chown("/nonexistent", Some(0), Some(0)).map(|()| "set".into())),
    ("make_device", |_| done(call(libc::SYS_mknodat, [at_cwd(), text(c"/tmp/pericard-attempt-device"), 0o20666, 0x103, 0, 0]))),
    ("change_folder", |_| std::env::set_current_dir("/etc").map(|()| "changed".into())),
    ("watch_files", |_| done(call(libc::SYS_inotify_init1, [0; 6]))),
    ("mark_files", |_| done(call(libc::SYS_fanotify_init, [0; 6]))),
    ("file_handle", |_| {
        let mut handle = [0_u8; 136];
        let mut mount = 0_i32;
        done(call(libc::SYS_name_to_handle_at, [
            at_cwd(), text(c"/etc/passwd"), handle.as_mut_ptr() as usize, (&raw mut mount) as usize, 0, 0,
        ]))
    }),
    ("open_by_handle", |_| done(call(libc::SYS_open_by_handle_at, [at_cwd(), 0, 0, 0, 0, 0]))),
    ("open_tree", |_| done(call(libc::SYS_open_tree, [at_cwd(), text(c"/"), 0, 0, 0, 0]))),
    ("file_in_memory", |_| done(call(libc::SYS_memfd_create, [text(c"code"), 0, 0, 0, 0, 0]))),
    ("terminal_input", |c| done(call(libc::SYS_ioctl, [fd(c), libc::TIOCSTI as usize, text(c"x"), 0, 0, 0]))),
    // Network
    ("tcp", |_| socket(libc::AF_INET, libc::SOCK_STREAM)),
    ("tcp_6", |_| socket(libc::AF_INET6, libc::SOCK_STREAM)),
    ("udp", |_| socket(libc::AF_INET, libc::SOCK_DGRAM)),
    ("unix", |_| socket(libc::AF_UNIX, libc::SOCK_STREAM)),
    ("unix_pair", |_| std::os::unix::net::UnixStream::pair().map(|_| "made".into())),
    ("netlink", |_| socket(libc::AF_NETLINK, libc::SOCK_RAW)),
    ("vsock", |_| socket(libc::AF_VSOCK, libc::SOCK_STREAM)),
    ("raw_packets", |_| socket(libc::AF_PACKET, libc::SOCK_RAW)),
    ("kernel_crypto", |_| socket(libc::AF_ALG, libc::SOCK_SEQPACKET)),
    ("bind", |c| done(call(libc::SYS_bind, [fd(c), 0, 0, 0, 0, 0]))),
    ("listen", |c| done(call(libc::SYS_listen, [fd(c), 1, 0, 0, 0, 0]))),
    ("connect", |c| done(call(libc::SYS_connect, [fd(c), 0, 0, 0, 0, 0]))),
    ("accept", |c| done(call(libc::SYS_accept4, [fd(c), 0, 0, 0, 0, 0]))),
    ("connect_to_the_world", |_| connect(TO_THE_WORLD)),
    ("connect_to_this_machine", |_| connect(TO_THIS_MACHINE)),
    ("listen_on_a_port", |_| listen()),
    ("datagram_to_the_world", |_| send(TO_THE_WORLD)),
    ("datagram_to_this_machine", |_| send(TO_THIS_MACHINE)),
    ("connect_to_a_socket_file", |_| connect_to_file(b"/nonexistent/pericard")),
    ("smuggle_descriptor_out", |c| smuggle(c, c)),
    ("send_to", |c| done(call(libc::SYS_sendto, [fd(c), 0, 0, 0, 0, 0]))),
    ("send_many", |c| done(call(libc::SYS_sendmmsg, [fd(c), 0, 0, 0, 0, 0]))),
    ("identity_of_parent", |c| {
        let (mut who, mut size) = ([0_u8; 12], 12_u32);
        done(call(libc::SYS_getsockopt, [
            fd(c), libc::SOL_SOCKET as usize, libc::SO_PEERCRED as usize,
            who.as_mut_ptr() as usize, (&raw mut size) as usize, 0,
        ]))
    }),
    // Processes
    ("execute", |_| execute(c"/bin/true")),
    ("execute_itself", |_| execute(c"/proc/self/exe")),
    ("fork", |_| child(call(libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0, 0, 0, 0]))),
    ("clone3", |_| {
        let how = [0_u64, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0];
        child(call(libc::SYS_clone3, [how.as_ptr() as usize, size_of_val(&how), 0, 0, 0, 0]))
    }),
    ("thread", |_| std::thread::Builder::new().spawn(|| ()).map(|_| "started".into())),
    ("signal_parent", |_| done(call(libc::SYS_kill, [parent(), 0, 0, 0, 0, 0]))),
    ("signal_everybody", |_| done(call(libc::SYS_kill, [-1_isize as usize, 0, 0, 0, 0, 0]))),
    ("signal_thread_of_parent", |_| done(call(libc::SYS_tgkill, [parent(), parent(), 0, 0, 0, 0]))),
    ("signal_any_thread", |_| done(call(libc::SYS_tkill, [parent(), 0, 0, 0, 0, 0]))),
    ("queue_signal", |_| {
        let information = [0_u8; 128];
        done(call(libc::SYS_rt_sigqueueinfo, [parent(), 0, information.as_ptr() as usize, 0, 0, 0]))
    }),
    ("handle_of_parent", |_| done(call(libc::SYS_pidfd_open, [parent(), 0, 0, 0, 0, 0]))),
    ("descriptor_of_parent", |c| done(call(libc::SYS_pidfd_getfd, [fd(c), 0, 0, 0, 0, 0]))),
    ("signal_by_handle", |c| done(call(libc::SYS_pidfd_send_signal, [fd(c), 0, 0, 0, 0, 0]))),
    ("trace_parent", |_| done(call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as usize, parent(), 0, 0, 0, 0]))),
    ("be_traced", |_| done(call(libc::SYS_ptrace, [libc::PTRACE_TRACEME as usize, 0, 0, 0, 0, 0]))),
    ("read_memory_of_parent", |_| done(call(libc::SYS_process_vm_readv, [parent(), 0, 0, 0, 0, 0]))),
    ("write_memory_of_parent", |_| done(call(libc::SYS_process_vm_writev, [parent(), 0, 0, 0, 0, 0]))),
    ("compare_with_parent", |_| done(call(libc::SYS_kcmp, [parent(), own(), 0, 0, 0, 0]))),
    ("limits_of_parent", |_| {
        let mut old = [0_u64; 2];
        done(call(libc::SYS_prlimit64, [parent(), 7, 0, old.as_mut_ptr() as usize, 0, 0]))
    }),
    ("raise_own_limits", |_| {
        let limit = [u64::MAX; 2];
        done(call(libc::SYS_prlimit64, [0, libc::RLIMIT_CPU as usize, limit.as_ptr() as usize, 0, 0, 0]))
    }),
    ("priority", |_| done(call(libc::SYS_setpriority, [0, 0, 0, 0, 0, 0]))),
    ("real_time", |_| {
        let one = 1_i32;
        done(call(libc::SYS_sched_setscheduler, [0, 1, (&raw const one) as usize, 0, 0, 0]))
    }),
    ("affinity", |_| {
        let all = [u64::MAX; 16];
        done(call(libc::SYS_sched_setaffinity, [0, size_of_val(&all), all.as_ptr() as usize, 0, 0, 0]))
    }),
    ("new_session", |_| done(call(libc::SYS_setsid, [0; 6]))),
    ("become_root", |_| done(call(libc::SYS_setuid, [0; 6]))),
    ("become_group_root", |_| done(call(libc::SYS_setgid, [0; 6]))),
    ("groups", |_| done(call(libc::SYS_setgroups, [0; 6]))),
    ("capabilities", |_| {
        let header = [0x2008_0522_u32, 0];
        let all = [u32::MAX; 6];
        done(call(libc::SYS_capset, [header.as_ptr() as usize, all.as_ptr() as usize, 0, 0, 0, 0]))
    }),
    ("be_dumpable", |_| control(libc::PR_SET_DUMPABLE, 1)),
    ("outlive_parent", |_| control(libc::PR_SET_PDEATHSIG, 0)),
    ("no_more_filters", |_| control(libc::PR_SET_SECCOMP, 0)),
    ("second_numbers", |_| done(call(libc::SYS_getppid | 0x4000_0000, [0; 6]))),
    ("personality", |_| done(call(libc::SYS_personality, [libc::ADDR_NO_RANDOMIZE as usize, 0, 0, 0, 0, 0]))),
    // The kernel
    ("io_uring", |_| done(call(libc::SYS_io_uring_setup, [1, 0, 0, 0, 0, 0]))),
    ("io_uring_enter", |c| done(call(libc::SYS_io_uring_enter, [fd(c), 0, 0, 0, 0, 0]))),
    ("bpf", |_| done(call(libc::SYS_bpf, [0; 6]))),
    ("performance_counters", |_| done(call(libc::SYS_perf_event_open, [0; 6]))),
    ("user_faults", |_| done(call(libc::SYS_userfaultfd, [0; 6]))),
    ("kernel_keys", |_| done(call(libc::SYS_keyctl, [0, -3_isize as usize, 0, 0, 0, 0]))),
    ("add_key", |_| done(call(libc::SYS_add_key, [0; 6]))),
    ("request_key", |_| done(call(libc::SYS_request_key, [0; 6]))),
    ("mount", |_| done(call(libc::SYS_mount, [0; 6]))),
    ("unmount", |_| done(call(libc::SYS_umount2, [text(c"/nonexistent"), 0, 0, 0, 0, 0]))),
    ("pivot_root", |_| done(call(libc::SYS_pivot_root, [text(c"/nonexistent"), text(c"/nonexistent"), 0, 0, 0, 0]))),
    ("chroot", |_| done(call(libc::SYS_chroot, [text(c"/"), 0, 0, 0, 0, 0]))),
    ("leave_namespaces", |_| done(call(libc::SYS_unshare, [libc::CLONE_NEWUSER as usize, 0, 0, 0, 0, 0]))),
    ("enter_namespace", |c| done(call(libc::SYS_setns, [fd(c), 0, 0, 0, 0, 0]))),
    ("load_kernel", |_| done(call(libc::SYS_kexec_load, [0, 0, 0, usize::MAX, 0, 0]))),
    ("load_module", |_| done(call(libc::SYS_init_module, [0; 6]))),
    ("remove_module", |_| done(call(libc::SYS_delete_module, [text(c"nonexistent"), 0, 0, 0, 0, 0]))),
    ("reboot", |_| done(call(libc::SYS_reboot, [0; 6]))),
    ("swap", |_| done(call(libc::SYS_swapon, [text(c"/nonexistent"), 0, 0, 0, 0, 0]))),
    ("accounting", |_| done(call(libc::SYS_acct, [text(c"/nonexistent"), 0, 0, 0, 0, 0]))),
    ("kernel_log", |_| done(call(libc::SYS_syslog, [10, 0, 0, 0, 0, 0]))),
    ("host_name", |_| done(call(libc::SYS_sethostname, [text(c""), usize::MAX, 0, 0, 0, 0]))),
    ("clock", |_| done(call(libc::SYS_clock_settime, [0; 6]))),
    ("shared_memory", |_| done(call(libc::SYS_shmget, [0, 4096, 0o600, 0, 0, 0]))),
    ("message_queue", |_| done(call(libc::SYS_msgget, [0, 0o600, 0, 0, 0, 0]))),
    ("semaphores", |_| done(call(libc::SYS_semget, [0, 1, 0o600, 0, 0, 0]))),
    ("timer", |_| {
        let mut timer = 0_i32;
        done(call(libc::SYS_timer_create, [0, 0, (&raw mut timer) as usize, 0, 0, 0]))
    }),
    ("splice", |c| done(call(libc::SYS_splice, [fd(c), 0, fd(c), 0, 1, 0]))),
    ("system_of_machine", |_| {
        let mut name = [0_u8; 6 * 65];
        done(call(libc::SYS_uname, [name.as_mut_ptr() as usize, 0, 0, 0, 0, 0]))
    }),
    // Memory, computing, and the traces they leave
    ("map_code", |_| map(4096, libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE)),
    ("map_writable_code", |_| map(4096, libc::PROT_WRITE | libc::PROT_EXEC, libc::MAP_PRIVATE)),
    ("make_memory_code", |_| {
        let page = call(libc::SYS_mmap, [0, 4096, 3, (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize, usize::MAX, 0])?;
        done(call(libc::SYS_mprotect, [page, 4096, (libc::PROT_READ | libc::PROT_EXEC) as usize, 0, 0, 0]))
    }),
    ("memory_beyond_the_cap", |_| map(64 << 30, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE)),
    ("shared_memory_beyond_the_cap", |_| map(64 << 30, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED)),
    ("many_small_maps_beyond_the_cap", |_| {
        for _ in 0..1024 {
            map(64 << 20, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE)?;
        }
        Ok("64 GiB".into())
    }),
    ("allocate_beyond_the_cap", |_| Ok(format!("{}", vec![1_u8; 64 << 30].len()))),
    ("lock_memory", |_| done(call(libc::SYS_mlockall, [1, 0, 0, 0, 0, 0]))),
    ("compute_beyond_the_cap", |_| loop { std::hint::spin_loop() }),
    ("hang", |_| loop { std::thread::park() }),
    ("overflow_the_stack", |_| Ok(format!("{}", deep(0)))),
    ("dump_core", |_| abort()),
    ("descriptors_beyond_the_cap", |c| {
        for held in 0..1_000_000 {
            call(libc::SYS_fcntl, [fd(c), libc::F_DUPFD_CLOEXEC as usize, 0, 0, 0, 0])
                .inspect_err(|_| close_from(10, held))?;
        }
        Ok("a million".into())
    }),
];

/// On what a worker is handed: an object's file, opened for reading, and sealed memory with a picture.
#[rustfmt::skip] // a table
const ON_HANDED: &[(&str, AttemptOnHanded)] = &[
    // Nothing is written where it works: the file is somebody's.
    ("write_to_file", |_, h| done(call(libc::SYS_write, [raw(h.file), text(c"x"), 0, 0, 0, 0]))),
    ("write_at_place_of_file", |_, h| done(call(libc::SYS_pwrite64, [raw(h.file), text(c"x"), 0, 0, 0, 0]))),
    ("map_file_to_write", |_, h| map_handed(h.file, libc::PROT_READ | libc::PROT_WRITE)),
    ("map_file_and_make_it_writable", |_, h| map_and_make_writable(h.file)),
    ("map_file_as_code", |_, h| map_handed(h.file, libc::PROT_READ | libc::PROT_EXEC)),
    ("grow_file", |_, h| done(call(libc::SYS_ftruncate, [raw(h.file), 1 << 40, 0, 0, 0, 0]))),
    ("cut_file", |_, h| done(call(libc::SYS_ftruncate, [raw(h.file), 0, 0, 0, 0, 0]))),
    ("mode_of_file", |_, h| done(call(libc::SYS_fchmod, [raw(h.file), 0o600, 0, 0, 0, 0]))),
    ("open_file_again_to_write", |_, h| OpenOptions::new().write(true).open(by_number(h.file)).map(|_| "opened".into())),
    ("give_file_another_name", |_, h| {
        let (from, to) = (terminated(&by_number(h.file)), terminated(&scratch("smuggled")));
        done(call(libc::SYS_linkat, [
            at_cwd(), from.as_ptr() as usize, at_cwd(), to.as_ptr() as usize, libc::AT_SYMLINK_FOLLOW as usize, 0,
        ]))
    }),
    ("smuggle_file_out", |c, h| smuggle(c, h.file)),
    ("write_to_memory", |_, h| done(call(libc::SYS_write, [raw(h.memory), text(c"x"), 1, 0, 0, 0]))),
    ("write_at_place_of_memory", |_, h| done(call(libc::SYS_pwrite64, [raw(h.memory), text(c"x"), 1, 0, 0, 0]))),
    ("map_memory_to_write", |_, h| map_handed(h.memory, libc::PROT_READ | libc::PROT_WRITE)),
    ("map_memory_and_make_it_writable", |_, h| map_and_make_writable(h.memory)),
    ("map_memory_as_code", |_, h| map_handed(h.memory, libc::PROT_READ | libc::PROT_EXEC)),
    ("grow_what_was_handed_over", |_, h| done(call(libc::SYS_ftruncate, [raw(h.memory), 1 << 40, 0, 0, 0, 0]))),
    ("cut_memory", |_, h| done(call(libc::SYS_ftruncate, [raw(h.memory), 0, 0, 0, 0, 0]))),
    ("punch_memory", |_, h| {
        let how = (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE) as usize;
        done(call(libc::SYS_fallocate, [raw(h.memory), how, 0, 4096, 0, 0]))
    }),
    ("seal_memory_anew", |_, h| done(call(libc::SYS_fcntl, [raw(h.memory), libc::F_ADD_SEALS as usize, 0, 0, 0, 0]))),
    ("open_memory_again_to_write", |_, h| {
        let again = OpenOptions::new().read(true).write(true).open(by_number(h.memory))?;
        again.write_at(b"x", 0).map(|_| "written".into())
    }),
    ("smuggle_memory_out", |c, h| smuggle(c, h.memory)),
    ("execute_from_memory", |_, h| done(call(libc::SYS_execveat, [
        raw(h.memory), text(c""), 0, 0, libc::AT_EMPTY_PATH as usize, 0,
    ]))),
];

fn call(number: libc::c_long, a: [usize; 6]) -> io::Result<usize> {
    // SAFETY: see the head of the file.
    match unsafe { libc::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]) } {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value as usize),
    }
}

fn done(result: io::Result<usize>) -> Tried {
    result.map(|value| format!("gave {value}"))
}

/// In the child of a fork that worked: nothing but to end.
fn child(result: io::Result<usize>) -> Tried {
    if matches!(result, Ok(0)) {
        // SAFETY: `_exit` runs nothing of ours.
        unsafe { libc::_exit(0) }
    }
    done(result)
}

fn abort() -> Tried {
    // SAFETY: the attempt is to leave a core file behind.
    unsafe { libc::abort() }
}

fn read(path: &str) -> Tried {
    File::open(path).map(|_| format!("opened {path}"))
}

fn socket(family: i32, kind: i32) -> Tried {
    done(call(
        libc::SYS_socket,
        [family as usize, kind as usize, 0, 0, 0, 0],
    ))
}

/// A documentation address (RFC 5737), where nobody is.
const TO_THE_WORLD: ([u8; 4], u16) = ([192, 0, 2, 1], 9);
const TO_THIS_MACHINE: ([u8; 4], u16) = ([127, 0, 0, 1], 9);

/// Without waiting for an answer: a connection that is on its way has got out.
fn connect((host, port): ([u8; 4], u16)) -> Tried {
    let kind = (libc::SOCK_STREAM | libc::SOCK_NONBLOCK) as usize;
    let family = libc::AF_INET as usize;
    let socket = call(libc::SYS_socket, [family, kind, 0, 0, 0, 0])?;
    let to = address(host, port);
    let (place, bytes) = (to.as_ptr() as usize, to.len());
    let connected = call(libc::SYS_connect, [socket, place, bytes, 0, 0, 0]);
    let _ = call(libc::SYS_close, [socket, 0, 0, 0, 0, 0]);
    match connected {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok("on its way".into()),
        connected => done(connected),
    }
}

fn connect_to_file(path: &[u8]) -> Tried {
    let (family, kind) = (libc::AF_UNIX as usize, libc::SOCK_STREAM as usize);
    let socket = call(libc::SYS_socket, [family, kind, 0, 0, 0, 0])?;
    let to = [&(libc::AF_UNIX as u16).to_ne_bytes(), path, &[0]].concat(); // unix(7): `sockaddr_un`
    let (place, bytes) = (to.as_ptr() as usize, to.len());
    let connected = call(libc::SYS_connect, [socket, place, bytes, 0, 0, 0]);
    let _ = call(libc::SYS_close, [socket, 0, 0, 0, 0, 0]);
    done(connected)
}

/// On any port of any address.
fn listen() -> Tried {
    let (family, kind) = (libc::AF_INET as usize, libc::SOCK_STREAM as usize);
    let socket = call(libc::SYS_socket, [family, kind, 0, 0, 0, 0])?;
    let at = address([0; 4], 0);
    let (place, bytes) = (at.as_ptr() as usize, at.len());
    let bound = call(libc::SYS_bind, [socket, place, bytes, 0, 0, 0]);
    let listens = bound.and_then(|_| call(libc::SYS_listen, [socket, 1, 0, 0, 0, 0]));
    let _ = call(libc::SYS_close, [socket, 0, 0, 0, 0, 0]);
    done(listens)
}

/// ip(7): `sockaddr_in`.
fn address(address: [u8; 4], port: u16) -> [u8; 16] {
    let mut whole = [0_u8; 16];
    whole[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    whole[2..4].copy_from_slice(&port.to_be_bytes());
    whole[4..8].copy_from_slice(&address);
    whole
}

/// An empty datagram.
fn send((host, port): ([u8; 4], u16)) -> Tried {
    let (family, kind) = (libc::AF_INET as usize, libc::SOCK_DGRAM as usize);
    let socket = call(libc::SYS_socket, [family, kind, 0, 0, 0, 0])?;
    let to = address(host, port);
    let (place, bytes) = (to.as_ptr() as usize, to.len());
    let sent = call(libc::SYS_sendto, [socket, 0, 0, 0, place, bytes]);
    let _ = call(libc::SYS_close, [socket, 0, 0, 0, 0, 0]);
    done(sent)
}

fn smuggle(channel: &Channel, what: &impl AsFd) -> Tried {
    match channel.send_with(&Attempted::Unknown, &[what.as_fd()]) {
        Ok(()) => Ok("sent".into()),
        Err(ChannelError::Io(error)) => Err(error),
        Err(other) => Err(io::Error::other(other)),
    }
}

fn execute(program: &CStr) -> Tried {
    let arguments = [program.as_ptr(), std::ptr::null()];
    let nothing = [std::ptr::null::<u8>()];
    let (arguments, nothing) = (arguments.as_ptr() as usize, nothing.as_ptr() as usize);
    done(call(
        libc::SYS_execve,
        [text(program), arguments, nothing, 0, 0, 0],
    ))
}

fn control(what: i32, value: usize) -> Tried {
    done(call(libc::SYS_prctl, [what as usize, value, 0, 0, 0, 0]))
}

fn map(bytes: usize, protection: i32, kind: i32) -> Tried {
    let flags = (kind | libc::MAP_ANONYMOUS) as usize;
    done(call(
        libc::SYS_mmap,
        [0, bytes, protection as usize, flags, usize::MAX, 0],
    ))
}

fn map_handed(what: &OwnedFd, protection: i32) -> Tried {
    let shared = libc::MAP_SHARED as usize;
    done(call(
        libc::SYS_mmap,
        [0, PAGE_BYTES, protection as usize, shared, raw(what), 0],
    ))
}

fn map_and_make_writable(what: &OwnedFd) -> Tried {
    let (read, shared) = (libc::PROT_READ as usize, libc::MAP_SHARED as usize);
    let page = call(libc::SYS_mmap, [0, PAGE_BYTES, read, shared, raw(what), 0])?;
    let both = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    done(call(libc::SYS_mprotect, [page, PAGE_BYTES, both, 0, 0, 0]))
}

/// Gives back what was duplicated, so that the worker can still answer.
fn close_from(first: usize, count: usize) {
    for descriptor in first..first + count + 64 {
        let _ = call(libc::SYS_close, [descriptor, 0, 0, 0, 0, 0]);
    }
}

#[allow(unconditional_recursion)] // the attempt
fn deep(at: u64) -> u64 {
    let page = std::hint::black_box([at; 512]);
    deep(at + 1) + page[at as usize % 512]
}

fn text(text: &CStr) -> usize {
    text.as_ptr() as usize
}

fn fd(channel: &Channel) -> usize {
    channel.as_fd().as_raw_fd() as usize
}

fn raw(what: &OwnedFd) -> usize {
    what.as_raw_fd() as usize
}

/// The name under which a process finds what it has open.
fn by_number(what: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", what.as_raw_fd())
}

fn terminated(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn at_cwd() -> usize {
    libc::AT_FDCWD as isize as usize
}

fn parent() -> usize {
    std::os::unix::process::parent_id() as usize
}

fn own() -> usize {
    std::process::id() as usize
}

fn scratch(name: &str) -> String {
    format!("{SCRATCH}{name}")
}
