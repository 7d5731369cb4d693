//! The few calls that the compiler cannot vouch for.
#![allow(unsafe_code)] // mapping memory and leaving namespaces: each call has its reason beside it

use memmap2::{Mmap, MmapMut, MmapOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Maps memory that nobody can change any more. The caller has seen its seals.
pub(crate) fn map_sealed(memory: BorrowedFd<'_>, bytes: usize) -> io::Result<Mmap> {
    let mut options = MmapOptions::new();
    // Private, as kernels before 6.7 take a shared mapping of what is sealed for a way to write. The pages are the same.
    // SAFETY: the seals forbid writing, shrinking and growing for ever, so what the slice shows cannot change or vanish.
    unsafe { options.len(bytes).map_copy_read_only(memory.as_raw_fd()) }
}

/// Maps memory to be filled by this process alone: the other side looks only once it is sealed, which the kernel refuses
/// while this mapping exists.
pub(crate) fn map_to_fill(memory: BorrowedFd<'_>, bytes: usize) -> io::Result<MmapMut> {
    // SAFETY: as said above, nobody else reads or writes while the mapping is there; its size is sealed.
    unsafe { MmapOptions::new().len(bytes).map_mut(memory.as_raw_fd()) }
}

/// Closes every descriptor from 3 on.
#[cfg(target_os = "linux")]
pub(crate) fn close_inherited() -> io::Result<()> {
    // SAFETY: the worker has just begun: it has opened nothing, so no descriptor from 3 on has an owner in it.
    match unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How many heaps the process spreads its threads over. glibc's own answer is eight for each processor; each keeps what its
/// threads once needed, and a server that lives for months grows by that.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HEAPS_MAX: i32 = 2;

/// Keeps the process to a few heaps. To be called before it has threads.
pub fn keep_few_heaps() {
    // SAFETY: it sets a number of the allocator's own and touches no memory of ours.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, HEAPS_MAX);
    }
}

/// Leaves namespaces.
#[cfg(target_os = "linux")]
pub(crate) fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: network, IPC and user namespaces; the descriptor table and the file system context stay as they are.
    match unsafe { libc::unshare(flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The kernel's Landlock version; 0 when it has none.
#[cfg(target_os = "linux")]
pub(crate) fn landlock_version() -> i64 {
    const VERSION: u32 = 1;
    // SAFETY: with this flag nothing is read through the null pointer.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0_usize,
            VERSION,
        )
    };
    version.max(0)
}
