//! Where what is shipped beside the binary lies: installed, or fetched by the build helper.

use std::path::{Path, PathBuf};

/// Where the packages put ONNX Runtime.
pub const ONNXRUNTIME_INSTALLED: &str = "/usr/lib/pericard/onnxruntime/libonnxruntime.so";
/// Where the packages put model packages.
pub const MODELS_INSTALLED: &str = "/usr/lib/pericard/models";
/// Where the packages put the sample studies.
pub const SAMPLES_INSTALLED: &str = "/usr/share/pericard/samples";

/// Where shipped things are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// ONNX Runtime's shared library.
    pub onnxruntime: PathBuf,
    /// A directory of model packages, one directory each.
    pub models: PathBuf,
    /// A directory of sample studies, one directory each.
    pub samples: PathBuf,
}

impl Places {
    /// The installed places, and for each that is not there the build helper's cache.
    #[must_use]
    pub fn found() -> Self {
        let cache = fetch_cache();
        let either = |installed: &str, fetched: &str| match Path::new(installed) {
            path if path.exists() => path.to_owned(),
            _ => cache.join(fetched),
        };
        Self {
            onnxruntime: either(ONNXRUNTIME_INSTALLED, "onnxruntime/libonnxruntime.so"),
            models: either(MODELS_INSTALLED, "packages"),
            samples: either(SAMPLES_INSTALLED, "samples"),
        }
    }
}

/// Where `cargo xtask fetch` keeps what it fetched: `$XDG_CACHE_HOME/pericard`, or `~/.cache/pericard`.
#[allow(clippy::disallowed_methods)] // the composition root may read the environment; rooms may not
fn fetch_cache() -> PathBuf {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(|| PathBuf::from("/var/cache"))
        .join("pericard")
}
