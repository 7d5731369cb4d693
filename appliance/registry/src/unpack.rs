//! A package out of a tar, into a directory that nobody else uses: plain files only, with limits.

use crate::package::PackageError;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Component, Path};

/// The most entries of a tar.
const ENTRIES_MAX: usize = 8192;
/// The most bytes that a tar may unpack to: larger than any model that fits one server.
const UNPACKED_BYTES_MAX: u64 = 512 * 1024 * 1024 * 1024;

pub(crate) fn unpack_tar(tar: &Path, into: &Path) -> Result<(), PackageError> {
    let mut archive = tar::Archive::new(File::open(tar).map_err(PackageError::io(tar))?);
    let (mut entries, mut bytes) = (0, 0_u64);
    for entry in archive.entries().map_err(PackageError::io(tar))? {
        let mut entry = entry.map_err(PackageError::io(tar))?;
        let path = entry.path().map_err(PackageError::io(tar))?.into_owned();
        let path: std::path::PathBuf = path
            .components()
            .filter(|c| *c != Component::CurDir)
            .collect();
        if !path.components().all(|c| matches!(c, Component::Normal(_))) {
            return Err(PackageError::Path(path));
        }
        entries += 1;
        bytes = bytes.saturating_add(entry.size());
        if entries > ENTRIES_MAX || bytes > UNPACKED_BYTES_MAX {
            return Err(PackageError::Manifest(
                "the tar has more entries or bytes than a package may".into(),
            ));
        }
        match entry.header().entry_type() {
            tar::EntryType::Directory => {
                fs::create_dir_all(into.join(&path)).map_err(PackageError::io(&path))?;
            }
            tar::EntryType::Regular => {
                write_new(&into.join(&path), &mut entry).map_err(PackageError::io(&path))?
            }
            _ => return Err(PackageError::NotAFile(path)),
        }
    }
    Ok(())
}

pub(crate) fn write_new(to: &Path, from: &mut impl Read) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(to)?;
    io::copy(from, &mut file)?;
    file.sync_all()
}
