//! The imported model packages, as this room needs them: the registry in production, a scripted one in tests.

use pericard_domain::model::ModelRef;

/// Whoever keeps model packages.
pub trait Imports: Send + Sync + 'static {
    /// Every imported version, by name and version. Reads files: never called on an async thread.
    ///
    /// # Errors
    /// When they cannot be read; a word for the journal.
    fn imported(&self) -> Result<Vec<Imported>, String>;
}

/// An imported version, and what it is for by now. What is loaded was decided at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Which.
    pub model: ModelRef,
    /// What it is for.
    pub standing: Standing,
}

/// What an imported version is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Here and verified, and used by nothing.
    Imported,
    /// What rules mean by its name.
    Live,
    /// Not to be used again.
    Retired,
}
