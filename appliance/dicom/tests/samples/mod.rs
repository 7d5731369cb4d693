//! Where the public sample files are: pydicom's own test data, unpacked by the build helper.

use std::path::{Path, PathBuf};

/// The folder of the samples: `$XDG_CACHE_HOME/pericard/samples`, or the same under `~/.cache`.
pub(crate) fn folder() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    cache.join("pericard/samples")
}

/// Every file below the folder, or `None`, with a printed reason, when there are none and this is not CI.
pub(crate) fn files() -> Option<Vec<PathBuf>> {
    let folder = folder();
    let mut files = Vec::new();
    collect(&folder, &mut files);
    files.sort();
    if !files.is_empty() {
        return Some(files);
    }
    let reason = format!(
        "no sample files in {}: unpack the pydicom and pydicom-data wheels there",
        folder.display()
    );
    assert!(std::env::var_os("CI").is_none(), "{reason}");
    eprintln!("skipped: {reason}");
    None
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}
