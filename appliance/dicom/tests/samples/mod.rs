//! Where the public sample files are: pydicom's own test data, in the peers' Python environment.

use std::path::{Path, PathBuf};

/// The folders with test data within an environment's packages.
const DATA: [&str; 2] = ["pydicom/data", "data_store/data"];

/// The peers' Python environment: set by `cargo xtask test`.
fn environment() -> PathBuf {
    let set = std::env::var_os("PERICARD_PEERS_VENV").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    set.unwrap_or_else(|| home().join(".cache/pericard/venv"))
}

/// Every file of the test data, or `None`, with a printed reason, when there are none and this is not CI.
pub(crate) fn files() -> Option<Vec<PathBuf>> {
    let environment = environment();
    let mut files = Vec::new();
    // `lib/python3.x/site-packages`, whichever Python made the environment.
    for python in below(&environment.join("lib")) {
        for data in DATA {
            collect(&python.join("site-packages").join(data), &mut files);
        }
    }
    files.sort();
    if !files.is_empty() {
        return Some(files);
    }
    let place = environment.display();
    let reason = format!(
        "no sample files in {place}: `cargo xtask test` installs pydicom and pydicom-data there"
    );
    assert!(std::env::var_os("CI").is_none(), "{reason}");
    eprintln!("skipped: {reason}");
    None
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for path in below(folder) {
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

fn below(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}
