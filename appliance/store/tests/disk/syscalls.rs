//! The calls by which anything reaches the disk, in front of the C library's: the linker finds these first, for Rust's
//! standard library and for SQLite. Each asks whoever watches that directory, and then does what the kernel's call does.
//!
//! Not here: calls that change nothing on disk, and memory maps. SQLite maps its `-shm` file only, which it rebuilds
//! after a crash and never trusts.

#![allow(unsafe_code)] // symbols of the C library, with its raw pointers, cannot be had without

use libc::{c_char, c_int, c_long, c_uint, c_void, off64_t, size_t, ssize_t};
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A call that may change what is on disk.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Call<'a> {
    /// A new file, or an old one made empty.
    Create,
    Write {
        at: u64,
        bytes: &'a [u8],
    },
    Truncate {
        len: u64,
    },
    /// fsync or fdatasync of a file.
    Sync,
    /// fsync of a directory.
    SyncDir,
    Rename {
        to: &'a Path,
    },
    Unlink,
    MakeDir,
}

impl Call<'_> {
    /// Its name, as a case is described by it.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Write { .. } => "write",
            Self::Truncate { .. } => "truncate",
            Self::Sync => "sync",
            Self::SyncDir => "sync-dir",
            Self::Rename { .. } => "rename",
            Self::Unlink => "unlink",
            Self::MakeDir => "make-dir",
        }
    }
}

/// What is to become of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is made.
    Do,
    /// It is left out, and said to have succeeded: what a program does that forgets it.
    Skip,
    /// It fails with this errno.
    Fail(c_int),
    /// A write that takes only the first half.
    Half,
    /// A sync that puts the data on disk and leaves the file's own entry alone: fdatasync.
    DataOnly,
}

/// Watches the calls on a directory. Must not make any such call itself: one is asked at a time.
pub(crate) trait Watcher: Send {
    /// Before the call on that path; `ino` is the file's number, 0 when the call is not on an open file.
    fn before(&mut self, path: &Path, ino: u64, call: &Call<'_>) -> Verdict;
    /// After it, with what came of it: whether it succeeded, and the file's number.
    fn after(&mut self, _path: &Path, _ino: u64, _call: &Call<'_>, _verdict: Verdict) {}
}

struct Watch {
    root: PathBuf,
    watcher: Box<dyn Watcher>,
}

static IS_ARMED: AtomicBool = AtomicBool::new(false);
static WATCH: Mutex<Option<Watch>> = Mutex::new(None);
/// One test watches at a time.
static GATE: Mutex<()> = Mutex::new(());

/// While it lives, the calls below `root` are watched.
pub(crate) struct Watching(#[allow(dead_code)] MutexGuard<'static, ()>);

impl Watching {
    pub(crate) fn begin(root: &Path, watcher: Box<dyn Watcher>) -> Self {
        let gate = GATE.lock().unwrap_or_else(PoisonError::into_inner);
        let root = root.canonicalize().expect("the directory to watch");
        *lock() = Some(Watch { root, watcher });
        IS_ARMED.store(true, Ordering::SeqCst);
        Self(gate)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        IS_ARMED.store(false, Ordering::SeqCst);
        *lock() = None;
    }
}

fn lock() -> MutexGuard<'static, Option<Watch>> {
    WATCH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the call as the watcher says. The lock is held meanwhile, so that the order in which calls are seen is the order
/// in which they happened.
fn watched(
    path: Option<PathBuf>,
    ino: u64,
    call: Call<'_>,
    really: &mut dyn FnMut(Verdict) -> c_long,
) -> c_long {
    let mut watch = lock();
    let Some(Watch { root, watcher }) = watch.as_mut() else {
        return really(Verdict::Do);
    };
    let Some(path) = path.filter(|path| path.starts_with(&*root)) else {
        drop(watch);
        return really(Verdict::Do);
    };
    let path = path.strip_prefix(&*root).unwrap_or(&path);
    let call = match call {
        Call::Rename { to } => Call::Rename {
            to: to.strip_prefix(&*root).unwrap_or(to),
        },
        other => other,
    };
    let verdict = watcher.before(path, ino, &call);
    let done = match verdict {
        Verdict::Skip => 0,
        Verdict::Fail(errno) => {
            watcher.after(path, ino, &call, verdict);
            // SAFETY: the thread's own errno, always valid.
            unsafe { *libc::__errno_location() = errno };
            return -1;
        }
        _ => really(verdict),
    };
    if done >= 0 {
        // A created file has its number only now; `really` gives the descriptor.
        let ino = match call {
            Call::Create => {
                c_int::try_from(done).map_or(0, |fd| of(fd).map_or(0, |(_, ino, _)| ino))
            }
            _ => ino,
        };
        watcher.after(path, ino, &call, verdict);
    }
    done
}

fn is_armed() -> bool {
    IS_ARMED.load(Ordering::Relaxed)
}

/// The path and number of an open file, and whether it is a directory. `None` for what is no file.
fn of(fd: c_int) -> Option<(PathBuf, u64, bool)> {
    // SAFETY: `stat` is written by the kernel before it is read; zeroes are a valid value of it.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live stat.
    if unsafe { libc::fstat(fd, &raw mut stat) } != 0 {
        return None;
    }
    let kind = stat.st_mode & libc::S_IFMT;
    if kind != libc::S_IFREG && kind != libc::S_IFDIR {
        return None;
    }
    let path = std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
    Some((path, stat.st_ino, kind == libc::S_IFDIR))
}

fn path_of(text: *const c_char) -> Option<PathBuf> {
    // SAFETY: the caller's own path, which ends in a zero.
    let path = Path::new(OsStr::from_bytes(
        unsafe { CStr::from_ptr(text) }.to_bytes(),
    ));
    // The file may not be there yet, but its directory is.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty())?;
    Some(dir.canonicalize().ok()?.join(path.file_name()?))
}

fn sync(fd: c_int, number: c_long) -> c_int {
    // SAFETY: a descriptor and nothing else.
    let mut really = |verdict| unsafe {
        let number = if verdict == Verdict::DataOnly {
            libc::SYS_fdatasync
        } else {
            number
        };
        libc::syscall(number, fd)
    };
    let found = if is_armed() { of(fd) } else { None };
    let done = match found {
        Some((path, ino, true)) => watched(Some(path), ino, Call::SyncDir, &mut really),
        Some((path, ino, false)) => watched(Some(path), ino, Call::Sync, &mut really),
        None => really(Verdict::Do),
    };
    c_int::try_from(done).unwrap_or(-1)
}

fn write_at(fd: c_int, bytes: &[u8], at: Option<u64>) -> ssize_t {
    let mut really = |verdict| {
        let len = if verdict == Verdict::Half {
            bytes.len().div_ceil(2)
        } else {
            bytes.len()
        };
        // SAFETY: `len` bytes of a live slice.
        unsafe {
            match at {
                Some(at) => libc::syscall(libc::SYS_pwrite64, fd, bytes.as_ptr(), len, at),
                None => libc::syscall(libc::SYS_write, fd, bytes.as_ptr(), len),
            }
        }
    };
    let found = if is_armed() && fd > 2 { of(fd) } else { None };
    let Some((path, ino, _)) = found else {
        return really(Verdict::Do) as ssize_t;
    };
    let at = at.unwrap_or_else(|| {
        // SAFETY: a descriptor and two numbers.
        let at = unsafe { libc::syscall(libc::SYS_lseek, fd, 0, libc::SEEK_CUR) };
        u64::try_from(at).unwrap_or(0)
    });
    let done = watched(Some(path), ino, Call::Write { at, bytes }, &mut really);
    // A write that is left out must say that it took everything.
    if done == 0 {
        bytes.len() as ssize_t
    } else {
        done as ssize_t
    }
}

fn open_at(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    // SAFETY: the caller's own path and numbers.
    let mut really =
        |_| unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) };
    let makes = flags & (libc::O_CREAT | libc::O_TRUNC) != 0 && flags & libc::O_PATH == 0;
    let found = if is_armed() && makes {
        path_of(path)
    } else {
        None
    };
    let is_new = found.as_ref().is_some_and(|path| !path.exists());
    let done = match found {
        Some(path) if is_new || flags & libc::O_TRUNC != 0 => {
            watched(Some(path), 0, Call::Create, &mut really)
        }
        _ => really(Verdict::Do),
    };
    c_int::try_from(done).unwrap_or(-1)
}

fn truncate(fd: c_int, len: off64_t) -> c_int {
    // SAFETY: a descriptor and a number.
    let mut really = |_| unsafe { libc::syscall(libc::SYS_ftruncate, fd, len) };
    let done = match if is_armed() { of(fd) } else { None } {
        Some((path, ino, _)) => {
            let len = u64::try_from(len).unwrap_or(0);
            watched(Some(path), ino, Call::Truncate { len }, &mut really)
        }
        None => really(Verdict::Do),
    };
    c_int::try_from(done).unwrap_or(-1)
}

#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fsync)
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fdatasync)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, len: size_t) -> ssize_t {
    // SAFETY: the caller's own bytes, as for the call of the C library; null only with nothing to write.
    let bytes = if len == 0 {
        &[]
    } else {
        unsafe { std::slice::from_raw_parts(bytes.cast(), len) }
    };
    write_at(fd, bytes, None)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(
    fd: c_int,
    bytes: *const c_void,
    len: size_t,
    at: off64_t,
) -> ssize_t {
    // SAFETY: as for `write`.
    let bytes = if len == 0 {
        &[]
    } else {
        unsafe { std::slice::from_raw_parts(bytes.cast(), len) }
    };
    write_at(fd, bytes, Some(u64::try_from(at).unwrap_or(0)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(fd: c_int, bytes: *const c_void, len: size_t, at: off64_t) -> ssize_t {
    // SAFETY: the same call under its other name.
    unsafe { pwrite64(fd, bytes, len, at) }
}

// The C library's `open` takes its mode as a variable argument. On the platforms that the appliance runs on, such an
// argument is passed as any other.
#[unsafe(no_mangle)]
extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    open_at(path, flags, mode)
}

#[unsafe(no_mangle)]
extern "C" fn open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    open_at(path, flags, mode)
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate64(fd: c_int, len: off64_t) -> c_int {
    truncate(fd, len)
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate(fd: c_int, len: off64_t) -> c_int {
    truncate(fd, len)
}

#[unsafe(no_mangle)]
extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: the caller's own paths.
    let mut really = |_| unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            from,
            libc::AT_FDCWD,
            to,
            0,
        )
    };
    let paths = if is_armed() {
        path_of(from).zip(path_of(to))
    } else {
        None
    };
    let done = match paths {
        Some((from, to)) => watched(Some(from), 0, Call::Rename { to: &to }, &mut really),
        None => really(Verdict::Do),
    };
    c_int::try_from(done).unwrap_or(-1)
}

#[unsafe(no_mangle)]
extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: the caller's own path.
    let mut really = |_| unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) };
    let done = match if is_armed() { path_of(path) } else { None } {
        Some(found) => watched(Some(found), 0, Call::Unlink, &mut really),
        None => really(Verdict::Do),
    };
    c_int::try_from(done).unwrap_or(-1)
}

#[unsafe(no_mangle)]
extern "C" fn mkdir(path: *const c_char, mode: c_uint) -> c_int {
    // SAFETY: the caller's own path and a number.
    let mut really = |_| unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode) };
    let done = match if is_armed() { path_of(path) } else { None } {
        Some(found) => watched(Some(found), 0, Call::MakeDir, &mut really),
        None => really(Verdict::Do),
    };
    c_int::try_from(done).unwrap_or(-1)
}
