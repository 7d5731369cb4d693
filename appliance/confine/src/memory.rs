//! Shared memory for pixels and tensors.
//!
//! The parent makes all of it. What it fills itself it seals before it hands it over, so a worker cannot change it under
//! anybody. What a worker is to fill is a [`Room`]: its size is sealed, and it becomes [`Memory`] once the kernel has
//! sealed it against writing, which it refuses for as long as the worker still has a way to write.

use crate::kernel;
use memmap2::{Mmap, MmapMut};
#[cfg(target_os = "linux")]
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Sealed memory: its bytes cannot change any more. Cheap to hand on; freed when the last holder is gone.
#[derive(Debug)]
pub struct Memory {
    descriptor: OwnedFd,
    bytes: usize,
}

/// Memory that a worker is to fill.
#[derive(Debug)]
pub struct Room {
    descriptor: OwnedFd,
    bytes: usize,
}

impl Memory {
    /// Sealed memory with these pieces one after another.
    ///
    /// # Errors
    /// When the system has no memory left.
    pub fn holding<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> io::Result<Self> {
        let descriptor = anonymous()?;
        let mut at = 0;
        for mut piece in pieces {
            while !piece.is_empty() {
                let written = rustix::io::pwrite(&descriptor, piece, at as u64)?;
                at += written;
                piece = &piece[written..];
            }
        }
        seal(&descriptor)?;
        Ok(Self {
            descriptor,
            bytes: at,
        })
    }

    /// Sealed memory that came from the other side.
    ///
    /// # Errors
    /// When it is not sealed: what it shows could then change or vanish while it is read.
    pub fn received(descriptor: OwnedFd) -> io::Result<Self> {
        if !is_sealed(&descriptor)? {
            return Err(io::Error::other("the memory is not sealed"));
        }
        let bytes = size(&descriptor)?;
        Ok(Self { descriptor, bytes })
    }

    /// The same memory, of which only the first bytes count.
    #[must_use]
    pub fn cut(self, bytes: usize) -> Self {
        Self {
            bytes: self.bytes.min(bytes),
            ..self
        }
    }

    /// Its size, bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Maps it for reading.
    ///
    /// # Errors
    /// When the address space is used up.
    pub fn map(&self) -> io::Result<Mmap> {
        kernel::map_sealed(self.descriptor.as_fd(), self.bytes)
    }
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Room {
    /// Room for so many bytes, all zero. Pages cost nothing until they are written.
    ///
    /// # Errors
    /// When the system has no memory left.
    pub fn of(bytes: usize) -> io::Result<Self> {
        let descriptor = anonymous()?;
        rustix::fs::ftruncate(&descriptor, bytes as u64)?;
        seal_size(&descriptor)?;
        Ok(Self { descriptor, bytes })
    }

    /// Room that came from the parent.
    ///
    /// # Errors
    /// When its size cannot be told.
    pub fn received(descriptor: OwnedFd) -> io::Result<Self> {
        let bytes = size(&descriptor)?;
        Ok(Self { descriptor, bytes })
    }

    /// Its size, bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The worker's side: maps it for writing. The mapping must be gone before the parent is told that it is filled.
    ///
    /// # Errors
    /// When the address space is used up.
    pub fn map(&self) -> io::Result<MmapMut> {
        kernel::map_to_fill(self.descriptor.as_fd(), self.bytes)
    }

    /// The parent's side: takes it as filled.
    ///
    /// # Errors
    /// When somebody can still write to it.
    pub fn filled(self) -> io::Result<Memory> {
        seal(&self.descriptor)?;
        Ok(Memory {
            descriptor: self.descriptor,
            bytes: self.bytes,
        })
    }
}

impl AsFd for Room {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// By seeking, not by asking for the file's status: a worker may not ask for that.
fn size(descriptor: &OwnedFd) -> io::Result<usize> {
    let end = rustix::fs::seek(descriptor, rustix::fs::SeekFrom::End(0))?;
    usize::try_from(end).map_err(io::Error::other)
}

#[cfg(target_os = "linux")]
fn anonymous() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    Ok(memfd_create(c"pericard", flags)?)
}

#[cfg(target_os = "linux")]
fn seal(descriptor: &OwnedFd) -> io::Result<()> {
    let all = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    Ok(fcntl_add_seals(descriptor, all)?)
}

#[cfg(target_os = "linux")]
fn seal_size(descriptor: &OwnedFd) -> io::Result<()> {
    Ok(fcntl_add_seals(
        descriptor,
        SealFlags::SHRINK | SealFlags::GROW,
    )?)
}

#[cfg(target_os = "linux")]
fn is_sealed(descriptor: &OwnedFd) -> io::Result<bool> {
    let due = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW;
    Ok(fcntl_get_seals(descriptor)?.contains(due))
}

/// Elsewhere a file without a name serves; nothing seals it, as nothing confines a worker there.
#[cfg(not(target_os = "linux"))]
fn anonymous() -> io::Result<OwnedFd> {
    let name = format!(
        "/pericard-{}-{:x}",
        std::process::id(),
        std::time::Instant::now().elapsed().as_nanos()
    );
    let descriptor = rustix::shm::open(
        &name,
        rustix::shm::OFlags::CREATE | rustix::shm::OFlags::EXCL | rustix::shm::OFlags::RDWR,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )?;
    rustix::shm::unlink(&name)?;
    Ok(descriptor)
}

#[cfg(not(target_os = "linux"))]
fn seal(_: &OwnedFd) -> io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn seal_size(_: &OwnedFd) -> io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn is_sealed(_: &OwnedFd) -> io::Result<bool> {
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_memory_cannot_be_changed_and_says_its_size() {
        let memory = Memory::holding([&b"ab"[..], b"", b"cde"].into_iter()).unwrap();
        assert_eq!(
            (memory.bytes(), &memory.map().unwrap()[..]),
            (5, &b"abcde"[..])
        );
        assert!(rustix::io::pwrite(&memory, b"x", 0).is_err());
        assert!(rustix::fs::ftruncate(&memory, 1).is_err());
        let again = Memory::received(memory.descriptor.try_clone().unwrap()).unwrap();
        assert_eq!(again.bytes(), 5);
        assert_eq!(Memory::holding(std::iter::empty()).unwrap().bytes(), 0);
    }

    #[test]
    fn room_is_taken_only_when_nobody_can_write_any_more() {
        let room = Room::of(8192).unwrap();
        let worker = Room::received(room.descriptor.try_clone().unwrap()).unwrap();
        let mut mapped = worker.map().unwrap();
        mapped[8191] = 7;
        assert!(Memory::received(room.descriptor.try_clone().unwrap()).is_err());
        assert!(rustix::fs::ftruncate(&worker, 1 << 40).is_err());
        let room = Room {
            descriptor: room.descriptor.try_clone().unwrap(),
            bytes: room.bytes,
        };
        assert!(seal(&room.descriptor).is_err(), "it is still mapped");
        drop(mapped);
        let memory = room.filled().unwrap();
        assert_eq!(memory.map().unwrap()[8191], 7);
        assert!(rustix::io::pwrite(&worker, b"x", 0).is_err());
    }
}
