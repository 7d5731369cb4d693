//! One package: its manifest, and the proof that every byte beside it is the one the manifest names.

use crate::content::{Content, content_of};
use pericard_domain::digest::Digest;
use pericard_domain::model::{Manifest, ModelRef, Package};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

/// The manifest's file name.
pub const MANIFEST: &str = "pericard-model.toml";
/// Where the build helper finds a payload that is not committed. Not part of a package, so never hashed or imported.
pub(crate) const FETCH_PIN: &str = "fetch.toml";
/// A manifest is a page of text; more is an attack or a mistake.
const MANIFEST_BYTES_MAX: u64 = 1024 * 1024;
/// The most files that a package may have.
const FILES_MAX: usize = 4096;
/// The most characters of a name or a version.
const NAME_CHARS_MAX: usize = 64;

/// Why a package is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file, within the package.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The manifest is not TOML, or has a wrong or unknown key.
    #[error("{MANIFEST}: {0}")]
    Manifest(String),
    /// A file is not the one that the manifest names.
    #[error(
        "{path}: the SHA-256 is {found}, but the manifest says {expected}; get the package again"
    )]
    WrongDigest {
        /// The file, within the package.
        path: PathBuf,
        /// What the manifest says.
        expected: Digest,
        /// What the file has.
        found: Digest,
    },
    /// A file is there that the manifest does not name.
    #[error("{0}: the manifest does not name this file; a package holds nothing else")]
    Unlisted(PathBuf),
    /// A link, a device, a pipe.
    #[error("{0}: not a regular file; a package holds no links")]
    NotAFile(PathBuf),
    /// A path that leaves the package, or is no plain path.
    #[error("{0}: not a plain path within the package")]
    Path(PathBuf),
    /// A payload that executes when it is loaded.
    #[error(
        "{0}: this format can execute code when it is loaded (pickle, TorchScript, Keras); bring ONNX, GGUF or safetensors"
    )]
    Executable(PathBuf),
    /// A payload of no format that is served here.
    #[error("{0}: neither ONNX, GGUF nor safetensors, nor the JSON beside them")]
    UnknownFormat(PathBuf),
}

impl PackageError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// Reads the package in `dir` and verifies it whole.
///
/// # Errors
/// The first thing that is not as it must be.
pub fn read_package(dir: &Path) -> Result<Package, PackageError> {
    let (manifest, digest) = read_manifest(&dir.join(MANIFEST))?;
    check_words(&manifest)?;
    check_listed(dir, &manifest)?;
    check_unlisted(dir, &manifest)?;
    check_parts(dir, &manifest)?;
    let model = ModelRef {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        digest,
    };
    Ok(Package {
        model,
        manifest,
        dir: dir.to_owned(),
    })
}

pub(crate) fn read_manifest(path: &Path) -> Result<(Manifest, Digest), PackageError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|f| f.take(MANIFEST_BYTES_MAX).read_to_string(&mut text))
        .map_err(PackageError::io(MANIFEST))?;
    let manifest = toml::from_str(&text).map_err(|e| PackageError::Manifest(e.to_string()))?;
    Ok((
        manifest,
        Digest::new(Sha256::digest(text.as_bytes()).into()),
    ))
}

/// Names and versions become directory names, so they are held to what is safe as one.
pub(crate) fn check_words(manifest: &Manifest) -> Result<(), PackageError> {
    let plain = |text: &str, allowed: fn(char) -> bool| {
        !text.is_empty()
            && text.len() <= NAME_CHARS_MAX
            && !text.starts_with(['.', '-'])
            && text.chars().all(allowed)
    };
    if !plain(&manifest.name, |c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
    }) {
        return Err(PackageError::Manifest(
            "name: lower-case letters, digits and hyphens, 64 at most".into(),
        ));
    }
    if !plain(&manifest.version, |c| {
        c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+')
    }) {
        return Err(PackageError::Manifest(
            "version: letters, digits, '.', '-' and '+', 64 at most".into(),
        ));
    }
    if manifest.files.len() > FILES_MAX {
        return Err(PackageError::Manifest(format!(
            "files: {FILES_MAX} at most"
        )));
    }
    let mut named = manifest
        .parts
        .values()
        .chain(manifest.golden.iter().flat_map(|g| [&g.input, &g.expected]));
    match named.find(|path| !manifest.files.contains_key(*path)) {
        Some(path) => Err(PackageError::Manifest(format!(
            "{}: used, but not listed under [files]",
            path.display()
        ))),
        None => Ok(()),
    }
}

fn check_listed(dir: &Path, manifest: &Manifest) -> Result<(), PackageError> {
    for (path, expected) in &manifest.files {
        if !path.components().all(|c| matches!(c, Component::Normal(_))) {
            return Err(PackageError::Path(path.clone()));
        }
        // Also every directory on the way must be one: a link there would lead outside.
        let kind = fs::symlink_metadata(dir.join(path))
            .map_err(PackageError::io(path))?
            .file_type();
        if !kind.is_file() {
            return Err(PackageError::NotAFile(path.clone()));
        }
        let found = digest_of(&dir.join(path)).map_err(PackageError::io(path))?;
        if found != *expected {
            return Err(PackageError::WrongDigest {
                path: path.clone(),
                expected: *expected,
                found,
            });
        }
    }
    Ok(())
}

fn check_unlisted(dir: &Path, manifest: &Manifest) -> Result<(), PackageError> {
    for path in files_below(dir)? {
        let own = path == Path::new(MANIFEST) || path == Path::new(FETCH_PIN);
        if !own && !manifest.files.contains_key(&path) {
            return Err(PackageError::Unlisted(path));
        }
    }
    Ok(())
}

fn check_parts(dir: &Path, manifest: &Manifest) -> Result<(), PackageError> {
    for path in manifest.parts.values().collect::<BTreeSet<_>>() {
        match content_of(&dir.join(path)).map_err(PackageError::io(path))? {
            Content::Gguf | Content::Onnx | Content::Safetensors | Content::Json => {}
            Content::Executable => return Err(PackageError::Executable(path.clone())),
            Content::Other => return Err(PackageError::UnknownFormat(path.clone())),
        }
    }
    Ok(())
}

/// Every file below `dir`, by its path within it. A link, also to a directory, is an error.
pub(crate) fn files_below(dir: &Path) -> Result<Vec<PathBuf>, PackageError> {
    let (mut found, mut open) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(below) = open.pop() {
        for entry in fs::read_dir(dir.join(&below)).map_err(PackageError::io(&below))? {
            let entry = entry.map_err(PackageError::io(&below))?;
            let path = below.join(entry.file_name());
            let kind = entry.file_type().map_err(PackageError::io(&path))?;
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                found.push(path);
            } else {
                return Err(PackageError::NotAFile(path));
            }
            if found.len() + open.len() > FILES_MAX {
                return Err(PackageError::Manifest(format!(
                    "more than {FILES_MAX} files and directories"
                )));
            }
        }
    }
    Ok(found)
}

pub(crate) fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(Digest::new(hasher.finalize().into()))
}
