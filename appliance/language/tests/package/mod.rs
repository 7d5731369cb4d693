//! Where the tests find the real model, said once.

use std::path::PathBuf;

/// The package that `cargo xtask fetch` leaves in the cache.
const PACKAGE: &str = "pericard/packages/smollm2-135m-instruct";

/// The package's directory. Without it a test is skipped with a line that says so, but fails where `CI=true`.
#[allow(dead_code, reason = "not every test binary needs the whole package")]
pub(crate) fn dir() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let dir = cache.join(PACKAGE);
    if dir.join("model.gguf").is_file() {
        return Some(dir);
    }
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{} is missing: run cargo xtask fetch",
        dir.display()
    );
    eprintln!(
        "skipped: {} is missing; cargo xtask fetch gets it",
        dir.display()
    );
    None
}

/// The model's weights.
pub(crate) fn weights() -> Option<PathBuf> {
    dir().map(|dir| dir.join("model.gguf"))
}
