//! What became of a reload, for whoever asked for it: a file in the runtime directory that systemd gives to the service. Where
//! there is none, nothing is written.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where systemd says which directory it made.
const DIRECTORY: &str = "RUNTIME_DIRECTORY";
/// The file in it.
const FILE: &str = "reload";

/// What became of reading a configuration again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Which file was read, as [`digest_of`] tells one from another.
    pub(crate) digest: String,
    /// Why it was refused; `None` when it was taken up.
    pub(crate) refused: Option<String>,
}

/// SHA-256 of a file, in hexadecimal; a word when it cannot be read, which is then why it is refused.
pub(crate) fn digest_of(file: &Path) -> String {
    fs::read(file).map_or("unreadable".into(), |text| {
        hex::encode(Sha256::digest(text))
    })
}

/// Where the latest outcome is told.
#[derive(Debug)]
pub(crate) struct OutcomeFile(PathBuf);

impl OutcomeFile {
    /// In the runtime directory of the service that this process belongs to; `None` where it has none.
    pub(crate) fn of_service() -> Option<Self> {
        let given = std::env::var_os(DIRECTORY)?;
        // Of several, which a drop-in may add, the unit's own comes first.
        let dir = given.to_str()?.split(':').next()?.to_owned();
        (!dir.is_empty()).then(|| Self::within(Path::new(&dir)))
    }

    fn within(dir: &Path) -> Self {
        Self(dir.join(FILE))
    }

    /// Tells it in the place of what was told before: whole, or not at all.
    pub(crate) fn put(&self, outcome: &Outcome) -> io::Result<()> {
        let beside = self.0.with_extension("new");
        fs::write(&beside, serde_json::to_vec(outcome)?)?;
        fs::rename(&beside, &self.0)
    }

    /// What was told is told no more.
    pub(crate) fn take_down(&self) -> io::Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// What is told now.
    pub(crate) fn read(&self) -> Option<Outcome> {
        serde_json::from_slice(&fs::read(&self.0).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_outcome_stands_until_it_is_taken_down() {
        let dir = tempfile::tempdir().unwrap();
        let place = OutcomeFile::within(dir.path());
        assert_eq!(place.read(), None);
        place.take_down().unwrap();
        for refused in [Some("line 3: no".to_owned()), None] {
            let digest = digest_of(&dir.path().join("absent"));
            assert_eq!(digest, "unreadable");
            let outcome = Outcome { digest, refused };
            place.put(&outcome).unwrap();
            assert_eq!(place.read(), Some(outcome));
        }
        place.take_down().unwrap();
        assert_eq!(place.read(), None);
    }
}
