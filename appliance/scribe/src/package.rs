//! Prompt packages: what a model is told, versioned as a model is. Beside each stand its golden cases, which `tests/golden.rs` runs: a
//! model's words, and what is believed of them.

use pericard_domain::digest::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A task that a language model is asked to do, as an answer names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version; any change of a word is a new one.
    pub version: String,
    /// One sentence for lists.
    pub summary: String,
    /// Over its manifest, its words and what it was compiled with.
    pub digest: Digest,
    /// What the model is told first.
    #[serde(skip)]
    pub system: String,
    /// The most tokens of an answer.
    #[serde(skip)]
    pub answer_tokens_max: u32,
}

/// `task.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    version: String,
    summary: String,
    answer_tokens_max: u32,
}

impl Package {
    fn read(manifest: &str, system: &str, data: &str) -> Self {
        let mut digest = Sha256::new();
        for part in [manifest, system, data] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        // A test reads every package that is compiled in.
        let manifest: Manifest = toml::from_str(manifest).expect("a package's manifest is valid");
        Self {
            name: manifest.name,
            version: manifest.version,
            summary: manifest.summary,
            digest: Digest::new(digest.finalize().into()),
            system: system.trim().to_owned(),
            answer_tokens_max: manifest.answer_tokens_max,
        }
    }

    /// Structures a radiology report.
    #[must_use]
    pub fn structure_report() -> Self {
        Self::read(
            include_str!("../packages/structure-report/task.toml"),
            include_str!("../packages/structure-report/system.txt"),
            include_str!("../packages/structure-report/findings.toml"),
        )
    }

    /// Drafts an impression from findings.
    #[must_use]
    pub fn draft_impression() -> Self {
        Self::read(
            include_str!("../packages/draft-impression/task.toml"),
            include_str!("../packages/draft-impression/system.txt"),
            include_str!("../packages/draft-impression/words.txt"),
        )
    }

    /// Finds what identifies somebody.
    #[must_use]
    pub fn deidentify_text() -> Self {
        Self::read(
            include_str!("../packages/deidentify-text/task.toml"),
            include_str!("../packages/deidentify-text/system.txt"),
            concat!(
                include_str!("../packages/deidentify-text/rules.toml"),
                include_str!("../packages/deidentify-text/eponyms.toml")
            ),
        )
    }

    /// Every package.
    #[must_use]
    pub fn all() -> Vec<Self> {
        vec![
            Self::structure_report(),
            Self::deidentify_text(),
            Self::draft_impression(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_reads_and_is_told_apart() {
        let all = Package::all();
        for package in &all {
            assert!(!package.system.is_empty() && package.answer_tokens_max > 0);
            assert_eq!(package.version.split('.').count(), 3, "{}", package.name);
        }
        assert!(
            all.iter()
                .all(|one| all.iter().filter(|p| p.digest == one.digest).count() == 1)
        );
    }
}
