//! What a binary computes on, and so which package it is shipped in. Both packages hold the same files, and one is installed in
//! the other's place; neither is an upgrade of the other, so that whoever upgrades keeps what was chosen.

use crate::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What stands in a binary with CUDA and in no other: whom it names when a library is missing.
const MARK: &str = "cuBLAS of CUDA 13";

/// The package whose description says what both hold.
const WHOLE: &str = "pericard";

/// Where a description begins to say what its package holds.
const CONTENTS: &str = "\ncontents:\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavour {
    /// Processors alone.
    Processor,
    /// NVIDIA's GPUs too.
    Cuda,
}

impl Flavour {
    /// Of a binary, by what stands in it: what somebody says of it may be wrong.
    pub(super) fn of(program: &Path) -> Result<Self, Error> {
        let mut search = Command::new("grep");
        search
            .args(["--fixed-strings", "--text", "--max-count=1", MARK])
            .arg(program)
            .env("LC_ALL", "C") // bytes, and no encoding
            .stdout(Stdio::null());
        let status = search.status();
        let status = status.map_err(|error| Error::cannot_run(Path::new("grep"), error))?;
        match status.code() {
            Some(0) => Ok(Self::Cuda),
            Some(1) => Ok(Self::Processor),
            _ => Err(Error::Failed {
                program: format!("grep in {}", program.display()),
                status: status.to_string(),
            }),
        }
    }

    /// What the package is called.
    pub(super) fn package(self) -> &'static str {
        match self {
            Self::Processor => WHOLE,
            Self::Cuda => "pericard-cuda",
        }
    }
}

/// The description of a package, for the packager. One that does not say what is in it holds what `pericard` holds, and is written
/// into this folder with that.
pub(super) fn description(tree: &Path, package: &str, folder: &Path) -> Result<PathBuf, Error> {
    let path = place(tree, package);
    let own = read(&path)?;
    if own.contains(CONTENTS) {
        return Ok(path);
    }
    let whole = read(&place(tree, WHOLE))?;
    let contents = whole
        .split_once(CONTENTS)
        .map_or("", |(_, contents)| contents);
    let path = folder.join(format!("{package}.yaml"));
    fs::write(&path, format!("{own}{CONTENTS}{contents}"))
        .map_err(Error::io("cannot write", &path))?;
    Ok(path)
}

fn place(tree: &Path, package: &str) -> PathBuf {
    tree.join(format!("packaging/nfpm/{package}.yaml"))
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(Error::io("cannot read", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_is_known_by_what_the_language_room_says_with_cuda_only() {
        let dir = tempfile::tempdir().unwrap();
        let binary = dir.path().join("binary");
        for (text, expected) in [
            ("\0cuBLAS of CUDA 13\0\u{fffd}", Flavour::Cuda),
            ("\0cuBLAS and cuRAND of CUDA 13\0", Flavour::Processor),
        ] {
            fs::write(&binary, text).unwrap();
            assert_eq!(Flavour::of(&binary).unwrap(), expected, "{text:?}");
        }
        assert!(Flavour::of(&dir.path().join("none")).is_err());
        // One file says it, which is compiled with CUDA only: neither other code nor what the doctor has of firmware-config.
        let mut saying = Vec::new();
        for folder in ["appliance", "firmware-config", "models"] {
            for file in crate::fetch::files(&crate::tree().join(folder)).unwrap() {
                let bytes = fs::read(crate::tree().join(folder).join(&file)).unwrap();
                if String::from_utf8_lossy(&bytes).contains(MARK) {
                    saying.push(Path::new(folder).join(file));
                }
            }
        }
        let device = Path::new("appliance/language/src/device");
        assert_eq!(saying, [device.join("libraries.rs")]);
        let room = read(&crate::tree().join(device).join("mod.rs")).unwrap();
        let apart = "#[cfg(feature = \"cuda\")]\nmod libraries;";
        assert!(room.contains(apart), "{room}");
    }

    #[test]
    fn both_packages_hold_the_same_and_ask_for_the_same_system() {
        let dir = tempfile::tempdir().unwrap();
        let described = |package| {
            let path = description(&crate::tree(), package, dir.path()).unwrap();
            let text = read(&path).unwrap();
            let (head, contents) = text.split_once(CONTENTS).expect("contents");
            (head.to_owned(), contents.to_owned())
        };
        let (whole, with_cuda) = (described("pericard"), described("pericard-cuda"));
        assert_eq!(whole.1, with_cuda.1);
        assert!(whole.1.contains("dst: /usr/bin/pericard\n"));
        // What the one declares of the system and of its scripts, so does the other.
        let declared = |head: &str| {
            let lines = head
                .lines()
                .map(str::trim)
                .filter(|line| line.starts_with("- ") || line.contains(": packaging/scripts/"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let other = declared(&with_cuda.0);
        let relations = ["- pericard-cuda"]; // each names the other
        for line in declared(&whole.0) {
            let held = other.contains(&line) || relations.contains(&line.as_str());
            assert!(held, "pericard-cuda has no {line:?}");
        }
    }

    #[test]
    fn each_takes_the_others_place_and_neither_upgrades_the_other() {
        let text = |package| read(&place(&crate::tree(), package)).unwrap();
        let (without, with) = (text("pericard"), text("pericard-cuda"));
        let listed =
            |text: &str, key: &str, line: &str| text.contains(&format!("{key}:\n      - {line}\n"));
        for (text, other) in [(&without, "pericard-cuda"), (&with, "pericard")] {
            let conflict = format!("conflicts:\n      - {other}\n");
            let conflicts = text.matches(&conflict);
            assert_eq!(conflicts.count(), 2, "in each format, {other}");
        }
        assert!(listed(&without, "replaces", "pericard-cuda"));
        assert!(listed(&with, "replaces", "pericard"));
        // RPM takes what `replaces` says for an upgrade, so only the .deb's half has it.
        assert_eq!(without.matches("replaces:").count(), 1);
        assert_eq!(with.matches("replaces:").count(), 1);
        // The hub's package asks for `pericard` of its own version.
        assert!(listed(
            &with,
            "provides",
            "pericard (= ${PACKAGE_VERSION}-1)"
        ));
        assert!(listed(&with, "provides", "pericard = ${PACKAGE_VERSION}"));
    }
}
