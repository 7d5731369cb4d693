//! Where the tests find the real model, said once.

use pericard_domain::digest::Digest;
use pericard_domain::model::{Manifest, ModelRef, Package};
use std::path::{Path, PathBuf};

/// Where `cargo xtask fetch` leaves packages in the cache.
const PACKAGES: &str = "pericard/packages";

/// The language model's package.
#[allow(dead_code, reason = "not every test binary needs the whole package")]
pub(crate) fn dir() -> Option<PathBuf> {
    dir_of("smollm2-135m-instruct")
}

/// A package's directory. Without it a test is skipped with a line that says so, but fails where `CI=true`.
#[allow(dead_code, reason = "not every test binary needs the whole package")]
pub(crate) fn dir_of(package: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let dir = cache.join(PACKAGES).join(package);
    if dir.join("pericard-model.toml").is_file() {
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

/// The language model's weights.
#[allow(dead_code, reason = "not every test binary has this model")]
pub(crate) fn weights() -> Option<PathBuf> {
    dir().map(|dir| dir.join("model.gguf"))
}

/// A package in `dir` as a manifest describes it; nobody has hashed its files.
#[allow(dead_code, reason = "not every test binary reads a manifest")]
pub(crate) fn described(manifest: &Path, dir: &Path) -> Package {
    let manifest = std::fs::read_to_string(manifest).expect("the manifest");
    let manifest: Manifest = toml::from_str(&manifest).expect("its form");
    Package {
        model: ModelRef {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            digest: Digest::new([0; 32]),
        },
        manifest,
        dir: dir.to_owned(),
    }
}
