//! Where fetched files lie, and how they get there whole or not at all.

use crate::error::Error;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// `$XDG_CACHE_HOME/pericard`, or `~/.cache/pericard`.
///
/// | folder | holds |
/// |---|---|
/// | `wheels/` | wheels as downloaded |
/// | `onnxruntime/` | `libonnxruntime.so` and its licences |
/// | `packages/<name>/` | `models/<name>/` with its payload put in place: a whole model package |
/// | `samples/` | sample studies |
/// | `venv/` | the private Python environment |
/// | `venv-load/` | that of the load generator, for the long tests |
/// | `cuda-<version>/` | the toolkit that kernels are compiled with |
/// | `kernels/` | compiled kernels, by what they were made of |
/// | `boot-root/` | the root that `packaging/boot/test` copies |
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    pub(crate) fn of_this_user() -> Result<Self, Error> {
        let set = |name| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        let base = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
        let base = base.or_else(|| set("HOME").map(|home| home.join(".cache")));
        Self::at(base.ok_or(Error::NoHome)?.join("pericard"))
    }

    pub(crate) fn at(root: PathBuf) -> Result<Self, Error> {
        fs::create_dir_all(&root).map_err(Error::io("cannot create", &root))?;
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn wheels(&self) -> PathBuf {
        self.root.join("wheels")
    }

    pub(crate) fn onnxruntime(&self) -> PathBuf {
        self.root.join("onnxruntime")
    }

    pub(crate) fn package(&self, name: &std::ffi::OsStr) -> PathBuf {
        self.root.join("packages").join(name)
    }

    pub(crate) fn samples(&self) -> PathBuf {
        self.root.join("samples")
    }

    pub(crate) fn venv(&self) -> PathBuf {
        self.root.join("venv")
    }

    pub(crate) fn load_venv(&self) -> PathBuf {
        self.root.join("venv-load")
    }

    /// Only one process fills the cache at a time: two would download the same hundred megabytes twice, and pip cannot
    /// share an environment. Readers need no lock, since every file appears whole. Given back when dropped, or when the
    /// process dies.
    pub(crate) fn lock(&self) -> Result<File, Error> {
        let path = self.root.join(".lock");
        let file = File::create(&path).map_err(Error::io("cannot create", &path))?;
        if file.try_lock().is_err() {
            eprintln!("waiting for another fetch to end");
            file.lock().map_err(Error::io("cannot lock", &path))?;
        }
        Ok(file)
    }
}

/// A file or folder in the making: beside its place, so that a rename puts it there whole. Removed when not kept.
pub(crate) struct Partial {
    path: PathBuf,
    place: PathBuf,
}

impl Partial {
    pub(crate) fn of(place: &Path) -> Result<Self, Error> {
        let parent = place.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(Error::io("cannot create", parent))?;
        let mut name = place.file_name().unwrap_or_default().to_owned();
        name.push(format!(".partial-{}", std::process::id()));
        let partial = Self {
            path: parent.join(name),
            place: place.to_owned(),
        };
        partial.remove(); // what a killed process of the same number left
        Ok(partial)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it in its place. A folder that stands there already is removed first, since a rename does not replace it.
    pub(crate) fn keep(self) -> Result<(), Error> {
        if self.place.is_dir() {
            fs::remove_dir_all(&self.place).map_err(Error::io("cannot remove", &self.place))?;
        }
        fs::rename(&self.path, &self.place).map_err(Error::io("cannot put in place", &self.place))
    }

    fn remove(&self) {
        // It may well not exist, and what cannot be removed does no harm where it is.
        let _ = if self.path.is_dir() {
            fs::remove_dir_all(&self.path)
        } else {
            fs::remove_file(&self.path)
        };
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The SHA-256 of a file, in hexadecimal; `None` when there is no such file.
pub(crate) fn sha256_of(path: &Path) -> Result<Option<String>, Error> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("cannot read", path)(error)),
    };
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file
            .read(&mut buffer)
            .map_err(Error::io("cannot read", path))?;
        if count == 0 {
            return Ok(Some(hex::encode(hasher.finalize())));
        }
        hasher.update(&buffer[..count]);
    }
}

/// Refuses contents that are not what was pinned.
pub(crate) fn check(what: &str, expected: &str, found: Option<String>) -> Result<(), Error> {
    let found = found.unwrap_or_else(|| "that of no file".to_owned());
    if found == expected {
        return Ok(());
    }
    Err(Error::Hash {
        what: what.to_owned(),
        expected: expected.to_owned(),
        found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = dir.path().join("a/b");
        let partial = Partial::of(&place).expect("made");
        fs::write(partial.path(), "half").expect("written");
        drop(partial);
        assert_eq!(fs::read_dir(dir.path().join("a")).expect("read").count(), 0);
    }

    #[test]
    fn a_folder_takes_the_place_of_another() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = dir.path().join("series");
        for (file, expected) in [("1.dcm", 1), ("2.dcm", 1)] {
            let partial = Partial::of(&place).expect("made");
            fs::create_dir(partial.path()).expect("made");
            fs::write(partial.path().join(file), "x").expect("written");
            partial.keep().expect("kept");
            assert_eq!(fs::read_dir(&place).expect("read").count(), expected);
            assert!(place.join(file).exists());
        }
    }
}
