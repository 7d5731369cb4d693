//! All packages from two clones of the last commit, at paths of other names and lengths and with target folders of their
//! own, compared byte by byte: what is shipped must follow from the commit and nothing else.

use super::{DistArguments, once, said};
use crate::cache::Cache;
use crate::error::{Error, run};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path};
use std::process::Command;

/// Where the clones are, within the target folder. They stay, for whoever has to look for a difference.
const CLONES: [&str; 2] = ["twice/one", "twice/the-other/further-below"];

/// Builds twice from the start.
pub(super) fn compare(tree: &Path, cache: &Cache, arguments: &DistArguments) -> Result<(), Error> {
    within_a_clone(&arguments.out)?;
    let clones = CLONES.map(|clone| crate::target(tree).join(clone));
    for clone in &clones {
        if clone.exists() {
            fs::remove_dir_all(clone).map_err(Error::io("cannot remove", clone))?;
        }
        run(Command::new("git")
            .args(["clone", "--quiet"])
            .args([tree, clone]))?;
    }
    // Only now: a commit that comes while the first is built is in neither.
    for clone in &clones {
        once(clone, &clone.join("target"), cache, arguments)?;
    }
    let cloned = clones[0].clone();
    let [one, other] = clones.map(|clone| clone.join(&arguments.out));
    let differ = differing(&one, &other)?;
    if differ.is_empty() {
        let commit = said(
            Command::new("git")
                .current_dir(&cloned)
                .args(["rev-parse", "HEAD"]),
        )?;
        eprintln!(
            "built twice to the same bytes: commit {}, profile {}, in {} and {}",
            commit.trim(),
            arguments.profile,
            one.display(),
            other.display()
        );
        return Ok(());
    }
    Err(Error::Failed {
        program: "cargo xtask dist --twice".into(),
        status: format!("two builds differ in {}", differ.join(", ")),
    })
}

/// A folder that is the same for both clones would hold one of them only, and be the same as itself.
fn within_a_clone(out: &Path) -> Result<(), Error> {
    let is_within = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if out.components().all(is_within) {
        return Ok(());
    }
    Err(Error::Failed {
        program: "cargo xtask dist --twice".into(),
        status: "--out must be a relative path within each of the clones".into(),
    })
}

/// The files that are not the same in both folders; one that is in one folder only counts.
fn differing(one: &Path, other: &Path) -> Result<Vec<String>, Error> {
    let lines = |folder: &Path| -> Result<BTreeSet<String>, Error> {
        let sums = folder.join("SHA256SUMS");
        let text = fs::read_to_string(&sums).map_err(Error::io("cannot read", &sums))?;
        Ok(text.lines().map(str::to_owned).collect())
    };
    let (one, other) = (lines(one)?, lines(other)?);
    let names = one.symmetric_difference(&other);
    let names = names.filter_map(|line| line.split_once("  "));
    let names: BTreeSet<_> = names.map(|(_, name)| name.to_owned()).collect();
    Ok(names.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_compared_with_itself() {
        assert!(within_a_clone(Path::new("target/packages")).is_ok());
        for out in ["/tmp/packages", "../packages", "target/../../packages"] {
            let refused = within_a_clone(Path::new(out)).unwrap_err().to_string();
            assert!(refused.contains("within each of the clones"), "{refused}");
        }
    }

    #[test]
    fn a_file_that_differs_or_is_alone_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let side = |name: &str, sums: &str| {
            let folder = dir.path().join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("SHA256SUMS"), sums).unwrap();
            folder
        };
        let one = side("one", "aa  x.deb\nbb  x.rpm\n");
        assert!(differing(&one, &one).unwrap().is_empty());
        let other = side("other", "aa  x.deb\ncc  x.rpm\ndd  y.tar\n");
        assert_eq!(differing(&one, &other).unwrap(), ["x.rpm", "y.tar"]);
    }
}
