//! ONNX Runtime's shared library, loaded once per process.

use crate::{ImagingError, version};
use ort::environment::Environment;
use pericard_domain::device::Device;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What must stand in the environment of a process that loads the library: its name and its value. Its authors built reports
/// to themselves into it, and those begin while its environment is made, before a call could switch them off: a device's id and
/// a database under the home directory, and a thread that sends them.
pub const NO_REPORTS: (&str, &str) = ("ORT_DISABLE_TELEMETRY", "1");

/// The library that this process has loaded. ONNX Runtime allows one environment per process and `ort` one library,
/// so the first path wins and the environment lives as long as the process.
static LOADED: Mutex<Option<(PathBuf, Runtime)>> = Mutex::new(None);

/// The loaded ONNX Runtime library, process-wide.
#[derive(Clone)]
pub struct Runtime {
    environment: Environment,
    version: String,
    device: Device,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("version", &self.version)
            .finish()
    }
}

impl Runtime {
    /// Loads ONNX Runtime from the file `library`. Asking again for the same file gives the same runtime. `reports` is what
    /// the environment of this process has under the name in [`NO_REPORTS`].
    ///
    /// # Errors
    /// [`ImagingError::Library`] when the file is no usable ONNX Runtime or [`NO_REPORTS`] is not in force,
    /// [`ImagingError::OtherLibrary`] when this process has loaded another file.
    pub fn load(library: &Path, reports: Option<&str>) -> Result<Self, ImagingError> {
        let refused = |reason: String| ImagingError::Library {
            path: library.to_owned(),
            reason,
        };
        let path = library.canonicalize().map_err(|e| refused(e.to_string()))?;
        let (name, value) = NO_REPORTS;
        if reports != Some(value) {
            let reason = format!("it would report to its authors where {name}={value} is not set");
            return Err(refused(reason));
        }
        // A panic while the lock was held left the option as it was: nothing half-made can be seen.
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((first, runtime)) = loaded.as_ref() {
            if *first == path {
                return Ok(runtime.clone());
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
        let version = version::of(&path).unwrap_or_else(|| ort::info().to_owned());
        let runtime = Self {
            environment,
            version,
            device: Device::Cpu,
        };
        *loaded = Some((path, runtime.clone()));
        Ok(runtime)
    }

    /// The library's version, as in `1.32.0`.
    #[must_use]
    pub fn version(&self) -> String {
        self.version.clone()
    }

    /// The same library, whose models compute on this device. They do not load where it cannot be had.
    #[must_use]
    pub fn on(self, device: Device) -> Self {
        Self { device, ..self }
    }

    pub(crate) const fn device(&self) -> Device {
        self.device
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }
}
