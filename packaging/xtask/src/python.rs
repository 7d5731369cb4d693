//! The private Python environments, and the registry's ordinary client in them.

use crate::cache::{Cache, sha256_of};
use crate::error::{Error, finish};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Python of our own: the system's is not ours to install into, and may have no pip.
pub(crate) struct Python {
    venv: PathBuf,
}

impl Python {
    /// The environment in the cache, made when it is not there.
    pub(crate) fn of(cache: &Cache) -> Result<Self, Error> {
        Self::at(cache.venv())
    }

    /// The one of the load generator.
    pub(crate) fn of_load(cache: &Cache) -> Result<Self, Error> {
        Self::at(cache.load_venv())
    }

    fn at(venv: PathBuf) -> Result<Self, Error> {
        let python = Self { venv };
        if python.works() {
            return Ok(python);
        }
        eprintln!("making a private Python environment");
        // Without copies: a Python that the system upgrades is followed. Cleared: it may be of a Python that is gone.
        let mut make = Command::new("python3");
        make.args(["-m", "venv", "--clear"]).arg(&python.venv);
        if finish(&mut make).is_err() {
            // Debian parts the module from the language.
            crate::peers::install_packages(&["python3", "python3-venv"])?;
            finish(&mut make)?;
        }
        Ok(python)
    }

    /// The interpreter, ready for arguments.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(self.venv.join("bin/python"));
        // A user's own packages must not stand in for the pinned ones.
        command.env("PYTHONNOUSERSITE", "1");
        command.env_remove("PYTHONPATH");
        command
    }

    /// The registry's client, ready for its command and arguments.
    pub(crate) fn pip(&self, verb: &str) -> Command {
        let mut command = self.command();
        command
            .args(["-m", "pip", verb, "--quiet", "--disable-pip-version-check"])
            .args(["--no-input", "--retries", "5", "--timeout", "60"]);
        command
    }

    /// Installs a file of pinned requirements, unless this very file was installed already.
    pub(crate) fn install(&self, requirements: &Path) -> Result<(), Error> {
        let Some(hash) = sha256_of(requirements)? else {
            return Ok(()); // nothing is asked for
        };
        let done = self.venv.join(format!(".installed-{hash}"));
        if done.exists() {
            return Ok(());
        }
        eprintln!("installing {}", requirements.display());
        let mut pip = self.pip("install");
        finish(pip.arg("--only-binary=:all:").arg("-r").arg(requirements))?;
        fs::write(&done, "").map_err(Error::io("cannot write", &done))
    }

    fn works(&self) -> bool {
        let mut check = self.command();
        check.args(["-m", "pip", "--version"]);
        check.output().is_ok_and(|output| output.status.success())
    }
}
