//! What a model says about a study, in coded words: what becomes the structured report and the JSON result.

use crate::image::FrameRef;
use crate::model::ModelRef;
use crate::time::Timestamp;
use crate::uid::{InstanceUid, SopClassUid, StudyUid};
use serde::{Deserialize, Serialize};

/// A coded concept (PS3.3 section 8): value, scheme, meaning.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// Code Value (0008,0100), or Long Code Value when it has more than 16 characters.
    pub value: String,
    /// Coding Scheme Designator (0008,0102): `SCT`, `DCM`, `LN`, `UCUM`, `RADLEX`, `99PERICARD`.
    pub scheme: String,
    /// Code Meaning (0008,0104).
    pub meaning: String,
}

impl Code {
    /// A code of that value, scheme and meaning.
    #[must_use]
    pub fn new(value: &str, scheme: &str, meaning: &str) -> Self {
        Self {
            value: value.into(),
            scheme: scheme.into(),
            meaning: meaning.into(),
        }
    }
}

/// A number with its unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// What was measured.
    pub concept: Code,
    /// The number.
    pub value: f64,
    /// Its unit (UCUM).
    pub unit: Code,
}

/// Where in the images a finding is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Region {
    /// A closed outline in one frame.
    Outline {
        /// Which frame.
        source: FrameRef,
        /// Its corners in pixels, (column, row), 0 at the top left corner of the top left pixel; not repeated at the end.
        corners: Vec<[f32; 2]>,
    },
    /// Whole frames.
    Frames {
        /// Which.
        sources: Vec<FrameRef>,
    },
}

/// One thing that a model found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// A name for people, the same for the same thing in every revision of the study.
    pub tracking_id: String,
    /// A UID for machines, the same for the same thing in every revision of the study.
    pub tracking_uid: InstanceUid,
    /// What it is.
    pub concept: Code,
    /// Where it is.
    pub region: Region,
    /// Its measurements.
    pub measurements: Vec<Measurement>,
    /// What it reads, when it is text. Patient data.
    pub text: Option<String>,
    /// How sure the model is, 0 to 1, when it says.
    pub score: Option<f32>,
}

/// What one model found in one revision of a study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Which study.
    pub study: StudyUid,
    /// Which revision of it.
    pub revision: u32,
    /// Which model.
    pub model: ModelRef,
    /// Whether the model may be used to treat patients.
    pub clinical_use: bool,
    /// What was looked at: every image that went into the model.
    pub evidence: Vec<Evidence>,
    /// What was found. None is a result too.
    pub findings: Vec<Finding>,
    /// On what device it was computed, as in `cpu`.
    pub device: String,
    /// When.
    pub at: Timestamp,
}

/// An image that a report rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The image.
    pub instance: InstanceUid,
    /// Its series.
    pub series: crate::uid::SeriesUid,
    /// Its kind.
    pub sop_class: SopClassUid,
}
