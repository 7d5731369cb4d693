//! Runners and packages for these tests.

use pericard_domain::digest::Digest;
use pericard_domain::model::{Manifest, ModelRef, Package};
use pericard_runner::RunnerConfig;
use std::path::PathBuf;
use std::time::Duration;

/// The build helper's cache: models, ONNX Runtime, samples.
pub(crate) fn cache() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(home);
    cache.expect("HOME or XDG_CACHE_HOME").join("pericard")
}

/// Something of the cache. `None`, with a word on stderr, when it is missing; with `CI=true` a failure.
pub(crate) fn cached(name: &str) -> Option<PathBuf> {
    let path = cache().join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{} is missing; `cargo xtask test` installs it",
        path.display()
    );
    eprintln!("passed over: {} is missing", path.display());
    None
}

/// A runner as `serve` makes one, of the program under test.
pub(crate) fn config() -> Option<RunnerConfig> {
    Some(RunnerConfig {
        worker: pericard_runner::workers_of(env!("CARGO_BIN_EXE_pericard")),
        reading_timeout: Duration::from_secs(60),
        onnxruntime: cached("onnxruntime/libonnxruntime.so")?,
        device: pericard_domain::device::Device::Cpu,
        cores: 2,
        chats_max: 4,
        chats_waiting_max: 8,
        kv_form: pericard_domain::device::KvForm::F16,
    })
}

/// A package, not verified: the registry's tests are elsewhere.
pub(crate) fn package(name: &str) -> Option<Package> {
    let dir = cached(&format!("packages/{name}"))?;
    let text = std::fs::read_to_string(dir.join("pericard-model.toml")).expect("a manifest");
    let manifest: Manifest = toml::from_str(&text).expect("a manifest");
    let model = ModelRef {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        digest: Digest::new([0; 32]),
    };
    Some(Package {
        model,
        manifest,
        dir,
    })
}

/// The same without golden cases: quicker to start.
pub(crate) fn quick_package(name: &str) -> Option<Package> {
    let mut package = package(name)?;
    package.manifest.golden.clear();
    Some(package)
}

/// Seconds.
pub(crate) const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
