//! The benchmarks: Python programs in `benches/`, because they drive other people's programs beside ours.

use crate::cache::Cache;
use crate::error::Error;
use crate::python::Python;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program of a benchmark, or which there are.
pub(crate) fn script(tree: &Path, name: &str) -> Result<PathBuf, Error> {
    let folder = tree.join("benches");
    let known = known(&folder)?;
    if known.iter().any(|one| one == name) {
        return Ok(folder.join(name).with_extension("py"));
    }
    Err(Error::Bench {
        name: name.to_owned(),
        known: known.join(", "),
    })
}

/// It, ready to run in the private Python environment.
pub(crate) fn command(
    cache: &Cache,
    script: &Path,
    arguments: &[String],
) -> Result<Command, Error> {
    let mut command = Python::of(cache)?.command();
    command.arg(script).args(arguments);
    Ok(command)
}

fn known(folder: &Path) -> Result<Vec<String>, Error> {
    let cannot_read = || Error::io("cannot read", folder);
    let mut names = Vec::new();
    for entry in folder.read_dir().map_err(cannot_read())? {
        let path = entry.map_err(cannot_read())?.path();
        if path.extension() == Some(OsStr::new("py"))
            && let Some(name) = path.file_stem()
        {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_benchmark_is_a_program_in_its_folder_and_nothing_else() {
        let tree = tempfile::tempdir().unwrap();
        let folder = tree.path().join("benches");
        std::fs::create_dir_all(folder.join("parts")).unwrap();
        std::fs::write(folder.join("ingest.py"), "").unwrap();
        std::fs::write(folder.join("README.md"), "").unwrap();
        let found = script(tree.path(), "ingest").unwrap();
        assert_eq!(found, folder.join("ingest.py"));
        for stranger in ["parts", "README", "../ingest", ""] {
            let refused = script(tree.path(), stranger).unwrap_err().to_string();
            assert!(refused.ends_with("there is: ingest"), "{refused}");
        }
    }
}
