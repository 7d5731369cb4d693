//! ONNX Runtime's shared library, loaded once per process.

use crate::ImagingError;
use ort::environment::Environment;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The library that this process has loaded. ONNX Runtime allows one environment per process and `ort` one library,
/// so the first path wins and the environment lives as long as the process.
static LOADED: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

/// The loaded ONNX Runtime library, process-wide.
#[derive(Clone)]
pub struct Runtime {
    environment: Environment,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("version", &self.version())
            .finish()
    }
}

impl Runtime {
    /// Loads ONNX Runtime from the file `library`. Asking again for the same file gives the same runtime.
    ///
    /// # Errors
    /// [`ImagingError::Library`] when the file is no usable ONNX Runtime, [`ImagingError::OtherLibrary`] when this
    /// process has loaded another file.
    pub fn load(library: &Path) -> Result<Self, ImagingError> {
        let refused = |reason: String| ImagingError::Library {
            path: library.to_owned(),
            reason,
        };
        let path = library.canonicalize().map_err(|e| refused(e.to_string()))?;
        // A panic while the lock was held left the option as it was: nothing half-made can be seen.
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((first, environment)) = loaded.as_ref() {
            if *first == path {
                return Ok(Self {
                    environment: environment.clone(),
                });
            }
            return Err(ImagingError::OtherLibrary {
                loaded: first.clone(),
                asked: path,
            });
        }
        let environment = ort::init_from(&path)
            .map_err(|e| refused(e.to_string()))?
            .with_name("pericard")
            .with_telemetry(false)
            .build()
            .map_err(|e| refused(e.to_string()))?;
        environment.set_log_level(ort::logging::LogLevel::Warning);
        *loaded = Some((path, environment.clone()));
        Ok(Self { environment })
    }

    /// What the library says of its build: branch (the release), commit, build type.
    #[must_use]
    pub fn version(&self) -> String {
        let info = ort::info();
        let branch = info
            .split("git-branch=")
            .nth(1)
            .and_then(|rest| rest.split([',', ' ']).next());
        let release = branch.map(|b| b.trim_start_matches("rel-"));
        release
            .filter(|r| r.starts_with(|c: char| c.is_ascii_digit()))
            .unwrap_or(info)
            .to_owned()
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }
}
