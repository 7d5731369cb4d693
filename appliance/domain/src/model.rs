//! Model packages: the manifest `pericard-model.toml`, read by the registry and obeyed by everybody else.

use crate::digest::Digest;
use crate::finding::Code;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// A model package, to the digest: what results, jobs and the audit log name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ModelRef {
    /// The package's name, as in `burned-in-text`.
    pub name: String,
    /// Its version, as in `1.0.0`.
    pub version: String,
    /// SHA-256 of its manifest, which holds the SHA-256 of every other file.
    pub digest: Digest,
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// What a model does, which decides the pipeline that serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Frames in, boxes of text out (a detector and a recogniser).
    TextSpotting,
    /// One volume in, a mask of the same geometry out.
    VolumeSegmentation,
    /// Messages in, text out.
    Chat,
    /// Texts in, vectors out: alike where the texts mean alike.
    Embedding,
    /// A text in, what stands where in it out: each token gets a label.
    TokenClassification,
}

/// The manifest of a model package: `pericard-model.toml`. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Lower-case letters, digits and hyphens.
    pub name: String,
    /// Semantic version of the package.
    pub version: String,
    /// One sentence for lists.
    pub summary: String,
    /// SPDX expression of the weights' licence.
    pub licence: String,
    /// Where the weights come from, in words.
    pub source: String,
    /// Which pipeline serves it.
    pub task: Task,
    /// Whether it may be used to treat patients. `false` marks every result.
    pub clinical_use: bool,
    /// What it is for and what it is not for.
    pub intended_use: IntendedUse,
    /// SHA-256 of every file of the package but this one, by path within the package.
    pub files: BTreeMap<PathBuf, Digest>,
    /// Which of the files play which part: `detector`, `recogniser`, `network`, `tokenizer`, `config`, `weights`.
    pub parts: BTreeMap<String, PathBuf>,
    /// What its outputs mean, by the name that the pipeline gives them.
    #[serde(default)]
    pub outputs: BTreeMap<String, Output>,
    /// Numbers that the pipeline is set with, by the name that the pipeline gives them: thresholds, sizes, limits.
    #[serde(default)]
    pub parameters: BTreeMap<String, f64>,
    /// How much it needs.
    pub budget: Budget,
    /// Cases that must come out right at every load.
    #[serde(default)]
    pub golden: Vec<GoldenCase>,
}

/// What a model is meant for. An empty list means no restriction of that kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IntendedUse {
    /// In words, with what it must not be used for.
    pub statement: String,
    /// Values of Modality (0008,0060).
    pub modalities: Vec<String>,
    /// Values of Body Part Examined (0018,0015).
    pub body_parts: Vec<String>,
    /// SOP Class UIDs.
    pub sop_classes: Vec<String>,
}

/// What an output means, in coded words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// The concept that is found or measured.
    pub concept: Code,
    /// The unit (UCUM) when it is a measurement.
    #[serde(default)]
    pub unit: Option<Code>,
}

/// What a loaded model may take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Resident memory, MiB.
    pub memory_mib: u32,
    /// The longest that one inference may take, seconds.
    pub inference_timeout_s: u32,
}

/// A case that must come out right whenever the model is loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenCase {
    /// What the case shows.
    pub name: String,
    /// The input, a file of the package, in the form that the task's pipeline reads.
    pub input: PathBuf,
    /// The expected output, a JSON file of the package, in the form that the task's pipeline reads.
    pub expected: PathBuf,
    /// How far a number may be off, in the unit that the pipeline states.
    #[serde(default)]
    pub tolerance: f64,
}

/// A package whose files have been verified: the manifest, its digest, and where the files are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Package {
    /// Which model this is.
    pub model: ModelRef,
    /// What the package says of itself.
    pub manifest: Manifest,
    /// The directory that holds its files.
    pub dir: PathBuf,
}

impl Package {
    /// Where the file that plays `part` is.
    #[must_use]
    pub fn part(&self, part: &str) -> Option<PathBuf> {
        self.manifest
            .parts
            .get(part)
            .map(|path| self.dir.join(path))
    }
}
